"""A raw client over pyOpenSSL, which can export keying material (RFC 9266 tls-exporter)."""

import hashlib
import socket
import struct

from harness import RawClient
from OpenSSL import SSL, crypto


class _Socket:
    """The three methods of a socket that RawClient uses, over a pyOpenSSL connection."""

    def __init__(self, connection, sock):
        self.connection, self.sock = connection, sock
        self.sendall, self.close = connection.sendall, sock.close

    def settimeout(self, seconds):
        """A receive time limit that leaves the descriptor blocking."""
        limit = struct.pack("ll", int(seconds), int(seconds % 1 * 1e6))
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)

    def recv(self, size):
        """Data, or b'' at the end."""
        try:
            return self.connection.recv(size)
        except (SSL.ZeroReturnError, SSL.SysCallError):
            return b""
        except SSL.WantReadError:
            raise TimeoutError("no data") from None


class ExporterClient(RawClient):
    """Direct TLS by pyOpenSSL."""

    def start_tls(self):
        """The handshake; remembers the connection for `exporter`."""
        self.sock.settimeout(None)
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_verify(SSL.VERIFY_NONE, lambda *_: True)
        self.tls = SSL.Connection(context, self.sock)
        self.tls.set_tlsext_host_name(self.domain.encode())
        self.tls.set_connect_state()
        self.tls.do_handshake()
        self.sock = _Socket(self.tls, self.sock)
        self._new_parser()

    def exporter(self):
        """Channel binding data of type tls-exporter."""
        return self.tls.export_keying_material(b"EXPORTER-Channel-Binding", 32, b"")

    def server_end_point(self):
        """Channel binding data of type tls-server-end-point."""
        certificate = crypto.dump_certificate(crypto.FILETYPE_ASN1, self.tls.get_peer_certificate())
        return hashlib.sha256(certificate).digest()
