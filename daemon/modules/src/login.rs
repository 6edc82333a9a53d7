//! Logins: what is logged, counted and limited.
use crate::hub::{Counters, Hub};
use crate::throttle::counted;
use godwit_session::Millis;
use godwit_wire::Jid;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

/// The conditions of SASL failures (RFC 6120 §6.5) that streams give; what is none of them counts as other.
const CONDITIONS: [&str; 9] = [
    "not-authorized",
    "malformed-request",
    "incorrect-encoding",
    "invalid-authzid",
    "invalid-mechanism",
    "encryption-required",
    "aborted",
    "temporary-auth-failure",
    "other",
];

/// Failed logins by condition.
#[derive(Debug, Default)]
pub struct Failures([AtomicU64; CONDITIONS.len()]);

impl Failures {
    fn count(&self, condition: &str) {
        let at = CONDITIONS.iter().position(|known| *known == condition).unwrap_or(CONDITIONS.len() - 1);
        self.0.get(at).into_iter().for_each(Counters::up);
    }

    /// Each condition and how often it was given.
    pub fn each(&self) -> impl Iterator<Item = (&'static str, u64)> {
        CONDITIONS.into_iter().zip(self.0.iter().map(|count| count.load(Ordering::Relaxed)))
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        self.each().map(|(_, count)| count).sum()
    }
}

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
                self.counters.logins_failed.count(reason);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_counted_by_condition_and_strange_ones_as_others() {
        let failures = Failures::default();
        for condition in ["aborted", "not-authorized", "aborted", "of-another-kind"] {
            failures.count(condition);
        }
        let counted: Vec<_> = failures.each().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counted, [("not-authorized", 1), ("aborted", 2), ("other", 1)]);
        assert_eq!(failures.total(), 4);
    }
}
