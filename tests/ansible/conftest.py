"""Fixtures: hosts, the two packages, certificates."""

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
sys.path.insert(0, str(HERE.parent / "e2e"))

from hosts import CACHE, Fabric  # noqa: E402


def package(which):
    """The .deb of `first` or `second` (the same programs with a higher version)."""
    found = sorted((CACHE / "ansible-packages" / which).glob("*.deb"))
    assert len(found) == 1, f"run tests/ansible/prepare: {found}"
    return found[0]


@pytest.fixture
def fabric():
    """Hosts for one test."""
    made = Fabric()
    yield made
    made.close()
