"""Everything held about a person, and nothing after the account's removal."""

import json

import pytest
from conftest import PASSWORD
from harness import RawClient


def bodies(export):
    """Bodies of an export's messages, in order."""
    stanzas = (message["stanza"] for message in export["messages"])
    return [text.split("<body>")[1].split("</body>")[0] for text in stanzas]


@pytest.mark.parametrize("running", [True, False])
def test_an_export_holds_everything_and_no_password(own_daemon, running):
    daemon = own_daemon()
    for name in ("ann", "ben"):
        daemon.add_account(f"{name}@localhost", PASSWORD)
    with RawClient(daemon) as raw:
        raw.login("ann", PASSWORD)
        item = "<item jid='ben@localhost' name='Ben &lt;3'><group>friends</group></item>"
        raw.iq("set", f"<query xmlns='jabber:iq:roster'>{item}</query>")
        mood = "<item id='current'><mood xmlns='urn:mood'>glad</mood></item>"
        node = f"<publish node='urn:mood'>{mood}</publish>"
        raw.iq("set", f"<pubsub xmlns='http://jabber.org/protocol/pubsub'>{node}</pubsub>", ident="q2")
        prefs = "<prefs xmlns='urn:xmpp:mam:2' default='roster'><always/><never/></prefs>"
        raw.iq("set", prefs, ident="q3")
        raw.send("<presence/>")
        raw.send("<message to='ben@localhost' type='chat'><body>hello</body></message>")
        raw.sync()
        raw.send("<presence type='unavailable'><status>gone fishing</status></presence>")
        raw.sync()
    if not running:
        daemon.stop()
    done = daemon.ctl("account", "export", "ann@localhost")
    found = json.loads(done.stdout)
    assert found["jid"] == "ann@localhost" and found["password_keys"] == ["SCRAM-SHA-1", "SCRAM-SHA-256"]
    (contact,) = found["roster"]
    assert (contact["jid"], contact["name"], contact["groups"]) == ("ben@localhost", "Ben <3", ["friends"])
    assert found["last_activity"]["status"] == "gone fishing"
    assert found["archive_preferences"]["default"] == "roster"
    assert [node["node"] for node in found["nodes"]] == ["urn:mood"]
    assert "glad" in found["items"][0]["payload"] and found["items"][0]["id"] == "current"
    assert bodies(found) == ["hello"] and not found["messages"][0]["incoming"]
    assert PASSWORD not in done.stdout
    assert bodies(json.loads(daemon.ctl("account", "export", "ben@localhost").stdout)) == ["hello"]
    assert daemon.ctl("account", "export", "no@localhost", check=False).returncode == 4


def test_a_removed_account_leaves_nothing_in_the_store(own_daemon):
    """A scan of every row: none without an account, and no mention of the person in any table file."""
    daemon = own_daemon()
    daemon.add_account("uniquely-named@localhost", PASSWORD)
    with RawClient(daemon) as raw:
        raw.login("uniquely-named", PASSWORD)
        raw.send("<presence/><message to='uniquely-named@localhost' type='chat'><body>to me</body></message>")
        raw.sync()
    daemon.ctl("account", "remove", "uniquely-named@localhost")
    rows = json.loads(daemon.ctl("store", "verify", "--json").stdout)["rows"]
    assert {family: number for family, number in rows.items() if family != "default"} == {
        family: 0 for family in ("accounts", "archive", "pep", "roster", "sessions", "state", "with")
    }
