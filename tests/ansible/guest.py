"""A guest for the tests: a whole Debian 13 in QEMU, with a kernel of its own, on the bridge of the hosts.

It proves what those cannot: limits of the kernel and of processes, AppArmor, a restart. Emulated, so every
step takes ten times as long as theirs. The disk is made by `prepare`, QEMU is that of the image's tools tree.
"""

import os
import shutil
import subprocess
from pathlib import Path

from hosts import CACHE, NET, Host, run

TOOLS = Path(__file__).resolve().parent.parent.parent / "image" / "bin" / "tools"
DISK = CACHE / "roots" / "guest"
MEMORY = "2G"


def missing():
    """Why there can be no guest here, or nothing."""
    if not all((DISK / name).exists() for name in ("disk.raw", "vmlinuz", "initrd.img")):
        return f"{DISK} holds no disk of a guest: tests/ansible/prepare all says why"
    return (
        "" if os.access("/dev/net/tun", os.W_OK) else "this machine has no /dev/net/tun for a guest's network"
    )


class Guest(Host):
    """One guest; used as any other host."""

    ready_seconds_max = 600
    command_seconds_max = 900

    def boot(self):
        """Lays a writable layer over the release's disk, connects it, boots."""
        self.dir.mkdir()
        self.disk = self.dir / "disk.qcow2"
        self.tap = f"t-{self.name}"
        layer = ["-f", "qcow2", "-F", "raw", "-b", DISK / "disk.raw", self.disk]
        self._tools("qemu-img", "create", "-q", *layer)
        run("ip", "tuntap", "add", "dev", self.tap, "mode", "tap")
        run("ip", "link", "set", self.tap, "master", "br0", "up")
        self.start()

    def start(self):
        """Boots it, for the first time or after it has ended, and waits until it is reachable."""
        network = f"[Match]\nName=en*\n[Network]\nAddress={self.address}/24\nGateway={NET}.1\n"
        given = {"network.network.50-test": network, "ssh.authorized_keys.root": self._public_key()}
        options = ["-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", MEMORY]
        options += ["-nodefaults", "-display", "none", "-serial", f"file:{self.dir / 'console'}"]
        options += ["-kernel", DISK / "vmlinuz", "-initrd", DISK / "initrd.img"]
        options += ["-append", f"root=/dev/vda rw console=ttyS0 systemd.hostname={self.name}"]
        options += ["-drive", f"if=virtio,format=qcow2,discard=unmap,file={self.disk}"]
        options += ["-netdev", f"tap,id=n,ifname={self.tap},script=no,downscript=no"]
        options += ["-device", "virtio-net-pci,netdev=n,romfile=", "-device", "virtio-rng-pci"]
        for name, text in given.items():
            file = self.dir / f"credential-{name}"
            file.write_text(f"io.systemd.credential:{name}={text}")
            options += ["-smbios", f"type=11,path={file}"]
        command, environment = self._inside("qemu-system-x86_64", *options)
        log = open(self.dir / "qemu.log", "ab")
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
        )
        self._wait()

    def restart(self):
        """The guest starts again, as it does after an update of its kernel; returns when it is reachable."""
        before = self.run("cat /proc/sys/kernel/random/boot_id").stdout
        self.run("systemctl reboot", check=False)
        self._wait(
            lambda: self.run("cat /proc/sys/kernel/random/boot_id", check=False).stdout not in ("", before)
        )

    def put(self, source, target):
        """Copies a file of this machine into the guest."""
        with open(source, "rb") as file:
            command = [*self.ssh(), f"cat >{target}"]
            subprocess.run(command, stdin=file, check=True, timeout=self.command_seconds_max)

    def stop(self):
        """Ends it, as a power loss does."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        subprocess.run(["ip", "link", "del", self.tap], capture_output=True, check=False)
        shutil.rmtree(self.dir, ignore_errors=True)

    def _public_key(self):
        return Path(f"{self.fabric.key}.pub").read_text()

    def _inside(self, *command):
        """A command in the tools tree, where the disk and this test's folder are seen."""
        environment = {**os.environ, "GODWIT_BIND": f"{DISK} {self.fabric.dir}"}
        return [str(word) for word in (TOOLS, *command)], environment

    def _tools(self, *command):
        inside, environment = self._inside(*command)
        run(*inside, env=environment)
