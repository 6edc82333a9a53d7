"""The built image in QEMU: what it serves, what limits are in force, what survives. `make test-image`."""

import asyncio
import json
import os
import re
import ssl
import subprocess
import sys
import time
from pathlib import Path

import pytest
from guest import DOMAIN, PASSWORD, ROOT, Guest, configured, newest_image, tools

sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "e2e")]

from client import Client, clients  # noqa: E402
from harness import RawClient  # noqa: E402

# Emulated: a login takes seconds.
SECONDS_MAX = 60
DOCUMENTED_PORTS = {22, 5222, 5223}
# Each takes a boot; 20 for a full run.
POWER_CUTS = int(os.environ.get("CUTS") or 3)

pytestmark = pytest.mark.skipif(newest_image() is None, reason="no image in image/out: make image")


@pytest.fixture(scope="module")
def guest(tmp_path_factory):
    """A guest of 2 GiB, configured, ready."""
    with configured("serving", tmp_path_factory.mktemp("tls")) as one:
        one.boot()
        yield one


def limits(guest):
    """What godwitctl in the guest derives, by name, and its comparison with what is in force."""
    rows = json.loads(guest.ssh("godwit", "limits", "--format", "json"))["rows"]
    return rows, guest.ssh("godwit", "limits", "--verify", check=False)


def check_limits(guest):
    """Each sysctl as read back, and the daemon's own limits, are what is derived for this size."""
    rows, verified = limits(guest)
    assert "DIFFERS" not in verified, verified
    pid = guest.ssh("operator", "systemctl", "show", "-P", "MainPID", "godwit.service").strip()
    own = guest.ssh("operator", "cat", f"/proc/{pid}/limits")
    checked = 0
    derived = {}
    for row in rows:
        value = row["value"] if isinstance(row["value"], list) else [row["value"]]
        derived[row["name"]] = value
        if row["place"] == "sysctl":
            path = "/proc/sys/" + row["name"].replace(".", "/")
            found = [int(word) for word in guest.ssh("operator", "cat", path).split()]
            assert found == value, (row["name"], found, value)
            checked += 1
    assert checked >= 10
    descriptors = re.search(r"Max open files +(\d+) +(\d+)", own)
    assert [int(descriptors[2])] == derived["LimitNOFILE"], own
    assert re.search(r"Max core file size +0 +0", own), own
    memory = guest.ssh("operator", "systemctl", "show", "-P", "MemoryMax", "godwit.service").strip()
    assert [int(memory)] == derived["MemoryMax"]
    return derived


def test_it_serves_two_real_clients_with_the_given_certificate(guest):
    context = ssl.create_default_context(cafile=str(guest.certificate))
    with RawClient(guest, "tls", context=context, timeout=SECONDS_MAX) as raw:
        assert raw.sock.version() == "TLSv1.3"
    guest.ssh("godwit", "account", "add", f"bob@{DOMAIN}", data=PASSWORD)

    async def chat():
        alice = Client(guest, f"admin@{DOMAIN}", PASSWORD)
        bob = Client(guest, f"bob@{DOMAIN}", PASSWORD, direct=True)
        async with asyncio.timeout(SECONDS_MAX * 2), clients(alice, bob):
            alice.send_message(mto=bob.boundjid.bare, mbody="through the guest")
            await bob.message("through the guest", SECONDS_MAX)
            bob.send_message(mto=alice.boundjid.bare, mbody="and back")
            await alice.message("and back", SECONDS_MAX)

    asyncio.run(chat())


def test_limits_in_force_are_those_derived_for_2_gib(guest):
    check_limits(guest)
    assert "room for" in guest.console()
    assert "bounded by memory" in guest.console()


def descriptors_helper(guest):
    """A disk with the helper that opens descriptors, and credentials by which the daemon's unit starts it."""
    folder = guest.folder / "helper"
    folder.mkdir(exist_ok=True)
    source = Path(__file__).with_name("descriptors.c")
    subprocess.run(["cc", "-static", "-O1", "-o", folder / "descriptors", source], check=True)
    disk = guest.folder / "helper.raw"
    disk.unlink(missing_ok=True)
    tools("mke2fs", "-q", "-t", "ext4", "-L", "helper", "-d", folder, disk, "8M")
    mount = "[Mount]\nWhat=/dev/disk/by-label/helper\nWhere=/run/helper\nType=ext4\nOptions=ro\n"
    # Only the profile is off, which has no word for this program; user, limits and sandbox are on.
    unit = "[Unit]\nRequiresMountsFor=/run/helper\n[Service]\nAppArmorProfile=\nTimeoutStartSec=20min\n"
    credentials = {
        "systemd.extra-unit.run-helper.mount": mount,
        "systemd.unit-dropin.godwit.service": f"{unit}ExecStartPre=/run/helper/descriptors\n",
    }
    return ["-drive", f"if=virtio,format=raw,readonly=on,file={disk}"], credentials


@pytest.mark.parametrize("gib", [4, 8])
def test_limits_in_force_are_those_derived_for(gib, guest):
    """Another size, another table: the same disk in a larger machine; what the table says can be opened."""
    small = {row["name"]: row["value"] for row in limits(guest)[0]}
    before = guest.memory_gib, guest.extra, guest.credentials
    drive, credentials = descriptors_helper(guest)
    guest.memory_gib, guest.extra = gib, [*guest.extra, *drive]
    guest.credentials = guest.credentials | credentials
    try:
        guest.reboot()
        large = check_limits(guest)
        said = guest.ssh("operator", "journalctl", "-b", "-u", "godwit", "-o", "cat", "--grep", "^opened")
    finally:
        guest.memory_gib, guest.extra, guest.credentials = before
    for name in ("LimitNOFILE", "MemoryMax", "net.ipv4.tcp_mem"):
        assert large[name][0] > (small[name][0] if isinstance(small[name], list) else small[name]), name
    print(f"{gib} GiB: {said.strip()}")
    opened = re.match(r"opened (\d+) descriptors beside 3, then: Too many open files", said)
    assert opened and int(opened[1]) + 3 == large["LimitNOFILE"][0], said


