"""What an upgrade costs clients: Godwit's in place, beside a restart of Prosody and of ejabberd, with the
same clients.

    upgrades.py                                 15,000 idle sessions and 100 chatting pairs, three times each
    upgrades.py --idle 500 --times 1 --only godwit

Each server gets the same sessions: idle ones, and pairs that write (open loop, stream management,
resumption). Then it is upgraded, which for the others is to be stopped with SIGTERM and started again, as
`systemctl restart` does. Clients that were disconnected come back by themselves, with a pause of 0.1 s
that doubles at each failure. Said of each time: sessions carried, disconnected and lost (messages); the
longest that a message to each chatting session took from when it was due (p50, p99, largest); from the
first session lost until all were back; memory. The clients run on the same cores.
"""

import argparse
import json
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from harness.load import Failover  # noqa: E402
from harness.versions import with_version  # noqa: E402
from perf.ejabberd import Ejabberd  # noqa: E402
from perf.peers import Godwit, Prosody, programs, run  # noqa: E402

LOGIN_SECONDS_MAX = 900
BACK_SECONDS_MAX = 600
# Before and after each time, for what it left to be done.
REST_SECONDS = 5
LOOK_SECONDS = 0.002
MESSAGES_PER_PAIR = 4
COUNTS = ("disconnected", "resumed", "new_sessions", "failed", "lost", "duplicated", "out_of_order")


class UpgradedGodwit(Godwit):
    """Godwit, run from a place of its own, where other versions are installed."""

    def __init__(self, accounts):
        super().__init__(accounts)
        self.number = 0
        self.place = self.dir / "godwitd"
        self.install()

    def install(self):
        """The same program with the next version."""
        self.number += 1
        new = with_version(f"1.{self.number}.0", self.dir / "new", self.bin / "godwitd")
        new.replace(self.place)

    def command(self):
        return [str(self.place), "--config", str(self.config)]

    def renew(self):
        """In place; what `godwitctl` said of it."""
        self.install()
        ctl = [str(self.bin / "godwitctl"), "--config", str(self.config)]
        return run([*ctl, "upgrade"]).strip()


def restarted(kind):
    """A server that can only be restarted."""

    class Restarted(kind):
        def renew(self):
            """As `systemctl restart`."""
            began = time.monotonic()
            self.stop()
            self.start()
            return f"restarted in {time.monotonic() - began:.1f} s"

    return Restarted


PEERS = {"godwit": UpgradedGodwit, "prosody": restarted(Prosody), "ejabberd": restarted(Ejabberd)}


class Load(Failover):
    """Two processes of it, against any server."""

    login_seconds_max = LOGIN_SECONDS_MAX
    end_seconds_max = BACK_SECONDS_MAX
    load_seconds_max = 86_400

    def __init__(self, peer, name, first, pairs, messages, options=()):
        command = [str(programs() / "godwit-load"), "--addr", f"127.0.0.1:{peer.port}", "--rate", "300"]
        command += ["--processes", "2", "--first", str(first), *options]
        super().__init__(peer.dir, name, command, pairs, messages)


class Memory(threading.Thread):
    """Looks at a process's memory while it becomes another program: `VmHWM` begins anew with that."""

    def __init__(self, peer):
        super().__init__(daemon=True)
        self.peer = peer
        self.over = threading.Event()
        self.before, self.available = self.resident(), self.free()
        self.most, self.least = self.before, self.available

    def resident(self):
        """KiB of all its processes; what is not there (any more) has none."""
        total = 0
        for pid in self.peer.pids() if self.peer.process else []:
            try:
                status = Path(f"/proc/{pid}/status").read_text()
            except OSError:
                continue
            total += sum(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
        return total

    def free(self):
        """KiB that the machine has left: also counts memory without an address, like the hand-over's."""
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))

    def run(self):
        while not self.over.wait(LOOK_SECONDS):
            self.most = max(self.most, self.resident())
            self.least = min(self.least, self.free())

    def end(self):
        """MiB: resident before, at most, and how much less the machine had left at worst."""
        self.over.set()
        self.join()
        figures = self.before, self.most, self.available - self.least
        return dict(zip(("rss_before", "rss_most", "available_less"), (kib // 1024 for kib in figures)))


def once(peer, idle, pairs):
    """One upgrade under all sessions."""
    loads = []
    try:
        # Two sessions make a pair, also where they write nothing.
        loads.append(Load(peer, "idle", 2 * pairs, idle // 2, 0))
        loads[0].until_online()
        loads.append(Load(peer, "chat", 0, pairs, MESSAGES_PER_PAIR * pairs))
        loads[1].until_online()
        time.sleep(REST_SECONDS)
        memory = Memory(peer)
        memory.start()
        said = peer.renew()
        time.sleep(REST_SECONDS)
        figures = memory.end()
        counted = [load.end() for load in loads]
    finally:
        for load in loads:
            load.close()
    counts = {name: sum(phase["counts"].get(name, 0) for phase in counted) for name in COUNTS}
    back = [phase["latency_us"].get("all_back", {}).get("max", 0) / 1e6 for phase in counted]
    longest = counted[1]["latency_us"].get("longest", {})
    return {
        "server": peer.name,
        "sessions": sum(phase["sessions"] for phase in counted),
        **counts,
        "all_back_s": max(back, default=0),
        **{f"gap_{name}_ms": longest.get(name, 0) / 1000 for name in ("p50", "p99", "max")},
        **{f"{name}_mib": value for name, value in figures.items()},
        "said": said,
    }


def main():
    """See the head of this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--idle", type=int, default=15_000, help="idle sessions (15000)")
    parser.add_argument("--pairs", type=int, default=100, help="pairs that chat (100)")
    parser.add_argument("--times", type=int, default=3, help="how often each server is upgraded (3)")
    parser.add_argument("--only", nargs="+", choices=list(PEERS), default=list(PEERS), help="these servers")
    parser.add_argument("--json", type=Path, help="append a line for each time to this file")
    arguments = parser.parse_args()
    for name in arguments.only:
        if PEERS[name].missing():
            print(f"SKIPPED {name}: {PEERS[name].missing()}", flush=True)
            continue
        peer = PEERS[name](arguments.idle + 2 * arguments.pairs)
        try:
            print(f"{name}: {peer.version()}, {peer.accounts} accounts", flush=True)
            peer.prepare()
            peer.start()
            for _ in range(arguments.times):
                figures = once(peer, arguments.idle, arguments.pairs)
                print(json.dumps(figures), flush=True)
                if arguments.json:
                    with open(arguments.json, "a") as lines:
                        lines.write(json.dumps(figures) + "\n")
        finally:
            peer.close()


if __name__ == "__main__":
    main()
