//! XEP-0115 Entity Capabilities, as the server uses them: which nodes a client wants to hear of (`+notify`,
//! XEP-0163 §4.2).
//!
//! A client is asked (disco#info, from its own account) when it announces a hash that nobody has proved yet.
//! An answer from which the hash can be computed is kept for all clients; another one counts for its sender
//! only. So nobody can say anything in another one's name.
use crate::effects::{Effect, Effects};
use crate::module::{Cx, Info, Module};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use godwit_wire::{IqType, Node, Stanza, StanzaError, Writer, ns};
use serde::{Deserialize, Serialize};
use sha1::{Digest as _, Sha1};
use sha2::{Sha256, Sha512};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Most nodes that one client may want to hear of, and most bytes of one name; more are not heeded.
const WANTS_MAX: usize = 128;
const WANT_BYTES_MAX: usize = 1_023;
/// Longest `ver`, `hash` and `node` that are looked at, in bytes.
const ATTRIBUTE_BYTES_MAX: usize = 1_023;
/// Proved hashes kept; twice as many for a while.
const PROVED_MAX: usize = 1_024;
const ID_PREFIX: &str = "caps-";
const NOTIFY: &str = "+notify";

/// The module.
#[derive(Debug)]
pub struct EntityCaps;

/// What a client can do, as far as it matters here.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(from = "CapsImage", into = "CapsImage")]
pub struct Caps {
    hash: Box<str>,
    ver: Box<str>,
    /// Nodes, sorted.
    wants: Arc<[Box<str>]>,
}

/// Its form in a hand-over: hash, `ver`, nodes.
type CapsImage = (Box<str>, Box<str>, Vec<Box<str>>);

impl From<CapsImage> for Caps {
    fn from((hash, ver, wants): CapsImage) -> Caps {
        Caps { hash, ver, wants: wants.into() }
    }
}

impl From<Caps> for CapsImage {
    fn from(Caps { hash, ver, wants }: Caps) -> CapsImage {
        (hash, ver, wants.to_vec())
    }
}

impl Caps {
    /// Wants to hear of a node.
    pub fn wants(&self, node: &str) -> bool {
        self.wants.binary_search_by(|want| (**want).cmp(node)).is_ok()
    }

    /// What it wants to hear of that `before` did not.
    pub fn news<'a>(&'a self, before: Option<&'a Caps>) -> impl Iterator<Item = &'a str> {
        self.wants.iter().map(|want| &**want).filter(move |want| !before.is_some_and(|caps| caps.wants(want)))
    }

    fn is(&self, hash: &str, ver: &str) -> bool {
        *self.hash == *hash && *self.ver == *ver
    }
}

type Key = (Box<str>, Box<str>);

/// Proved hashes. What is asked for stays; what is not is forgotten when there is no room.
#[derive(Debug, Default)]
pub struct Cache(Mutex<Generations>);

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<Key, Arc<Caps>>,
    old: HashMap<Key, Arc<Caps>>,
}

impl Cache {
    fn get(&self, hash: &str, ver: &str) -> Option<Arc<Caps>> {
        let key = (hash.into(), ver.into());
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(caps) = all.young.get(&key) {
            return Some(Arc::clone(caps));
        }
        let caps = all.old.get(&key).cloned()?;
        all.put(key, Arc::clone(&caps));
        Some(caps)
    }

    /// Oldest generation first.
    pub(crate) fn each(&self) -> Vec<Arc<Caps>> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.old.values().chain(all.young.values()).cloned().collect()
    }

    pub(crate) fn put(&self, caps: &Arc<Caps>) {
        let key = (caps.hash.clone(), caps.ver.clone());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).put(key, Arc::clone(caps));
    }

    #[cfg(test)]
    fn count(&self) -> usize {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.young.len() + all.old.len()
    }
}

impl Generations {
    fn put(&mut self, key: Key, caps: Arc<Caps>) {
        if self.young.len() >= PROVED_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, caps);
    }
}

impl Module for EntityCaps {
    fn info(&self) -> Info {
        Info {
            name: "caps",
            spec: "XEP-0115",
            title: "Entity Capabilities",
            version: "1.6.0",
            note: "of clients, for filtered notifications",
            ..Info::default()
        }
    }

    fn answered(&self, cx: &Cx<'_>, answer: &Stanza, fx: &mut Effects) -> Result<(), StanzaError> {
        let asked = answer.id().is_some_and(|id| id.starts_with(ID_PREFIX));
        if !asked || answer.iq_type() != IqType::Result {
            return Ok(());
        }
        let Some(query) = answer.child("query", ns::DISCO_INFO) else { return Ok(()) };
        let Some(announced) = present(cx) else { return Ok(()) };
        // What the client could do before its latest presence is not wanted any more.
        let node = query.attr("node").unwrap_or_default();
        if !node.is_empty() && node.rsplit('#').next() != Some(&announced.ver) {
            return Ok(());
        }
        let caps =
            Arc::new(Caps { hash: announced.hash.clone(), ver: announced.ver.clone(), wants: wants(query) });
        if proved(&caps.hash, query).is_some_and(|proved| proved == *caps.ver) {
            cx.caps.put(&caps);
        }
        fx.then(Effect::Caps(caps));
        Ok(())
    }
}

