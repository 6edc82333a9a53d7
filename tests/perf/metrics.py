"""What metrics cost the daemon: CPU of a scrape, and of messages with and without one each second.

    metrics.py                            5,000 idle sessions; 100 pairs that chat, five rounds of 8 s each
    metrics.py --sessions 500 --rounds 2

A scrape's CPU is the growth of the daemon's own over many scrapes in a row while nobody does anything,
without what it used in the same time without them. The messages' is the load generator's `cpu_us_per_unit`;
rounds with and without scrapes take turns, and figures are medians. As a message costs more the longer the
archive is, which kind comes first takes turns too, and a pair of rounds is compared with itself: the last
figure is the median of these ratios. The spread of the rounds without scrapes says what such a difference
means on this machine. One JSON line for each figure.
"""

import argparse
import json
import statistics
import sys
import threading
import time
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from harness.daemon import free_port  # noqa: E402

from perf.peers import Godwit, programs, run  # noqa: E402
from perf.upgrades import Load  # noqa: E402

PAIRS = 100
SCRAPES = 200
SCRAPE_SECONDS_MAX = 10
LOAD_SECONDS = 8
LOAD_SECONDS_MAX = 120
REST_SECONDS = 5


class Measured(Godwit):
    """Godwit with its metrics served."""

    def __init__(self, accounts):
        super().__init__(accounts)
        self.metrics = f"127.0.0.1:{free_port()}"

    def settings(self):
        return (all_of := super().settings()) | {"listen": all_of["listen"] | {"metrics": self.metrics}}

    def scrape(self):
        """As Prometheus does it; how many bytes came."""
        with urllib.request.urlopen(f"http://{self.metrics}/metrics", timeout=SCRAPE_SECONDS_MAX) as answer:
            return len(answer.read())

    def cpu_ms(self):
        """User and system time that all its threads have used."""
        schedules = Path(f"/proc/{self.process.pid}/task").glob("*/schedstat")
        return sum(int(one.read_text().split()[0]) for one in schedules) / 1e6


def of_a_scrape(peer):
    """CPU in ms, and bytes."""
    size, began, before = peer.scrape(), time.monotonic(), peer.cpu_ms()
    for _ in range(SCRAPES):
        peer.scrape()
    used, took = peer.cpu_ms() - before, time.monotonic() - began
    before = peer.cpu_ms()
    time.sleep(took)
    idle = peer.cpu_ms() - before
    return {"cpu_ms": round((used - idle) / SCRAPES, 3), "bytes": size}


def chat(peer, scraped):
    """One round: CPU µs of a message."""
    lines, over = peer.dir / "chat.json", threading.Event()
    lines.unlink(missing_ok=True)

    def scrape():
        while not over.wait(1):
            peer.scrape()

    scraper = threading.Thread(target=scrape, daemon=True)
    if scraped:
        scraper.start()
    command = [str(programs() / "godwit-load"), "--addr", f"127.0.0.1:{peer.port}", "--json", str(lines)]
    command += ["--server-pid", str(peer.process.pid), "chat", "--pairs", str(PAIRS), "--window", "16"]
    try:
        run([*command, "--sm", "--seconds", str(LOAD_SECONDS)], LOAD_SECONDS_MAX)
    finally:
        over.set()
        if scraped:
            scraper.join()
    phase = json.loads(lines.read_text().splitlines()[-1])
    return phase["server"]["cpu_us_per_unit"], phase["per_second"]


def say(figure, **values):
    """One line."""
    print(json.dumps({"figure": figure, **values}), flush=True)


def main():
    """See the head of this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sessions", type=int, default=5_000, help="idle sessions for a scrape (5000)")
    parser.add_argument("--rounds", type=int, default=5, help="of each kind (5)")
    arguments = parser.parse_args()
    peer = Measured(2 * PAIRS + arguments.sessions)
    try:
        peer.prepare()
        peer.start()
        say("a scrape", sessions=0, **of_a_scrape(peer))
        load = Load(peer, "idle", 2 * PAIRS, arguments.sessions // 2, 0)
        try:
            load.until_online()
            time.sleep(REST_SECONDS)
            say("a scrape", sessions=arguments.sessions, **of_a_scrape(peer))
            load.end()
        finally:
            load.close()
        # Fills what is empty at first: a first round would be cheaper than all others.
        chat(peer, False)
        found = {False: [], True: []}
        for number in range(arguments.rounds):
            for scraped in (False, True) if number % 2 == 0 else (True, False):
                found[scraped].append(chat(peer, scraped))
        for scraped, rounds in found.items():
            cpu, rate = ([one[at] for one in rounds] for at in (0, 1))
            told = {"cpu_us": round(statistics.median(cpu), 2), "least": min(cpu), "most": max(cpu)}
            name = "a message, scraped each second" if scraped else "a message, not scraped"
            say(name, **told, per_second=round(statistics.median(rate)))
        ratios = [with_scrapes[0] / without[0] for without, with_scrapes in zip(*found.values(), strict=True)]
        say(
            "scraped / not scraped",
            median=round(statistics.median(ratios), 4),
            all=sorted(round(one, 3) for one in ratios),
        )
    finally:
        peer.close()


if __name__ == "__main__":
    main()
