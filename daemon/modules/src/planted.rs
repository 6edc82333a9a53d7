//! The router's part of the bugs planted on purpose (`godwit_session::planted`).
use crate::registry::Live;
use godwit_session::planted::{Planted, is};

/// A stanza counts as handled as soon as its transaction is queued.
pub(crate) fn acknowledges_early() -> bool {
    is(Planted::AcknowledgedBeforeFsync)
}

/// A message counts as handed over as soon as it is sent.
pub(crate) fn sent(live: &mut Live, seq: Option<u64>) {
    if is(Planted::CursorOnSend) {
        live.unsaved |= seq.is_some_and(|seq| live.delivery.acked(seq));
    }
}
