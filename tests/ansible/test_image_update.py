"""image_update.yml against boxes that look like the image to an operator: its sshd, its two users, its units
for what an operator asks for. Instead of systemd-sysupdate there is a script that "boots" a version by naming
it, or keeps the old one where a box is to fall back. tests/image updates the image itself."""

import json
import threading
from pathlib import Path

from hosts import SSH_OPTIONS, run
from playbook import play
from test_package import CONFIG, install

from harness.certs import Certificates

ROOT = Path(__file__).resolve().parent.parent.parent
EXTRA = ROOT / "image" / "mkosi.extra"
REBOOTED = 133
SYSUPDATE = """#!/bin/sh
set -eu
cd /var/lib/godwit-update
sha256sum --check --quiet --ignore-missing SHA256SUMS
set -- godwit_*_*.root.gz godwit_*_*.verity.gz SHA256SUMS.gpg
[ -e "$1" ] && [ -e "$2" ] && [ -e "$3" ]
version=$(ls godwit_*.efi.gz | sed 's/godwit_//; s/[.]efi[.]gz//')
[ -e /etc/falls-back ] || sed -i "s/^IMAGE_VERSION=.*/IMAGE_VERSION=$version/" /usr/lib/os-release
"""
# The tests' own way in, and what nspawn cannot do: limits of the kernel.
SSHD = """PermitRootLogin prohibit-password
AllowUsers root operator godwit
AuthorizedKeysFile .ssh/authorized_keys /var/lib/operator/authorized_keys
"""
SSH_COMMAND = '#!/bin/sh\n[ "$SSH_ORIGINAL_COMMAND" != "limits --verify" ] || exit 0\n'
MAKE = """set -e
usermod --shell /bin/sh godwit
useradd --system --gid operator --home-dir /var/lib/operator --shell /bin/sh operator
usermod -p '*' godwit; usermod -p '*' operator; usermod -aG systemd-journal operator
systemd-tmpfiles --create /usr/lib/tmpfiles.d/godwit-image.conf
cp /root/.ssh/authorized_keys /var/lib/operator/authorized_keys
mkdir -p /var/lib/ssh && cp /etc/ssh/ssh_host_ed25519_key /var/lib/ssh/
echo 'IMAGE_VERSION="1.0"' >>/usr/lib/os-release
chmod 755 /usr/lib/godwit/ssh-command /usr/lib/godwit/update /usr/lib/systemd/systemd-sysupdate
systemctl daemon-reload
systemctl enable --now godwit-operator-reboot.path godwit-operator-update.path
systemctl restart ssh
"""


def serve(host):
    """Starts the daemon, from the package alone."""
    install(host, "first")
    certificates = Certificates()
    host.put(certificates.chain(), "/etc/godwit/tls/fullchain.pem")
    host.put(certificates.key(), "/etc/godwit/tls/privkey.pem")
    host.run("chgrp -R godwit /etc/godwit/tls; chmod 640 /etc/godwit/tls/*")
    host.run("cat >/etc/godwit/godwit.toml && systemctl enable --now godwit", stdin=CONFIG)


def into_image(host):
    """Makes a host that serves look like a box of the image."""
    root = host.root
    (root / "usr/lib/godwit").mkdir(exist_ok=True)
    units = EXTRA / "usr/lib/systemd/system"
    for name in ("godwit-operator-reboot.path", "godwit-operator-update.path", "godwit-update.service"):
        host.put(units / name, f"/usr/lib/systemd/system/{name}")
    host.put(EXTRA / "usr/lib/godwit/update", "/usr/lib/godwit/update")
    host.put(EXTRA / "usr/lib/tmpfiles.d/godwit-image.conf", "/usr/lib/tmpfiles.d/godwit-image.conf")
    (root / "etc/ssh/sshd_config").write_text(SSHD + (EXTRA / "etc/ssh/sshd_config").read_text())
    command = (EXTRA / "usr/lib/godwit/ssh-command").read_text().removeprefix("#!/bin/sh\n")
    (root / "usr/lib/godwit/ssh-command").write_text(SSH_COMMAND + command)
    (root / "usr/lib/systemd/systemd-sysupdate").write_text(SYSUPDATE)
    host.run(MAKE)
    threading.Thread(target=boot_again, args=(host,), daemon=True).start()


def boot_again(host):
    """What a machine does by itself after a reboot."""
    if host.process.wait() == REBOOTED:
        host.start()


def version_of(host):
    return host.run("sed -n s/^IMAGE_VERSION=//p /usr/lib/os-release").stdout.strip().strip('"')


def made(directory, version):
    """A directory as `make image` leaves it, but for what is in the files."""
    directory.mkdir()
    names = [f"godwit_{version}_{16 * 'a'}.root.gz", f"godwit_{version}_{16 * 'b'}.verity.gz"]
    for name in [*names, f"godwit_{version}.efi.gz"]:
        (directory / name).write_text(f"{name}\n" * 1000)
    (directory / "SHA256SUMS").write_text(run("sha256sum", *names, cwd=directory))
    (directory / "SHA256SUMS.gpg").write_text("a signature\n")
    return directory


def test_boxes_of_the_image_are_updated_one_by_one_until_one_falls_back(fabric):
    hosts = [fabric.host(f"box{number}", "trixie") for number in (1, 2, 3)]
    for host in hosts:
        serve(host)
        into_image(host)
    hosts[1].run("touch /etc/falls-back")
    directory = made(fabric.dir / "out", "1.1")
    where = fabric.dir / "image.yml"
    common = {
        "ansible_ssh_private_key_file": str(fabric.key),
        "ansible_ssh_common_args": " ".join(f"-o{option}" for option in SSH_OPTIONS),
        "godwit_image_directory": str(directory),
    }
    rows = {host.name: {"ansible_host": host.address} for host in hosts}
    where.write_text(json.dumps({"godwit_images": {"hosts": rows, "vars": common}}))

    predicted = play("image_update", where, "--check")
    assert "would be updated from 1.0 to 1.1" in predicted.output
    assert [version_of(host) for host in hosts] == ["1.0"] * 3

    stopped = " ".join(play("image_update", where, good=False).output.split())
    assert "The update stops at box2: version 1.0 runs: 1.1 did not come up, and the box fell back" in stopped
    assert [version_of(host) for host in hosts] == ["1.1", "1.0", "1.0"], "the third is not touched"
    assert hosts[2].run("ls /var/lib/godwit-update").stdout == ""

    hosts[1].run("rm /etc/falls-back")
    threading.Thread(target=boot_again, args=(hosts[1],), daemon=True).start()
    again = play("image_update", where)
    assert [version_of(host) for host in hosts] == ["1.1"] * 3
    assert "version 1.1 serves" in again.output

    (directory / "SHA256SUMS").write_text("0" * 64 + f"  godwit_1.1_{16 * 'a'}.root.gz\n")
    refused = play("image_update", where, good=False)
    assert "did NOT match" in refused.output
    run("rm", str(directory / "SHA256SUMS.gpg"))
    assert "does not hold one version of the image" in play("image_update", where, good=False).output
