//! RFC 6121 §3 and appendix A: subscriptions. Both sides of a change are one transaction.
use crate::apply::unavailable;
use crate::effects::{Effect, Effects};
use crate::module::{Cx, Flow, Info, Module};
use crate::rfc6121_roster::is_full;
use crate::roster::{self, Found, Item};
use crate::route::rendered;
use godwit_wire::{Condition, Jid, Kind, PresenceType, Stanza, StanzaError, Writer};

/// The module.
#[derive(Debug)]
pub struct Subscription;

/// The four types of presence that change subscriptions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Act {
    Subscribe,
    Subscribed,
    Unsubscribe,
    Unsubscribed,
}

impl Act {
    fn of(stanza: &Stanza) -> Option<Act> {
        match (stanza.kind, stanza.presence_type()?) {
            (Kind::Presence, PresenceType::Subscribe) => Some(Act::Subscribe),
            (Kind::Presence, PresenceType::Subscribed) => Some(Act::Subscribed),
            (Kind::Presence, PresenceType::Unsubscribe) => Some(Act::Unsubscribe),
            (Kind::Presence, PresenceType::Unsubscribed) => Some(Act::Unsubscribed),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Act::Subscribe => "subscribe",
            Act::Subscribed => "subscribed",
            Act::Unsubscribe => "unsubscribe",
            Act::Unsubscribed => "unsubscribed",
        }
    }
}

/// Appendix A.2: what the user's own stanza does to the user's item, and whether it goes on to the contact.
pub fn outbound(act: Act, item: &Item) -> (Item, bool) {
    let mut after = item.clone();
    let route = match act {
        Act::Subscribe => {
            after.pending_out |= !item.to;
            after.listed = true;
            true
        }
        Act::Unsubscribe => {
            (after.to, after.pending_out) = (false, false);
            true
        }
        Act::Subscribed if item.pending_in.is_some() => {
            (after.pending_in, after.from, after.listed) = (None, true, true);
            true
        }
        Act::Subscribed => {
            // §3.4: said before it was asked for. With the subscription in place it says nothing new.
            after.approved |= !item.from;
            false
        }
        Act::Unsubscribed => {
            let route = item.from || item.pending_in.is_some();
            (after.from, after.approved, after.pending_in) = (false, false, None);
            route
        }
    };
    (after, route)
}

/// What becomes of a stanza that arrives at the contact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Inbound {
    Deliver,
    /// Not delivered; nothing changes.
    Drop,
    /// Not delivered; answered `subscribed` in the contact's name (already, or in advance, approved).
    Approve,
}

/// Appendix A.3: what a stanza does to the contact's item for its sender. `request` is the `subscribe` to
/// keep.
pub fn inbound(act: Act, item: &Item, request: &[u8]) -> (Item, Inbound) {
    let mut after = item.clone();
    let fate = match act {
        Act::Subscribe if item.from => Inbound::Approve,
        Act::Subscribe if item.approved => {
            (after.from, after.listed) = (true, true);
            Inbound::Approve
        }
        Act::Subscribe if item.pending_in.is_some() => Inbound::Drop,
        Act::Subscribe => {
            after.pending_in = Some(request.to_vec());
            Inbound::Deliver
        }
        Act::Unsubscribe if item.from || item.pending_in.is_some() => {
            (after.from, after.pending_in) = (false, None);
            Inbound::Deliver
        }
        Act::Subscribed if item.pending_out => {
            (after.to, after.pending_out) = (true, false);
            Inbound::Deliver
        }
        Act::Unsubscribed if item.to || item.pending_out => {
            (after.to, after.pending_out) = (false, false);
            Inbound::Deliver
        }
        _ => Inbound::Drop,
    };
    (after, fate)
}

impl Module for Subscription {
    fn info(&self) -> Info {
        Info {
            name: "subscription",
            spec: "RFC 6121",
            title: "XMPP: Instant Messaging and Presence",
            note: "subscriptions with pre-approval",
            stream_features: "<sub xmlns='urn:xmpp:features:pre-approval'/>",
            ..Info::default()
        }
    }

