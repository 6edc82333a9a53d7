//! Frames, drawn as a terminal would get them.
use super::*;
use crate::admin::protocol::{
    Buckets, CertificateRow, LoadStatus, OverloadStatus, ReloadStatus, Status, StoreStatus,
};
use crate::backup::Done;
use crate::limits::{Bound, Ceiling};
use crate::memory::Owners;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::Color;

/// Of a busy box that is well.
pub(super) fn status() -> Status {
    let now_ms = 1_800_000_000_000;
    let bounds_us = vec![1_000, 2_500, 5_000, 10_000, 100_000];
    let buckets = Buckets { bounds_us, counts: vec![100, 60, 30, 9, 1, 0] };
    let remedy = "set LimitNOFILE=1050000 in the unit".into();
    Status {
        version: "0.1.0".into(),
        pid: 4242,
        started_ms: now_ms - 90_061_000,
        now_ms,
        domains: vec!["example.org".into()],
        connections: 12_468,
        ceiling: Ceiling { connections_max: 19_103, bound_by: Bound::Descriptors, remedy },
        sessions: 13_600,
        detached: 1_234,
        counters: [("messages_stored".to_owned(), 1_000), ("stanzas".to_owned(), 3_000)].into(),
        store: StoreStatus { ok: true, queued: 12, queue_max: 65_536, ..StoreStatus::default() },
        archive: Default::default(),
        overload: OverloadStatus { memory_max_bytes: 1_500 << 20, ..OverloadStatus::default() },
        load: LoadStatus {
            delivery: buckets.clone(),
            commit: buckets.clone(),
            sync: buckets,
            cpu_s: 10.0,
            cores: 2,
            descriptors: 12_600,
            descriptors_max: 20_000,
            handshaking: 60,
            tls12: 468,
            tls13: 11_940,
            slow_readers: 3,
            waiting_messages: 765,
            store_bytes: 5 << 30,
            disk_free_bytes: 60 << 30,
            disk_bytes: 100 << 30,
            ..LoadStatus::default()
        },
        certificates: vec![CertificateRow {
            file: "/etc/godwit/tls/fullchain.pem".into(),
            names: vec!["example.org".into()],
            expires_ms: now_ms + 60 * 86_400_000,
            warning: None,
        }],
        memory: Default::default(),
        rss_bytes: 312 << 20,
        owners: Owners { tls: 20 << 20, sessions: 40 << 20, block_cache: 128 << 20, ..Owners::default() },
        log_level: Default::default(),
        log_lines_dropped: 0,
        stuck: Vec::new(),
        reload: None,
        backup: Some(Done {
            id: "20270115T080000Z".into(),
            place: "/backup".into(),
            at_ms: now_ms - 3_600_000,
            bytes: 1 << 30,
            new_bytes: 1 << 20,
        }),
        upgrade: None,
        upgrades: 0,
        notice: None,
    }
}

/// A second in which 500 messages came.
fn samples() -> Samples {
    let mut samples = Samples::default();
    samples.add(status());
    let mut next = status();
    next.now_ms += 1_000;
    next.counters = [("messages_stored".to_owned(), 1_500), ("stanzas".to_owned(), 4_234)].into();
    next.store.syncs = 25;
    next.load.cpu_s += 0.5;
    next.load.delivery.counts = vec![200, 60, 30, 9, 1, 0];
    samples.add(next);
    samples
}

fn view(samples: &Samples) -> View<'_> {
    View { samples, link: Link::Up, paused: false, help: false, theme: Theme { colors: true } }
}

/// What a terminal of that size shows.
fn shown(view: &View<'_>, width: u16, height: u16) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("terminal");
    terminal.draw(|frame| view.draw(frame.area(), frame.buffer_mut())).expect("drawn");
    terminal.backend().buffer().clone()
}

fn lines(view: &View<'_>, width: u16, height: u16) -> Vec<String> {
    view::text(&shown(view, width, height)).lines().map(str::to_owned).collect()
}

/// The line with a word in it.
fn line<'a>(lines: &'a [String], word: &str) -> &'a str {
    lines.iter().find(|line| line.contains(word)).unwrap_or_else(|| panic!("{word}: {lines:#?}"))
}

