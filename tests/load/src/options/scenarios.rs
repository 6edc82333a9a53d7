//! The command line of each scenario.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct Register {
    /// Accounts to create.
    #[arg(long, default_value_t = 1_000)]
    pub(crate) count: usize,
    /// Streams at once.
    #[arg(long, default_value_t = 8)]
    pub(crate) streams: usize,
    /// Requests in flight on each stream.
    #[arg(long, default_value_t = 16)]
    pub(crate) window: usize,
    /// Accounts per stream before a new one is opened.
    #[arg(long, default_value_t = 500)]
    pub(crate) per_stream: usize,
}

#[derive(Debug, Args)]
pub(crate) struct Login {
    /// Logins in all.
    #[arg(long, default_value_t = 1_000)]
    pub(crate) logins: usize,
}

#[derive(Debug, Args)]
pub(crate) struct Idle {
    /// Sessions to hold.
    #[arg(long, default_value_t = 1_000)]
    pub(crate) sessions: usize,
    /// Seconds to let the server settle before its memory is read.
    #[arg(long, default_value_t = 5.0)]
    settle: f64,
    /// Seconds to hold the sessions after that.
    #[arg(long, default_value_t = 10.0)]
    hold: f64,
    /// Each session sends a blank (a keepalive, RFC 6120 §4.6.1) after so many seconds meanwhile, spread over
    /// the time; 0: none.
    #[arg(long, default_value_t = 0.0)]
    keepalive: f64,
    /// Enable stream management.
    #[arg(long)]
    pub(crate) sm: bool,
}

impl Idle {
    pub(crate) fn settle(&self) -> Duration {
        Duration::from_secs_f64(self.settle.max(0.0))
    }

    pub(crate) fn hold(&self) -> Duration {
        Duration::from_secs_f64(self.hold.max(0.0))
    }

    /// Microseconds between two keepalives of a session.
    pub(crate) fn keepalive(&self) -> Option<u64> {
        let every = Duration::try_from_secs_f64(self.keepalive).ok().filter(|every| !every.is_zero())?;
        u64::try_from(every.as_micros()).ok()
    }
}

#[derive(Debug, Args)]
pub(crate) struct Chat {
    /// Pairs; pair k is account 2k writing to account 2k+1.
    #[arg(long, default_value_t = 100)]
    pub(crate) pairs: usize,
    /// Messages in flight in each pair.
    #[arg(long, default_value_t = 16)]
    pub(crate) window: u64,
    /// Messages per pair; the default is as many as fit into the time.
    #[arg(long)]
    pub(crate) messages: Option<u64>,
    /// Seconds to measure.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Seconds before that which are not measured.
    #[arg(long, default_value_t = 2.0)]
    warmup: f64,
    /// Characters in each body.
    #[arg(long, default_value_t = 100)]
    pub(crate) body: usize,
    /// Enable stream management and measure the time to the acknowledgement too.
    #[arg(long)]
    pub(crate) sm: bool,
    /// With `--sm`: ask for an acknowledgement after this many messages.
    #[arg(long, default_value_t = 5)]
    pub(crate) ack_every: u64,
}

impl Chat {
    /// A window of 16 until each pair has had so many messages.
    pub(crate) fn fill(pairs: usize, messages: u64, body: usize) -> Self {
        let (window, seconds, warmup, ack_every) = (16, 3600.0, 0.0, 5);
        Self { pairs, window, messages: Some(messages), seconds, warmup, body, sm: false, ack_every }
    }

    /// No time before the measurement if a number of messages was asked for.
    pub(crate) fn warmup(&self) -> Duration {
        if self.messages.is_some() { Duration::ZERO } else { Duration::from_secs_f64(self.warmup.max(0.0)) }
    }

    /// How long a run may take.
    pub(crate) fn seconds(&self) -> Duration {
        Duration::from_secs_f64(self.seconds.max(0.1))
    }
}

