"""A guest: the built image on a disk of its own, booted by QEMU from the tools tree, reached by forwarded
ports.

One at a time. Emulated (`-accel tcg`), so everything takes a minute; every wait is bounded. `kill()` is a
power loss of the guest: what its kernel had not written to the disk is gone.
"""

import base64
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
OUT = ROOT / "image" / "out"
CACHE = Path(os.environ.get("GODWIT_CACHE", Path.home() / ".cache" / "godwit")) / "image"
TOOLS = ROOT / "image" / "bin" / "tools"
READY = "=== godwit: ready ==="
READY_SECONDS_MAX = 600
BUILD_SECONDS_MAX = 1_800
SSH_TRIES_MAX = 3
DISK = "8G"
# The version that updates go to.
SECOND = "9.3"
# Whose keys the firmware has; any number.
OWNER = "5d0e5f7a-9c0c-4d63-8f3e-0c9d7f1b2a34"
DOMAIN = "chat.example"
PASSWORD = "one time, and then another"
ADMIN = f"admin@{DOMAIN}"


def newest_image():
    """The qcow2 built last, or None."""
    images = sorted(OUT.glob("godwit_*.qcow2"), key=lambda path: path.stat().st_mtime)
    return images[-1] if images else None


def free_port():
    """A port of loopback that nobody has now."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        return one.getsockname()[1]


def tools(*command, **more):
    """Runs a command in the tools tree; returns its output."""
    more = {"capture_output": True, "text": True, "check": True, "timeout": 300, **more}
    return subprocess.run([TOOLS, *map(str, command)], **more)


def secure_boot_keys():
    """The operator's own key and certificate of these tests."""
    folder = CACHE / "secure-boot"
    folder.mkdir(parents=True, exist_ok=True)
    key, own = folder / "key.pem", folder / "certificate.pem"
    if not own.exists():
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "3650"]
        command += ["-subj", "/CN=Godwit test", "-keyout", key, "-out", own]
        subprocess.run(command, check=True, capture_output=True)
    return key, own


def second_image():
    """Another version of the image, signed for Secure Boot: made where there is none, which takes minutes."""
    folder = CACHE / "second"
    made = folder / f"godwit_{SECOND}.qcow2"
    if not (folder / "SHA256SUMS.gpg").exists():
        key, own = secure_boot_keys()
        given = {"IMAGE_VERSION": SECOND, "IMAGE_INCREMENTAL": "1", "IMAGE_OUT": folder}
        given |= {"SECUREBOOT_KEY": key, "SECUREBOOT_CERTIFICATE": own}
        env = {**os.environ, **{name: str(value) for name, value in given.items()}}
        subprocess.run([ROOT / "image/bin/build"], check=True, env=env, timeout=BUILD_SECONDS_MAX)
    return made


