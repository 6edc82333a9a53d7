"""What the server itself answers: disco, version, ping, time, last activity, registration."""

import time
from datetime import UTC, datetime

import pytest
from client import Client, clients
from conftest import PASSWORD
from harness import RawClient
from harness.rawxmpp import NS
from slixmpp.exceptions import IqError

REGISTER = "jabber:iq:register"


async def test_disco_of_the_server(daemon, account):
    async with clients(Client(daemon, account(), PASSWORD, plugins=["xep_0030"])) as (one,):
        info = await one.plugin["xep_0030"].get_info(jid=daemon.domain)
        identities = {(i[0], i[1]) for i in info["disco_info"]["identities"]}
        assert ("server", "im") in identities
        wanted = {
            "http://jabber.org/protocol/disco#info",
            "http://jabber.org/protocol/disco#items",
            "jabber:iq:version",
            "urn:xmpp:ping",
            "urn:xmpp:time",
            "jabber:iq:last",
            "msgoffline",
        }
        assert wanted <= set(info["disco_info"]["features"])
        items = await one.plugin["xep_0030"].get_items(jid=daemon.domain)
        assert items["type"] == "result"


async def test_disco_of_the_own_account(daemon, account):
    async with clients(Client(daemon, account(), PASSWORD, plugins=["xep_0030"])) as (one,):
        info = await one.plugin["xep_0030"].get_info(jid=one.boundjid.bare)
        assert ("account", "registered") in {(i[0], i[1]) for i in info["disco_info"]["identities"]}


async def test_version_ping_time(daemon, account):
    async with clients(Client(daemon, account(), PASSWORD, plugins=["xep_0092", "xep_0199", "xep_0202"])) as (
        one,
    ):
        version = (await one.plugin["xep_0092"].get_version(daemon.domain))["software_version"]
        assert version["name"].lower() == "godwit" and version["version"]
        assert await one.plugin["xep_0199"].ping(daemon.domain, timeout=5) < 5
        reply = await one.plugin["xep_0202"].get_entity_time(daemon.domain)
        # Not by slixmpp's own accessor, which puts a second Z behind the one that XEP-0082 wants.
        told = datetime.fromisoformat(reply.xml.findtext(".//{urn:xmpp:time}utc"))
        assert abs((datetime.now(UTC) - told).total_seconds()) < 5


async def test_last_activity_of_the_server_and_of_a_contact(daemon, account):
    ann, ben = Client(daemon, account(), PASSWORD, plugins=["xep_0012"]), Client(daemon, account(), PASSWORD)
    async with clients(ann):
        uptime = await ann.plugin["xep_0012"].get_last_activity(daemon.domain)
        assert 0 <= uptime["last_activity"]["seconds"] < 600
        async with clients(ben):
            ann.subscription("subscribe", ben.boundjid.bare)
            await ben.presence(ann.boundjid.bare, "subscribe")
            ben.subscription("subscribed", ann.boundjid.bare)
            await ann.presence(ben.boundjid.bare, "subscribed")
        await ann.presence(ben.boundjid.full, "unavailable")
        idle = await ann.plugin["xep_0012"].get_last_activity(ben.requested_jid.bare)
        assert 0 <= idle["last_activity"]["seconds"] < 60


async def test_last_activity_is_closed_to_strangers(daemon, account):
    other = account()
    async with clients(Client(daemon, account(), PASSWORD, plugins=["xep_0012"])) as (one,):
        with pytest.raises(IqError):
            await one.plugin["xep_0012"].get_last_activity(other)


def test_unknown_requests_are_answered_with_errors(daemon, account):
    other = account()
    with RawClient(daemon) as raw:
        full = raw.login(account().split("@")[0], PASSWORD)
        for to in (daemon.domain, full.split("/")[0], other, f"{other}/gone", f"nobody@{daemon.domain}"):
            for kind in ("get", "set"):
                answer = raw.iq(kind, "<query xmlns='urn:x:unknown'/>", to=to, ident="u")
                assert answer.get("type") == "error", (to, kind)
                assert answer.find(f".//{{{NS['stanzas']}}}service-unavailable") is not None, (to, kind)
        raw.send("<iq type='get' id='two'><a xmlns='urn:x:a'/><b xmlns='urn:x:b'/></iq>")
        assert raw.element().find(f".//{{{NS['stanzas']}}}bad-request") is not None


async def test_requests_between_clients_pass_with_their_answers(daemon, account):
    ann, ben = (Client(daemon, account(), PASSWORD, plugins=["xep_0092", "xep_0199"]) for _ in range(2))
    async with clients(ann, ben):
        ben.plugin["xep_0092"].software_name = "ben's client"
        assert (await ann.plugin["xep_0092"].get_version(ben.boundjid.full))["software_version"][
            "name"
        ] == "ben's client"
        assert await ann.plugin["xep_0199"].ping(ben.boundjid.full, timeout=5) < 5


def test_registration_is_off_by_default(daemon):
    with RawClient(daemon) as raw:
        features = raw.open_stream()
        assert features.find("{http://jabber.org/features/iq-register}register") is None
        raw.send(
            f"<iq type='set' id='r'><query xmlns='{REGISTER}'>"
            "<username>eve</username><password>x</password></query></iq>"
        )
        answer = raw.element()
        assert answer.get("type") == "error" or answer.tag.endswith("}error")


def test_registration_when_turned_on(own_daemon):
    daemon = own_daemon(settings={"registration": {"in_band": True}})
    body = f"<query xmlns='{REGISTER}'><username>eve</username><password>first pass</password></query>"
    with RawClient(daemon, "starttls") as raw:
        features = raw.open_stream()
        assert features.find("{http://jabber.org/features/iq-register}register") is not None
        form = raw.iq("get", f"<query xmlns='{REGISTER}'/>", ident="f")
        assert (
            form.find(f".//{{{REGISTER}}}username") is not None
            and form.find(f".//{{{REGISTER}}}password") is not None
        )
        assert raw.iq("set", body, ident="r").get("type") == "result"
        again = raw.iq("set", body, ident="again")
        assert again.find(f".//{{{NS['stanzas']}}}conflict") is not None
    with RawClient(daemon) as raw:
        assert raw.login("eve", "first pass").startswith("eve@localhost/")


def test_password_change_and_account_removal(daemon, account):
    jid = account()
    user = jid.split("@")[0]
    with RawClient(daemon) as raw:
        raw.login(user, PASSWORD)
        change = (
            f"<query xmlns='{REGISTER}'><username>{user}</username><password>second pass</password></query>"
        )
        assert raw.iq("set", change, to=daemon.domain).get("type") == "result"
    with RawClient(daemon) as raw:
        raw.open_stream()
        assert raw.plain(user, PASSWORD).tag.endswith("}failure")
    with RawClient(daemon) as raw:
        raw.login(user, "second pass")
        raw.send(f"<iq type='set' id='gone'><query xmlns='{REGISTER}'><remove/></query></iq>")
        assert raw.element().get("type") == "result"
        raw.stream_error()
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        with RawClient(daemon) as raw:
            raw.open_stream()
            if raw.plain(user, "second pass").tag.endswith("}failure"):
                return
    raise AssertionError("the removed account still logs in")
