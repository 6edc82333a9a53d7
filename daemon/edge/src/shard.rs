//! A shard: one thread, one poll, its listeners and its connections.
//!
//! A turn of the loop: wait; take what the poll and the mailbox brought; read from connections, each once;
//! accept; look at what is due; then seal and write what all that made the connections say, once each. In the
//! end the host posts its batches. Everything within a turn is bounded; what is left over makes the next
//! turn's wait a mere look.
use crate::accept::{Doors, WAKER, conn_id};
use crate::config::ShardConfig;
use crate::conn::{Conn, Phase};
use crate::core::Core;
use crate::handover::{Adoption, Hold};
use crate::input::INPUT_BYTES;
use crate::listen::Listener;
use crate::logs::Named;
use crate::mailbox::{Control, Inbox, Mailbox};
use crate::slots::Slots;
use crate::stage::Stage;
use crate::stats::ShardStats;
use crate::timer::{Tick, Wheel};
use crate::tls::TlsConfig;
use crate::turn::Outputs;
use crate::{Ended, ShardHost};
use godwit_session::{ConnId, Event, Millis, Out};
use godwit_wire::{StreamCondition, StreamError};
use mio::{Events, Poll, Waker};
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// An idle shard still turns after so long, so that the watchdog sees that it can.
pub const HEARTBEAT_MS_MAX: Millis = 5_000;
/// How often buffers that are not used any more are dropped.
const TRIM_MS: Millis = 5_000;
/// A shard whose host has enough to do looks again after so long.
const CROWDED_MS: Millis = 1;
/// It reads all the same after so long: what hangs must not look like silent clients.
const UNREAD_MS_MAX: Millis = 1_000;
/// Room that stays in the list of notes.
const NOTES_KEPT: usize = 64;
/// Events taken from the poll at once.
const EVENTS_MAX: usize = 1024;
/// Writing makes machines speak again ([`Event::Drained`]); so often within one turn, then in the next.
const ROUNDS_MAX: usize = 4;

struct Stopping {
    deadline: Millis,
    /// Slots below this have been told.
    told: u32,
}

/// One shard. Made on any thread, run on its own.
pub struct Shard<H: ShardHost> {
    pub(crate) poll: Poll,
    events: Events,
    pub(crate) inbox: Inbox<H::Note>,
    pub(crate) notes: VecDeque<H::Note>,
    controls: Vec<Control>,
    due: Vec<(u32, Tick)>,
    clock: crate::Clock,
    pub(crate) doors: Doors,
    pub(crate) conns: Slots<Conn>,
    pub(crate) core: Core<H>,
    stopping: Option<Stopping>,
    trim_at: Millis,
    /// Open connections are left unread, because the host has enough to do: since when nobody was read from.
    unread_since: Option<Millis>,
    pub(crate) hold: Hold,
    pub(crate) adoption: Option<Adoption>,
}
impl<H: ShardHost> Shard<H> {
    /// A shard that serves these listeners, and the way to reach it.
    pub fn new(
        config: ShardConfig,
        listeners: Vec<Listener>,
        host: H,
        tls: Arc<TlsConfig>,
        stats: Arc<ShardStats>,
    ) -> io::Result<(Shard<H>, Mailbox<H::Note>)> {
        let poll = Poll::new()?;
        let (inbox, mailbox) = Inbox::new(Waker::new(poll.registry(), WAKER)?);
        let mut doors = Doors::new(config.ceiling);
        for listener in listeners {
            doors.add(poll.registry(), listener)?;
        }
        let now = (config.clock)();
        stats.beat(now);
        let core = Core {
            host,
            number: config.number,
            settings: config.settings,
            limits: config.limits,
            tls,
            stats,
            random: config.random,
            held: false,
            now,
            wheel: Wheel::new(now),
            outputs: Outputs::default(),
            stage: Stage::new(config.limits.strangers_min, now),
            ready: VecDeque::new(),
            shaking: VecDeque::new(),
            input: vec![0; INPUT_BYTES].into_boxed_slice(),
            plain: Vec::with_capacity(INPUT_BYTES),
            raw: Vec::new(),
            cipher: Vec::with_capacity(INPUT_BYTES),
            out: Out::default(),
        };
        let shard = Shard {
            poll,
            events: Events::with_capacity(EVENTS_MAX),
            inbox,
            notes: VecDeque::new(),
            controls: Vec::new(),
            due: Vec::new(),
            clock: config.clock,
            doors,
            conns: Slots::new(),
            core,
            stopping: None,
            trim_at: now + TRIM_MS,
            unread_since: None,
            hold: Hold::None,
            adoption: None,
        };
        Ok((shard, mailbox))
    }

