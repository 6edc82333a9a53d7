//! From what is written to what is meant: a [`Config`] exists only if everything in it makes sense.
//!
//! All problems are collected, so that one run of `--check` shows everything that is to be mended.
use super::problem::{Problem, Problems};
use super::raw::{Limits, Raw};
use super::value::Span;
use godwit_wire::Jid;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Longest path of a unix socket, in bytes (`sun_path` less its NUL).
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// A certificate and its key, as files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// Where it is in the configuration: `tls`, `tls.sni[0]`.
    pub path: String,
    /// Chain in PEM.
    pub certificate: PathBuf,
    /// Key in PEM.
    pub key: PathBuf,
}

/// A configuration that was checked. Numbers and times are taken from `raw`; what has a better type is here.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// As written.
    pub raw: Raw,
    /// Domains served, normalised, without repetition; at least one.
    pub domains: Vec<Box<str>>,
    /// Data directory.
    pub data_dir: PathBuf,
    /// Bare JIDs of domains served.
    pub admins: Vec<Jid>,
    /// STARTTLS listeners.
    pub c2s: Vec<SocketAddr>,
    /// Direct TLS listeners.
    pub c2s_tls: Vec<SocketAddr>,
    /// Where metrics are served.
    pub metrics: Option<SocketAddr>,
    /// Certificates; the first one is used for names that none covers.
    pub certificates: Vec<CertificateFiles>,
    /// The admin socket.
    pub socket: PathBuf,
}

impl Config {
    /// Reads and checks a file.
    pub fn load(file: &Path) -> Result<Config, Vec<Problem>> {
        match std::fs::read_to_string(file) {
            Ok(text) => Config::parse(&text),
            Err(e) => {
                let mut problems = Problems::default();
                let make = "make it from the output of: godwitd --example-config";
                problems.key(&file.display().to_string(), format!("cannot be read ({e}); {make}"));
                Err(problems.into_sorted())
            }
        }
    }

    /// Reads and checks a file, and looks at this machine too (`probe.rs`), wrong values or not: for
    /// `--check`, which is to name every problem at once.
    pub fn examine(file: &Path) -> Result<Config, Vec<Problem>> {
        let Ok(text) = std::fs::read_to_string(file) else { return Config::load(file) };
        let mut problems = Problems::default();
        let config = Raw::parse(&text, &mut problems).map(|raw| check(raw, &mut problems));
        if let Some(config) = &config {
            super::probe::probe(config, &mut problems);
        }
        match config {
            Some(config) if problems.is_empty() => Ok(config),
            _ => Err(problems.into_sorted()),
        }
    }

    /// Reads and checks a text.
    pub fn parse(text: &str) -> Result<Config, Vec<Problem>> {
        let mut problems = Problems::default();
        let config = Raw::parse(text, &mut problems).map(|raw| check(raw, &mut problems));
        match config {
            Some(config) if problems.is_empty() => Ok(config),
            _ => Err(problems.into_sorted()),
        }
    }

    /// For a reload: this configuration, but with the values of `old` where only a restart may change them;
    /// and the paths of those.
    pub fn on_top_of(self, old: &Config) -> Result<(Config, Vec<String>), Vec<Problem>> {
        let waiting = old.raw.restart_needed(&self.raw);
        let mut raw = self.raw;
        raw.keep_until_restart(&old.raw);
        let mut problems = Problems::default();
        let config = check(raw, &mut problems);
        if problems.is_empty() { Ok((config, waiting)) } else { Err(problems.into_sorted()) }
    }

    /// Where the store is.
    pub fn store_dir(&self) -> PathBuf {
        self.data_dir.join("store")
    }

    /// What the session machines need of it. `features`: XML of further stream features, from the modules.
    pub fn settings(&self, features: Vec<u8>) -> godwit_session::Settings {
        let limits = &self.raw.limits;
        let stream = &self.raw.stream;
        godwit_session::Settings {
            domains: self.domains.clone(),
            limits: self.wire_limits(),
            register: self.raw.registration.in_band,
            features,
            login_ms_max: stream.login_timeout.ms(),
            handshake_ms_max: stream.handshake_timeout.ms(),
            auth_attempts_max: narrow(limits.login_attempts_per_connection_max),
            ping_after_ms: stream.ping_after.ms(),
            ping_timeout_ms: stream.ping_timeout.ms(),
            resume_s_max: stream.resume_max.s(),
            inflight_max: narrow(limits.inflight_stanzas_max),
            unacked_max: narrow(limits.unacked_stanzas_max),
            unacked_bytes_max: narrow(limits.unacked_bytes_max),
            held_bytes_max: narrow(limits.held_bytes_per_inactive_session_max),
            request_ack_every: narrow((limits.unacked_stanzas_max / ACK_REQUESTS_PER_WINDOW).max(1)),
        }
    }

