"""2,000 TLS sessions chat with stream management while ten upgrades go over them, between binaries of
different versions: nobody is disconnected, and each message comes once, in its order.
"""

import json
import time

import pytest
from test_stacks import Talk

from harness.load import WRONG, Load, register
from harness.stacks import STACKS, VERSIONS

UPGRADES = 10
SESSIONS = 2_000
# Of them with each library, half of it with each version; the others are the load generator's.
LIBRARY_SESSIONS = 20
MESSAGES_PER_SECOND = 800
PAUSE_SECONDS = 0.5
TEST_SECONDS_MAX = 500


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
            started.append(Load(daemon, version, number * count // 2, count // 4, MESSAGES_PER_SECOND / 2))
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
