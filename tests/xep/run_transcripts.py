#!/usr/bin/env python3
"""Runs tests/transcripts/ and the hostile cases of this directory against the real binary over TLS.

    run_transcripts.py             everything
    run_transcripts.py NAME...     those whose name contains one of the words

Each transcript gets a daemon of its own. The last line is the count; skips are listed with their reasons.
"""

import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "e2e")]

from harness import Daemon  # noqa: E402

import hostile_cases  # noqa: E402
import hostile_stream  # noqa: E402, F401 (registers its cases)
import hostile_tls  # noqa: E402, F401 (registers its cases)
from transcript import DOMAIN, Connection, Run, Unsuitable, needs_exporter, prepare  # noqa: E402

AT_ONCE = 3
LOG_BYTES_SHOWN_MAX = 4000
HOSTILE_MIN = 40

try:
    from tls_exporter import ExporterClient
except ImportError:
    ExporterClient = None


class ExporterConnection(Connection):
    """A connection over pyOpenSSL, which alone can tell its tls-exporter data."""

    def start_tls(self):
        """Hands the socket over to the client that can."""
        twin = ExporterClient.__new__(ExporterClient)
        twin.domain, twin.sock = DOMAIN, self.raw.sock
        twin.start_tls()
        self.raw = twin
        self.wants_tls = False


def run_transcript(path):
    """(outcome, text) of one file."""
    text = path.read_text(encoding="utf-8")
    try:
        exporter = None
        if needs_exporter(text):
            if ExporterClient is None:
                raise Unsuitable("pyOpenSSL is not installed (run it with the venv of `make deps`)")
            exporter = ExporterConnection
        daemon, accounts, context, hurry = prepare(text)
    except Unsuitable as why:
        return "skipped", str(why)
    try:
        daemon.start()
        for user, password in accounts:
            daemon.add_account(f"{user}@{DOMAIN}", password)
        Run(daemon, context, hurry, exporter).run(text)
        if not daemon.running() and "SERVER close" not in text:
            return "failed", "the daemon ended"
        return "passed", ""
    except Unsuitable as why:
        return "skipped", str(why)
    except Exception as why:  # any way to fail is a failure of this transcript alone
        return "failed", f"{type(why).__name__}: {why}\n--- log\n{daemon.read_log()[-LOG_BYTES_SHOWN_MAX:]}"
    finally:
        daemon.close()


def run_hostile(words):
    """Outcomes of the edge-level cases, which share one daemon: it must survive them all."""
    outcomes = {}
    settings = {"stream": {"handshake_timeout": "2s", "login_timeout": "4s"}}
    with Daemon(settings=settings) as daemon:
        hostile_cases.prepare(daemon)
        for name, case in hostile_cases.CASES.items():
            if words and not any(word in name for word in words):
                continue
            try:
                case(daemon)
                hostile_cases.alive(daemon)
                outcomes[f"edge/{name}"] = ("passed", "")
            except Exception as why:  # any way to fail is a failure of this case alone
                log = daemon.read_log()[-LOG_BYTES_SHOWN_MAX:]
                outcomes[f"edge/{name}"] = ("failed", f"{type(why).__name__}: {why}\n--- log\n{log}")
                if not daemon.running():
                    daemon.start()
    return outcomes


def main():
    """Runs what was asked for and counts."""
    words, started = sys.argv[1:], time.monotonic()
    paths = sorted((ROOT / "transcripts").glob("*/*.transcript"))
    chosen = [path for path in paths if not words or any(word in str(path) for word in words)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        names = [f"{path.parent.name}/{path.stem}" for path in chosen]
        outcomes = dict(zip(names, pool.map(run_transcript, chosen), strict=True))
    outcomes.update(run_hostile(words))
    for name, (outcome, text) in outcomes.items():
        if outcome == "skipped":
            print(f"SKIPPED {name}: {text}")
        elif outcome == "failed":
            print(f"FAILED {name}: {text}")
    hostile_ran = sum(
        name.startswith(("hostile/", "edge/")) and outcome != "skipped"
        for name, (outcome, _) in outcomes.items()
    )
    count = Counter(outcome for outcome, _ in outcomes.values())
    print(f"hostile cases: {hostile_ran}; time: {time.monotonic() - started:.0f} s")
    if not words and hostile_ran < HOSTILE_MIN:
        print(f"FAILED: fewer than {HOSTILE_MIN} hostile cases ran")
        count["failed"] += 1
    print(f"{count['passed']} passed, {count['failed']} failed, {count['skipped']} skipped")
    sys.exit(1 if count["failed"] else 0)


if __name__ == "__main__":
    main()
