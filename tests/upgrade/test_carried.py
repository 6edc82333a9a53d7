"""Upgrades under way: whatever a session is in the middle of, it goes on."""

import ssl

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