class Guest:
    """A disk and the machine around it. `credentials`: name to text, given by SMBIOS."""

    address = "127.0.0.1"

    def __init__(self, name, memory_gib=2, credentials=None, image=None, secure_boot=False):
        self.folder = CACHE / "guests" / name
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.disk = self.folder / "disk.qcow2"
        self.serial = self.folder / "serial.log"
        self.memory_gib = memory_gib
        self.credentials = dict(credentials or {})
        self.domain = self.credentials.get("godwit.domain", "godwit.local")
        self.extra = []
        self.secure_boot = secure_boot
        self.tpm = None
        # What QEMU inherits beside its standard streams.
        self.descriptors = ()
        self.process = None
        self.boots = []
        self.starts = 0
        base = image or newest_image()
        # A copy: the image may be built anew while the guest runs.
        shutil.copy(base, self.folder / "base.qcow2")
        tools(
            *("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2"),
            *("-b", self.folder / "base.qcow2", self.disk, DISK),
        )
        tree = Path(tools().stdout.strip())
        firmware = tree / "usr" / "share" / "OVMF"
        shutil.copy(firmware / "OVMF_VARS_4M.fd", self.folder / "vars.fd")
        if secure_boot:
            _, own = secure_boot_keys()
            enrol = [word for key in ("--set-pk", "--add-kek", "--add-db") for word in (key, OWNER, own)]
            variables = self.folder / "vars.fd"
            tools("virt-fw-vars", "--inplace", variables, *enrol, "--secure-boot")
        # The public half goes in as a credential; the private one never leaves this folder.
        self.key = self.folder / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.key], check=True)

    def with_ssh(self):
        """Gives the guest this test's key."""
        self.credentials["godwit.ssh.authorized_keys"] = (self.folder / "key.pub").read_text()
        return self

    def with_tpm(self, name):
        """Gives the guest that TPM 2.0, a new one where the name is new. It runs as long as QEMU."""
        self.tpm = self.folder / f"tpm-{name}"
        self.tpm.mkdir(exist_ok=True)
        return self

    def start_tpm(self):
        """Starts the TPM; returns what QEMU is to be given."""
        if not self.tpm:
            return []
        control = self.folder / "tpm.socket"
        control.unlink(missing_ok=True)
        state = ("--tpmstate", f"dir={self.tpm}", "--ctrl", f"type=unixio,path={control}", "--terminate")
        subprocess.Popen([TOOLS, "swtpm", "socket", "--tpm2", *state], stdin=subprocess.DEVNULL)
        self.until(control.exists, 30)
        tpm = ["-chardev", f"socket,id=t,path={control}", "-tpmdev", "emulator,id=tpm,chardev=t"]
        return [*tpm, "-device", "tpm-crb,tpmdev=tpm"]

    def command(self):
        """QEMU's command line."""
        self.port, self.tls_port, self.ssh_port = free_port(), free_port(), free_port()
        forward = ",".join(
            f"hostfwd=tcp:127.0.0.1:{here}-:{there}"
            for here, there in ((self.port, 5222), (self.tls_port, 5223), (self.ssh_port, 22))
        )
        code = "OVMF_CODE_4M.secboot.fd" if self.secure_boot else "OVMF_CODE_4M.fd"
        machine = "q35,smm=on" if self.secure_boot else "q35"
        secure = ["-global", "driver=cfi.pflash01,property=secure,value=on"] if self.secure_boot else []
        given = []
        for name, text in self.credentials.items():
            coded = base64.b64encode(text.encode()).decode()
            file = self.folder / f"credential-{name}"
            file.write_text(f"io.systemd.credential.binary:{name}={coded}")
            given += ["-smbios", f"type=11,path={file}"]
        return [
            *(TOOLS, "qemu-system-x86_64", "-machine", machine, "-accel", "tcg,thread=multi", *secure),
            *("-cpu", "max", "-smp", "2", "-m", f"{self.memory_gib}G", "-nodefaults", "-display", "none"),
            *("-uuid", "5d0e5f7a-9c0c-4d63-8f3e-0c9d7f1b2a33", "-no-reboot"),
            *("-drive", f"if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/{code}"),
            *("-drive", f"if=pflash,format=raw,file={self.folder}/vars.fd"),
            *("-drive", f"if=virtio,format=qcow2,discard=unmap,file={self.disk}"),
            *("-netdev", f"user,id=n,{forward}", "-device", "virtio-net-pci,netdev=n,romfile="),
            *("-device", "virtio-rng-pci", "-serial", f"file:{self.serial}"),
            *given,
            *self.start_tpm(),
            *self.extra,
        ]

    def start(self):
        """Starts it and returns at once."""
        if self.serial.exists():
            self.starts += 1
            self.serial.rename(self.folder / f"serial.{self.starts}.log")
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            list(map(str, self.command())),
            stdin=subprocess.DEVNULL,
            stdout=open(self.folder / "qemu.log", "ab"),
            stderr=subprocess.STDOUT,
            pass_fds=self.descriptors,
        )
        return self

    def console(self):
        """What stood on the console since the start."""
        text = self.serial.read_text(errors="replace") if self.serial.exists() else ""
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\r", "", text)

    def wait_for(self, pattern, seconds=READY_SECONDS_MAX):
        """Waits for a pattern on the console; returns its match."""
        deadline = time.monotonic() + seconds
        while not (found := re.search(pattern, self.console())):
            if self.process.poll() is not None:
                raise AssertionError(f"QEMU ended before {pattern}: {self.console()[-3000:]}")
            if time.monotonic() > deadline:
                raise AssertionError(f"no {pattern} in {seconds} s: {self.console()[-3000:]}")
            time.sleep(0.5)
        return found

    def boot(self):
        """Starts it and waits until it is ready; returns itself."""
        self.start().wait_for(re.escape(READY))
        self.boots.append(time.monotonic() - self.started)
        return self

    def until(self, look, seconds):
        """Looks again and again until there is something; returns it."""
        deadline = time.monotonic() + seconds
        while not (found := look()):
            assert time.monotonic() < deadline, f"not within {seconds} s: {self.console()[-2000:]}"
            time.sleep(2)
        return found

    def ready_or_ended(self, seconds):
        """Whether this boot came up (True), or the machine restarted before (False)."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            ended = self.process.poll() is not None
            if READY in self.console():
                return True
            if ended:
                return False
            time.sleep(0.5)
        raise AssertionError(f"neither ready nor restarted in {seconds:.0f} s: {self.console()[-3000:]}")

    def options(self, user):
        """ssh's options: one connection for each user and boot, because a handshake takes seconds here."""
        shared = self.folder / f"ssh-{user}-{self.ssh_port}"
        options = [
            *("-i", self.key, "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"),
            *("-o", "LogLevel=ERROR", "-o", "BatchMode=yes", "-o", "ConnectTimeout=60"),
            *("-o", "IdentitiesOnly=yes", "-o", f"ControlPath={shared}"),
        ]
        for _ in range(SSH_TRIES_MAX):
            if shared.exists() or user not in ("operator", "godwit"):
                break
            master = ["ssh", *options, "-p", str(self.ssh_port), "-M", "-N", "-f", f"{user}@127.0.0.1"]
            quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            subprocess.run(master, **quiet, check=False, timeout=180)
        return options

    def ssh(self, user, *command, data=None, check=True, seconds=120, stderr=False):
        """Runs a command by ssh; returns its output."""
        done = subprocess.run(
            ["ssh", *self.options(user), "-p", str(self.ssh_port), "--", f"{user}@127.0.0.1", *command],
            input=data,
            capture_output=True,
            text=True,
            timeout=seconds,
        )
        if check and done.returncode != 0:
            raise AssertionError(f"{command}: {done.returncode}: {done.stdout} {done.stderr}")
        return done.stdout + (done.stderr if stderr else "")

    def put(self, files, folder, seconds=300):
        """Copies files into a folder of the guest, as the operator."""
        to = f"operator@127.0.0.1:{folder}/"
        command = ["scp", "-q", *self.options("operator"), "-P", str(self.ssh_port), *map(str, files), to]
        subprocess.run(command, check=True, timeout=seconds)

    def ended(self, seconds=180):
        """Waits until the guest has turned itself off or restarted (which ends QEMU)."""
        self.process.wait(seconds)

    def reboot(self):
        """The operator asks for a restart; returns when the guest is ready again."""
        self.ssh("operator", "touch", "/run/operator/reboot", check=False)
        self.ended()
        return self.boot()

    def kill(self):
        """Power loss."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(30)

    def close(self):
        """Stops it and removes its disk; the console's text stays."""
        self.kill()
        for file in ("disk.qcow2", "base.qcow2", "vars.fd"):
            (self.folder / file).unlink(missing_ok=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def certificate(folder):
    """A certificate and its key for DOMAIN, in PEM."""
    key, chain = Path(folder) / "key.pem", Path(folder) / "chain.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-days", "3650", "-keyout", key, "-out", chain, "-subj", f"/CN={DOMAIN}"),
            *("-addext", f"subjectAltName=DNS:{DOMAIN}"),
        ],
        check=True,
        capture_output=True,
    )
    return chain, key


def configured(name, folder, **more):
    """A guest with everything given by credentials."""
    chain, key = certificate(folder)
    guest = Guest(
        name,
        credentials={
            "godwit.domain": DOMAIN,
            "godwit.tls.certificate": chain.read_text(),
            "godwit.tls.key": key.read_text(),
            "godwit.admin.jid": ADMIN,
            "godwit.admin.password": PASSWORD,
        },
        **more,
    ).with_ssh()
    guest.certificate = chain
    return guest
