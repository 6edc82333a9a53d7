"""TLS as three libraries do it, each with what tests need and Python's ssl does not offer: KeyUpdate in both
ways, records of a given size, and the difference between a close_notify and a cut.

A context of these goes where RawClient takes an ssl.SSLContext. OpenSSL and GnuTLS are the system's shared
libraries through ctypes; rustls is `godwit-tls-pipe` (tests/client/src/bin/tls_pipe.rs).
"""

import ctypes
import select
import socket
import struct
import subprocess
import time

from .daemon import binary

RECORD_BYTES_MAX = 16_384


class TlsError(ConnectionError):
    """The TLS library failed, or the peer cut the connection without close_notify."""


class Stack:
    """A context: a version ("1.2" or "1.3"), and how many bytes go into a record at most."""

    socket_class = None

    def __init__(self, version, record_bytes_max=RECORD_BYTES_MAX):
        self.version = version
        self.record_bytes_max = record_bytes_max

    def wrap_socket(self, sock, server_hostname):
        """A connected socket becomes a TLS connection."""
        return self.socket_class(self, sock, server_hostname)


class LibrarySocket:
    """What OpenSSL and GnuTLS have in common: the library works on a socket that does not block."""

    def __init__(self, stack, sock, name):
        self.stack = stack
        self.sock = sock
        self.timeout = sock.gettimeout() or 10
        sock.setblocking(False)
        self.begin(name.encode())
        self.repeat(self.handshake)

    def settimeout(self, seconds):
        self.timeout = seconds

    def repeat(self, step):
        """Until `step` returns something other than "read" or "write", what it waits for."""
        deadline = time.monotonic() + self.timeout
        while (result := step()) in ("read", "write"):
            left = max(0, deadline - time.monotonic())
            reading, writing = ([self.sock], []) if result == "read" else ([], [self.sock])
            if not any(select.select(reading, writing, [], left)):
                raise TimeoutError("TLS waits")
        return result

    def sendall(self, data):
        size = self.stack.record_bytes_max
        for start in range(0, len(data), size):
            piece = data[start : start + size]
            while piece:
                piece = piece[self.repeat(lambda piece=piece: self.write(piece)) :]

    def recv(self, size):
        """b"" only after a close_notify."""
        return self.repeat(lambda: self.read(size))

    def close(self):
        self.sock.close()


def function(library, name, result, *arguments):
    """A function of a shared library with its types."""
    found = getattr(library, name)
    found.restype, found.argtypes = result, arguments
    return found


class LibSsl:
    """The functions of libssl.so.3 that are used, and its numbers (openssl/ssl.h)."""

    P, I, L, S = ctypes.c_void_p, ctypes.c_int, ctypes.c_long, ctypes.c_char_p
    WANT_READ, WANT_WRITE, ZERO_RETURN = 2, 3, 6
    SET_SERVER_NAME, SET_MIN_VERSION, SET_MAX_VERSION = 55, 123, 124
    VERSIONS = {"1.2": 0x0303, "1.3": 0x0304}
    HANDSHAKE, KEY_UPDATE = 22, 24

    def __init__(self):
        ssl = ctypes.CDLL("libssl.so.3")
        P, I, L, S = self.P, self.I, self.L, self.S
        self.method = function(ssl, "TLS_client_method", P)
        self.context = function(ssl, "SSL_CTX_new", P, P)
        self.context_ctrl = function(ssl, "SSL_CTX_ctrl", L, P, I, L, P)
        self.context_free = function(ssl, "SSL_CTX_free", None, P)
        self.new = function(ssl, "SSL_new", P, P)
        self.ctrl = function(ssl, "SSL_ctrl", L, P, I, L, P)
        self.set_fd = function(ssl, "SSL_set_fd", I, P, I)
        self.connect = function(ssl, "SSL_connect", I, P)
        self.do_handshake = function(ssl, "SSL_do_handshake", I, P)
        self.read = function(ssl, "SSL_read", I, P, P, I)
        self.write = function(ssl, "SSL_write", I, P, S, I)
        self.key_update = function(ssl, "SSL_key_update", I, P, I)
        self.shutdown = function(ssl, "SSL_shutdown", I, P)
        self.error = function(ssl, "SSL_get_error", I, P, I)
        self.free = function(ssl, "SSL_free", None, P)
        self.forget = function(ctypes.CDLL("libcrypto.so.3"), "ERR_clear_error", None)
        self.Watcher = ctypes.CFUNCTYPE(None, I, I, I, P, ctypes.c_size_t, P, P)
        self.watch = function(ssl, "SSL_set_msg_callback", None, P, self.Watcher)


