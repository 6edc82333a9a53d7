#!/usr/bin/env python3
"""Lists what is compiled into the programs: each crate of godwit-server's tree that is built for use, with
its version and licence, as `cargo tree` and Cargo.lock have it."""

import subprocess
import sys


def main():
    """Prints name, version and licence, one crate a line."""
    command = "cargo tree --locked --offline -p godwit-server -e normal --prefix none -f".split()
    listed = subprocess.run(
        [*command, "{p}|{l}"], cwd=sys.argv[1], capture_output=True, text=True, check=False
    )
    if listed.returncode != 0:
        sys.exit(f"deb: cargo tree: {listed.stderr.strip()}")
    rows = set()
    for line in listed.stdout.splitlines():
        crate, _, licence = line.removesuffix(" (*)").partition("|")
        name, version = crate.split()[:2]
        if not name.startswith("godwit-"):
            rows.add(f"{name:<32} {version.removeprefix('v'):<20} {licence.removesuffix(' (*)')}")
    print("Libraries in godwitd and godwitctl: name, version, licence (SPDX).\n", *sorted(rows), sep="\n")


if __name__ == "__main__":
    main()
