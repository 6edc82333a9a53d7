"""Messages (RFC 6121 section 8.5): addresses, types, priorities, offline storage, stanza ids."""

import pytest
from client import Client, clients
from conftest import PASSWORD
from harness import RawClient
from harness.rawxmpp import NS

DELAY = "{urn:xmpp:delay}delay"
STANZA_ID = "{urn:xmpp:sid:0}stanza-id"
ORIGIN_ID = "{urn:xmpp:sid:0}origin-id"


def device(daemon, jid, name):
    return Client(daemon, f"{jid}/{name}", PASSWORD)


async def test_chat_both_ways_in_order(daemon, account):
    ann, ben = Client(daemon, account(), PASSWORD), Client(daemon, account(), PASSWORD)
    async with clients(ann, ben):
        for number in range(20):
            ann.send_message(mto=ben.boundjid.bare, mbody=f"there {number}", mtype="chat")
            ben.send_message(mto=ann.boundjid.full, mbody=f"back {number}", mtype="chat")
        await ben.expect("message", lambda m: m["body"] == "there 19")
        await ann.expect("message", lambda m: m["body"] == "back 19")
        assert ben.bodies() == [f"there {n}" for n in range(19)]
        assert ann.bodies() == [f"back {n}" for n in range(19)]
        assert all(s["from"] == ann.boundjid for s in ben.inbox if s.name == "message")


@pytest.mark.parametrize("kind", ["chat", "normal", "headline"])
async def test_bare_jid_reaches_available_resources(daemon, account, kind):
    jid = account()
    ann, phone = Client(daemon, account(), PASSWORD), device(daemon, jid, "phone")
    async with clients(ann, phone):
        ann.send_message(mto=jid, mbody=f"a {kind}", mtype=kind)
        message = await phone.message(f"a {kind}")
        assert message.xml.get("type", "normal") == kind and message["to"].bare == jid


async def test_full_jid_reaches_that_resource_alone(daemon, account):
    jid = account()
    ann, phone, laptop = (
        Client(daemon, account(), PASSWORD),
        device(daemon, jid, "phone"),
        device(daemon, jid, "laptop"),
    )
    async with clients(ann, phone, laptop):
        ann.send_message(mto=f"{jid}/laptop", mbody="for the laptop", mtype="chat")
        ann.send_message(mto=f"{jid}/phone", mbody="for the phone", mtype="chat")
        await laptop.message("for the laptop")
        await phone.message("for the phone")
        await phone.settle()
        await laptop.settle()
        assert phone.bodies() == [] and laptop.bodies() == []


async def test_a_chat_message_to_a_resource_that_is_gone_reaches_another(daemon, account):
    jid = account()
    ann, phone = Client(daemon, account(), PASSWORD), device(daemon, jid, "phone")
    async with clients(ann, phone):
        ann.send_message(mto=f"{jid}/gone", mbody="still there?", mtype="chat")
        await phone.message("still there?")


async def test_negative_priority_gets_full_jid_messages_only(daemon, account):
    jid = account()
    ann, shy = Client(daemon, account(), PASSWORD), device(daemon, jid, "shy")
    async with clients(ann):
        await shy.login(priority=-5)
        ann.send_message(mto=jid, mbody="to bare", mtype="chat")
        ann.send_message(mto=f"{jid}/shy", mbody="to full", mtype="chat")
        await shy.message("to full")
        await shy.settle()
        assert shy.bodies() == []
        shy.send_presence(ppriority=0)
        message = await shy.message("to bare")
        assert message.xml.find(DELAY) is not None
        await shy.leave()


async def test_offline_messages_come_in_order_with_delay_and_stanza_id(daemon, account):
    jid = account()
    async with clients(Client(daemon, account(), PASSWORD)) as (ann,):
        for number in range(5):
            ann.send_message(mto=jid, mbody=f"offline {number}", mtype="chat")
        await ann.settle()
        ben = Client(daemon, jid, PASSWORD)
        async with clients(ben):
            received = [await ben.expect("message", lambda m: m["body"]) for _ in range(5)]
            assert [m["body"] for m in received] == [f"offline {n}" for n in range(5)]
            identifiers = set()
            for message in received:
                assert message.xml.find(DELAY).get("stamp")
                assert message["from"] == ann.boundjid
                stanza_id = message.xml.find(STANZA_ID)
                assert stanza_id.get("by") == jid
                identifiers.add(stanza_id.get("id"))
            assert len(identifiers) == 5
        async with clients(Client(daemon, jid, PASSWORD)) as (again,):
            await again.settle()
            assert again.bodies() == []


