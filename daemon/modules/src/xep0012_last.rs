//! XEP-0012 Last Activity: the server's uptime, and when an account was last available (RFC 6121 §4.5.2's
//! time of leaving).
use crate::effects::Effects;
use crate::module::{Cx, Info, Iq, Module, Target, unreadable};
use crate::roster;
use godwit_store::{Cf, Owner, Read, StoreError, schema};
use godwit_wire::{Condition, StanzaError, Writer, ns};

/// Longest status kept, in bytes; longer ones are cut.
const STATUS_BYTES_MAX: usize = 1_024;

/// The module. Holds the time it was made, which is the server's start.
#[derive(Debug, Default)]
pub struct Last {
    /// First time it was asked or told anything, in ms; the start for all practical purposes.
    started: std::sync::OnceLock<u64>,
}

impl Module for Last {
    fn info(&self) -> Info {
        Info {
            name: "last",
            spec: "XEP-0012",
            title: "Last Activity",
            version: "2.0",
            features: &[ns::LAST_ACTIVITY],
            account_features: &[ns::LAST_ACTIVITY],
            iq: &[ns::LAST_ACTIVITY],
            ..Info::default()
        }
    }

    fn iq(&self, cx: &Cx<'_>, iq: &Iq<'_>, fx: &mut Effects) -> Result<(), StanzaError> {
        if iq.set {
            return Err(StanzaError::new(Condition::NotAllowed));
        }
        match &iq.target {
            Target::Server => {
                let started = *self.started.get_or_init(|| cx.now);
                answer(iq, cx.now.saturating_sub(started), "", fx);
            }
            Target::Own => of_account(cx, iq, cx.origin.jid.bare_str(), cx.origin.owner, fx)?,
            Target::Account { bare, owner } => {
                // §4: only to those who may see the account's presence anyway.
                if !roster::read(cx, *owner, cx.origin.jid.bare_str())?.item.from {
                    return Err(StanzaError::new(Condition::Forbidden));
                }
                of_account(cx, iq, bare, *owner, fx)?;
            }
        }
        Ok(())
    }
}

fn of_account(cx: &Cx<'_>, iq: &Iq<'_>, bare: &str, owner: u64, fx: &mut Effects) -> Result<(), StanzaError> {
    let available = cx.sessions(bare, |entries| entries.iter().any(|entry| entry.presence.is_some()));
    if available == Some(true) {
        answer(iq, 0, "", fx); // §4: whoever is there now was active now
        return Ok(());
    }
    let saved = stored(cx.store, Owner(owner)).map_err(unreadable)?;
    let Some((at, status)) = saved else { return Err(StanzaError::new(Condition::ItemNotFound)) };
    answer(iq, cx.now.saturating_sub(at), &status, fx);
    Ok(())
}

/// When the account was last available, in ms since 1970, and what it said when it went.
pub(crate) fn stored(store: &dyn Read, owner: Owner) -> Result<Option<(u64, String)>, StoreError> {
    let saved = store.get(Cf::State, &schema::state(owner, schema::State::LastActivity))?;
    let parts = saved.as_deref().and_then(|bytes| bytes.split_first_chunk::<8>());
    Ok(parts.map(|(at, status)| {
        (u64::from_be_bytes(*at), std::str::from_utf8(status).unwrap_or_default().to_owned())
    }))
}

fn answer(iq: &Iq<'_>, ms: u64, status: &str, fx: &mut Effects) {
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out);
    writer.start("query").attr("xmlns", ns::LAST_ACTIVITY).attr("seconds", &(ms / 1_000).to_string());
    if !status.is_empty() {
        writer.text(status);
    }
    writer.end();
    iq.result(&out, fx);
}

/// The origin has become unavailable: writes down when, and with which status. Layout: ms since 1970 (8,
/// big-endian) | status.
pub(crate) fn note(cx: &Cx<'_>, status: &str, fx: &mut Effects) {
    let mut value = cx.now.to_be_bytes().to_vec();
    let mut end = status.len().min(STATUS_BYTES_MAX);
    while !status.is_char_boundary(end) {
        end -= 1;
    }
    value.extend_from_slice(status.as_bytes().get(..end).unwrap_or_default());
    // An account removed meanwhile must not get a state row again: written only if its name is still there.
    let name = schema::state(Owner(cx.origin.owner), schema::State::Name);
    fx.tx.lazy = fx.tx.ops.is_empty(); // losing it in a crash is harmless
    fx.guard(Cf::State, name, Some(cx.origin.address.bare.as_bytes()));
    fx.put(Cf::State, schema::state(Owner(cx.origin.owner), schema::State::LastActivity), value);
}
