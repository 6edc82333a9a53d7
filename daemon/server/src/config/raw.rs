//! The configuration as it is written: every section and key with its documentation and default.
//!
//! The doc comments below are what `godwitd --example-config` prints. Names ending in `_max` are limits and
//! carry their unit. Values are of the right kind here, and nothing more: `check.rs` says whether they make
//! sense.
use super::key::{Applies, Default::*, Key, Section, nearest, section, subtable};
use super::problem::Problems;
use super::value::{Kind, Lines, LogFormat, Span};
use godwit_modules::xep0441_prefs::Policy;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

section! {
    /// What this server is.
    struct Server = "server" {
        /// Domains served, the part after the @ of an address. The first one answers clients that name none.
        domains: Vec<String> = Required(r#"["example.org"]"#), Restart;
        /// Where everything is kept: messages, accounts, keys. Made at the first start if its parent exists.
        data_dir: String = Is(r#""/var/lib/godwit""#), Restart;
        /// Accounts that may administer the server, as bare addresses: ["admin@example.org"].
        admins: Vec<String> = Is("[]"), Live;
        /// Threads that serve connections. 0: one for each core.
        shards: u64 = Is("0"), Restart;
    }
}

section! {
    /// Addresses to listen on. [::] takes IPv4 too. Under systemd socket activation, sockets named c2s and
    /// c2s_tls take the place of these lists.
    struct Listen = "listen" {
        /// Clients, STARTTLS required before anything else.
        c2s: Vec<String> = Is(r#"["[::]:5222"]"#), Restart;
        /// Clients, TLS from the first byte (XEP-0368).
        c2s_tls: Vec<String> = Is(r#"["[::]:5223"]"#), Restart;
        /// Metrics for Prometheus (/metrics) and health (/healthz, /readyz) over HTTP, usually
        /// "127.0.0.1:9522". There is no password: an address that others reach is for a firewall to guard.
        /// "": none.
        metrics: String = Is(r#""""#), Restart;
    }
}

section! {
    /// Certificates. A reload reads the files again; nobody is disconnected.
    struct Tls = "tls" {
        /// Certificate chain in PEM, the server's own certificate first.
        certificate: String = Is(r#""/etc/godwit/tls/fullchain.pem""#), Live;
        /// Its private key in PEM, without passphrase.
        key: String = Is(r#""/etc/godwit/tls/privkey.pem""#), Live;
        /// Further certificates: the one whose names cover what the client asks for (SNI) is used.
        sni: Vec<Sni> = Tables(Sni::SECTION.keys), Live;
    }
}

section! {
    /// A further certificate.
    struct Sni = "tls.sni" {
        /// Certificate chain in PEM.
        certificate: String = Is(r#""""#), Live;
        /// Its private key in PEM.
        key: String = Is(r#""""#), Live;
    }
}

section! {
    /// New accounts (XEP-0077).
    struct Registration = "registration" {
        /// Anybody may make an account from a client. Password change and removal of one's own account always
        /// work.
        in_band: bool = Is("false"), Live;
        /// Accounts made from one address in an hour. A client needs one; a family behind one router a few.
        per_address_per_hour_max: u64 = Is("5"), Live;
    }
}

section! {
    /// Limits. Everything has one; each is a number with its unit in the name.
    struct Limits = "limits" {
        /// Connections at once. 0: derived from memory and descriptors at the start, see godwitctl limits.
        connections_max: u64 = Is("0"), Restart;
        /// Resident memory in MiB above which no connection is taken until there is room again. 0: derived
        /// from the machine's memory, see godwitctl limits.
        memory_mb: u64 = Is("0"), Live;
        /// Largest stanza. RFC 6120 asks for 10,000 at least; clients send avatars and keys of up to 200 KiB.
        stanza_bytes_max: u64 = Is("262144"), Live;
        /// Largest stanza before authentication: SASL and registration need little, strangers get no more.
        unauthenticated_stanza_bytes_max: u64 = Is("16384"), Live;
        /// Elements within elements. Real stanzas stay below 20.
        stanza_depth_max: u64 = Is("64"), Live;
        /// Attributes on one element, namespace declarations included. Real elements stay below 15.
        attributes_max: u64 = Is("32"), Live;
        /// Sessions of one account at once. People have a handful of devices.
        sessions_per_account_max: u64 = Is("20"), Live;
        /// Bytes waiting to be sent on one connection. A reader slower than this is cut off and resumes.
        send_queue_bytes_max: u64 = Is("1048576"), Restart;
        /// Stanzas of one session in work at once, before the server stops reading from it.
        inflight_stanzas_max: u64 = Is("64"), Live;
        /// Stanzas sent and not acknowledged (XEP-0198) before further stored messages wait in the archive.
        unacked_stanzas_max: u64 = Is("256"), Live;
        /// Bytes sent and not acknowledged that are not stored, before the session is ended. Must hold two of
        /// the largest stanzas: one goes out while another waits.
        unacked_bytes_max: u64 = Is("524288"), Live;
        /// Bytes of presence, chat states and the like that are held for a client that says it is inactive
        /// (XEP-0352), until something important comes. 0: nothing is held.
        held_bytes_per_inactive_session_max: u64 = Is("65536"), Live;
        /// Failed logins on one connection before it is closed.
        login_attempts_per_connection_max: u64 = Is("5"), Live;
        /// Failed logins from one address in a minute; after that, logins from it are refused for the rest of
        /// it.
        failed_logins_per_address_per_minute_max: u64 = Is("30"), Live;
        /// Whether the limits per address spare connections from this machine (127.0.0.0/8 and ::1).
        loopback_exempt: bool = Is("true"), Live;
        /// Messages that wait for one account, because none of its clients has acknowledged them yet. At this
        /// number senders are told that the account can take no more (XEP-0160).
        offline_messages_per_account_max: u64 = Is("10000"), Live;
        /// Bytes of the messages that wait for one account and were sent to none of its clients yet.
        offline_bytes_per_account_max: u64 = Is("104857600"), Live;
        /// Contacts of one account. A roster is sent whole at login.
        roster_items_per_account_max: u64 = Is("2000"), Live;
        /// Nodes of one account's personal eventing data (XEP-0163). OMEMO takes one for each device.
        pep_nodes_per_account_max: u64 = Is("250"), Live;
        /// Items of one such node: bookmarks, or chats whose last displayed message is remembered (XEP-0490).
        pep_items_per_node_max: u64 = Is("1000"), Live;
        /// Bytes of all such items of one account. Avatars are the large ones.
        pep_bytes_per_account_max: u64 = Is("10485760"), Live;
    }
}

section! {
    /// Times of a client's stream. Durations are written like "250ms", "30s", "5m", "1h".
    struct Stream = "stream" {
        /// From accept to the end of the TLS handshake.
        handshake_timeout: Span = Is(r#""10s""#), Live;
        /// From accept to a bound resource.
        login_timeout: Span = Is(r#""30s""#), Live;
        /// Silence after which a client is pinged. Below the 5 to 30 minutes after which networks forget a
        /// connection.
        ping_after: Span = Is(r#""4m""#), Live;
        /// Silence after the ping after which it counts as gone. Phones on a bad network need a while.
        ping_timeout: Span = Is(r#""30s""#), Live;
        /// How long a broken session waits for its client to resume it (XEP-0198).
        resume_max: Span = Is(r#""10m""#), Live;
        /// At a stop: how long clients get to read their last bytes.
        closing_timeout: Span = Is(r#""5s""#), Live;
    }
}

section! {
    /// The message store (RocksDB, in the directory store in data_dir).
    struct Store = "store" {
        /// Memory for blocks read from disk, in MiB. 0: derived from the machine's memory, see godwitctl
        /// limits.
        cache_mb: u64 = Is("0"), Restart;
        /// Memory for writes on their way to sorted files, in MiB. 0: derived likewise.
        memtable_mb: u64 = Is("0"), Restart;
        /// Transactions waiting for the writer. A full queue answers stanzas with an error instead of
        /// growing.
        queue_max: u64 = Is("65536"), Restart;
    }
}

section! {
    /// Archives: what accounts sent and received, for their clients to query (XEP-0313).
    struct Archive = "archive" {
        /// What is archived for accounts that have not said what they want (XEP-0441): "always", "never", or
        /// what is exchanged with contacts in the "roster". Messages wait for recipients who are away anyway.
        default: Policy = Is(r#""always""#), Live;
        /// Days for which messages are kept; 0: for ever. Older ones are out of reach at once, also if they
        /// were never delivered, and leave the disk within a quarter of that time more (a day at least, a
        /// month at most).
        keep_days: u64 = Is("0"), Restart;
        /// Bytes of one account's archive, before compression; 0: no limit. Looked after every hour: the
        /// oldest messages go, but none that was not delivered yet.
        bytes_per_account_max: u64 = Is("0"), Live;
        /// Messages in one page of a query at most. A client that does not say how many it wants gets 50.
        page_messages_max: u64 = Is("250"), Live;
        /// Bytes of one page. One message may be larger.
        page_bytes_max: u64 = Is("131072"), Live;
    }
}

section! {
    /// The log. It never holds a password, a key or the body of a message.
    struct Log = "log" {
        /// "error", "warn", "info", "debug" or "trace"; or by module: "info,godwit_edge=debug". The
        /// environment variable GODWIT_LOG goes before this.
        level: String = Is(r#""info""#), Live;
        /// "human": text lines on standard error. "journal": fields for journald (journalctl
        /// GODWIT_ACCOUNT=…). "auto": the journal if standard error is connected to it, else text.
        format: LogFormat = Is(r#""auto""#), Restart;
        /// A stored message that takes longer than this from its receipt until it is committed, or written to
        /// its recipient's socket, has a line with the time of each step: 20 lines a minute at most, then the
        /// number of the others. "0s": none.
        slow_stanza: Span = Is(r#""1s""#), Live;
    }
}

section! {
    /// The socket by which godwitctl talks to the daemon.
    struct Admin = "admin" {
        /// Its path; only the daemon's own user and root may connect. "": admin.sock in data_dir.
        socket: String = Is(r#""""#), Restart;
    }
}

impl Kind for Sni {
    const WANTS: &'static str = "[[tls.sni]] with certificate and key";
    fn of(value: &DeValue<'_>) -> Option<Sni> {
        let table = value.as_table()?;
        Sni::read("", Some(table), &Lines::of(""), &mut Problems::default())
    }
    fn read(path: &str, value: &Spanned<DeValue<'_>>, problems: &mut Problems, lines: &Lines) -> Option<Sni> {
        match value.get_ref().as_table() {
            Some(table) => Sni::read(path, Some(table), lines, problems),
            None => {
                problems.key(path, format!("write {}", Self::WANTS));
                None
            }
        }
    }
}

/// The whole file.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct Raw {
    pub server: Server,
    pub listen: Listen,
    pub tls: Tls,
    pub registration: Registration,
    pub limits: Limits,
    pub stream: Stream,
    pub store: Store,
    pub archive: Archive,
    pub log: Log,
    pub admin: Admin,
}

impl Raw {
    /// All sections, in the order of the example.
    pub const SECTIONS: [Section; 10] = [
        Server::SECTION,
        Listen::SECTION,
        Tls::SECTION,
        Registration::SECTION,
        Limits::SECTION,
        Stream::SECTION,
        Store::SECTION,
        Archive::SECTION,
        Log::SECTION,
        Admin::SECTION,
    ];

    /// Reads the text, reporting everything that is wrong with it. A value comes back even if something was:
    /// what was wrong has its default, so that the checks can go on. `None` if it is not TOML at all.
    pub fn parse(text: &str, problems: &mut Problems) -> Option<Raw> {
        let lines = Lines::of(text);
        let (root, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            let (line, column) = lines.column(text, error.span().map_or(0, |span| span.start));
            problems.syntax(line, column, error.message());
        }
        // What the parser recovered after a syntax error would only give misleading problems.
        if !errors.is_empty() {
            return None;
        }
        let root = root.get_ref();
        unknown_sections(root, &lines, problems);
        macro_rules! read {
            ($($field:ident: $section:ident),*) => {
                Some(Raw { $( $field: {
                    let name = $section::SECTION.name;
                    let table = subtable(root, name, problems);
                    $section::read(name, table, &lines, problems)?
                } ),* })
            };
        }
        read!(server: Server, listen: Listen, tls: Tls, registration: Registration,
            limits: Limits, stream: Stream,
            store: Store, archive: Archive, log: Log, admin: Admin)
    }

    /// Paths of the keys that differ and take effect only at a restart.
    pub fn restart_needed(&self, new: &Raw) -> Vec<String> {
        let mut paths = Vec::new();
        macro_rules! compare {
            ($($field:ident),*) => { $( {
                let changed = self.$field.changed(&new.$field);
                let restart = changed.iter().filter(|key| key.applies == Applies::Restart);
                paths.extend(restart.map(|key: &&Key| format!("{}.{}", stringify!($field), key.name)));
            } )* };
        }
        compare!(server, listen, tls, registration, limits, stream, store, archive, log, admin);
        paths
    }
}

impl Raw {
    /// With the values that only a restart may change taken from `old`.
    pub fn keep_until_restart(&mut self, old: &Raw) {
        macro_rules! keep {
            ($($field:ident),*) => { $( self.$field.keep_until_restart(&old.$field); )* };
        }
        keep!(server, listen, tls, registration, limits, stream, store, archive, log, admin);
    }
}

fn unknown_sections(root: &DeTable<'_>, lines: &Lines, problems: &mut Problems) {
    let names = Raw::SECTIONS.map(|section| section.name);
    for name in root.keys() {
        problems.at(name.get_ref(), lines.line(name.span().start));
        if !names.contains(&name.get_ref().as_ref()) {
            problems.key(name.get_ref(), format!("unknown section; {}", nearest(name.get_ref(), &names)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_of_its_kind() {
        let mut problems = Problems::default();
        let raw = Raw::parse("server.domains = [\"example.org\"]", &mut problems);
        assert_eq!(problems.into_sorted(), []);
        assert!(raw.is_some());
    }

    #[test]
    fn a_reload_names_the_keys_that_need_a_restart() {
        let read = |text: &str| Raw::parse(text, &mut Problems::default()).expect("TOML");
        let old = read("[server]\ndomains = [\"a.example\"]");
        let new =
            read("[server]\ndomains = [\"b.example\"]\nadmins = [\"x@b.example\"]\n[store]\nqueue_max = 9");
        assert_eq!(old.restart_needed(&new), ["server.domains", "store.queue_max"]);
        assert_eq!(old.restart_needed(&old), Vec::<String>::new());
    }
}
