"""Signals and upgrades: an order to stop at any moment of one is followed, by whichever binary is there."""

import json
import subprocess
import time

from harness.daemon import binary
from harness.rawxmpp import RawClient

MOMENTS = 10
UPGRADE_SECONDS_MAX = 30
CHECK_SECONDS = 2
# At a stop clients are not waited for.
IMPATIENT = {"stream": {"closing_timeout": "200ms"}}


def ctl_upgrade(daemon):
    """`godwitctl upgrade` under way; what it comes to depends on who is faster."""
    command = [binary("godwitctl"), "--config", str(daemon.config), "upgrade"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def online(daemon):
    """A client that hears how its stream ends."""
    client = RawClient(daemon)
    client.login("alice", "secret")
    return client


def test_an_order_to_stop_while_a_reload_upgrades_is_not_lost(installed):
    """The daemon waited for the reload before it looked at other signals, and became the next binary, which
    knew nothing of them."""
    daemon = installed(settings=IMPATIENT)
    client = online(daemon)
    real, asked = daemon.dir / "real", daemon.dir / "asked"
    daemon.program.rename(real)
    wait = f"touch {asked}; sleep {CHECK_SECONDS}"
    slow = f'case "$*" in *--handover-check*) {wait};; esac\nexec {real} "$@"\n'
    daemon.script("slow", slow).rename(daemon.program)
    daemon.reload()
    deadline = time.monotonic() + UPGRADE_SECONDS_MAX
    while not asked.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert daemon.stop() == 0
    assert client.stream_error() == ("system-shutdown", True)


def test_an_order_to_stop_at_any_moment_of_an_upgrade(installed):
    """Signals that a handler had noted ended with the old binary: stopping then took until it was killed."""
    daemon = installed(settings=IMPATIENT)
    began = time.monotonic()
    daemon.install("1.0.1")
    daemon.upgrade()
    took = time.monotonic() - began
    versions = set()
    for moment in range(MOMENTS):
        client = online(daemon)
        daemon.install(f"1.{moment + 1}.0")
        with ctl_upgrade(daemon) as upgrading:
            # Not within the first part, which reads a configuration.
            time.sleep(took * (moment + 1) / MOMENTS)
            assert daemon.stop() == 0, moment
            assert client.stream_error() == ("system-shutdown", True), moment
            upgrading.kill()
        ended = daemon.read_log().split("stopping: closing")
        assert len(ended) == moment + 2, "once for each"
        daemon.start()
        versions.add(daemon.version())
        assert not json.loads(daemon.ctl("status", "--json").stdout)["notice"], "an orderly stop is no crash"
    assert len(versions) == MOMENTS


def test_hangups_during_an_upgrade_kill_nobody(installed):
    daemon = installed()
    pid = daemon.process.pid
    client = online(daemon)
    deadline = time.monotonic() + UPGRADE_SECONDS_MAX
    for version in ("1.1.0", "1.2.0", "1.3.0"):
        daemon.install(version)
        # The first of them begins the upgrade, the others come in its midst.
        while f"godwitd {version}," not in daemon.ctl("status", check=False).stdout:
            assert time.monotonic() < deadline
            for _ in range(20):
                daemon.reload()
                time.sleep(0.003)
        assert client.sync() == "result"
    daemon.reload()
    while not json.loads(daemon.ctl("status", "--json").stdout)["reload"]:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert daemon.running() and daemon.process.pid == pid and client.sync() == "result"
