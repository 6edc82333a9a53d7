"""Throw-away certificates for tests, made with the openssl command and cached for one day.

One directory holds: `main` (ECDSA P-256, the default), `second` (ECDSA, other names), `rsa` (RSA-2048),
`renewed` (same names as `main`, other key: for reload tests) and `expired` (valid only in the past).
"""

import fcntl
import os
import subprocess
import time
from pathlib import Path

HOME = Path(os.environ.get("GODWIT_CACHE", Path.home() / ".cache" / "godwit"))
AGE_MAX_SECONDS = 24 * 3600
OPENSSL_SECONDS_MAX = 60

# name -> (key algorithm arguments, DNS names)
EC = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]
RSA = ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]
KINDS = {
    "main": (EC, ["localhost", "one.test"]),
    "second": (EC, ["two.test"]),
    "rsa": (RSA, ["rsa.test"]),
    "renewed": (EC, ["localhost", "one.test"]),
    "expired": (EC, ["localhost", "one.test"]),
}

CA_CONFIG = """
[ca]
default_ca = own
[own]
dir = {dir}
database = {dir}/index.txt
serial = {dir}/serial
new_certs_dir = {dir}
default_md = sha256
policy = any
unique_subject = no
[any]
commonName = supplied
[leaf]
subjectAltName = {san}
"""


def _openssl(*args):
    done = subprocess.run(["openssl", *args], capture_output=True, text=True, timeout=OPENSSL_SECONDS_MAX)
    if done.returncode != 0:
        raise RuntimeError(f"openssl {' '.join(args)}: {done.stderr}")
    return done.stdout


class Certificates:
    """Paths of the certificate chain and key of each kind: `certs.chain("main")`, `certs.key("main")`."""

    def __init__(self, directory=None):
        self.dir = Path(directory) if directory else HOME / "test-certificates"
        self.dir.mkdir(parents=True, exist_ok=True)
        with open(self.dir / ".lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for kind in KINDS:
                self._ensure(kind)

    def chain(self, kind="main"):
        """The PEM certificate."""
        return self.dir / f"{kind}.crt"

    def key(self, kind="main"):
        """The PEM private key."""
        return self.dir / f"{kind}.key"

    def fingerprint(self, kind="main"):
        """SHA-256 of the certificate as openssl prints it (AA:BB:...)."""
        out = _openssl("x509", "-in", str(self.chain(kind)), "-noout", "-fingerprint", "-sha256")
        return out.strip().split("=", 1)[1]

    def _ensure(self, kind):
        chain = self.chain(kind)
        if chain.exists() and time.time() - chain.stat().st_mtime < AGE_MAX_SECONDS:
            return
        algorithm, names = KINDS[kind]
        _openssl("genpkey", *algorithm, "-out", str(self.key(kind)))
        os.chmod(self.key(kind), 0o600)
        san = ",".join(f"DNS:{name}" for name in names)
        if kind == "expired":
            self._issue_in_the_past(kind, names[0], san)
        else:
            _openssl(
                "req",
                "-x509",
                "-new",
                "-key",
                str(self.key(kind)),
                "-days",
                "30",
                "-subj",
                f"/CN={names[0]}",
                "-addext",
                f"subjectAltName={san}",
                "-out",
                str(chain),
            )

    def _issue_in_the_past(self, kind, name, san):
        """`openssl req -x509` cannot set dates before 3.4, `openssl ca` can."""
        work = self.dir / "ca"
        work.mkdir(exist_ok=True)
        (work / "index.txt").write_text("")
        (work / "serial").write_text("01\n")
        config = work / "ca.cnf"
        config.write_text(CA_CONFIG.format(dir=work, san=san))
        request = work / "request.pem"
        _openssl("req", "-new", "-key", str(self.key(kind)), "-subj", f"/CN={name}", "-out", str(request))
        _openssl(
            "ca",
            "-batch",
            "-notext",
            "-selfsign",
            "-config",
            str(config),
            "-extensions",
            "leaf",
            "-keyfile",
            str(self.key(kind)),
            "-in",
            str(request),
            "-out",
            str(self.chain(kind)),
            "-startdate",
            "20200101000000Z",
            "-enddate",
            "20200201000000Z",
        )
