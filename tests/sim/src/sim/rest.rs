//! How a run comes to rest: the faults end, everybody comes back; then all leave; then one of each account
//! comes again.
use super::client::{Client, Stage};
use super::habits::ACTIVE;
use super::plan::NAMES;
use super::run::Sim;
use std::sync::atomic::Ordering;

/// Moves of one coming to rest at most.
const MOVES_MAX: usize = 400_000;
/// Times that everybody says what there is to say, until nobody has anything left.
const ROUNDS_MAX: usize = 300;

impl Sim {
    /// The faults end. All clients come back, and what was under way arrives.
    pub(crate) fn settle(&mut self) {
        (self.full, self.held) = (false, false);
        for n in 0..self.links.len() {
            let link = &mut self.links[n];
            if link.dark_up || link.dark_down {
                (link.dark_up, link.dark_down) = (false, link.client.is_none());
                link.up_end = true;
                self.hang_up(n, 100);
            }
        }
        self.quieten(|sim| {
            for me in 0..sim.clients.len() {
                let client = &mut sim.clients[me];
                if matches!(client.stage, Stage::Off) && client.retry_at != u64::MAX {
                    sim.connect(me);
                }
            }
            // Sessions that nobody will resume run out; whose client is here answers pings meanwhile.
            sim.server.hub.counters.detached.load(Ordering::Relaxed) > 0
        });
        let awake = self.clients.iter_mut().filter(|client| client.is_online());
        awake.for_each(|client| client.say(ACTIVE));
        self.quieten(|sim| {
            for me in 0..sim.clients.len() {
                if sim.clients[me].is_online() && sim.clients[me].presence.is_none_or(|p| p < 0) {
                    sim.clients[me].available(0, &mut sim.notes);
                }
            }
            false
        });
    }

    /// All clients leave, in good order.
    pub(crate) fn leave(&mut self) {
        for me in 0..self.clients.len() {
            if self.clients[me].is_online() {
                self.close(me);
            }
        }
        self.quieten(|sim| sim.server.hub.counters.sessions.load(Ordering::Relaxed) > 0);
    }

    /// One client of each account comes and takes what is left for it.
    pub(crate) fn come_back(&mut self) {
        let old = self.clients.len();
        for (account, name) in NAMES.iter().enumerate() {
            let client = Client::new(old + account, account, name, "last", true);
            self.clients.push(client);
            self.connect(old + account);
        }
        self.quieten(|_| false);
    }

    /// Moves until nothing moves any more. `more` may begin something new, and says whether time has to pass
    /// for it.
    fn quieten(&mut self, mut more: impl FnMut(&mut Sim) -> bool) {
        let (mut moves, mut rounds) = (0, 0);
        while self.is_well() {
            rounds += 1;
            while self.is_well() && self.move_on() {
                moves += 1;
                if moves > MOVES_MAX || rounds > ROUNDS_MAX {
                    return self.notes.fail(|| "it does not come to rest".into());
                }
            }
            self.answer_all();
            let waits = more(self);
            if self.moves_wait() {
                continue;
            }
            if !waits {
                return;
            }
            self.pass(5_000);
            moves += 100;
        }
    }

    /// Clients say what they have.
    fn answer_all(&mut self) {
        for client in &mut self.clients {
            let behind = client.counts.asked || client.counts.told != client.counts.received;
            if client.is_online() && client.counts.sm {
                if behind {
                    client.acknowledge(&mut self.notes);
                }
                if !client.queue.is_empty() {
                    client.request();
                }
            }
        }
    }
}