    fn wire_limits(&self) -> godwit_wire::Limits {
        let limits = &self.raw.limits;
        godwit_wire::Limits {
            stanza_bytes_max: narrow(limits.stanza_bytes_max),
            depth_max: narrow(limits.stanza_depth_max),
            attributes_max: narrow(limits.attributes_max),
            name_bytes_max: NAME_BYTES_MAX,
            value_bytes_max: VALUE_BYTES_MAX,
            namespaces_max: NAMESPACES_MAX,
            unauthenticated_bytes_max: narrow(limits.unauthenticated_stanza_bytes_max),
        }
    }
}

/// `<r/>` requests within one window of unacknowledged stanzas: often enough that the window never fills in
/// health.
const ACK_REQUESTS_PER_WINDOW: u64 = 16;
/// Longest name of an element or attribute, in bytes: the longest real ones have 40. Not worth a key.
const NAME_BYTES_MAX: u16 = 256;
/// Longest attribute value, in bytes: JIDs may have 3,071, URIs some thousand. Not worth a key.
const VALUE_BYTES_MAX: u32 = 8192;
/// Namespace declarations in force at once: real stanzas stay below 10. Not worth a key.
const NAMESPACES_MAX: u16 = 64;

/// The number in a narrower type. Ranges were checked: nothing is lost.
fn narrow<T: TryFrom<u64> + Bounded>(n: u64) -> T {
    T::try_from(n).unwrap_or(T::MOST)
}
trait Bounded {
    const MOST: Self;
}
impl Bounded for u8 {
    const MOST: u8 = u8::MAX;
}
impl Bounded for u16 {
    const MOST: u16 = u16::MAX;
}
impl Bounded for u32 {
    const MOST: u32 = u32::MAX;
}

