"""Limits that are reached: who is there goes on, who comes learns why or waits, and it recovers by itself."""

import json
import os
import resource
import signal
import socket
import subprocess
import time

import pytest
from conftest import PASSWORD

import harness
from harness import RawClient

SECONDS_MAX = 20
CEILING = 3
SHED = "resource-constraint"


def status(daemon):
    """The daemon's state."""
    return json.loads(daemon.ctl("status", "--json").stdout)


def overload(daemon):
    """What it tells of limits that were reached."""
    return status(daemon)["overload"]


def eventually(what, seconds=SECONDS_MAX):
    """Waits until `what()` is true."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.05)


def online(daemon, user, resource="raw"):
    """A client that is logged in."""
    client = RawClient(daemon, mode="starttls")
    client.login(user, PASSWORD, resource=resource)
    return client


def refusal(daemon):
    """The stream error that a new client gets."""
    with RawClient(daemon, mode="plain") as client:
        client.send(client.header())
        return client.stream_error()


def is_served(client):
    """The client's session answers."""
    return client.iq("get", "<ping xmlns='urn:xmpp:ping'/>").get("type") == "result"


def test_at_the_ceiling_a_client_learns_why_and_a_place_that_is_left_is_taken(own_daemon):
    daemon = own_daemon(settings={"limits": {"connections_max": CEILING}})
    daemon.add_account("ann@localhost", PASSWORD)
    clients = [online(daemon, "ann", f"r{number}") for number in range(CEILING)]
    assert refusal(daemon) == (SHED, True)
    assert all(is_served(client) for client in clients)
    assert overload(daemon)["refused_connections"] == 1
    assert "1 connections refused" in daemon.ctl("status").stdout
    clients.pop().cut()
    eventually(lambda: status(daemon)["connections"] < CEILING)
    clients.append(online(daemon, "ann", "late"))
    for client in clients:
        client.cut()


def test_at_the_ceiling_of_memory_nobody_comes_in_until_there_is_room(own_daemon):
    daemon = own_daemon()
    daemon.add_account("ann@localhost", PASSWORD)
    before = online(daemon, "ann", "before")
    # Less than the program alone has.
    daemon.write_config({"limits": {"memory_mb": 1}})
    daemon.reload()
    eventually(lambda: overload(daemon)["shut"])
    assert refusal(daemon) == (SHED, True)
    assert is_served(before), "who is there goes on"
    state = overload(daemon)
    assert state["refused_memory"] >= 1 and state["memory_max_bytes"] == 1 << 20
    assert "REACHED: no connection is taken" in daemon.ctl("status").stdout
    daemon.write_config({"limits": {"memory_mb": 0}})
    daemon.reload()
    eventually(lambda: not overload(daemon)["shut"])
    online(daemon, "ann", "after").cut()
    before.cut()


def test_without_descriptors_clients_wait_and_come_in_when_there_are_some(own_daemon):
    daemon = own_daemon()
    daemon.add_account("ann@localhost", PASSWORD)
    before = online(daemon, "ann", "before")
    pid = daemon.process.pid
    usual = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    taken = len(os.listdir(f"/proc/{pid}/fd"))
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (taken, usual[1]))
    waiting = RawClient(daemon, mode="plain")
    waiting.send(waiting.header())
    assert is_served(before), "who is there goes on"
    log = daemon.log.read_text
    eventually(lambda: "no more descriptors" in log())
    resource.prlimit(pid, resource.RLIMIT_NOFILE, usual)
    assert waiting.element().tag.endswith("}features"), "it was not forgotten"
    assert overload(daemon)["starved"] >= 1
    waiting.cut()
    before.cut()


def test_the_ceiling_is_what_the_descriptors_at_the_start_give(own_daemon):
    daemon = harness.Daemon()
    usual = daemon.command
    daemon.command = lambda: ["prlimit", "--nofile=1024", *usual()]
    try:
        daemon.start()
        eventually(lambda: daemon.ctl("status", check=False).returncode == 0)
        ceiling = status(daemon)["ceiling"]
        assert ceiling["bound_by"] == "descriptors" and 500 < ceiling["connections_max"] < 1024
        assert "LimitNOFILE=" in daemon.ctl("status").stdout
        daemon.stop()
        command = ["prlimit", "--nofile=200", *usual()]
        few = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS_MAX)
        assert few.returncode == 1 and "LimitNOFILE=" in few.stderr, few.stderr
    finally:
        daemon.close()


def test_a_full_backlog_is_counted_and_drained(own_daemon):
    backlog = int(open("/proc/sys/net/core/somaxconn").read())
    wanted = backlog + 64
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if wanted > 10_000 or hard < 2 * wanted:
        pytest.skip(f"fills a backlog of {backlog}: needs {2 * wanted} descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    daemon = own_daemon(settings={"server": {"shards": 1}})
    daemon.add_account("ann@localhost", PASSWORD)
    before = online(daemon, "ann", "before")
    daemon.process.send_signal(signal.SIGSTOP)
    knocking = []
    try:
        for _ in range(wanted):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex((daemon.address, daemon.port))
            knocking.append(one)
    finally:
        daemon.process.send_signal(signal.SIGCONT)
    eventually(lambda: overload(daemon)["backlog_overflows"] >= 1)
    assert is_served(before), "who is there goes on"
    # They say nothing, so they are let in by stages.
    assert overload(daemon)["delayed"] >= 1
    for one in knocking:
        one.close()
    eventually(lambda: status(daemon)["counters"]["accepted"] > backlog)
    online(daemon, "ann", "after").cut()
    before.cut()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