#[derive(Debug, Args)]
pub(crate) struct Offline {
    /// Users who are away.
    #[arg(long, default_value_t = 100)]
    pub(crate) users: usize,
    /// Messages for each of them.
    #[arg(long, default_value_t = 100)]
    pub(crate) messages: u64,
    /// Accounts that write to them (they come after the users in number).
    #[arg(long, default_value_t = 10)]
    pub(crate) senders: usize,
    /// Unacknowledged messages of each sender at most.
    #[arg(long, default_value_t = 50)]
    pub(crate) window: u32,
    /// Characters in each body.
    #[arg(long, default_value_t = 100)]
    pub(crate) body: usize,
}

#[derive(Debug, Args)]
pub(crate) struct LoginStorm {
    /// Sessions that come back.
    #[arg(long, default_value_t = 1_000)]
    pub(crate) sessions: usize,
    /// Resume the sessions (XEP-0198) instead of logging in anew; --tickets does the same for TLS.
    #[arg(long)]
    pub(crate) resume: bool,
    /// Enable stream management without resuming.
    #[arg(long)]
    pub(crate) sm: bool,
    /// Connections under way at once at most; the default lets all come at once.
    #[arg(long, default_value_t = 1_000_000)]
    pub(crate) at_once: usize,
    /// Seconds over which the clients spread their first attempt.
    #[arg(long, default_value_t = 0.0)]
    spread: f64,
    /// Wait until the server drops the sessions (it is killed and started again meanwhile) instead of cutting
    /// them.
    #[arg(long)]
    pub(crate) await_cut: bool,
    /// Storms one after the other.
    #[arg(long, default_value_t = 1)]
    pub(crate) rounds: u32,
    /// Seconds after which those who are not back count as failed.
    #[arg(long, default_value_t = 120.0)]
    patience: f64,
}

impl LoginStorm {
    /// Microseconds.
    pub(crate) fn spread(&self) -> u64 {
        micros(self.spread)
    }

    /// Microseconds.
    pub(crate) fn patience(&self) -> u64 {
        micros(self.patience)
    }
}

fn micros(seconds: f64) -> u64 {
    u64::try_from(Duration::from_secs_f64(seconds.clamp(0.0, 1e6)).as_micros()).unwrap_or(u64::MAX)
}

#[derive(Debug, Args)]
pub(crate) struct Mam {
    /// Sessions, in pairs that fill each other's archive.
    #[arg(long, default_value_t = 100)]
    pub(crate) sessions: usize,
    /// Messages of each pair to fill the archives with before.
    #[arg(long, default_value_t = 200)]
    pub(crate) archive: u64,
    /// Messages in a page.
    #[arg(long, default_value_t = 50)]
    pub(crate) page: u32,
    /// Pages that each session asks for after its login.
    #[arg(long, default_value_t = 20)]
    pub(crate) queries: u32,
    /// Characters in each body.
    #[arg(long, default_value_t = 100)]
    pub(crate) body: usize,
}

#[derive(Debug, Args)]
pub(crate) struct Muc {
    /// Rooms.
    #[arg(long, default_value_t = 10)]
    pub(crate) rooms: usize,
    /// Occupants of each, one of whom speaks.
    #[arg(long, default_value_t = 20)]
    pub(crate) occupants: usize,
    /// Messages of each room that not everybody has heard yet (closed loop).
    #[arg(long, default_value_t = 1)]
    pub(crate) window: usize,
    /// Open loop instead: messages per second over all rooms, timed from when they were due.
    #[arg(long)]
    pub(crate) per_second: Option<f64>,
    /// Seconds to measure.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Characters in each body.
    #[arg(long, default_value_t = 100)]
    pub(crate) body: usize,
}

impl Muc {
    /// Microseconds.
    pub(crate) fn time(&self) -> u64 {
        micros(self.seconds)
    }
}

