//! One run: the schedule of kills, the clients' loop, the end, the judgement.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use godwit_testclient::{Account, Event, Pool, Rng, Settings, TlsMode, TlsVersions, client_config, now};

use crate::death::{BY_KILL, Death, POINT_WAIT_MAX};
use crate::ledger::Ledger;
use crate::oracle::{Tally, judge};
use crate::power::{Loss, Power};
use crate::recipient::{Habit, Recipient};
use crate::sender::{Sender, Target};
use crate::server::{Kind, Server};

/// How long one turn of the loop waits for sockets.
const TICK: Duration = Duration::from_millis(5);
/// After a kill the clients read what still lies in their sockets for this long.
const LAST_WORDS: Duration = Duration::from_millis(30);
/// Longer than a recipient's acknowledgement may take to be durable; see `oracle.rs`.
const QUIET: Duration = Duration::from_millis(1_500);
/// Without any progress for this long the end is reached, whatever is missing.
const STALL_MAX: Duration = Duration::from_secs(15);
/// Characters in the bodies for the recipient who stops reading: enough to fill the socket's buffers.
const PADDING: usize = 4_000;
/// Small, so that who does not read is felt by the server, bytes.
const RECEIVE_BUFFER: usize = 4_096;
/// Each habit once.
const HABITS: [Habit; 4] = [Habit::Steady, Habit::Away, Habit::HalfDead, Habit::Resuming];

/// What to do.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The same seed gives the same schedule.
    pub seed: u64,
    /// Kills under load; one more comes at the end, when all is quiet.
    pub kills: u32,
    /// Sending clients.
    pub senders: usize,
    /// Messages per second of each.
    pub rate: u32,
    /// The whole run may take this long.
    pub time_max: Duration,
    /// With each kill the power goes too (Godwit only).
    pub power: Option<Loss>,
    /// The daemon acknowledges without syncing, to see that the run finds it out. Needs fail points.
    pub unsynced: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            seed: 1,
            kills: 40,
            senders: 4,
            rate: 100,
            time_max: Duration::from_secs(240),
            power: None,
            unsynced: false,
        }
    }
}

struct Run {
    server: Server,
    pool: Pool,
    senders: Vec<Sender>,
    recipients: Vec<Recipient>,
    ledger: Ledger,
    rng: Rng,
    places: BTreeMap<&'static str, u32>,
    begin: Instant,
    time_max: Duration,
    events: Vec<(usize, Event)>,
}

/// Runs the plan and judges it.
///
/// # Errors
/// When the run could not be carried out; a broken promise is in the tally instead.
pub fn run(plan: &Plan, kind: Kind) -> Result<Tally, String> {
    let mut run = Run::new(plan, kind)?;
    let outcome = run.schedule(plan).and_then(|()| run.finish());
    if let Err(error) = outcome {
        let log = run.server.log_tail();
        return Err(format!(
            "{error}\nafter {} kills; kept: {}\n{log}",
            run.ledger.epoch,
            run.server.keep().display()
        ));
    }
    let mut tally = judge(std::mem::take(&mut run.ledger));
    tally.power = run.server.power.as_ref().map(|power| power.lost.to_string());
    tally.places = run.places.iter().map(|(place, times)| ((*place).to_owned(), *times)).collect();
    if tally.violations > 0 && !plan.unsynced {
        println!("kept for inspection: {}", run.server.keep().display());
    }
    Ok(tally)
}

impl Run {
    fn new(plan: &Plan, kind: Kind) -> Result<Self, String> {
        let begin = now();
        let account = |user: String, resource: &str| {
            let password = format!("secret-{user}");
            Account { user, password, resource: Some(resource.into()) }
        };
        let target = |(i, habit): (usize, &Habit)| Target {
            jid: format!("r{i}@localhost"),
            padding: if *habit == Habit::HalfDead { PADDING } else { 0 },
            next: 0,
        };
        let targets: Vec<Target> = HABITS.iter().enumerate().map(target).collect();
        let rng = |slot: usize| Rng::new(plan.seed.wrapping_mul(1_000).wrapping_add(slot as u64));
        let interval = Duration::from_secs(1) / plan.rate.max(1);
        let sending: Vec<_> = (0..plan.senders).map(|i| account(format!("s{i}"), "sender")).collect();
        let receiving: Vec<_> = (0..HABITS.len()).map(|i| account(format!("r{i}"), "phone")).collect();
        let names = sending.iter().chain(&receiving).map(|a| (a.user.clone(), a.password.clone()));
        let mut server = Server::prepare(kind, &names.collect::<Vec<_>>())?;
        let power = |loss| Power::prepare(server.dir(), loss, Rng::new(plan.seed ^ 0x706f_7765));
        server.power = plan.power.map(power).transpose()?;
        server.unsynced = plan.unsynced;
        let config = client_config(TlsVersions::Both, true, true).map_err(|e| e.to_string())?;
        let mut settings = Settings::new(server.addr(), TlsMode::Direct, "localhost", config);
        settings.receive_buffer = Some(RECEIVE_BUFFER);
        let senders = sending.into_iter().enumerate();
        let senders =
            senders.map(|(i, a)| Sender::new(i, a, targets.clone(), interval, begin, rng(i))).collect();
        let recipients = receiving.into_iter().zip(HABITS).enumerate();
        let recipients = recipients
            .map(|(i, (account, habit))| {
                let (slot, jid) = (plan.senders + i, format!("{}@localhost", account.user));
                Recipient::new(i, slot, account, jid, habit, begin, rng(slot))
            })
            .collect();
        Ok(Self {
            server,
            pool: Pool::new(settings).map_err(|e| e.to_string())?,
            senders,
            recipients,
            ledger: Ledger::default(),
            rng: Rng::new(plan.seed),
            places: BTreeMap::new(),
            begin,
            time_max: plan.time_max,
            events: Vec::new(),
        })
    }

