"""TLS of three libraries over upgrades: chat with stream management, KeyUpdate in both ways, small and full
records, and the ends of connections.
"""

import pytest

from harness.rawxmpp import RawClient, StreamClosed
from harness.stacks import STACKS, VERSIONS, TlsError

UPGRADES = 3
SM = "<enable xmlns='urn:xmpp:sm:3' resume='true'/>"
ASK = "<r xmlns='urn:xmpp:sm:3'/>"
# More than one full record, so that a hand-over finds whole ones, parts and the rest.
LONG = 40_000


def text(number):
    """The body of a message: short and long ones in turn."""
    return f"{number}:" + "x" * (LONG if number % 2 else 10)


class Talk:
    """Two sessions of one library and version, which send each other numbered messages.

    Sequence numbers of both directions are far from 0 at each hand-over, and with `record_bytes_max` a stanza
    is many records.
    """

    def __init__(self, daemon, number, stack, version, record_bytes_max):
        context = STACKS[stack](version, record_bytes_max)
        mode = "tls" if number % 2 else "starttls"
        self.changes_keys = version == "1.3"
        # rustls cannot change its keys without asking for the server's.
        self.always_both = stack == "rustls"
        self.name = f"{stack} {version} {mode}"
        self.sides = []
        for user, other in (("alice", "bob"), ("bob", "alice")):
            client = RawClient(daemon, mode=mode, context=context)
            client.login(user, "secret", f"talk{number}")
            client.send(SM)
            client.until(lambda e: e.tag.endswith("}enabled"))
            client.peer = f"{other}@localhost/talk{number}"
            client.sent = client.got = 0
            client.rest = ""
            self.sides.append(client)

    def begin(self, number):
        """Half of the next message of each side."""
        for index, client in enumerate(self.sides):
            stanza = f"<message to='{client.peer}' type='chat'><body>{text(client.sent)}</body></message>"
            cut = len(stanza) * (1 + (number + index) % 5) // 6
            client.send(stanza[:cut])
            client.rest = stanza[cut:]

    def end(self):
        """The other half; then each side has what the other sent, and an acknowledgement."""
        for client in self.sides:
            client.send(client.rest + ASK)
            client.sent += 1
        for client in self.sides:
            # The acknowledgement and the other's message come in any order.
            waited = {"message", "a"}
            while waited:
                element = client.element()
                kind = element.tag.split("}")[1]
                assert kind in waited or kind == "r", (self.name, kind)
                waited.discard(kind)
                if kind == "a":
                    assert element.get("h") == str(client.sent), self.name
                elif kind == "message":
                    assert element[0].text == text(client.got), f"{self.name}: each once, and in order"
                    client.got += 1

    def change_keys(self, number):
        """Both sides, one of them asking for the server's too."""
        if self.changes_keys:
            for index, client in enumerate(self.sides):
                client.sock.key_update(both=self.always_both or (number + index) % 2 == 0)


def talks(daemon):
    """One of each library and version, most with records of another size than the library's own."""
    sizes = [16_384, 1_000, 16_384, 64, 512, 4_096]
    kinds = [(stack, version) for stack in STACKS for version in VERSIONS]
    return [Talk(daemon, n, *kind, size) for n, (kind, size) in enumerate(zip(kinds, sizes))]


def test_keys_change_before_and_after_each_upgrade(installed):
    daemon = installed()
    everybody = talks(daemon)
    for number in range(UPGRADES):
        for talk in everybody:
            talk.change_keys(number)
            talk.begin(number)
            # Also in the middle of a stanza, so that the hand-over comes right behind it.
            talk.change_keys(number + 1)
        daemon.install(f"1.{number}.1")
        said = daemon.upgrade()
        assert f"to 1.{number}.1: {2 * len(everybody)} connections carried, 0 closed" in said, said
        for talk in everybody:
            talk.change_keys(number)
            talk.end()
            talk.begin(number)
            talk.change_keys(number + 1)
            talk.end()
    for talk in everybody:
        for client in talk.sides:
            assert client.got == client.sent == 2 * UPGRADES
            if talk.name.startswith("openssl 1.3"):
                # Each time somebody asked, twice before and twice after; the server answers once for what
                # it reads in one go, and at least once in each round.
                assert client.sock.key_updates >= 2 * UPGRADES, talk.name


@pytest.mark.parametrize("stack", STACKS)
def test_connections_end_as_they_should_right_after_an_upgrade(installed, stack):
    daemon = installed()
    ends = []
    for number, version in enumerate(VERSIONS):
        for how in ("the client's close_notify", "the client's stream", "the server's stream"):
            client = RawClient(daemon, context=STACKS[stack](version))
            client.login("alice", "secret", f"{number} {how}")
            ends.append((version, how, client))
    daemon.install("1.1.0")
    assert f" {len(ends)} connections carried, 0 closed" in daemon.upgrade()
    for version, how, client in ends:
        if how == "the client's close_notify":
            client.sock.close_notify()
        elif how == "the client's stream":
            client.send("</stream:stream>")
        else:
            # No XML: the server ends the stream with an error.
            client.send("<<")
    for version, how, client in ends:
        condition, orderly = client.stream_error()
        assert orderly or how == "the client's close_notify", (version, how)
        assert condition == ("not-well-formed" if how == "the server's stream" else None), (version, how)
        try:
            assert client.sock.recv(100) == b"", "close_notify"
        except TlsError as error:
            raise AssertionError(f"{version}, {how}: {error}") from None


def test_a_record_that_was_changed_after_an_upgrade_ends_its_connection(installed):
    """A sequence number that was not carried would do the same to everybody: this one has to."""
    daemon = installed()
    context = STACKS["openssl"]("1.3")
    good, bad = (RawClient(daemon, context=context) for _ in range(2))
    for number, client in enumerate((good, bad)):
        client.login("alice", "secret", f"r{number}")
    daemon.install("1.1.0")
    daemon.upgrade()
    bad.sock.sock.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
    with pytest.raises(StreamClosed):
        bad.element()
    assert good.sync() == "result"
