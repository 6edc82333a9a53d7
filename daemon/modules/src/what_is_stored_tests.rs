//! A test per line of the table, and the rules around it.
use super::*;
use godwit_wire::{Element, Scope};

fn message(type_: &str, children: &str) -> Stanza {
    let xml = format!("<message to='a@b' type='{type_}'>{children}</message>");
    Stanza::from_element(Element::parse(xml.as_bytes(), &Scope::client()).unwrap()).unwrap().unwrap()
}

fn keep(children: &str) -> Keep {
    kept(&message("chat", children))
}

#[test]
fn each_line_alone_is_kept_as_it_says() {
    for line in TABLE {
        let name = if line.name.is_empty() { "anything" } else { line.name };
        let expected = match line.says {
            Says::Kept(keep) => keep,
            Says::Nothing => Keep::No,
        };
        assert_eq!(keep(&format!("<{name} xmlns='{}'/>", line.ns)), expected, "{line:?}");
    }
}

#[test]
fn each_line_beside_a_body_is_kept_with_it() {
    for line in TABLE {
        let name = if line.name.is_empty() { "anything" } else { line.name };
        assert_eq!(keep(&format!("<body>x</body><{name} xmlns='{}'/>", line.ns)), Keep::Archive, "{line:?}");
    }
}

#[test]
fn lines_are_in_the_order_of_their_specifications_and_reachable() {
    let specs: Vec<&str> = TABLE.iter().map(|line| line.spec).collect();
    assert!(specs.is_sorted(), "{specs:?}");
    for (n, line) in TABLE.iter().enumerate() {
        let first = TABLE.iter().position(|l| l.ns == line.ns && (l.name.is_empty() || l.name == line.name));
        assert_eq!(first, Some(n), "{line:?} is behind one that covers it");
    }
}

#[test]
fn every_specification_of_the_table_is_in_the_info() {
    let listed: Vec<&str> = Hints.info().specs().map(|spec| spec.id).collect();
    for line in TABLE {
        let elsewhere = ["RFC 6121", "XEP-0203", "XEP-0249", "XEP-0280", "XEP-0359", "XEP-0490"];
        assert!(listed.contains(&line.spec) || elsewhere.contains(&line.spec), "{}", line.spec);
    }
}

#[test]
fn what_nobody_knows_is_kept_and_what_is_empty_is_not() {
    assert_eq!(keep("<x xmlns='urn:unknown'/>"), Keep::Archive);
    assert_eq!(keep(""), Keep::No);
    assert_eq!(keep("just text"), Keep::No);
}

#[test]
fn types_come_before_content() {
    let body = "<body>x</body>";
    for (type_, expected) in [
        ("chat", Keep::Archive),
        ("normal", Keep::Archive),
        ("unheard-of", Keep::Archive),
        ("headline", Keep::No),
        ("groupchat", Keep::No),
        ("error", Keep::No),
    ] {
        assert_eq!(kept(&message(type_, body)), expected, "{type_}");
    }
}

#[test]
fn hints_come_before_types_except_in_errors_and_rooms() {
    let hints = |names: &[&str]| -> String {
        names.iter().map(|name| format!("<{name} xmlns='urn:xmpp:hints'/>")).collect()
    };
    let table: [(&str, &str, &[&str], Keep); 10] = [
        ("chat", "<body>x</body>", &["no-store"], Keep::No),
        ("chat", "<body>x</body>", &["no-permanent-store"], Keep::Delivery),
        ("chat", "<body>x</body>", &["no-copy"], Keep::Archive),
        ("chat", "<active xmlns='http://jabber.org/protocol/chatstates'/>", &["store"], Keep::Archive),
        (
            "chat",
            "<active xmlns='http://jabber.org/protocol/chatstates'/>",
            &["no-permanent-store"],
            Keep::No,
        ),
        ("headline", "<body>x</body>", &["store"], Keep::Archive),
        ("error", "<body>x</body>", &["store"], Keep::No),
        ("groupchat", "<body>x</body>", &["store"], Keep::No),
        ("chat", "<body>x</body>", &["store", "no-store"], Keep::No),
        ("chat", "", &["store", "no-permanent-store"], Keep::Delivery),
    ];
    for (type_, content, names, expected) in table {
        let children = format!("{content}{}", hints(names));
        assert_eq!(kept(&message(type_, &children)), expected, "{type_}: {children}");
    }
}

#[test]
fn a_body_that_only_stands_for_something_not_kept_is_not_kept() {
    let state = "<composing xmlns='http://jabber.org/protocol/chatstates'/>";
    let whole = "<fallback xmlns='urn:xmpp:fallback:0' for='http://jabber.org/protocol/chatstates'/>";
    let part = "<fallback xmlns='urn:xmpp:fallback:0' for='http://jabber.org/protocol/chatstates'>\
                <body start='0' end='1'/></fallback>";
    let all_of_it = "<fallback xmlns='urn:xmpp:fallback:0' for='http://jabber.org/protocol/chatstates'>\
                     <body/></fallback>";
    let body = "<body>typing</body>";
    assert_eq!(keep(&format!("{body}{state}{whole}")), Keep::No);
    assert_eq!(keep(&format!("{body}{state}{all_of_it}")), Keep::No);
    assert_eq!(keep(&format!("{body}{state}{part}")), Keep::Archive, "part of it is a message");
    assert_eq!(keep(&format!("{body}{whole}")), Keep::Archive, "what it stands for is not there");
    assert_eq!(keep(&format!("{body}{state}")), Keep::Archive, "no mark");
    let unknown = "<x xmlns='urn:x'/><fallback xmlns='urn:xmpp:fallback:0' for='urn:x'/>";
    assert_eq!(
        keep(&format!("{body}{unknown}")),
        Keep::Archive,
        "this server does not know what it stands for"
    );
    let reaction = "<reactions xmlns='urn:xmpp:reactions:0' id='1'/>\
                    <fallback xmlns='urn:xmpp:fallback:0' for='urn:xmpp:reactions:0'/>";
    assert_eq!(keep(&format!("{body}{reaction}")), Keep::Archive);
}
