//! Everything that the store holds about an account, in plain data, for the person it belongs to: a page at a
//! time, because an archive may be larger than memory.
//!
//! What others hold is theirs and not here: their rosters, their side of a conversation. Keys made from the
//! password are named and not given: they would let whoever has the file log in elsewhere.
use crate::accounts::{self, AccountError};
use crate::archive;
use crate::durable;
use crate::inspect::{Resumable, resumable};
use crate::pep::table;
use crate::row::Row;
use crate::{roster, xep0012_last, xep0441_prefs};
use godwit_store::{Cf, Owner, Range, Read, Seq, StoreError, schema};
use godwit_wire::Jid;
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;

/// Version of the format.
const FORMAT: u32 = 1;
/// Bytes of payloads after which a page ends.
const PAGE_BYTES_MAX: usize = 2 << 20;
/// Rows of a page.
const PAGE_ROWS_MAX: usize = 5_000;

/// A page, and where the next one begins.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// In the first one only.
    pub account: Option<Account>,
    /// Published items (XEP-0163), by node in the order of publication.
    pub items: Vec<Item>,
    /// The archive, the oldest first.
    pub messages: Vec<Message>,
    /// `None`: that was all.
    pub next: Option<Cursor>,
}

/// Where a page begins.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// Items that were given already.
    pub items: u64,
    /// All items were given, and messages up to this position.
    pub seq: Option<u64>,
}

/// An account without items and messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Version of the format.
    pub format: u32,
    /// Bare JID.
    pub jid: String,
    /// When the account was made.
    pub created_ms: u64,
    /// Mechanisms for which keys made from the password are held; not the keys, and never the password.
    pub password_keys: Vec<String>,
    /// Contacts and requests.
    pub roster: Vec<Contact>,
    /// Version of the roster (RFC 6121 §2.6).
    pub roster_version: u64,
    /// When a resource last went, and what it said (XEP-0012).
    pub last_activity: Option<LastActivity>,
    /// What is archived (XEP-0441); `None`: the server's default.
    pub archive_preferences: Option<Preferences>,
    /// Sessions that their clients may resume (XEP-0198).
    pub sessions: Vec<Session>,
    /// Nodes of published items.
    pub nodes: Vec<Node>,
}

/// A contact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Contact {
    pub jid: String,
    pub name: Option<String>,
    pub groups: Vec<String>,
    /// `none`, `to`, `from` or `both`.
    pub subscription: String,
    /// It is in the roster that clients show.
    pub listed: bool,
    /// The account has asked for a subscription.
    pub asked: bool,
    /// The account has approved one that was not asked for yet.
    pub approved: bool,
    /// The contact has asked: its request.
    pub request: Option<String>,
}

/// The last time that a resource went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct LastActivity {
    pub at_ms: u64,
    pub status: String,
}

/// What is archived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Preferences {
    pub default: String,
    pub always: Vec<String>,
    pub never: Vec<String>,
}

/// A session that was written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Resource, and what was sent to it.
    #[serde(flatten)]
    pub resumable: Resumable,
    /// Its last presence.
    pub presence: Option<String>,
    /// Addresses that it sent directed presence to.
    pub directed: Vec<String>,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Node {
    pub node: String,
    /// Who may read it: `Open`, `Presence`, `Roster` or `Whitelist`.
    pub access: String,
    pub items: u64,
    pub bytes: u64,
}

/// A published item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Item {
    pub node: String,
    pub id: String,
    pub at_ms: u64,
    /// XML.
    pub payload: String,
}

/// An archived message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Its id in the archive.
    pub stanza_id: String,
    /// When it was committed.
    pub at_ms: u64,
    /// Sent to the account; otherwise by it.
    pub incoming: bool,
    /// The other side.
    pub with: String,
    /// Resource it was addressed to; empty: the bare JID.
    pub resource: String,
    /// Stored for delivery only: clients do not find it in the archive.
    pub hidden: bool,
    /// The whole stanza, as XML.
    pub stanza: String,
}

/// A page of an account.
pub fn page(store: &dyn Read, jid: &Jid, from: Option<&Cursor>) -> Result<Page, AccountError> {
    let bare = jid.bare_str();
    let record = accounts::read(store, bare)?.ok_or_else(|| AccountError::Missing(bare.into()))?;
    let owner = Owner(record.owner);
    let mut page = Page::default();
    let cursor = match from {
        Some(cursor) => cursor.clone(),
        None => {
            page.account = Some(account(store, bare, record.created_ms, owner)?);
            Cursor::default()
        }
    };
    match cursor.seq {
        None => items(store, owner, cursor.items, &mut page)?,
        Some(after) => messages(store, owner, after, &mut page)?,
    }
    Ok(page)
}

