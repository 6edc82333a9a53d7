//! Personal eventing through the whole server: what clients do at login, who is told, who may read.
use godwit_sim::{ClientId, World};
use godwit_store::{Cf, Owner, Range, Read as _, schema};
use std::ops::ControlFlow;

const OPEN: &[(&str, &str)] = &[("pubsub#access_model", "open")];
/// What XEP-0402 and XEP-0490 demand.
const PRIVATE: &[(&str, &str)] = &[
    ("pubsub#persist_items", "true"),
    ("pubsub#max_items", "max"),
    ("pubsub#send_last_published_item", "never"),
    ("pubsub#access_model", "whitelist"),
];
const DEVICES: &str = "eu.siacs.conversations.axolotl.devicelist";
const BOOKMARKS: &str = "urn:xmpp:bookmarks:1";
const MDS: &str = "urn:xmpp:mds:displayed:0";

fn world() -> World {
    let mut world = World::new(4, 2);
    ["alice", "bob", "carol"].iter().for_each(|name| world.account(name));
    world
}

fn form(type_: &str, fields: &[(&str, &str)]) -> String {
    let fields: String = fields
        .iter()
        .map(|(var, value)| format!("<field var='{var}'><value>{value}</value></field>"))
        .collect();
    format!(
        "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'>\
         <value>http://jabber.org/protocol/pubsub#{type_}</value></field>{fields}</x>"
    )
}

fn publish(node: &str, id: &str, payload: &str, options: &[(&str, &str)]) -> String {
    let id = if id.is_empty() { String::new() } else { format!(" id='{id}'") };
    let options = if options.is_empty() {
        String::new()
    } else {
        format!("<publish-options>{}</publish-options>", form("publish-options", options))
    };
    format!(
        "<iq type='set' id='p'><pubsub xmlns='http://jabber.org/protocol/pubsub'>\
         <publish node='{node}'><item{id}>{payload}</item></publish>{options}</pubsub></iq>"
    )
}

fn get(to: &str, node: &str, rest: &str) -> String {
    let to = if to.is_empty() { String::new() } else { format!(" to='{to}@example.org'") };
    format!(
        "<iq type='get' id='g'{to}><pubsub xmlns='http://jabber.org/protocol/pubsub'>\
         <items node='{node}'>{rest}</items></pubsub></iq>"
    )
}

fn own(type_: &str, action: &str) -> String {
    let ns = "http://jabber.org/protocol/pubsub#owner";
    format!("<iq type='{type_}' id='o'><pubsub xmlns='{ns}'>{action}</pubsub></iq>")
}

/// Sends and takes the answer.
fn ask(w: &mut World, id: ClientId, xml: &str) -> String {
    w.send(id, xml);
    w.take(id)
}

#[track_caller]
fn ok(answer: &str) {
    assert!(answer.contains("type='result'") && !answer.contains("type='error'"), "{answer}");
}

#[track_caller]
fn refused(answer: &str, parts: &[&str]) {
    assert!(answer.contains("type='error'"), "{answer}");
    for part in parts {
        assert!(answer.contains(part), "{part} in {answer}");
    }
}

/// A disco#info answer for the query that the server has put to a client.
fn answer_caps(w: &mut World, id: ClientId, asked: &str, wants: &[&str]) {
    let attr = |name: &str| {
        let from = asked.find("id='caps-").expect(asked);
        let query = &asked[from..];
        let at = query.find(&format!("{name}='")).expect(asked) + name.len() + 2;
        query[at..].split('\'').next().unwrap_or_default().to_owned()
    };
    let features: String = wants.iter().map(|node| format!("<feature var='{node}+notify'/>")).collect();
    w.send(
        id,
        &format!(
            "<iq type='result' id='{}' to='{}'>\
             <query xmlns='http://jabber.org/protocol/disco#info' node='{}'>\
             <identity category='client' type='pc'/>{features}</query></iq>",
            attr("id"),
            attr("from"),
            attr("node")
        ),
    );
}

/// An available session that wants to hear of these nodes; its hash proves nothing.
fn interested(w: &mut World, name: &str, resource: &str, wants: &[&str]) -> ClientId {
    let id = w.login(name, resource);
    w.send(
        id,
        "<presence><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='urn:client' ver='x'/>\
         </presence>",
    );
    let asked = w.take(id);
    answer_caps(w, id, &asked, wants);
    id
}

