"""Upgrades at random bytes: clients dribble TLS records byte by byte, and the hand-over finds each of them
wherever it is, in the middle of a record, of a character, of a tag.

The seed is printed and may be given again: GODWIT_SEED=17.
"""

import os
import random
import select
import ssl
import subprocess
import time

from harness.daemon import binary
from harness.rawxmpp import RawClient, client_context

CLIENTS = 24
UPGRADES = 8
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
UPGRADE_SECONDS_MAX = 60
# Characters of one to four bytes, and what XML writes in its own way.
TEXTS = ["a", "é", "€", "𝄞", "&amp;", "&#x1F600;", "<![CDATA[<&]]>", " ", "\n", "x" * 3_000]


class Dribble:
    """TLS by Python's ssl over memory: what was sent waits here as records, and goes out as many bytes at a
    time as the test says."""

    def __init__(self, context, sock, name):
        self.sock = sock
        self.came, self.going = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.came, self.going, server_hostname=name)
        self.waiting = b""
        self.timeout = sock.gettimeout()
        self.again(self.tls.do_handshake)

    def settimeout(self, seconds):
        self.timeout = seconds

    def again(self, step):
        """Until the library has what it needs from the network; everything that waits goes out first."""
        while True:
            try:
                return step()
            except ssl.SSLWantReadError:
                self.flush()
                self.sock.settimeout(self.timeout)
                data = self.sock.recv(65_536)
                self.came.write(data) if data else self.came.write_eof()

    def write(self, data):
        """One record, which waits."""
        self.tls.write(data)
        self.waiting += self.going.read()

    def dribble(self, size):
        """So many bytes go out."""
        self.sock.sendall(self.waiting[:size])
        self.waiting = self.waiting[size:]

    def flush(self):
        self.waiting += self.going.read()
        self.dribble(len(self.waiting))

    def sendall(self, data):
        self.write(data)
        self.flush()

    def recv(self, size):
        return self.again(lambda: self.tls.read(size))

    def close(self):
        self.sock.close()


class DribbleContext:
    """Where RawClient wants an SSLContext."""

    def __init__(self, version):
        self.context = client_context(version)

    def wrap_socket(self, sock, server_hostname):
        return Dribble(self.context, sock, server_hostname)


class Talker:
    """Sends numbered messages of random form to its partner, in records that end anywhere."""

    def __init__(self, daemon, number, rng):
        self.rng = rng
        self.client = RawClient(daemon, context=DribbleContext(VERSIONS[number // 2 % 2]))
        self.client.login("alice" if number % 2 else "bob", "secret", f"d{number}")
        self.client.send("<enable xmlns='urn:xmpp:sm:3' resume='true'/>")
        self.client.until(lambda e: e.tag.endswith("}enabled"))
        partner = number ^ 1
        self.to = f"{'alice' if partner % 2 else 'bob'}@localhost/d{partner}"
        self.sent = 0
        self.stanzas = 0
        self.expected = []

    def stanza(self):
        """The next one: a message for the partner, or something that only has to be counted."""
        self.stanzas += 1
        if self.rng.random() < 0.2:
            return f"<iq type='get' id='p{self.stanzas}' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq>"
        body = "".join(self.rng.choices(TEXTS, k=self.rng.randint(0, 12)))
        quote = self.rng.choice("'\"")
        self.sent += 1
        return (
            f"<message  to={quote}{self.to}{quote}\ntype='chat' id='m{self.sent}'>"
            f"<body xml:lang='en'>{body}</body><thread>t</thread></message>"
        )

    def step(self):
        """Some bytes more; new stanzas, cut into records anywhere, when there are none left."""
        tls = self.client.sock
        if not tls.waiting:
            text = "".join(self.stanza() for _ in range(self.rng.randint(1, 3))).encode()
            while text:
                size = self.rng.choice([1, 2, 30, 200, len(text)])
                tls.write(text[:size])
                text = text[size:]
        tls.dribble(self.rng.choice([1, 1, 2, 3, 5, 40, 300, 2_000]))

    def finish(self):
        """Everything goes out, and the server says that it has it."""
        self.client.sock.flush()
        self.client.send("<r xmlns='urn:xmpp:sm:3'/>")


def received(client, messages, acknowledged):
    """Reads until so many messages and the last acknowledgement are there; the messages' ids."""
    ids, h = [], None
    while len(ids) < messages or h != str(acknowledged):
        element = client.element()
        if element.tag.endswith("}message"):
            assert element.get("type") != "error", element.attrib
            ids.append(element.get("id"))
        elif element.tag.endswith("}a"):
            h = element.get("h")
    return ids


def test_upgrades_at_random_bytes_of_random_stanzas(installed):
    seed = int(os.environ.get("GODWIT_SEED") or random.SystemRandom().randrange(1_000_000))
    print(f"GODWIT_SEED={seed}")
    rng = random.Random(seed)
    daemon = installed()
    talkers = [Talker(daemon, number, random.Random(rng.random())) for number in range(CLIENTS)]
    for upgrade in range(UPGRADES):
        for talker in talkers:
            for _ in range(rng.randint(1, 30)):
                talker.step()
        daemon.install(f"1.{upgrade}.1")
        command = [binary("godwitctl"), "--config", str(daemon.config), "upgrade"]
        deadline = time.monotonic() + UPGRADE_SECONDS_MAX
        # Every other one finds everybody where the seed says, the others find them at work.
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as upgrading:
            while upgrade % 2 and upgrading.poll() is None:
                assert time.monotonic() < deadline
                rng.choice(talkers).step()
                time.sleep(0.0005)
            said = upgrading.communicate(timeout=UPGRADE_SECONDS_MAX)[0]
        assert f"to 1.{upgrade}.1: {CLIENTS} connections carried, 0 closed" in said, said
    for talker in talkers:
        talker.finish()
    for number, talker in enumerate(talkers):
        sent = talkers[number ^ 1].sent
        ids = received(talker.client, sent, talker.stanzas)
        assert ids == [f"m{n + 1}" for n in range(sent)], "each once, and in order"
        assert talker.client.sync() == "result"
        ready, _, _ = select.select([talker.client.sock.sock], [], [], 0)
        assert not ready and not talker.client.waiting, "nothing twice"
    assert sum(talker.sent for talker in talkers) > 10 * CLIENTS
