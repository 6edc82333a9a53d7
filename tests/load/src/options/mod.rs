//! The command line: what all scenarios share. The rest is in `scenarios.rs`.

mod scenarios;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use godwit_testclient::{Account, Mechanism, Settings, Source, TlsMode, TlsVersions, client_config};

pub(crate) use scenarios::{Chat, Failover, Idle, Login, LoginStorm, Mam, Muc, Offline, Ramp, Register, Rtb};

use crate::server::Asked;
use crate::worker::Share;

/// Load generator for XMPP servers. Ends with 0 when all went well; README.md beside its sources documents
/// the fields of the JSON lines.
#[derive(Debug, Parser)]
#[command(name = "godwit-load", version)]
pub(crate) struct Cli {
    /// This process is a worker: its number and how many there are.
    #[arg(long, hide = true, value_parser = parse_share)]
    pub(crate) worker: Option<Share>,
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
    /// Everybody loses the connection and comes back at once.
    LoginStorm(LoginStorm),
    /// Fill archives, then read the last page at each login and again and again (XEP-0313).
    Mam(Mam),
    /// Rooms (XEP-0045): everybody enters, one occupant of each speaks, all hear. An error if there are none.
    Muc(Muc),
    /// The mix of ordinary clients: per session a message, a room message, a presence and a reconnection in
    /// ten minutes, an archive page at each login; faster with --speed.
    Rtb(Rtb),
    /// Raise the offered load step by step until latency or errors break; say where, and what was full.
    /// Open loop: the pace does not depend on the server.
    Ramp(Ramp),
    /// The server moves or restarts under load (whoever runs this moves it); clients must find it.
    Failover(Failover),
}

impl Scenario {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Register(_) => "register",
            Self::Login(_) => "login",
            Self::Idle(_) => "idle",
            Self::Chat(_) => "chat",
            Self::Offline(_) => "offline",
            Self::LoginStorm(_) => "login-storm",
            Self::Mam(_) => "mam",
            Self::Muc(_) => "muc",
            Self::Rtb(_) => "rtb",
            Self::Ramp(_) => "ramp",
            Self::Failover(_) => "failover",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Tls {
    Direct,
    Starttls,
    /// No TLS at all, for servers that allow it.
    None,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum TlsVersion {
    Both,
    #[value(name = "1.2")]
    Tls12,
    #[value(name = "1.3")]
    Tls13,
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
    /// Versions of TLS to offer.
    #[arg(long, global = true, value_enum, default_value = "both")]
    tls_version: TlsVersion,
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
    /// Work with this many processes; sessions, pairs and rooms are divided among them.
    #[arg(long, global = true, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    processes: u16,
    /// Connect from this address, or from many: 127.0.0.0/8 gives each 1,000 sessions an address of their
    /// own, since each address has only 28,000 ports (default with several processes: that, on loopback).
    #[arg(long, global = true, value_parser = parse_source)]
    source: Option<Source>,
    /// Logins begun per second at most.
    #[arg(long, global = true, default_value_t = 500.0)]
    pub(crate) rate: f64,
    /// Logins under way at once at most.
    #[arg(long, global = true, default_value_t = 64)]
    pub(crate) in_flight: usize,
    /// Resume TLS sessions with tickets instead of a full handshake each time.
    #[arg(long, global = true)]
    tickets: bool,
    /// The server's process, or several (1234,1240): measure their and their children's memory, CPU and
    /// context switches.
    #[arg(long, global = true, value_delimiter = ',')]
    pub(crate) server_pid: Vec<u32>,
    /// Count the server's system calls with perf (costs the server a little).
    #[arg(long, global = true, requires = "server_pid")]
    pub(crate) syscalls: bool,
    /// Ask this godwitctl for the server's status around each phase.
    #[arg(long, global = true)]
    godwitctl: Option<PathBuf>,
    /// The configuration file that --godwitctl reads.
    #[arg(long, global = true, requires = "godwitctl")]
    config: Option<PathBuf>,
    /// Append one JSON line per phase to this file.
    #[arg(long, global = true)]
    pub(crate) json: Option<PathBuf>,
    /// Write a page with plots into this directory.
    #[arg(long, global = true)]
    pub(crate) report: Option<PathBuf>,
    /// A name for this run; stands in its JSON lines and on its page.
    #[arg(long, global = true)]
    pub(crate) label: Option<String>,
}

/// `INDEX/OF`
fn parse_share(text: &str) -> Result<Share, String> {
    let numbers = text.split_once('/').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    let (index, of) = numbers.ok_or("expected INDEX/OF")?;
    if index < of { Ok(Share { index, of }) } else { Err("the index must be below the number".into()) }
}

/// An address, or a network in CIDR notation.
fn parse_source(text: &str) -> Result<Source, String> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| format!("{address} is no IP address"))?;
    let Some(bits) = bits else { return Ok(Source::one(address)) };
    let bits = bits.parse().map_err(|_| format!("/{bits} is no prefix length"))?;
    Source::network(address, bits).ok_or_else(|| format!("/{bits} is no prefix length for {address}"))
}

impl Common {
    /// How many processes work.
    pub(crate) fn processes(&self) -> usize {
        usize::from(self.processes)
    }

    /// What clients need; `processes` is how many share the ports of this machine.
    pub(crate) fn settings(&self) -> Result<Settings, String> {
        let tls = match self.tls {
            Tls::Direct => TlsMode::Direct,
            Tls::Starttls => TlsMode::StartTls,
            Tls::None => TlsMode::None,
        };
        let versions = match self.tls_version {
            TlsVersion::Both => TlsVersions::Both,
            TlsVersion::Tls12 => TlsVersions::Tls12,
            TlsVersion::Tls13 => TlsVersions::Tls13,
        };
        let config = client_config(versions, tls == TlsMode::Direct, self.tickets);
        let config = config.map_err(|e| e.to_string())?;
        let mut settings = Settings::new(self.addr, tls, &self.domain, config);
        settings.tickets = self.tickets;
        let spread = self.processes > 1 && self.addr.ip().is_loopback() && self.addr.is_ipv4();
        settings.source = self.source.or_else(|| {
            let loopback = IpAddr::from([127, 0, 0, 0]);
            spread.then(|| Source::network(loopback, 8)).flatten()
        });
        if settings.source.is_some_and(|source| source.is_ipv4() != self.addr.is_ipv4()) {
            return Err("--source and --addr are of different families (IPv4, IPv6)".into());
        }
        settings.mechanism = match self.mechanism {
            Sasl::Auto => Mechanism::Auto,
            Sasl::ScramSha256 => Mechanism::ScramSha256,
            Sasl::ScramSha1 => Mechanism::ScramSha1,
            Sasl::Plain => Mechanism::Plain,
        };
        Ok(settings)
    }

    /// How to ask a Godwit server for its status, if that was asked for.
    pub(crate) fn asked(&self) -> Option<Asked> {
        let godwitctl = self.godwitctl.clone()?;
        Some(Asked { godwitctl, config: self.config.clone() })
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

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
