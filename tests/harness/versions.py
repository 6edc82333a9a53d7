"""Programs that differ in nothing but what they call themselves, for upgrades from one to the other."""

from pathlib import Path

from .daemon import binary

MARK = b"godwit-version:"
VERSION_BYTES = 33  # what is left of the 48 bytes in daemon/server/src/version.rs


def with_version(version, to, of=None):
    """A copy of godwitd (or of the program `of`) that calls itself so; it differs in nothing else."""
    program = bytearray(Path(of or binary("godwitd")).read_bytes())
    at, count = program.find(MARK), program.count(MARK + b"0.")
    assert count == 1, f"{count} places of the version"
    text = version.encode().ljust(VERSION_BYTES, b"\0")
    program[at + len(MARK) : at + len(MARK) + VERSION_BYTES] = text
    to.write_bytes(program)
    to.chmod(0o755)
    return to
