"""Godwit beside Prosody and ejabberd on this machine: one load generator, one certificate, equal features.

    bench.py --rounds 3                 all servers, in alternation; writes RESULTS.md and results.svg
    bench.py --only godwit --rounds 1   one of them; what it writes goes to --out

In each round every server does every scenario, and the servers take turns, so that a disturbance of the
machine meets all of them. A figure is the median of the rounds; the ratio is that of the medians. The load
generator runs on the same cores as the server. What is switched on in each server: peers.py and ejabberd.py.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from perf.ejabberd import Ejabberd, EjabberdPostgres  # noqa: E402
from perf.peers import Godwit, PeerError, Prosody, programs  # noqa: E402
from perf.results import write  # noqa: E402

PEERS = [Godwit, EjabberdPostgres, Ejabberd, Prosody]
HERE = Path(__file__).parent
SCENARIO_SECONDS_MAX = 420
# Between scenarios, so that what one left to do (a flush, a collection) does not count for the next.
PAUSE_SECONDS = 5
# A server that was just started is at rest when it uses less than this share of a core.
REST_CORES, LOOK_SECONDS, REST_SECONDS_MAX = 0.03, 2, 90


def scenarios(sessions):
    """Name and arguments of each run of the load generator."""
    pairs = ["--pairs", "100", "--body", "100", "--sm", "--seconds", "10", "--warmup", "3"]
    return [
        ("idle", ["--rate", "150", "idle", "--sessions", str(sessions), "--settle", "5", "--hold", "5"]),
        ("chat", ["chat", "--window", "1", *pairs]),
        ("chat16", ["chat", "--window", "16", *pairs]),
        ("offline", ["offline", "--users", "100", "--messages", "50"]),
    ]


def load(peer, name, arguments, lines):
    """One run; its JSON lines go to the file `lines`, and come back."""
    command = [str(programs() / "godwit-load"), "--addr", f"127.0.0.1:{peer.port}", "--label", peer.name]
    pids = ",".join(map(str, peer.pids()))
    before = lines.stat().st_size if lines.exists() else 0
    done = subprocess.run(
        [*command, "--json", str(lines), "--server-pid", pids, *arguments],
        capture_output=True,
        text=True,
        timeout=SCENARIO_SECONDS_MAX,
    )
    print(f"  {name}: {done.stdout.strip().splitlines()[-1] if done.stdout.strip() else ''}", flush=True)
    if done.returncode != 0:
        print(f"  {name}: exited {done.returncode}: {done.stderr.strip()}", flush=True)
    with open(lines) as text:
        text.seek(before)
        return [json.loads(line) | {"run": name} for line in text]


def cpu_seconds(peer):
    """Of all its processes so far."""
    ticks = 0
    for pid in peer.pids():
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def rest(peer):
    """Until it does nothing by itself: what it does at its start with what an earlier round left (compaction,
    caches) is no cost of the sessions that come next."""
    deadline, before = time.monotonic() + REST_SECONDS_MAX, cpu_seconds(peer)
    while time.monotonic() < deadline:
        time.sleep(LOOK_SECONDS)
        now = cpu_seconds(peer)
        if now - before < REST_CORES * LOOK_SECONDS:
            return
        before = now


def restart_seconds(peer):
    """From `kill -9` until it accepts connections again."""
    os.kill(peer.process.pid, 9)
    peer.process.wait()
    began = time.monotonic()
    peer.start()
    return time.monotonic() - began


def bench_round(peer, sessions, lines):
    """All scenarios on a server that was just started."""
    phases = []
    peer.start()
    try:
        rest(peer)
        for name, arguments in scenarios(sessions):
            time.sleep(PAUSE_SECONDS)
            try:
                phases += load(peer, name, arguments, lines)
            except subprocess.TimeoutExpired:
                print(f"  {name}: not done in {SCENARIO_SECONDS_MAX} s", flush=True)
        phases.append({"run": "restart", "phase": "restart", "seconds": restart_seconds(peer)})
    finally:
        peer.stop()
    return phases


def machine():
    """What the figures were measured on, in words."""
    model = "?"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
    memory = int(Path("/proc/meminfo").read_text().split()[1]) // 1024 // 1024
    return f"{os.cpu_count()} cores ({model}), {memory} GiB, Linux {platform.release()}"


def main():
    """See the head of this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="how often each server does everything (3)")
    parser.add_argument("--sessions", type=int, default=2000, help="idle sessions (2000)")
    parser.add_argument("--only", nargs="+", choices=[peer.name for peer in PEERS], help="these servers")
    parser.add_argument("--out", type=Path, default=HERE, help="where RESULTS.md and results.svg go")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    lines = arguments.out / "bench.jsonl"
    lines.unlink(missing_ok=True)
    chosen = [peer for peer in PEERS if not arguments.only or peer.name in arguments.only]
    skipped = {peer.name: peer.missing() for peer in chosen if peer.missing()}
    for name, why in skipped.items():
        print(f"bench: SKIPPED {name}: {why}", flush=True)
    peers = [peer(max(arguments.sessions, 200)) for peer in chosen if peer.name not in skipped]
    figures, versions = {peer.name: [] for peer in peers}, {}
    try:
        for peer in peers:
            print(f"bench: {peer.name}: {peer.accounts} accounts", flush=True)
            peer.prepare()
            versions[peer.name] = peer.version()
        for number in range(arguments.rounds):
            for peer in peers:
                print(f"bench: round {number + 1} of {arguments.rounds}: {peer.name}", flush=True)
                try:
                    figures[peer.name].append(bench_round(peer, arguments.sessions, lines))
                except PeerError as error:
                    print(f"bench: {peer.name}: {error}", flush=True)
    finally:
        for peer in peers:
            peer.close()
    write(arguments.out, figures, versions, machine(), statistics.median)
    return 0


if __name__ == "__main__":
    sys.exit(main())
