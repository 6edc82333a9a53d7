"""Who holds the memory: the account agrees with the kernel's count, and what a burst took goes back."""

import json
import time

import pytest
from conftest import PASSWORD

import harness
from harness import RawClient

ACCOUNTS, SESSIONS_EACH = 15, 20
# An open TLS connection's state; see daemon/edge/src/tls/record.rs.
TLS_BYTES = 224
BODY_BYTES = 30_000
MESSAGES = 400
# Three quiet looks of 5 s, a flush, a second until the allocator gives pages back.
SECONDS_MAX = 45


def status(daemon):
    """The daemon's state."""
    return json.loads(daemon.ctl("status", "--json").stdout)


def agrees(state):
    """The sum of all owners is the resident set, within a tenth."""
    total = sum(state["owners"].values())
    assert abs(total - state["rss_bytes"]) <= state["rss_bytes"] / 10, state
    return state["owners"]


@pytest.fixture(scope="module")
def crowd():
    """A daemon with some hundred sessions."""
    with harness.Daemon(settings={"store": {"memtable_mb": 64}}) as daemon:
        clients = []
        for number in range(ACCOUNTS):
            daemon.add_account(f"user{number}@localhost", PASSWORD)
        before = status(daemon)
        for number in range(ACCOUNTS * SESSIONS_EACH):
            client = RawClient(daemon)
            client.login(f"user{number % ACCOUNTS}", PASSWORD, resource=f"r{number}")
            clients.append(client)
        yield daemon, clients, before
        for client in clients:
            client.cut()


def test_the_owners_add_up_to_the_resident_set(crowd):
    daemon, clients, before = crowd
    assert agrees(before)["tls"] == 0
    owners = agrees(status(daemon))
    assert owners["tls"] == len(clients) * TLS_BYTES
    assert 500 * len(clients) < owners["sessions"] < 5_000 * len(clients), owners
    assert all(value >= 0 for value in owners.values()), owners
    text = daemon.ctl("status").stdout
    assert "table readers" in text and "block cache" in text, text


def test_after_a_burst_the_memtables_go_to_table_files(crowd):
    daemon, clients, _ = crowd
    sender, body = clients[0], "x" * BODY_BYTES
    idle = status(daemon)
    for _ in range(MESSAGES):
        sender.send(f"<message to='user1@localhost' type='chat'><body>{body}</body></message>")
    sender.send("<iq type='get' id='done'><ping xmlns='urn:xmpp:ping'/></iq>")
    sender.until(lambda e: e.get("id") == "done", timeout=30, limit=MESSAGES * 2)
    full = agrees(status(daemon))
    assert full["memtables"] > MESSAGES * BODY_BYTES, full
    deadline = time.monotonic() + SECONDS_MAX
    while (now := status(daemon))["owners"]["memtables"] > 1 << 20:
        assert time.monotonic() < deadline, now["owners"]
        time.sleep(1)
    owners = agrees(now)
    assert owners["memtables"] < 1 << 20, owners
    held = sum(owners[name] for name in ("tls", "sessions"))
    assert held < 2 * sum(idle["owners"][name] for name in ("tls", "sessions")), owners
