"""A whole guest, with a kernel of its own: what setup.yml says is in force is, and outlives a restart; the
daemon is upgraded in place under its AppArmor profile."""

import json
import re
import time

import guest
import pytest
from conftest import package
from playbook import inventory, play
from test_collection import PASSWORDS, accounts_of, settings

BACK_SECONDS_MAX = 120
SETTINGS = {"hardening_apparmor": "enforce", "godwit_memory_min_mb": 900}


def derived(host, form):
    """What `godwitctl limits` says for this guest, by name."""
    said = host.run(f"godwitctl limits --format {form}").stdout
    return dict(re.findall(r"^([\w.-]+) ?= ?(.+)$", said, re.M))


def main_pid(host):
    return host.run("systemctl show --value -p MainPID godwit").stdout.strip()


def version(host):
    """That of the daemon which answers, or nothing."""
    said = host.run("godwitctl status --json", check=False).stdout
    return json.loads(said)["version"] if said else ""


def words(text):
    """Without the differences of tabs and spaces."""
    return " ".join(text.split())


def assert_limits_are_in_force(host):
    """Those of the process, its control group and the kernel, read from where the kernel says them."""
    unit, kernel = derived(host, "systemd"), derived(host, "sysctl")
    limits = host.run(f"cat /proc/{main_pid(host)}/limits").stdout
    files = re.search(r"^Max open files +(\d+) +(\d+)", limits, re.M)
    assert [files[1], files[2]] == [unit["LimitNOFILE"]] * 2, limits
    group = "/sys/fs/cgroup/system.slice/godwit.service"
    assert host.run(f"cat {group}/memory.max").stdout.strip() == unit["MemoryMax"]
    for name, value in kernel.items():
        found = words(host.run(f"sysctl -n {name.removeprefix('-')}").stdout)
        assert found == words(value), f"{name} is {found}, derived {value}"
    huge = host.run("cat /sys/kernel/mm/transparent_hugepage/enabled").stdout
    wanted = host.run("godwitctl limits --format tmpfiles | sed -n 's/^w .* //p'").stdout.strip()
    assert f"[{wanted}]" in huge, huge
    print(f"in force: LimitNOFILE={files[1]}, MemoryMax={unit['MemoryMax']}, {kernel}")


def assert_profile_is_in_force(host):
    """The running daemon is confined, and was refused nothing since it is."""
    assert host.run(f"cat /proc/{main_pid(host)}/attr/current").stdout.strip("\0\n") == "godwitd (enforce)"
    denied = 'apparmor="DENIED".*profile="godwitd"'
    assert host.run(f"journalctl --quiet --grep '{denied}'", check=False).stdout == ""


@pytest.mark.timeout(3600)
@pytest.mark.skipif(guest.missing() != "", reason=guest.missing())
def test_what_was_derived_is_in_force_in_a_whole_guest_and_outlives_a_restart(fabric):
    host = fabric.host("box", "trixie", guest.Guest)
    where = inventory(fabric, [host], **settings(**SETTINGS))
    play("setup", where)
    assert_limits_are_in_force(host)
    (fabric.dir / "accounts.yml").write_text(json.dumps({"godwit_accounts": PASSWORDS}))
    play("accounts", where, "-e", f"@{fabric.dir / 'accounts.yml'}")

    host.restart()
    assert host.run("systemctl is-system-running").stdout == "running\n"
    assert_limits_are_in_force(host)
    assert_profile_is_in_force(host)
    assert accounts_of(host) == list(PASSWORDS)
    assert "notrack" in host.run("nft list chain inet filter raw").stdout

    before = main_pid(host)
    first = version(host)
    play("upgrade", inventory(fabric, [host], **settings(**SETTINGS, godwit_package=str(package("second")))))
    assert (version(host), main_pid(host)) == (f"{first}+1", before), "in place"
    assert_profile_is_in_force(host)
    play("backup", where)
    report = play("check", where).output
    print(report)
    assert "limits         as derived" in report and "port 5223      answers" in report

    # The profile lets the version before take over again, too, if the one that was installed crashes.
    host.put(package("first"), "/root/godwit.deb")
    host.run("dpkg -i /root/godwit.deb && systemctl kill --signal=KILL --kill-whom=main godwit")
    deadline = time.monotonic() + BACK_SECONDS_MAX
    while version(host) != f"{first}+1":
        assert time.monotonic() < deadline, host.run("journalctl --quiet --lines=50").stdout
    assert_profile_is_in_force(host)
