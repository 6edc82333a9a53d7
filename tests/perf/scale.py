"""Do Godwit's costs grow with the number of sessions and messages? And what happens beyond what it can do?

    scale.py                              everything, about ten minutes on two cores
    scale.py --parts sessions logins      some of it
    scale.py --sessions 1000 5000 --archives 10000

Parts: `sessions` (so many, all but 200 idle with a keepalive a minute, while 100 pairs chat), `archives`
(the same chat, and pages of 50, with so many messages in the archive), `logins` (of each kind), `burst`
(memory before and after), `overload` (twice the knee), `storm` (kill -9, and all come back). Writes
SCALE.md and scale.svg. The load generator runs on the same cores; each figure is of one run.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from perf.bench import machine  # noqa: E402
from perf.peers import Godwit, PeerError, programs, run  # noqa: E402
from perf.scale_report import write  # noqa: E402

HERE = Path(__file__).parent
RUN_SECONDS_MAX = 600
CHATTING = 200
CHAT = ["--pairs", str(CHATTING // 2), "--sm", "--seconds", "8", "--warmup", "3"]
BURST_REST_SECONDS = 60
SETTLE_SECONDS = 3
# A run that is over with its last message, whenever that is.
FOR_ALL_SECONDS = 600
PARTS = ["sessions", "archives", "logins", "burst", "overload", "storm"]
# The archive is filled by so many pairs.
FILLING_PAIRS = 100


def start(peer):
    """Starts it, and lets it settle: what it needs at its start is not what sessions need."""
    peer.start()
    time.sleep(SETTLE_SECONDS)


class Runs:
    """Runs of the load generator against one server; their JSON lines."""

    def __init__(self, peer):
        self.peer = peer
        self.ctl = [str(programs() / "godwitctl"), "--config", str(peer.config)]

    def command(self, lines, options, arguments):
        """What is started; the phases go to the file `lines`."""
        ctl = ["--godwitctl", *self.ctl]
        address = ["--addr", f"127.0.0.1:{self.peer.port}", "--server-pid", str(self.peer.process.pid)]
        return [str(programs() / "godwit-load"), *address, *ctl, "--json", str(lines), *options, *arguments]

    def begin(self, *arguments, options=()):
        """Starts one; (process, file)."""
        lines = self.peer.dir / f"{time.monotonic_ns()}.json"
        lines.touch()
        command = self.command(lines, options, list(map(str, arguments)))
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True), lines

    def end(self, process, lines):
        """Waits for it; {phase: line}. What went wrong in it is shown, and is in the phases."""
        _, said = process.communicate(timeout=RUN_SECONDS_MAX)
        if process.returncode != 0:
            print(f"    exited {process.returncode}: {said.strip()[-500:]}", flush=True)
        return {phase["phase"]: phase for phase in map(json.loads, lines.read_text().splitlines())}

    def run(self, *arguments, options=()):
        """One from beginning to end."""
        return self.end(*self.begin(*arguments, options=options))


def resident(peer):
    """Bytes."""
    text = Path(f"/proc/{peer.process.pid}/status").read_text()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("VmRSS")) * 1024


def wait_for(lines, phase, process):
    """Until a run in the background has come so far."""
    deadline = time.monotonic() + RUN_SECONDS_MAX
    while f'"phase":"{phase}"' not in lines.read_text().replace(" ", ""):
        if process.poll() is not None or time.monotonic() > deadline:
            raise PeerError(f"the load generator did not come to {phase}")
        time.sleep(0.2)


def sessions(peer, count):
    """All figures with so many sessions, CHATTING of them busy."""
    start(peer)
    runs = Runs(peer)
    held = ["--sessions", count - CHATTING, "--settle", 5]
    idle, lines = runs.begin(
        "idle", *held, "--hold", 20, "--keepalive", 60, options=["--processes", "2", "--first", str(CHATTING)]
    )
    # The keepalives alone first; then beside the chat.
    phases = runs.end(idle, lines)
    peer.stop()
    start(peer)
    idle, lines = runs.begin(
        "idle", *held, "--hold", 20, options=["--processes", "2", "--first", str(CHATTING)]
    )
    wait_for(lines, "idle.settled", idle)
    chat = runs.run("chat", "--window", 1, *CHAT)["chat"]
    runs.end(idle, lines)
    peer.stop()
    return {
        "bytes": phases["idle.settled"]["server"]["rss_per_session"],
        "login_us": phases["idle.login"]["server"]["cpu_us_per_unit"],
        "idle_percent": 100 * phases["idle.held"]["server"]["cores_busy"],
        "keepalives": phases["idle.held"]["counts"]["keepalives"],
        "lost": phases["idle.held"]["counts"].get("lost", 0),
        **chat_figures(chat),
    }


def chat_figures(chat):
    """Of a chat at window 1."""
    return {
        "message_us": chat["server"]["cpu_us_per_unit"],
        "per_second": chat["per_second"],
        "p50_us": chat["latency_us"]["delivery"]["p50"],
        "p99_us": chat["latency_us"]["delivery"]["p99"],
    }


def fill(runs, count):
    """So many rows more in the archive: each message has two, the sender's and the recipient's."""
    each = max(1, count // 2 // FILLING_PAIRS)
    how_many = ["--pairs", FILLING_PAIRS, "--messages", each, "--seconds", FOR_ALL_SECONDS]
    runs.run("chat", "--window", 16, *how_many)


def archives(counts):
    """[figures] with so many rows in the archive of 200 accounts, fewest first; of a server of its own, whose
    archive nothing else has filled."""
    peer = Godwit(CHATTING)
    try:
        peer.prepare()
        start(peer)
        return with_archives(peer, counts)
    finally:
        peer.close()


def with_archives(peer, counts):
    """The same, of a server that has none yet."""
    runs, have, found = Runs(peer), 0, []
    for count in counts:
        fill(runs, count - have)
        rows = json.loads(run([*runs.ctl, "status", "--json"]))["archive"]["rows"]
        pages = runs.run("mam", "--sessions", 100, "--archive", 0, "--queries", 50)["mam.pages"]
        chat = runs.run("chat", "--window", 1, *CHAT)["chat"]
        # What the chat and the warm-up added.
        have = count + 2 * int(chat["units"] * 11 / 8)
        found.append(
            {
                "rows": rows,
                "page_us": pages["server"]["cpu_us_per_unit"],
                "page_p50_us": pages["latency_us"]["page"]["p50"],
                **chat_figures(chat),
            }
        )
        print(f"  archive of {rows:,} rows: {found[-1]}", flush=True)
    return found


def logins(peer, count=2000):
    """CPU of the server for a login of each kind, µs."""
    start(peer)
    runs = Runs(peer)

    def storm(*options, resume=()):
        storm = runs.run("login-storm", "--sessions", count, "--spread", 5, *resume, options=options)["storm"]
        return storm["server"]["cpu_us_per_unit"]

    found = {
        "full handshake, SCRAM, bind": storm(),
        "TLS ticket, SCRAM, bind": storm("--tickets"),
        "full handshake, SCRAM, XEP-0198 resumption": storm(resume=["--resume"]),
        "TLS ticket, SCRAM, XEP-0198 resumption": storm("--tickets", resume=["--resume"]),
    }
    peer.stop()
    return found


def burst(peer):
    """Memory before a burst of 100 pairs × 1,000 messages, at most, and a minute later; of two bursts."""
    start(peer)
    runs, found = Runs(peer), []
    for _ in range(2):
        before = resident(peer)
        chat = runs.run(
            "chat", "--window", 16, "--pairs", 100, "--messages", 1000, "--seconds", FOR_ALL_SECONDS
        )["chat"]
        time.sleep(BURST_REST_SECONDS)
        found.append({"before": before, "most": chat["server"]["rss_max"], "after": resident(peer)})
    peer.stop()
    return found


def overload(peer):
    """The knee, and twice as much."""
    start(peer)
    ramp = ["ramp", "--from", 10000, "--factor", 1.5, "--step", 5, "--refine", 3, "--overload", 2]
    settle = Runs(peer).run(*ramp)["ramp.settle"]
    peer.stop()
    return settle["ramp"] | {name: settle["counts"][name] for name in ("lost", "duplicated", "out_of_order")}


def storm(peer, count):
    """kill -9 under so many sessions; how long until all are back."""
    start(peer)
    runs = Runs(peer)
    begun = runs.begin(
        "login-storm", "--sessions", count, "--resume", "--await-cut", options=["--processes", "2"]
    )
    wait_for(begun[1], "storm.login", begun[0])
    time.sleep(5)
    os.kill(peer.process.pid, 9)
    peer.process.wait()
    peer.start()
    phase = runs.end(*begun)["storm"]
    peer.stop()
    back = phase["latency_us"]["back"]
    return {"sessions": count, "back": phase["units"], "p50_us": back["p50"], "max_us": back["max"]} | {
        name: phase["counts"].get(name, 0) for name in ("failed", "retried", "cut_again", "resumed")
    }


def main():
    """See the head of this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--sessions", nargs="+", type=int, default=[1000, 5000, 10000, 19000])
    parser.add_argument("--archives", nargs="+", type=int, default=[10_000, 100_000, 1_000_000], help="rows")
    parser.add_argument("--storm", type=int, default=15000, help="sessions in the storm")
    parser.add_argument("--out", type=Path, default=HERE, help="where SCALE.md and scale.svg go")
    arguments = parser.parse_args()
    parts = arguments.parts
    accounts = max(
        [CHATTING, 2000 if "logins" in parts else 0]
        + (arguments.sessions if "sessions" in parts else [])
        + ([arguments.storm] if "storm" in parts else [])
    )
    peer, found = Godwit(accounts), {"machine": machine()}
    try:
        print(f"scale: {accounts} accounts", flush=True)
        peer.prepare()
        found["version"] = peer.version()
        if "sessions" in parts:
            found["sessions"] = {}
            for count in arguments.sessions:
                found["sessions"][count] = sessions(peer, count)
                print(f"  {count} sessions: {found['sessions'][count]}", flush=True)
        steps = {
            "logins": lambda: logins(peer),
            "burst": lambda: burst(peer),
            "overload": lambda: overload(peer),
            "storm": lambda: storm(peer, arguments.storm),
            "archives": lambda: archives(arguments.archives),
        }
        for part in (part for part in steps if part in parts):
            print(f"scale: {part}", flush=True)
            found[part] = steps[part]()
            print(f"  {found[part]}", flush=True)
    finally:
        peer.close()
    arguments.out.mkdir(parents=True, exist_ok=True)
    write(arguments.out, found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
