//! The list of metrics against the rules of Prometheus, the mapping of trouble, and the HTTP side.
use super::health::Readiness;
use super::serve::{bind, serve, warning};
use super::*;
use crate::limits::{Ceiling, Machine, derive};
use godwit_edge::ShardStats;
use godwit_edge::tls::CertificateStatus;
use godwit_store::{Cf, Health};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;

const DAY_S: i64 = 86_400;
/// Of the daemon in these tests.
const NOW_MS: u64 = 10_000;

/// A daemon that is well.
fn facts() -> Facts {
    let certificate = CertificateStatus {
        chain: "/etc/\"odd\".pem".into(),
        names: vec!["example.org".into()],
        not_before: 0,
        not_after: 30 * DAY_S + 10,
    };
    let ceiling = Ceiling::new(&derive(Machine { ram_bytes: 1 << 30, cores: 2 }), 100, 1 << 20);
    Facts {
        now_ms: NOW_MS,
        started_ms: 1_500,
        process: process::Process { cpu_s: 0.25, ..Default::default() },
        memory: Default::default(),
        owners: Default::default(),
        hub: Arc::default(),
        shards: vec![Arc::<ShardStats>::default(), Arc::default()],
        deliveries: Vec::new(),
        backlog: Default::default(),
        connections: 3,
        ceiling,
        overload: Default::default(),
        store: Default::default(),
        health: Health { ok: true, full: false, last_error: None, since_ms: 2_000 },
        store_memory: None,
        store_background: None,
        store_rows: vec![(Cf::Archive, 7)],
        store_bytes: vec![(Cf::Archive, 42)],
        disk_bytes: Some((5, 9)),
        certificates: vec![certificate],
        log_lines_dropped: 0,
        stuck: Vec::new(),
        reload: None,
        backup: None,
        upgrades: 2,
        upgrade_pause_s: 0.045,
    }
}

fn failing(full: bool, error: &str) -> Facts {
    Facts { health: Health { ok: false, full, last_error: Some(error.into()), since_ms: 3_000 }, ..facts() }
}

/// The value of a sample, as it is written.
fn sample<'t>(text: &'t str, name: &str) -> &'t str {
    let found = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    found.unwrap_or_else(|| panic!("no sample {name} in\n{text}"))
}

#[test]
fn names_follow_the_rules_of_prometheus() {
    let mut seen = BTreeSet::new();
    for metric in all() {
        let Metric { name, kind, unit, label, help, .. } = *metric;
        assert!(seen.insert(name), "{name} is there twice");
        assert!(name.starts_with("godwit_") || name.starts_with("process_"), "{name}");
        assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'), "{name}");
        assert_eq!(name.ends_with("_seconds"), unit == Unit::Seconds, "{name}: its unit ends its name");
        assert_eq!(name.ends_with("_bytes"), unit == Unit::Bytes, "{name}: its unit ends its name");
        for suffix in ["_total", "_sum", "_count", "_bucket", "_info", "_created"] {
            assert!(!name.ends_with(suffix), "{name}: {suffix} belongs to samples");
        }
        assert!(help.ends_with('.') && !help.contains(['|', '\n', '\\']), "{name}: {help}");
        assert!(label.is_none() || kind != Kind::Histogram, "{name}");
        assert_ne!(label, Some("le"), "{name}");
    }
}

#[test]
fn every_metric_is_told_with_the_type_of_its_list() {
    let text = encode(facts()).expect("text");
    assert!(text.ends_with("# EOF\n"));
    for metric in all() {
        let kind = format!("{:?}", metric.kind).to_lowercase();
        assert!(text.contains(&format!("# TYPE {} {kind}\n", metric.name)), "{}\n{text}", metric.name);
        let (name, opening) = match (metric.kind, metric.label) {
            (Kind::Histogram, _) => (format!("{}_bucket", metric.name), "{le=\"".to_owned()),
            (_, Some(label)) => (metric.full_name(), format!("{{{label}=\"")),
            (_, None) => (metric.full_name(), " ".to_owned()),
        };
        let sample = format!("\n{name}{opening}");
        assert!(text.contains(&sample), "no sample {sample} in\n{text}");
    }
    assert_eq!(sample(&text, "process_cpu_seconds_total"), "0.25");
    assert_eq!(sample(&text, "godwit_connections"), "3");
    assert_eq!(sample(&text, "godwit_store_table_bytes{family=\"archive\"}"), "42");
    let expiry = "godwit_certificate_expiry_timestamp_seconds{file=\"/etc/\\\"odd\\\".pem\"}";
    assert_eq!(sample(&text, expiry), "2592010.0");
}