fn befriend(w: &mut World, one: (ClientId, &str), other: (ClientId, &str)) {
    for ((from, _), (to, _), asker, asked) in [(one, other, one.1, other.1), (other, one, other.1, one.1)] {
        w.send(from, &format!("<presence to='{asked}@example.org' type='subscribe'/>"));
        w.send(to, &format!("<presence to='{asker}@example.org' type='subscribed'/>"));
    }
    let _ = [one.0, other.0].map(|id| w.take(id));
}

#[test]
fn an_omemo_client_publishes_its_devices_and_everybody_reads_them() {
    let mut w = world();
    let (alice, bob) = (w.online("alice", "a"), w.online("bob", "b"));
    w.take(alice);
    let list = "<list xmlns='eu.siacs.conversations.axolotl'><device id='1'/></list>";
    let answer = ask(&mut w, alice, &publish(DEVICES, "current", list, OPEN));
    assert!(answer.contains("<item id='current'/>"), "{answer}");
    ok(&answer);
    let read = ask(&mut w, bob, &get("alice", DEVICES, ""));
    assert!(read.contains(list) && read.contains("from='alice@example.org'"), "{read}");
    let changed = "<list xmlns='eu.siacs.conversations.axolotl'><device id='1'/><device id='2'/></list>";
    ok(&ask(&mut w, alice, &publish(DEVICES, "current", changed, OPEN)));
    let read = ask(&mut w, bob, &get("alice", DEVICES, ""));
    assert!(read.contains(changed) && read.matches("<item ").count() == 1, "{read}");
    let other = [("pubsub#access_model", "presence")];
    refused(
        &ask(&mut w, alice, &publish(DEVICES, "current", list, &other)),
        &["<conflict ", "<precondition-not-met "],
    );
    // As Conversations does then: it changes the node and tries again.
    let form = form("node_config", &other);
    ok(&ask(&mut w, alice, &own("set", &format!("<configure node='{DEVICES}'>{form}</configure>"))));
    ok(&ask(&mut w, alice, &publish(DEVICES, "current", list, &other)));
    refused(&ask(&mut w, bob, &get("alice", DEVICES, "")), &["<service-unavailable "]);
}

#[test]
fn bookmarks_are_private_and_many() {
    let mut w = world();
    let (alice, bob) = (w.online("alice", "a"), w.online("bob", "b"));
    befriend(&mut w, (alice, "alice"), (bob, "bob"));
    for n in 0..20 {
        let payload = format!("<conference xmlns='{BOOKMARKS}' name='room {n}'><nick>a</nick></conference>");
        ok(&ask(&mut w, alice, &publish(BOOKMARKS, &format!("r{n}@rooms.example"), &payload, PRIVATE)));
    }
    let read = ask(&mut w, alice, &get("", BOOKMARKS, ""));
    assert_eq!(read.matches("<item ").count(), 20, "{read}");
    let (first, last) = (read.find("room 0'"), read.find("room 19'"));
    assert!(first < last, "in the order in which they were published");
    refused(&ask(&mut w, bob, &get("alice", BOOKMARKS, "")), &["<not-allowed ", "<closed-node "]);
    let retract = "<iq type='set' id='r'><pubsub xmlns='http://jabber.org/protocol/pubsub'>\
        <retract node='urn:xmpp:bookmarks:1' notify='true'><item id='r7@rooms.example'/></retract>\
        </pubsub></iq>";
    ok(&ask(&mut w, alice, retract));
    refused(&ask(&mut w, alice, retract), &["<item-not-found "]);
    let read = ask(&mut w, alice, &get("", BOOKMARKS, ""));
    assert!(read.matches("<item ").count() == 19 && !read.contains("room 7'"), "{read}");
    let one = ask(&mut w, alice, &get("", BOOKMARKS, "<item id='r3@rooms.example'/>"));
    assert!(one.contains("room 3'") && one.matches("<item ").count() == 1, "{one}");
}