    /// Runs it on a thread of its own, named for its number. The host comes back when it has stopped.
    pub fn spawn(self) -> io::Result<JoinHandle<io::Result<H>>>
    where
        H: Send + 'static,
    {
        thread::Builder::new().name(format!("shard-{}", self.core.number)).spawn(|| self.run())
    }

    /// Runs until [`Control::Stop`] has been obeyed.
    pub fn run(mut self) -> io::Result<H> {
        self.adopt_now()?;
        while self.turn()? {}
        Ok(self.core.host)
    }

    /// One turn of the loop. `false`: it has stopped.
    pub fn turn(&mut self) -> io::Result<bool> {
        self.wait()?;
        self.core.now = (self.clock)();
        self.core.stats.turns.add(1);
        self.core.stats.beat(self.core.now);
        self.take_events();
        self.take_notes();
        let mut stopped = false;
        if self.hold != Hold::All {
            self.read();
            if self.hold == Hold::None {
                self.doors.accept(self.poll.registry(), &mut self.conns, &mut self.core);
            }
            self.take_due();
            stopped = self.stop();
        }
        for _ in 0..ROUNDS_MAX {
            if !self.settle() {
                break;
            }
        }
        self.core.host.flush();
        if self.core.now >= self.trim_at {
            self.trim();
        }
        self.core.stats.connections.set(self.conns.len() as u64);
        self.inbox.settle(self.is_at_rest().then(|| self.core.stats.notes.get()));
        Ok(!(stopped || self.stopping.is_some() && self.conns.len() == 0))
    }

    /// Gives the memory of a burst back.
    fn trim(&mut self) {
        self.trim_at = self.core.now + TRIM_MS;
        self.core.outputs.trim();
        self.core.cipher.shrink_to(INPUT_BYTES);
        self.core.plain.shrink_to(INPUT_BYTES);
        self.notes.shrink_to(self.notes.len().max(NOTES_KEPT));
    }

    /// How long there is nothing to do unless something comes.
    fn idle_ms(&self) -> Millis {
        if self.hold == Hold::All {
            let rests = self.core.outputs.is_empty() && self.notes.is_empty() && self.inbox.may_sleep();
            return if rests { HEARTBEAT_MS_MAX } else { 0 };
        }
        let open = self.hold == Hold::None;
        let (knocked, accept_again) = if open { self.doors.waiting(&self.core.stage) } else { (false, None) };
        let telling = self.stopping.as_ref().is_some_and(|stopping| stopping.told < self.conns.span());
        let core = &self.core;
        let ready = !core.ready.is_empty();
        let busy =
            ready && self.unread_since.is_none() || !core.shaking.is_empty() || !core.outputs.is_empty();
        if busy || knocked || telling || !self.notes.is_empty() || !self.inbox.may_sleep() {
            return 0;
        }
        let stop = self.stopping.as_ref().map(|stopping| stopping.deadline);
        let unread = ready.then_some(core.now + CROWDED_MS);
        let next =
            [core.wheel.next(), core.host.deadline(), accept_again, stop, unread].into_iter().flatten().min();
        next.map_or(HEARTBEAT_MS_MAX, |next| next.saturating_sub(core.now).min(HEARTBEAT_MS_MAX))
    }

    fn wait(&mut self) -> io::Result<()> {
        let idle = Duration::from_millis(self.idle_ms());
        self.core.stats.waits.add(1);
        match self.poll.poll(&mut self.events, Some(idle)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {
                self.events.clear();
                Ok(())
            }
            other => other,
        }
    }

    fn take_events(&mut self) {
        for event in &self.events {
            let at = conn_id(event.token());
            if at.generation == 0 {
                self.doors.knock(at.slot);
                continue;
            }
            let Some(conn) = self.conns.get(at) else { continue };
            if event.is_writable() {
                conn.blocked = false;
                if conn.waiting() > 0 && !self.core.held {
                    self.core.outputs.of(at, &mut conn.turn);
                }
            }
            conn.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
            conn.read_closed |= event.is_read_closed() || event.is_error();
            // A reset is noticed even while nothing is read.
            if event.is_error() && !self.core.held && !conn.wants_input(self.core.limits.queue_low) {
                self.core.doom(at, conn, Ended::Io);
            }
            self.core.queue(at, conn);
        }
    }

    fn take_notes(&mut self) {
        if self.notes.is_empty() {
            self.inbox.take(&mut self.notes, &mut self.controls);
        }
        for _ in 0..self.core.limits.notes_per_turn_max {
            let Some(note) = self.notes.pop_front() else { break };
            self.core.stats.notes.add(1);
            if let Some((at, event)) = self.core.host.note(note) {
                match self.conns.get(at) {
                    Some(conn) => self.core.event(at, conn, event),
                    None => self.core.host.missed(at, event),
                }
            }
        }
        for control in std::mem::take(&mut self.controls) {
            self.obey(control);
        }
    }