/// What the origin's session has announced.
fn present(cx: &Cx<'_>) -> Option<Arc<Caps>> {
    let session = cx.origin.address.session;
    let find = |entries: &[crate::registry::Entry]| {
        entries.iter().find(|entry| entry.id == session).and_then(|entry| entry.interest.caps.clone())
    };
    cx.sessions(&cx.origin.address.bare, find).flatten()
}

/// The origin is available: looks at what its presence says it can do, and asks if nobody knows. A presence
/// that says nothing of it changes nothing.
pub(crate) fn announced(cx: &Cx<'_>, presence: &Stanza, fx: &mut Effects) {
    let Some(c) = presence.child("c", ns::CAPS) else { return };
    let attr = |name| c.attr(name).filter(|value| value.len() <= ATTRIBUTE_BYTES_MAX);
    let (Some(node), Some(ver)) = (attr("node"), attr("ver")) else { return };
    let hash = attr("hash").unwrap_or_default();
    let before = present(cx);
    if before.as_ref().is_some_and(|caps| caps.is(hash, ver)) {
        return;
    }
    if let Some(caps) = cx.caps.get(hash, ver) {
        fx.then(Effect::Caps(caps));
        return;
    }
    // Until the answer is there it goes on wanting what it wanted.
    let wants = before.map(|caps| Arc::clone(&caps.wants)).unwrap_or_default();
    fx.then(Effect::Caps(Arc::new(Caps { hash: hash.into(), ver: ver.into(), wants })));
    fx.send(question(cx, &format!("{node}#{ver}")));
}

fn question(cx: &Cx<'_>, node: &str) -> Vec<u8> {
    let mut id = [0; 8];
    (cx.random)(&mut id);
    let id = format!("{ID_PREFIX}{:016x}", u64::from_be_bytes(id));
    let mut out = Vec::with_capacity(256);
    let mut writer = Writer::new(&mut out);
    writer.start("iq").attr("type", "get").attr("id", &id);
    writer.attr("from", cx.origin.jid.bare_str()).attr("to", cx.origin.jid.as_str());
    writer.start("query").attr("xmlns", ns::DISCO_INFO).attr("node", node).end().end();
    out
}

fn features(query: Node<'_>) -> impl Iterator<Item = &str> {
    query.children().filter(|child| child.is("feature", ns::DISCO_INFO)).filter_map(|child| child.attr("var"))
}

fn wants(query: Node<'_>) -> Arc<[Box<str>]> {
    let mut wants: Vec<Box<str>> = features(query)
        .filter_map(|feature| feature.strip_suffix(NOTIFY))
        .filter(|node| !node.is_empty() && node.len() <= WANT_BYTES_MAX)
        .map(Into::into)
        .take(WANTS_MAX)
        .collect();
    wants.sort_unstable();
    wants.dedup();
    wants.into()
}

/// §5.1's verification string of an answer, hashed. `None`: the hash is not known here, or the answer is
/// ill-formed (§5.4), or could be that of another one (a `<` in it, which is what divides its parts).
fn proved(hash: &str, query: Node<'_>) -> Option<String> {
    let mut identities = Vec::new();
    for identity in query.children().filter(|child| child.is("identity", ns::DISCO_INFO)) {
        let part = |name| identity.attr(name).unwrap_or_default();
        identities.push([part("category"), part("type"), part("xml:lang"), part("name")].join("/"));
    }
    let mut features: Vec<String> = features(query).map(str::to_owned).collect();
    let mut forms = Vec::new();
    for form in query.children().filter(|child| child.is("x", ns::DATA_FORMS)) {
        if let Some(form) = extension(form)? {
            forms.push(form);
        }
    }
    identities.sort_unstable();
    features.sort_unstable();
    forms.sort_unstable();
    let twice = |list: &[String]| list.windows(2).any(|pair| matches!(pair, [a, b] if a == b));
    let same_form = forms.windows(2).any(|pair| matches!(pair, [a, b] if a.first() == b.first()));
    if twice(&identities) || twice(&features) || same_form {
        return None;
    }
    let mut string = String::new();
    for part in identities.iter().chain(&features).chain(forms.iter().flatten()) {
        if part.contains('<') {
            return None;
        }
        string.push_str(part);
        string.push('<');
    }
    let digest = match hash {
        "sha-1" => Sha1::digest(string).to_vec(),
        "sha-256" => Sha256::digest(string).to_vec(),
        "sha-512" => Sha512::digest(string).to_vec(),
        _ => return None,
    };
    Some(STANDARD.encode(digest))
}

