"""Hostile cases around the XML stream: deadlines, numbers, sizes, readers that do not read."""

import resource
import socket
import struct
import time

from harness import RawClient, StreamClosed
from harness.rawxmpp import NS

from hostile_cases import (
    LOGIN_SECONDS_MAX,
    MANY,
    PASSWORD,
    SLACK_SECONDS,
    USER,
    alive,
    case,
    dial,
    ended_within,
)


@case
def silence_after_the_handshake(daemon):
    with RawClient(daemon) as raw:
        ended_within(raw.sock, LOGIN_SECONDS_MAX + SLACK_SECONDS)


@case
def stream_without_login(daemon):
    with RawClient(daemon) as raw:
        raw.open_stream()
        condition, _ = raw.stream_error(timeout=LOGIN_SECONDS_MAX + SLACK_SECONDS)
        assert condition in ("connection-timeout", "policy-violation"), condition


@case
def white_space_does_not_push_the_login_deadline(daemon):
    with RawClient(daemon) as raw:
        raw.open_stream()
        deadline = time.monotonic() + LOGIN_SECONDS_MAX + SLACK_SECONDS
        try:
            while True:
                raw.send(" ")
                raw.sock.settimeout(0.2)
                try:
                    if not raw.sock.recv(4096):
                        return
                except TimeoutError:
                    pass
                assert time.monotonic() < deadline, "the login deadline moved"
        except (StreamClosed, OSError):
            return


@case
def authenticated_but_never_bound(daemon):
    with RawClient(daemon) as raw:
        raw.open_stream()
        raw.plain(USER, PASSWORD)
        raw.open_stream()
        raw.stream_error(timeout=LOGIN_SECONDS_MAX + SLACK_SECONDS)


@case
def many_connections_without_login(daemon):
    """They all go at the deadline, and an honest client is served meanwhile."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, MANY * 2), hard), hard))
    socks = [dial(daemon, tls=bool(number % 2)) for number in range(MANY)]
    try:
        alive(daemon)
        deadline = time.monotonic() + LOGIN_SECONDS_MAX + SLACK_SECONDS
        for sock in socks:
            ended_within(sock, max(deadline - time.monotonic(), 0.5))
    finally:
        for sock in socks:
            sock.close()


@case
def connections_that_reset_at_once(daemon):
    for number in range(MANY):
        sock = dial(daemon, tls=bool(number % 2))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()


@case
def stanza_without_end_before_login(daemon):
    with RawClient(daemon) as raw:
        raw.open_stream()
        try:
            raw.send("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>")
            for _ in range(1000):
                raw.send("A" * 10000)
        except StreamClosed:
            pass
        condition, _ = raw.stream_error()
        assert condition in ("policy-violation", None), condition


@case
def stanza_without_end_after_login(daemon):
    with RawClient(daemon) as raw:
        raw.login(USER, PASSWORD, "endless")
        try:
            raw.send("<message to='mallory@localhost'><body>")
            for _ in range(2000):
                raw.send("A" * 10000)
        except StreamClosed:
            pass
        condition, _ = raw.stream_error()
        assert condition in ("policy-violation", None), condition


@case
def ten_thousand_levels(daemon):
    with RawClient(daemon) as raw:
        raw.login(USER, PASSWORD, "deep")
        try:
            raw.send("<message>" + "<a>" * 10000)
        except StreamClosed:
            pass
        condition, _ = raw.stream_error()
        assert condition in ("policy-violation", None), condition


@case
def entity_bomb(daemon):
    with RawClient(daemon) as raw:
        raw.send(
            "<?xml version='1.0'?><!DOCTYPE lolz [<!ENTITY a 'lol'><!ENTITY b '&a;&a;&a;'>]>"
            f"<stream:stream to='{daemon.domain}' xmlns='jabber:client' xmlns:stream='{NS['stream']}'>&b;"
        )
        condition, _ = raw.stream_error()
        assert condition == "restricted-xml", condition


@case
def a_reader_that_does_not_read(daemon):
    """A flooded session never reads: its queue has an end, the sender and the daemon do not suffer."""
    deaf = RawClient(daemon)
    full = deaf.login(USER, PASSWORD, "deaf")
    try:
        with RawClient(daemon) as raw:
            raw.login(USER, PASSWORD, "loud")
            body = "x" * 60000
            for number in range(300):
                raw.send(f"<message to='{full}' type='headline' id='h{number}'><body>{body}</body></message>")
                if number % 20 == 0:
                    raw.sync()
            assert raw.sync() == "result"
    finally:
        deaf.cut()


@case
def starttls_then_injected_plain_text(daemon):
    """Bytes behind <starttls/> in the same segment must not be taken for text that came through TLS."""
    with RawClient(daemon, "plain") as raw:
        raw.open_stream()
        injected = "<iq type='get' id='evil'><ping xmlns='urn:xmpp:ping'/></iq>"
        raw.send(f"<starttls xmlns='{NS['tls']}'/>{injected}")
        try:
            if raw.element().tag != f"{{{NS['tls']}}}proceed":
                return
            raw.start_tls()
        except (StreamClosed, OSError):
            return
        features = raw.open_stream()
        assert features.find(f".//{{{NS['sasl']}}}mechanism") is not None
        raw.sock.settimeout(0.5)
        try:
            assert b"evil" not in raw.sock.recv(4096)
        except TimeoutError:
            pass