class OpenSslSocket(LibrarySocket):
    """`key_updates` counts those of the server."""

    lib = None

    def begin(self, name):
        if OpenSslSocket.lib is None:
            OpenSslSocket.lib = LibSsl()
        lib = self.lib
        context = lib.context(lib.method())
        for which in (lib.SET_MIN_VERSION, lib.SET_MAX_VERSION):
            lib.context_ctrl(context, which, lib.VERSIONS[self.stack.version], None)
        self.ssl = lib.new(context)
        lib.context_free(context)  # the connection keeps it
        lib.ctrl(self.ssl, lib.SET_SERVER_NAME, 0, ctypes.cast(ctypes.c_char_p(name), ctypes.c_void_p))
        lib.set_fd(self.ssl, self.sock.fileno())
        self.key_updates = 0
        self.watcher = lib.Watcher(self.saw)
        lib.watch(self.ssl, self.watcher)

    def saw(self, sent, _version, kind, buffer, length, *_):
        if not sent and kind == self.lib.HANDSHAKE and length:
            self.key_updates += ctypes.string_at(buffer, 1)[0] == self.lib.KEY_UPDATE

    def outcome(self, result):
        error = self.lib.error(self.ssl, result)
        if error in (self.lib.WANT_READ, self.lib.WANT_WRITE):
            return "read" if error == self.lib.WANT_READ else "write"
        if error == self.lib.ZERO_RETURN:
            return b""
        self.lib.forget()  # errors are the thread's, and the next connection would find them
        raise TlsError(f"OpenSSL: error {error}")

    def handshake(self):
        result = self.lib.connect(self.ssl)
        return None if result == 1 else self.outcome(result)

    def write(self, data):
        written = self.lib.write(self.ssl, data, len(data))
        return written if written > 0 else self.outcome(written)

    def read(self, size):
        buffer = ctypes.create_string_buffer(size)
        got = self.lib.read(self.ssl, buffer, size)
        return buffer.raw[:got] if got > 0 else self.outcome(got)

    def key_update(self, both):
        """New keys for what is sent from here on; `both`: the server is asked for the same."""
        assert self.lib.key_update(self.ssl, int(both)) == 1
        self.repeat(lambda: None if (r := self.lib.do_handshake(self.ssl)) == 1 else self.outcome(r))

    def close_notify(self):
        """Nothing more is sent."""
        if self.lib.shutdown(self.ssl) < 0:
            raise TlsError("OpenSSL: SSL_shutdown")

    def close(self):
        super().close()
        if self.ssl:
            self.lib.free(self.ssl)
            self.ssl = None


class LibGnuTls:
    """The functions of libgnutls.so.30 that are used, and its numbers (gnutls/gnutls.h)."""

    AGAIN, INTERRUPTED = -28, -52
    CLIENT, NONBLOCK = 1 << 1, 1 << 3
    CERTIFICATE, NAME_DNS, SHUT_WRITE, PEER_TOO = 1, 1, 1, 1

    def __init__(self):
        lib = ctypes.CDLL("libgnutls.so.30")
        P, U, I, S, N = ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t
        self.credentials = function(lib, "gnutls_certificate_allocate_credentials", I, P)
        self.init = function(lib, "gnutls_init", I, P, U)
        self.priority = function(lib, "gnutls_priority_set_direct", I, P, S, P)
        self.use = function(lib, "gnutls_credentials_set", I, P, I, P)
        self.name = function(lib, "gnutls_server_name_set", I, P, I, S, N)
        self.transport = function(lib, "gnutls_transport_set_int2", None, P, I, I)
        self.handshake = function(lib, "gnutls_handshake", I, P)
        self.send = function(lib, "gnutls_record_send", ctypes.c_ssize_t, P, S, N)
        self.receive = function(lib, "gnutls_record_recv", ctypes.c_ssize_t, P, P, N)
        self.key_update = function(lib, "gnutls_session_key_update", I, P, U)
        self.bye = function(lib, "gnutls_bye", I, P, I)
        self.direction = function(lib, "gnutls_record_get_direction", I, P)
        self.text = function(lib, "gnutls_strerror", S, I)
        self.free = function(lib, "gnutls_deinit", None, P)


