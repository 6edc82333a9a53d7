"""Runs one transcript against a real daemon over real TLS. The format: tests/transcripts/README.md.

The same files run without I/O in the session crate, where time is virtual. Here a transcript that waits long
runs with all its times, those of the daemon included, divided by HURRY.
"""

import base64
import re
import socket
import ssl
import time

from harness import Daemon, RawClient
from harness.rawxmpp import NS, client_context
from harness.scram import Scram

DOMAIN = "example.org"
ANSWER_SECONDS_MAX = 6
SILENCE_SECONDS = 0.25
WAIT_MS_MAX = 3000
HURRY = 20
DEFAULT_MS = {"login_timeout": 60_000, "handshake_timeout": 10_000}
SETTINGS = {
    "register": lambda value: ("registration", "in_band", value != "0"),
    "ping_after_ms": lambda value: ("stream", "ping_after", int(value)),
    "ping_timeout_ms": lambda value: ("stream", "ping_timeout", int(value)),
    "auth_attempts_max": lambda value: ("limits", "login_attempts_per_connection_max", int(value)),
}


class Unsuitable(Exception):
    """This transcript cannot run against a real daemon."""


class Mismatch(Exception):
    """The server did something else."""


class Connection:
    """Bytes in and out of one connection, and what was read of them."""

    def __init__(self, daemon, tls, context):
        self.raw = RawClient(daemon, "plain", context=context)
        self.wants_tls = tls
        if tls:
            self.raw.sock.close()
            self.raw.sock = socket.create_connection((daemon.address, daemon.tls_port), ANSWER_SECONDS_MAX)
        self.unread = b""
        self.ended = False

    def start_tls(self):
        """The handshake, and what came before it forgotten."""
        self.raw.start_tls()
        self.wants_tls = False

    def send(self, data, piece):
        """Sends `data` in pieces of `piece` bytes; whether the server has hung up is seen when reading."""
        try:
            for at in range(0, len(data), piece):
                self.raw.sock.sendall(data[at : at + piece])
        except OSError:
            pass

    def read(self, seconds):
        """Takes in what arrives within `seconds`, returning at the first data."""
        if self.ended:
            return
        self.raw.sock.settimeout(max(seconds, 0.001))
        try:
            data = self.raw.sock.recv(65536)
        except TimeoutError:
            return
        except OSError:
            data = b""
        self.ended = not data
        self.unread += data

    def cut(self):
        """The network is gone; nothing more can be read."""
        self.raw.cut()
        self.ended = True


def needs_exporter(text):
    """Whether a step binds by tls-exporter, which the ssl module cannot export."""
    plus = [line for line in text.splitlines() if line.startswith("SASL ") and "-PLUS" in line]
    return "p=tls-exporter" in text or any("p=tls-server-end-point" not in line for line in plus)


def prepare(text):
    """The daemon that a transcript asks for, its accounts, the client's TLS context, the divisor of times."""
    settings = {"limits": {"login_attempts_per_connection_max": 3}, "stream": dict(DEFAULT_MS)}
    accounts, waits = [], [0]
    for line in text.splitlines():
        words = line.split(" ")
        if words[0] == "WAIT":
            waits.append(int(words[1]))
        elif words[:2] == ["HOST", "account"]:
            accounts.append(words[2:4])
        elif words[:2] == ["HOST", "set"]:
            if words[2] not in SETTINGS:
                raise Unsuitable(f"sets {words[2]}, which is no setting of the daemon")
            section, key, value = SETTINGS[words[2]](words[3])
            settings.setdefault(section, {})[key] = value
    hurry = HURRY if max(waits) > WAIT_MS_MAX else 1
    settings["stream"] = {key: f"{value // hurry}ms" for key, value in settings["stream"].items()}
    # The binding of TLS 1.2; where both kinds are used the version is left to the two sides.
    end_point = "p=tls-server-end-point" in text and not needs_exporter(text)
    version = ssl.TLSVersion.TLSv1_2 if end_point else None
    return Daemon(domains=[DOMAIN], settings=settings), accounts, client_context(version), hurry


