"""Upgrades that cannot be: each is refused with its reason, and nobody notices."""

import os
import resource
import signal
import subprocess
import sys
import time

import pytest

from harness.daemon import binary
from harness.rawxmpp import RawClient

ABLE = '{"godwitd":"9","reads":[%s],"schema":%d,"store":"%s"}'


def able(daemon, reads="1", schema=1):
    """What a binary says that could take over, as shell."""
    return "echo '" + ABLE % (reads, schema, daemon.dir / "data" / "store") + "'\n"


def elf_for(machine):
    """The head of a program for another machine."""
    return b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00" + machine.to_bytes(2, "little") + bytes(100)


def refusals(daemon):
    """Programs by the reason that must be given."""
    foreign = daemon.dir / "foreign"
    foreign.write_bytes(elf_for(0xB7))
    foreign.chmod(0o755)
    plain = daemon.dir / "plain"
    plain.write_bytes(b"no program at all, only some text\n")
    plain.chmod(0o755)
    locked = daemon.script("locked", "exit 0\n")
    locked.chmod(0o644)
    wrong = daemon.script("wrong-store", "echo '" + ABLE % ("1", 1, "/elsewhere/store") + "'\n")
    return {
        daemon.dir / "missing": "there is no such program",
        locked: "may not be executed",
        foreign: "is for another machine (ELF machine 183",
        plain: "cannot be executed",
        daemon.script("silent", "exit 0\n"): "does not answer --handover-check as a godwitd does",
        daemon.script("picky", "echo 'server.domains: none' >&2; exit 1\n"): "server.domains: none",
        daemon.script("older", able(daemon, reads="7")): "reads hand-overs of format [7], this one writes 1",
        daemon.script("oldest", able(daemon, schema=0)): "it is too old for it",
        wrong: "server.data_dir has changed",
    }


def test_each_refusal_has_its_reason_and_harms_nobody(installed):
    daemon = installed()
    client = RawClient(daemon)
    client.login("alice", "secret")
    pid = daemon.process.pid
    for path, reason in refusals(daemon).items():
        done = daemon.ctl("upgrade", "--binary", str(path), check=False)
        assert done.returncode == 1 and reason in done.stderr, (path, done.stdout, done.stderr)
        assert client.sync() == "result"
    assert "no upgrade, all is as before" in daemon.ctl("status").stdout
    assert daemon.version() == "1.0.0" and daemon.process.pid == pid


def test_a_configuration_that_the_new_binary_rejects(installed):
    daemon = installed()
    client = RawClient(daemon)
    client.login("alice", "secret")
    daemon.install("1.1.0")
    good = daemon.config.read_text()
    daemon.config.write_text(good + "\n[nonsense]\nkey = 1\n")
    assert "nonsense" in daemon.upgrade("--dry-run", check=False)
    assert "nonsense" in daemon.upgrade(check=False)
    assert client.sync() == "result"
    daemon.config.write_text(good)
    assert daemon.version() == "1.0.0"
    assert "godwitd 1.1.0" in daemon.upgrade("--dry-run")
    assert daemon.version() == "1.0.0"


def test_an_exec_that_fails_leaves_everything_as_it_was(installed):
    daemon = installed()
    alice, bob = RawClient(daemon), RawClient(daemon)
    alice.login("alice", "secret")
    bob.login("bob", "secret")
    bob.send("<presence/>")
    bob.sync()
    for _ in range(3):
        vanishing = daemon.script("vanishing", able(daemon) + 'chmod 000 "$0"\n')
        alice.send("<message to='bob@localhost' type='chat'><bo")
        said = daemon.upgrade("--binary", str(vanishing), check=False)
        assert "Permission denied" in said, said
        alice.send("dy>after all</body></message>")
        message = bob.until(lambda e: e.tag.endswith("}message"))
        assert message[0].text == "after all"
        assert alice.sync() == "result"
    RawClient(daemon).login("alice", "secret", "new")
    daemon.install("1.1.0")
    assert "upgraded from 1.0.0 to 1.1.0" in daemon.upgrade()
    assert alice.sync() == "result"


def test_a_hand_over_for_which_there_is_no_memory(installed):
    """The kernel takes no more bytes for it: a limit on the length of files, which is the memory's too. What
    is under way is carried back, and goes on."""
    daemon = installed()
    daemon.stop()
    # The signal that comes with the limit would end the process.
    daemon.command = lambda: ["sh", "-c", f"trap '' XFSZ; exec {daemon.program} --config {daemon.config}"]
    daemon.start()
    clients = [RawClient(daemon) for _ in range(10)]
    for number, client in enumerate(clients):
        client.login("alice", "secret", f"r{number}")
        client.send("<message to='bob@localhost' type='chat'><body>" + "x" * 200_000)
    daemon.install("1.1.0")
    # So that the running binary is kept by then: a file that is longer.
    vanishing = daemon.script("vanishing", able(daemon) + 'chmod 000 "$0"\n')
    assert "Permission denied" in daemon.upgrade("--binary", str(vanishing), check=False)
    pid = daemon.process.pid
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))
    said = daemon.upgrade(check=False)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
    assert "no memory for the hand-over: File too large" in said, said
    for client in clients[:5]:
        client.send("</body></message>")
        assert client.sync() == "result"
    assert daemon.version() == "1.0.0"
    assert " 10 connections carried, 0 closed" in daemon.upgrade()
    for client in clients[5:]:
        client.send("</body></message>")
    assert all(client.sync() == "result" for client in clients)


