//! What goes wrong: connections, the disk, the clock, the whole daemon.
use super::client::Stage;
use super::coverage::Point;
use super::run::Sim;
use crate::seams::{Actor, WORKERS};
use godwit_store::{Fault, Submit};
use std::sync::atomic::Ordering;

impl Sim {
    /// One fault.
    pub(crate) fn fault(&mut self) {
        if self.dice.chance(self.plan.kills) {
            return self.kill();
        }
        match self.dice.below(20) {
            0..7 => self.break_some(),
            7..11 => self.darken(),
            11 => self.heal(),
            12..14 => self.give_up(),
            14 => self.forgetful(),
            15 => {
                self.held = !self.held;
                self.notes.hit(Point::FsyncHeld);
            }
            16 => {
                self.server.store.fail_next(Fault::Failed);
                self.notes.ledger.write_failed = true;
                self.notes.hit(Point::WriteFailed);
            }
            17 => {
                self.full = !self.full;
                self.notes.hit(Point::DiskFull);
            }
            18 => {
                let ms = self.dice.between(1_000, 3_600_000);
                self.skew += ms;
                self.pass(0);
                self.notes.hit(Point::ClockForward);
            }
            _ => self.pass(65_000),
        }
    }

    /// A link that a client holds.
    fn some_link(&self) -> Option<usize> {
        let held: Vec<usize> = (0..self.links.len()).filter(|&n| self.links[n].client.is_some()).collect();
        held.get(self.dice.below(held.len())).copied()
    }

    /// The connection breaks: a part of what was under way arrives, at any byte, and then both ends see it.
    fn break_some(&mut self) {
        let Some(n) = self.some_link() else { return };
        let Some(me) = self.links[n].client else { return };
        self.notes.hit(Point::CutByPeer);
        match self.clients[me].stage {
            Stage::Login(_) => self.notes.hit(Point::CutDuringLogin),
            Stage::Online if self.clients[me].replaying => self.notes.hit(Point::CutDuringReplay),
            _ => {}
        }
        let link = &mut self.links[n];
        let up = self.dice.below(link.up.len() + 1);
        if up < link.up.len() && link.up.get(up.wrapping_sub(1)).is_some_and(|byte| *byte != b'>') {
            self.notes.coverage.hit(Point::CutMidStanza);
        }
        link.up.truncate(up);
        let down = self.dice.below(link.down.len() + 1);
        if down > 0 && link.down.get(down - 1).is_some_and(|byte| *byte != b'>') {
            self.notes.coverage.hit(Point::CutMidDelivery);
        }
        let last: Vec<u8> = link.down.drain(..down).collect();
        if !link.dark_down {
            self.clients[me].read(&last, &mut self.notes, &mut self.salted);
        }
        self.hang_up(n, 5_000);
    }

    /// Nothing passes any more; neither side is told.
    fn darken(&mut self) {
        let Some(n) = self.some_link() else { return };
        let (up, down, point) =
            [(true, false, Point::DarkUp), (false, true, Point::DarkDown), (true, true, Point::DarkBoth)]
                [self.dice.below(3)];
        self.notes.hit(point);
        self.notes.say(|| format!("link {n} is dark"));
        self.links[n].dark_up |= up;
        self.links[n].dark_down |= down;
    }

    /// What was dark comes back, with nothing lost: TCP sends again.
    fn heal(&mut self) {
        for link in self.links.iter_mut().filter(|link| link.client.is_some()) {
            if link.dark_up || link.dark_down {
                self.notes.hit(Point::DarkHealed);
            }
            (link.dark_up, link.dark_down) = (false, false);
        }
    }

    /// A client notices that its connection is dead, which the server does not.
    fn give_up(&mut self) {
        let dark = |link: &super::link::Link| link.client.is_some() && (link.dark_up || link.dark_down);
        if let Some(n) = self.links.iter().position(dark) {
            self.notes.hit(Point::GaveUpDark);
            self.hang_up(n, 1_000);
        }
    }

    /// A client comes back with nothing but its name: a new session takes the old one's resource.
    fn forgetful(&mut self) {
        let Some(n) = self.some_link() else { return };
        if let Some(me) = self.links[n].client {
            self.notes.hit(Point::Replaced);
            self.links[n].dark_up |= self.dice.chance(50);
            self.clients[me].forget();
            self.hang_up(n, 1_000);
        }
    }

    /// The server dies, and starts again over what is durable.
    pub(crate) fn kill(&mut self) {
        let delayed = (0..self.server.shards()).map(Actor::Shard);
        let delayed = delayed.chain((0..WORKERS).map(Actor::Worker)).chain([Actor::Writer]);
        let under_way = delayed.into_iter().any(|actor| self.server.mail.is_delayed(actor))
            || (0..self.server.shards()).any(|shard| self.server.mail.waiting(shard) > 0);
        let (queued, uncompleted) = (self.server.store.queued() > 0, self.server.uncompleted() > 0);
        if uncompleted && self.server.is_round_begun() {
            self.notes.hit(Point::CrashAmidCompletions);
        } else if uncompleted {
            self.notes.hit(Point::CrashBeforeCompletions);
        }
        if queued {
            self.notes.hit(Point::CrashBeforeCommit);
        }
        if under_way {
            self.notes.hit(Point::CrashBeforePost);
        } else if !queued && !uncompleted {
            self.notes.hit(Point::CrashIdle);
        }
        let unsynced = self.server.store.unsynced();
        let kept = self.dice.below(unsynced + 1);
        if kept > 0 {
            self.notes.hit(Point::CrashKeptUnsynced);
        }
        if kept < unsynced {
            self.notes.hit(Point::CrashLostUnsynced);
        }
        if self.dice.chance(20) && self.skew > 0 {
            self.skew -= self.dice.between(0, self.skew);
            self.notes.hit(Point::ClockBack);
            self.pass(0);
        }
        if self.server.hub.counters.conflicts.load(Ordering::Relaxed) > 0 {
            self.notes.hit(Point::ConflictRetried);
        }
        let down_ms = self.dice.between(1, 500);
        self.pass(down_ms);
        if self.server.store.is_failing() {
            // What sessions were sent while nothing could be written is in no record, and a restart cannot
            // know of that: only then may a resumption repeat, or leave out. Clients begin anew.
            self.notes.hit(Point::CrashWhileFailing);
            self.clients.iter_mut().for_each(super::client::Client::give_up);
        }
        self.notes.say(|| format!("killed; {kept} of {unsynced} unsynced rounds are kept"));
        self.shed += self.server.hub.counters.shed.load(Ordering::Relaxed);
        self.server = self.server.crash(kept);
        self.held = false;
        self.links_lost();
        self.records_lost();
    }

    /// The kernel says goodbye for the dead process, or the power was lost and nobody does.
    fn links_lost(&mut self) {
        let power = self.dice.chance(30);
        for link in self.links.iter_mut() {
            link.up.clear();
            (link.server_gone, link.down_end) = (true, true);
            if power {
                link.down.clear();
            }
        }
        for client in &mut self.clients {
            client.over_restart = client.counts.previd.is_some();
        }
    }
}