class GnuTlsSocket(LibrarySocket):
    lib = None

    def begin(self, name):
        if GnuTlsSocket.lib is None:
            GnuTlsSocket.lib = LibGnuTls()
        lib, self.session = self.lib, ctypes.c_void_p()
        self.credentials = ctypes.c_void_p()
        versions = f"NORMAL:-VERS-ALL:+VERS-TLS{self.stack.version}".encode()
        self.check(lib.credentials(ctypes.byref(self.credentials)))
        self.check(lib.init(ctypes.byref(self.session), lib.CLIENT | lib.NONBLOCK))
        self.check(lib.priority(self.session, versions, None))
        self.check(lib.use(self.session, lib.CERTIFICATE, self.credentials))
        self.check(lib.name(self.session, lib.NAME_DNS, name, len(name)))
        lib.transport(self.session, self.sock.fileno(), self.sock.fileno())

    def check(self, result):
        """What it was, "read" or "write" if it has to wait."""
        if result in (self.lib.AGAIN, self.lib.INTERRUPTED):
            return "write" if self.lib.direction(self.session) else "read"
        if result < 0:
            raise TlsError(f"GnuTLS: {self.lib.text(result).decode()}")
        return result

    def handshake(self):
        return self.check(self.lib.handshake(self.session))

    def write(self, data):
        return self.check(self.lib.send(self.session, data, len(data)))

    def read(self, size):
        buffer = ctypes.create_string_buffer(size)
        got = self.check(self.lib.receive(self.session, buffer, size))
        return got if isinstance(got, str) else buffer.raw[:got]

    def key_update(self, both):
        """As with OpenSSL."""
        flags = self.lib.PEER_TOO if both else 0
        self.repeat(lambda: self.check(self.lib.key_update(self.session, flags)))

    def close_notify(self):
        """Nothing more is sent."""
        self.repeat(lambda: self.check(self.lib.bye(self.session, self.lib.SHUT_WRITE)))

    def close(self):
        super().close()
        if self.session:
            self.lib.free(self.session)
            self.session = None


class RustlsSocket:
    """A process between the test and the network."""

    def __init__(self, stack, sock, name):
        ours, theirs = socket.socketpair()
        ours.settimeout(sock.gettimeout())
        sock.setblocking(True)
        command = [binary("godwit-tls-pipe"), name, stack.version, str(stack.record_bytes_max)]
        self.process = subprocess.Popen(command, stdin=sock, stdout=theirs, stderr=subprocess.PIPE)
        sock.close()
        theirs.close()
        self.pipe = ours

    def settimeout(self, seconds):
        self.pipe.settimeout(seconds)

    def frame(self, kind, data=b""):
        self.pipe.sendall(struct.pack(">cI", kind, len(data)) + data)

    def sendall(self, data):
        self.frame(b"d", data)

    def recv(self, size):
        """b"" only after a close_notify."""
        data = self.pipe.recv(size)
        if not data and self.process.wait(10) != 0:
            raise TlsError(self.process.stderr.read().decode())
        return data

    def key_update(self, both):
        """The library always asks the server too."""
        assert both
        self.frame(b"k")

    def close_notify(self):
        """Nothing more is sent."""
        self.frame(b"c")

    def close(self):
        self.pipe.close()
        self.process.wait(10)
        self.process.stderr.close()


class OpenSsl(Stack):
    """libssl."""

    socket_class = OpenSslSocket


class GnuTls(Stack):
    """libgnutls."""

    socket_class = GnuTlsSocket


class Rustls(Stack):
    """rustls in a process of its own."""

    socket_class = RustlsSocket


STACKS = {"openssl": OpenSsl, "gnutls": GnuTls, "rustls": Rustls}
VERSIONS = ("1.2", "1.3")
