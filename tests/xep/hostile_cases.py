"""What the hostile cases share: their registry, honest and bare connections, deadlines.

A case takes the daemon, sends what it must not, and returns; the daemon must be alive after each.

The XML stream's own hostile cases are transcripts (tests/transcripts/hostile). The daemon of these runs with
a handshake limit of 2 s and a login limit of 4 s, so that deadlines can be waited for.
"""

import socket
import ssl
import time

from harness import RawClient
from harness.rawxmpp import client_context

USER, PASSWORD = "mallory", "well known"
HANDSHAKE_SECONDS_MAX = 2
LOGIN_SECONDS_MAX = 4
SLACK_SECONDS = 3
MANY = 400
CASES = {}


def case(function):
    """Registers a case under its function's name."""
    CASES[function.__name__] = function
    return function


def prepare(daemon):
    """The account that `alive` logs in with."""
    daemon.add_account(f"{USER}@{daemon.domain}", PASSWORD)


def alive(daemon):
    """The daemon still runs and serves an honest client."""
    assert daemon.running(), "the daemon ended"
    with RawClient(daemon) as raw:
        raw.login(USER, PASSWORD)
        assert raw.sync() == "result"


def dial(daemon, tls=True):
    """A bare TCP connection."""
    return socket.create_connection((daemon.address, daemon.tls_port if tls else daemon.port), timeout=10)


def ended_within(sock, seconds):
    """Reads until the peer ends; returns what it sent; fails when it does not end in time."""
    deadline, data = time.monotonic() + seconds, b""
    while True:
        left = deadline - time.monotonic()
        assert left > 0, f"still open after {seconds} s; got {data[:200]!r}"
        sock.settimeout(left)
        try:
            piece = sock.recv(65536)
        except TimeoutError:
            continue
        except OSError:
            return data
        if not piece:
            return data
        data += piece


def client_hello(name="localhost"):
    """The first flight of an honest client, as bytes."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    machine = client_context().wrap_bio(incoming, outgoing, server_hostname=name)
    try:
        machine.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()