#[test]
fn those_are_told_who_want_to_hear_and_may() {
    let mut w = world();
    let alice = interested(&mut w, "alice", "a", &["urn:mood", BOOKMARKS]);
    let deaf = interested(&mut w, "alice", "deaf", &[]);
    let bob = interested(&mut w, "bob", "b", &["urn:mood", BOOKMARKS]);
    let carol = interested(&mut w, "carol", "c", &["urn:mood"]);
    befriend(&mut w, (alice, "alice"), (bob, "bob"));
    let _ = [alice, deaf, bob, carol].map(|id| w.take(id));
    let mine = ask(&mut w, alice, &publish("urn:mood", "", "<mood xmlns='urn:mood'/>", &[]));
    assert!(mine.contains("type='headline'") && mine.contains("to='alice@example.org/a'"), "{mine}");
    let told = w.take(bob);
    assert!(
        told.contains("<message from='alice@example.org' to='bob@example.org/b' type='headline'"),
        "{told}"
    );
    assert!(told.contains("<items node='urn:mood'>") && told.contains("<mood xmlns='urn:mood'/>"), "{told}");
    assert_eq!((w.take(deaf), w.take(carol)), (String::new(), String::new()));
    let private = ask(&mut w, alice, &publish(BOOKMARKS, "r", "<conference xmlns='urn:x'/>", PRIVATE));
    assert!(private.contains("<items node='urn:xmpp:bookmarks:1'>"), "{private}");
    assert_eq!(w.take(bob), "", "it is on the whitelist of nobody");
    ok(&ask(&mut w, alice, &own("set", "<purge node='urn:mood'/>")));
    assert!(w.take(bob).contains("<purge node='urn:mood'/>"));
    ok(&ask(&mut w, alice, &own("set", "<delete node='urn:mood'/>")));
    assert!(w.take(bob).contains("<delete node='urn:mood'/>"));
    refused(&ask(&mut w, bob, &get("alice", "urn:mood", "")), &["<item-not-found "]);
}

#[test]
fn whoever_comes_online_gets_the_last_items_once() {
    let mut w = world();
    let (alice, bob) = (w.online("alice", "a"), w.online("bob", "b"));
    befriend(&mut w, (alice, "alice"), (bob, "bob"));
    w.cut(bob);
    for n in 1..4 {
        ok(&ask(&mut w, alice, &publish("urn:mood", "", &format!("<mood xmlns='urn:mood'>{n}</mood>"), &[])));
    }
    let never = [("pubsub#send_last_published_item", "never")];
    ok(&ask(&mut w, alice, &publish("urn:tune", "", "<tune xmlns='urn:tune'/>", &never)));
    let bob = interested(&mut w, "bob", "b", &["urn:mood", "urn:tune", "urn:nothing"]);
    let told = w.take(bob);
    assert!(told.contains(">3</mood>") && told.contains("from='alice@example.org'"), "{told}");
    assert!(told.contains("<delay xmlns='urn:xmpp:delay'") && !told.contains(">2</mood>"), "{told}");
    assert!(!told.contains("<tune"), "{told}");
    w.send(
        bob,
        "<presence><show>away</show>\
         <c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='urn:client' ver='x'/></presence>",
    );
    let again = w.take(bob);
    assert!(!again.contains("<mood") && !again.contains("disco#info"), "nothing new: {again}");
    // Another set of capabilities: only what it adds is sent.
    w.send(
        bob,
        "<presence><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='urn:client' ver='y'/>\
         </presence>",
    );
    let asked = w.take(bob);
    ok(&ask(&mut w, alice, &publish("urn:mood", "", "<mood xmlns='urn:mood'>4</mood>", &[])));
    assert!(w.take(bob).contains(">4</mood>"), "until it has answered it wants what it wanted");
    answer_caps(&mut w, bob, &asked, &["urn:mood", "urn:other"]);
    assert_eq!(w.take(bob), "");
}

#[test]
fn a_new_subscriber_gets_the_last_items() {
    let mut w = world();
    let alice = w.online("alice", "a");
    ok(&ask(&mut w, alice, &publish("urn:mood", "", "<mood xmlns='urn:mood'/>", &[])));
    let bob = interested(&mut w, "bob", "b", &["urn:mood"]);
    w.send(bob, "<presence to='alice@example.org' type='subscribe'/>");
    assert!(!w.take(bob).contains("<mood"), "not yet");
    w.send(alice, "<presence to='bob@example.org' type='subscribed'/>");
    let told = w.take(bob);
    assert!(told.contains("<mood xmlns='urn:mood'/>"), "{told}");
}

