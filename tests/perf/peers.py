"""The servers of the benchmark: Godwit, and Prosody and ejabberd from Debian's packages, started alike.

With archive, carbons, stream management, offline storage, roster, one ECDSA P-256 certificate, TLS 1.3, the
same descriptor limit (all that this machine allows), no rate limits, and accounts `user0` … with
`secret0` …. Each keeps its files in a directory of its own, listens on loopback on a free port, and is
stopped by `close`. What is switched on in each can be read here and nowhere else.
"""

import hashlib
import hmac
import os
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from harness.certs import Certificates
from harness.daemon import free_port, to_toml

READY_SECONDS_MAX = 60
STOP_SECONDS_MAX = 30
ACCOUNTS_SECONDS_MAX = 600
# Few rounds: a login's cost is measured with the count that RFC 7677 asks for, and every server uses it.
SCRAM_ITERATIONS = 4096


class PeerError(Exception):
    """A server did not start, or could not be given its accounts."""


def raise_descriptors():
    """In the child: the soft limit becomes the hard one, for every server alike."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def run(command, seconds=ACCOUNTS_SECONDS_MAX, **more):
    """Runs a helper command to its end; its output is the error's text."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, **more)
    if done.returncode != 0:
        raise PeerError(f"{command[0]} exited {done.returncode}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def programs():
    """Where the release builds of this checkout are: $GODWIT_BIN_DIR, else cargo's directory."""
    target = os.environ.get("CARGO_TARGET_DIR", str(Path.home() / ".cache/godwit/target"))
    return Path(os.environ.get("GODWIT_BIN_DIR", f"{target}/release"))


class Peer:
    """One server: a directory, a port for direct TLS, its processes."""

    name = "?"

    def __init__(self, accounts):
        self.dir = Path(tempfile.mkdtemp(prefix=f"godwit-bench-{self.name}-"))
        self.data = self.dir / "data"
        self.data.mkdir()
        self.port = free_port()
        certificates = Certificates()
        shutil.copy(certificates.chain("main"), self.dir / "cert.pem")
        shutil.copy(certificates.key("main"), self.dir / "key.pem")
        self.accounts = accounts
        self.process = None
        self.log = self.dir / "log"

    @classmethod
    def missing(cls):
        """Why it cannot run here, or None."""
        return None

    def version(self):
        """As its package or program says."""
        raise NotImplementedError

    def prepare(self):
        """Writes the configuration and creates the accounts; called once, before the first start."""
        raise NotImplementedError

    def command(self):
        """What is started."""
        raise NotImplementedError

    def environment(self):
        """Its environment."""
        return dict(os.environ)

    def pids(self):
        """The processes whose CPU and memory are the server's."""
        return [self.process.pid]

    def start(self):
        """Starts it, returns when it accepts connections."""
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.dir,
                env=self.environment(),
                start_new_session=True,
                preexec_fn=raise_descriptors,
            )
        deadline = time.monotonic() + READY_SECONDS_MAX
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return self
            except OSError:
                pass
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise PeerError(f"{self.name} did not start: {self.log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.05)

    def stop(self):
        """SIGTERM, and SIGKILL when that takes too long."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.process = None

    def close(self):
        """Stops it and removes its directory."""
        self.stop()
        shutil.rmtree(self.dir, ignore_errors=True)


class Godwit(Peer):
    """The release build of this checkout."""

    name = "godwit"

    def __init__(self, accounts):
        super().__init__(accounts)
        self.bin = programs()
        self.config = self.dir / "godwit.toml"

    def version(self):
        return run([str(self.bin / "godwitd"), "--version"]).strip()

    def settings(self):
        """The configuration, as sections and keys; what is not named has its default."""
        return {
            "server": {"domains": ["localhost"], "data_dir": str(self.data)},
            "listen": {"c2s": [f"127.0.0.1:{free_port()}"], "c2s_tls": [f"127.0.0.1:{self.port}"]},
            "tls": {"certificate": str(self.dir / "cert.pem"), "key": str(self.dir / "key.pem")},
            "registration": {"in_band": True},
        }

    def prepare(self):
        self.config.write_text(to_toml(self.settings()))
        self.start()
        load = [str(self.bin / "godwit-load"), "--addr", f"127.0.0.1:{self.port}"]
        run([*load, "register", "--count", str(self.accounts)])
        self.stop()

    def command(self):
        return [str(self.bin / "godwitd"), "--config", str(self.config)]


def scram_sha1(password, salt):
    """(StoredKey, ServerKey) of RFC 5802."""
    salted = hashlib.pbkdf2_hmac("sha1", password.encode(), salt.encode(), SCRAM_ITERATIONS)
    client = hmac.digest(salted, b"Client Key", "sha1")
    return hashlib.sha1(client).digest(), hmac.digest(salted, b"Server Key", "sha1")


class Prosody(Peer):
    """Prosody with its file storage, as its package comes."""

    name = "prosody"

    @classmethod
    def missing(cls):
        return None if shutil.which("prosody") else "prosody is not installed"

    def version(self):
        return run(["dpkg-query", "-W", "-f", "Prosody ${Version}", "prosody"])

    def prepare(self):
        ssl = f'{{ certificate = "{self.dir}/cert.pem", key = "{self.dir}/key.pem", protocol = "tlsv1_3" }}'
        modules = "roster saslauth tls disco carbons smacks mam csi_simple blocklist ping".split()
        self.config = self.dir / "prosody.cfg.lua"
        self.config.write_text(
            f"""run_as_root = true
data_path = "{self.data}"
pidfile = "{self.dir}/prosody.pid"
modules_enabled = {{ {", ".join(f'"{m}"' for m in modules)} }}
modules_disabled = {{ "s2s" }}
interfaces = {{ "127.0.0.1" }}
c2s_ports = {{ }}
c2s_direct_tls_ports = {{ {self.port} }}
authentication = "internal_hashed"
storage = "internal"
network_backend = "epoll"
network_settings = {{ tcp_backlog = 4096 }}
log = {{ warn = "*console" }}
default_archive_policy = true
smacks_max_queue_size = 100000
limits = {{ }}
ssl = {ssl}
c2s_direct_tls_ssl = {ssl}
VirtualHost "localhost"
Component "conference.localhost" "muc"
"""
        )
        # As `prosodyctl register` writes them, which takes a third of a second for each.
        directory = self.data / "localhost" / "accounts"
        directory.mkdir(parents=True)
        for number in range(self.accounts):
            salt = f"salt-{number}"
            stored, server = scram_sha1(f"secret{number}", salt)
            (directory / f"user{number}.dat").write_text(
                f'return {{ ["salt"] = "{salt}"; ["iteration_count"] = {SCRAM_ITERATIONS}; '
                f'["stored_key"] = "{stored.hex()}"; ["server_key"] = "{server.hex()}"; }};\n'
            )

    def command(self):
        return ["prosody", "-F", "--config", str(self.config)]