#[test]
fn counts_of_hub_and_shards_arrive_under_their_names() {
    let facts = facts();
    facts.hub.sessions.store(2, Ordering::Relaxed);
    facts.hub.detached.store(1, Ordering::Relaxed);
    facts.hub.refused.iqs.store(4, Ordering::Relaxed);
    facts.hub.logins.store(7, Ordering::Relaxed);
    facts.hub.messages_stored.store(8, Ordering::Relaxed);
    facts.hub.writes_failed.store(9, Ordering::Relaxed);
    let text = encode(facts).expect("text");
    assert_eq!(sample(&text, "godwit_logins_total"), "7");
    assert_eq!(sample(&text, "godwit_connection_states{state=\"session\"}"), "1");
    assert_eq!(sample(&text, "godwit_connection_states{state=\"login\"}"), "2");
    assert_eq!(sample(&text, "godwit_connection_tls_versions{version=\"none\"}"), "3");
    assert_eq!(sample(&text, "godwit_stanza_fates_total{kind=\"iq\",fate=\"refused\"}"), "4");
    assert_eq!(sample(&text, "godwit_messages_total{stored=\"yes\"}"), "8");
    assert_eq!(sample(&text, "godwit_stanza_write_failures_total"), "9");
}

#[test]
fn histograms_add_up_and_are_in_seconds() {
    let mut facts = facts();
    let histogram = &mut facts.store.sync_us;
    (histogram.counts[0], histogram.counts[2], histogram.above, histogram.sum) = (3, 2, 1, 12_001_500);
    let text = encode(facts).expect("text");
    let name = "godwit_store_fsync_seconds";
    assert_eq!(sample(&text, &format!("{name}_bucket{{le=\"0.0001\"}}")), "3");
    assert_eq!(sample(&text, &format!("{name}_bucket{{le=\"0.0005\"}}")), "5");
    assert_eq!(sample(&text, &format!("{name}_bucket{{le=\"+Inf\"}}")), "6");
    assert_eq!(sample(&text, &format!("{name}_count")), "6");
    assert_eq!(sample(&text, &format!("{name}_sum")), "12.0015");
}

#[test]
fn the_shards_times_of_delivery_are_added_up() {
    let recorders =
        [facts::Deliveries::new(&facts::DELIVERY_MS), facts::Deliveries::new(&facts::DELIVERY_MS)];
    recorders[0].record(1);
    recorders[1].record(1);
    recorders[1].record(300);
    let facts = Facts { deliveries: recorders.into_iter().map(Arc::new).collect(), ..facts() };
    let text = encode(facts).expect("text");
    let name = "godwit_delivery_seconds";
    assert_eq!(sample(&text, &format!("{name}_bucket{{le=\"0.001\"}}")), "2");
    assert_eq!(sample(&text, &format!("{name}_bucket{{le=\"0.5\"}}")), "3");
    assert_eq!(
        (sample(&text, &format!("{name}_sum")), sample(&text, &format!("{name}_count"))),
        ("0.302", "3")
    );
}

#[test]
fn a_store_that_cannot_write_is_seen_in_metrics_and_readiness() {
    let states = |facts: Facts| {
        let text = encode(facts).expect("text");
        ["ok", "full", "failed"]
            .map(|state| sample(&text, &format!("godwit_store_state{{state=\"{state}\"}}")).to_owned())
    };
    assert_eq!(states(facts()), ["1", "0", "0"]);
    assert_eq!(states(failing(true, "No space left on device")), ["0", "1", "0"]);
    assert_eq!(states(failing(false, "Input/output error")), ["0", "0", "1"]);
    let text = encode(failing(true, "x")).expect("text");
    assert_eq!(
        (sample(&text, "godwit_ready"), sample(&text, "godwit_store_state_timestamp_seconds")),
        ("0", "3.0")
    );

    let readiness = Readiness::of(&failing(true, "No space left on device"));
    assert!(!readiness.ready);
    assert_eq!(readiness.reasons[0].what, "store");
    assert!(readiness.reasons[0].why.contains("no space is left: No space left"), "{readiness:?}");
}

#[test]
fn readiness_names_every_trouble() {
    assert_eq!(Readiness::of(&facts()), Readiness { ready: true, reasons: Vec::new() });
    let mut bad = facts();
    bad.now_ms = NOW_MS + 40 * 86_400_000;
    bad.stuck = vec!["store writer".into()];
    bad.connections = bad.ceiling.connections_max;
    bad.process.descriptors_max = bad.ceiling.connections_max - 1;
    bad.process.descriptors = bad.process.descriptors_max;
    bad.store.queued = 5;
    bad.store.queue_max = 5;
    bad.overload.shut = true;
    let readiness = Readiness::of(&bad);
    let whats: Vec<_> = readiness.reasons.iter().map(|trouble| trouble.what).collect();
    assert_eq!(
        whats,
        [
            "queue",
            "shard",
            "shard",
            "thread",
            "certificate",
            "connections",
            "memory",
            "limits",
            "descriptors"
        ]
    );
    assert!(readiness.reasons.iter().any(|trouble| trouble.why.contains("expired 10 days ago")));
}

