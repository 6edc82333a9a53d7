"""What `lynis audit system` says about the booted image: score, warnings, suggestions are printed. Lynis is
Debian's, on a second disk: the image has no package manager. `make test-image`."""

import os
import re
import shutil
import subprocess

import pytest
from guest import CACHE, configured, newest_image, tools

SCORE_MIN = 75
AUDIT_SECONDS_MAX = 1_200

pytestmark = [
    pytest.mark.skipif(newest_image() is None, reason="no image in image/out: make image"),
    pytest.mark.timeout(AUDIT_SECONDS_MAX + 900),
]

MOUNT = """[Mount]
What=/dev/disk/by-label/lynis
Where=/run/lynis
Type=ext4
Options=ro
"""
# Its own folder: it looks for its parts there.
AUDIT = """[Unit]
RequiresMountsFor=/run/lynis
After=godwit-banner.service
[Service]
Type=oneshot
RemainAfterExit=yes
WorkingDirectory=/run/lynis/usr/share/lynis
ExecStart=/bin/sh /run/lynis/usr/sbin/lynis audit system --quick --no-colors --log-file /run/lynis.log \\
  --plugindir /run/lynis/etc/lynis/plugins --profile /run/lynis/etc/lynis/default.prf \\
  --report-file /run/operator/lynis.dat
ExecStart=/bin/chmod 0644 /run/operator/lynis.dat
"""


def lynis():
    """Debian's package, unpacked, or a skip."""
    folder = CACHE / "lynis"
    if not (folder / "usr").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        env = {**os.environ, "GODWIT_INSIDE": str(folder)}
        get = "apt-get -qq update && apt-get -qq download lynis && dpkg-deb -x lynis_*.deb ."
        try:
            tools("sh", "-c", get, env=env)
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no lynis: {error.stderr[-300:]}")
    return folder


def test_lynis_finds_little(tmp_path_factory):
    folder = lynis()
    with configured("lynis", tmp_path_factory.mktemp("tls")) as guest:
        disk = guest.folder / "lynis.raw"
        tools("mke2fs", "-q", "-t", "ext4", "-L", "lynis", "-d", folder, disk, "32M")
        guest.extra = ["-drive", f"if=virtio,format=raw,readonly=on,file={disk}"]
        guest.credentials |= {
            "systemd.extra-unit.run-lynis.mount": MOUNT,
            "systemd.extra-unit.lynis.service": AUDIT,
            "systemd.unit-dropin.multi-user.target": "[Unit]\nWants=lynis.service\n",
        }
        guest.boot()
        state = ("operator", "systemctl", "show", "-P", "SubState", "lynis.service")
        guest.until(lambda: guest.ssh(*state).strip() in ("exited", "failed", "dead"), AUDIT_SECONDS_MAX)
        report = guest.ssh("operator", "cat", "/run/operator/lynis.dat", check=False)
        score = re.search(r"^hardening_index=(\d+)", report, re.M)
        assert score, guest.ssh("operator", "journalctl", "-b", "-u", "lynis", "-n", "40", check=False)
        print(f"lynis: hardening index {score[1]}")
        for kind, what in re.findall(r"^(warning|suggestion)\[\]=([^|]*\|[^|]*)", report, re.M):
            print(f"{kind}: {what}")
        assert int(score[1]) >= SCORE_MIN