async def test_stanza_id_is_the_servers_and_origin_id_the_clients(daemon, account):
    ann, ben = Client(daemon, account(), PASSWORD), Client(daemon, account(), PASSWORD)
    async with clients(ann, ben):
        forged = f"<stanza-id xmlns='urn:xmpp:sid:0' id='forged' by='{ben.boundjid.bare}'/>"
        ann.send_raw(
            f"<message to='{ben.boundjid.bare}' type='chat' id='m1'><body>ids</body>"
            f"<origin-id xmlns='urn:xmpp:sid:0' id='mine'/>{forged}</message>"
        )
        message = await ben.message("ids")
        assert message.xml.find(ORIGIN_ID).get("id") == "mine" and message["id"] == "m1"
        own = [e.get("id") for e in message.xml.findall(STANZA_ID) if e.get("by") == ben.boundjid.bare]
        assert len(own) == 1 and own != ["forged"]


async def test_unknown_children_and_languages_pass_unchanged(daemon, account):
    ann, ben = Client(daemon, account(), PASSWORD), Client(daemon, account(), PASSWORD)
    async with clients(ann, ben):
        ann.send_raw(
            f"<message to='{ben.boundjid.bare}' type='chat' xml:lang='de'><body>Grüße &lt;&amp;&gt; 🦆</body>"
            "<body xml:lang='en'>Greetings</body><p:extra xmlns:p='urn:x:test' p:a='1'>"
            "<p:inner/>text<other xmlns='urn:y:test'/></p:extra></message>"
        )
        message = await ben.expect("message", lambda m: m.xml.find("{urn:x:test}extra") is not None)
        bodies = {
            b.get("{http://www.w3.org/XML/1998/namespace}lang"): b.text
            for b in message.xml.findall(f"{{{NS['c']}}}body")
        }
        assert bodies == {None: "Grüße <&> 🦆", "en": "Greetings"}
        extra = message.xml.find("{urn:x:test}extra")
        assert extra.get("{urn:x:test}a") == "1" and extra[0].tail == "text"
        assert extra[1].tag == "{urn:y:test}other"
        assert message.xml.get("{http://www.w3.org/XML/1998/namespace}lang") == "de"


async def test_from_is_the_senders_own_whatever_it_wrote(daemon, account):
    ann, ben = Client(daemon, account(), PASSWORD), Client(daemon, account(), PASSWORD)
    async with clients(ann, ben):
        ann.send_raw(f"<message to='{ben.boundjid.bare}' type='chat'><body>unsigned</body></message>")
        assert (await ben.message("unsigned"))["from"] == ann.boundjid


async def test_errors_and_headlines_are_not_kept_offline(daemon, account):
    jid = account()
    async with clients(Client(daemon, account(), PASSWORD)) as (ann,):
        ann.send_message(mto=jid, mbody="news", mtype="headline")
        ann.send_raw(
            f"<message to='{jid}' type='error'><body>broken</body><error type='cancel'>"
            "<gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
        )
        await ann.settle()
        async with clients(Client(daemon, jid, PASSWORD)) as (ben,):
            await ben.settle()
            assert ben.bodies() == []


def test_what_cannot_be_delivered_is_answered(daemon, account):
    jid = account()
    with RawClient(daemon) as raw:
        raw.login(account().split("@")[0], PASSWORD)
        cases = [
            (
                f"<message to='nobody-here@{daemon.domain}' type='chat' id='a'><body>x</body></message>",
                "service-unavailable",
            ),
            (f"<message to='{jid}' type='groupchat' id='b'><body>x</body></message>", "service-unavailable"),
            ("<message to='@@@' type='chat' id='c'><body>x</body></message>", "jid-malformed"),
            (
                "<message to='user@elsewhere.test' type='chat' id='d'><body>x</body></message>",
                "remote-server-not-found",
            ),
        ]
        for stanza, condition in cases:
            raw.send(stanza)
            answer = raw.element()
            assert answer.get("type") == "error", stanza
            assert answer.find(f".//{{{NS['stanzas']}}}{condition}") is not None, (stanza, answer[-1][0].tag)
