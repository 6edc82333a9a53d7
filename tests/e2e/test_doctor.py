"""`godwitctl doctor`: what is green on a healthy box, and what turns red when something is broken."""

import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import harness
import pytest
from conftest import PASSWORD

SECONDS_MAX = 30
# Descriptors of a daemon that has too few: room for fewer than 1,000 connections.
FEW = 1024
HOUR_MS = 3_600_000
# A test vector that age publishes.
RECIPIENT = "age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa"

# What a healthy daemon leaves green on any machine. The others judge the machine that the test runs on: its
# kernel's limits, clock, disk, AppArmor, systemd.
GREEN = {
    "configuration",
    "daemon",
    "readiness",
    "reload",
    "version",
    "upgrade",
    "descriptors",
    "memory",
    "core-dumps",
    "data-directory",
    "store",
    "certificate",
    "certificate-names",
    "certificate-days",
    "dns-srv",
    "dns-address",
    "ports",
    "listeners",
    "backup",
    "backup-content",
}
OF_THE_MACHINE = {
    "limits",
    "sysctls",
    "swap",
    "clock",
    "kernel",
    "entropy",
    "apparmor",
    "unit",
    "disk",
    "fsync",
    "certificate-chain",
}
# With the daemon down these say that they need it.
NEED_IT = ("readiness", "reload", "version", "upgrade", "descriptors", "memory", "core-dumps", "listeners")


def examine(daemon, *args):
    """Runs it; returns the exit status and the checks by name."""
    done = daemon.ctl("doctor", "--json", *args, check=False)
    assert done.returncode in (0, 1, 2), done.stderr
    report = json.loads(done.stdout)
    assert report["level"] == ("green", "yellow", "red")[done.returncode]
    return done.returncode, {one["check"]: one for one in report["checks"]}


def red(daemon, check, cause, remedy, *args):
    """One check is red for that reason and says what to do; what was found."""
    status, found = examine(daemon, "--only", check, *args)
    one = found[check]
    assert status == 2 and one["level"] == "red", one
    assert cause in one["causes"] and remedy in one["remedy"], one
    return one["found"]


def answers(daemon):
    """Waits for the admin socket, which opens a little later than the ports."""
    daemon.ctl("account", "list")


def not_green(found):
    """Everything that is not green."""
    return {name: (one["level"], one["found"]) for name, one in found.items() if one["level"] != "green"}


@pytest.fixture(autouse=True)
def no_dumps():
    """Daemons inherit it, as they do from the unit."""
    before = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_CORE, before)


@pytest.fixture
def healthy(own_daemon):
    """A daemon with an account and a backup, told to take no more connections than any machine can."""
    one = own_daemon(settings={"limits": {"connections_max": 500}})
    one.add_account("ann@localhost", PASSWORD)
    one.ctl("backup", "create", str(one.dir / "backups"))
    return one


def test_a_healthy_daemon_is_green(healthy):
    status, found = examine(healthy)
    assert set(found) == GREEN | OF_THE_MACHINE
    assert not_green({name: one for name, one in found.items() if name in GREEN}) == {}
    assert all(one.get("remedy") for one in found.values() if one["level"] != "green"), found
    assert found["certificate-chain"]["causes"] == ["self-signed"] and status >= 1
    assert "by the running daemon" in found["store"]["found"]
    assert found["fsync"]["found"].startswith("median ")
    text = healthy.ctl("doctor", "--only", "version", "--only", "daemon")
    assert text.stdout.startswith("green ") and "2 green, 0 yellow, 0 red" in text.stdout
    assert healthy.ctl("doctor", "--only", "certificate-chain", check=False).returncode == 1
    assert list((healthy.dir / "data").glob("doctor*")) == [], "it leaves nothing behind"


def test_a_certificate_that_expired_is_red(healthy):
    healthy.install_certificate("expired")
    healthy.restart()
    answers(healthy)
    assert "expired" in red(healthy, "certificate-days", "expired", "renew it")
    red(healthy, "readiness", "certificate", "runbook")


def test_a_certificate_for_other_domains_is_red(own_daemon):
    daemon = own_daemon(domains=("elsewhere.test",))
    found = red(daemon, "certificate-names", "uncovered", "have one issued for it")
    assert "none is for elsewhere.test" in found and "localhost" in found


def test_a_certificate_that_cannot_be_read_and_one_not_yet_served(healthy):
    healthy.install_certificate("renewed")
    _, found = examine(healthy, "--only", "ports")
    assert found["ports"]["causes"] == ["certificate"] and "reload" in found["ports"]["remedy"]
    healthy.key.write_text("nothing")
    red(healthy, "certificate", "wrong", "mend")


