"""Presence (RFC 6121 section 4): broadcast, probes, directed presence, absence."""

from client import Client, befriend, clients
from conftest import PASSWORD
from harness import RawClient


def pair(daemon, account):
    return Client(daemon, account("ann"), PASSWORD), Client(daemon, account("ben"), PASSWORD)


async def test_broadcast_reaches_contacts_and_own_resources(daemon, account):
    ann, ben = pair(daemon, account)
    async with clients(ann, ben):
        await befriend(ann, ben)
        async with clients(Client(daemon, ann.boundjid.bare, PASSWORD)) as (second,):
            await ben.presence(second.boundjid.full)
            await ann.presence(second.boundjid.full)
            await second.presence(ann.boundjid.full)
            await second.presence(ben.boundjid.full)
            ann.send_presence(pshow="dnd", pstatus="writing", ppriority=7)
            for other in (ben, second):
                seen = await other.presence(ann.boundjid.full)
                assert (seen["show"], seen["status"], seen["priority"]) == ("dnd", "writing", 7)


async def test_a_stranger_sees_nothing(daemon, account):
    ann, ben = pair(daemon, account)
    async with clients(ann, ben):
        ann.send_presence(pstatus="secret")
        await ann.settle()
        await ben.settle()
        assert not [s for s in ben.inbox if s.name == "presence" and s["from"].bare == ann.boundjid.bare]
        ben.send_presence(pto=ann.boundjid.bare, ptype="probe")
        await ben.settle()
        assert not [s for s in ben.inbox if "secret" in str(s)]


async def test_the_last_presence_is_answered_to_a_probe_at_login(daemon, account):
    ann, ben = pair(daemon, account)
    async with clients(ann):
        async with clients(ben):
            await befriend(ann, ben)
        await ann.presence(ben.boundjid.full, "unavailable")
        ann.send_presence(pshow="away", pstatus="gone fishing")
        await ann.settle()
        async with clients(Client(daemon, ben.requested_jid.bare, PASSWORD)) as (again,):
            seen = await again.presence(ann.boundjid.full)
            assert (seen["show"], seen["status"]) == ("away", "gone fishing")
            await ann.presence(again.boundjid.full)


async def test_unavailable_after_an_orderly_end(daemon, account):
    ann, ben = pair(daemon, account)
    async with clients(ann, ben):
        await befriend(ann, ben)
        await ben.leave()
        await ann.presence(ben.boundjid.full, "unavailable")


async def test_unavailable_after_a_cut_connection(daemon, account):
    ann = Client(daemon, account("ann"), PASSWORD)
    ben = Client(daemon, account("ben"), PASSWORD)
    async with clients(ann, ben):
        await befriend(ann, ben)
        gone = ben.boundjid.full
        ben.cut()
        await ann.presence(gone, "unavailable")


async def test_unavailable_with_a_status_is_passed_on(daemon, account):
    ann, ben = pair(daemon, account)
    async with clients(ann, ben):
        await befriend(ann, ben)
        ben.send_presence(ptype="unavailable", pstatus="good night")
        assert (await ann.presence(ben.boundjid.full, "unavailable"))["status"] == "good night"


async def test_directed_presence_reaches_a_stranger_and_so_does_its_end(daemon, account):
    ann, ben = pair(daemon, account)
    async with clients(ann, ben):
        ann.send_presence(pto=ben.boundjid.full, pstatus="only you")
        assert (await ben.presence(ann.boundjid.full))["status"] == "only you"
        ann.send_presence(pstatus="everybody")
        await ann.settle()
        await ben.settle()
        assert not [s for s in ben.inbox if "everybody" in str(s)]
        gone = ann.boundjid.full
        await ann.leave()
        await ben.presence(gone, "unavailable")


def test_a_priority_out_of_range_is_an_error(daemon, account):
    with RawClient(daemon) as raw:
        raw.login(account().split("@")[0], PASSWORD)
        raw.send("<presence id='p'><priority>4000</priority></presence>")
        answer = raw.element()
        assert answer.get("type") == "error" and answer.get("id") == "p"
