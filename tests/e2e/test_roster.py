"""Rosters and subscriptions (RFC 6121 sections 2 and 3) between slixmpp clients."""

from client import Client, befriend, clients
from conftest import PASSWORD
from harness import RawClient
from harness.rawxmpp import NS

ITEM = f"{{{NS['roster']}}}item"
QUERY = f"{{{NS['roster']}}}query"


def pair(daemon, account):
    return Client(daemon, account("ann"), PASSWORD), Client(daemon, account("ben"), PASSWORD)


async def test_items_are_added_changed_and_removed_with_pushes_to_every_resource(daemon, account):
    jid = account()
    phone, laptop = Client(daemon, f"{jid}/phone", PASSWORD), Client(daemon, f"{jid}/laptop", PASSWORD)
    async with clients(phone, laptop):
        await phone.update_roster("carl@elsewhere.test", name="Carl & Co", groups=["Friends", "Work"])
        for device in (phone, laptop):
            item = await device.push("carl@elsewhere.test")
            assert item.get("name") == "Carl & Co" and item.get("subscription") == "none"
            assert {group.text for group in item} == {"Friends", "Work"}
        await laptop.update_roster("carl@elsewhere.test", name="Carl", groups=[])
        for device in (phone, laptop):
            item = await device.push("carl@elsewhere.test")
            assert item.get("name") == "Carl" and len(item) == 0
        await phone.del_roster_item("carl@elsewhere.test")
        for device in (phone, laptop):
            assert (await device.push("carl@elsewhere.test")).get("subscription") == "remove"
        roster = await phone.get_roster(timeout=5)
        assert roster.xml.find(f"{QUERY}/{ITEM}") is None


async def test_a_resource_that_never_asked_for_the_roster_gets_no_push(daemon, account):
    jid = account()
    async with clients(Client(daemon, f"{jid}/phone", PASSWORD)) as (phone,):
        with RawClient(daemon) as raw:
            raw.login(jid.split("@")[0], PASSWORD)
            await phone.update_roster("dora@elsewhere.test")
            await phone.push("dora@elsewhere.test")
            raw.send(f"<iq type='get' id='sync' to='{daemon.domain}'><ping xmlns='urn:xmpp:ping'/></iq>")
            assert raw.element().get("id") == "sync"


async def test_mutual_subscription_and_its_end(daemon, account):
    ann, ben = pair(daemon, account)
    async with clients(ann, ben):
        ann.subscription("subscribe", ben.boundjid.bare)
        item = await ann.push(ben.boundjid.bare)
        assert (item.get("subscription"), item.get("ask")) == ("none", "subscribe")
        await ben.presence(ann.boundjid.bare, "subscribe")

        ben.subscription("subscribed", ann.boundjid.bare)
        await ann.presence(ben.boundjid.bare, "subscribed")
        assert (await ann.push(ben.boundjid.bare)).get("subscription") == "to"
        assert (await ben.push(ann.boundjid.bare)).get("subscription") == "from"
        await ann.presence(ben.boundjid.full)

        ben.subscription("subscribe", ann.boundjid.bare)
        await ann.presence(ben.boundjid.bare, "subscribe")
        ann.subscription("subscribed", ben.boundjid.bare)
        await ben.presence(ann.boundjid.full)
        assert (await ann.push(ben.boundjid.bare)).get("subscription") == "both"

        ann.subscription("unsubscribe", ben.boundjid.bare)
        await ben.presence(ann.boundjid.bare, "unsubscribe")
        await ann.presence(ben.boundjid.full, "unavailable")
        assert (await ann.push(ben.boundjid.bare)).get("subscription") == "from"

        ann.subscription("unsubscribed", ben.boundjid.bare)
        await ben.presence(ann.boundjid.bare, "unsubscribed")
        await ben.presence(ann.boundjid.full, "unavailable")
        assert (await ann.push(ben.boundjid.bare)).get("subscription") == "none"


async def test_a_denied_request_leaves_no_subscription(daemon, account):
    ann, ben = pair(daemon, account)
    async with clients(ann, ben):
        ann.subscription("subscribe", ben.boundjid.bare)
        await ann.push(ben.boundjid.bare)
        await ben.presence(ann.boundjid.bare, "subscribe")
        ben.subscription("unsubscribed", ann.boundjid.bare)
        await ann.presence(ben.boundjid.bare, "unsubscribed")
        item = await ann.push(ben.boundjid.bare)
        assert (item.get("subscription"), item.get("ask")) == ("none", None)