#[test]
fn a_removed_account_leaves_no_item() {
    let mut w = world();
    let alice = w.online("alice", "a");
    ok(&ask(&mut w, alice, &publish("urn:mood", "", "<mood xmlns='urn:mood'/>", &[])));
    let owner = w.hub.registry.with("alice@example.org", |live| live.owner).expect("online");
    let rows = |w: &World| {
        let (start, end) = schema::everything(Owner(owner));
        let mut rows = 0;
        let range = Range { cf: Cf::Pep, start, end, reverse: false };
        w.store
            .scan(&range, &mut |_, _| {
                rows += 1;
                ControlFlow::Continue(())
            })
            .expect("readable");
        rows
    };
    assert_eq!(rows(&w), 4, "totals, node, item and its place");
    w.send(alice, "<iq type='set' id='x'><query xmlns='jabber:iq:register'><remove/></query></iq>");
    assert_eq!(rows(&w), 0);
}

#[test]
fn a_proved_hash_is_asked_for_once() {
    let mut w = world();
    // sha-1 of `client/pc//<urn:mood+notify<`
    let presence = "<presence><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='urn:client' \
        ver='8g7EjWb2Gd2T7nm7v9ob7t84Ezk='/></presence>";
    let alice = w.login("alice", "a");
    let asked = ask(&mut w, alice, presence);
    assert!(asked.contains("node='urn:client#8g7EjWb2Gd2T7nm7v9ob7t84Ezk='"), "{asked}");
    answer_caps(&mut w, alice, &asked, &["urn:mood"]);
    let bob = w.login("bob", "b");
    assert!(!ask(&mut w, bob, presence).contains("disco#info"), "it is known what that client can do");
    let told = ask(&mut w, bob, &publish("urn:mood", "", "<mood xmlns='urn:mood'/>", &[]));
    assert!(told.contains("type='headline'"), "{told}");
    // A wrong hash is good for its sender only.
    let (carol, other) = (w.login("carol", "c"), w.login("carol", "d"));
    let forged = presence.replace("8g7", "8g8");
    let asked = ask(&mut w, carol, &forged);
    answer_caps(&mut w, carol, &asked, &["urn:mood"]);
    assert!(ask(&mut w, other, &forged).contains("disco#info"), "so another one with it is asked");
}

#[test]
fn full_nodes_forget_the_oldest_and_limits_hold() {
    let mut w = world();
    let alice = w.online("alice", "a");
    let three = [("pubsub#max_items", "3")];
    for n in 0..5 {
        ok(&ask(&mut w, alice, &publish("n", &format!("i{n}"), "<x xmlns='urn:x'/>", &three)));
    }
    // Published again it is the newest.
    ok(&ask(&mut w, alice, &publish("n", "i2", "<x xmlns='urn:x'/>", &three)));
    ok(&ask(&mut w, alice, &publish("n", "i5", "<x xmlns='urn:x'/>", &three)));
    let read = ask(&mut w, alice, &get("", "n", ""));
    let ids: Vec<&str> = read.split("<item id='").skip(1).map(|rest| &rest[..2]).collect();
    assert_eq!(ids, ["i4", "i2", "i5"], "{read}");
    let latest = "<iq type='get' id='l'><pubsub xmlns='http://jabber.org/protocol/pubsub'>\
        <items node='n' max_items='2'/></pubsub></iq>";
    let read = ask(&mut w, alice, latest);
    assert!(read.contains("'i2'") && read.contains("'i5'") && !read.contains("'i4'"), "{read}");
    let fewer = form("node_config", &[("pubsub#max_items", "1")]);
    ok(&ask(&mut w, alice, &own("set", &format!("<configure node='n'>{fewer}</configure>"))));
    let read = ask(&mut w, alice, &get("", "n", ""));
    assert!(read.contains("'i5'") && read.matches("<item ").count() == 1, "{read}");
    refused(
        &ask(&mut w, alice, &publish("m", "", "<x/>", &[("pubsub#max_items", "5000")])),
        &["<not-acceptable "],
    );
    for n in 1..250 {
        ok(&ask(&mut w, alice, &publish(&format!("n{n}"), "", "<x xmlns='urn:x'/>", &[])));
    }
    refused(&ask(&mut w, alice, &publish("one-more", "", "<x/>", &[])), &["<resource-constraint "]);
    ok(&ask(&mut w, alice, &own("set", "<delete node='n1'/>")));
    ok(&ask(&mut w, alice, &publish("one-more", "", "<x/>", &[])));
    let big = format!("<x xmlns='urn:x'>{}</x>", "y".repeat(200_000));
    let mut answers = (0..60).map(|n| ask(&mut w, alice, &publish(&format!("n{}", n + 2), "", &big, &[])));
    let full = answers.position(|answer| answer.contains("<resource-constraint ")).expect("a bound");
    assert!((50..54).contains(&full), "10 MiB hold 52 of 200,000 bytes: {full}");
}

