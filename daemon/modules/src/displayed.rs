//! How far an account has read its conversations, as its clients said: in their own published state
//! (XEP-0490), or by the markers that they sent (XEP-0333). For the administrator.
use crate::inspect::{Displayed, each, parsed};
use crate::pep::table;
use godwit_store::{Owner, Read, Seq, StoreError};
use godwit_wire::element::Scope;
use godwit_wire::{Element, ns};

/// Rows, from the newest on, in which markers are looked for.
const MARKER_ROWS_MAX: u64 = 2_000;
/// Conversations that are shown, of each kind.
const SHOWN_MAX: usize = 20;

/// What is known of each of its recent conversations, the latest first.
pub(crate) fn displayed(store: &dyn Read, owner: Owner) -> Result<Vec<Displayed>, StoreError> {
    let mut found = markers(store, owner)?;
    for published in published(store, owner)? {
        match found.iter_mut().find(|known| known.with == published.with) {
            Some(known) if known.at_ms <= published.at_ms => *known = published,
            Some(_) => {}
            None => found.push(published),
        }
    }
    found.sort_by_key(|one| std::cmp::Reverse(one.at_ms));
    Ok(found)
}

/// The last marker that the account sent in each conversation.
fn markers(store: &dyn Read, owner: Owner) -> Result<Vec<Displayed>, StoreError> {
    let mut found: Vec<Displayed> = Vec::new();
    each(store, owner, 0, true, MARKER_ROWS_MAX, &mut |seq, row, _| {
        if row.incoming || found.len() >= SHOWN_MAX || found.iter().any(|known| known.with == row.with) {
            return;
        }
        let stanza = parsed(row);
        let marker = stanza.as_ref().and_then(|stanza| stanza.root().child("displayed", ns::CHAT_MARKERS));
        if let Some(id) = marker.and_then(|marker| marker.attr("id")) {
            found.push(Displayed { with: row.with.into(), id: id.into(), at_ms: Seq(seq).millis() });
        }
    })?;
    Ok(found)
}

/// What the account's clients tell each other: one item for each conversation, named for it.
fn published(store: &dyn Read, owner: Owner) -> Result<Vec<Displayed>, StoreError> {
    let items = table::since(store, owner.0, ns::MDS, 0, SHOWN_MAX)?;
    let one = |(with, item): (String, table::Item)| {
        let payload = Element::parse(&item.payload, &Scope::client()).ok()?;
        let id = payload.root().child("stanza-id", ns::STANZA_IDS)?.attr("id")?.to_owned();
        Some(Displayed { with, id, at_ms: item.at_ms })
    };
    Ok(items.into_iter().filter_map(one).collect())
}