    fn obey(&mut self, control: Control) {
        match control {
            Control::Settings(settings) => self.core.settings = settings,
            Control::Listen(_) if self.stopping.is_some() => {}
            Control::Listen(listeners) => {
                for listener in listeners {
                    if let Err(error) = self.doors.add(self.poll.registry(), listener) {
                        tracing::error!(shard = self.core.number, %error, "cannot listen");
                    }
                }
            }
            Control::Hold(hold) => self.hold(hold),
            Control::Shaking(tell) => tell(self.shaking()),
            Control::Export(tell) => tell(self.export()),
            Control::Deafen => self.doors.close(),
            Control::Measure => {
                let waiting = self.core.host.memory();
                crate::measure::measure(&mut self.conns, waiting, &self.core.stats);
            }
            Control::Stop { deadline } => {
                self.doors.close();
                // Said again it may only shorten the time.
                let stopping = self.stopping.get_or_insert(Stopping { deadline, told: 0 });
                stopping.deadline = stopping.deadline.min(deadline);
            }
        }
    }

    /// Each connection in line is read from once; who has more joins the line again. If the host gets too
    /// much under way, the rest of the line waits in the kernel, and is first when there is room.
    fn read(&mut self) {
        let shaking = self.core.shaking.len().min(self.core.limits.handshakes_per_turn_max);
        let now = self.core.now;
        let mut since = self.unread_since.take();
        let overdue = since.is_some_and(|since| now >= since + UNREAD_MS_MAX);
        for _ in 0..self.core.ready.len() {
            if !overdue && self.core.host.is_crowded() {
                self.unread_since = since.or(Some(now));
                self.core.stats.crowded.add(1);
                break;
            }
            since = None;
            self.read_next(|core| &mut core.ready);
        }
        for _ in 0..shaking {
            self.read_next(|core| &mut core.shaking);
        }
    }

    fn read_next(&mut self, line: impl Fn(&mut Core<H>) -> &mut VecDeque<ConnId>) {
        if let Some(at) = line(&mut self.core).pop_front()
            && let Some(conn) = self.conns.get(at)
        {
            self.core.read(at, conn);
        }
    }

    fn take_due(&mut self) {
        let now = self.core.now;
        let mut due = std::mem::take(&mut self.due);
        self.core.wheel.advance(now, |slot, tick| due.push((slot, tick)));
        for (slot, tick) in due.drain(..) {
            if let Some(at) = self.conns.tenant(slot)
                && let Some(conn) = self.conns.get(at)
            {
                self.core.fire(at, conn, tick);
            }
        }
        self.due = due;
        if self.core.host.deadline().is_some_and(|deadline| deadline <= now) {
            self.core.host.tick(now);
        }
    }

    /// Tells some more connections that the system goes down. `true`: the time for that is over.
    fn stop(&mut self) -> bool {
        let Some(stopping) = &mut self.stopping else { return false };
        let over = self.core.now >= stopping.deadline;
        let all = self.conns.span();
        let (from, until) = if over {
            (0, all)
        } else {
            (stopping.told, stopping.told.saturating_add(self.core.limits.closings_per_turn_max).min(all))
        };
        stopping.told = until;
        for slot in from..until {
            let Some(at) = self.conns.tenant(slot) else { continue };
            let Some(conn) = self.conns.get(at) else { continue };
            if over || conn.link.handshaking() {
                self.core.doom(at, conn, Ended::ByUs);
            } else if conn.phase == Phase::Live {
                self.core.event(at, conn, Event::Close(StreamError::new(StreamCondition::SystemShutdown)));
            }
        }
        over
    }

    /// Writes and removes. `false`: nobody had anything to say.
    fn settle(&mut self) -> bool {
        if self.core.outputs.is_empty() {
            return false;
        }
        let mut list = self.core.outputs.take();
        for output in &mut list {
            let Some(conn) = self.conns.get(output.at) else { continue };
            if self.core.settle(output, conn) {
                self.conns.remove(output.at);
                self.doors.left();
            }
        }
        self.core.outputs.give_back(list);
        true
    }
}

impl<H: ShardHost> Core<H> {
    /// A connection was accepted.
    pub(crate) fn opened(&mut self, at: ConnId, conn: &mut Conn) {
        let peer = conn.peer();
        self.stats.accepted.add(1);
        self.stage.came();
        conn.phase_until = self.wheel.tick(self.now + self.settings.handshake_ms_max);
        self.arm(at, conn);
        self.host.opened(at, peer.ip(), conn.entry);
        let (shard, entry) = (self.number, conn.entry);
        tracing::debug!(shard, conn = %Named(at), %peer, ?entry, "connection accepted");
    }
}
