"""The log's level, changed while the daemon runs."""

import json
import time

from conftest import PASSWORD
from harness import RawClient

SECONDS_MAX = 10
# One line at debug, of the crate godwit_edge, for each connection that ends.
AT_DEBUG = "connection closed"


def connections_are_logged(daemon):
    """Whether a connection leaves a line at debug. A line at info comes behind it."""
    before = len(daemon.read_log())
    with RawClient(daemon) as raw:
        raw.login("ann", PASSWORD)
    deadline = time.monotonic() + SECONDS_MAX
    while "session ended" not in (text := daemon.read_log()[before:]):
        assert time.monotonic() < deadline, text
        time.sleep(0.05)
    time.sleep(0.2)
    return AT_DEBUG in daemon.read_log()[before:]


def test_the_level_changes_live_and_a_reload_goes_back(own_daemon):
    daemon = own_daemon().answering()
    daemon.add_account("ann@localhost", PASSWORD)
    assert daemon.ctl("log").stdout == "info, by the configuration\n"
    assert not connections_are_logged(daemon)
    said = daemon.ctl("log", "--level", "info,godwit_edge=debug").stdout
    assert said.startswith("info,godwit_edge=debug, set by godwitctl; the configuration says info")
    assert connections_are_logged(daemon)
    assert "godwitctl log --reset" in daemon.ctl("status").stdout
    level = json.loads(daemon.ctl("log", "--json").stdout)
    assert level["configured"] == "info" and level["set_ms"] > 0
    daemon.ctl("log", "--reset")
    assert not connections_are_logged(daemon)
    assert "log level" not in daemon.ctl("status").stdout
    daemon.ctl("log", "--level", "godwit_edge=debug")
    daemon.reload()
    deadline = time.monotonic() + SECONDS_MAX
    while daemon.ctl("log").stdout != "info, by the configuration\n":
        assert time.monotonic() < deadline, daemon.read_log()
        time.sleep(0.05)


def test_a_directive_that_would_do_nothing_is_refused_and_named(own_daemon):
    daemon = own_daemon().answering()
    for level, why in (
        ("inof", "inof is no level: there are off, error, warn, info, debug and trace"),
        ("info,store=debug", "no module is called store"),
        ("info,godwit_edge=loud", "loud is no level"),
        ("", "say a level"),
    ):
        done = daemon.ctl("log", "--level", level, check=False)
        assert done.returncode == 2 and why in done.stderr, done.stderr
    assert daemon.ctl("log").stdout == "info, by the configuration\n"


def test_the_environment_goes_before_the_configuration_and_a_restart_forgets(own_daemon):
    daemon = own_daemon(environment={"GODWIT_LOG": "warn"}).answering()
    assert daemon.ctl("log").stdout == "warn, by the environment (GODWIT_LOG)\n"
    daemon.ctl("log", "--level", "debug")
    daemon.restart().answering()
    assert daemon.ctl("log").stdout == "warn, by the environment (GODWIT_LOG)\n"