fn account(store: &dyn Read, bare: &str, created_ms: u64, owner: Owner) -> Result<Account, StoreError> {
    let mut contacts = Vec::new();
    roster::each(store, owner.0, &mut |jid, item| contacts.push(contact(jid, item)))?;
    let mut nodes = Vec::new();
    table::nodes(store, owner.0, &mut |name, node| {
        let access = format!("{:?}", node.config.access);
        nodes.push(Node { node: name.to_owned(), access, items: node.items, bytes: node.bytes });
    })?;
    let mut sessions = Vec::new();
    for (number, resumable) in resumable(store, owner, &[])? {
        if let Some(rows) = durable::read(store, owner.0, number)? {
            let presence = rows.who.presence.map(|presence| text(&presence));
            sessions.push(Session { resumable, presence, directed: rows.who.directed });
        }
    }
    Ok(Account {
        format: FORMAT,
        jid: bare.to_owned(),
        created_ms,
        password_keys: vec!["SCRAM-SHA-1".into(), "SCRAM-SHA-256".into()],
        roster: contacts,
        roster_version: roster::version(store, owner.0)?.1,
        last_activity: xep0012_last::stored(store, owner)?
            .map(|(at_ms, status)| LastActivity { at_ms, status }),
        archive_preferences: xep0441_prefs::exported(store, owner)?,
        sessions,
        nodes,
    })
}

fn contact(jid: &str, item: roster::Item) -> Contact {
    Contact {
        jid: jid.to_owned(),
        subscription: item.subscription().to_owned(),
        name: item.name,
        groups: item.groups,
        listed: item.listed,
        asked: item.pending_out,
        approved: item.approved,
        request: item.pending_in.map(|request| text(&request)),
    }
}

/// Those behind the first so many. What is published or retracted between two pages may be missing or twice.
fn items(store: &dyn Read, owner: Owner, skip: u64, page: &mut Page) -> Result<(), StoreError> {
    let mut names = Vec::new();
    table::nodes(store, owner.0, &mut |name, _| names.push(name.to_owned()))?;
    let (mut seen, mut bytes) = (0, 0);
    for name in names {
        let mut ids = Vec::new();
        table::order(store, owner.0, &name, false, &mut |_, id| {
            ids.push(id.to_owned());
            ControlFlow::Continue(())
        })?;
        for id in ids {
            seen += 1;
            if seen <= skip {
                continue;
            }
            if bytes >= PAGE_BYTES_MAX || page.items.len() >= PAGE_ROWS_MAX {
                page.next = Some(Cursor { items: seen - 1, seq: None });
                return Ok(());
            }
            if let Some(item) = table::item(store, owner.0, &name, &id)? {
                bytes += item.payload.len();
                let (node, payload) = (name.clone(), text(&item.payload));
                page.items.push(Item { node, id, at_ms: item.at_ms, payload });
            }
        }
    }
    page.next = Some(Cursor { items: seen, seq: Some(0) });
    Ok(())
}

fn messages(store: &dyn Read, owner: Owner, after: u64, page: &mut Page) -> Result<(), StoreError> {
    let (start, end) = schema::archives(owner, Seq(after), store.head());
    let (mut bytes, mut last, mut bad) = (0, after, None);
    let Page { messages, next, .. } = page;
    store.scan(&Range { cf: Cf::Archive, start, end, reverse: false }, &mut |key, value| {
        if bytes >= PAGE_BYTES_MAX || messages.len() >= PAGE_ROWS_MAX {
            *next = Some(Cursor { items: 0, seq: Some(last) });
            return ControlFlow::Break(());
        }
        let (Some(seq), Some(row)) = (schema::archive_seq(key), Row::decode(value)) else {
            bad = Some(last);
            return ControlFlow::Break(());
        };
        bytes += value.len();
        last = seq.0;
        messages.push(message(seq, &row));
        ControlFlow::Continue(())
    })?;
    match bad {
        None => Ok(()),
        Some(after) => Err(StoreError::Corrupt(format!(
            "the message behind {} cannot be read: godwitctl store verify",
            archive::id(after)
        ))),
    }
}

fn message(seq: Seq, row: &Row<'_>) -> Message {
    Message {
        stanza_id: archive::id(seq.0),
        at_ms: seq.millis(),
        incoming: row.incoming,
        with: row.with.to_owned(),
        resource: row.resource.to_owned(),
        hidden: row.hidden,
        stanza: text(row.stanza),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
