//! Logins: what is logged, counted and limited.
use crate::hub::{Counters, Hub};
use crate::throttle::counted;
use godwit_session::Millis;
use godwit_wire::Jid;
use std::net::IpAddr;

impl Hub {
    /// A SASL exchange has ended.
    pub(crate) fn auth_result(
        &self,
        user: Option<&Jid>,
        mechanism: &'static str,
        failure: Option<&'static str>,
        peer: Option<IpAddr>,
        now: Millis,
    ) {
        let user = user.map(Jid::as_str).unwrap_or_default();
        let peer_shown = peer.map(|peer| peer.to_string()).unwrap_or_default();
        match failure {
            None => {
                Counters::up(&self.counters.logins);
                tracing::info!(account = user, peer = peer_shown, mechanism, "logged in");
            }
            Some(reason) => {
                Counters::up(&self.counters.logins_failed);
                self.failures.count(counted(peer, self.settings().loopback_exempt), now);
                tracing::warn!(account = user, peer = peer_shown, mechanism, reason, "login failed");
            }
        }
    }

    /// True if this source has failed too often of late to be heard.
    pub(crate) fn is_shut_out(&self, peer: Option<IpAddr>, now: Millis) -> bool {
        let settings = self.settings();
        let source = counted(peer, settings.loopback_exempt);
        self.failures.is_over(source, settings.failures_per_minute_max, now)
    }
}
