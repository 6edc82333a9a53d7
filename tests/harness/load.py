"""godwit-load in a process of its own, while a test does something to the server.

`daemon` is one of the harness, or whatever has its address, tls_port, domain and dir.
"""

import json
import subprocess
import time

from .daemon import binary

# What must stay 0 as long as nobody is cut off.
WRONG = ("disconnected", "lost", "duplicated", "out_of_order", "errors", "late")
LOGIN_SECONDS_MAX = 120
# Longer than a test may take: the load ends when it is told to.
LOAD_SECONDS_MAX = 900


class Load:
    """One process of godwit-load: pairs with one version of TLS, for as long as a file exists."""

    def __init__(self, daemon, version, first, pairs, messages_per_second):
        self.lines = daemon.dir / f"load-{version}.json"
        self.go_on = daemon.dir / f"load-{version}"
        self.go_on.touch()
        self.log = open(daemon.dir / f"load-{version}.log", "w+")
        command = [binary("godwit-load"), "--addr", f"{daemon.address}:{daemon.tls_port}"]
        command += ["--domain", daemon.domain, "--json", str(self.lines)]
        command += ["--tls-version", version, "--first", str(first)]
        command += ["failover", "--pairs", str(pairs), "--seconds", str(LOAD_SECONDS_MAX)]
        command += ["--messages", str(messages_per_second), "--while", str(self.go_on)]
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log)

    def phases(self):
        """Those that are over, by name."""
        lines = self.lines.read_text().splitlines() if self.lines.exists() else []
        return {phase["phase"]: phase for phase in map(json.loads, lines)}

    def until_online(self):
        deadline = time.monotonic() + LOGIN_SECONDS_MAX
        while "failover.login" not in self.phases():
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.1)

    def said(self):
        self.log.seek(0)
        return self.log.read()

    def end(self):
        """What it counted."""
        self.go_on.unlink()
        assert self.process.wait(LOGIN_SECONDS_MAX) == 0, self.said()
        return self.phases()["failover"]

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.log.close()


def register(daemon, count):
    """Accounts for the load generator."""
    command = [binary("godwit-load"), "--addr", f"{daemon.address}:{daemon.tls_port}"]
    command += ["--domain", daemon.domain, "register", "--count", str(count)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stdout + done.stderr
