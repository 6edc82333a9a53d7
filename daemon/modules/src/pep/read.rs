//! Items read back (XEP-0060 §6.5): all, some by id, the latest, or a page (XEP-0059).
use super::refusal::bad;
use super::table;
use crate::xep0059_rsm::{Answer, Request};
use godwit_store::{Read, StoreError};
use godwit_wire::{Condition, Node, StanzaError, Writer, ns};
use std::ops::ControlFlow;

/// Most items asked for by id at once.
pub const IDS_MAX: usize = 256;
/// Bytes of items in one result, if there is more than one.
const RESULT_BYTES_MAX: usize = 128 * 1024;
/// Bytes around the items, more or less: the rest of the stanza.
const AROUND_BYTES: usize = 4 * 1024;

/// Which items are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// These.
    Ids(Vec<String>),
    /// So many of the latest.
    Latest(usize),
    /// A page of the order of publication.
    Page(Request),
}

impl Wanted {
    /// From `<items/>` and the `<pubsub/>` around it.
    pub fn of(items: Node<'_>, pubsub: Node<'_>) -> Result<Wanted, StanzaError> {
        let mut ids = Vec::new();
        for item in items.children().filter(|child| child.is("item", ns::PUBSUB)) {
            ids.push(item.attr("id").ok_or_else(|| bad("an item without an id"))?.to_owned());
        }
        if ids.len() > IDS_MAX {
            return Err(StanzaError::new(Condition::NotAcceptable).with_text("too many items at once"));
        }
        if !ids.is_empty() {
            return Ok(Wanted::Ids(ids));
        }
        let number = |text: &str| text.trim().parse::<usize>().map_err(|_| bad("not a number of items"));
        if let Some(max) = items.attr("max_items") {
            return Ok(Wanted::Latest(number(max)?));
        }
        if pubsub.child("set", ns::RSM).is_none() {
            return Ok(Wanted::Latest(usize::MAX));
        }
        Ok(Wanted::Page(Request::read(pubsub)?))
    }

    /// Few enough reads for a shard's thread.
    pub fn is_small(&self) -> bool {
        match self {
            Wanted::Ids(ids) => ids.len() <= 8,
            Wanted::Latest(count) => *count <= 1,
            Wanted::Page(_) => false,
        }
    }
}

/// Why items cannot be had.
#[derive(Debug)]
pub enum ReadError {
    /// The store.
    Store(StoreError),
    /// The item from which the page was to start is not there (XEP-0059 §2.2).
    NoSuchItem,
    /// Together the items asked for are too large for one result.
    TooMuch,
    /// The session may not be sent so much before it has acknowledged what it was sent already.
    NoRoom,
}

impl From<StoreError> for ReadError {
    fn from(error: StoreError) -> ReadError {
        ReadError::Store(error)
    }
}

/// The `<pubsub/>` of a result; `room`: bytes that the session may still be sent.
pub fn items(
    store: &dyn Read,
    owner: u64,
    node: &str,
    wanted: &Wanted,
    room: usize,
) -> Result<Vec<u8>, ReadError> {
    let mut order = Vec::new();
    if !matches!(wanted, Wanted::Ids(_) | Wanted::Latest(1)) {
        table::order(store, owner, node, false, &mut |_, id| {
            order.push(id.to_owned());
            ControlFlow::Continue(())
        })?;
    }
    let count = order.len();
    let mut first = 0;
    let (ids, backwards) = match wanted {
        Wanted::Ids(ids) => (ids.clone(), false),
        Wanted::Latest(1) => (table::last(store, owner, node)?.into_iter().map(|(id, _)| id).collect(), true),
        Wanted::Latest(max) => {
            first = count.saturating_sub(*max);
            (order.split_off(first), true)
        }
        Wanted::Page(page) => {
            let at = |id: &str| order.iter().position(|other| other == id).ok_or(ReadError::NoSuchItem);
            let start = page.after.as_deref().map_or(Ok(0), |id| at(id).map(|at| at + 1))?;
            let end = match page.before.as_deref() {
                None | Some("") => count,
                Some(id) => at(id)?,
            };
            let max = page.max.unwrap_or(usize::MAX);
            let backwards = page.before.is_some();
            let (start, end) = match backwards {
                true => (start.max(end.saturating_sub(max)), end),
                false => (start, end.min(start.saturating_add(max))),
            };
            first = start;
            order.truncate(end);
            (order.split_off(start.min(end)), backwards)
        }
    };
    let asked = ids.len();
    let (found, cut) = fetch(store, owner, node, ids, backwards, room.saturating_sub(AROUND_BYTES))?;
    if cut && matches!(wanted, Wanted::Ids(_)) {
        return Err(ReadError::TooMuch);
    }
    if cut && backwards {
        first += asked.saturating_sub(found.len());
    }
    let answer = (cut || matches!(wanted, Wanted::Page(_))).then(|| Answer {
        ends: found.first().zip(found.last()).map(|((head, _), (tail, _))| (head.clone(), tail.clone())),
        index: Some(first),
        count: Some(count),
    });
    Ok(write(node, &found, answer.as_ref()))
}

/// Id and payload.
type Found = (String, Vec<u8>);

/// The items with these ids, in this order, as many as fit, and whether some did not; `backwards`: these are
/// left out at the beginning.
fn fetch(
    store: &dyn Read,
    owner: u64,
    node: &str,
    mut ids: Vec<String>,
    backwards: bool,
    room: usize,
) -> Result<(Vec<Found>, bool), ReadError> {
    if backwards {
        ids.reverse();
    }
    let (mut found, mut bytes, mut cut) = (Vec::new(), 0, false);
    for id in ids {
        // One that was retracted since its id was read is left out.
        let Some(item) = table::item(store, owner, node, &id)? else { continue };
        bytes += item.payload.len() + id.len();
        if found.is_empty() && bytes > room {
            return Err(ReadError::NoRoom);
        }
        cut = !found.is_empty() && bytes > RESULT_BYTES_MAX.min(room / 2);
        if cut {
            break;
        }
        found.push((id, item.payload));
    }
    if backwards {
        found.reverse();
    }
    Ok((found, cut))
}

fn write(node: &str, found: &[Found], page: Option<&Answer>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out);
    writer.start("pubsub").attr("xmlns", ns::PUBSUB).start("items").attr("node", node);
    for (id, payload) in found {
        writer.start("item").attr("id", id).raw(payload).end();
    }
    writer.end();
    if let Some(page) = page {
        page.write(&mut writer);
    }
    writer.end();
    out
}
