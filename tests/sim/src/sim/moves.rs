//! The scheduler: everything that could happen next, and one of it chosen by the seed.
use super::coverage::Point;
use super::link::Link;
use super::run::Sim;
use crate::seams::{Actor, WORKERS};
use godwit_session::FeedMode;

/// Bytes waiting for a client up to which the server reads from it.
const QUEUE_LOW: usize = 4_000;

/// One thing that could happen. Numbers of links, shards, workers, clients.
#[derive(Debug, Clone, Copy)]
pub enum Move {
    /// Bytes of a client, or its end of file, reach the server.
    Up(usize),
    /// The kernel takes what the server has for a client.
    Take(usize),
    /// Bytes of the server, or its end of file, reach the client.
    Down(usize),
    /// What a client has to say gets under way.
    Say(usize),
    /// A machine's deadline has come.
    Tick(usize),
    /// A shard's deadline has come.
    TickShard(usize),
    /// A shard takes a note.
    Note(usize),
    /// A shard ends its turn.
    Flush(usize),
    /// Posts go out.
    LetGo(Actor),
    /// A worker takes a job.
    Job(usize),
    /// The writer commits a round.
    Commit,
    /// The writer completes transactions of its round.
    Complete,
    /// A client does something of its own accord.
    Act(usize),
    /// Time passes.
    Pass,
}

impl Sim {
    /// One move, or one fault.
    pub(crate) fn turn(&mut self) {
        self.notes.step += 1;
        if self.dice.next() % 1_000 < self.plan.faults {
            self.fault();
        } else {
            self.collect();
            let pace = self.plan.pace.clone();
            for n in 0..self.clients.len() {
                self.choice.push((Move::Act(n), pace.clients));
            }
            self.choice.push((Move::Pass, pace.time));
            self.choose();
        }
        self.watch();
    }

    /// One move of what is under way; false if nothing is.
    pub(crate) fn move_on(&mut self) -> bool {
        self.notes.step += 1;
        self.collect();
        let some = !self.choice.is_empty();
        self.choose();
        self.watch();
        some
    }

    /// Something is under way.
    pub(crate) fn moves_wait(&mut self) -> bool {
        self.collect();
        !self.choice.is_empty()
    }

    fn choose(&mut self) {
        let total: usize = self.choice.iter().map(|(_, weight)| weight).sum();
        let mut point = self.dice.below(total);
        for n in 0..self.choice.len() {
            let (chosen, weight) = self.choice[n];
            if point < weight {
                return self.make(chosen);
            }
            point -= weight;
        }
    }

    /// Everything that is under way and could happen next.
    fn collect(&mut self) {
        self.choice.clear();
        let pace = self.plan.pace.clone();
        for n in 0..self.links.len() {
            self.collect_link(n, pace.network);
        }
        for shard in 0..self.server.shards() {
            if self.server.mail.is_delayed(Actor::Shard(shard)) {
                self.choice.push((Move::LetGo(Actor::Shard(shard)), pace.shards));
                continue;
            }
            if self.server.mail.waiting(shard) > 0 {
                self.choice.push((Move::Note(shard), 2 * pace.shards));
            }
            if self.server.is_dirty(shard) {
                self.choice.push((Move::Flush(shard), pace.shards));
            }
            if self.server.shard_deadline(shard).is_some_and(|due| due <= self.server.now()) {
                self.choice.push((Move::TickShard(shard), pace.shards));
            }
        }
        for worker in 0..WORKERS {
            if self.server.mail.is_delayed(Actor::Worker(worker)) {
                self.choice.push((Move::LetGo(Actor::Worker(worker)), pace.workers));
            } else if self.server.jobs.waiting() > 0 {
                self.choice.push((Move::Job(worker), pace.workers));
            }
        }
        if self.server.uncompleted() > 0 {
            self.choice.push((Move::Complete, 2 * pace.writer));
        } else if self.server.mail.is_delayed(Actor::Writer) {
            self.choice.push((Move::LetGo(Actor::Writer), pace.writer));
        } else if godwit_store::Submit::queued(&*self.server.store) > 0 && !self.held {
            self.choice.push((Move::Commit, pace.writer));
        }
    }

