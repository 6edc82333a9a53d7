"""Several devices of one account: carbons (XEP-0280), hints (XEP-0334), client states (XEP-0352)."""

import json

import pytest
from client import Client, befriend, clients
from conftest import PASSWORD
from slixmpp.exceptions import IqError

PLUGINS = ["xep_0030", "xep_0280", "xep_0334", "xep_0352", "xep_0085", "xep_0184", "xep_0313", "xep_0359"]
STANZA_ID = "{urn:xmpp:sid:0}stanza-id"
MESSAGE = "{jabber:client}message"


def device(daemon, jid, name, *more):
    return Client(daemon, f"{jid}/{name}", PASSWORD, plugins=[*PLUGINS, *more])


def copied(kind, body):
    """Matches a copy of the message with this body."""

    def match(message):
        inner = message.xml.find(f"{{urn:xmpp:carbons:2}}{kind}/{{urn:xmpp:forward:0}}forwarded/{MESSAGE}")
        return inner is not None and inner.findtext("{jabber:client}body") == body

    return match


def ids(message):
    return [element.get("id") for element in message.xml.iter(STANZA_ID)]


def hinted(client, to, body, *hints):
    message = client.make_message(mto=to, mbody=body, mtype="chat")
    for hint in hints:
        message.enable(hint)
    message.send()


async def bodies_in_archive(client):
    return [
        result["mam_result"]["forwarded"]["stanza"]["body"]
        async for result in client.plugin["xep_0313"].iterate()
    ]


async def test_both_sides_reach_every_device_under_the_ids_of_the_archive(daemon, account):
    jid = account()
    ann = Client(daemon, account(), PASSWORD)
    phone, laptop = device(daemon, jid, "phone"), device(daemon, jid, "laptop")
    async with clients(ann, phone, laptop):
        await phone.plugin["xep_0280"].enable()
        await laptop.plugin["xep_0280"].enable()
        ann.send_message(mto=f"{jid}/phone", mbody="to the phone", mtype="chat")
        original = await phone.message("to the phone")
        copy = await laptop.expect("message", copied("received", "to the phone"))
        assert copy["from"] == jid and copy["to"] == f"{jid}/laptop" and copy["type"] == "chat"
        assert ids(copy) == ids(original)
        laptop.send_message(mto=ann.boundjid.bare, mbody="from the laptop", mtype="chat")
        sent = await phone.expect("message", copied("sent", "from the laptop"))
        archive = [result async for result in laptop.plugin["xep_0313"].iterate()]
        assert [result["mam_result"]["id"] for result in archive] == ids(copy) + ids(sent)
        laptop.inbox.clear()
        await laptop.plugin["xep_0280"].disable()
        ann.send_message(mto=f"{jid}/phone", mbody="for the phone alone", mtype="chat")
        await phone.message("for the phone alone")
        await laptop.settle()
        assert laptop.bodies() == [] and not [s for s in laptop.inbox if s.name == "message"]


async def test_copies_survive_a_cut_connection(daemon, account):
    jid = account()
    ann, phone = Client(daemon, account(), PASSWORD), device(daemon, jid, "phone")
    laptop = device(daemon, jid, "laptop", "xep_0198")
    async with clients(ann, phone, laptop):
        await laptop.event_named("sm_enabled")
        await laptop.plugin["xep_0280"].enable()
        await laptop.settle()
        laptop.cut()
        await laptop.event_named("disconnected")
        for number in range(5):
            phone.send_message(mto=ann.boundjid.bare, mbody=f"q{number}", mtype="chat")
            await ann.message(f"q{number}")
            ann.send_message(mto=f"{jid}/phone", mbody=f"a{number}", mtype="chat")
            await phone.message(f"a{number}")
        laptop.dial()
        await laptop.event_named("session_resumed")
        await laptop.expect("message", copied("received", "a4"))
        left = [s for s in laptop.inbox if s.name == "message"]
        both = (("sent", "q"), ("received", "a"))
        expected = [copied(kind, f"{body}{n}") for n in range(5) for kind, body in both][:9]
        assert all(match(copy) for match, copy in zip(expected, left, strict=True))