    fn sent(&self, cx: &Cx<'_>, stanza: &Stanza, fx: &mut Effects) -> Result<Flow, StanzaError> {
        let Some(act) = Act::of(stanza) else { return Ok(Flow::Continue) };
        let to = stanza.to.as_ref().ok_or_else(|| StanzaError::new(Condition::BadRequest))?.bare();
        let own = cx.origin.jid.bare();
        if to == own {
            return Err(
                StanzaError::new(Condition::NotAllowed).with_text("one sees one's own presence anyway")
            );
        }
        let before = roster::read(cx, cx.origin.owner, to.as_str())?;
        let (after, route) = outbound(act, &before.item);
        if before.bytes.is_none() && !after.is_empty() && is_full(cx, cx.origin.owner)? {
            return Err(StanzaError::new(Condition::NotAllowed).with_text("the roster is full"));
        }
        let peer = if route { peer(cx, act, &to, stanza)? } else { None };
        roster::change(cx, cx.origin.owner, own.as_str(), to.as_str(), &before, &after, fx)?;
        if let Some(peer) = peer {
            arrive(cx, act, &own, &before.item, &peer, fx)?;
        }
        Ok(Flow::Handled)
    }
}

/// The contact, if it is a local account.
struct Peer {
    bare: Box<str>,
    owner: u64,
    rendered: std::sync::Arc<[u8]>,
}

/// RFC 6121 §8.5.1: to an account that does not exist, `subscribe` is answered `unsubscribed` by silence:
/// nobody learns which accounts there are.
fn peer(cx: &Cx<'_>, _act: Act, to: &Jid, stanza: &Stanza) -> Result<Option<Peer>, StanzaError> {
    if !cx.is_local(to.domain()) {
        return Err(StanzaError::new(Condition::RemoteServerNotFound));
    }
    let Some(owner) = cx.account(to.as_str())? else { return Ok(None) };
    // RFC 6121 §3: stamped with the bare JID, so that the contact sees a user and not a device.
    let bare = crate::hub::Origin { jid: cx.origin.jid.bare(), ..cx.origin.clone() };
    let cx = Cx { origin: &bare, ..*cx };
    Ok(Some(Peer { bare: to.as_str().into(), owner, rendered: rendered(&cx, stanza, Some(to)) }))
}

/// The stanza arrives at a local contact.
fn arrive(
    cx: &Cx<'_>,
    act: Act,
    user: &Jid,
    was: &Item,
    peer: &Peer,
    fx: &mut Effects,
) -> Result<(), StanzaError> {
    let before = roster::read(cx, peer.owner, user.as_str())?;
    let (after, fate) = inbound(act, &before.item, &peer.rendered);
    let full = before.bytes.is_none() && !after.is_empty() && is_full(cx, peer.owner)?;
    if full {
        return Ok(()); // the contact can take no more: to the asker as if nobody had answered yet
    }
    roster::change(cx, peer.owner, &peer.bare, user.as_str(), &before, &after, fx)?;
    let (user_bare, peer_bare): (Box<str>, Box<str>) = (user.as_str().into(), peer.bare.clone());
    let bytes = std::sync::Arc::clone(&peer.rendered);
    match (fate, act) {
        (Inbound::Drop, _) => {}
        (Inbound::Approve, _) => approve(cx, user, was, peer, fx)?,
        (Inbound::Deliver, Act::Subscribe) => fx.then(Effect::ToAvailable { bare: peer_bare, bytes }),
        (Inbound::Deliver, _) => fx.then(Effect::ToInterested { bare: peer_bare, bytes }),
    }
    // Who may see whom has changed: §3.1.5, §3.2.3, §3.3.3.
    match (fate, act) {
        (Inbound::Deliver, Act::Subscribed) => {
            fx.then(Effect::Probe { bare: user_bare, to: Some(peer.bare.clone()) });
        }
        (Inbound::Deliver, Act::Unsubscribed) if before.item.to => {
            fx.then(Effect::Gone { bare: user_bare, to: peer.bare.clone() });
        }
        (Inbound::Deliver, Act::Unsubscribe) if before.item.from => {
            fx.then(Effect::Gone { bare: peer.bare.clone(), to: user_bare });
        }
        _ => {}
    }
    Ok(())
}