    fn collect_link(&mut self, n: usize, weight: usize) {
        let link = &self.links[n];
        let mut add = |chosen| self.choice.push((chosen, weight));
        if let Some(client) = link.client {
            if !self.clients[client].out.is_empty() {
                add(Move::Say(n));
            }
            if !link.dark_down && (!link.down.is_empty() || link.down_end) {
                add(Move::Down(n));
            }
        }
        let Some(socket) = self.server.socket(link.at).filter(|_| !link.server_gone) else { return };
        if self.server.mail.is_delayed(Actor::Shard(socket.shard)) {
            return;
        }
        let input = !link.up.is_empty() || link.up_end;
        if input && !link.dark_up && socket.wants_input(QUEUE_LOW) {
            add(Move::Up(n));
        }
        if !socket.out.is_empty() && link.space() > 0 {
            add(Move::Take(n));
        }
        // Whoever waits for posts does so for minutes; no thread takes as long for its turn.
        let waits = socket.conn.as_ref().is_some_and(|conn| conn.bound().is_some() && conn.paused());
        let due = socket.deadline().is_some_and(|due| due <= self.server.now());
        if due && !(waits && self.server.mail.is_under_way()) {
            add(Move::Tick(n));
        }
    }

    /// Makes a move.
    fn make(&mut self, chosen: Move) {
        match chosen {
            Move::Up(n) => self.up(n),
            Move::Take(n) => self.take(n),
            Move::Down(n) => self.down(n),
            Move::Say(n) => {
                if let Some(client) = self.links[n].client {
                    let said = std::mem::take(&mut self.clients[client].out);
                    self.links[n].up.extend_from_slice(&said);
                }
            }
            Move::Tick(n) => {
                self.server.tick(self.links[n].at);
            }
            Move::TickShard(shard) => {
                self.notes.hit(Point::Expired);
                self.server.tick_shard(shard);
            }
            Move::Note(shard) => {
                let mail = &self.server.mail;
                self.notes.say(|| format!("shard {shard}: {}", mail.shown(shard)));
                self.server.note(shard);
            }
            Move::Flush(shard) => {
                self.server.flush(shard);
                if self.dice.chance(70) {
                    self.let_go(Actor::Shard(shard));
                }
            }
            Move::LetGo(actor) => {
                self.notes.coverage.once(Point::OutOfOrder);
                self.let_go(actor);
            }
            Move::Job(worker) => {
                self.server.job(worker);
            }
            Move::Commit => self.commit(),
            Move::Complete => {
                let count = if self.dice.chance(50) { usize::MAX } else { 1 };
                self.server.complete(count);
            }
            Move::Act(n) => self.act(n),
            Move::Pass => self.pass_some(),
        }
    }

    fn let_go(&mut self, actor: Actor) {
        self.server.mail.let_go(actor);
    }

    fn up(&mut self, n: usize) {
        let link = &mut self.links[n];
        if link.up.is_empty() {
            self.notes.say(|| format!("link {n}: end of file reaches the server"));
            return self.server.gone(link.at);
        }
        let count = if self.dice.chance(60) { link.up.len() } else { 1 + self.dice.below(link.up.len()) };
        let bytes: Vec<u8> = link.up.drain(..count).collect();
        self.notes.say(|| format!("link {n}: {count} bytes reach the server"));
        self.server.input(link.at, &bytes);
    }

    fn take(&mut self, n: usize) {
        let link = &mut self.links[n];
        let bytes = self.server.take(link.at, link.space());
        link.down.extend_from_slice(&bytes);
        if link.space() == 0 {
            self.notes.coverage.once(Point::SlowReader);
        }
    }

