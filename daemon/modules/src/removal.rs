//! The end of an account: all it holds is purged, its contacts see it go, its sessions end. In one
//! transaction, whoever asked for it: the account itself (XEP-0077), or the administrator, with or without a
//! running daemon.
use crate::accounts::{self, AccountError};
use crate::effects::{Effect, Effects};
use crate::hub::{Hub, Origin, Settings};
use crate::list::Modules;
use crate::module::{Cx, unreadable};
use crate::note::Address;
use crate::pending::{Acted, Completion};
use crate::registry::Registry;
use crate::{rfc6121_subscription as subscription, roster};
use godwit_session::{Millis, Place, SessionId};
use godwit_store::{Outcome, Read, Tx, TxError};
use godwit_wire::{Jid, StanzaError};
use std::sync::Arc;

/// Removes the account of `cx.origin`.
pub(crate) fn remove(cx: &Cx<'_>, fx: &mut Effects) -> Result<(), AccountError> {
    let own = cx.origin.jid.bare();
    let (owner, tx) = accounts::remove(cx.store, &own)?;
    fx.tx = tx;
    goodbye(cx, &own, owner, fx).map_err(|error| AccountError::Store(error.to_string()))?;
    fx.then(Effect::Removed { bare: own.bare_str().into(), owner });
    Ok(())
}

/// The contacts' side: as if the account had ended each subscription (XEP-0077 §3.2).
fn goodbye(cx: &Cx<'_>, own: &Jid, owner: u64, fx: &mut Effects) -> Result<(), StanzaError> {
    let mut contacts = Vec::new();
    roster::each(cx.store, owner, &mut |contact, _| contacts.push(contact.to_owned())).map_err(unreadable)?;
    for contact in contacts {
        let Ok(jid) = Jid::parse(&contact) else { continue };
        if !cx.is_local(jid.domain()) {
            continue;
        }
        if let Some(contact_owner) = cx.account(&contact)? {
            let mine = roster::read(cx, owner, &contact)?;
            subscription::forget(cx, own, &mine, &contact, contact_owner, fx)?;
        }
    }
    Ok(())
}

/// The account itself, as the origin of what is done to it from outside of its sessions.
fn origin(jid: &Jid) -> Origin {
    Origin {
        address: Address { session: SessionId(0), bare: jid.bare_str().into() },
        owner: 0,
        jid: jid.bare(),
        place: Place::default(),
        room: 0,
        h: None,
    }
}

/// Transaction that removes an account from a store that no daemon uses: there is nobody to be told.
pub fn without_daemon(
    store: &dyn Read,
    settings: &Settings,
    now: Millis,
    random: &dyn Fn(&mut [u8]),
    jid: &Jid,
) -> Result<Tx, AccountError> {
    let (registry, modules, origin) = (Registry::default(), Modules::all(), origin(jid));
    let caps = crate::xep0115_caps::Cache::default();
    let (registry, modules, origin, caps) = (&registry, &modules, &origin, &caps);
    let cx = Cx { settings, store, registry, modules, caps, now, origin, random };
    let mut fx = Effects::default();
    remove(&cx, &mut fx)?;
    Ok(fx.tx)
}

impl Hub {
    /// Removes an account in the administrator's name; `told` hears when it is done, or that the account or a
    /// roster changed meanwhile ([`TxError::Conflict`]: try again).
    pub fn remove_account(
        self: &Arc<Self>,
        jid: &Jid,
        told: Box<dyn FnOnce(Outcome) + Send>,
    ) -> Result<(), AccountError> {
        let (settings, origin) = (self.settings(), origin(jid));
        let mut fx = Effects::default();
        remove(&self.cx(&settings, &origin, (self.outside.clock)()), &mut fx)?;
        let acted = Completion::Acted(Box::new(Acted { origin, after: fx.after, told }));
        if let Err((_, Completion::Acted(acted))) = self.submit(fx.tx, acted) {
            (acted.told)(Err(TxError::Failed("the writer's queue is full".into())));
        }
        Ok(())
    }
}
