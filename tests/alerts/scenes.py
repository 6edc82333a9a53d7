"""What goes wrong, each with a daemon of its own: a scene breaks something, sees its alerts fire, repairs it,
and sees them resolve."""

import os
import re
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import harness  # noqa: E402
from harness import RawClient  # noqa: E402
from harness.daemon import binary  # noqa: E402

PASSWORD = "correct horse, battery=staple"
DEVICE_BYTES = 64 << 20
BODY_BYTES = 60_000
CEILING = 40
SESSIONS_PER_ACCOUNT = 5
SLOW_LINES_PER_MINUTE_MAX = 20
# How long the writer and a shard hang: the watchdog needs two looks, 24 s at most.
HANG_MS = 34_000


class Skipped(Exception):
    """The scene needs something that this machine does not have."""


class Failing(harness.Daemon):
    """The daemon with fail points."""

    def command(self):
        return [binary("godwitd-failpoints"), "--config", str(self.config)]


def messages(daemon, seconds, body="x", until=lambda: False, pause=0.2):
    """Ann writes to Ben, five a second, whether or not anything is answered."""
    daemon.add_account("ann@localhost", PASSWORD)
    daemon.add_account("ben@localhost", PASSWORD)
    with RawClient(daemon) as ann, RawClient(daemon) as ben:
        ann.login("ann", PASSWORD)
        ben.login("ben", PASSWORD)
        ben.send("<presence/>")
        ben.sync()
        end = time.monotonic() + seconds
        while time.monotonic() < end and not until():
            ann.send(f"<message to='ben@localhost' type='chat'><body>{body}</body></message>")
            time.sleep(pause)


def store_hangs(scene):
    """An fsync that does not return: everybody waits, nothing is acknowledged."""
    points = f"store::before_write=30*off->1*sleep({HANG_MS})->off"
    daemon = scene.daemon(Failing, environment={"FAILPOINTS": points})
    with scene.broken("GodwitStoreHangs", "GodwitThreadStuck", "GodwitNotReady"):
        messages(daemon, 70, until=scene.all_fired)
    scene.resolved()


def commits_slow(scene):
    """Each write takes 1.2 s."""
    points = "store::before_write=20*off->20*sleep(1200)->off"
    daemon = scene.daemon(Failing, environment={"FAILPOINTS": points})
    with scene.broken("GodwitCommitsSlow", "GodwitDeliverySlow"):
        messages(daemon, 60, until=scene.all_fired, body="never logged")
    told(daemon)
    scene.resolved()


def told(daemon):
    """The slow messages are in the log, each once, with the time of each step, within the limit of lines."""
    log = daemon.read_log()
    lines = [line for line in log.splitlines() if "slow message:" in line]
    ids = [re.search(r'stanza_id="?([0-9a-f]{16})', line)[1] for line in lines]
    assert ids and len(ids) == len(set(ids)), lines
    minutes = 1 + log.count("further slow messages")
    assert len(lines) <= SLOW_LINES_PER_MINUTE_MAX * (minutes + 1), f"{len(lines)} lines"
    for line in lines:
        assert re.search(r'from="?ann@localhost/raw"? to="?ben@localhost/raw', line), line
        took = int(re.search(r"slow message: (\d+) ms", line)[1])
        steps = ("committed", "posted", "written")
        steps = [int(re.search(rf'{step}_ms="?(\d+)', line)[1]) for step in steps]
        assert took > 1000 and steps == sorted(steps) and steps[-1] <= took, line
    assert "never logged" not in log


def shard_stalls(scene):
    """A shard's thread does nothing for half a minute; the other goes on."""
    daemon = scene.daemon(Failing, environment={"FAILPOINTS": f"hub::stanza=12*off->1*sleep({HANG_MS})->off"})
    with scene.broken("GodwitShardStalled"):
        messages(daemon, 60, until=scene.all_fired)
    scene.resolved()


def module_panics(scene):
    """One stanza is lost to a bug."""
    daemon = scene.daemon(Failing, environment={"FAILPOINTS": "hub::stanza=50*off->1*panic->off"})
    with scene.broken("GodwitModulePanic"):
        messages(daemon, 30, until=scene.all_fired)
    scene.resolved()


def disk_fills(scene):
    """A small device, filled."""
    device = scene.directory / "device"
    device.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DEVICE_BYTES}", "tmpfs", str(device)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        raise Skipped("only root may mount the small file system that this fills")
    scene.at_end(lambda: subprocess.run(["umount", "-l", str(device)], check=True))
    daemon = scene.daemon(server={"data_dir": str(device / "data")}, store={"memtable_mb": 1})
    ballast = device / "ballast"
    fill(device, ballast)
    with scene.broken("GodwitDiskSpaceLow", "GodwitStoreNotWriting", "GodwitStanzasFailing"):
        messages(daemon, 60, body="x" * BODY_BYTES, until=scene.all_fired, pause=0.05)
    ballast.unlink()
    scene.resolved()