#[test]
fn eighty_columns_and_24_rows_hold_everything() {
    let samples = samples();
    let lines = lines(&view(&samples), 80, 24);
    assert_eq!(lines.len(), 24);
    assert!(lines[0].starts_with(" godwitd 0.1.0 · example.org · up 1day 1h · process 4242"), "{}", lines[0]);
    assert!(lines[0].ends_with("08:00:01Z  ready"), "{}", lines[0]);
    let has = |word: &str, parts: &[&str]| {
        let line = line(&lines, word);
        parts.iter().for_each(|part| assert!(line.contains(part), "{part}: {line}"));
    };
    has("messages/s", &[" 500 "]);
    has("stanzas/s", &["1,234", "delivery", "500 µs", "990 µs"]);
    has("load", &["CPU 25 % of 2 cores", "latency, last 1 s"]);
    has("connected", &["12,366", "waiting", "1,234", "fsyncs/s", " 25 ", "msgs each", " 20 "]);
    has("TLS 1.3", &["11,940", "TLS 1.2", "468", "12 of 65,536"]);
    has("offline", &["slow readers", " 3 ", "765", "5.0 GiB"]);
    has("memory", &["312.0 MiB resident", "limits"]);
    has("cache", &["128.0M"]);
    has("connections", &["12,468 of 19,103", "████"]);
    has("bounded by", &["descriptors"]);
    has("alerts: none", &[]);
    assert!(lines[23].contains("q quit · p pause · ? help"), "{}", lines[23]);
}

#[test]
fn a_large_terminal_shows_how_it_came_and_a_small_one_its_upper_left_part() {
    let samples = samples();
    let large = lines(&view(&samples), 120, 40);
    assert_eq!(large.len(), 40);
    let title = line(&large, "delivery p99");
    assert!(title.contains("messages/s") && title.contains("at most 500"), "{title}");
    let small = lines(&view(&samples), 50, 10);
    let whole = lines(&view(&samples), 80, 24);
    for (small, whole) in small.iter().zip(&whole) {
        let part: String = whole.chars().take(50).collect();
        assert_eq!(*small, part.trim_end());
    }
    lines(&view(&samples), 1, 1);
}

#[test]
fn what_is_wrong_is_seen_at_a_glance() {
    let mut samples = samples();
    let mut status = samples.last().expect("samples").clone();
    status.now_ms += 1_000;
    status.store.ok = false;
    status.load.not_ready = vec!["writes fail: Input/output error".into()];
    status.reload = Some(ReloadStatus { at_ms: 0, ok: false, lines: vec!["x".into()] });
    samples.add(status);
    let seen = lines(&view(&samples), 80, 24);
    assert!(seen[0].ends_with(" NOT READY"), "{}", seen[0]);
    assert!(line(&seen, "NO WRITES").contains("store"));
    assert!(line(&seen, "alerts: 2").starts_with('╭'));
    assert!(line(&seen, "✖").contains("✖ writes fail: Input/output error"));
    assert!(line(&seen, "▲").contains("the last reload was refused"));
    let color_of = |colors: bool, symbol: &str| {
        let theme = Theme { colors };
        let buffer = shown(&View { theme, ..view(&samples) }, 80, 24);
        buffer.content.iter().find(|cell| cell.symbol() == symbol).map(|cell| cell.fg)
    };
    assert_eq!(color_of(true, "✖"), Some(Color::Red));
    assert_eq!(color_of(false, "✖"), Some(Color::Reset));
}

#[test]
fn alerts_that_find_no_room_are_counted() {
    let mut samples = samples();
    let mut status = samples.last().expect("samples").clone();
    status.load.not_ready = (1..=5).map(|n| format!("reason {n}")).collect();
    samples.add(status);
    let small = lines(&view(&samples), 80, 24);
    assert!(
        line(&small, "reason 1").contains('✖') && line(&small, "and 4 more").contains("godwitctl status")
    );
    let large = lines(&view(&samples), 80, 30);
    assert!(line(&large, "reason 5").contains('✖'));
}

#[test]
fn a_daemon_that_is_away_and_a_pause_are_said() {
    let samples = samples();
    let first = |link: Link, paused| lines(&View { link, paused, ..view(&samples) }, 80, 24).swap_remove(0);
    let down = first(Link::Down(7, "it is not running".into()), false);
    assert!(down.ends_with(" NO DAEMON for 7 s: it is not running"), "{down}");
    assert!(first(Link::Silent(4), true).ends_with(" NO ANSWER for 4 s"));
    assert!(first(Link::Up, true).ends_with(" PAUSED"));
    let help = lines(&View { help: true, ..view(&samples) }, 80, 24);
    assert!(line(&help, "quit").contains("q, Esc, Ctrl-C"));
}
