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
SAID_MAX = 2_000


class Failover:
    """One run of the load generator's `failover`, for as long as a file exists. Its files are in `folder`."""

    login_seconds_max = LOGIN_SECONDS_MAX
    end_seconds_max = LOGIN_SECONDS_MAX
    load_seconds_max = LOAD_SECONDS_MAX

    def __init__(self, folder, name, command, pairs, messages_per_second):
        self.lines, self.go_on = folder / f"{name}.json", folder / f"{name}.go"
        self.lines.unlink(missing_ok=True)
        self.go_on.touch()
        self.log = open(folder / f"{name}.log", "w+")
        command = [*command, "--json", str(self.lines), "failover", "--pairs", str(pairs)]
        command += ["--messages", str(messages_per_second), "--seconds", str(self.load_seconds_max)]
        self.process = subprocess.Popen(
            [*command, "--while", str(self.go_on)], stdout=self.log, stderr=self.log
        )

    def phases(self):
        """Those that are over, by name."""
        lines = self.lines.read_text().splitlines() if self.lines.exists() else []
        return {phase["phase"]: phase for phase in map(json.loads, lines)}

    def until_online(self):
        """All sessions are there."""
        deadline = time.monotonic() + self.login_seconds_max
        while "failover.login" not in self.phases():
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.1)

    def said(self):
        """The end of what it printed."""
        self.log.seek(0)
        return self.log.read()[-SAID_MAX:]

    def end(self):
        """What it counted; it waits until all are back and have everything."""
        self.go_on.unlink()
        self.process.wait(self.end_seconds_max)
        phases = self.phases()
        assert "failover" in phases, self.said()
        return phases["failover"]

    def close(self):
        """Ends it, whatever it does."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.log.close()


class Load(Failover):
    """Pairs with one version of TLS, who must have nothing to complain of."""

    def __init__(self, daemon, version, first, pairs, messages_per_second):
        command = [binary("godwit-load"), "--addr", f"{daemon.address}:{daemon.tls_port}"]
        command += ["--domain", daemon.domain, "--tls-version", version, "--first", str(first)]
        super().__init__(daemon.dir, f"load-{version}", command, pairs, messages_per_second)

    def end(self):
        phase = super().end()
        assert self.process.returncode == 0, self.said()
        return phase


def register(daemon, count):
    """Accounts for the load generator."""
    command = [binary("godwit-load"), "--addr", f"{daemon.address}:{daemon.tls_port}"]
    command += ["--domain", daemon.domain, "register", "--count", str(count)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stdout + done.stderr
