//! The command line of each scenario.

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
