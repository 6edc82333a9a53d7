"""SCRAM (RFC 5802, RFC 7677) as a client speaks it, with or without channel binding."""

import base64
import hashlib
import hmac
import os


def _escape(name):
    return name.replace("=", "=3D").replace(",", "=2C")


class Scram:
    """One exchange: `first()`, then `final(challenge)`, then `verify(success)`.

    `binding` is None (flag n), "y" (the client could, believes the server cannot) or a pair
    (type name, data) such as ("tls-exporter", 32 bytes).
    """

    def __init__(self, mechanism, user, password, binding=None, authzid=""):
        self.hash = {"SCRAM-SHA-1": "sha1", "SCRAM-SHA-256": "sha256"}[mechanism.removesuffix("-PLUS")]
        self.password = password.encode()
        flag = "n" if binding is None else binding if isinstance(binding, str) else f"p={binding[0]}"
        identity = f"a={_escape(authzid)}" if authzid else ""
        self.gs2 = f"{flag},{identity},".encode()
        self.binding_data = binding[1] if isinstance(binding, tuple) else b""
        self.nonce = base64.b64encode(os.urandom(18))
        self.bare = b"n=" + _escape(user).encode() + b",r=" + self.nonce

    def first(self):
        """client-first-message."""
        return self.gs2 + self.bare

    def final(self, challenge):
        """client-final-message for server-first-message `challenge`."""
        fields = dict(part.split(b"=", 1) for part in challenge.split(b","))
        assert fields[b"r"].startswith(self.nonce) and len(fields[b"r"]) > len(self.nonce), (
            "nonce not extended"
        )
        salt, rounds = base64.b64decode(fields[b"s"]), int(fields[b"i"])
        assert rounds >= 4096, "fewer iterations than RFC 5802 asks for"
        salted = hashlib.pbkdf2_hmac(self.hash, self.password, salt, rounds)
        client_key = self._hmac(salted, b"Client Key")
        stored_key = hashlib.new(self.hash, client_key).digest()
        without_proof = b"c=" + base64.b64encode(self.gs2 + self.binding_data) + b",r=" + fields[b"r"]
        message = self.bare + b"," + challenge + b"," + without_proof
        signature = self._hmac(stored_key, message)
        proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        self.server_signature = self._hmac(self._hmac(salted, b"Server Key"), message)
        return without_proof + b",p=" + base64.b64encode(proof)

    def verify(self, success):
        """Whether the server proved that it knows the account's keys."""
        return success == b"v=" + base64.b64encode(self.server_signature)

    def _hmac(self, key, data):
        return hmac.new(key, data, self.hash).digest()