#[test]
fn pages_of_items() {
    let mut w = world();
    let alice = w.online("alice", "a");
    for n in 0..10 {
        ok(&ask(&mut w, alice, &publish("n", &format!("i{n}"), "<x xmlns='urn:x'/>", PRIVATE)));
    }
    let page = |set: &str| {
        format!(
            "<iq type='get' id='g'><pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='n'/>\
             <set xmlns='http://jabber.org/protocol/rsm'>{set}</set></pubsub></iq>"
        )
    };
    for (set, ids, index) in [
        ("<max>3</max>", "i0 i1 i2", "0"),
        ("<max>3</max><after>i2</after>", "i3 i4 i5", "3"),
        ("<max>3</max><after>i8</after>", "i9", "9"),
        ("<max>2</max><before/>", "i8 i9", "8"),
        ("<max>2</max><before>i2</before>", "i0 i1", "0"),
    ] {
        let read = ask(&mut w, alice, &page(set));
        let found: Vec<&str> = read.split("<item id='").skip(1).map(|rest| &rest[..2]).collect();
        assert_eq!(found.join(" "), ids, "{set}: {read}");
        assert!(
            read.contains(&format!("<first index='{index}'>")) && read.contains("<count>10</count>"),
            "{read}"
        );
    }
    let read = ask(&mut w, alice, &page("<max>0</max>"));
    assert!(read.contains("<count>10</count>") && !read.contains("<first"), "{read}");
    let past = ask(&mut w, alice, &page("<max>3</max><after>i9</after>"));
    assert!(past.contains("<count>10</count>") && !past.contains("<item "), "{past}");
    refused(&ask(&mut w, alice, &page("<max>3</max><after>gone</after>")), &["<item-not-found "]);
}

#[test]
fn a_client_that_acknowledges_nothing_is_refused_and_not_cut_off() {
    let mut w = world();
    let writer = w.online("alice", "w");
    let big = format!("<x xmlns='urn:x'>{}</x>", "y".repeat(90_000));
    for n in 0..6 {
        ok(&ask(&mut w, writer, &publish("n", &format!("i{n}"), &big, PRIVATE)));
    }
    let all = ask(&mut w, writer, &get("", "n", ""));
    assert!(
        all.contains("'i5'") && all.contains("<count>6</count>"),
        "the latest that fit, and how many there are"
    );
    let both = "<item id='i1'/><item id='i2'/>";
    refused(&ask(&mut w, writer, &get("", "n", both)), &["<not-acceptable "]);
    let reader = w.login("alice", "r");
    w.send(reader, "<enable xmlns='urn:xmpp:sm:3'/>");
    w.take(reader);
    let one = get("", "n", "<item id='i1'/>");
    ok(&ask(&mut w, reader, &one));
    ok(&ask(&mut w, reader, &one));
    refused(&ask(&mut w, reader, &one), &["<resource-constraint "]);
    w.send(reader, "<a xmlns='urn:xmpp:sm:3' h='3'/>");
    w.take(reader);
    ok(&ask(&mut w, reader, &one));
}

