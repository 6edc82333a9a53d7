"""The collection from a bare Debian to two people chatting, to a reload under them, to nothing, and back from
a backup; what it refuses; a rolling upgrade that stops."""

import asyncio
import json
from types import SimpleNamespace

import pytest
from client import Client, befriend, clients
from conftest import package
from hosts import run
from playbook import interrupt, inventory, play

DOMAIN = "chat.test"
PASSWORDS = {f"alice@{DOMAIN}": "a password of alice", f"bob@{DOMAIN}": "a password of bob"}


def settings(**more):
    """Variables of a first run."""
    return {
        "godwit_domain": DOMAIN,
        "tls_certificate": "internal",
        "godwit_package": str(package("first")),
        **more,
    }


def accounts_of(host):
    """Their addresses."""
    rows = json.loads(host.run("godwitctl account list --json").stdout)
    return [row["jid"] for row in rows]


def reload_of(host):
    """What the daemon says of its last reload."""
    return json.loads(host.run("godwitctl status --json").stdout)["reload"]


def two_clients(host, trusted):
    """Alice and bob, who trust one authority."""
    authority = host.fabric.dir / "ca.pem"
    authority.write_text(trusted)
    where = SimpleNamespace(address=host.address, port=5222, tls_port=5223, certificate=str(authority))
    return [Client(where, jid, password, direct=True) for jid, password in PASSWORDS.items()]


async def chat_over(host, change, authority=None):
    """Both chat; `change` is called meanwhile; nobody is disconnected and the chat goes on. They trust the
    box's own authority if no other is given."""
    trusted = authority or host.run("cat /etc/godwit/tls/ca.pem").stdout
    async with clients(*two_clients(host, trusted)) as (alice, bob):
        await befriend(alice, bob)
        alice.send_message(bob.boundjid.bare, "before", mtype="chat")
        await bob.message("before")
        ran = await asyncio.to_thread(change)
        bob.send_message(alice.boundjid.bare, "after", mtype="chat")
        await alice.message("after")
        assert not [name for one in (alice, bob) for name, _ in one.events if name == "disconnected"]
    return ran


async def archived(host):
    """The texts in alice's archive."""
    alice, _ = two_clients(host, host.run("cat /etc/godwit/tls/ca.pem").stdout)
    alice.register_plugin("xep_0313")
    async with clients(alice):
        found = alice.plugin["xep_0313"].iterate()
        return [one["mam_result"]["forwarded"]["stanza"]["body"] async for one in found]


@pytest.mark.parametrize("suite", ["bookworm", "trixie"])
def test_from_a_bare_debian_to_two_people_chatting_and_back(fabric, suite):
    host = fabric.host("box", suite)
    where = inventory(fabric, [host], **settings())
    predicted = play("setup", where, "--check", "--diff")
    host.run("test ! -e /usr/bin/godwitd -a ! -e /etc/godwit -a ! -e /etc/nftables.conf")

    first = play("setup", where, "--diff")
    assert first.changes == predicted.changes, f"did {first.changes}, predicted {predicted.changes}"
    assert first.changed["box"] > 0
    second = play("setup", where)
    assert (second.changed["box"], second.changes) == (0, [])

    (fabric.dir / "accounts.yml").write_text(json.dumps({"godwit_accounts": PASSWORDS}))
    made = play("accounts", where, "-e", f"@{fabric.dir / 'accounts.yml'}")
    assert "a password" not in made.output
    assert accounts_of(host) == list(PASSWORDS)
    assert play("accounts", where, "-e", f"@{fabric.dir / 'accounts.yml'}").changed["box"] == 0

    report = play("check", where).output
    print(report)
    assert "configuration  fine" in report and "port 5223      answers" in report
    assert f"certificate    {DOMAIN}: 36" in report

    admins = inventory(fabric, [host], **settings(godwit_admins=[f"alice@{DOMAIN}"]))
    ran = asyncio.run(chat_over(host, lambda: play("setup", admins)))
    assert "Write the configuration" in " ".join(ran.changes)
    assert reload_of(host)["ok"]

    play("backup", where)
    play("remove", where)
    host.run("test -d /var/lib/godwit/store -a ! -e /usr/bin/godwitd -a ! -e /etc/sysctl.d/60-godwit.conf")
    play("remove", where, "-e", "godwit_remove_data=true")
    host.run("test ! -e /var/lib/godwit -a ! -e /etc/godwit")

    other = fabric.host("other", suite)
    run("cp", "-a", str(host.root / "var/backups/godwit"), str(other.root / "root/carried"))
    there = inventory(fabric, [other], **settings())
    play("setup", there)
    # Carried by root; the daemon's user reads it.
    other.run("chown -R godwit: /root/carried && mv /root/carried /var/backups/carried")
    play("restore", there, "-e", "godwit_restore_from=/var/backups/carried")
    assert accounts_of(other) == list(PASSWORDS)
    assert asyncio.run(archived(other)) == ["before", "after"]
    again = play("restore", there, good=False)
    assert "This box has accounts" in again.output