/// The contact has said yes before: `subscribed` comes back at once.
fn approve(cx: &Cx<'_>, user: &Jid, was: &Item, peer: &Peer, fx: &mut Effects) -> Result<(), StanzaError> {
    let mine = roster::read(cx, cx.origin.owner, &peer.bare)?;
    let (asked, _) = outbound(Act::Subscribe, was);
    let (after, fate) = inbound(Act::Subscribed, &asked, b"");
    if fate != Inbound::Deliver {
        return Ok(());
    }
    roster::change(cx, cx.origin.owner, user.as_str(), &peer.bare, &mine, &after, fx)?;
    let bytes = subscription_stanza(Act::Subscribed, &peer.bare, user.as_str()).into();
    fx.then(Effect::ToInterested { bare: user.as_str().into(), bytes });
    fx.then(Effect::Probe { bare: peer.bare.clone(), to: Some(user.as_str().into()) });
    Ok(())
}

fn subscription_stanza(act: Act, from: &str, to: &str) -> Vec<u8> {
    let mut out = Vec::new();
    Writer::new(&mut out).start("presence").attr("from", from).attr("to", to).attr("type", act.name()).end();
    out
}

/// RFC 6121 §2.5: removing a contact ends both subscriptions.
pub(crate) fn remove(
    cx: &Cx<'_>,
    contact: &Jid,
    before: &Found,
    fx: &mut Effects,
) -> Result<(), StanzaError> {
    let own = cx.origin.jid.bare();
    roster::change(cx, cx.origin.owner, own.as_str(), contact.as_str(), before, &Item::default(), fx)?;
    if !cx.is_local(contact.domain()) {
        return Ok(());
    }
    let Some(owner) = cx.account(contact.as_str())? else { return Ok(()) };
    forget(cx, &own, before, contact.as_str(), owner, fx)
}

/// The contact's side of a removal: as if `unsubscribe` and `unsubscribed` had arrived from `gone`.
pub(crate) fn forget(
    cx: &Cx<'_>,
    gone: &Jid,
    of_gone: &Found,
    contact: &str,
    owner: u64,
    fx: &mut Effects,
) -> Result<(), StanzaError> {
    let before = roster::read(cx, owner, gone.as_str())?;
    let (after, first) = inbound(Act::Unsubscribe, &before.item, b"");
    let (after, second) = inbound(Act::Unsubscribed, &after, b"");
    roster::change(cx, owner, contact, gone.as_str(), &before, &after, fx)?;
    for (act, fate) in [(Act::Unsubscribe, first), (Act::Unsubscribed, second)] {
        if fate == Inbound::Deliver {
            let bytes = subscription_stanza(act, gone.as_str(), contact).into();
            fx.then(Effect::ToInterested { bare: contact.into(), bytes });
        }
    }
    if before.item.to {
        fx.then(Effect::Gone { bare: gone.as_str().into(), to: contact.into() });
    }
    if of_gone.item.to {
        fx.then(Effect::Gone { bare: contact.into(), to: gone.as_str().into() });
    }
    Ok(())
}

