"""One godwitd under test: writes its configuration, starts, stops, kills and reloads it.

Addresses are loopback, ports are free ones chosen here; every wait has a limit. The log goes to
`<dir>/godwitd.log` and is printed by `show_log()`, which the suites call when a test failed.
"""

import atexit
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from .certs import HOME, Certificates

READY_SECONDS_MAX = 30
STOP_SECONDS_MAX = 20
CTL_SECONDS_MAX = 30
LOG_BYTES_SHOWN_MAX = 12_000

_running = set()


class DaemonError(Exception):
    """The daemon or godwitctl did something a test did not ask for."""


def binary(name):
    """Path of a built program: $GODWIT_BIN_DIR, else the dev profile's directory of cargo."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", HOME / "target"))
    directory = Path(os.environ.get("GODWIT_BIN_DIR", target / "debug"))
    path = directory / name
    if not path.exists():
        raise DaemonError(f"{path} is not built: run `make build` first")
    return str(path)


def free_port(address="127.0.0.1"):
    """A port nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((address, 0))
        return probe.getsockname()[1]


def to_toml(settings):
    """TOML of {section: {key: value}}; strings, numbers, booleans and lists look the same in JSON.
    A section whose value is a list becomes an array of tables."""
    lines = []
    for section, table in settings.items():
        tables, head = (table, f"[[{section}]]") if isinstance(table, list) else ([table], f"[{section}]")
        for one in tables:
            lines.append(head)
            lines += [f"{key} = {json.dumps(value)}" for key, value in one.items()]
    return "\n".join(lines) + "\n"


class Daemon:
    """A daemon with its own directory. Use it as a context manager, or call `start` and `close`.

    `settings` are merged over the default configuration: {"registration": {"in_band": True}}.
    """

    def __init__(
        self, domains=("localhost",), settings=None, address="127.0.0.1", ports=None, environment=None
    ):
        self.domains = list(domains)
        self.domain = self.domains[0]
        self.address = address
        self.certs = Certificates()
        self.dir = Path(tempfile.mkdtemp(prefix="godwit-test-"))
        self.port, self.tls_port = ports or (free_port(address), free_port(address))
        self.environment = {**os.environ, **(environment or {})}
        self.process = None
        self.config = self.dir / "godwit.toml"
        self.log = self.dir / "godwitd.log"
        self.certificate = self.dir / "tls.crt"
        self.key = self.dir / "tls.key"
        self.install_certificate("main")
        self.settings = {
            "server": {"domains": self.domains, "data_dir": str(self.dir / "data")},
            "listen": {"c2s": [f"{address}:{self.port}"], "c2s_tls": [f"{address}:{self.tls_port}"]},
            "tls": {"certificate": str(self.certificate), "key": str(self.key)},
            "registration": {"in_band": False},
        }
        self.write_config(settings or {})

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, kind, value, trace):
        if kind is not None:
            self.show_log()
        self.close()

    def write_config(self, settings):
        """Merges `settings` into the configuration and writes the file; takes effect at start or reload."""
        for section, table in settings.items():
            if isinstance(table, list):
                self.settings[section] = table
            else:
                self.settings.setdefault(section, {}).update(table)
        self.config.write_text(to_toml(self.settings))

    def install_certificate(self, kind):
        """Puts the certificate of `kind` where the configuration points (see harness.certs)."""
        shutil.copy(self.certs.chain(kind), self.certificate)
        shutil.copy(self.certs.key(kind), self.key)

    def command(self):
        """What is executed."""
        return [binary("godwitd"), "--config", str(self.config)]

    def start(self):
        """Starts it and returns when both ports accept connections."""
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                self.command(),
                stdout=log,
                stderr=log,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        _running.add(self)
        deadline = time.monotonic() + READY_SECONDS_MAX
        for port in (self.port, self.tls_port):
            while not self._accepts(port):
                if self.process.poll() is not None:
                    self.show_log()
                    raise DaemonError(f"godwitd ended at start with status {self.process.returncode}")
                if time.monotonic() > deadline:
                    self.show_log()
                    raise DaemonError(f"godwitd did not listen on {port} within {READY_SECONDS_MAX} s")
                time.sleep(0.03)
        return self

    def _accepts(self, port):
        try:
            socket.create_connection((self.address, port), timeout=1).close()
            return True
        except OSError:
            return False

    def stop(self):
        """SIGTERM; returns the exit status, fails when it takes too long."""
        self.process.send_signal(signal.SIGTERM)
        return self._wait("SIGTERM")

    def kill(self):
        """kill -9: nothing is flushed that was not already durable."""
        self.process.send_signal(signal.SIGKILL)
        return self._wait("SIGKILL")

    def _wait(self, what):
        try:
            status = self.process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.show_log()
            raise DaemonError(f"godwitd still ran {STOP_SECONDS_MAX} s after {what}") from None
        _running.discard(self)
        return status

    def restart(self, hard=False):
        """Stops (or kills) it and starts it again on the same ports and data."""
        self.kill() if hard else self.stop()
        return self.start()

    def reload(self):
        """SIGHUP: configuration and certificates are read again."""
        self.process.send_signal(signal.SIGHUP)

    def running(self):
        """Whether the process lives."""
        return self.process is not None and self.process.poll() is None

    def ctl(self, *args, stdin="", check=True):
        """Runs godwitctl; returns the finished process, fails on a non-zero status unless `check` is off."""
        done = subprocess.run(
            [binary("godwitctl"), "--config", str(self.config), *args],
            input=stdin,
            text=True,
            capture_output=True,
            timeout=CTL_SECONDS_MAX,
            env=self.environment,
        )
        if check and done.returncode != 0:
            raise DaemonError(
                f"godwitctl {' '.join(args)} exited {done.returncode}: {done.stdout}{done.stderr}"
            )
        return done

    def answering(self):
        """Waits until godwitctl finds it: its ports are open a moment earlier. Returns itself."""
        deadline = time.monotonic() + READY_SECONDS_MAX
        while self.ctl("status", check=False).returncode != 0:
            if time.monotonic() > deadline:
                raise DaemonError(f"godwitd did not answer godwitctl within {READY_SECONDS_MAX} s")
            time.sleep(0.03)
        return self

    def add_account(self, jid, password):
        """Creates an account; works with the daemon running or not."""
        self.ctl("account", "add", jid, stdin=password + "\n")

    def read_log(self):
        """All that it has logged."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def show_log(self):
        """Prints the end of the log, for a failed test's report."""
        print(f"--- end of {self.log} ---\n{self.read_log()[-LOG_BYTES_SHOWN_MAX:]}\n--- end ---", flush=True)

    def close(self):
        """Ends it if it runs and removes its directory."""
        if self.running():
            self.kill()
        _running.discard(self)
        if not os.environ.get("GODWIT_KEEP"):
            shutil.rmtree(self.dir, ignore_errors=True)


def running_daemons():
    """Those that were started and not yet stopped."""
    return list(_running)


@atexit.register
def _kill_the_rest():
    for daemon in running_daemons():
        if daemon.running():
            daemon.process.kill()
