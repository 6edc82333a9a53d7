"""The built root beside a stock Debian 13 with ejabberd, which mmdebstrap makes: packages, setuid programs,
exposure, descriptors. `make test-image`."""

import json
import os
import re
import shutil
import stat
import subprocess

import pytest
from guest import CACHE, OUT, newest_image, tools
from test_tree import built  # noqa: F401  # the unpacked root file system, a fixture

# What a person gets who takes Debian's cloud kernel, a shell by ssh, and the package.
STOCK = "linux-image-cloud-amd64,systemd-sysv,dbus,openssh-server,ejabberd"
MIRROR = os.environ.get("GODWIT_MIRROR", "http://deb.debian.org/debian")

pytestmark = [
    pytest.mark.skipif(newest_image() is None, reason="no image in image/out: make image"),
    pytest.mark.timeout(1_500),
]


@pytest.fixture(scope="module")
def stock():
    """The root file system of the stock machine."""
    folder = CACHE / "stock"
    shutil.rmtree(folder, ignore_errors=True)
    command = ["mmdebstrap", "--quiet", "--variant=important", "--components=main", f"--include={STOCK}"]
    recommended = ["--aptopt=Apt::Install-Recommends true", "--dpkgopt=path-exclude=/usr/share/doc/*"]
    try:
        tools(*command, *recommended, "trixie", folder, MIRROR, timeout=1_200)
    except subprocess.CalledProcessError as error:
        shutil.rmtree(folder, ignore_errors=True)
        pytest.skip(f"no stock Debian to compare with: {error.stderr[-300:]}")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def privileged(root):
    """Files that are setuid or setgid."""
    return sum(
        stat.S_ISREG(path.lstat().st_mode) and path.lstat().st_mode & (stat.S_ISUID | stat.S_ISGID) != 0
        for folder in ("usr", "opt")
        for path in (root / folder).rglob("*")
    )


def exposure(root, unit):
    """What systemd-analyze of the tools tree says about a unit."""
    said = tools("systemd-analyze", "security", "--offline=true", f"--root={root}", "--no-pager", unit)
    return float(re.search(r"exposure level for \S+: ([\d.]+)", said.stdout)[1])


def test_it_is_smaller_and_less_exposed_than_stock_debian_with_ejabberd(built, stock):  # noqa: F811
    manifest = json.loads((OUT / f"{newest_image().stem}.manifest").read_text())
    ours = {
        "packages": len(manifest["packages"]),
        "setuid or setgid": privileged(built),
        "exposure of the daemon": exposure(built, "godwit.service"),
    }
    unit = (stock / "usr/lib/systemd/system/ejabberd.service").read_text()
    theirs = {
        "packages": (stock / "var/lib/dpkg/status").read_text().count("\nStatus: install ok installed\n"),
        "setuid or setgid": privileged(stock),
        "exposure of the daemon": exposure(stock, "ejabberd.service"),
    }
    for name, value in ours.items():
        print(f"{name}: {value}; stock Debian with ejabberd: {theirs[name]}")
    limit = re.search(r"^LimitNOFILE=(\d+)", unit, re.M)
    print(f"ejabberd's descriptors on every machine: {limit[1] if limit else 'as systemd has them'}")
    assert all(value < theirs[name] for name, value in ours.items())
    assert ours["setuid or setgid"] == 0