/// Unavailable presence of one session to one account.
pub(crate) fn gone(from: &Jid, to: &str) -> Effect {
    Effect::ToAvailable { bare: to.into(), bytes: unavailable(from.as_str(), to).into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The nine states of appendix A.1, by number.
    const STATES: [&str; 9] =
        ["none", "none+out", "none+in", "none+out+in", "to", "to+in", "from", "from+out", "both"];

    fn item(state: &str) -> Item {
        let base = state.split('+').next().unwrap_or_default();
        Item {
            to: matches!(base, "to" | "both"),
            from: matches!(base, "from" | "both"),
            pending_out: state.contains("+out"),
            pending_in: state.contains("+in").then(Vec::new),
            listed: state != "none" && state != "none+in",
            ..Item::default()
        }
    }

    fn name(item: &Item) -> String {
        let out = if item.pending_out { "+out" } else { "" };
        let incoming = if item.pending_in.is_some() { "+in" } else { "" };
        format!("{}{out}{incoming}", item.subscription())
    }

    /// Appendix A.2: per act, for each state the new one; `-` before it: not routed.
    #[test]
    fn outbound_is_appendix_a_2() {
        let tables = [
            (Act::Subscribe, "none+out none+out none+out+in none+out+in to to+in from+out from+out both"),
            (Act::Unsubscribe, "none none none+in none+in none none+in from from from"),
            (Act::Subscribed, "-none -none+out from from+out -to both -from -from+out -both"),
            (Act::Unsubscribed, "-none -none+out none none+out -to to none none+out to"),
        ];
        for (act, expected) in tables {
            for (state, expected) in STATES.into_iter().zip(expected.split(' ')) {
                let (after, route) = outbound(act, &item(state));
                let found = format!("{}{}", if route { "" } else { "-" }, name(&after));
                assert_eq!(found, expected, "{act:?} sent in state {state}");
            }
        }
    }

    /// Appendix A.3: per act, for each state the new one; `-` before it: not delivered.
    #[test]
    fn inbound_is_appendix_a_3() {
        let tables = [
            (Act::Subscribe, "none+in none+out+in -none+in -none+out+in to+in -to+in -from -from+out -both"),
            (Act::Unsubscribe, "-none -none+out none none+out -to to none none+out to"),
            (Act::Subscribed, "-none to -none+in to+in -to -to+in -from both -both"),
            (Act::Unsubscribed, "-none none -none+in none+in none none+in -from from from"),
        ];
        for (act, expected) in tables {
            for (state, expected) in STATES.into_iter().zip(expected.split(' ')) {
                let (after, fate) = inbound(act, &item(state), b"");
                let found = format!("{}{}", if fate == Inbound::Deliver { "" } else { "-" }, name(&after));
                assert_eq!(found, expected, "{act:?} arrives in state {state}");
                if act == Act::Subscribe {
                    let answered = matches!(state, "from" | "from+out" | "both");
                    assert_eq!(fate == Inbound::Approve, answered, "{state}: answered in the contact's name");
                }
            }
        }
    }

    #[test]
    fn approval_in_advance_is_used_once_asked() {
        let (ahead, routed) = outbound(Act::Subscribed, &Item::default());
        assert!(ahead.approved && !routed && !ahead.is_empty());
        let (after, fate) = inbound(Act::Subscribe, &ahead, b"");
        assert_eq!((fate, after.subscription()), (Inbound::Approve, "from"));
        let (withdrawn, _) = outbound(Act::Unsubscribed, &ahead);
        assert!(withdrawn.is_empty(), "nothing is left of it");
    }

    /// Whatever two accounts do, in whatever order it arrives whole: both sides agree on who sees whom.
    #[test]
    fn both_sides_agree_after_any_history() {
        let acts = [Act::Subscribe, Act::Subscribed, Act::Unsubscribe, Act::Unsubscribed];
        let mut seen = std::collections::BTreeSet::new();
        let mut open = vec![(Item::default(), Item::default())];
        while let Some((a, b)) = open.pop() {
            if !seen.insert(format!("{a:?}{b:?}")) {
                continue;
            }
            assert_eq!((a.to, a.from), (b.from, b.to), "{a:?} {b:?}");
            for act in acts {
                for swapped in [false, true] {
                    let (user, contact) = if swapped { (&b, &a) } else { (&a, &b) };
                    let (mut user, route) = outbound(act, user);
                    let mut contact = contact.clone();
                    if route {
                        let (after, fate) = inbound(act, &contact, b"");
                        contact = after;
                        if fate == Inbound::Approve {
                            user = inbound(Act::Subscribed, &user, b"").0;
                        }
                    }
                    open.push(if swapped { (contact, user) } else { (user, contact) });
                }
            }
        }
        assert!(seen.len() > 20, "{} states", seen.len());
    }
}