def test_without_descriptors_there_is_no_upgrade(installed):
    daemon = installed()
    client = RawClient(daemon)
    client.login("alice", "secret")
    daemon.install("1.1.0")
    pid = daemon.process.pid
    # godwitctl's connection gets one more.
    many = len(os.listdir(f"/proc/{pid}/fd")) + 2
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (many, before[1]))
    said = daemon.upgrade(check=False)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
    assert "Too many open files" in said, said
    assert client.sync() == "result" and daemon.version() == "1.0.0"
    assert "upgraded from 1.0.0 to 1.1.0" in daemon.upgrade()
    assert client.sync() == "result"


# Stands where the next binary should, and leaves it a hand-over with a change.
FORGER = """#!{python}
import fcntl, os, sys
left = os.environ.get("GODWIT_HANDOVER")
if left:
    data = bytearray(os.pread(int(left), 1 << 30, 0))
    {change}
    memory = os.memfd_create("changed", os.MFD_ALLOW_SEALING)
    os.write(memory, data)
    fcntl.fcntl(memory, 1033, {seals})  # F_ADD_SEALS
    os.set_inheritable(memory, True)
    os.environ["GODWIT_HANDOVER"] = str(memory)
os.execv("{program}", ["{program}", *sys.argv[1:]])
"""
ALL_SEALS = 15


@pytest.mark.parametrize(
    "change, seals, reason",
    [
        ("pass", 0, "no sealed memory"),
        ("data[17] = 9", ALL_SEALS, "a hand-over of format 9; this binary reads"),
        ("del data[-50:]", ALL_SEALS, "the hand-over is damaged: it is too short"),
        ("data[-50] ^= 4", ALL_SEALS, "the hand-over is damaged: the checksum of a section is wrong"),
        ("data.append(0)", ALL_SEALS, "the hand-over is damaged: something is behind its end"),
    ],
)
def test_a_hand_over_that_is_not_as_it_was_written_is_not_taken(installed, change, seals, reason):
    """After exec there is no way back; but clients resume, and lose nothing."""
    daemon = installed()
    alice, bob = RawClient(daemon), RawClient(daemon)
    alice.login("alice", "secret")
    bob.login("bob", "secret", "r")
    bob.send("<enable xmlns='urn:xmpp:sm:3' resume='true'/>")
    previous = bob.until(lambda e: e.tag.endswith("}enabled")).get("id")
    alice.send("<message to='bob@localhost/r' type='chat'><body>still there</body></message>")
    assert alice.sync() == "result"
    forger = daemon.dir / "forger"
    text = FORGER.format(python=sys.executable, change=change, seals=seals, program=daemon.program)
    forger.write_text(text)
    forger.chmod(0o755)
    ctl = [binary("godwitctl"), "--config", str(daemon.config), "upgrade", "--binary", str(forger)]
    with subprocess.Popen(ctl, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as waiting:
        assert daemon.process.wait(20) == 1
        waiting.kill()
    assert reason in daemon.read_log()
    daemon.start()
    again = RawClient(daemon)
    again.open_stream()
    again.plain("bob", "secret")
    again.open_stream()
    again.send(f"<resume xmlns='urn:xmpp:sm:3' previd='{previous}' h='0'/>")
    assert again.element().tag.endswith("}resumed")
    assert again.until(lambda e: e.tag.endswith("}message"))[0].text == "still there"


def test_a_binary_that_crashes_soon_is_not_started_again(installed):
    """What systemd does after a crash is done here by hand."""
    daemon = installed()
    client = RawClient(daemon)
    client.login("alice", "secret")
    daemon.install("2.0.0")
    assert "upgraded from 1.0.0 to 2.0.0" in daemon.upgrade()
    assert client.sync() == "result" and daemon.version() == "2.0.0"
    daemon.kill()
    daemon.start()
    assert daemon.version() == "1.0.0"
    assert "2.0.0" in daemon.ctl("status").stdout and "crashed within 30 s" in daemon.ctl("status").stdout
    daemon.process.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    assert daemon.version() == "1.0.0", "nor by a reload"
    assert "crashed within 30 s of taking over" in daemon.upgrade(check=False)
    daemon.install("2.0.1")
    assert "upgraded from 1.0.0 to 2.0.1" in daemon.upgrade()
    assert daemon.stop() == 0
    daemon.start()
    assert daemon.version() == "2.0.1", "an orderly stop is no crash"


def test_a_hangup_upgrades_if_another_binary_is_there(installed):
    daemon = installed()
    client = RawClient(daemon)
    client.login("alice", "secret")
    pid = daemon.process.pid
    daemon.reload()
    time.sleep(0.5)
    assert client.sync() == "result" and daemon.version() == "1.0.0"
    daemon.install("1.1.0")
    daemon.reload()
    deadline = time.monotonic() + 20
    while daemon.version() != "1.1.0":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert client.sync() == "result"
    assert daemon.process.poll() is None and os.path.exists(f"/proc/{pid}")
    assert daemon.ctl("status").stdout.count("upgraded from 1.0.0 to 1.1.0") == 1
