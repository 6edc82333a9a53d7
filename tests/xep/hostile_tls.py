"""Hostile cases below the XML stream: records, handshakes, bytes that come too slowly."""

import os
import random
import socket
import struct
import subprocess
import time

from harness import RawClient

from hostile_cases import (
    HANDSHAKE_SECONDS_MAX,
    LOGIN_SECONDS_MAX,
    PASSWORD,
    SLACK_SECONDS,
    USER,
    case,
    client_hello,
    dial,
    ended_within,
)


@case
def plain_text_on_the_tls_port(daemon):
    with dial(daemon) as sock:
        sock.sendall(b"<?xml version='1.0'?><stream:stream to='localhost' xmlns='jabber:client'>" * 4)
        answer = ended_within(sock, HANDSHAKE_SECONDS_MAX + SLACK_SECONDS)
        assert b"<stream" not in answer


@case
def http_on_the_tls_port(daemon):
    with dial(daemon) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        ended_within(sock, HANDSHAKE_SECONDS_MAX + SLACK_SECONDS)


@case
def http_on_the_starttls_port(daemon):
    with dial(daemon, tls=False) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        ended_within(sock, LOGIN_SECONDS_MAX + SLACK_SECONDS)


@case
def tls_on_the_starttls_port(daemon):
    with dial(daemon, tls=False) as sock:
        sock.sendall(client_hello())
        ended_within(sock, LOGIN_SECONDS_MAX + SLACK_SECONDS)


@case
def random_bytes_on_both_ports(daemon):
    generator = random.Random(7)
    for tls in (True, False):
        for _ in range(30):
            with dial(daemon, tls) as sock:
                try:
                    sock.sendall(generator.randbytes(generator.randrange(1, 4000)))
                except OSError:
                    continue
    for tls in (True, False):
        with dial(daemon, tls) as sock:
            sock.sendall(generator.randbytes(3000) + b"\0" * 3000)
            ended_within(sock, LOGIN_SECONDS_MAX + SLACK_SECONDS)


@case
def client_hello_with_flipped_bytes(daemon):
    generator, hello = random.Random(11), client_hello()
    for _ in range(60):
        spoiled = bytearray(hello)
        for _ in range(generator.randrange(1, 6)):
            spoiled[generator.randrange(5, len(spoiled))] ^= 1 << generator.randrange(8)
        with dial(daemon) as sock:
            sock.sendall(bytes(spoiled))


@case
def record_header_that_promises_too_much(daemon):
    with dial(daemon) as sock:
        sock.sendall(struct.pack("!BHH", 22, 0x0301, 0xFFFF) + b"\1" * 4096)
        ended_within(sock, HANDSHAKE_SECONDS_MAX + SLACK_SECONDS)


@case
def handshake_message_of_16_megabytes(daemon):
    """One handshake message may span records: its length is 24 bits, and nobody may buffer all of that."""
    with dial(daemon) as sock:
        message = b"\1\xff\xff\xff" + b"\0" * (1 << 24)
        try:
            for at in range(0, len(message), 16000):
                piece = message[at : at + 16000]
                sock.sendall(struct.pack("!BHH", 22, 0x0301, len(piece)) + piece)
        except OSError:
            return
        ended_within(sock, HANDSHAKE_SECONDS_MAX + SLACK_SECONDS)


@case
def empty_records_without_end(daemon):
    with dial(daemon) as sock:
        try:
            for _ in range(20000):
                sock.sendall(struct.pack("!BHH", 22, 0x0303, 0) * 16)
        except OSError:
            return
        ended_within(sock, HANDSHAKE_SECONDS_MAX + SLACK_SECONDS)


@case
def garbage_after_the_handshake(daemon):
    """A record that does not decrypt ends the connection at once."""
    raw = RawClient(daemon)
    raw.open_stream()
    twin = socket.socket(fileno=os.dup(raw.sock.fileno()))
    twin.sendall(struct.pack("!BHH", 23, 0x0303, 64) + os.urandom(64))
    ended_within(twin, SLACK_SECONDS)
    twin.close()
    raw.cut()


@case
def truncated_record_then_end(daemon):
    raw = RawClient(daemon)
    raw.login(USER, PASSWORD, "truncated")
    twin = socket.socket(fileno=os.dup(raw.sock.fileno()))
    twin.sendall(struct.pack("!BHH", 23, 0x0303, 500) + os.urandom(100))
    twin.shutdown(socket.SHUT_WR)
    ended_within(twin, SLACK_SECONDS)
    twin.close()
    raw.cut()


@case
def silence_before_the_handshake(daemon):
    with dial(daemon) as sock:
        started = time.monotonic()
        ended_within(sock, HANDSHAKE_SECONDS_MAX + SLACK_SECONDS)
        assert time.monotonic() - started > HANDSHAKE_SECONDS_MAX * 0.5


@case
def half_a_client_hello(daemon):
    hello = client_hello()
    with dial(daemon) as sock:
        sock.sendall(hello[: len(hello) // 2])
        ended_within(sock, HANDSHAKE_SECONDS_MAX + SLACK_SECONDS)


@case
def client_hello_byte_by_byte(daemon):
    """A slow handshake is served when it is done in time."""
    hello = client_hello()
    with dial(daemon) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in hello:
            sock.sendall(bytes([byte]))
        sock.settimeout(5)
        assert sock.recv(1) == b"\x16"


@case
def client_hello_slower_than_the_deadline(daemon):
    """Bytes that trickle in do not push the deadline back."""
    hello = client_hello()
    with dial(daemon) as sock:
        deadline = time.monotonic() + HANDSHAKE_SECONDS_MAX + SLACK_SECONDS
        try:
            for byte in hello:
                sock.sendall(bytes([byte]))
                time.sleep(0.1)
                assert time.monotonic() < deadline, "the handshake deadline moved"
        except OSError:
            return


@case
def renegotiation_is_refused(daemon):
    """On TLS 1.2 a client hello inside the session (openssl s_client's R) does not start a new handshake."""
    command = ["openssl", "s_client", "-connect", f"{daemon.address}:{daemon.tls_port}", "-tls1_2"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as client:
        try:
            time.sleep(0.5)
            client.stdin.write(b"R\n")
            client.stdin.flush()
            client.wait(LOGIN_SECONDS_MAX + SLACK_SECONDS)
        finally:
            client.kill()
        output = client.stdout.read().decode(errors="replace")
    assert output.count("verify return") <= 2, "a second handshake took place"
