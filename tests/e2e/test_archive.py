"""The archive (XEP-0313) with slixmpp: paging, forms, metadata, preferences of the account, purging."""

import asyncio
import secrets

from client import Client, clients
from conftest import PASSWORD
from slixmpp.exceptions import IqError

PLUGINS = ("xep_0030", "xep_0313", "xep_0441")
MESSAGES = 25


async def talk(ann, ben, count=MESSAGES):
    for number in range(count):
        ann.send_message(mto=ben.boundjid.bare, mbody=f"m{number}", mtype="chat")
    await ben.expect("message", lambda m: m["body"] == f"m{count - 1}")


async def bodies(client, **query):
    found = client.plugin["xep_0313"].iterate(**query)
    return [message["mam_result"]["forwarded"]["stanza"]["body"] async for message in found]


async def test_pages_in_both_directions_give_everything_once(daemon, account):
    ann, ben = (Client(daemon, account(), PASSWORD, PLUGINS) for _ in range(2))
    expected = [f"m{number}" for number in range(MESSAGES)]
    async with clients(ann, ben):
        await talk(ann, ben)
        for side, other in ((ann, ben), (ben, ann)):
            assert await bodies(side, rsm={"max": 4}) == expected
            with_jid = other.boundjid.bare
            assert await bodies(side, with_jid=with_jid, rsm={"max": 7}, reverse=True) == expected[::-1]
            assert await bodies(side, with_jid="nobody@localhost") == []


async def test_fields_metadata_and_features(daemon, account):
    ann, ben = (Client(daemon, account(), PASSWORD, PLUGINS) for _ in range(2))
    async with clients(ann, ben):
        await talk(ann, ben, 3)
        info = await ann.plugin["xep_0030"].get_info(jid=ann.boundjid.bare)
        wanted = {"urn:xmpp:mam:2", "urn:xmpp:mam:2#extended", "urn:xmpp:sid:0"}
        assert wanted <= info["disco_info"]["features"]
        form = await ann.plugin["xep_0313"].get_fields()
        fields = set(form.get_fields())
        assert {"with", "start", "end", "before-id", "after-id", "ids"} <= fields
        metadata = (await ann.plugin["xep_0313"].get_archive_metadata())["mam_metadata"]
        ids = []
        async for message in ann.plugin["xep_0313"].iterate():
            ids.append(message["mam_result"]["id"])
        assert [metadata["start"]["id"], metadata["end"]["id"]] == [ids[0], ids[-1]]


async def test_another_accounts_archive_is_forbidden(daemon, account):
    ann, ben = (Client(daemon, account(), PASSWORD, PLUGINS) for _ in range(2))
    async with clients(ann, ben):
        await talk(ann, ben, 1)
        try:
            await ann.plugin["xep_0313"].retrieve(jid=ben.boundjid.bare)
        except IqError as error:
            assert error.condition == "forbidden"
        else:
            raise AssertionError("she reads his archive")


async def test_preferences(daemon, account):
    ann, ben = (Client(daemon, account(), PASSWORD, PLUGINS) for _ in range(2))
    async with clients(ann, ben):
        default, always, never = await ben.plugin["xep_0441"].get_preferences()
        assert (default, len(always), len(never)) == ("always", 0, 0)
        await ben.plugin["xep_0441"].set_preferences(default="never")
        await talk(ann, ben, 2)
        assert await bodies(ben) == []
        assert await bodies(ann) == ["m0", "m1"]


async def test_purging_with_and_without_a_running_daemon(own_daemon):
    daemon = own_daemon()
    jids = ("ann@localhost", "ben@localhost")
    for jid in jids:
        daemon.add_account(jid, PASSWORD)
    ann, ben = (Client(daemon, jid, PASSWORD, PLUGINS) for jid in jids)
    async with clients(ann, ben):
        await talk(ann, ben, 5)
        before = daemon.ctl("archive", "purge", jids[0], "--before", "2001-01-01")
        assert "removed 0 messages" in before.stderr
        done = daemon.ctl("archive", "purge", jids[0])
        assert "removed 5 messages" in done.stderr
        assert await bodies(ann) == []
        assert len(await bodies(ben)) == 5, "his copies are his"
    daemon.stop()
    done = daemon.ctl("archive", "purge", jids[1])
    assert "removed 5 messages" in done.stderr and "no daemon is running" in done.stderr
    daemon.start()
    ben = Client(daemon, jids[1], PASSWORD, PLUGINS)
    async with clients(ben):
        assert await bodies(ben) == []


async def test_an_archive_that_is_too_large_loses_its_oldest_messages(own_daemon):
    daemon = own_daemon(settings={"archive": {"bytes_per_account_max": 1 << 20}})
    jids = ("ann@localhost", "ben@localhost")
    for jid in jids:
        daemon.add_account(jid, PASSWORD)
    ann, ben = (Client(daemon, jid, PASSWORD, PLUGINS) for jid in jids)
    count = 60
    async with clients(ann, ben):
        for number in range(count):
            # Random, so that compression does not hide its size.
            ann.send_message(mto=jids[1], mbody=f"{number} {secrets.token_hex(15_000)}", mtype="chat")
        await ben.expect("message", lambda m: m["body"].startswith(f"{count - 1} "))
        await ben.settle()
    # The first look comes at the start.
    daemon.restart()
    ann = Client(daemon, jids[0], PASSWORD, PLUGINS)
    async with clients(ann):
        for _ in range(100):
            left = [int(body.split()[0]) for body in await bodies(ann)]
            if len(left) < count:
                break
            await asyncio.sleep(0.1)
        assert 20 < len(left) < 40 and left == list(range(count - len(left), count)), left
