//! The command line.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use godwit_testclient::{Account, Mechanism, Settings, TlsMode, client_config};

/// Load generator for XMPP servers.
#[derive(Debug, Parser)]
#[command(name = "godwit-load", version)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) scenario: Scenario,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Scenario {
    /// Create accounts in band (XEP-0077), several in flight on each of several streams.
    Register(Register),
    /// Log in and out again, over and over.
    Login(Login),
    /// Log in and hold the sessions; what does one cost?
    Idle(Idle),
    /// Pairs chat, each with a window of messages in flight.
    Chat(Chat),
    /// Store messages for users who are away, then let them fetch.
    Offline(Offline),
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Tls {
    Direct,
    Starttls,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Sasl {
    Auto,
    #[value(name = "scram-sha-256")]
    ScramSha256,
    #[value(name = "scram-sha-1")]
    ScramSha1,
    Plain,
}

/// Options of every scenario.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// The server's address.
    #[arg(long, global = true, default_value = "127.0.0.1:5223")]
    pub(crate) addr: SocketAddr,
    /// How TLS begins.
    #[arg(long, global = true, value_enum, default_value = "direct")]
    tls: Tls,
    /// The XMPP domain.
    #[arg(long, global = true, default_value = "localhost")]
    pub(crate) domain: String,
    /// The local part of the accounts; `%d` is the account's number.
    #[arg(long, global = true, default_value = "user%d")]
    user: String,
    /// Their password; `%d` is the account's number.
    #[arg(long, global = true, default_value = "secret%d")]
    password: String,
    /// The number of the first account.
    #[arg(long, global = true, default_value_t = 0)]
    first: usize,
    /// Use this many accounts and give each several sessions with different resources (default: one each).
    #[arg(long, global = true)]
    accounts: Option<usize>,
    /// The SASL mechanism.
    #[arg(long, global = true, value_enum, default_value = "auto")]
    mechanism: Sasl,
    /// Connect from this address (127.0.0.2 and so on: each has its own ports).
    #[arg(long, global = true)]
    source: Option<IpAddr>,
    /// Logins begun per second at most.
    #[arg(long, global = true, default_value_t = 500.0)]
    pub(crate) rate: f64,
    /// Logins under way at once at most.
    #[arg(long, global = true, default_value_t = 64)]
    pub(crate) in_flight: usize,
    /// Resume TLS sessions with tickets instead of a full handshake each time.
    #[arg(long, global = true)]
    tickets: bool,
    /// The server's process: measure its memory, CPU and context switches.
    #[arg(long, global = true)]
    pub(crate) server_pid: Option<u32>,
    /// Count the server's system calls with perf (costs the server a little).
    #[arg(long, global = true, requires = "server_pid")]
    pub(crate) syscalls: bool,
    /// Append one JSON line per phase to this file.
    #[arg(long, global = true)]
    pub(crate) json: Option<PathBuf>,
}

impl Common {
    pub(crate) fn settings(&self) -> Result<Settings, String> {
        let tls = match self.tls {
            Tls::Direct => TlsMode::Direct,
            Tls::Starttls => TlsMode::StartTls,
        };
        let config = client_config(tls == TlsMode::Direct, self.tickets).map_err(|e| e.to_string())?;
        let mut settings = Settings::new(self.addr, tls, &self.domain, config);
        settings.source = self.source;
        settings.mechanism = match self.mechanism {
            Sasl::Auto => Mechanism::Auto,
            Sasl::ScramSha256 => Mechanism::ScramSha256,
            Sasl::ScramSha1 => Mechanism::ScramSha1,
            Sasl::Plain => Mechanism::Plain,
        };
        Ok(settings)
    }

    pub(crate) fn tls_name(&self) -> &'static str {
        match self.tls {
            Tls::Direct => "direct TLS",
            Tls::Starttls => "STARTTLS",
        }
    }

    /// The account of the session with this index.
    pub(crate) fn account(&self, index: usize) -> Account {
        let (offset, resource) = match self.accounts {
            Some(accounts) => (index % accounts.max(1), format!("load{index}")),
            None => (index, "load".into()),
        };
        let number = (self.first + offset).to_string();
        let user = self.user.replace("%d", &number);
        Account { user, password: self.password.replace("%d", &number), resource: Some(resource) }
    }

    /// The bare JID of the session with this index.
    pub(crate) fn jid(&self, index: usize) -> String {
        format!("{}@{}", self.account(index).user, self.domain)
    }
}

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