def test_check_names_what_is_not_as_it_should_be_and_changes_nothing(fabric):
    host = fabric.host("box", "trixie")
    # Nothing but the time that it has left is wrong with this certificate.
    where = inventory(fabric, [host], **settings(tls_internal_days=10))
    play("setup", where)

    def found():
        ran = play("check", where, good=False)
        print(ran.output)
        assert ran.changes == []
        return " ".join(ran.output.split())

    ending = found()
    assert "box is not as it should be: a certificate ends soon. See the report above" in ending
    assert f"certificate {DOMAIN}: 9 days left" in ending
    assert "box is not" not in play("check", where, "-e", "godwit_certificate_days_min=5").output

    host.run("echo 'unknown = 1' >>/etc/godwit/godwit.toml; systemctl stop godwit")
    dead = found()
    assert "the daemon does not answer, the configuration is refused, a port does not answer" in dead
    assert "configuration WRONG" in dead and "unknown" in dead
    assert "must wait until the daemon answers" in dead and "needs the running daemon" not in dead
    assert "port 5222 DOES NOT ANSWER" in dead and "port 5223 DOES NOT ANSWER" in dead


# In the middle of what each of these changes; the package's scripts among it.
INTERRUPTED = [
    "Copy the package",
    "Install the package",
    "Make or renew the certificate",
    "Write the configuration",
]


def test_a_run_that_is_interrupted_can_be_repeated(fabric):
    host = fabric.host("box", "trixie")
    where = inventory(fabric, [host], **settings())
    for task in INTERRUPTED:
        interrupt("setup", where, task)
    play("setup", where)
    second = play("setup", where)
    assert (second.changed["box"], second.changes) == (0, [])
    assert host.run("systemctl is-active godwit").stdout == "active\n"
    assert host.run("dpkg --audit").stdout == ""


def test_what_cannot_work_is_refused_before_anything_is_changed(fabric):
    host = fabric.host("box", "trixie")
    cases = [
        ({"godwit_domian": "x"}, "No role knows godwit_domian"),
        ({"godwit_port": "many"}, "godwit_port"),
        ({"godwit_domain": "Not A Domain"}, "write a domain in lower case"),
        ({"tls_certificate": "/nowhere/fullchain.pem"}, "tls_certificate is '/nowhere/fullchain.pem'"),
        ({"godwit_package": "/nowhere/godwit.deb"}, "make deb, or set godwit_package"),
        ({"godwit_memory_min_mb": 99_000_000}, "godwit_memory_min_mb asks for 99000000"),
        ({"godwit_disk_min_mb": 99_000_000}, "godwit_disk_min_mb asks for 99000000"),
        ({"godwit_port": 22}, "A port is taken"),
        ({"godwit_clock_seconds_max": -1}, "The clock of this box is"),
    ]
    for wrong, said in cases:
        ran = play("setup", inventory(fabric, [host], **settings(**wrong)), good=False)
        assert said in " ".join(ran.output.split()), (wrong, ran.output[-3000:])
        assert ran.changes == [], wrong
    missing = settings()
    del missing["godwit_domain"]
    assert "godwit_domain" in play("setup", inventory(fabric, [host], **missing), good=False).output

    # A configuration that the daemon refuses does not replace the one that works.
    play("setup", inventory(fabric, [host], **settings()))
    before = host.run("sha256sum /etc/godwit/godwit.toml").stdout
    wrong = settings(godwit_settings={"limits": {"stanza_bytes_max": -5}})
    ran = play("setup", inventory(fabric, [host], **wrong), good=False)
    assert "stanza_bytes_max" in ran.output
    assert host.run("sha256sum /etc/godwit/godwit.toml").stdout == before


def test_a_rolling_upgrade_stops_at_the_first_box_that_is_not_well(fabric):
    hosts = [fabric.host(f"box{number}", "trixie") for number in (1, 2, 3)]
    play("setup", inventory(fabric, hosts, **settings()))
    later = inventory(fabric, hosts, **settings(godwit_package=str(package("second"))))
    hosts[1].run("echo 'unknown = 1' >>/etc/godwit/godwit.toml")
    stopped = play("upgrade", later, good=False)
    assert "unknown" in stopped.output
    versions = [host.run("dpkg-query -W -f '${Version}' godwit").stdout.endswith("+1") for host in hosts]
    assert (versions[0], versions[2]) == (True, False), "the first is upgraded, the third not touched"
    assert all(host.run("systemctl is-active godwit", check=False).stdout == "active\n" for host in hosts)
    hosts[1].run("sed -i '/^unknown/d' /etc/godwit/godwit.toml; dpkg --configure -a")
    play("upgrade", later)
    assert all(host.run("dpkg-query -W -f '${Version}' godwit").stdout.endswith("+1") for host in hosts)
    assert all(host.run("godwitctl status").returncode == 0 for host in hosts)
