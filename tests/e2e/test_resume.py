"""Stream management (XEP-0198) and what survives: a cut connection, an orderly restart, kill -9."""

from client import Client, befriend, clients
from conftest import PASSWORD
from harness import RawClient, StreamClosed
from harness.rawxmpp import NS

SM = ["xep_0198"]


def enable(raw, resume=True):
    raw.send(f"<enable xmlns='{NS['sm']}'{' resume=' + chr(39) + 'true' + chr(39) if resume else ''}/>")
    return raw.until(lambda e: e.tag == f"{{{NS['sm']}}}enabled")


def acknowledged(raw):
    """What the server says it has handled."""
    raw.send(f"<r xmlns='{NS['sm']}'/>")
    return int(raw.until(lambda e: e.tag == f"{{{NS['sm']}}}a").get("h"))


async def test_slixmpp_resumes_after_a_cut_and_misses_nothing(daemon, account):
    ann, ben = Client(daemon, account(), PASSWORD), Client(daemon, account(), PASSWORD, plugins=SM)
    async with clients(ann, ben):
        await ben.event_named("sm_enabled")
        await befriend(ann, ben)
        ben.cut()
        await ben.event_named("disconnected")
        for number in range(10):
            ann.send_message(mto=ben.boundjid.bare, mbody=f"while away {number}", mtype="chat")
        await ann.settle()
        ben.dial()
        await ben.event_named("session_resumed")
        await ben.expect("message", lambda m: m["body"] == "while away 9")
        assert ben.bodies() == [f"while away {n}" for n in range(9)]
        ben.send_message(mto=ann.boundjid.bare, mbody="back", mtype="chat")
        await ann.message("back")
        assert not [s for s in ann.inbox if s.name == "presence" and s.xml.get("type") == "unavailable"]


def test_acknowledgements_count_stanzas(daemon, account):
    jid = account()
    with RawClient(daemon) as raw:
        raw.login(jid.split("@")[0], PASSWORD)
        assert enable(raw).get("id")
        assert acknowledged(raw) == 0
        for number in range(3):
            raw.send(f"<message to='{jid}' type='chat'><body>{number}</body></message>")
        raw.send(" \n ")
        assert acknowledged(raw) == 3


def test_unacknowledged_stanzas_come_again_and_acknowledged_ones_do_not(daemon, account):
    jid, sender = account(), account()
    with RawClient(daemon) as out:
        out.login(sender.split("@")[0], PASSWORD)
        raw = RawClient(daemon)
        full = raw.login(jid.split("@")[0], PASSWORD)
        identifier = enable(raw).get("id")
        for number in range(3):
            out.send(f"<message to='{full}' type='chat' id='m{number}'><body>x</body></message>")
            raw.until(lambda e, n=number: e.get("id") == f"m{n}")
        out.sync()
        raw.cut()
        with RawClient(daemon) as again:
            again.open_stream()
            again.plain(jid.split("@")[0], PASSWORD)
            again.open_stream()
            again.send(f"<resume xmlns='{NS['sm']}' previd='{identifier}' h='1'/>")
            resumed = again.until(lambda e: e.tag == f"{{{NS['sm']}}}resumed")
            assert resumed.get("previd") == identifier
            repeated = [again.until(lambda e: e.tag.endswith("}message")).get("id") for _ in range(2)]
            assert repeated == ["m1", "m2"]


def test_an_unknown_id_fails_and_binding_still_works(daemon, account):
    with RawClient(daemon) as raw:
        raw.open_stream()
        raw.plain(account().split("@")[0], PASSWORD)
        raw.open_stream()
        raw.send(f"<resume xmlns='{NS['sm']}' previd='no-such-id' h='0'/>")
        failed = raw.element()
        assert failed.tag == f"{{{NS['sm']}}}failed"
        assert failed.find(f"{{{NS['stanzas']}}}item-not-found") is not None
        assert raw.bind()


def test_nobody_resumes_the_session_of_another_account(daemon, account):
    raw = RawClient(daemon)
    raw.login(account().split("@")[0], PASSWORD)
    identifier = enable(raw).get("id")
    with RawClient(daemon) as thief:
        thief.open_stream()
        thief.plain(account().split("@")[0], PASSWORD)
        thief.open_stream()
        thief.send(f"<resume xmlns='{NS['sm']}' previd='{identifier}' h='0'/>")
        assert thief.element().tag == f"{{{NS['sm']}}}failed"
    assert raw.sync() == "result"
    raw.cut()


def test_enable_before_binding_and_twice_is_refused(daemon, account):
    with RawClient(daemon) as raw:
        raw.open_stream()
        raw.plain(account().split("@")[0], PASSWORD)
        raw.open_stream()
        raw.send(f"<enable xmlns='{NS['sm']}'/>")
        first = raw.element()
        assert first.tag in (f"{{{NS['sm']}}}failed", f"{{{NS['stream']}}}error")
    with RawClient(daemon) as raw:
        raw.login(account().split("@")[0], PASSWORD)
        enable(raw)
        raw.send(f"<enable xmlns='{NS['sm']}'/>")
        second = raw.element()
        assert second.tag in (f"{{{NS['sm']}}}failed", f"{{{NS['stream']}}}error")


def test_an_acknowledgement_of_what_was_never_sent_ends_the_stream(daemon, account):
    with RawClient(daemon) as raw:
        raw.login(account().split("@")[0], PASSWORD)
        enable(raw)
        raw.send(f"<a xmlns='{NS['sm']}' h='1000'/>")
        condition, _ = raw.stream_error()
        assert condition == "undefined-condition"


async def test_the_story(own_daemon):
    """Two clients log in, see each other, chat; one goes offline, the daemon is killed with -9 with messages
    acknowledged and undelivered, and after the restart nothing acknowledged is missing or doubled."""
    daemon = own_daemon()
    for jid in ("alice@localhost", "bob@localhost"):
        daemon.add_account(jid, PASSWORD)
    alice = Client(daemon, "alice@localhost/phone", PASSWORD)
    bob = Client(daemon, "bob@localhost/laptop", PASSWORD, direct=True)
    async with clients(alice, bob):
        await befriend(alice, bob)
        alice.send_message(mto="bob@localhost", mbody="hello bob", mtype="chat")
        await bob.message("hello bob")
        bob.send_message(mto="alice@localhost", mbody="hello alice", mtype="chat")
        await alice.message("hello alice")
        await bob.leave()
        await alice.presence("bob@localhost/laptop", "unavailable")
    with RawClient(daemon) as raw:
        raw.login("alice", PASSWORD)
        enable(raw)
        for number in range(50):
            raw.send(
                f"<message to='bob@localhost' type='chat' id='s{number}'><body>kept {number}</body></message>"
            )
        assert acknowledged(raw) == 50
        daemon.kill()
        try:
            raw.element()
            raise AssertionError("the killed daemon answered")
        except StreamClosed:
            pass
    daemon.start()
    bob = Client(daemon, "bob@localhost/laptop", PASSWORD)
    alice = Client(daemon, "alice@localhost/phone", PASSWORD)
    async with clients(alice, bob):
        await bob.expect("message", lambda m: m["body"] == "kept 49")
        await bob.settle()
        assert bob.bodies() == [f"kept {n}" for n in range(49)]
        await alice.presence("bob@localhost/laptop")
        assert alice.client_roster["bob@localhost"]["subscription"] == "both"
        await alice.settle()
        assert alice.bodies() == []
    daemon.restart(hard=True)
    async with clients(Client(daemon, "bob@localhost/laptop", PASSWORD)) as (bob,):
        await bob.settle()
        assert bob.bodies() == []