fn check(raw: Raw, problems: &mut Problems) -> Config {
    let domains = domains(&raw, problems);
    let admins = admins(&raw, &domains, problems);
    let data_dir = absolute("server.data_dir", &raw.server.data_dir, problems);
    let socket = socket(&raw, &data_dir, problems);
    let mut seen = BTreeSet::new();
    let c2s = addresses("listen.c2s", &raw.listen.c2s, &mut seen, problems);
    let c2s_tls = addresses("listen.c2s_tls", &raw.listen.c2s_tls, &mut seen, problems);
    let metrics = metrics(&raw.listen.metrics, &mut seen, problems);
    if raw.listen.c2s.is_empty() && raw.listen.c2s_tls.is_empty() && !problems.has("listen") {
        problems.key("listen", r#"both lists are empty; write for example c2s = ["[::]:5222"]"#);
    }
    let certificates = certificates(&raw, problems);
    limits(&raw.limits, problems);
    times(&raw, problems);
    let store = &raw.store;
    range("store.cache_mb", store.cache_mb, 0, 1_048_576, problems);
    range("store.memtable_mb", store.memtable_mb, 0, 65_536, problems);
    range("store.queue_max", store.queue_max, 64, 1_048_576, problems);
    range("archive.keep_days", raw.archive.keep_days, 0, 36_500, problems);
    if raw.archive.bytes_per_account_max != 0 {
        let (path, bytes) = ("archive.bytes_per_account_max", raw.archive.bytes_per_account_max);
        range(path, bytes, 1 << 20, 1 << 50, problems);
    }
    range("archive.page_messages_max", raw.archive.page_messages_max, 1, 1_000, problems);
    range("archive.page_bytes_max", raw.archive.page_bytes_max, 16_384, 1 << 20, problems);
    range("server.shards", raw.server.shards, 0, 1024, problems);
    if let Err(e) = crate::logging::filter(&raw.log.level) {
        let instead = r#"write "info", or by module "info,godwit_edge=debug""#;
        problems.string("log.level", &raw.log.level, format!("{e}; {instead}"));
    }
    Config { domains, data_dir, admins, c2s, c2s_tls, metrics, certificates, socket, raw }
}

fn domains(raw: &Raw, problems: &mut Problems) -> Vec<Box<str>> {
    let path = "server.domains";
    if raw.server.domains.is_empty() && !problems.has(path) {
        problems.key(path, r#"no domain; write for example domains = ["example.org"]"#);
    }
    let mut domains: Vec<Box<str>> = Vec::new();
    for (i, text) in raw.server.domains.iter().enumerate() {
        let path = format!("{path}[{i}]");
        match Jid::new(None, text, None) {
            Err(_) => problems.string(&path, text, r#"not a domain name; write for example "example.org""#),
            Ok(jid) if domains.iter().any(|d| **d == *jid.domain()) => {
                problems.string(&path, text, "named twice; remove one of them");
            }
            Ok(jid) => domains.push(jid.domain().into()),
        }
    }
    domains
}

fn admins(raw: &Raw, domains: &[Box<str>], problems: &mut Problems) -> Vec<Jid> {
    let mut admins = Vec::new();
    for (i, text) in raw.server.admins.iter().enumerate() {
        let path = format!("server.admins[{i}]");
        match Jid::parse(text) {
            Ok(jid) if jid.local().is_none() || jid.resource().is_some() => {
                problems.string(&path, text, r#"not a bare address; write for example "admin@example.org""#);
            }
            Err(_) => {
                problems.string(&path, text, r#"not an address; write for example "admin@example.org""#)
            }
            // With the domains wrong, every admin would look wrong too.
            Ok(jid) if !domains.iter().any(|d| **d == *jid.domain()) && !problems.has("server.domains") => {
                let served = domains.join(", ");
                problems.string(&path, text, format!("its domain is not served here; write one at {served}"));
            }
            Ok(jid) => admins.push(jid),
        }
    }
    admins
}

fn addresses(
    path: &str,
    list: &[String],
    seen: &mut BTreeSet<SocketAddr>,
    problems: &mut Problems,
) -> Vec<SocketAddr> {
    let mut addresses = Vec::new();
    for (i, text) in list.iter().enumerate() {
        let path = format!("{path}[{i}]");
        match text.parse::<SocketAddr>() {
            Err(_) => {
                let instead = r#"write for example "[::]:5222" or "192.0.2.1:5222""#;
                problems.string(&path, text, format!("not an address with a port; {instead}"));
            }
            Ok(address) if !seen.insert(address) && address.port() != 0 => {
                problems.string(&path, text, "named twice; write another port, or remove one of them");
            }
            Ok(address) => addresses.push(address),
        }
    }
    addresses
}

fn metrics(text: &str, seen: &mut BTreeSet<SocketAddr>, problems: &mut Problems) -> Option<SocketAddr> {
    let path = "listen.metrics";
    if text.is_empty() {
        return None;
    }
    match text.parse::<SocketAddr>() {
        Err(_) => {
            problems.string(
                path,
                text,
                r#"not an address with a port; write "127.0.0.1:9522", or "" for none"#,
            );
            None
        }
        Ok(address) if address.port() == 0 => {
            problems.string(path, text, r#"nobody would find port 0; write for example "127.0.0.1:9522""#);
            None
        }
        Ok(address) if !seen.insert(address) => {
            problems.string(path, text, "clients connect there; write another port");
            None
        }
        Ok(address) => Some(address),
    }
}

fn certificates(raw: &Raw, problems: &mut Problems) -> Vec<CertificateFiles> {
    let mut files = Vec::new();
    let mut take = |path: String, certificate: &str, key: &str| {
        let certificate = absolute(&format!("{path}.certificate"), certificate, problems);
        let key = absolute(&format!("{path}.key"), key, problems);
        files.push(CertificateFiles { path, certificate, key });
    };
    take("tls".into(), &raw.tls.certificate, &raw.tls.key);
    for (i, sni) in raw.tls.sni.iter().enumerate() {
        take(format!("tls.sni[{i}]"), &sni.certificate, &sni.key);
    }
    files
}

/// A daemon's working directory is not the administrator's: relative paths would mean different files to the
/// two.
fn absolute(path: &str, text: &str, problems: &mut Problems) -> PathBuf {
    let file = PathBuf::from(text);
    if !file.is_absolute() && !problems.has(path) {
        problems.string(path, text, "not an absolute path; write one that begins with /");
    }
    file
}

fn socket(raw: &Raw, data_dir: &Path, problems: &mut Problems) -> PathBuf {
    let path = "admin.socket";
    let text = &raw.admin.socket;
    let socket = if text.is_empty() { data_dir.join("admin.sock") } else { absolute(path, text, problems) };
    let length = socket.as_os_str().len();
    if length > SOCKET_PATH_BYTES_MAX {
        let instead =
            format!("write a path of at most {SOCKET_PATH_BYTES_MAX}, like \"/run/godwit/admin.sock\"");
        problems.string(path, text, format!("{} has {length} bytes; {instead}", socket.display()));
    }
    socket
}

fn range(path: &str, value: u64, least: u64, most: u64, problems: &mut Problems) {
    if !(least..=most).contains(&value) {
        problems.value(path, &value, format!("out of range; write a number from {least} to {most}"));
    }
}

fn limits(limits: &Limits, problems: &mut Problems) {
    const MIB: u64 = 1 << 20;
    let rows = [
        ("connections_max", limits.connections_max, 0, 100_000_000),
        ("memory_mb", limits.memory_mb, 0, 100_000_000),
        // RFC 6120 §13.12: no less than 10,000.
        ("stanza_bytes_max", limits.stanza_bytes_max, 10_000, 16 * MIB),
        ("unauthenticated_stanza_bytes_max", limits.unauthenticated_stanza_bytes_max, 4096, MIB),
        ("stanza_depth_max", limits.stanza_depth_max, 16, 1024),
        ("attributes_max", limits.attributes_max, 16, 1024),
        ("sessions_per_account_max", limits.sessions_per_account_max, 1, 1000),
        // The queue must hold the largest stanza, or nobody could receive it.
        ("send_queue_bytes_max", limits.send_queue_bytes_max, 2 * limits.stanza_bytes_max, 1024 * MIB),
        ("inflight_stanzas_max", limits.inflight_stanzas_max, 1, 65_536),
        ("unacked_stanzas_max", limits.unacked_stanzas_max, 16, 65_536),
        ("unacked_bytes_max", limits.unacked_bytes_max, 2 * limits.stanza_bytes_max, 1024 * MIB),
        ("held_bytes_per_inactive_session_max", limits.held_bytes_per_inactive_session_max, 0, MIB),
        ("login_attempts_per_connection_max", limits.login_attempts_per_connection_max, 1, 100),
        (
            "failed_logins_per_address_per_minute_max",
            limits.failed_logins_per_address_per_minute_max,
            1,
            1_000_000,
        ),
        // A client online has this many in the air in health.
        ("offline_messages_per_account_max", limits.offline_messages_per_account_max, 1_000, 10_000_000),
        ("offline_bytes_per_account_max", limits.offline_bytes_per_account_max, MIB, 1024 * 1024 * MIB),
        ("roster_items_per_account_max", limits.roster_items_per_account_max, 1, 100_000),
        ("pep_nodes_per_account_max", limits.pep_nodes_per_account_max, 1, 10_000),
        ("pep_items_per_node_max", limits.pep_items_per_node_max, 1, 100_000),
        ("pep_bytes_per_account_max", limits.pep_bytes_per_account_max, limits.stanza_bytes_max, 1024 * MIB),
    ];
    for (name, value, least, most) in rows {
        range(&format!("limits.{name}"), value, least, most, problems);
    }
}

fn times(raw: &Raw, problems: &mut Problems) {
    const HOUR: u64 = 3_600_000;
    let stream = &raw.stream;
    let rows = [
        ("stream.handshake_timeout", stream.handshake_timeout, 100, HOUR),
        ("stream.login_timeout", stream.login_timeout, 1_000, HOUR),
        ("stream.ping_after", stream.ping_after, 1_000, 24 * HOUR),
        ("stream.ping_timeout", stream.ping_timeout, 1_000, HOUR),
        ("stream.resume_max", stream.resume_max, 0, 24 * HOUR),
        ("stream.closing_timeout", stream.closing_timeout, 100, HOUR),
        ("log.slow_stanza", raw.log.slow_stanza, 0, HOUR),
    ];
    for (name, value, least, most) in rows {
        if !(least..=most).contains(&value.ms()) {
            let span = |ms| Span(std::time::Duration::from_millis(ms));
            let instead = format!("out of range; write one from \"{}\" to \"{}\"", span(least), span(most));
            problems.string(name, &value.to_string(), instead);
        }
    }
    if stream.handshake_timeout > stream.login_timeout && !problems.has("stream") {
        let most = stream.login_timeout;
        let instead = format!("longer than login_timeout, which it is part of; write at most \"{most}\"");
        problems.string("stream.handshake_timeout", &stream.handshake_timeout.to_string(), instead);
    }
}
