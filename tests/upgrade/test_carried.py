"""Upgrades under way: whatever a session is in the middle of, it goes on."""

import json
import re
import ssl
import urllib.request

from harness.daemon import free_port
from harness.rawxmpp import RawClient, client_context

CHAT = "<message to='bob@localhost/r{to}' type='chat' id='m{n}'><body>{n}</body></message>"
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
PAIRS = 8
UPGRADES = 10


def pair(daemon, number):
    """Two sessions, of both TLS versions and both ways to begin TLS in turn."""
    context = client_context(VERSIONS[number % 2])
    mode = "tls" if number % 4 < 2 else "starttls"
    alice, bob = (RawClient(daemon, mode=mode, context=context) for _ in range(2))
    alice.login("alice", "secret", f"r{number}")
    bob.login("bob", "secret", f"r{number}")
    for client in (alice, bob):
        client.send("<enable xmlns='urn:xmpp:sm:3' resume='true'/>")
        client.until(lambda e: e.tag.endswith("}enabled"))
    return alice, bob


def test_ten_upgrades_in_the_middle_of_stanzas_lose_and_repeat_nothing(installed):
    daemon = installed()
    pid = daemon.process.pid
    pairs = [pair(daemon, number) for number in range(PAIRS)]
    rest = [""] * PAIRS
    for upgrade in range(UPGRADES):
        for number, (alice, _) in enumerate(pairs):
            stanza = CHAT.format(to=number, n=upgrade)
            # Another byte each time, and for each another one; some have the whole one under way.
            cut = (upgrade * 13 + number * 29) % (len(stanza) + 1)
            alice.send(rest[number] + stanza[:cut])
            rest[number] = stanza[cut:]
        daemon.install(f"1.{upgrade}.1")
        said = daemon.upgrade()
        assert f"to 1.{upgrade}.1: {2 * PAIRS} connections carried, 0 closed" in said, said
    for number, (alice, bob) in enumerate(pairs):
        alice.send(rest[number])
        got = [bob.until(lambda e: e.tag.endswith("}message"))[0].text for _ in range(UPGRADES)]
        assert got == [str(n) for n in range(UPGRADES)], "each once, and in order"
        alice.send("<r xmlns='urn:xmpp:sm:3'/>")
        assert alice.until(lambda e: e.tag.endswith("}a")).get("h") == str(UPGRADES)
        bob.send("<iq type='get' id='last' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq>")
        after = bob.until(lambda e: e.tag.endswith("}message") or e.get("id") == "last")
        assert after.get("id") == "last", "nothing twice"
    assert daemon.process.pid == pid and daemon.running()
    needed = [int(n) for n in re.findall(r"hand-over needs at most.*?bytes=(\d+)", daemon.read_log())]
    written = [int(n) for n in re.findall(r"at rest and written down.*?bytes=(\d+)", daemon.read_log())]
    assert len(needed) == len(written) == UPGRADES
    assert all(0 < bytes_written < most for bytes_written, most in zip(written, needed, strict=True))


def test_who_waits_to_resume_and_who_is_logging_in_is_carried_too(installed):
    daemon = installed()
    alice, bob = pair(daemon, 1)
    half = RawClient(daemon)
    half.open_stream()
    late = RawClient(daemon, mode="plain")
    bob.cut()
    alice.send(CHAT.format(to=1, n=7))
    assert alice.sync() == "result"
    daemon.install("1.1.0")
    assert " 0 closed" in daemon.upgrade()
    assert half.plain("bob", "secret").tag.endswith("}success"), "in the middle of a login"
    late.open_stream()
    assert alice.sync() == "result"
    assert "1 wait for resumption" in daemon.ctl("status").stdout


def test_who_asks_for_the_version_gets_the_new_one_and_upgrades_are_counted_on(installed):
    metrics = free_port()
    daemon = installed(settings={"listen": {"metrics": f"127.0.0.1:{metrics}"}})
    client = RawClient(daemon)
    client.login("alice", "secret")

    def software():
        query = client.iq("get", "<query xmlns='jabber:iq:version'/>", to="localhost")[0]
        return query.find("{jabber:iq:version}version").text

    def counted():
        with urllib.request.urlopen(f"http://127.0.0.1:{metrics}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        ours = (line.split() for line in lines if line.startswith("godwit_upgrade"))
        return {name: float(value) for name, value in ours}

    assert (software(), counted()["godwit_upgrades_total"]) == ("1.0.0", 0)
    for number, version in enumerate(("1.1.0", "1.2.0-rc.1")):
        daemon.install(version)
        daemon.upgrade()
        assert (software(), counted()["godwit_upgrades_total"]) == (version, number + 1)
        assert counted()["godwit_upgrade_pause_seconds"] > 0
    daemon.upgrade("--binary", "/nowhere", check=False)
    daemon.install("1.3.0")
    daemon.upgrade()
    status = json.loads(daemon.ctl("status", "--json").stdout)
    last = status["upgrade"]
    assert (status["upgrades"], last["from"], last["to"]) == (3, "1.2.0-rc.1", "1.3.0")
