"""Three boxes under chatting clients: rolled to another version in place, reloaded by a real systemd; and a
new version that crashes in the middle of a roll-out."""

import json
import threading
import time
from types import SimpleNamespace

from conftest import package
from hosts import run
from playbook import inventory, play

from harness.load import WRONG, Load, register

DOMAIN = "chat.test"
PAIRS = 10
MESSAGES_PER_SECOND = 20
SETTINGS = {"registration": {"in_band": True, "per_address_per_hour_max": 10_000}}
WAIT_SECONDS_MAX = 900


def settings(which):
    """Variables of the boxes with one of the packages."""
    return {
        "godwit_domain": DOMAIN,
        "tls_certificate": "internal",
        "godwit_package": str(package(which)),
        "godwit_settings": SETTINGS,
    }


def status(host):
    return json.loads(host.run("godwitctl status --json").stdout)


def process(host):
    return host.run("systemctl show -p MainPID,NRestarts godwit").stdout


def load(host):
    """Pairs that chat with stream management on a box."""
    place = host.fabric.dir / f"load-{host.name}"
    place.mkdir()
    where = SimpleNamespace(address=host.address, tls_port=5223, domain=DOMAIN, dir=place)
    register(where, 2 * PAIRS)
    return Load(where, "1.3", 0, PAIRS, MESSAGES_PER_SECOND)


def kill_when_it_runs(host, version):
    """The new version dies within its first 30 s."""
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while time.monotonic() < deadline:
        said = host.run("godwitctl status --json", check=False)
        if said.returncode == 0 and json.loads(said.stdout)["version"] == version:
            host.run("systemctl kill --signal=KILL --kill-whom=main godwit")
            return
        time.sleep(0.5)


def installed(host):
    return host.run("dpkg-query -W -f '${Version}' godwit").stdout


def versions():
    """Those of the two packages."""
    packages = [str(package(which)) for which in ("first", "second")]
    return [run("dpkg-deb", "-f", path, "Version").strip() for path in packages]


def three_boxes(fabric):
    """Boxes with the first package."""
    hosts = [fabric.host(f"box{number}", "trixie") for number in (1, 2, 3)]
    play("setup", inventory(fabric, hosts, **settings("first")))
    assert [status(host)["version"] for host in hosts] == versions()[:1] * 3
    return hosts


def test_a_rolling_upgrade_and_a_reload_cut_nobody(fabric):
    first, second = versions()
    hosts = three_boxes(fabric)
    before = [process(host) for host in hosts]
    loads = [load(host) for host in hosts]
    try:
        for one in loads:
            one.until_online()
        play("upgrade", inventory(fabric, hosts, **settings("second")))
        assert [status(host)["version"] for host in hosts] == [second] * 3
        # A reload after the program's file was replaced is an upgrade, too; systemd waits until it is over.
        fabric_dir = fabric.dir / "unpacked"
        run("dpkg-deb", "-x", str(package("first")), str(fabric_dir))
        hosts[2].put(fabric_dir / "usr/bin/godwitd", "/usr/bin/godwitd.new")
        hosts[2].run("mv /usr/bin/godwitd.new /usr/bin/godwitd && systemctl reload godwit")
        assert (status(hosts[2])["version"], status(hosts[2])["upgrades"]) == (first, 2)
        assert [process(host) for host in hosts] == before, "no restart"
        for one in loads:
            phase = one.end()
            assert phase["sessions"] == 2 * PAIRS, phase
            assert not any(phase["counts"].get(name) for name in WRONG), phase
            assert phase["counts"]["arrived"] > MESSAGES_PER_SECOND * 35, phase["counts"]
    finally:
        for one in loads:
            one.close()


def test_a_rolling_upgrade_stops_at_a_version_that_crashes(fabric):
    first, second = versions()
    hosts = three_boxes(fabric)
    killer = threading.Thread(target=kill_when_it_runs, args=(hosts[1], second))
    killer.start()
    stopped = play("upgrade", inventory(fabric, hosts, **settings("second")), good=False)
    killer.join()
    said = " ".join(stopped.output.split())
    print(stopped.output[-2000:])
    assert "The upgrade stops at box2" in said and f"version {first} runs" in said, stopped.output[-3000:]
    assert "remove the reason and run upgrade.yml again, or go back" in said
    assert [installed(host) for host in hosts] == [second, second, first], "the third is not touched"
    assert status(hosts[1])["version"] == first, "the version before serves again"
    assert "crashed within 30 s" in status(hosts[1])["notice"]
    assert status(hosts[2])["upgrades"] == 0
    play("upgrade", inventory(fabric, hosts[1:2], **settings("first")))
    assert status(hosts[1])["version"] == first and not status(hosts[1])["notice"]
