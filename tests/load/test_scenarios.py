"""Each scenario of godwit-load for a second or two against a real godwitd: the figures add up, the JSON lines
are what README.md says, and what cannot be had is said.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import harness  # noqa: E402
from harness.daemon import binary, free_port  # noqa: E402

ACCOUNTS = 60
RUN_SECONDS_MAX = 80
FIELDS = {
    "format", "scenario", "phase", "label", "command", "processes", "sessions", "unit", "units", "seconds",
    "per_second", "offered_per_second", "counts", "ok", "error", "latency_us", "server", "client",
    "machine", "status", "series",
}  # fmt: skip


class Load:
    """Runs godwit-load against one daemon."""

    def __init__(self, daemon, directory):
        self.daemon = daemon
        self.directory = directory

    def run(self, *arguments, options=(), status=0):
        """Runs one scenario and returns its phases by name and what it printed."""
        lines = self.directory / f"{time.monotonic_ns()}.json"
        address = f"{self.daemon.address}:{self.daemon.tls_port}"
        where = [] if "--addr" in options else ["--addr", address]
        command = [binary("godwit-load"), *where, "--rate", "1000", "--json", str(lines)]
        command += ["--server-pid", str(self.daemon.process.pid), "--godwitctl", binary("godwitctl")]
        command += ["--config", str(self.daemon.config), *options, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=RUN_SECONDS_MAX)
        said = done.stdout + done.stderr
        assert done.returncode == status, said
        phases = [json.loads(line) for line in lines.read_text().splitlines()] if lines.exists() else []
        for phase in phases:
            assert set(phase) >= FIELDS, sorted(FIELDS - set(phase))
            assert phase["format"] == 1
            assert phase["ok"] or phase["offered_per_second"] or status != 0, phase
            assert phase["server"]["rss_end"] > 1_000_000 and phase["server"]["cpu_us"] >= 0
            assert phase["status"]["counters"] is not None
        return {phase["phase"]: phase for phase in phases}, said


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    """A daemon that lets clients register, with the accounts that the scenarios use."""
    settings = {"registration": {"in_band": True}}
    with harness.Daemon(settings=settings) as daemon:
        one = Load(daemon, tmp_path_factory.mktemp("load"))
        phases, _ = one.run("register", "--count", ACCOUNTS)
        assert phases["register"]["units"] == ACCOUNTS
        yield one


def test_accounts_that_exist_are_no_failure(load):
    phases, _ = load.run("register", "--count", 10, "--streams", 2, options=["--processes", "2"])
    assert phases["register"]["counts"] == {"existed": 10}


def test_login(load):
    phases, _ = load.run("login", "--logins", 40)
    assert phases["login"]["units"] == 40
    assert phases["login"]["latency_us"]["login"]["count"] == 40


@pytest.mark.parametrize("tls", ["direct", "starttls"])
def test_idle(load, tls):
    port = load.daemon.tls_port if tls == "direct" else load.daemon.port
    options = ["--tls", tls, "--addr", f"127.0.0.1:{port}"]
    arguments = ["--sessions", 40, "--settle", 0.5, "--hold", 1, "--sm", "--keepalive", 0.25]
    phases, _ = load.run("idle", *arguments, options=options)
    assert list(phases) == ["idle.login", "idle.settled", "idle.held"]
    assert phases["idle.held"]["sessions"] == 40
    assert 100 <= phases["idle.held"]["counts"]["keepalives"] <= 200
    assert phases["idle.held"]["server"]["rss_per_session"] is not None


@pytest.mark.parametrize("processes", [1, 3])
def test_chat(load, processes):
    arguments = ["chat", "--pairs", 10, "--window", 4, "--seconds", 1.5, "--warmup", 0.2, "--sm"]
    phases, said = load.run(*arguments, options=["--processes", str(processes)])
    chat = phases["chat"]
    assert chat["processes"] == processes and chat["sessions"] == 20
    assert chat["units"] == chat["latency_us"]["delivery"]["count"] > 100
    assert chat["counts"]["lost"] == chat["counts"]["duplicated"] == chat["counts"]["out_of_order"] == 0
    assert sum(chat["series"]["done"]) <= chat["units"]
    assert "messages in 1.5 s" in said


def test_mechanisms(load):
    for mechanism in ["scram-sha-256", "scram-sha-1", "plain"]:
        phases, _ = load.run("login", "--logins", 3, options=["--mechanism", mechanism])
        assert phases["login"]["units"] == 3


def test_offline(load):
    phases, _ = load.run("offline", "--users", 10, "--messages", 20, "--senders", 3)
    assert phases["offline.store"]["units"] == phases["offline.fetch"]["units"] == 200


@pytest.mark.parametrize("resume", [False, True])
def test_login_storm(load, resume):
    arguments = ["login-storm", "--sessions", 40, "--rounds", 2] + (["--resume"] if resume else [])
    phases, _ = load.run(*arguments, options=["--tickets", "--processes", "2"])
    assert phases["storm"]["units"] == 40
    assert phases["storm"]["latency_us"]["back"]["count"] == 40
    if resume:
        assert phases["storm"]["counts"]["resumed"] == 40


def test_storm_after_a_kill(load):
    """The daemon dies under the sessions; all resume at its successor."""

    def kill():
        time.sleep(3)
        os.kill(load.daemon.process.pid, signal.SIGKILL)
        load.daemon.process.wait()
        load.daemon.start()

    killer = threading.Thread(target=kill)
    killer.start()
    arguments = ["login-storm", "--sessions", 30, "--resume", "--await-cut"]
    lines = load.directory / "kill.json"
    address = f"127.0.0.1:{load.daemon.tls_port}"
    command = [binary("godwit-load"), "--addr", address, "--json", str(lines), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=RUN_SECONDS_MAX)
    killer.join()
    assert done.returncode == 0, done.stdout + done.stderr
    storm = json.loads(lines.read_text().splitlines()[-1])
    assert storm["counts"]["resumed"] == storm["units"] == 30
    assert storm["server"] is None


def test_mam(load):
    phases, _ = load.run("mam", "--sessions", 10, "--archive", 60, "--queries", 4)
    assert phases["mam.login"]["latency_us"]["page"]["count"] == 10
    assert phases["mam.pages"]["units"] == 40
    assert phases["mam.pages"]["counts"]["messages"] == 40 * 50


def test_a_server_without_rooms_is_named(load):
    _, said = load.run("muc", "--rooms", 2, "--occupants", 3, status=1)
    assert "the server offers no rooms" in said


def test_rtb(load):
    phases, _ = load.run("rtb", "--sessions", 40, "--speed", 200, "--seconds", 2)
    counts = phases["rtb"]["counts"]
    assert phases["rtb"]["units"] > 10
    assert counts["arrived"] >= phases["rtb"]["units"]
    assert counts["reconnects"] > 5 and counts["presence"] > 5
    # All that came back: the last ones may do so after the end.
    assert phases["rtb"]["latency_us"]["page"]["count"] >= counts["reconnects"] - 20


def test_ramp_and_overload(load):
    arguments = ["ramp", "--pairs", 5, "--from", 50, "--factor", 2, "--steps-max", 2, "--step", 1]
    arguments += ["--p99-max", 5000, "--overload", 2, "--overload-seconds", 1]
    phases, said = load.run(*arguments, options=["--processes", "2"])
    assert [p for p in phases if p != "ramp.login"] == [
        "ramp.1",
        "ramp.2",
        "ramp.overload",
        "ramp.recovery",
        "ramp.settle",
    ]
    end = phases["ramp.settle"]
    assert end["ramp"]["knee_per_second"] == 100 and not end["ramp"]["found"]
    assert end["ramp"]["overload"]["offered_per_second"] == 200
    assert end["counts"]["lost"] == end["counts"]["duplicated"] == 0
    # 50, 100, 200 and 50 messages in a second each; the last of a step may come to nothing.
    assert 350 <= end["counts"]["arrived"] <= 410
    assert phases["ramp.1"]["step"]["saturated"] and "no knee up to" in said


def test_failover(load):
    """The daemon moves to other ports under load; clients find it by the file that says where it is."""
    hosts = load.directory / "hosts"
    hosts.write_text(f"127.0.0.1:{load.daemon.tls_port}\n")

    def move():
        time.sleep(3)
        os.kill(load.daemon.process.pid, signal.SIGKILL)
        load.daemon.process.wait()
        load.daemon.port, load.daemon.tls_port = free_port(), free_port()
        listen = {"c2s": [f"127.0.0.1:{load.daemon.port}"], "c2s_tls": [f"127.0.0.1:{load.daemon.tls_port}"]}
        load.daemon.write_config({"listen": listen})
        load.daemon.start()
        hosts.write_text(f"127.0.0.1:{load.daemon.tls_port}  # moved\n")

    mover = threading.Thread(target=move)
    mover.start()
    lines = load.directory / "failover.json"
    command = [binary("godwit-load"), "--json", str(lines), "--processes", "2", "failover"]
    command += ["--hosts", str(hosts), "--pairs", "10", "--messages", "100", "--seconds", "6"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=RUN_SECONDS_MAX)
    mover.join()
    assert done.returncode == 0, done.stdout + done.stderr
    failover = json.loads(lines.read_text().splitlines()[-1])
    counts = failover["counts"]
    assert counts["disconnected"] == counts["resumed"] == 20
    assert counts["lost"] == counts["duplicated"] == counts["out_of_order"] == 0
    assert counts["arrived"] >= 580 and failover["latency_us"]["all_back"]["count"] == 2


def test_report(load):
    page = load.directory / "report"
    load.run("chat", "--pairs", 3, "--seconds", 2.5, "--warmup", 0.1, options=["--report", str(page)])
    text = (page / "index.html").read_text()
    assert text.count("<svg") >= 4 and "http://" not in text.replace("http://www.w3.org/", "")


def test_wrong_use_is_explained(load):
    _, said = load.run("login", "--logins", 1, options=["--password", "wrong"], status=1)
    assert "not-authorized" in said
    done = subprocess.run(
        [binary("godwit-load"), "--server-pid", "4194305", "idle"], capture_output=True, text=True, timeout=20
    )
    assert done.returncode == 1 and "there is no such process" in done.stderr
    nobody = ["--addr", f"127.0.0.1:{free_port()}"]
    _, said = load.run("login", "--logins", 2, options=nobody, status=1)
    assert "Connection refused" in said
