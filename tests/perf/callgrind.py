"""Runs a server under callgrind and reads what it counted: instructions, and calls of the allocator."""

import re
import subprocess
from pathlib import Path

CONTROL_SECONDS_MAX = 60
ALLOCATING = {"malloc", "calloc", "realloc", "posix_memalign", "aligned_alloc"}


class CallgrindError(Exception):
    """callgrind did not do what it was told."""


def wrap(command, out):
    """The command under callgrind; its dumps are `out`.1, `out`.2 …"""
    return ["valgrind", "-q", "--tool=callgrind", f"--callgrind-out-file={out}", *command]


def control(pid, *what):
    """callgrind_control ends with 0 also when it failed: its words decide."""
    done = subprocess.run(
        ["callgrind_control", *what, str(pid)], capture_output=True, text=True, timeout=CONTROL_SECONDS_MAX
    )
    if "OK." not in done.stdout:
        raise CallgrindError(f"callgrind_control {' '.join(what)}: {done.stdout}{done.stderr}")


def measured(pid, out, work):
    """What the process did while `work()` ran: {"instructions": …, "allocations": …}."""
    before = set(dumps(out))
    control(pid, "-z")
    work()
    control(pid, "--dump=measured")
    new = [path for path in dumps(out) if path not in before]
    if len(new) != 1:
        raise CallgrindError(f"one dump was expected beside {out}, there are {len(new)}")
    return read(new[0])


def dumps(out):
    """Those that are there."""
    return sorted(out.parent.glob(out.name + ".*"))


def read(path: Path):
    """Totals of a dump. A name is written once, later lines give its number (callgrind format, version 1)."""
    names, callee, allocations, instructions = {}, None, 0, None
    with open(path, errors="replace") as lines:
        for line in lines:
            if line.startswith(("fn=", "cfn=")):
                number, name = re.match(r"c?fn=\((\d+)\)(?: (.*))?", line).groups()
                if name:
                    names[number] = name
                if line.startswith("c"):
                    callee = number
            elif line.startswith("calls=") and names.get(callee) in ALLOCATING:
                allocations += int(line[6:].split()[0])
            elif line.startswith("totals:"):
                instructions = int(line.split()[1])
    if instructions is None:
        raise CallgrindError(f"{path} holds no totals")
    return {"instructions": instructions, "allocations": allocations}
