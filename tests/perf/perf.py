"""Counts what a message and a login cost the server, in figures that come out the same on a busy machine.

    perf.py            counts, compares with baseline.json, ends with 1 if a figure grew by more than 5 %
    perf.py --update   counts and writes baseline.json anew: a commit that says why

Instructions and allocations are counted by callgrind, system calls by strace, both while one pair chats one
message at a time (so nothing is shared between messages: under load each costs less), and while clients log
in one after the other. A figure is the lowest of three runs: what disturbs one (a wake-up that came alone, a
timer) only ever adds. Context switches and system calls are shown, and not judged: the scheduler has its part
in them. Instructions depend on the compiler: the baseline names it, and with another one nothing is judged.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from harness.daemon import binary  # noqa: E402

from perf import callgrind  # noqa: E402
from perf.peers import Godwit, run  # noqa: E402

BASELINE = Path(__file__).with_name("baseline.json")
GROWTH_MAX = 0.05
# What is judged, and by how much a small count may differ as well. Lowest counts of one program differ by one
# in a hundred. System calls by ten: how many things share a wake-up depends on who else wants the cores.
SLACK = {
    ("message", "instructions"): 0.0,
    ("message", "allocations"): 1.0,
    ("login", "instructions"): 0.0,
    ("login", "allocations"): 1.0,
}
LOAD_SECONDS_MAX = 300
STRACE_SECONDS_MAX = 30
ACCOUNTS = 4
WARM_UP = 0.1
UNITS = {"message": 3000, "login": 100}
ROUNDS = 3


class Bench:
    """The daemon of this checkout, dev profile, under callgrind, under strace or alone."""

    def __init__(self, wrapped):
        self.server = Godwit(ACCOUNTS)
        self.server.bin = Path(binary("godwitd")).parent
        self.server.prepare()
        self.out = self.server.dir / "callgrind"
        if wrapped:
            plain = self.server.command()
            self.server.command = lambda: callgrind.wrap(plain, self.out)
        self.server.start()
        self.pid = self.server.process.pid
        self.work = {"message": self.messages, "login": self.logins}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.close()

    def load(self, *arguments):
        """One run of the load generator."""
        address = ["--addr", f"127.0.0.1:{self.server.port}"]
        run([binary("godwit-load"), *address, *arguments], LOAD_SECONDS_MAX)

    def messages(self, count):
        """One pair, one message in flight, `count` of them; acknowledged as XEP-0198 has it."""
        options = ["--window", "1", "--sm", "--seconds", str(LOAD_SECONDS_MAX)]
        self.load("chat", "--pairs", "1", "--messages", str(count), *options)

    def logins(self, count):
        """One after the other, so that neither the order nor the admission plays a part."""
        self.load("--accounts", "1", "--in-flight", "1", "login", "--logins", str(count))


def lowest(measure, work, units):
    """Cost of one unit of work, each figure from its best round."""
    work(int(units * WARM_UP))
    rounds = [measure(lambda: work(units)) for _ in range(ROUNDS)]
    return {key: min(one[key] for one in rounds) / units for key in rounds[0]}


def system_calls(pid, work):
    """Counted by `strace -c` on all threads; also the switches that /proc counts meanwhile."""
    with tempfile.NamedTemporaryFile("r", prefix="godwit-strace-") as out:
        tracer = subprocess.Popen(
            ["strace", "-f", "-c", "-o", out.name, "-p", str(pid)], stderr=subprocess.PIPE, text=True
        )
        attached = tracer.stderr.readline()
        if "attached" not in attached:
            raise RuntimeError(f"strace: {attached}{tracer.stderr.read()}")
        work()
        tracer.send_signal(signal.SIGINT)
        tracer.communicate(timeout=STRACE_SECONDS_MAX)
        total = re.search(r"^\s*100\.00\s+\S+(?:\s+\d+)?\s+(\d+)(?:\s+\d+)?\s+total", out.read(), re.M)
    if not total:
        raise RuntimeError("strace counted nothing")
    return {"system_calls": int(total[1])}


def switches(pid, work):
    """Context switches of the process's threads."""

    def now():
        total = 0
        for status in Path(f"/proc/{pid}/task").glob("*/status"):
            total += sum(map(int, re.findall(r"ctxt_switches:\s+(\d+)", status.read_text())))
        return total

    before = now()
    work()
    return {"context_switches": now() - before}


