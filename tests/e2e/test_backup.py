"""`godwitctl backup`: made under load, verified, restored elsewhere and compared message by message."""

import asyncio
import json
import os
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
    # Waits for the admin socket, which opens a little later than the ports.
    daemon.ctl("account", "list")
    assert json.loads(daemon.ctl("status", "--json").stdout)["backup"]["id"] == json.loads(made.stdout)["id"]


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
