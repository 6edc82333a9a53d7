"""Fixtures of the in-place upgrade's tests: binaries of several versions, daemons started from them."""

import shutil
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import harness.daemon  # noqa: E402
from harness.versions import with_version  # noqa: E402


class Installed(harness.daemon.Daemon):
    """A daemon that runs from a place of its own, where other binaries can be installed."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.program = self.dir / "bin" / "godwitd"
        self.program.parent.mkdir()
        self.install("1.0.0")

    def command(self):
        """As it was installed."""
        return [str(self.program), "--config", str(self.config)]

    def start(self):
        """Returns when it answers godwitctl, which is a moment after its ports are open."""
        super().start()
        for _ in range(100):
            if self.ctl("status", check=False).returncode == 0:
                return self
            time.sleep(0.1)
        raise harness.daemon.DaemonError("godwitctl cannot reach it")

    def install(self, version):
        """Replaces the file as a package manager does."""
        new = with_version(version, self.program.with_name("new"))
        new.replace(self.program)

    def script(self, name, text):
        """A program that is no godwitd, or one that misbehaves."""
        path = self.dir / name
        path.write_text("#!/bin/sh\n" + text)
        path.chmod(0o755)
        return path

    def version(self):
        """What runs."""
        line = next(line for line in self.ctl("status").stdout.splitlines() if line.startswith("daemon"))
        return line.split("godwitd ", 1)[1].split(",", 1)[0]

    def upgrade(self, *args, check=True):
        """`godwitctl upgrade`; its output."""
        done = self.ctl("upgrade", *args, check=check)
        return done.stdout + done.stderr


@pytest.fixture
def installed():
    """A factory of daemons that are removed in the end."""
    made = []

    def make(**kwargs):
        one = Installed(**kwargs)
        made.append(one)
        for user in ("alice", "bob"):
            one.add_account(f"{user}@localhost", "secret")
        return one.start()

    yield make
    for one in made:
        one.close()
        shutil.rmtree(one.dir, ignore_errors=True)