/// A form's parts, its FORM_TYPE first. `Some(None)`: it has none, and does not count.
fn extension(form: Node<'_>) -> Option<Option<Vec<String>>> {
    let mut kind = None;
    let mut fields = Vec::new();
    for field in form.children().filter(|child| child.is("field", ns::DATA_FORMS)) {
        let values = field.children().filter(|child| child.is("value", ns::DATA_FORMS));
        let mut values: Vec<String> = values.map(|value| value.text().into_owned()).collect();
        values.sort_unstable();
        match field.attr("var") {
            Some("FORM_TYPE") if field.attr("type") == Some("hidden") => {
                values.dedup();
                let [only] = values.as_slice() else { return None };
                kind = Some(only.clone());
            }
            Some("FORM_TYPE") | None => {}
            Some(var) => fields.push((var.to_owned(), values)),
        }
    }
    let Some(kind) = kind else { return Some(None) };
    fields.sort_unstable();
    let fields = fields.into_iter().flat_map(|(var, values)| std::iter::once(var).chain(values));
    Some(Some(std::iter::once(kind).chain(fields).collect()))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use godwit_wire::{Element, Scope};

    /// A client that wants to hear of these nodes.
    pub(crate) fn caps(wants: &[&str]) -> Arc<Caps> {
        let mut wants: Vec<Box<str>> = wants.iter().map(|want| Box::from(*want)).collect();
        wants.sort_unstable();
        Arc::new(Caps { wants: wants.into(), ..Caps::default() })
    }

    fn computed(query: &str, hash: &str) -> Option<String> {
        let raw = format!("<query xmlns='http://jabber.org/protocol/disco#info'>{query}</query>");
        let element = Element::parse(raw.as_bytes(), &Scope::client()).expect(&raw);
        proved(hash, element.root())
    }

    const EXODUS: &str = "<identity category='client' name='Exodus 0.9.1' type='pc'/>\
        <feature var='http://jabber.org/protocol/muc'/>\
        <feature var='http://jabber.org/protocol/disco#items'/>\
        <feature var='http://jabber.org/protocol/disco#info'/>\
        <feature var='http://jabber.org/protocol/caps'/>";

    /// The two examples of XEP-0115 §5.2 and §5.3.
    #[test]
    fn the_hashes_of_the_specification() {
        assert_eq!(computed(EXODUS, "sha-1").as_deref(), Some("QgayPKawpkPSDYmwT/WM94uAlu0="));
        let psi = "<identity xml:lang='en' category='client' name='Psi 0.11' type='pc'/>\
            <identity xml:lang='el' category='client' name='Ψ 0.11' type='pc'/>\
            <feature var='http://jabber.org/protocol/caps'/>\
            <feature var='http://jabber.org/protocol/disco#info'/>\
            <feature var='http://jabber.org/protocol/disco#items'/>\
            <feature var='http://jabber.org/protocol/muc'/>\
            <x xmlns='jabber:x:data' type='result'>\
            <field var='FORM_TYPE' type='hidden'><value>urn:xmpp:dataforms:softwareinfo</value></field>\
            <field var='ip_version' type='text-multi' ><value>ipv4</value><value>ipv6</value></field>\
            <field var='os'><value>Mac</value></field><field var='os_version'><value>10.5.1</value></field>\
            <field var='software'><value>Psi</value></field>\
            <field var='software_version'><value>0.11</value></field></x>";
        assert_eq!(computed(psi, "sha-1").as_deref(), Some("q07IKJEyjvHSyhy//CH0CxmKi8w="));
    }

    #[test]
    fn ill_formed_answers_prove_nothing() {
        for extra in [
            "<feature var='http://jabber.org/protocol/muc'/>",
            "<identity category='client' name='Exodus 0.9.1' type='pc'/>",
            "<feature var='a&lt;b'/>",
        ] {
            assert_eq!(computed(&format!("{EXODUS}{extra}"), "sha-1"), None, "{extra}");
        }
        assert_eq!(computed(EXODUS, "md5"), None);
        assert!(computed(EXODUS, "sha-256").is_some());
    }

    #[test]
    fn what_is_used_stays_and_the_rest_makes_room() {
        let cache = Cache::default();
        let caps =
            |n: usize| Arc::new(Caps { hash: "h".into(), ver: format!("{n}").into(), ..Caps::default() });
        for n in 0..5 * PROVED_MAX {
            cache.put(&caps(n));
            assert!(cache.get("h", "0").is_some(), "in use all the time");
        }
        assert!(cache.count() <= 2 * PROVED_MAX && cache.get("h", "1").is_none());
    }

    #[test]
    fn news_is_what_was_not_wanted_before() {
        let (old, new) = (caps(&["a", "c"]), caps(&["a", "b"]));
        assert_eq!(new.news(Some(&old)).collect::<Vec<_>>(), ["b"]);
        assert_eq!(new.news(None).collect::<Vec<_>>(), ["a", "b"]);
        assert!(new.wants("b") && !new.wants("c"));
    }
}
