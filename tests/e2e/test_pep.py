"""Personal eventing with slixmpp: what clients keep in their own account, and who hears of it."""

from xml.etree import ElementTree

import pytest
from client import Client, befriend, clients
from conftest import PASSWORD
from slixmpp.exceptions import IqError
from slixmpp.xmlstream import ElementBase

PLUGINS = ["xep_0030", "xep_0060", "xep_0115", "xep_0163", "xep_0172", "xep_0223", "xep_0333", "xep_0490"]
EVENT = "{http://jabber.org/protocol/pubsub#event}event"
MDS = "urn:xmpp:mds:displayed:0"
BOOKMARKS = "urn:xmpp:bookmarks:1"


def a_client(daemon, jid):
    """One that wants to hear of nicknames and of what was displayed."""
    client = Client(daemon, jid, PASSWORD, plugins=PLUGINS)
    # slixmpp's own plugin announces its interest before there is a resource that could have one.
    client.add_event_handler("session_bind", lambda _: client.plugin["xep_0163"].add_interest(MDS))
    return client


def event_of(node):
    """Matches a notification of a node."""

    def match(message):
        items = message.xml.find(f"{EVENT}/")
        return items is not None and items.get("node") == node

    return match


def stanza_id(message):
    """What is displayed, in a notification or a result."""
    return [element.get("id") for element in message.xml.iter("{urn:xmpp:sid:0}stanza-id")]


async def test_disco_names_the_service(daemon, account):
    async with clients(a_client(daemon, account())) as (one,):
        info = (await one.plugin["xep_0030"].get_info(jid=one.boundjid.bare))["disco_info"]
        assert ("pubsub", "pep") in {(i[0], i[1]) for i in info["identities"]}
        assert "urn:xmpp:mds:server-assist:0" in info["features"]


async def test_what_one_device_displayed_the_other_learns(daemon, account):
    jid = account()
    async with clients(a_client(daemon, jid), a_client(daemon, jid)) as (phone, laptop):
        await phone.plugin["xep_0490"].flag_chat("romeo@example.net", "id-1")
        told = await laptop.expect("message", event_of(MDS))
        assert stanza_id(told) == ["id-1"] and told["from"] == phone.boundjid.bare
        await phone.plugin["xep_0490"].flag_chat("romeo@example.net", "id-2")
        await phone.plugin["xep_0490"].flag_chat("paris@example.net", "id-3")
        caught_up = await laptop.plugin["xep_0490"].catch_up()
        assert stanza_id(caught_up) == ["id-2", "id-3"]


async def test_server_assist_spares_the_second_stanza(daemon, account):
    jid, other = account(), a_client(daemon, account())
    async with clients(a_client(daemon, jid), a_client(daemon, jid), other) as (phone, laptop, _):
        message = phone.make_message(mto=other.boundjid.bare, mtype="chat")
        for xml in (
            "<displayed xmlns='urn:xmpp:chat-markers:0' id='m1'/>",
            f"<displayed xmlns='{MDS}'><stanza-id xmlns='urn:xmpp:sid:0' by='{jid}' id='id-9'/></displayed>",
        ):
            message.xml.append(ElementTree.fromstring(xml))
        message.send()
        marker = await other.expect("message")
        kinds = [child.tag for child in marker.xml]
        assert "{urn:xmpp:chat-markers:0}displayed" in kinds and f"{{{MDS}}}displayed" not in kinds
        told = await laptop.expect("message", event_of(MDS))
        assert stanza_id(told) == ["id-9"]
        item = next(told.xml.iter("{http://jabber.org/protocol/pubsub#event}item"))
        assert item.get("id") == other.boundjid.bare


async def test_a_contact_hears_of_a_nickname_now_and_at_login(daemon, account):
    nick = "http://jabber.org/protocol/nick"
    ann, jid = a_client(daemon, account()), account()
    async with clients(ann):
        async with clients(a_client(daemon, jid)) as (ben,):
            await befriend(ann, ben)
            await ann.plugin["xep_0172"].publish_nick("Ann")
            told = await ben.expect("message", event_of(nick))
            assert told["pubsub_event"]["items"]["item"]["nick"]["nick"] == "Ann"
        async with clients(a_client(daemon, jid)) as (ben,):
            told = await ben.expect("message", event_of(nick))
            assert told["from"] == ann.boundjid.bare and told["to"] == ben.boundjid.full
            assert told.xml.find("{urn:xmpp:delay}delay") is not None


async def test_bookmarks_survive_a_kill_and_stay_private(own_daemon):
    daemon = own_daemon()
    ann, ben = (f"{name}@{daemon.domain}" for name in ("ann", "ben"))
    for jid in (ann, ben):
        daemon.add_account(jid, PASSWORD)
    async with clients(a_client(daemon, ann)) as (client,):
        client.plugin["xep_0223"].node_profiles[BOOKMARKS] = {
            "pubsub#max_items": "max",
            "pubsub#send_last_published_item": "never",
        }
        for number in range(30):
            room = ElementBase(ElementTree.fromstring(f"<conference xmlns='{BOOKMARKS}' name='{number}'/>"))
            await client.plugin["xep_0223"].store(room, node=BOOKMARKS, id=f"r{number}@rooms.example")
        daemon.kill()
    daemon.start()
    async with clients(a_client(daemon, ann), a_client(daemon, ben)) as (client, other):
        kept = await client.plugin["xep_0060"].get_items(client.boundjid.bare, BOOKMARKS)
        names = [room.get("name") for room in kept.xml.iter(f"{{{BOOKMARKS}}}conference")]
        assert names == [str(number) for number in range(30)]
        with pytest.raises(IqError):
            await other.plugin["xep_0060"].get_items(ann, BOOKMARKS)