def test_a_port_that_nobody_serves_or_somebody_else_is_red(healthy):
    served = healthy.settings["listen"]["c2s"]
    healthy.write_config({"listen": {"c2s": [f"127.0.0.1:{harness.free_port()}"]}})
    red(healthy, "listeners", "missing", "godwitctl upgrade")
    red(healthy, "ports", "closed", "listeners")
    healthy.write_config({"listen": {"c2s": served}})
    healthy.stop()
    red(healthy, "ports", "closed", "systemctl start godwit")
    with socket.create_server(("127.0.0.1", healthy.port)):
        found = red(healthy, "ports", "taken", "ss -ltnp")
    assert "another program" in found


def test_a_data_directory_that_everybody_reads_is_red(healthy):
    data = healthy.dir / "data"
    data.chmod(0o755)
    remedy = f"chmod go= {data}"
    red(healthy, "data-directory", "world", remedy)
    subprocess.run(remedy.split(), check=True, timeout=SECONDS_MAX)
    assert examine(healthy, "--only", "data-directory")[0] == 0, "the remedy helps"


def test_an_old_backup_is_red_and_so_is_a_damaged_one(healthy):
    place = healthy.dir / "backups"
    (manifest,) = place.glob("*.json")
    content = json.loads(manifest.read_text())
    table = next(one for one in content["files"] if one["path"].endswith(".sst"))
    damaged = place / "objects" / table["sha256"]
    content_of_table = bytearray(damaged.read_bytes())
    content_of_table[len(content_of_table) // 2] ^= 1
    damaged.write_bytes(content_of_table)
    assert table["path"] in red(healthy, "backup-content", "damaged", "make another")
    damaged.unlink()
    red(healthy, "backup-content", "missing", "make another")
    content["created_ms"] -= 100 * HOUR_MS
    manifest.write_text(json.dumps(content))
    red(healthy, "backup", "old", "godwit-backup.timer")
    red(healthy, "backup", "none", "godwit-backup.timer", "--backups", str(healthy.dir / "nowhere"))


def test_an_encrypted_backup_is_looked_at_without_its_key(healthy):
    place = healthy.dir / "backups"
    healthy.ctl("backup", "create", str(place), "--encrypt-to", RECIPIENT)
    status, found = examine(healthy, "--only", "backup", "--only", "backup-content")
    assert status == 0, found
    assert "encrypted to 1 keys" in found["backup-content"]["found"]
    manifest = json.loads(max(place.glob("*.json"), key=lambda one: one.stat().st_mtime_ns).read_text())
    table = next(one for one in manifest["files"] if one["path"].endswith(".sst"))
    damaged = place / "objects" / table["sealed"]["sha256"]
    content = bytearray(damaged.read_bytes())
    content[-1] ^= 1
    damaged.write_bytes(content)
    assert table["path"] in red(healthy, "backup-content", "damaged", "make another")


def test_a_stream_counts_as_a_backup_that_cannot_be_seen(healthy):
    def stream():
        command = [harness.binary("godwitctl"), "--config", str(healthy.config), "backup", "create", "-"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=SECONDS_MAX)

    def look(*args):
        return examine(healthy, "--only", "backup", "--only", "backup-content", *args)[1]

    time.sleep(0.01)  # Later than the one in the directory, which is told by the millisecond.
    stream()
    for daemon_is_up in (True, False):
        if not daemon_is_up:
            healthy.stop()
        found = look()
        assert found["backup"]["level"] == "green" and "a stream" in found["backup"]["found"], found
        content = found["backup-content"]
        assert content["causes"] == ["unseen"] and "backup verify -" in content["remedy"], content
    # Who names a directory asks for that one.
    found = look("--backups", str(healthy.dir / "backups"))
    assert found["backup"]["level"] == found["backup-content"]["level"] == "green", found
    assert "a stream" not in found["backup"]["found"], found
    noted = healthy.dir / "data" / "backup.json"
    last = json.loads(noted.read_text())
    last["at_ms"] -= 100 * HOUR_MS
    noted.write_text(json.dumps(last))
    assert "a stream" in red(healthy, "backup", "old", "godwit-backup.timer")


def test_few_descriptors_are_red():
    daemon = harness.Daemon(settings={"limits": {"connections_max": 5_000}})
    command = daemon.command()
    daemon.command = lambda: ["prlimit", f"--nofile={FEW}", "--", *command]
    with daemon:
        answers(daemon)
        found = red(daemon, "descriptors", "few", "LimitNOFILE=")
        assert f"{FEW} allowed" in found
        red(daemon, "limits", "promise", "LimitNOFILE=")


def test_a_daemon_that_is_down_or_hangs_is_red(healthy):
    healthy.process.send_signal(signal.SIGSTOP)
    assert "does not answer" in red(healthy, "daemon", "silent", "restart godwit")
    healthy.process.send_signal(signal.SIGCONT)
    healthy.stop()
    status, found = examine(healthy)
    assert status == 2 and found["daemon"]["causes"] == ["down"]
    assert "systemctl start godwit" in found["daemon"]["remedy"]
    for name in NEED_IT:
        one = found[name]
        assert one["level"] == "yellow" and one["causes"] == ["unseen"] and "daemon" in one["found"], one
    # What does not need it is looked at all the same.
    for name in ("configuration", "certificate", "certificate-days", "backup", "data-directory", "dns-srv"):
        assert found[name]["level"] == "green", found[name]
    assert found["store"]["level"] == "green" and "from the disk" in found["store"]["found"]


def test_a_damaged_store_is_red(healthy):
    healthy.stop()
    tables = list((healthy.dir / "data" / "store").glob("*.sst"))
    assert tables, "stopping writes the memtables out"
    for table in tables:
        content = bytearray(table.read_bytes())
        content[:64] = bytes(64)
        table.write_bytes(content)
    assert "DAMAGED" in red(healthy, "store", "damaged", "backup restore")


def test_a_wrong_configuration_is_red_and_does_not_stop_it(healthy):
    healthy.config.write_text(healthy.config.read_text() + "\n[unknown]\na = 1\n")
    by_socket = ("--socket", str(healthy.dir / "data" / "admin.sock"))
    status, found = examine(healthy, *by_socket)
    assert status == 2 and "unknown" in found["configuration"]["found"]
    assert found["daemon"]["level"] == "green" and found["store"]["level"] == "green"
    healthy.reload()
    deadline = time.monotonic() + SECONDS_MAX
    while not json.loads(healthy.ctl("status", "--json", *by_socket).stdout)["reload"]:
        assert time.monotonic() < deadline
    _, found = examine(healthy, *by_socket, "--only", "reload")
    assert found["reload"]["causes"] == ["refused"] and found["reload"]["level"] == "red"


def test_changes_tells_only_what_changed(healthy):
    def changes(*args):
        done = healthy.ctl("doctor", "--changes", *args, check=False)
        assert done.returncode in (0, 1, 2), done.stderr
        return done

    data = healthy.dir / "data"
    first = changes()
    assert "certificate-chain" in first.stdout and "green" not in first.stdout
    state = data / "doctor.json"
    assert state.stat().st_mode & 0o077 == 0
    # The machine's own figures may cross a bound at any time; what is broken here is what counts.
    names = ("data-directory", "certificate-chain", "backup")
    again = changes().stdout
    assert not any(name in again for name in names), again
    data.chmod(0o755)
    broken = changes()
    assert "data-directory" in broken.stdout and "(was green)" in broken.stdout and broken.returncode == 2
    assert "certificate-chain" not in broken.stdout and "chmod go=" in broken.stdout
    assert "data-directory" not in changes().stdout, "it was told"
    data.chmod(0o700)
    healed = json.loads(changes("--json").stdout)
    one = next(one for one in healed["checks"] if one["check"] == "data-directory")
    assert (one["was"], one["level"]) == ("red", "green")
    assert json.loads(state.read_text())["checks"]["data-directory"]["level"] == "green"
    own = healthy.dir / "state.json"
    assert "certificate-chain" in changes("--state", str(own)).stdout and own.exists()
    nowhere = healthy.ctl("doctor", "--changes", "--state", "/nowhere/at/all", check=False)
    assert nowhere.returncode == 3 and "/nowhere/at/all" in nowhere.stderr


def test_without_rights_it_says_what_it_could_not_see(healthy):
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    # A place where another user finds the program, and a configuration that it may read.
    place = Path(tempfile.mkdtemp(prefix="godwit-doctor-"))
    try:
        place.chmod(0o755)
        program = shutil.copy(harness.binary("godwitctl"), place)
        config = place / "godwit.toml"
        config.write_text(healthy.config.read_text())
        config.chmod(0o644)
        command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", program]
        command += ["--config", str(config), "doctor", "--json", "--backups", str(healthy.dir / "backups")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS_MAX)
        found = {one["check"]: one for one in json.loads(done.stdout)["checks"]}
        for name in ("daemon", "certificate", "data-directory", "store", "backup"):
            one = found[name]
            assert one["causes"] == ["unseen"] and one["level"] == "yellow" and one["remedy"], one
        assert found["ports"]["level"] == "yellow", found["ports"]
        config.chmod(0o600)
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS_MAX)
        found = {one["check"]: one for one in json.loads(done.stdout)["checks"]}
        assert found["configuration"]["causes"] == ["unseen"] and "root" in found["configuration"]["remedy"]
    finally:
        shutil.rmtree(place)


def test_its_help_names_every_check(healthy):
    text = healthy.ctl("doctor", "--help").stdout
    assert [name for name in GREEN | OF_THE_MACHINE if f"  {name} " not in text] == []
    assert "EXIT STATUS" in text and "EXAMPLES" in text
    assert healthy.ctl("doctor", "--only", "nothing", check=False).returncode == 2
