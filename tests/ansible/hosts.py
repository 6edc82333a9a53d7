"""Hosts for the tests: Debian in systemd-nspawn, booted, on a bridge inside the test's network namespace.

`python hosts.py COMMAND …` runs the command where hosts can be made: namespaces of its own for network,
mounts and processes, so that nothing is left behind, however the command ends. What such a host cannot
prove: limits of the kernel, which are the machine's, and AppArmor.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CACHE = Path(os.environ.get("GODWIT_CACHE", Path.home() / ".cache" / "godwit"))
CGROUPS = Path("/sys/fs/cgroup")
NET = "10.77.0"
READY_SECONDS_MAX = 60
COMMAND_SECONDS_MAX = 300
HOSTS_MAX = 20
SSH_OPTIONS = "StrictHostKeyChecking=no UserKnownHostsFile=/dev/null LogLevel=ERROR ConnectTimeout=30".split()
SETUP = """
set -e
mount -t tmpfs tmpfs /run/netns 2>/dev/null || { mkdir -p /run/netns; mount -t tmpfs tmpfs /run/netns; }
umount -R /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
ip link set lo up
ip link add br0 type bridge
ip addr add %s.1/24 dev br0
ip link set br0 up
exec "$@"
"""


def enter(command):
    """Becomes the command, within the namespaces."""
    spaces = ["--net", "--mount", "--propagation=private", "--pid", "--fork", "--kill-child", "--mount-proc"]
    os.execvp("unshare", ["unshare", *spaces, "sh", "-c", SETUP % NET, "sh", *command])


def run(*command, **options):
    """Runs a command of this machine; a failure shows what it said."""
    options = {"capture_output": True, "text": True, "timeout": COMMAND_SECONDS_MAX, **options}
    done = subprocess.run(command, **options)
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


class Fabric:
    """Hosts and what they share: a directory, a key. Ends them all."""

    def __init__(self):
        self.dir = Path(tempfile.mkdtemp(prefix="gwa-"))
        self.key = self.dir / "key"
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.key))
        self.hosts = []

    def host(self, name, suite, kind=None):
        """A fresh host of a Debian release, booted and reachable; of another kind: `guest.Guest`."""
        assert len(self.hosts) < HOSTS_MAX, "too many hosts"
        host = (kind or Host)(self, name, suite, f"{NET}.{11 + len(self.hosts)}")
        self.hosts.append(host)
        host.boot()
        return host

    def close(self):
        """Ends all hosts and removes what they wrote."""
        for host in self.hosts:
            host.stop()
        shutil.rmtree(self.dir, ignore_errors=True)


class Host:
    """One host; `run` works in it as root, over ssh."""

    ready_seconds_max = READY_SECONDS_MAX
    command_seconds_max = COMMAND_SECONDS_MAX

    def __init__(self, fabric, name, suite, address):
        self.fabric, self.name, self.suite, self.address = fabric, name, suite, address
        self.dir = fabric.dir / name
        self.root = self.dir / "root"
        # Control groups are the machine's: its name must be of this run alone.
        self.group = CGROUPS / f"{fabric.dir.name}-{name}"
        self.process = None

    def boot(self):
        """Lays a writable layer over the release's root file system, connects it, boots."""
        for part in ("up", "work", "root"):
            (self.dir / part).mkdir(parents=True)
        upper = f"upperdir={self.dir / 'up'},workdir={self.dir / 'work'}"
        layers = f"lowerdir={CACHE / 'roots' / self.suite},{upper}"
        run("mount", "-t", "overlay", "overlay", "-o", layers, str(self.root))
        ssh = self.root / "root" / ".ssh"
        ssh.mkdir(mode=0o700, exist_ok=True)
        shutil.copy(f"{self.fabric.key}.pub", ssh / "authorized_keys")
        (self.root / "etc" / "hostname").write_text(f"{self.name}\n")
        # As fresh as the cached root file system is meant to be: apt has no way out.
        (self.root / "var/lib/apt/periodic").mkdir(parents=True, exist_ok=True)
        (self.root / "var/lib/apt/periodic/update-success-stamp").touch()
        self._connect()
        self.group.mkdir()
        self.start()

    def start(self):
        """Boots it, for the first time or after it has ended, and waits until it is reachable."""
        log = open(self.dir / "console", "ab")
        command = f"echo $$ >{self.group}/cgroup.procs && exec systemd-nspawn --quiet --boot --keep-unit"
        command += f" --register=no --machine={self.name} --directory={self.root} --link-journal=no"
        command += " --resolv-conf=off --timezone=off --console=pipe"
        command += f" --network-namespace-path=/run/netns/{self.name} --capability=CAP_NET_ADMIN"
        # Sysctls of the network are the host's own; all others are the machine's and stay read-only.
        environment = {**os.environ, "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network"}
        self.process = subprocess.Popen(
            ["sh", "-c", command], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
        )
        self._wait()

    def _connect(self):
        run("ip", "netns", "add", self.name)
        inside = ["ip", "-n", self.name]
        peer = ["peer", "name", "host0", "netns", self.name]
        run("ip", "link", "add", f"v-{self.name}", "type", "veth", *peer)
        run("ip", "link", "set", f"v-{self.name}", "master", "br0", "up")
        run(*inside, "addr", "add", f"{self.address}/24", "dev", "host0")
        for device in ("host0", "lo"):
            run(*inside, "link", "set", device, "up")

    def _is_ready(self):
        said = self.run("systemctl is-system-running", check=False).stdout.strip()
        return said in ("running", "degraded")

    def _wait(self, besides=lambda: True):
        deadline = time.monotonic() + self.ready_seconds_max
        while not (besides() and self._is_ready()):
            if time.monotonic() > deadline or self.process.poll() is not None:
                said = (self.dir / "console").read_text(errors="replace")[-3000:]
                raise AssertionError(f"{self.name} does not boot: {said}")
            time.sleep(0.3)

    def ssh(self):
        """The command line that reaches the host."""
        options = [f"-o{option}" for option in SSH_OPTIONS]
        return ["ssh", "-i", str(self.fabric.key), *options, f"root@{self.address}"]

    def run(self, command, check=True, stdin=""):
        """Runs a shell command in the host; returns the completed process."""
        done = subprocess.run(
            [*self.ssh(), command],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=self.command_seconds_max,
        )
        assert not check or done.returncode == 0, f"{self.name}: {command}\n{done.stdout}\n{done.stderr}"
        return done

    def put(self, source, target):
        """Copies a file of this machine into the host."""
        shutil.copy(source, self.root / str(target).lstrip("/"))

    def stop(self):
        """Powers the host off, hard if need be."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        subprocess.run(["umount", "-l", str(self.root)], capture_output=True, check=False)
        subprocess.run(["ip", "netns", "del", self.name], capture_output=True, check=False)
        for group in sorted(self.group.glob("**/"), reverse=True):
            try:
                group.rmdir()
            except OSError:
                pass  # its processes are about to end; an empty group costs nothing


if __name__ == "__main__":
    enter(sys.argv[1:])