async def test_removing_a_contact_cancels_both_directions(daemon, account):
    ann, ben = pair(daemon, account)
    async with clients(ann, ben):
        await befriend(ann, ben)
        await ann.del_roster_item(ben.boundjid.bare)
        await ben.presence(ann.boundjid.bare, "unsubscribe")
        await ben.presence(ann.boundjid.bare, "unsubscribed")
        await ann.presence(ben.boundjid.full, "unavailable")
        await ben.presence(ann.boundjid.full, "unavailable")
        # With versioning the answer is empty when the pushes told all: what the client holds counts.
        await ben.get_roster(timeout=5)
        assert ben.client_roster[ann.boundjid.bare]["subscription"] == "none"


async def test_a_request_waits_for_an_absent_contact(daemon, account):
    ann, ben = pair(daemon, account)
    async with clients(ann):
        ann.subscription("subscribe", ben.requested_jid.bare)
        await ann.push(ben.requested_jid.bare)
        async with clients(ben):
            await ben.presence(ann.boundjid.bare, "subscribe")
            ben.subscription("subscribed", ann.boundjid.bare)
            await ann.presence(ben.boundjid.full)


async def test_an_approval_reaches_an_absent_asker_as_roster_state(daemon, account):
    ann, ben = pair(daemon, account)
    async with clients(ben):
        async with clients(ann):
            ann.subscription("subscribe", ben.boundjid.bare)
            await ben.presence(ann.boundjid.bare, "subscribe")
        ben.subscription("subscribed", ann.boundjid.bare)
        await ben.settle()
        again = Client(daemon, ann.requested_jid.bare, PASSWORD)
        async with clients(again):
            await again.presence(ben.boundjid.full)
            assert again.client_roster[ben.boundjid.bare]["subscription"] == "to"


def test_versioning_answers_only_what_changed(daemon, account):
    user = account().split("@")[0]

    def get(raw, version):
        return raw.iq("get", f"<query xmlns='{NS['roster']}' ver='{version}'/>", ident="r")

    with RawClient(daemon) as raw:
        raw.open_stream()
        raw.plain(user, PASSWORD)
        features = raw.open_stream()
        assert features.find("{urn:xmpp:features:rosterver}ver") is not None
        raw.bind()
        assert get(raw, "").find(QUERY).get("ver")
        raw.iq("set", f"<query xmlns='{NS['roster']}'><item jid='x@elsewhere.test'/></query>", ident="s")
        query = get(raw, "").find(QUERY)
        known = query.get("ver")
        assert [item.get("jid") for item in query] == ["x@elsewhere.test"]
        unchanged = get(raw, known)
        assert unchanged.get("type") == "result" and unchanged.find(QUERY) is None
        raw.iq("set", f"<query xmlns='{NS['roster']}'><item jid='y@elsewhere.test'/></query>", ident="s")
        assert get(raw, "no version of this server").find(QUERY) is not None
        raw.sync()
        raw.send(f"<iq type='get' id='r2'><query xmlns='{NS['roster']}' ver='{known}'/></iq>")
        seen = []
        answer = raw.until(lambda e: seen.extend(i.get("jid") for i in e.iter(ITEM)) or e.get("id") == "r2")
        if answer.find(QUERY) is None:
            raw.send(f"<iq type='get' id='sync' to='{daemon.domain}'><ping xmlns='urn:xmpp:ping'/></iq>")
            raw.until(lambda e: seen.extend(i.get("jid") for i in e.iter(ITEM)) or e.get("id") == "sync")
        assert "y@elsewhere.test" in seen


def test_bad_roster_sets_are_refused(daemon, account):
    user = account().split("@")[0]
    with RawClient(daemon) as raw:
        raw.login(user, PASSWORD)
        for items in (
            "<item jid='a@b.test'/><item jid='c@b.test'/>",
            "<item/>",
            "",
            "<item jid='@bad@'/>",
            "<item jid='a@b.test'><group>g</group><group>g</group></item>",
            "<item jid='a@b.test'><group/></item>",
        ):
            answer = raw.iq("set", f"<query xmlns='{NS['roster']}'>{items}</query>", ident="bad")
            assert answer.get("type") == "error", items
        answer = raw.iq(
            "set", f"<query xmlns='{NS['roster']}'><item jid='not@there.test' subscription='remove'/></query>"
        )
        assert answer.find(f".//{{{NS['stanzas']}}}item-not-found") is not None


def test_the_roster_of_another_account_is_closed(daemon, account):
    other = account()
    user = account().split("@")[0]
    with RawClient(daemon) as raw:
        raw.login(user, PASSWORD)
        for kind in ("get", "set"):
            item = "<item jid='a@b.test'/>" if kind == "set" else ""
            body = f"<query xmlns='{NS['roster']}'>{item}</query>"
            assert raw.iq(kind, body, to=other, ident=kind).get("type") == "error"
