"""`godwitctl backup`: made under load, verified, restored elsewhere and compared message by message."""

import asyncio
import json
import os
import pty
import subprocess

import pytest
from client import Client, clients
from conftest import PASSWORD
from harness.daemon import Daemon, binary
from test_archive import bodies

PLUGINS = ("xep_0030", "xep_0199", "xep_0313")
BEFORE = 200


def ctl(daemon, *args):
    """godwitctl while the loop goes on; returns its status and what it said."""
    command = [binary("godwitctl"), "--config", str(daemon.config), *args]
    return asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60)


async def keep_talking(ann, ben, first):
    """Until cancelled, as fast as the server acknowledges."""
    for number in range(first, first + 100_000):
        ann.send_message(mto=ben.boundjid.bare, mbody=f"m{number}", mtype="chat")
        if number % 20 == 0:
            await ann.plugin["xep_0199"].ping("localhost")


async def test_a_backup_under_load_holds_what_was_acknowledged_before_it(own_daemon, tmp_path):
    daemon = own_daemon()
    for name in ("ann", "ben"):
        daemon.add_account(f"{name}@localhost", PASSWORD)
    ann, ben = (Client(daemon, f"{name}@localhost", PASSWORD, PLUGINS) for name in ("ann", "ben"))
    place = tmp_path / "backups"
    async with clients(ann, ben):
        for number in range(BEFORE):
            ann.send_message(mto="ben@localhost", mbody=f"m{number}", mtype="chat")
        # Answers do not overtake: with this one all of them are acknowledged.
        await ann.plugin["xep_0199"].ping("localhost")
        talk = asyncio.create_task(keep_talking(ann, ben, BEFORE))
        made = await ctl(daemon, "backup", "create", str(place), "--json")
        talk.cancel()
        assert made.returncode == 0, made.stderr
        await ann.plugin["xep_0199"].ping("localhost")
        everything = await bodies(ben, rsm={"max": 50})
    first = json.loads(made.stdout)
    status = json.loads(daemon.ctl("status", "--json").stdout)
    assert status["backup"]["id"] == first["id"]
    assert not (daemon.dir / "data" / "checkpoint").exists()

    verified = await ctl(daemon, "backup", "verify", str(place), "--restoring")
    assert verified.returncode == 0, verified.stderr
    refused = await ctl(daemon, "backup", "restore", str(place))
    assert refused.returncode == 1 and "a daemon is running" in refused.stderr
    refused = await ctl(daemon, "backup", "restore", str(place), "--into", str(daemon.dir / "data"))
    assert refused.returncode == 1 and "not overwritten" in refused.stderr

    with Daemon() as other:
        other.stop()
        moved = other.dir / "data"
        (moved / "store").rename(other.dir / "empty-store")
        restored = await ctl(other, "backup", "restore", str(place))
        assert restored.returncode == 0, restored.stderr
        other.start()
        there = Client(other, "ben@localhost", PASSWORD, PLUGINS)
        async with clients(there):
            kept = await bodies(there, rsm={"max": 50})
        assert kept == everything[: len(kept)], "the beginning of what the first daemon has, in order"
        assert kept[:BEFORE] == [f"m{number}" for number in range(BEFORE)]
        verified = other.ctl("store", "verify")
        assert "whole" in verified.stderr


async def test_the_next_backup_copies_what_is_new_and_old_ones_go(own_daemon, tmp_path):
    daemon = own_daemon()
    for number in range(30):
        daemon.add_account(f"user{number}@localhost", PASSWORD)
    place = tmp_path / "backups"
    create = ("backup", "create", str(place), "--json")
    made = [json.loads((await ctl(daemon, *create)).stdout) for _ in range(2)]
    assert made[0]["new_bytes"] == made[0]["bytes"] and made[1]["new_bytes"] < made[0]["new_bytes"]
    listed = json.loads((await ctl(daemon, "backup", "list", str(place), "--json")).stdout)
    assert [one["id"] for one in listed] == [one["id"] for one in made]
    # Without a daemon, and with the older ones removed.
    daemon.stop()
    made = await ctl(daemon, "backup", "create", str(place), "--json", "--keep", "1")
    assert made.returncode == 0 and "2 older backups removed" in made.stderr, made.stderr
    assert (await ctl(daemon, "backup", "verify", str(place), "--restoring")).returncode == 0
    daemon.start()
    status = json.loads(daemon.answering().ctl("status", "--json").stdout)
    assert status["backup"]["id"] == json.loads(made.stdout)["id"]