class Run:
    """A run under way."""

    def __init__(self, daemon, context, hurry=1, exporter=None):
        """`hurry` divides waits; `exporter` makes connections that know their tls-exporter data."""
        self.daemon, self.context, self.exporter = daemon, context, exporter
        self.hurry = hurry
        self.connections, self.names, self.vars = [], {}, {}
        self.now = None

    def run(self, text):
        """All lines; Mismatch names the one that went wrong."""
        for number, line in enumerate(text.splitlines(), 1):
            if line and not line.startswith("#"):
                try:
                    self.line(line)
                except Mismatch as why:
                    raise Mismatch(f"line {number}: {line[:300]}\n  {why}") from None
        for number, connection in enumerate(self.connections):
            connection.read(SILENCE_SECONDS)
            if connection.unread:
                raise Mismatch(f"connection {number}: not expected: {connection.unread[:1000]!r}")

    def line(self, line):
        """One line."""
        kind, _, rest = line.partition(" ")
        if kind in ("C:", "CB:"):
            self.now.send(self.expand(rest), 1 if kind == "CB:" else 1 << 20)
        elif kind == "S:":
            self.expect(rest)
        elif kind not in ("HOST", "WHOLE"):
            getattr(self, f"do_{kind.lower()}")(*rest.split(" ") if rest else [])

    def do_connect(self, kind, *name):
        """CONNECT tcp|tls [as NAME]"""
        make = self.exporter or Connection
        self.now = make(self.daemon, kind == "tls", self.context)
        self.connections.append(self.now)
        if name:
            self.names[name[1]] = self.now

    def do_use(self, name):
        """USE NAME"""
        self.now = self.names[name]

    def do_tls(self):
        """TLS"""
        self.now.start_tls()

    def do_open(self):
        """OPEN"""
        header = (
            "<?xml version='1.0'?><stream:stream xmlns='jabber:client' "
            f"xmlns:stream='{NS['stream']}' to='{DOMAIN}' version='1.0'>"
        )
        self.now.send(header.encode(), 1 << 20)
        self.expect("<?xml version='1.0'?><stream:stream ${**}><stream:features>${**}</stream:features>")

    def do_starttls(self):
        """STARTTLS"""
        self.do_open()
        self.now.send(f"<starttls xmlns='{NS['tls']}'/>".encode(), 1 << 20)
        self.expect(f"<proceed xmlns='{NS['tls']}'/>")
        self.now.start_tls()

    def do_login(self, user, password, resource):
        """LOGIN USER PASSWORD RESOURCE"""
        if self.now.wants_tls:
            self.now.start_tls()
        else:
            self.do_starttls()
        self.do_open()
        self.do_sasl("PLAIN", user, password)
        self.do_open()
        bind = f"<bind xmlns='{NS['bind']}'><resource>{resource}</resource></bind>"
        self.now.send(f"<iq type='set' id='bind'>{bind}</iq>".encode(), 1 << 20)
        jid = f"{user}@{DOMAIN}/{resource}"
        self.expect(f"<iq type='result' id='bind'><bind xmlns='{NS['bind']}'><jid>{jid}</jid></bind></iq>")

    def do_sasl(self, mechanism, user, password, *options):
        """SASL MECHANISM USER PASSWORD [option:value]..."""
        given = dict(option.split(":", 1) for option in options)
        auth, ns = Login(mechanism, user, password, given, self.now), NS["sasl"]
        first = base64.b64encode(auth.first()).decode()
        if given.get("first") == "later":
            self.now.send(f"<auth xmlns='{ns}' mechanism='{mechanism}'/>".encode(), 1 << 20)
            self.expect(f"<challenge xmlns='{ns}'/>")
            self.now.send(f"<response xmlns='{ns}'>{first}</response>".encode(), 1 << 20)
        else:
            self.now.send(f"<auth xmlns='{ns}' mechanism='{mechanism}'>{first}</auth>".encode(), 1 << 20)
        failure = f"<failure xmlns='{ns}'><{given['fails']}/></failure>" if "fails" in given else ""
        success = f"<success xmlns='{ns}'/>"
        if mechanism != "PLAIN" and not self.answers_with(failure):
            self.expect(f"<challenge xmlns='{ns}'>${{challenge?}}</challenge>")
            final, signature = auth.last(base64.b64decode(self.vars["challenge"]))
            self.now.send(f"<response xmlns='{ns}'>{final}</response>".encode(), 1 << 20)
            success = f"<success xmlns='{ns}'>{signature}</success>"
        self.expect(failure or success)

    def do_wait(self, milliseconds):
        """WAIT MILLISECONDS"""
        time.sleep(int(milliseconds) / 1000 / self.hurry)

    def do_eof(self):
        """EOF"""
        self.now.cut()

    def do_server(self, _, condition):
        """SERVER close system-shutdown"""
        if condition != "system-shutdown":
            raise Unsuitable(f"a real server does not close with {condition} when told")
        self.daemon.process.terminate()

    def do_silent(self):
        """SILENT"""
        self.now.read(SILENCE_SECONDS)
        if self.now.unread:
            raise Mismatch(f"not silent: {self.now.unread!r}")

    def do_closed(self):
        """CLOSED"""
        deadline = time.monotonic() + ANSWER_SECONDS_MAX
        while not self.now.ended:
            if time.monotonic() > deadline:
                raise Mismatch("the connection is open")
            self.now.read(0.1)

    def answers_with(self, failure):
        """Whether the next answer is that failure; False when none is expected."""
        if not failure:
            return False
        deadline = time.monotonic() + ANSWER_SECONDS_MAX
        while not self.now.unread and not self.now.ended and time.monotonic() < deadline:
            self.now.read(0.1)
        return self.now.unread.startswith(failure.encode())

    def expand(self, text):
        """`${name}`, `${N*text}` and the escapes `\\xHH`, `\\n`, `\\\\` of a C: line, as bytes."""

        def replace(found):
            inner, escape = found.group(1), found.group(2)
            if inner is None:
                return {b"n": b"\n", b"\\": b"\\"}.get(escape) or bytes([int(escape[1:], 16)])
            count, star, repeated = inner.partition(b"*")
            return repeated * int(count) if star else self.vars[inner.decode()].encode()

        pattern = rb"\$\{([^}]*)\}|\\(x[0-9A-Fa-f]{2}|n|\\)"
        return re.sub(pattern, replace, text.encode())

    def expect(self, pattern):
        """Waits until the unread output begins with the pattern, and takes that much."""
        regex, names = self.compile(pattern)
        deadline = time.monotonic() + ANSWER_SECONDS_MAX
        while not (found := regex.match(self.now.unread)):
            if self.now.ended or time.monotonic() > deadline:
                state = "ended" if self.now.ended else "open"
                raise Mismatch(f"wanted: {pattern[:1000]}\n  unread: {self.now.unread[:2000]!r} ({state})")
            self.now.read(0.2)
        for group, name in names.items():
            self.vars[name] = found.group(group).decode()
        self.now.unread = self.now.unread[found.end() :]

    def compile(self, pattern):
        """The regular expression of an S: line: `${?}`, `${name?}`, `${**}`, `${name}`."""
        out, names = [], {}
        for index, piece in enumerate(re.split(r"\$\{([^}]*)\}", pattern)):
            if index % 2 == 0:
                out.append(re.escape(piece))
            elif piece == "**":
                out.append(".*?")
            elif piece.endswith("?"):
                out.append(f"(?P<g{index}>[^<>']*)")
                if len(piece) > 1:
                    names[f"g{index}"] = piece[:-1]
            else:
                out.append(re.escape(self.vars[piece]))
        return re.compile("".join(out).encode(), re.S), names


