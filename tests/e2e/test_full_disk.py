"""The disk fills under load: senders are told, nothing is acknowledged that is not stored, and when there is
space again writing goes on by itself."""

import base64
import json
import os
import subprocess
import threading
import time

import pytest
from conftest import PASSWORD

import harness
from harness import RawClient

SM = "urn:xmpp:sm:3"
DEVICE_BYTES = 64 << 20
BALLAST_BYTES = 16 << 20
# Of random characters: nothing makes it small on the disk.
BODY_BYTES = 30_000
SENDERS = 3
BATCH = 4
REFUSED_WANTED = 8
# RocksDB looks for space every five seconds, the daemon for the store's health too.
SECONDS_MAX = 60


@pytest.fixture
def small_disk():
    """A daemon whose data directory is a small file system of its own."""
    daemon = harness.Daemon(settings={"store": {"memtable_mb": 16, "cache_mb": 8}})
    data = daemon.dir / "data"
    data.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={DEVICE_BYTES},mode=700", "tmpfs", str(data)]
    if subprocess.run(["mount", *options], capture_output=True).returncode != 0:
        daemon.close()
        pytest.skip("only root may mount the small file system that this test fills")
    try:
        (data / "ballast").write_bytes(os.urandom(BALLAST_BYTES))
        daemon.start()
        yield daemon
    finally:
        if daemon.running():
            daemon.kill()
        subprocess.run(["umount", "-l", str(data)], check=True)
        daemon.close()


class Sender:
    """Sends messages to Ben and knows which of them the server acknowledged, and which it refused."""

    def __init__(self, daemon, name):
        self.name, self.sent, self.h, self.refused = name, [], 0, {}
        self.raw = RawClient(daemon)
        self.raw.login(name, PASSWORD)
        self.raw.send(f"<enable xmlns='{SM}'/>")
        self.raw.until(lambda e: e.tag == f"{{{SM}}}enabled")

    def batch(self):
        """Some messages, and the answers to them all."""
        for _ in range(BATCH):
            ident = f"{self.name}-{len(self.sent)}"
            self.sent.append(ident)
            body = f"<body>{base64.b64encode(os.urandom(BODY_BYTES)).decode()}</body>"
            self.raw.send(f"<message to='ben@localhost' type='chat' id='{ident}'>{body}</message>")
        self.raw.send(f"<r xmlns='{SM}'/>")
        while self.h < len(self.sent):
            element = self.raw.element()
            if element.tag == f"{{{SM}}}a":
                self.h = int(element.get("h"))
            elif element.get("type") == "error":
                condition = element.find("{jabber:client}error")[0].tag
                self.refused[element.get("id")] = condition.rpartition("}")[2]

    def fill(self):
        """Sends until enough was refused."""
        while len(self.refused) < REFUSED_WANTED:
            self.batch()

    def accepted(self):
        """What the server acknowledged and did not refuse, in order."""
        return [ident for ident in self.sent[: self.h] if ident not in self.refused]


def wait_for(find, what):
    deadline = time.monotonic() + SECONDS_MAX
    while not find():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def in_parallel(calls):
    failures = []

    def run(call):
        try:
            call()
        except Exception as error:  # told by the test's own thread
            failures.append(error)

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS_MAX)
    assert not failures and not any(thread.is_alive() for thread in threads), failures


def store_status(daemon):
    return json.loads(daemon.ctl("status", "--json").stdout)["store"]


def fetch(daemon, count):
    """Ids of so many messages that wait for Ben, and of any that come behind them."""
    found = []
    with RawClient(daemon) as ben:
        ben.login("ben", PASSWORD)
        ben.send("<presence/>")
        while len(found) < count:
            element = ben.element()
            if element.tag == "{jabber:client}message":
                found.append(element.get("id"))
        ben.send("<iq type='get' id='end'><ping xmlns='urn:xmpp:ping'/></iq>")
        while (element := ben.element()).get("id") != "end":
            found += [element.get("id")] if element.tag == "{jabber:client}message" else []
    return found


def test_a_disk_that_fills_under_load_loses_nothing_and_recovers(small_disk):
    daemon = small_disk
    senders = []
    for number in range(SENDERS):
        daemon.add_account(f"sender{number}@localhost", PASSWORD)
        senders.append(Sender(daemon, f"sender{number}"))
    daemon.add_account("ben@localhost", PASSWORD)

    in_parallel([sender.fill for sender in senders])
    for sender in senders:
        assert set(sender.refused.values()) == {"resource-constraint"}, sender.refused
        assert sender.accepted(), "there was space at first"
    status = store_status(daemon)
    assert not status["ok"] and status["full"] and "No space" in status["last_error"], status
    assert "NO SPACE" in daemon.ctl("status").stdout
    wait_for(lambda: "the store takes no writes" in daemon.read_log(), "the log says so")
    with RawClient(daemon) as other:
        assert other.login("sender0", PASSWORD, resource="second"), "who is here is served"

    (daemon.dir / "data" / "ballast").unlink()
    wait_for(lambda: store_status(daemon)["ok"], "nobody has to help")
    assert "No space" in store_status(daemon)["last_error"], "what it was is still known"
    wait_for(lambda: "the store takes writes again" in daemon.read_log(), "the log says so")
    before = [len(sender.refused) for sender in senders]
    in_parallel([sender.batch for sender in senders])
    assert [len(sender.refused) for sender in senders] == before, "everything is taken again"

    accepted = [sender.accepted() for sender in senders]
    daemon.restart(hard=True)
    found = fetch(daemon, sum(map(len, accepted)))
    assert len(set(found)) == len(found), "nothing comes twice"
    for sender, expected in zip(senders, accepted, strict=True):
        mine = [ident for ident in found if ident.startswith(f"{sender.name}-")]
        assert mine == expected, "all that was acknowledged, in order, and nothing that was refused"