#[test]
fn discovery_shows_what_there_is() {
    let mut w = world();
    let (alice, bob) = (w.online("alice", "a"), w.online("bob", "b"));
    befriend(&mut w, (alice, "alice"), (bob, "bob"));
    ok(&ask(&mut w, alice, &publish("urn:mood", "m", "<x/>", &[("pubsub#title", "Mood")])));
    ok(&ask(&mut w, alice, &publish(BOOKMARKS, "r", "<x/>", PRIVATE)));
    let disco = |what: &str, to: &str, node: &str| {
        format!(
            "<iq type='get' id='d'{to}><query xmlns='http://jabber.org/protocol/disco#{what}'{node}/></iq>"
        )
    };
    let info = ask(&mut w, alice, &disco("info", "", ""));
    for part in [
        "<identity category='pubsub' type='pep'/>",
        "pubsub#publish-options'",
        "pubsub#filtered-notifications'",
        "urn:xmpp:mds:server-assist:0",
    ] {
        assert!(info.contains(part), "{part} in {info}");
    }
    let server = ask(&mut w, alice, &disco("info", " to='example.org'", ""));
    assert!(
        server.contains("type='pep'") && server.contains("pubsub#publish-options"),
        "XEP-0223 §5: {server}"
    );
    let nodes = ask(&mut w, alice, &disco("items", "", ""));
    assert!(nodes.contains("node='urn:mood'") && nodes.contains("node='urn:xmpp:bookmarks:1'"), "{nodes}");
    let alices = " to='alice@example.org'";
    let nodes = ask(&mut w, bob, &disco("items", alices, ""));
    assert!(nodes.contains("node='urn:mood' name='Mood'") && !nodes.contains("bookmarks"), "{nodes}");
    let items = ask(&mut w, bob, &disco("items", alices, " node='urn:mood'"));
    assert!(items.contains("jid='alice@example.org' name='m'"), "{items}");
    // A list that would be too long for its reader ends early.
    for n in 0..100 {
        let id = format!("{n}{}", "i".repeat(3_000));
        ok(&ask(&mut w, alice, &publish(BOOKMARKS, &id, "<x/>", PRIVATE)));
    }
    let items = ask(&mut w, alice, &disco("items", "", " node='urn:xmpp:bookmarks:1'"));
    assert!((50_000..70_000).contains(&items.len()), "{}", items.len());
    let leaf = ask(&mut w, bob, &disco("info", alices, " node='urn:mood'"));
    assert!(leaf.contains("type='leaf'") && leaf.contains("<value>Mood</value>"), "{leaf}");
    refused(&ask(&mut w, bob, &disco("info", alices, " node='urn:xmpp:bookmarks:1'")), &["<item-not-found "]);
    let config = ask(&mut w, alice, &own("get", "<configure node='urn:mood'/>"));
    assert!(config.contains("type='form'") && config.contains("<value>Mood</value>"), "{config}");
    assert!(ask(&mut w, alice, &own("get", "<default/>")).contains("<value>on_sub_and_presence</value>"));
}

#[test]
fn others_may_not_write_and_wrong_requests_are_refused() {
    let mut w = world();
    let (alice, bob) = (w.online("alice", "a"), w.online("bob", "b"));
    let at_alice = |xml: String| xml.replace(" id='", " to='alice@example.org' id='");
    let mood = publish("urn:mood", "", "<x/>", &[]);
    refused(&ask(&mut w, bob, &at_alice(mood.clone())), &["<service-unavailable "]);
    befriend(&mut w, (alice, "alice"), (bob, "bob"));
    refused(&ask(&mut w, bob, &at_alice(mood.clone())), &["<forbidden "]);
    refused(&ask(&mut w, bob, &at_alice(own("set", "<delete node='urn:mood'/>"))), &["<forbidden "]);
    ok(&ask(&mut w, alice, &mood));
    let pubsub = |action: &str| {
        format!(
            "<iq type='set' id='w'><pubsub xmlns='http://jabber.org/protocol/pubsub'>{action}</pubsub></iq>"
        )
    };
    for (action, parts) in [
        ("<publish node='n'/>", "<item-required "),
        ("<publish><item/></publish>", "<nodeid-required "),
        ("<publish node='n'><item/></publish>", "<payload-required "),
        ("<publish node='n'><item><a/><b/></item></publish>", "<invalid-payload "),
        ("<retract node='n'/>", "<item-required "),
        ("<create node='urn:mood'/>", "<conflict "),
        ("<subscribe node='n' jid='alice@example.org'/>", "feature='subscribe'"),
        ("<nonsense/>", "<feature-not-implemented "),
    ] {
        refused(&ask(&mut w, alice, &pubsub(action)), &[parts]);
    }
    let made = ask(&mut w, alice, &pubsub("<create/>"));
    assert!(made.contains("<create node='"), "an instant node: {made}");
    refused(&ask(&mut w, alice, &get("", "none", "")), &["<item-not-found "]);
    refused(&ask(&mut w, alice, &get("nobody", "none", "")), &["<service-unavailable "]);
}

const MARKER: &str = "<message to='bob@example.org' type='chat' id='m'>\
    <displayed xmlns='urn:xmpp:chat-markers:0' id='1'/>\
    <displayed xmlns='urn:xmpp:mds:displayed:0'>\
    <stanza-id xmlns='urn:xmpp:sid:0' by='alice@example.org' id='0000'/></displayed></message>";

