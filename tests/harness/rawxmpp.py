"""A blocking XMPP client that sends exactly the bytes a test wants: for hostile input, TLS and SASL details.

It parses what the server answers with the standard library's XML parser, so that ill-formed output of
the server fails a test by itself. No certificate is verified.
"""

import base64
import hashlib
import socket
import ssl
import time
from xml.etree import ElementTree

from .scram import Scram

SECONDS_MAX = 10
NS = {
    "stream": "http://etherx.jabber.org/streams",
    "errors": "urn:ietf:params:xml:ns:xmpp-streams",
    "tls": "urn:ietf:params:xml:ns:xmpp-tls",
    "sasl": "urn:ietf:params:xml:ns:xmpp-sasl",
    "bind": "urn:ietf:params:xml:ns:xmpp-bind",
    "stanzas": "urn:ietf:params:xml:ns:xmpp-stanzas",
    "c": "jabber:client",
    "sm": "urn:xmpp:sm:3",
    "roster": "jabber:iq:roster",
}


class StreamClosed(Exception):
    """The server ended the stream or the connection. `orderly` says whether `</stream:stream>` came first."""

    def __init__(self, orderly):
        super().__init__("stream closed" if orderly else "connection closed")
        self.orderly = orderly


def client_context(version=None, alpn=None):
    """A TLS context that trusts anything; `version` fixes one TLS version, `alpn` is a list of names."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if version is not None:
        context.minimum_version = context.maximum_version = version
    if alpn:
        context.set_alpn_protocols(alpn)
    return context


class RawClient:
    """One connection to a daemon of this harness."""

    def __init__(self, daemon, mode="tls", domain=None, context=None, timeout=SECONDS_MAX):
        """`mode`: "tls" (direct), "starttls" (negotiated here) or "plain" (nothing is sent)."""
        self.domain = domain or daemon.domain
        self.timeout = timeout
        port = daemon.tls_port if mode == "tls" else daemon.port
        self.sock = socket.create_connection((daemon.address, port), timeout=timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.context = context or client_context()
        self._new_parser()
        if mode == "tls":
            self.start_tls()
        elif mode == "starttls":
            self.open_stream()
            self.send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
            answer = self.element()
            assert answer.tag == f"{{{NS['tls']}}}proceed", answer.tag
            self.start_tls()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.cut()

    # -- transport

    def start_tls(self):
        """The TLS handshake on the present socket."""
        self.sock = self.context.wrap_socket(self.sock, server_hostname=self.domain)
        self._new_parser()

    def send(self, data):
        """Sends text or bytes as they are. StreamClosed when the server has hung up."""
        try:
            self.sock.sendall(data.encode() if isinstance(data, str) else data)
        except (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError):
            raise StreamClosed(orderly=False) from None

    def cut(self):
        """Closes the socket without a word, as a lost network does."""
        try:
            self.sock.close()
        except OSError:
            pass

    def server_end_point(self):
        """tls-server-end-point channel binding data (RFC 5929; our certificates are signed with SHA-256)."""
        return hashlib.sha256(self.sock.getpeercert(binary_form=True)).digest()

    # -- stream

    def _new_parser(self):
        self.parser = ElementTree.XMLPullParser(("start", "end"))
        self.depth = 0
        self.root = None
        self.raw = b""
        self.waiting = []

    def header(self, to=None, extra=""):
        """The stream header that `open_stream` sends."""
        return (
            f"<?xml version='1.0'?><stream:stream to='{to or self.domain}' version='1.0' xml:lang='en'{extra}"
            " xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
        )

    def open_stream(self):
        """Sends a stream header and returns the features element."""
        self._new_parser()
        self.send(self.header())
        features = self.element()
        assert features.tag == f"{{{NS['stream']}}}features", ElementTree.tostring(features)
        return features

    def element(self, timeout=None):
        """The next element at stanza level. StreamClosed when the server ends instead."""
        deadline = time.monotonic() + (timeout or self.timeout)
        while not self.waiting:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"no element; so far: {self.raw[-500:]!r}")
            self.sock.settimeout(left)
            try:
                data = self.sock.recv(65536)
            except (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError):
                data = b""
            if not data:
                raise StreamClosed(orderly=False)
            self.raw += data
            self.parser.feed(data)
            self._collect()
        item = self.waiting.pop(0)
        if item is None:
            raise StreamClosed(orderly=True)
        return item

    def _collect(self):
        for event, node in self.parser.read_events():
            if event == "start":
                self.root = node if self.depth == 0 else self.root
                self.depth += 1
            else:
                self.depth -= 1
                if self.depth == 1:
                    self.waiting.append(node)
                elif self.depth == 0:
                    self.waiting.append(None)

    def until(self, match, timeout=None, limit=200):
        """The first coming element for which `match(element)` holds; others are dropped."""
        for _ in range(limit):
            element = self.element(timeout)
            if match(element):
                return element
        raise AssertionError(f"none of {limit} elements matched")

    def stream_error(self, timeout=None):
        """Reads to the end of the stream; returns the condition of its stream error or None, and whether the
        end was orderly."""
        condition = None
        try:
            while True:
                element = self.element(timeout)
                if element.tag == f"{{{NS['stream']}}}error":
                    condition = element[0].tag.split("}", 1)[1]
        except StreamClosed as closed:
            return condition, closed.orderly

    # -- authentication

    def mechanisms(self, features):
        """Names of the SASL mechanisms in `features`."""
        return [m.text for m in features.iter(f"{{{NS['sasl']}}}mechanism")]

    def auth(self, mechanism, initial):
        """Sends <auth/> and returns the server's next element."""
        text = base64.b64encode(initial).decode() if initial else "="
        self.send(f"<auth xmlns='{NS['sasl']}' mechanism='{mechanism}'>{text}</auth>")
        return self.element()

    def plain(self, user, password, authzid=""):
        """SASL PLAIN; returns the success or failure element."""
        return self.auth("PLAIN", f"{authzid}\0{user}\0{password}".encode())

    def scram(self, mechanism, user, password, binding=None, authzid=""):
        """A whole SCRAM exchange; returns the last element, after checking the server's signature."""
        exchange = Scram(mechanism, user, password, binding, authzid)
        answer = self.auth(mechanism, exchange.first())
        if not answer.tag.endswith("}challenge"):
            return answer
        final = base64.b64encode(exchange.final(base64.b64decode(answer.text))).decode()
        self.send(f"<response xmlns='{NS['sasl']}'>{final}</response>")
        answer = self.element()
        if answer.tag.endswith("}success"):
            assert exchange.verify(base64.b64decode(answer.text)), "server signature is wrong"
        return answer

    def login(self, user, password, resource="raw"):
        """Stream, SASL PLAIN, stream again, bind; returns the full JID. Presence is not sent."""
        self.open_stream()
        answer = self.plain(user, password)
        assert answer.tag.endswith("}success"), ElementTree.tostring(answer)
        self.open_stream()
        return self.bind(resource)

    def bind(self, resource=None):
        """Binds a resource (None: the server makes one); returns the full JID."""
        child = f"<resource>{resource}</resource>" if resource else ""
        self.send(f"<iq type='set' id='bind'><bind xmlns='{NS['bind']}'>{child}</bind></iq>")
        answer = self.until(lambda e: e.get("id") == "bind")
        assert answer.get("type") == "result", ElementTree.tostring(answer)
        return answer.find(f".//{{{NS['bind']}}}jid").text

    def iq(self, kind, payload, to=None, ident="q1", timeout=None):
        """Sends an IQ and returns its answer."""
        address = f" to='{to}'" if to else ""
        self.send(f"<iq type='{kind}' id='{ident}'{address}>{payload}</iq>")
        return self.until(lambda e: e.tag.endswith("}iq") and e.get("id") == ident, timeout)

    def sync(self):
        """Pings the server and waits for the answer: what was sent before has been handled."""
        answer = self.iq("get", "<ping xmlns='urn:xmpp:ping'/>", to=self.domain, ident="sync")
        return answer.get("type")
