"""2,000 TLS sessions chat with stream management while ten upgrades go over them, between binaries of
different versions: nobody is disconnected, and each message comes once, in its order.
"""

import json
import subprocess
import time

import pytest
from test_stacks import Talk

from harness.daemon import binary
from harness.stacks import STACKS, VERSIONS

UPGRADES = 10
SESSIONS = 2_000
# Of them with each library, half of it with each version; the others are the load generator's.
LIBRARY_SESSIONS = 20
MESSAGES_PER_SECOND = 800
WRONG = ("disconnected", "lost", "duplicated", "out_of_order", "errors", "late")
PAUSE_SECONDS = 0.5
LOGIN_SECONDS_MAX = 120
# Longer than the test may take: the load ends when it is told to.
LOAD_SECONDS_MAX = 900
TEST_SECONDS_MAX = 500


class Load:
    """One process of godwit-load: pairs with one version of TLS, for as long as a file exists."""

    def __init__(self, daemon, version, first, pairs):
        self.lines = daemon.dir / f"load-{version}.json"
        self.go_on = daemon.dir / f"load-{version}"
        self.go_on.touch()
        self.log = open(daemon.dir / f"load-{version}.log", "w+")
        command = [binary("godwit-load"), "--addr", f"{daemon.address}:{daemon.tls_port}"]
        command += ["--json", str(self.lines), "--tls-version", version, "--first", str(first)]
        command += ["failover", "--pairs", str(pairs), "--seconds", str(LOAD_SECONDS_MAX)]
        command += ["--messages", str(MESSAGES_PER_SECOND / 2), "--while", str(self.go_on)]
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log)

    def phases(self):
        """Those that are over, by name."""
        lines = self.lines.read_text().splitlines() if self.lines.exists() else []
        return {phase["phase"]: phase for phase in map(json.loads, lines)}

    def until_online(self):
        deadline = time.monotonic() + LOGIN_SECONDS_MAX
        while "failover.login" not in self.phases():
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.1)

    def said(self):
        self.log.seek(0)
        return self.log.read()

    def end(self):
        """What it counted."""
        self.go_on.unlink()
        assert self.process.wait(LOGIN_SECONDS_MAX) == 0, self.said()
        return self.phases()["failover"]

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.log.close()


def register(daemon, count):
    """Accounts for the load generator."""
    command = [binary("godwit-load"), "--addr", f"{daemon.address}:{daemon.tls_port}", "register"]
    command += ["--count", str(count)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def loads(installed):
    """A daemon and the load on it."""
    started = []

    def start():
        settings = {
            "registration": {"in_band": True, "per_address_per_hour_max": 100_000},
            "limits": {"sessions_per_account_max": 100},
        }
        daemon = installed(settings=settings)
        count = SESSIONS - LIBRARY_SESSIONS * len(STACKS)
        register(daemon, count)
        for number, version in enumerate(VERSIONS):
            started.append(Load(daemon, version, number * count // 2, count // 4))
        for load in started:
            load.until_online()
        return daemon, started

    yield start
    for load in started:
        load.close()


@pytest.mark.timeout(TEST_SECONDS_MAX)
def test_two_thousand_sessions_chat_over_ten_upgrades(loads):
    daemon, running = loads()
    pid = daemon.process.pid
    kinds = [(stack, version) for stack in STACKS for version in VERSIONS]
    kinds = [kind for kind in kinds for _ in range(LIBRARY_SESSIONS // 4)]
    talks = [Talk(daemon, number, *kind, 16_384) for number, kind in enumerate(kinds)]
    pauses = []
    for upgrade in range(UPGRADES):
        for talk in talks:
            talk.begin(upgrade)
            talk.change_keys(upgrade)
        daemon.install(f"1.{upgrade}.{upgrade % 2}")
        said = daemon.upgrade()
        assert f"to 1.{upgrade}.{upgrade % 2}: {SESSIONS} connections carried, 0 closed" in said, said
        pauses.append(float(said.split(" ms of pause")[0].rsplit(" ", 1)[1]))
        for talk in talks:
            talk.end()
        time.sleep(PAUSE_SECONDS)
    assert daemon.process.pid == pid and daemon.running()
    status = json.loads(daemon.ctl("status", "--json").stdout)
    assert (status["upgrades"], status["connections"]) == (UPGRADES, SESSIONS)
    gaps = []
    for load in running:
        phase = load.end()
        counts = phase["counts"]
        assert not any(counts.get(name) for name in WRONG), phase
        assert phase["sessions"] == (SESSIONS - LIBRARY_SESSIONS * len(STACKS)) // 2
        assert counts["arrived"] > UPGRADES * MESSAGES_PER_SECOND * PAUSE_SECONDS / 2, counts
        gaps.append(phase["latency_us"]["longest"])
    print(f"pauses, ms: {pauses}")
    for load, gap in zip(running, gaps):
        figures = ", ".join(f"{name} {gap[name] / 1000:.0f}" for name in ("p50", "p99", "max"))
        print(f"{load.lines.name}: the longest that a message to each session took, ms: {figures}")