class Login:
    """The client's side of SASL with the faults that a SASL line asks for."""

    def __init__(self, mechanism, user, password, given, connection):
        self.mechanism, self.user, self.password, self.given = mechanism, user, password, given
        flag = given.get("flag") or ("p=tls-exporter" if mechanism.endswith("-PLUS") else "n")
        binding = None if flag == "n" else flag
        if flag == "p=tls-exporter":
            binding = ("tls-exporter", connection.raw.exporter())
        elif flag == "p=tls-server-end-point":
            binding = ("tls-server-end-point", connection.raw.server_end_point())
        elif flag.startswith("p="):
            binding = (flag[2:], b"")
        if mechanism != "PLAIN":
            self.scram = Scram(mechanism, user, password, binding, given.get("authzid", ""))

    def first(self):
        """Initial response."""
        if self.mechanism == "PLAIN":
            return f"{self.given.get('authzid', '')}\0{self.user}\0{self.password}".encode()
        return self.scram.first()

    def last(self, challenge):
        """Final message in base64, spoiled as asked, and the server's signature in base64."""
        tamper = self.given.get("tamper", "")
        if tamper == "binding":
            self.scram.binding_data = bytes(byte ^ 1 for byte in self.scram.binding_data)
        if tamper == "header":
            self.scram.gs2 = b"y,,"
        if tamper == "nonce":
            fields = challenge.split(b",")
            challenge = b",".join([fields[0] + b"x", *fields[1:]])
        final = self.scram.final(challenge)
        if tamper == "proof":
            head, proof = final.rsplit(b",p=", 1)
            spoiled = bytes(byte ^ 1 for byte in base64.b64decode(proof))
            final = head + b",p=" + base64.b64encode(spoiled)
        signature = base64.b64encode(b"v=" + base64.b64encode(self.scram.server_signature)).decode()
        return base64.b64encode(final).decode(), signature
