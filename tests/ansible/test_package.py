"""The Debian package by itself: installed, upgraded under a running daemon, removed, back again, purged."""

import subprocess

import pytest
from conftest import package

from harness.certs import Certificates

CONFIG = """[server]
domains = ["one.test"]
[tls]
certificate = "/etc/godwit/tls/fullchain.pem"
key = "/etc/godwit/tls/privkey.pem"
"""


def active(host):
    """What systemd says of the service."""
    return host.run("systemctl is-active godwit", check=False).stdout.strip()


def install(host, which):
    """Installs one of the packages; returns what apt and the package's scripts said."""
    host.put(package(which), "/root/godwit.deb")
    done = host.run("DEBIAN_FRONTEND=noninteractive apt-get install -y --allow-downgrades /root/godwit.deb")
    return done.stdout + done.stderr


@pytest.mark.parametrize("suite", ["bookworm", "trixie"])
def test_a_package_is_installed_upgraded_removed_and_purged(fabric, suite):
    host = fabric.host("deb", suite)
    said = install(host, "first")
    assert "set server.domains and the certificate in /etc/godwit/godwit.toml" in said
    assert active(host) == "inactive"
    assert host.run("stat -c '%U:%G %a' /etc/godwit/godwit.toml /etc/godwit/tls").stdout.split("\n")[:2] == [
        "root:godwit 640",
        "root:godwit 750",
    ]

    certificates = Certificates()
    host.put(certificates.chain(), "/etc/godwit/tls/fullchain.pem")
    host.put(certificates.key(), "/etc/godwit/tls/privkey.pem")
    host.run("chgrp -R godwit /etc/godwit/tls; chmod 640 /etc/godwit/tls/*")
    host.run("cat >/etc/godwit/godwit.toml", stdin=CONFIG)
    host.run("systemctl start godwit")
    assert host.run("godwitctl account add alice@one.test", stdin="secret of alice\n").returncode == 0

    install(host, "second")
    assert active(host) == "active"
    running = host.run("dpkg-query -W -f '${Version}' godwit").stdout
    assert running.endswith("+1")
    assert "alice@one.test" in host.run("godwitctl account list").stdout

    # A configuration that the new version refuses: the old daemon goes on.
    before = host.run("systemctl show -p MainPID godwit").stdout
    host.run("echo 'unknown = 1' >>/etc/godwit/godwit.toml")
    host.put(package("first"), "/root/older.deb")
    refused = host.run("dpkg -i /root/older.deb", check=False)
    assert refused.returncode != 0 and "the old one keeps running" in refused.stderr, refused
    assert active(host) == "active" and host.run("systemctl show -p MainPID godwit").stdout == before
    host.run("cat >/etc/godwit/godwit.toml", stdin=CONFIG)
    host.run("dpkg --configure -a")

    host.run("apt-get remove -y godwit")
    assert active(host) == "inactive"
    host.run("test -d /var/lib/godwit/store -a -e /etc/godwit/godwit.toml")
    install(host, "second")
    assert active(host) == "active", "what was enabled is enabled when the package comes back"
    assert "alice@one.test" in host.run("godwitctl account list").stdout

    assert "rm -r /var/lib/godwit" in host.run("apt-get purge -y godwit 2>&1").stdout
    host.run("test -d /var/lib/godwit/store -a ! -e /etc/godwit/godwit.toml -a ! -e /usr/bin/godwitd")
    assert host.run("systemctl --failed --plain --no-legend").stdout == ""


def test_lintian_finds_nothing_but_what_is_listed_with_its_reason():
    # Packages of these tests are made without compression, which is quick.
    quick = "uses-no-compression-for-control-tarball,uses-no-compression-for-data-tarball"
    command = ["lintian", "--allow-root", "--fail-on", "error,warning", "--suppress-tags", quick]
    done = subprocess.run([*command, str(package("first"))], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout
