//! Archive queries (XEP-0313) through the whole server.
use godwit_sim::{ClientId, World};

fn world(names: &[&str]) -> World {
    let mut world = World::new(1, 2);
    names.iter().for_each(|name| world.account(name));
    world
}

fn say(w: &mut World, from: ClientId, to: &str, body: &str) {
    w.send(from, &format!("<message to='{to}' type='chat'><body>{body}</body></message>"));
}

fn ask(w: &mut World, who: ClientId, inside: &str) -> String {
    w.take(who);
    w.send(
        who,
        &format!("<iq type='set' id='q'><query xmlns='urn:xmpp:mam:2' queryid='f1'>{inside}</query></iq>"),
    );
    w.take(who)
}

fn form(fields: &[(&str, &str)]) -> String {
    let fields: String = fields
        .iter()
        .map(|(var, value)| format!("<field var='{var}'><value>{value}</value></field>"))
        .collect();
    format!(
        "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'>\
         <value>urn:xmpp:mam:2</value></field>{fields}</x>"
    )
}

fn set(inside: &str) -> String {
    format!("<set xmlns='http://jabber.org/protocol/rsm'>{inside}</set>")
}

/// What stands between two strings, each time.
fn between(text: &str, from: &str, to: &str) -> Vec<String> {
    text.split(from).skip(1).map(|rest| rest.split(to).next().unwrap_or_default().to_owned()).collect()
}

fn bodies(inbox: &str) -> Vec<String> {
    between(inbox, "<body>", "</body>")
}

fn ids(inbox: &str) -> Vec<String> {
    between(inbox, "<result xmlns='urn:xmpp:mam:2' queryid='f1' id='", "'")
}

fn one(text: &str, from: &str, to: &str) -> String {
    between(text, from, to).into_iter().next().unwrap_or_default()
}

/// Alice and Bob have talked; eleven messages in each archive.
fn talked() -> (World, ClientId, ClientId) {
    let mut w = world(&["alice", "bob"]);
    let (alice, bob) = (w.online("alice", "a"), w.online("bob", "b"));
    for n in 0..10 {
        let (from, to) = if n % 2 == 0 { (alice, "bob@example.org") } else { (bob, "alice@example.org/a") };
        say(&mut w, from, to, &format!("m{n}"));
        w.pass(1_000);
    }
    (w, alice, bob)
}

#[test]
fn a_query_gives_both_sides_of_the_conversation_and_then_the_end() {
    let (mut w, alice, bob) = talked();
    let expected: Vec<String> = (0..10).map(|n| format!("m{n}")).collect();
    for who in [alice, bob] {
        let inbox = ask(&mut w, who, "");
        assert_eq!(bodies(&inbox), expected);
        assert!(inbox.trim_end().ends_with("</iq>"), "the answer comes behind the results: {inbox}");
        assert!(inbox.contains("<fin xmlns='urn:xmpp:mam:2' complete='true'>"), "{inbox}");
        assert!(inbox.contains("<first index='0'>") && inbox.contains("<count>10</count>"), "{inbox}");
        assert_eq!(ids(&inbox).first(), Some(&one(&inbox, "<first index='0'>", "<")));
        assert_eq!(ids(&inbox).last(), Some(&one(&inbox, "<last>", "<")));
    }
    let inbox = ask(&mut w, bob, &set("<max>1</max>"));
    let stamp = "<forwarded xmlns='urn:xmpp:forward:0'>\
                 <delay xmlns='urn:xmpp:delay' stamp='2023-11-14T22:13:20.000Z'/>";
    let stanza = "<message xmlns='jabber:client' type='chat' from='alice@example.org/a' to='bob@example.org'>\
                  <body>m0</body></message></forwarded></result></message>";
    assert!(inbox.starts_with("<message from='bob@example.org' to='bob@example.org/b'>"), "{inbox}");
    assert!(inbox.contains(&format!("{stamp}{stanza}")), "{inbox}");
}

#[test]
fn the_id_of_a_result_is_the_one_that_the_message_had_when_it_was_delivered() {
    let mut w = world(&["alice", "bob"]);
    let (alice, bob) = (w.online("alice", "a"), w.online("bob", "b"));
    w.take(bob);
    say(&mut w, alice, "bob@example.org", "x");
    let delivered = one(&w.take(bob), "by='bob@example.org' id='", "'");
    assert_eq!(ids(&ask(&mut w, bob, "")), [delivered]);
}

#[test]
fn pages_forwards_backwards_and_flipped() {
    let (mut w, alice, _) = talked();
    let mut seen = Vec::new();
    let mut after = String::new();
    for _ in 0..4 {
        let inbox = ask(&mut w, alice, &set(&format!("<max>3</max>{after}")));
        seen.extend(bodies(&inbox));
        assert_eq!(inbox.contains("complete='true'"), seen.len() == 10, "{inbox}");
        after = format!("<after>{}</after>", one(&inbox, "<last>", "<"));
    }
    assert_eq!(seen, (0..10).map(|n| format!("m{n}")).collect::<Vec<_>>());

    let last = ask(&mut w, alice, &set("<max>3</max><before/>"));
    assert_eq!(bodies(&last), ["m7", "m8", "m9"]);
    assert!(!last.contains("complete") && !last.contains("index"), "{last}");
    let first_id = one(&last, "<first>", "<");
    assert_eq!(first_id, ids(&last)[0]);
    let page = set(&format!("<max>7</max><before>{first_id}</before>"));
    let rest = ask(&mut w, alice, &page);
    assert_eq!(bodies(&rest), ["m0", "m1", "m2", "m3", "m4", "m5", "m6"]);
    assert!(rest.contains("complete='true'"), "{rest}");

    let flipped = ask(&mut w, alice, &format!("{}<flip-page/>", set("<max>3</max><before/>")));
    assert_eq!(bodies(&flipped), ["m9", "m8", "m7"]);
    assert_eq!(one(&flipped, "<first>", "<"), first_id, "flipping changes the order of sending alone");
}

#[test]
fn filters_by_contact_time_and_ids() {
    let mut w = world(&["alice", "bob", "carol"]);
    let (alice, _, _) = (w.online("alice", "a"), w.online("bob", "b"), w.online("carol", "c"));
    for (n, to) in ["bob@example.org", "carol@example.org/c", "alice@example.org", "bob@example.org/b"]
        .iter()
        .enumerate()
    {
        say(&mut w, alice, to, &format!("m{n}"));
        w.pass(1_000);
    }
    let of = |w: &mut World, fields: &[(&str, &str)]| bodies(&ask(w, alice, &form(fields)));
    assert_eq!(of(&mut w, &[("with", "bob@example.org")]), ["m0", "m3"]);
    assert_eq!(of(&mut w, &[("with", "Bob@Example.org/b")]), ["m3"]);
    assert_eq!(of(&mut w, &[("with", "carol@example.org")]), ["m1"]);
    assert_eq!(of(&mut w, &[("with", "alice@example.org")]), ["m2"], "to oneself, and no other");
    assert_eq!(of(&mut w, &[("with", "nobody@elsewhere.example")]), [""; 0]);

    assert_eq!(of(&mut w, &[("start", "2023-11-14T22:13:21Z")]), ["m1", "m2", "m3"], "from that moment on");
    assert_eq!(of(&mut w, &[("start", "2023-11-14T22:13:21.0001Z")]), ["m2", "m3"]);
    assert_eq!(of(&mut w, &[("end", "2023-11-15T00:13:21+02:00")]), ["m0", "m1"], "up to that moment");
    assert_eq!(of(&mut w, &[("end", "1969-01-01T00:00:00Z")]), [""; 0]);
    let both =
        [("start", "2023-11-14T22:13:21Z"), ("end", "2023-11-14T22:13:22Z"), ("with", "alice@example.org")];
    assert_eq!(of(&mut w, &both), ["m2"]);

    let ids = ids(&ask(&mut w, alice, ""));
    assert_eq!(of(&mut w, &[("after-id", &ids[0]), ("before-id", &ids[3])]), ["m1", "m2"]);
    let two = format!("{}</value><value>{}", ids[3], ids[1]);
    assert_eq!(of(&mut w, &[("ids", &two)]), ["m1", "m3"], "in the archive's order");
    assert_eq!(of(&mut w, &[("ids", &two), ("with", "bob@example.org")]), ["m3"]);
}

#[test]
fn unknown_ids_are_not_found_wherever_they_stand() {
    let (mut w, alice, bob) = talked();
    let of_bob = ids(&ask(&mut w, bob, ""))[0].clone();
    for id in ["", "x", "ffffffffffffffff", "00000000000000001", "&lt;", &"9".repeat(4_000), &of_bob] {
        let mut queries = vec![set(&format!("<after>{id}</after>"))];
        if !id.is_empty() {
            queries.push(set(&format!("<before>{id}</before>")));
            queries.extend(["before-id", "after-id", "ids"].map(|field| form(&[(field, id)])));
        }
        for query in queries {
            let inbox = ask(&mut w, alice, &query);
            assert!(inbox.contains("<item-not-found"), "{query}: {inbox}");
            assert!(!inbox.contains("<result"), "{inbox}");
        }
    }
}

#[test]
fn bad_queries_are_refused_with_a_reason() {
    let (mut w, alice, _) = talked();
    let untyped = "<x xmlns='jabber:x:data' type='submit'><field var='with'><value>a@b</value></field></x>";
    let many = vec!["0000000000000001"; 251].join("</value><value>");
    for (query, condition) in [
        (form(&[("start", "yesterday")]), "bad-request"),
        (form(&[("end", "2023-02-29T00:00:00Z")]), "bad-request"),
        (form(&[("with", "@")]), "bad-request"),
        (form(&[("with", "a@b"), ("with", "c@d")]), "bad-request"),
        (form(&[("ids", &many)]), "bad-request"),
        (form(&[("include-groupchat", "maybe")]), "bad-request"),
        (form(&[("{urn:example}subject", "x")]), "feature-not-implemented"),
        (untyped.to_owned(), "bad-request"),
        ("<x xmlns='jabber:x:data' type='cancel'/>".to_owned(), "bad-request"),
        (set("<max>many</max>"), "bad-request"),
        (set("<index>5</index>"), "feature-not-implemented"),
    ] {
        let inbox = ask(&mut w, alice, &query);
        assert!(inbox.contains(condition) && inbox.contains("<text"), "{query}: {inbox}");
    }
    let inbox = ask(&mut w, alice, &form(&[("include-groupchat", "true"), ("before-id", "")]));
    assert_eq!(bodies(&inbox).len(), 10, "{inbox}");
}

#[test]
fn nobody_reads_the_archive_of_another() {
    let (mut w, alice, _) = talked();
    for payload in ["<query xmlns='urn:xmpp:mam:2'/>", "<metadata xmlns='urn:xmpp:mam:2'/>"] {
        for type_ in ["get", "set"] {
            w.take(alice);
            w.send(alice, &format!("<iq type='{type_}' id='q' to='bob@example.org'>{payload}</iq>"));
            let inbox = w.take(alice);
            assert!(inbox.contains("<forbidden") && !inbox.contains("<body>"), "{inbox}");
        }
    }
}

#[test]
fn form_metadata_and_features() {
    let (mut w, alice, _) = talked();
    let get = |w: &mut World, payload: &str| {
        w.take(alice);
        w.send(alice, &format!("<iq type='get' id='g' to='alice@example.org'>{payload}</iq>"));
        w.take(alice)
    };
    let inbox = get(&mut w, "<query xmlns='urn:xmpp:mam:2'/>");
    for field in ["with", "start", "end", "before-id", "after-id", "ids"] {
        assert!(inbox.contains(&format!("var='{field}'")), "{inbox}");
    }
    let metadata = get(&mut w, "<metadata xmlns='urn:xmpp:mam:2'/>");
    let all = ids(&ask(&mut w, alice, ""));
    let (start, end) = (&all[0], &all[9]);
    assert!(
        metadata.contains(&format!("<start id='{start}' timestamp='2023-11-14T22:13:20.000Z'/>")),
        "{metadata}"
    );
    assert!(
        metadata.contains(&format!("<end id='{end}' timestamp='2023-11-14T22:13:29.000Z'/>")),
        "{metadata}"
    );
    let info = get(&mut w, "<query xmlns='http://jabber.org/protocol/disco#info'/>");
    for feature in ["urn:xmpp:mam:2", "urn:xmpp:mam:2#extended", "urn:xmpp:sid:0"] {
        assert!(info.contains(&format!("<feature var='{feature}'/>")), "{info}");
    }
    w.send(
        alice,
        "<iq type='get' id='s' to='example.org'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>",
    );
    assert!(!w.take(alice).contains("urn:xmpp:mam:2"), "the server itself has no archive");
    w.account("dave");
    let dave = w.login("dave", "d");
    w.send(dave, "<iq type='get' id='m'><metadata xmlns='urn:xmpp:mam:2'/></iq>");
    assert!(w.take(dave).contains("<metadata xmlns='urn:xmpp:mam:2'/>"));
    let empty = ask(&mut w, dave, "");
    assert!(empty.contains("complete='true'") && !empty.contains("<first"), "{empty}");
}

#[test]
fn a_count_without_messages() {
    let (mut w, alice, _) = talked();
    let inbox = ask(&mut w, alice, &set("<max>0</max>"));
    assert!(
        inbox.contains("<count>10</count>") && !inbox.contains("<result") && !inbox.contains("<first"),
        "{inbox}"
    );
    let with = format!("{}{}", form(&[("with", "nobody@example.org")]), set("<max>0</max>"));
    assert!(ask(&mut w, alice, &with).contains("<count>0</count>"));
}

#[test]
fn a_greedy_client_gets_a_page_and_goes_on_from_there() {
    let mut w = world(&["alice", "bob"]);
    let alice = w.online("alice", "a");
    for n in 0..150 {
        say(&mut w, alice, "bob@example.org", &format!("m{n}"));
    }
    let inbox = ask(&mut w, alice, &set("<max>99999999999999999999999</max>"));
    assert_eq!(bodies(&inbox).len(), 100, "the limit of the test's settings");
    assert!(!inbox.contains("complete"), "{inbox}");
    assert_eq!(bodies(&ask(&mut w, alice, "")).len(), 50, "what a client gets that does not say");
}

fn enable(w: &mut World, name: &str) -> ClientId {
    let id = w.online(name, "sm");
    w.send(id, "<enable xmlns='urn:xmpp:sm:3'/>");
    w.take(id);
    id
}

/// Found while it was built: pages of large messages ended the session, as more than it may leave
/// unacknowledged.
#[test]
fn pages_of_large_messages_fit_what_a_session_may_leave_unacknowledged() {
    let mut w = world(&["alice", "bob"]);
    let alice = w.online("alice", "a");
    let large = "x".repeat(40_000);
    for _ in 0..12 {
        say(&mut w, alice, "bob@example.org", &large);
    }
    w.send(alice, "<presence type='unavailable'/>");
    let reader = enable(&mut w, "alice");
    let (mut seen, mut received, mut refused, mut after) = (0, 0, 0, String::new());
    while seen < 12 {
        let inbox = ask(&mut w, reader, &set(&format!("<max>50</max>{after}")));
        assert!(!w.client(reader).closed && !inbox.contains("stream:error"), "{received} stanzas");
        received += inbox.matches("<result ").count() + inbox.matches("<iq ").count();
        if inbox.contains("<resource-constraint") {
            refused += 1;
            assert!(refused < 12, "acknowledging helps");
            w.send(reader, &format!("<a xmlns='urn:xmpp:sm:3' h='{received}'/>"));
        } else {
            assert!(!bodies(&inbox).is_empty(), "at least one comes");
            seen += bodies(&inbox).len();
            after = format!("<after>{}</after>", one(&inbox, "<last>", "<"));
        }
    }
    assert_eq!(seen, 12);
    assert!(refused > 0, "the test is about a client that does not acknowledge by itself");
}

#[test]
fn a_flood_of_queries_is_answered_in_order_and_ends_nobody() {
    let (mut w, alice, bob) = talked();
    w.take(alice);
    let mut flood = String::new();
    for n in 0..300 {
        let page = set("<max>1</max>");
        flood += &format!("<iq type='set' id='q{n}'><query xmlns='urn:xmpp:mam:2'>{page}</query></iq>");
    }
    w.push(alice, flood.as_bytes());
    w.settle();
    let inbox = w.take(alice);
    let answered = between(&inbox, "<iq type='result' id='q", "'");
    assert_eq!(answered, (0..300).map(|n| n.to_string()).collect::<Vec<_>>());
    w.take(bob);
    say(&mut w, alice, "bob@example.org", "still there");
    assert_eq!(bodies(&w.take(bob)), ["still there"]);
}

fn prefer(w: &mut World, who: ClientId, default: &str, always: &str, never: &str) -> String {
    let list = |jid: &str| if jid.is_empty() { String::new() } else { format!("<jid>{jid}</jid>") };
    let lists = format!("<always>{}</always><never>{}</never>", list(always), list(never));
    w.take(who);
    w.send(
        who,
        &format!(
            "<iq type='set' id='p'><prefs xmlns='urn:xmpp:mam:2' default='{default}'>{lists}</prefs></iq>"
        ),
    );
    w.take(who)
}

#[test]
fn preferences_are_stored_and_told() {
    let mut w = world(&["alice"]);
    let alice = w.online("alice", "a");
    w.take(alice);
    w.send(alice, "<iq type='get' id='p'><prefs xmlns='urn:xmpp:mam:2'/></iq>");
    let inbox = w.take(alice);
    assert!(
        inbox.contains("<prefs xmlns='urn:xmpp:mam:2' default='always'><always/><never/></prefs>"),
        "{inbox}"
    );
    let inbox = prefer(&mut w, alice, "roster", "Bob@example.org", "carol@example.org/c");
    let applied = "<prefs xmlns='urn:xmpp:mam:2' default='roster'><always><jid>bob@example.org</jid></always>\
                   <never><jid>carol@example.org/c</jid></never></prefs>";
    assert!(inbox.contains(applied), "{inbox}");
    let mut w = w.crash();
    let alice = w.online("alice", "a");
    w.send(alice, "<iq type='get' id='p'><prefs xmlns='urn:xmpp:mam:2'/></iq>");
    assert!(w.take(alice).contains(applied), "they survive");

    assert!(prefer(&mut w, alice, "sometimes", "", "").contains("<bad-request"));
    assert!(prefer(&mut w, alice, "never", "@", "").contains("<jid-malformed"));
    let many: Vec<String> = (0..201).map(|n| format!("a{n}@b")).collect();
    assert!(prefer(&mut w, alice, "never", &many.join("</jid><jid>"), "").contains("<not-acceptable"));
    w.account("bob");
    w.send(alice, "<iq type='get' id='p' to='bob@example.org'><prefs xmlns='urn:xmpp:mam:2'/></iq>");
    assert!(w.take(alice).contains("<forbidden"));
}

#[test]
fn what_preferences_exclude_is_delivered_and_not_found_by_queries() {
    let mut w = world(&["alice", "bob"]);
    let (alice, bob) = (w.online("alice", "a"), w.online("bob", "b"));
    prefer(&mut w, bob, "never", "", "");
    w.send(bob, "<presence type='unavailable'/>");
    say(&mut w, alice, "bob@example.org", "while away");
    w.take(bob);
    w.send(bob, "<presence/>");
    assert_eq!(bodies(&w.take(bob)), ["while away"], "it waited for him");
    say(&mut w, alice, "bob@example.org", "live");
    assert_eq!(bodies(&w.take(bob)), ["live"]);
    say(&mut w, bob, "alice@example.org", "answer");
    assert_eq!(bodies(&ask(&mut w, bob, "")), [""; 0], "neither side of it");
    assert_eq!(bodies(&ask(&mut w, alice, "")), ["while away", "live", "answer"], "her own archive is hers");
    w.send(bob, "<iq type='get' id='m'><metadata xmlns='urn:xmpp:mam:2'/></iq>");
    assert!(w.take(bob).contains("<metadata xmlns='urn:xmpp:mam:2'/>"));
}

/// They are remembered while the account is online.
#[test]
fn changed_preferences_hold_for_the_next_message() {
    let mut w = world(&["alice", "bob"]);
    let (alice, bob) = (w.online("alice", "a"), w.online("bob", "b"));
    for (policy, body) in [("", "unset"), ("never", "never"), ("always", "always"), ("never", "again never")]
    {
        if !policy.is_empty() {
            prefer(&mut w, bob, policy, "", "");
        }
        say(&mut w, alice, "bob@example.org", body);
        say(&mut w, alice, "bob@example.org", &format!("{body} once more"));
    }
    let archived = ["unset", "unset once more", "always", "always once more"];
    assert_eq!(bodies(&ask(&mut w, bob, "")), archived);
}

#[test]
fn preferences_by_contact_and_by_roster() {
    let mut w = world(&["alice", "bob", "carol"]);
    let (alice, bob, carol) = (w.online("alice", "a"), w.online("bob", "b"), w.online("carol", "c"));
    prefer(&mut w, alice, "never", "bob@example.org", "");
    for (from, body) in [(bob, "b1"), (carol, "c1")] {
        say(&mut w, from, "alice@example.org", body);
    }
    prefer(&mut w, alice, "always", "", "bob@example.org/b");
    for (from, body) in [(bob, "b2"), (carol, "c2")] {
        say(&mut w, from, "alice@example.org", body);
    }
    say(&mut w, alice, "bob@example.org", "to the bare address, which is not listed");
    prefer(&mut w, alice, "roster", "", "");
    let item = "<query xmlns='jabber:iq:roster'><item jid='carol@example.org'/></query>";
    w.send(alice, &format!("<iq type='set' id='r'>{item}</iq>"));
    for (from, body) in [(bob, "b3"), (carol, "c3")] {
        say(&mut w, from, "alice@example.org", body);
    }
    let expected = ["b1", "c2", "to the bare address, which is not listed", "c3"];
    assert_eq!(bodies(&ask(&mut w, alice, "")), expected);
}

#[test]
fn what_is_too_old_is_neither_found_nor_delivered() {
    const DAY_MS: u64 = 86_400_000;
    let mut w = world(&["alice", "bob"]);
    let mut settings = (*w.hub.settings()).clone();
    settings.archive.keep_ms = Some(DAY_MS);
    w.hub.reload(settings);
    let alice = w.online("alice", "a");
    say(&mut w, alice, "bob@example.org", "old");
    let id = ids(&ask(&mut w, alice, "")).remove(0);
    w.pass(DAY_MS / 2);
    let alice = w.online("alice", "b");
    say(&mut w, alice, "bob@example.org", "new");
    assert_eq!(bodies(&ask(&mut w, alice, "")), ["old", "new"]);
    w.pass(DAY_MS / 2 + 1);
    let (alice, bob) = (w.online("alice", "c"), w.online("bob", "b"));
    assert_eq!(bodies(&w.take(bob)), ["new"], "it waited too long");
    for who in [alice, bob] {
        assert_eq!(bodies(&ask(&mut w, who, "")), ["new"]);
        let with = if who == alice { "bob@example.org" } else { "alice@example.org" };
        assert_eq!(bodies(&ask(&mut w, who, &form(&[("with", with)]))), ["new"]);
    }
    assert!(ask(&mut w, alice, &set(&format!("<after>{id}</after>"))).contains("<item-not-found"));
}