    fn down(&mut self, n: usize) {
        let link = &mut self.links[n];
        let Some(me) = link.client else { return };
        if link.down.is_empty() {
            return self.hang_up(n, 200);
        }
        let count = if self.dice.chance(60) { link.down.len() } else { 1 + self.dice.below(link.down.len()) };
        let bytes: Vec<u8> = link.down.drain(..count).collect();
        let client = &mut self.clients[me];
        client.read(&bytes, &mut self.notes, &mut self.salted);
        if client.counts.asked && client.is_online() && self.dice.chance(80) {
            client.acknowledge(&mut self.notes);
        }
    }

    fn commit(&mut self) {
        if self.full {
            self.server.store.fail_next(godwit_store::Fault::Full);
            self.notes.ledger.write_failed = true;
        }
        let max = if self.dice.chance(70) { usize::MAX } else { 1 + self.dice.below(3) };
        let count = self.server.commit(max);
        let full = self.full;
        self.notes.say(|| format!("the writer commits {count}{}", if full { " (full)" } else { "" }));
    }

    fn pass_some(&mut self) {
        let ms = match self.dice.below(100) {
            0 => self.dice.between(10_000, 90_000),
            1..8 => self.dice.between(500, 5_000),
            _ => self.dice.between(1, 100),
        };
        self.pass(ms);
    }

    /// A client opens a connection.
    pub(crate) fn connect(&mut self, me: usize) {
        let shard = self.dice.below(self.server.shards());
        let at = self.server.accept(shard);
        let room = [300, 4_000, 64_000][self.dice.below(3)];
        let link = Link { at, client: Some(me), room, ..Link::default() };
        let n = self.links.iter().position(Link::is_over).unwrap_or(self.links.len());
        if n == self.links.len() {
            self.links.push(link);
        } else {
            self.links[n] = link;
        }
        let jid = self.clients[me].jid();
        self.notes.say(|| format!("{jid} connects by link {n}, {at:?} on shard {shard}"));
        self.clients[me].connected(&self.notes);
    }

    /// A client lets go of its connection, of which nothing more is read.
    pub(crate) fn hang_up(&mut self, n: usize, pause_ms: u64) {
        let link = &mut self.links[n];
        let Some(me) = link.client.take() else { return };
        link.up_end = true;
        link.down.clear();
        link.dark_down = true;
        link.room = if link.dark_up { link.room } else { usize::MAX };
        let retry_at = self.notes.now + self.dice.between(0, pause_ms);
        let jid = self.clients[me].jid();
        self.notes.say(|| format!("{jid} has no connection any more (link {n})"));
        self.clients[me].disconnected(retry_at);
    }

    /// After each move: what the server did by itself is seen.
    fn watch(&mut self) {
        for link in &mut self.links {
            if !link.server_gone && self.server.socket(link.at).is_none() {
                (link.server_gone, link.down_end) = (true, true);
                link.up.clear();
            }
        }
        for _ in 0..std::mem::take(&mut self.server.taken_over) {
            self.notes.hit(Point::TakenOver);
        }
        for ack in std::mem::take(&mut self.server.acks) {
            let account = self.clients.iter().find(|client| *client.jid() == *ack.jid);
            if let Some(account) = account.map(|client| client.account) {
                if !ack.sm && !self.clients.iter().any(|c| *c.jid() == *ack.jid && c.is_online()) {
                    self.notes.coverage.hit(Point::Swallowed);
                }
                let step = self.notes.step;
                self.notes.ledger.settled((account, ack.seq), ack.sm, step);
            }
        }
        for socket in self.server.sockets() {
            let bound = socket.conn.as_ref().and_then(|conn| conn.bound());
            if bound.is_some_and(|bound| matches!(bound.feed.mode, FeedMode::CatchUp { fetching: true, .. }))
            {
                self.notes.coverage.once(Point::CatchUp);
            }
            if bound.is_some() && socket.conn.as_ref().is_some_and(|conn| conn.paused()) {
                self.notes.coverage.once(Point::Held);
            }
            if socket.congested {
                self.notes.coverage.once(Point::Congested);
            }
        }
        self.check_bounds();
        self.check_pages();
    }
}