async def test_private_messages_are_not_copied(daemon, account):
    jid = account()
    ann = Client(daemon, account(), PASSWORD)
    phone, laptop = device(daemon, jid, "phone"), device(daemon, jid, "laptop")
    async with clients(ann, phone, laptop):
        await laptop.plugin["xep_0280"].enable()
        message = phone.make_message(mto=ann.boundjid.full, mbody="between us", mtype="chat")
        message.enable("carbon_private")
        message.enable("no-copy")
        message.send()
        received = await ann.message("between us")
        assert received.xml.find("{urn:xmpp:carbons:2}private") is not None
        await laptop.settle()
        assert not [s for s in laptop.inbox if s.name == "message"]


async def test_another_accounts_carbons_are_not_ours_to_enable(daemon, account):
    async with clients(device(daemon, account(), "phone")) as (phone,):
        iq = phone.make_iq_set(ito=account())
        iq.enable("carbon_enable")
        with pytest.raises(IqError) as refused:
            await iq.send()
        assert refused.value.condition == "not-allowed"


async def test_what_waits_for_a_device_that_is_away_and_what_is_history(daemon, account):
    jid = account()
    async with clients(device(daemon, account(), "ann")) as (ann,):
        hinted(ann, jid, "plain")
        hinted(ann, jid, "not stored", "no-store")
        hinted(ann, jid, "not history", "no-permanent-store")
        state = ann.make_message(mto=jid, mtype="chat")
        state["chat_state"] = "composing"
        state.send()
        state = ann.make_message(mto=jid, mtype="chat")
        state["chat_state"] = "paused"
        state.enable("store")
        state.send()
        receipt = ann.make_message(mto=jid, mtype="chat")
        receipt["receipt"] = "some-id"
        receipt.send()
        headline = ann.make_message(mto=jid, mbody="a kept headline", mtype="headline")
        headline.enable("store")
        headline.send()
        await ann.settle()
        assert await bodies_in_archive(ann) == ["plain", "", "", "a kept headline"]
        async with clients(device(daemon, jid, "phone")) as (phone,):
            await phone.message("a kept headline")
            waited = [s for s in phone.inbox if s.name == "message"]
            assert [m["body"] for m in waited] == ["plain", "not history", "", ""]
            assert waited[2]["chat_state"] == "paused" and waited[3]["receipt"] == "some-id"
            assert await bodies_in_archive(phone) == ["plain", "", "", "a kept headline"]


async def test_an_inactive_phone_hears_what_matters_and_the_rest_before_it(daemon, account):
    ann, phone = device(daemon, account(), "ann"), device(daemon, account(), "phone")
    async with clients(ann, phone):
        await befriend(ann, phone)
        await phone.settle()
        assert phone.plugin["xep_0352"].enabled
        phone.inbox.clear()
        phone.plugin["xep_0352"].send_inactive()
        await phone.settle()
        sessions = json.loads(daemon.ctl("sessions", "--json").stdout)
        state = next(s for s in sessions if s["jid"] == phone.boundjid.full)
        assert state["inactive"]
        for show in ("away", "xa", "dnd"):
            ann.send_presence(pshow=show)
        typing = ann.make_message(mto=phone.boundjid.full, mtype="chat")
        typing["chat_state"] = "composing"
        typing.send()
        await ann.settle()
        assert not [s for s in phone.inbox if s.name in ("presence", "message")]
        ann.send_message(mto=phone.boundjid.bare, mbody="wake up", mtype="chat")
        await phone.message("wake up")
        kinds = [(s.name, s["type"]) for s in phone.inbox if s.name in ("presence", "message")]
        assert kinds == [("presence", "dnd"), ("message", "chat")]
        phone.inbox.clear()
        ann.send_presence()
        await ann.settle()
        assert not [s for s in phone.inbox if s.name == "presence"]
        phone.plugin["xep_0352"].send_active()
        await phone.presence(ann.boundjid.full)
