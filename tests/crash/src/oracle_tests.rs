//! The oracle must find each kind of fault, and must not cry at what is permitted.

use std::time::Duration;

use godwit_testclient::now;

use super::{Tally, judge};
use crate::ledger::{Delivery, Key, Ledger, Sent};

/// One recipient, one sender; `deliveries` are (number, stanza-id, lineage).
fn ledger(sent: &[(u32, u32, bool)], deliveries: &[(u32, &str, usize)]) -> Ledger {
    let mut ledger = Ledger::default();
    let key = |n| Key { sender: 0, recipient: 0, n };
    for &(n, sessions, acked) in sent {
        ledger.sent.insert(key(n), Sent { sessions, acked, bounced: false });
    }
    ledger.lineages.resize_with(3, Default::default);
    for (at, &(n, stanza_id, lineage)) in deliveries.iter().enumerate() {
        let number = u32::try_from(at).unwrap_or(0) + 1;
        ledger.delivered(Delivery { key: key(n), stanza_id: stanza_id.into(), lineage, number });
    }
    ledger
}

fn verdict(sent: &[(u32, u32, bool)], deliveries: &[(u32, &str, usize)]) -> Tally {
    judge(ledger(sent, deliveries))
}

#[test]
fn a_clean_run_has_no_violation() {
    let tally = verdict(&[(0, 1, true), (1, 1, true), (2, 1, false)], &[(0, "a", 0), (1, "b", 0)]);
    assert_eq!((tally.violations, tally.exactly_once, tally.acknowledged), (0, 2, 2));
}

#[test]
fn a_lost_message_is_found_and_an_unacknowledged_one_is_not_missed() {
    let tally = verdict(&[(0, 1, true), (1, 1, true), (2, 1, false)], &[(0, "a", 0)]);
    assert_eq!((tally.violations, tally.lost), (1, 1));
}

#[test]
fn a_copy_is_permitted_for_each_session_in_which_it_was_sent() {
    let resent = verdict(&[(0, 2, true)], &[(0, "a", 0), (0, "b", 0)]);
    assert_eq!((resent.violations, resent.copies), (0, 1));
    let once = verdict(&[(0, 1, true)], &[(0, "a", 0), (0, "b", 0)]);
    assert_eq!((once.violations, once.duplicated), (1, 1));
}

#[test]
fn the_same_copy_twice_in_one_session_is_a_fault() {
    let tally = verdict(&[(0, 5, true)], &[(0, "a", 0), (0, "a", 0)]);
    assert_eq!((tally.violations, tally.duplicated), (1, 1));
}

#[test]
fn a_redelivery_is_permitted_until_it_was_confirmed() {
    let sent = [(0, 1, true)];
    let deliveries = [(0, "a", 0), (0, "a", 1)];
    assert_eq!((verdict(&sent, &deliveries).violations, verdict(&sent, &deliveries).redelivered), (0, 1));
    let start = now();
    for (after, violations) in [(Duration::from_millis(900), 0), (Duration::from_millis(1_100), 1)] {
        let mut ledger = ledger(&sent, &deliveries);
        ledger.recipient_acked(0, start, 1);
        ledger.connection_ended(0, start + after);
        assert_eq!(judge(ledger).violations, violations, "acknowledged {after:?} before the end");
    }
}

#[test]
fn disorder_is_found_in_first_arrivals_and_within_a_session() {
    let sent = [(0, 1, true), (1, 1, true)];
    assert_eq!(verdict(&sent, &[(1, "b", 0), (0, "a", 0)]).out_of_order, 1);
    let again = verdict(&sent, &[(0, "a", 0), (1, "b", 0), (1, "b", 1), (0, "a", 1)]);
    assert_eq!((again.out_of_order, again.redelivered), (1, 2));
}

#[test]
fn a_phantom_is_found() {
    assert_eq!(verdict(&[], &[(0, "a", 0)]).violations, 1);
}