#[test]
fn only_an_address_that_others_reach_is_warned_of() {
    let address = |text: &str| text.parse::<SocketAddr>().expect("address");
    for quiet in ["127.0.0.1:9522", "127.8.8.8:1", "[::1]:9522", "[::ffff:127.0.0.1]:9522"] {
        assert_eq!(warning(address(quiet)), None, "{quiet}");
    }
    for open in ["0.0.0.0:9522", "[::]:9522", "192.0.2.1:9522"] {
        assert!(warning(address(open)).is_some(), "{open}");
    }
}

/// Serves facts on a port of its own for as long as `with` runs.
fn serving(gather: serve::Gather, with: impl FnOnce(SocketAddr)) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("runtime");
    let listener = bind("127.0.0.1:0".parse().expect("address")).expect("port");
    let address = listener.local_addr().expect("address");
    let _entered = runtime.enter();
    runtime.spawn(serve(tokio::net::TcpListener::from_std(listener).expect("listener"), gather));
    with(address);
    runtime.shutdown_background();
}

/// Sends a request and reads to the end; what a server that has heard enough does to the rest is no matter.
fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("connection");
    let _ = stream.write_all(request.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).expect("text")
}

fn get(address: SocketAddr, path: &str) -> String {
    ask(address, &format!("GET {path} HTTP/1.1\r\nHost: here\r\n\r\n"))
}

#[test]
fn pages_are_served_with_their_types() {
    serving(Arc::new(facts), |address| {
        let metrics = get(address, "/metrics");
        assert!(metrics.starts_with("HTTP/1.1 200 OK\r\n"), "{metrics}");
        assert!(metrics.contains("content-type: application/openmetrics-text; version=1.0.0"), "{metrics}");
        assert!(metrics.contains("connection: close") && metrics.ends_with("# EOF\n"), "{metrics}");
        assert!(get(address, "/healthz").ends_with("\r\n\r\nalive\n"));
        assert!(get(address, "/readyz").ends_with("{\"ready\":true,\"reasons\":[]}\n"));
        assert!(get(address, "/etc/passwd").starts_with("HTTP/1.1 404 "));
    });
}

#[test]
fn a_daemon_that_is_not_ready_answers_503_with_the_reasons() {
    serving(Arc::new(|| failing(false, "Input/output error")), |address| {
        let answer = get(address, "/readyz");
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("application/json"), "{answer}");
        let body = answer.split("\r\n\r\n").nth(1).expect("body");
        let read: serde_json::Value = serde_json::from_str(body).expect("JSON");
        assert_eq!(read["reasons"][0]["what"], "store");
        assert!(get(address, "/healthz").starts_with("HTTP/1.1 200 "));
    });
}

#[test]
fn what_is_no_small_get_request_is_refused() {
    serving(Arc::new(facts), |address| {
        let post = ask(address, "POST /metrics HTTP/1.1\r\nHost: here\r\nContent-Length: 3\r\n\r\nabc");
        assert!(post.starts_with("HTTP/1.1 405 ") && post.contains("allow: GET, HEAD"), "{post}");
        let head = ask(address, "HEAD /metrics HTTP/1.1\r\nHost: here\r\n\r\n");
        assert!(head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"), "{head}");
        let long = format!("GET /metrics HTTP/1.1\r\nHost: {}\r\n\r\n", "x".repeat(20_000));
        assert!(!ask(address, &long).contains(" 200 "));
        let many = format!("GET /metrics HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(100));
        assert!(!ask(address, &many).contains(" 200 "));
        assert!(!ask(address, "\x16\x03\x01 hello\r\n\r\n").contains(" 200 "));
        assert!(get(address, "/metrics").contains(" 200 "), "it still serves");
    });
}

#[test]
fn connections_beyond_the_limit_are_closed_at_once() {
    serving(Arc::new(facts), |address| {
        let silent: Vec<_> = (0..16).map(|_| TcpStream::connect(address).expect("connection")).collect();
        assert_eq!(get(address, "/healthz"), "", "one more than there is place for");
        drop(silent);
        // The places are free as soon as the server sees the ends of their connections.
        let answered = (0..10_000).any(|_| get(address, "/healthz").contains(" 200 "));
        assert!(answered);
    });
}