#[test]
fn server_assist_publishes_and_strips() {
    let mut w = world();
    let (alice, bob) = (w.online("alice", "a"), w.online("bob", "b"));
    let second = interested(&mut w, "alice", "second", &[MDS]);
    befriend(&mut w, (alice, "alice"), (bob, "bob"));
    let _ = [alice, bob, second].map(|id| w.take(id));
    w.send(alice, MARKER);
    let got = w.take(bob);
    assert!(got.contains("urn:xmpp:chat-markers:0") && !got.contains("mds"), "{got}");
    let told = w.take(second);
    assert!(
        told.contains("<item id='bob@example.org'><displayed xmlns='urn:xmpp:mds:displayed:0'><stanza-id "),
        "{told}"
    );
    w.send(alice, &MARKER.replace("0000", "1111"));
    let read = ask(&mut w, alice, &get("", MDS, ""));
    assert!(read.contains("id='1111'") && read.matches("<item ").count() == 1, "{read}");
    refused(&ask(&mut w, bob, &get("alice", MDS, "")), &["<closed-node "]);
    // The node is as the XEP wants it: a client's own publication agrees with it.
    let item = "<displayed xmlns='urn:xmpp:mds:displayed:0'>\
        <stanza-id xmlns='urn:xmpp:sid:0' by='alice@example.org' id='2222'/></displayed>";
    ok(&ask(&mut w, alice, &publish(MDS, "carol@example.org", item, PRIVATE)));
    w.take(bob);
    for wrong in ["by='carol@example.org'", "by=''", ""] {
        refused(&ask(&mut w, alice, &MARKER.replace("by='alice@example.org'", wrong)), &["<bad-request "]);
    }
    assert_eq!(w.take(bob), "", "what is refused is not delivered");
}

#[test]
fn what_was_displayed_does_not_leak_from_a_node_made_public() {
    let mut w = world();
    let alice = w.online("alice", "a");
    let bob = interested(&mut w, "bob", "b", &[MDS]);
    befriend(&mut w, (alice, "alice"), (bob, "bob"));
    ok(&ask(&mut w, alice, &publish(MDS, "x", "<x/>", OPEN)));
    w.take(bob);
    w.send(alice, &MARKER.replace("to='bob@", "to='carol@"));
    assert_eq!(w.take(bob), "");
    refused(&ask(&mut w, bob, &get("alice", MDS, "")), &["<closed-node "]);
}

#[test]
fn a_crash_takes_neither_item_nor_half_of_one() {
    let mut w = world();
    let alice = w.online("alice", "a");
    ok(&ask(&mut w, alice, &publish(BOOKMARKS, "kept", "<x xmlns='urn:x'/>", PRIVATE)));
    w.store.hold(true);
    w.send(alice, &publish(BOOKMARKS, "lost", "<x xmlns='urn:x'/>", PRIVATE));
    assert_eq!(w.take(alice), "", "not answered before it is durable");
    let mut w = w.crash();
    let alice = w.online("alice", "a");
    let read = ask(&mut w, alice, &get("", BOOKMARKS, ""));
    assert!(read.contains("'kept'") && !read.contains("'lost'"), "{read}");
    ok(&ask(&mut w, alice, &publish(BOOKMARKS, "more", "<x xmlns='urn:x'/>", PRIVATE)));
}

#[test]
fn two_resources_publish_at_once_and_both_items_are_there() {
    let mut w = world();
    let (one, two) = (w.online("alice", "1"), w.online("alice", "2"));
    w.store.hold(true);
    for (n, id) in [one, two, one, two].into_iter().enumerate() {
        w.send(id, &publish(BOOKMARKS, &format!("i{n}"), "<x xmlns='urn:x'/>", PRIVATE));
    }
    w.store.hold(false);
    w.settle();
    let _ = [one, two].map(|id| w.take(id));
    let read = ask(&mut w, one, &get("", BOOKMARKS, ""));
    assert_eq!(read.matches("<item ").count(), 4, "{read}");
    let again = ask(&mut w, one, &publish(BOOKMARKS, "i0", "<x xmlns='urn:x'/>", PRIVATE));
    ok(&again);
    let read = ask(&mut w, one, &get("", BOOKMARKS, ""));
    assert_eq!(read.matches("<item ").count(), 4, "{read}");
}