#[derive(Debug, Args)]
pub(crate) struct Rtb {
    /// Sessions.
    #[arg(long, default_value_t = 1_000)]
    pub(crate) sessions: usize,
    /// So many times faster than once in ten minutes.
    #[arg(long, default_value_t = 1.0)]
    pub(crate) speed: f64,
    /// Seconds to measure.
    #[arg(long, default_value_t = 60.0)]
    pub(crate) seconds: f64,
    /// Messages of the archive's page after each login.
    #[arg(long, default_value_t = 50)]
    pub(crate) page: u32,
    /// Occupants of each room, where the server has rooms.
    #[arg(long, default_value_t = 20)]
    pub(crate) occupants: usize,
    /// No rooms even if the server has them.
    #[arg(long)]
    pub(crate) no_rooms: bool,
    /// Characters in each body.
    #[arg(long, default_value_t = 100)]
    pub(crate) body: usize,
}

#[derive(Debug, Args)]
pub(crate) struct Ramp {
    /// Pairs; both sides of a pair write.
    #[arg(long, default_value_t = 100)]
    pub(crate) pairs: usize,
    /// Messages per second of the first step.
    #[arg(long, default_value_t = 500.0)]
    pub(crate) from: f64,
    /// Each step offers so many times more than the one before.
    #[arg(long, default_value_t = 1.5)]
    pub(crate) factor: f64,
    /// Seconds of each step.
    #[arg(long, default_value_t = 5.0)]
    pub(crate) step: f64,
    /// Steps at most.
    #[arg(long, default_value_t = 24)]
    pub(crate) steps_max: u32,
    /// Steps between the last good and the first bad one, halving the distance each time.
    #[arg(long, default_value_t = 3)]
    pub(crate) refine: u32,
    /// A step is bad when p99 of delivery, from when a message was due, is above this, ms.
    #[arg(long, default_value_t = 100.0)]
    pub(crate) p99_max: f64,
    /// The knee is known, messages per second: do not look for it.
    #[arg(long)]
    pub(crate) knee: Option<f64>,
    /// After the knee offer so many times its load, then half of it, to see how the server recovers.
    #[arg(long)]
    pub(crate) overload: Option<f64>,
    /// Seconds of the overload.
    #[arg(long, default_value_t = 15.0)]
    pub(crate) overload_seconds: f64,
    /// Messages that a session may have sent and not acknowledged; what is due beyond waits in the client.
    #[arg(long, default_value_t = 64)]
    pub(crate) window: usize,
    /// No stream management.
    #[arg(long)]
    pub(crate) no_sm: bool,
    /// Ask for an acknowledgement after this many messages.
    #[arg(long, default_value_t = 1)]
    pub(crate) ack_every: u32,
    /// Characters in each body.
    #[arg(long, default_value_t = 100)]
    pub(crate) body: usize,
}

#[derive(Debug, Args)]
pub(crate) struct Failover {
    /// Pairs; both sides of a pair write.
    #[arg(long, default_value_t = 100)]
    pub(crate) pairs: usize,
    /// Messages per second over all pairs.
    #[arg(long, default_value_t = 200.0)]
    pub(crate) messages: f64,
    /// Seconds of load; the server has to move within them.
    #[arg(long, default_value_t = 30.0)]
    pub(crate) seconds: f64,
    /// End the load earlier, as soon as this file is gone.
    #[arg(long)]
    pub(crate) r#while: Option<PathBuf>,
    /// Another address of the server, to be tried after --addr; may be given several times.
    #[arg(long)]
    pub(crate) then: Vec<SocketAddr>,
    /// A file with the server's addresses, one ADDRESS:PORT a line, read again at each attempt; --addr and
    /// --then are not used then.
    #[arg(long)]
    pub(crate) hosts: Option<PathBuf>,
    /// New sessions instead of resumed ones (XEP-0198).
    #[arg(long)]
    pub(crate) no_resume: bool,
    /// Characters in each body.
    #[arg(long, default_value_t = 100)]
    pub(crate) body: usize,
}