async def test_a_damaged_backup_is_named_and_not_restored(own_daemon, tmp_path):
    daemon = own_daemon()
    daemon.add_account("ann@localhost", PASSWORD)
    place, into = tmp_path / "backups", tmp_path / "data"
    await ctl(daemon, "backup", "create", str(place))
    (manifest,) = place.glob("*.json")
    assert os.stat(place).st_mode & 0o077 == 0 and os.stat(manifest).st_mode & 0o077 == 0
    table = next(one for one in json.loads(manifest.read_text())["files"] if one["path"].endswith(".sst"))
    object_ = place / "objects" / table["sha256"]
    content = bytearray(object_.read_bytes())
    content[len(content) // 2] ^= 1
    object_.write_bytes(content)
    for command in (["verify", str(place)], ["restore", str(place), "--into", str(into)]):
        done = await ctl(daemon, "backup", *command)
        assert done.returncode == 1 and "DAMAGED" in done.stderr and table["path"] in done.stderr, done.stderr
    assert not (into / "store").exists()
    nothing = await ctl(daemon, "backup", "verify", str(tmp_path / "elsewhere"))
    assert nothing.returncode == 1 and "holds no backups" in nothing.stderr


async def test_root_restores_for_the_owner_of_the_data_directory(own_daemon, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("only root can restore for another user")
    daemon = own_daemon()
    daemon.add_account("ann@localhost", PASSWORD)
    place = tmp_path / "backups"
    assert (await ctl(daemon, "backup", "create", str(place))).returncode == 0
    daemon.stop()
    data = daemon.dir / "data"
    (data / "store").rename(daemon.dir / "old-store")
    os.chown(data, 65534, 65534)
    restored = await ctl(daemon, "backup", "restore", str(place))
    assert restored.returncode == 0, restored.stderr
    assert {os.stat(path).st_uid for path in (data / "store").rglob("*")} == {65534}
    assert os.stat(data / "store").st_uid == 65534


# Test vectors that age publishes: a pair of keys, and the secret key of another.
RECIPIENT = "age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa"
IDENTITY = "AGE-SECRET-KEY-1GQ9778VQXMMJVE8SK7J6VT8UJ4HDQAJUVSFCWCM02D8GEWQ72PVQ2Y5J33"
STRANGER = "AGE-SECRET-KEY-1EGTZVFFV20835NWYV6270LXYVK2VKNX2MMDKWYKLMGR48UAWX40Q2P2LM0"


def redirected(daemon, *args, stdin=None, stdout=None):
    """godwitctl between files, as a shell would put it."""
    command = [binary("godwitctl"), "--config", str(daemon.config), *args]
    return subprocess.run(command, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, timeout=60)


def keys(tmp_path):
    """Files: the identity, another one, and a list of recipients."""
    files = [tmp_path / name for name in ("identity", "stranger", "recipients")]
    for file, text in zip(files, (IDENTITY, STRANGER, f"# for tests\n{RECIPIENT}\n"), strict=True):
        file.write_text(text + "\n")
    return [str(file) for file in files]


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "encrypted"])
async def test_a_stream_is_restored_elsewhere(own_daemon, tmp_path, encrypted):
    daemon = own_daemon().answering()
    for name in ("ann", "ben"):
        daemon.add_account(f"{name}@localhost", PASSWORD)
    ann, ben = (Client(daemon, f"{name}@localhost", PASSWORD, PLUGINS) for name in ("ann", "ben"))
    async with clients(ann, ben):
        for number in range(BEFORE):
            ann.send_message(mto="ben@localhost", mbody=f"m{number}", mtype="chat")
        await ann.plugin["xep_0199"].ping("localhost")
    identity, stranger, recipients = keys(tmp_path)
    options = ["--recipients-file", recipients] if encrypted else []
    opening = ["--identity", identity] if encrypted else []
    file, into = tmp_path / "stream", tmp_path / "data"
    with file.open("wb") as out:
        made = redirected(daemon, "backup", "create", "-", *options, stdout=out)
    assert made.returncode == 0 and b"written to standard output" in made.stderr, made.stderr
    assert json.loads(daemon.ctl("status", "--json").stdout)["backup"]["place"] == "standard output"
    assert not (daemon.dir / "data" / "checkpoint").exists()
    assert (b"ann@localhost" in file.read_bytes()) != encrypted

    def read(*args, content=None):
        source = tmp_path / "read"
        source.write_bytes(file.read_bytes() if content is None else content)
        with source.open("rb") as stdin:
            command, *options = args
            done = redirected(daemon, "backup", command, "-", *options, stdin=stdin)
        return done.returncode, done.stderr.decode()

    status, said = read("verify", *opening)
    assert status == 0 and "it is whole" in said, said
    whole = file.read_bytes()
    for damaged in (whole[:-5_000], whole[: len(whole) // 2], whole[:-20_000] + b"y" + whole[-19_999:], b""):
        status, said = read("verify", *opening, content=damaged)
        assert status == 1 and "DAMAGED" in said, said
    status, said = read("restore", "--into", str(into), *opening, content=whole[: len(whole) // 2])
    assert status == 1 and "DAMAGED" in said and not (into / "store").exists(), said
    if encrypted:
        status, said = read("verify")
        assert status == 1 and "is encrypted: name the identity" in said, said
        status, said = read("restore", "--into", str(into), "--identity", stranger)
        assert status == 1 and "encrypted to others" in said and not (into / "store").exists(), said
    assert not into.exists() or not list(into.iterdir()), "nothing of what could not be restored is left"
    daemon.stop()
    (daemon.dir / "data" / "store").rename(daemon.dir / "old-store")
    status, said = read("restore", *opening)
    assert status == 0, said
    daemon.start()
    there = Client(daemon, "ben@localhost", PASSWORD, PLUGINS)
    async with clients(there):
        assert await bodies(there, rsm={"max": 50}) == [f"m{number}" for number in range(BEFORE)]


async def test_an_encrypted_directory_is_restored_by_its_recipient_alone(own_daemon, tmp_path):
    daemon = own_daemon().answering()
    for number in range(30):
        daemon.add_account(f"user{number}@localhost", PASSWORD)
    identity, stranger, _ = keys(tmp_path)
    place, into = tmp_path / "backups", tmp_path / "data"
    create = ("backup", "create", str(place), "--json", "--encrypt-to", RECIPIENT)
    made = [json.loads((await ctl(daemon, *create)).stdout) for _ in range(2)]
    assert made[1]["new_bytes"] < made[0]["new_bytes"], "what is there is not encrypted again"
    for object_ in (place / "objects").iterdir():
        assert object_.read_bytes().startswith(b"age-encryption.org/v1\n")
    verify = ("backup", "verify", str(place))
    assert "encrypted as it is: it is whole" in (await ctl(daemon, *verify)).stderr
    done = await ctl(daemon, *verify, "--identity", identity, "--restoring")
    assert done.returncode == 0, done.stderr
    restore = ("backup", "restore", str(place), "--into", str(into))
    for options, why in (([], "is encrypted: name the identity"), (["--identity", stranger], "to others")):
        done = await ctl(daemon, *restore, *options)
        assert done.returncode == 1 and why in done.stderr and not list(into.iterdir()), done.stderr
    # What a verification that was killed has left decrypted goes with the next command.
    (place / "verify.partial" / "store").mkdir(parents=True)
    assert (await ctl(daemon, *verify)).returncode == 0 and not (place / "verify.partial").exists()
    done = await ctl(daemon, *restore, "--identity", identity)
    assert done.returncode == 0 and (into / "store").is_dir(), done.stderr
    assert not any(os.stat(into / name).st_mode & 0o077 for name in ("store", "secret.key"))
    # Damage is found with and without the key.
    manifest = json.loads(max(place.glob("*.json")).read_text())
    object_ = place / "objects" / manifest["files"][0]["sealed"]["sha256"]
    content = bytearray(object_.read_bytes())
    content[-1] ^= 1
    object_.write_bytes(content)
    for options in ([], ["--identity", identity]):
        done = await ctl(daemon, *verify, *options)
        assert done.returncode == 1 and "DAMAGED" in done.stderr, done.stderr


async def test_what_cannot_be_is_refused_before_anything_is_made(own_daemon, tmp_path):
    daemon = own_daemon().answering()
    daemon.add_account("ann@localhost", PASSWORD)
    identity, _, recipients = keys(tmp_path)
    place = str(tmp_path / "backups")
    for args, status, why in (
        (["create", place, "--encrypt-to", IDENTITY], 1, "that is the secret key"),
        (["create", place, "--recipients-file", identity], 1, "that is the secret key"),
        (["create", place, "--encrypt-to", "age1nobody"], 1, "write a public key"),
        (["verify", place, "--identity", recipients], 1, "not an identity file"),
        (["verify", place, "--identity", os.devnull], 1, "it holds no secret key"),
        (["create", "-", "--keep", "3"], 2, "need a directory"),
        (["verify", "-", "--restoring"], 2, "read once"),
        (["restore", "-", "--id", "x", "--into", place], 2, "--id is for a directory"),
    ):
        done = await ctl(daemon, "backup", *args)
        assert done.returncode == status and why in done.stderr, (args, done.stderr)
        assert IDENTITY not in done.stderr
    assert not (tmp_path / "backups").exists()
    ours, theirs = pty.openpty()
    try:
        for command in ("create", "verify"):
            done = redirected(daemon, "backup", command, "-", stdin=theirs, stdout=theirs)
            assert done.returncode != 0 and b"is a terminal" in done.stderr, done.stderr
    finally:
        os.close(ours)
        os.close(theirs)