def test_a_second_boot_changes_nothing(guest):
    def state():
        files = "/var/lib/godwit-config/domain /var/lib/operator/authorized_keys"
        return (
            guest.ssh("operator", "cat", "/etc/machine-id", *files.split(), check=False),
            guest.ssh("godwit", "account", "list"),
            ssl.get_server_certificate(("127.0.0.1", guest.tls_port), timeout=SECONDS_MAX),
            guest.ssh("operator", "cat", "/var/lib/ssh/ssh_host_ed25519_key.pub", check=False),
        )

    before = state()
    guest.reboot()
    assert state() == before
    assert "PROBLEMS" not in guest.console()


def test_nothing_undocumented_listens(guest):
    text = guest.ssh("operator", "cat", "/proc/net/tcp", "/proc/net/tcp6")
    ports = {int(m[1], 16) for m in re.finditer(r"^ *\d+: \w+:(\w{4}) \w+:0000 0A", text, re.M)}
    assert ports == DOCUMENTED_PORTS
    text = guest.ssh("operator", "cat", "/proc/net/udp", "/proc/net/udp6")
    bound = {int(m[1], 16) for m in re.finditer(r"^ *\d+: \w+:(\w{4}) ", text, re.M)}
    # DHCP's client, which the firewall opens for its server's answers only.
    assert bound <= {68, 546}, bound


def test_no_unit_failed_and_the_profile_is_enforced(guest):
    failed = guest.ssh("operator", "systemctl", "list-units", "--failed", "--plain", "--no-legend")
    assert failed.strip() == "", failed
    cycles = guest.ssh("operator", "journalctl", "-b", "-o", "cat", "--grep", "ordering cycle", check=False)
    assert "ordering cycle" not in cycles, cycles
    pid = guest.ssh("operator", "systemctl", "show", "-P", "MainPID", "godwit.service").strip()
    assert "godwitd (enforce)" in guest.ssh("operator", "cat", f"/proc/{pid}/attr/current")
    denied = guest.ssh("operator", "journalctl", "-b", "-k", "--grep", "apparmor=.DENIED", check=False)
    assert "DENIED" not in denied, denied
    assert "locked down" in guest.ssh("operator", "journalctl", "-b", "-k", "--grep", "locked down")


def test_the_operator_has_no_rights_and_root_no_login(guest):
    assert guest.ssh("operator", "id", "-u").strip() == "971"
    assert guest.ssh("root", "true", check=False) == ""
    done = guest.ssh("operator", "cat", "/var/lib/godwit-config/tls/privkey.pem", check=False)
    assert "PRIVATE" not in done
    assert "Usage" in guest.ssh("godwit", "--help")
    assert guest.ssh("godwit", "--version; id", check=False).find("uid=") == -1


def power_cut(guest, number):
    """Sends until the power is cut; returns the ids that the server acknowledged, then boots again."""
    acknowledged, sent = 0, []
    with RawClient(guest, "tls", domain=DOMAIN, timeout=SECONDS_MAX) as raw:
        raw.login("admin", PASSWORD, f"cut{number}")
        raw.send("<enable xmlns='urn:xmpp:sm:3'/>")
        raw.until(lambda e: e.tag.endswith("}enabled"))
        deadline = time.monotonic() + 3 + number % 3
        while time.monotonic() < deadline:
            for _ in range(20):
                body = f"cut {number} message {len(sent)}"
                sent.append(body)
                ident = f"type='chat' to='bob@{DOMAIN}' id='{len(sent)}'"
                raw.send(f"<message {ident}><body>{body}</body></message>")
            raw.send("<r xmlns='urn:xmpp:sm:3'/>")
            acknowledged = int(raw.until(lambda e: e.tag.endswith("}a")).get("h"))
        guest.kill()
    guest.boot()
    return sent[:acknowledged]


@pytest.mark.parametrize("number", range(POWER_CUTS))
def test_power_loss_loses_nothing_acknowledged(number, guest):
    safe = power_cut(guest, number)
    assert len(safe) > 20
    got = []
    with RawClient(guest, "tls", domain=DOMAIN, timeout=SECONDS_MAX) as raw:
        raw.login("bob", PASSWORD, "reader")
        raw.send("<presence/>")
        try:
            while True:
                element = raw.element(10)
                body = element.find("{jabber:client}body")
                if element.tag.endswith("}message") and body is not None:
                    got.append(body.text)
        except TimeoutError:
            raw.sync()
    mine = [body for body in got if body.startswith(f"cut {number} ")]
    print(f"power cut {number}: {len(safe)} acknowledged, {len(mine)} delivered")
    assert set(safe) <= set(mine), f"{len(set(safe) - set(mine))} of {len(safe)} acknowledged are lost"
    assert len(mine) == len(set(mine)), "something was delivered twice"


def test_with_nothing_given_it_comes_up_safe():
    with Guest("bare") as bare:
        bare.boot()
        text = bare.console()
        assert "Nobody has an account yet" in text
        assert "ssh is off" in text
        assert "It is made by this machine" in text
        assert "█" in text, "no code on the console"
        with RawClient(bare, "tls", domain="godwit.local", timeout=SECONDS_MAX) as raw:
            features = raw.open_stream()
            assert not [e for e in features if "iq-register" in e.tag]
        with pytest.raises((ConnectionError, TimeoutError, OSError)):
            ssl.get_server_certificate(("127.0.0.1", bare.ssh_port), timeout=5)