def fill(device, ballast):
    """All but 2 MiB; once more if the store took something meanwhile."""
    for _ in range(10):
        free = os.statvfs(device)
        try:
            return ballast.write_bytes(bytes(max(0, free.f_bavail * free.f_frsize - (2 << 20))))
        except OSError:
            ballast.unlink(missing_ok=True)
            time.sleep(1)
    raise AssertionError("the device cannot be filled")


def certificate_runs_out(scene):
    """One that ends in five days, then one that ended long ago; then a configuration that is refused."""
    daemon = scene.daemon()
    for alert, install in (
        ("GodwitCertificateExpiresSoon", short),
        ("GodwitCertificateExpired", lambda daemon: daemon.install_certificate("expired")),
    ):
        with scene.broken(alert):
            install(daemon)
            daemon.reload()
        daemon.install_certificate("main")
        daemon.reload()
        scene.resolved()
    good = daemon.config.read_text()
    with scene.broken("GodwitReloadRefused"):
        daemon.config.write_text(good + "\n[nonsense]\nkey = 1\n")
        daemon.reload()
    daemon.config.write_text(good)
    daemon.reload()
    scene.resolved()


def short(daemon):
    """Its own key, valid for five days."""
    made = ["openssl", "req", "-x509", "-new", "-key", str(daemon.key), "-days", "5"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,DNS:one.test"]
    command = [*made, *names, "-out", str(daemon.certificate)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)


def connections_run_out(scene):
    """As many as the ceiling, then more; then the limit on descriptors is lowered under the daemon."""
    daemon = scene.daemon(limits={"connections_max": CEILING})
    clients = []
    scene.at_end(lambda: [client.cut() for client in clients])
    with scene.broken("GodwitConnectionsNearCeiling", "GodwitConnectionsRefused"):
        for number in range(CEILING):
            account, session = divmod(number, SESSIONS_PER_ACCOUNT)
            if session == 0:
                daemon.add_account(f"user{account}@localhost", PASSWORD)
            clients.append(RawClient(daemon))
            clients[-1].login(f"user{account}", PASSWORD, f"session{session}")
        end = time.monotonic() + 60
        while time.monotonic() < end and not scene.all_fired():
            RawClient(daemon, mode="plain", timeout=2).cut()
            time.sleep(0.5)
    in_use = len(os.listdir(f"/proc/{daemon.process.pid}/fd"))
    before = resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE)
    with scene.broken("GodwitDescriptorsScarce"):
        # Three are left, so that the scrape gets through.
        resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, (in_use + 3, before[1]))
    resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, before)
    [client.cut() for client in clients]
    scene.resolved()


def passwords_are_guessed(scene):
    """A storm of failed logins; and the daemon has too little memory for what it is."""
    daemon = scene.daemon(limits={"memory_mb": 1})
    daemon.add_account("ann@localhost", PASSWORD)
    with scene.broken("GodwitMemoryNearCeiling"):
        pass
    daemon.write_config({"limits": {"memory_mb": 0}})
    daemon.reload()
    scene.resolved()
    with scene.broken("GodwitLoginFailures"):
        end = time.monotonic() + 60
        while time.monotonic() < end and not scene.all_fired():
            try:
                with RawClient(daemon, timeout=5) as stranger:
                    stranger.open_stream()
                    for _ in range(3):
                        stranger.plain("ann", "wrong")
            except (OSError, harness.StreamClosed, AssertionError):
                pass
    scene.resolved()


def backups_stop(scene):
    """None was ever made; then one is."""
    daemon = scene.daemon()
    with scene.broken("GodwitBackupOverdue"):
        pass
    daemon.ctl("backup", "create", str(scene.directory / "backup"))
    scene.resolved()


def daemon_dies(scene):
    """It is killed again and again, and then it stays away."""
    daemon = scene.daemon()
    with scene.broken("GodwitRestarting"):
        for _ in range(8):
            time.sleep(2.5)
            if scene.all_fired():
                break
            daemon.restart(hard=True)
    with scene.broken("GodwitDown"):
        daemon.kill()
    daemon.start()
    scene.resolved()


def busy(scene):
    """Nothing is wrong: logins, chat, messages for who is away; for the picture of the dashboard."""
    daemon = scene.daemon(registration={"in_band": True, "per_address_per_hour_max": 0})
    addr = ["--addr", f"127.0.0.1:{daemon.tls_port}"]
    for load in (
        "register --count 60",
        "login --logins 60",
        "chat --pairs 10 --window 1 --sm --seconds 20",
        "offline --users 20 --messages 20",
    ):
        name, *options = load.split()
        command = [binary("godwit-load"), *addr, name, *options]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, f"{load}: {done.stdout[-800:]}{done.stderr[-800:]}"
    daemon.ctl("backup", "create", str(scene.directory / "backup"))
    time.sleep(5)


SCENES = [
    store_hangs,
    commits_slow,
    shard_stalls,
    module_panics,
    disk_fills,
    certificate_runs_out,
    connections_run_out,
    passwords_are_guessed,
    backups_stop,
    daemon_dies,
]


def clean(directory):
    """Removes what a scene left."""
    shutil.rmtree(directory, ignore_errors=True)