def count():
    """All figures: {"message": {…}, "login": {…}}."""
    figures = {unit: {} for unit in UNITS}
    with Bench(wrapped=True) as bench:
        for unit, units in UNITS.items():
            print(f"perf: instructions and allocations of a {unit}", flush=True)
            counted = lambda work: callgrind.measured(bench.pid, bench.out, work)  # noqa: E731
            figures[unit] |= lowest(counted, bench.work[unit], units)
    with Bench(wrapped=False) as bench:
        for unit, units in UNITS.items():
            print(f"perf: system calls and context switches of a {unit}", flush=True)
            for measure in (system_calls, switches):
                figures[unit] |= lowest(lambda work: measure(bench.pid, work), bench.work[unit], units)
    return figures


def conditions():
    """What instructions depend on."""
    compiler = subprocess.run(
        ["rustc", "--version"], capture_output=True, text=True, check=True
    ).stdout.strip()
    c = subprocess.run(["cc", "-dumpfullversion"], capture_output=True, text=True, check=True).stdout.strip()
    flags = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags"))
    # callgrind shows the program these at most, and aws-lc and RocksDB choose their code by them.
    seen = [
        flag
        for flag in ("avx", "avx2", "bmi2", "aes", "pclmulqdq", "rdrand", "f16c")
        if flag in flags.split()
    ]
    return {"rustc": compiler, "cc": c, "cpu": " ".join(seen), "profile": "dev"}


def judge(figures, baseline):
    """Prints the table; returns the figures that grew too much."""
    grown = []
    print(f"{'':9} {'figure':17} {'baseline':>12} {'now':>12} {'change':>8}")
    for unit, values in figures.items():
        for name, value in values.items():
            was = baseline.get(unit, {}).get(name)
            change = f"{value / was - 1:+.1%}" if was else ""
            shown = f"{was:12,.1f}" if was is not None else f"{'-':>12}"
            print(f"{unit:9} {name:17} {shown} {value:12,.1f} {change:>8}")
            slack = SLACK.get((unit, name))
            if slack is not None and was is not None and value > was * (1 + GROWTH_MAX) + slack:
                grown.append(f"{name} of a {unit}: {was:,.1f} became {value:,.1f}")
    return grown


def main():
    """See the head of this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--update", action="store_true", help="write baseline.json anew")
    arguments = parser.parse_args()
    missing = [
        tool
        for tool in ("valgrind", "strace")
        if not any(os.access(Path(directory) / tool, os.X_OK) for directory in os.environ["PATH"].split(":"))
    ]
    if missing:
        print(f"SKIPPED {' and '.join(missing)} not installed: nothing can be counted")
        return 0
    figures, where = count(), conditions()
    if arguments.update:
        BASELINE.write_text(json.dumps({"conditions": where, "figures": figures}, indent=2) + "\n")
    saved = json.loads(BASELINE.read_text())
    grown = judge(figures, saved["figures"])
    if saved["conditions"] != where:
        print(f"SKIPPED the baseline was counted with {saved['conditions']}, this is {where}: not judged")
        return 0
    for figure in grown:
        print(f"perf: {figure}, more than {GROWTH_MAX:.0%} above the baseline")
    if grown:
        print("perf: find what costs more; if it is worth it: perf.py --update, and say why in the commit")
    return int(bool(grown))


if __name__ == "__main__":
    sys.exit(main())