    fn schedule(&mut self, plan: &Plan) -> Result<(), String> {
        let mut deaths = Rng::new(plan.seed ^ 0x6b69_6c6c);
        for n in 0..plan.kills {
            let death = Death::draw(n, self.server.has_fail_points(), &mut deaths);
            self.server.start(&death.environment())?;
            let place = self.await_death(&death)?;
            self.kill(place)?;
        }
        self.server.start("")?;
        self.run_for(Duration::from_secs(2))
    }

    /// Goes on until the server died, or is due to be killed; returns the place.
    fn await_death(&mut self, death: &Death) -> Result<&'static str, String> {
        let begin = now();
        let time = if let Death::Kill(time) = death { *time } else { POINT_WAIT_MAX };
        while begin.elapsed() < time {
            self.turn()?;
            if self.server.has_died()? {
                return Ok(death.place());
            }
        }
        Ok(BY_KILL)
    }

    fn kill(&mut self, place: &'static str) -> Result<(), String> {
        self.server.kill()?;
        *self.places.entry(place).or_insert(0) += 1;
        self.ledger.epoch += 1;
        self.run_for(LAST_WORDS)?;
        let at = now();
        self.senders.iter_mut().for_each(|s| s.disconnect(at, &mut self.pool));
        for recipient in &mut self.recipients {
            recipient.disconnect(at, &mut self.pool, &mut self.ledger);
        }
        Ok(())
    }

    fn run_for(&mut self, time: Duration) -> Result<(), String> {
        let begin = now();
        while begin.elapsed() < time {
            self.turn()?;
        }
        Ok(())
    }

    fn turn(&mut self) -> Result<(), String> {
        if self.begin.elapsed() > self.time_max {
            return Err(format!("the run took longer than {:?}", self.time_max));
        }
        self.pool.turn(TICK, &mut self.events).map_err(|e| e.to_string())?;
        let at = now();
        for (slot, event) in self.events.drain(..) {
            let recipient = slot.checked_sub(self.senders.len());
            if let Some(sender) = self.senders.get_mut(slot) {
                sender.event(at, event, &mut self.pool, &mut self.ledger)?;
            } else if let Some(recipient) = recipient.and_then(|i| self.recipients.get_mut(i)) {
                recipient.event(at, event, &mut self.pool, &mut self.ledger)?;
            }
        }
        for sender in &mut self.senders {
            sender.tick(at, &mut self.pool, &mut self.ledger)?;
        }
        for recipient in &mut self.recipients {
            recipient.tick(at, &mut self.pool, &mut self.ledger, &mut self.rng)?;
        }
        Ok(())
    }

    /// Stops the senders, lets everything arrive, then kills once more: nothing may come again.
    fn finish(&mut self) -> Result<(), String> {
        self.senders.iter_mut().for_each(|s| s.stopped = true);
        self.until(|run| run.senders.iter().all(Sender::is_settled))?;
        let at = now();
        self.recipients.iter_mut().for_each(|r| r.settle(at, &mut self.pool));
        self.until(|run| run.all_online() && run.ledger.missing() == 0)?;
        self.run_for(QUIET)?;
        self.kill(BY_KILL)?;
        self.recipients.iter_mut().for_each(Recipient::forget);
        self.server.start("")?;
        self.until(Self::all_online)?;
        self.run_for(QUIET)
    }

    fn all_online(&self) -> bool {
        self.recipients.iter().all(|r| r.is_online(&self.pool))
    }

    /// Goes on until `done`, or until nothing moves any more.
    fn until(&mut self, done: impl Fn(&Self) -> bool) -> Result<(), String> {
        let state =
            |run: &Self| (run.ledger.deliveries.len(), run.ledger.sent.values().filter(|s| s.acked).count());
        let (mut last, mut moved) = (state(self), now());
        while !done(self) && moved.elapsed() < STALL_MAX {
            self.run_for(Duration::from_millis(50))?;
            let current = state(self);
            if current != last {
                (last, moved) = (current, now());
            }
        }
        Ok(())
    }
}
