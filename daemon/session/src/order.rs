//! The order of what is posted to a session while it moves to another connection.
//!
//! What threads post to a session on its account's behalf is numbered under the account's lock. A session
//! that moves leaves posts behind that are on their way to its old place; they are passed on, while newer
//! ones come to the new place directly and may be faster. So it moves with the number of those that are still
//! to come, takes nothing until all of them have, and then takes everything in the order of the numbers.
//! Answers to its own stanzas are not numbered: each comes before the note that its stanza is handled, and
//! those notes are waited for too. `<resumed/>` waits for both, so that the client cannot ask for anything
//! meanwhile.
use crate::{Bound, Event};

/// Posts that wait for earlier ones. With more the order is given up.
const EARLY_MAX: usize = 4_096;

/// What has come to a session that moved, while earlier posts are missing.
#[derive(Debug, Default)]
pub(crate) struct Early {
    /// Number of the last post to an old place.
    until: u32,
    /// Posts up to there that have not come.
    missing: u32,
    list: Vec<(u32, Event)>,
}

impl Early {
    fn add(&mut self, number: u32, event: Event) {
        // Half of all numbers are up to there, the other half beyond.
        if self.until.wrapping_sub(number) < 1 << 31 {
            self.missing = self.missing.saturating_sub(1);
        }
        self.list.push((number, event));
    }

    fn len(&self) -> u32 {
        u32::try_from(self.list.len()).unwrap_or(u32::MAX)
    }

    pub(crate) fn memory(&self) -> usize {
        let bytes = |(_, event): &(u32, Event)| match event {
            Event::Deliver(outgoing) | Event::Copy(_, outgoing) => {
                outgoing.bytes.len() + outgoing.extra.len()
            }
            _ => 0,
        };
        size_of::<Early>()
            + self.list.capacity() * size_of::<(u32, Event)>()
            + self.list.iter().map(bytes).sum::<usize>()
    }
}

impl Event {
    /// Its number, if it is one of those that are counted.
    pub fn number(&self) -> Option<u32> {
        match self {
            Event::Deliver(outgoing) | Event::Copy(_, outgoing) => outgoing.number,
            Event::FeedFrom { number, .. } | Event::FeedStop { number } => *number,
            Event::Nothing(number) => Some(*number),
            _ => None,
        }
    }

    /// The same with a number, if it is of a kind that can have one.
    pub fn numbered(mut self, as_number: u32) -> Event {
        match &mut self {
            Event::Deliver(outgoing) | Event::Copy(_, outgoing) => outgoing.number = Some(as_number),
            Event::FeedFrom { number, .. } | Event::FeedStop { number } => *number = Some(as_number),
            Event::Nothing(number) => *number = as_number,
            _ => {}
        }
        self
    }
}

impl Bound {
    /// The session moves, after so many posts to it.
    pub fn moves(&mut self, posts: u32) {
        let inflight = self.inflight();
        let Some(sm) = &mut self.sm else { return };
        let mut early = sm.early.take().unwrap_or_default();
        let here = posts.wrapping_sub(early.len());
        early.until = posts;
        early.missing = here.wrapping_sub(self.arrived);
        if early.missing >= 1 << 31 {
            // Some have come after they had been given up.
            (early.missing, self.arrived) = (0, here);
        }
        if early.missing > 0 || inflight > 0 || !early.list.is_empty() {
            sm.early = Some(early);
        }
    }

    /// All that was posted to old places has come, and all of its own stanzas are answered.
    pub(crate) fn is_level(&self) -> bool {
        let early = self.sm.as_ref().and_then(|sm| sm.early.as_ref());
        self.inflight() == 0 && early.is_none_or(|e| e.missing == 0 || e.list.len() > EARLY_MAX)
    }

    /// An event comes back if it is its turn; otherwise it waits.
    pub(crate) fn in_turn(&mut self, event: Event) -> Option<Event> {
        let Some(number) = event.number() else { return Some(event) };
        if let Some(early) = self.sm.as_mut().and_then(|sm| sm.early.as_mut()) {
            early.add(number, event);
            return None;
        }
        self.arrived = self.arrived.wrapping_add(1);
        Some(event)
    }

    /// What has waited, in its order, once the session is level.
    pub(crate) fn caught_up(&mut self) -> Vec<Event> {
        if !self.is_level() {
            return Vec::new();
        }
        let Some(early) = self.sm.as_mut().and_then(|sm| sm.early.take()) else { return Vec::new() };
        self.arrived = self.arrived.wrapping_add(early.len());
        let Early { until, mut list, .. } = *early;
        list.sort_by_key(|(number, _)| number.wrapping_sub(until).cast_signed());
        list.into_iter().map(|(_, event)| event).collect()
    }

    /// It has waited too long for what was posted to an old place: that will be out of order if it comes.
    pub(crate) fn give_up_order(&mut self) {
        if let Some(early) = self.sm.as_mut().and_then(|sm| sm.early.as_mut()) {
            self.arrived = self.arrived.wrapping_add(std::mem::take(&mut early.missing));
        }
    }
}
