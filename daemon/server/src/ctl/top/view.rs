//! A frame: which figures stand where. Made for 80×24; a larger one gets wider bars and a history.
use super::alerts::{Alert, Weight, alerts};
use super::panel::{Theme, bar, count, lines, pair, pairs, panel, rate};
use super::sample::{Latency, Samples};
use crate::admin::protocol::Status;
use crate::ctl::table::{bytes, micros, span, time};
use crate::limits::Bound;
use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Clear, RenderDirection, Sparkline, Widget};
use std::collections::VecDeque;

/// What a frame needs; a smaller terminal shows its upper left part.
pub(super) const LEAST: Rect = Rect { x: 0, y: 0, width: 80, height: 24 };
/// Rows that a history needs.
const HISTORY_ROWS: u16 = 6;

const HELP: [&str; 9] = [
    "q, Esc, Ctrl-C   quit",
    "p                pause, go on",
    "?                this help",
    "",
    "Rates are of the last interval, latencies of the last ten (p50 and p99",
    "estimated from a histogram: evenly spread between its bounds).",
    "delivery: receipt to recipient's socket. commit: submission to disk.",
    "waiting: sessions without a connection, to be resumed (XEP-0198).",
    "offline: messages that wait for accounts without any session.",
];

/// How the daemon answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Link {
    /// It does.
    Up,
    /// There is none, for so many seconds; why.
    Down(u64, String),
    /// It has not answered for so many seconds.
    Silent(u64),
}

/// All that is drawn.
pub(super) struct View<'a> {
    pub(super) samples: &'a Samples,
    pub(super) link: Link,
    pub(super) paused: bool,
    pub(super) help: bool,
    pub(super) theme: Theme,
}

impl View<'_> {
    /// Draws it.
    pub(super) fn draw(&self, area: Rect, buf: &mut Buffer) {
        let whole =
            Rect { width: area.width.max(LEAST.width), height: area.height.max(LEAST.height), ..area };
        if whole == area {
            return self.draw_whole(area, buf);
        }
        let mut hidden = Buffer::empty(whole);
        self.draw_whole(whole, &mut hidden);
        for at in area.positions() {
            if let (Some(to), Some(from)) = (buf.cell_mut(at), hidden.cell(at)) {
                *to = from.clone();
            }
        }
    }

    fn draw_whole(&self, area: Rect, buf: &mut Buffer) {
        let Some(status) = self.samples.last() else {
            return lines(vec![self.badge()], area, buf);
        };
        let found = self.alerts(status);
        // Alerts and history share what is left; without much, alerts have it all.
        let left = area.height.saturating_sub(1 + 6 + 6 + 7);
        let wanted = u16::try_from(found.len()).unwrap_or(u16::MAX).clamp(2, 8) + 2;
        let history = left.saturating_sub(wanted);
        let history = if history < HISTORY_ROWS { 0 } else { history };
        let rows = [1, 6, 6, 7, history].map(Constraint::Length);
        let rows = Layout::vertical(rows.into_iter().chain([Constraint::Min(4)])).split(area);
        let [head, load, sessions, memory, history, bottom] = rows[..] else { return };
        self.head(status, head, buf);
        let (left, right) = halves(load);
        self.load(status, left, buf);
        self.latency(right, buf);
        let (left, right) = halves(sessions);
        self.sessions(status, left, buf);
        self.store(status, right, buf);
        let (left, right) = halves(memory);
        self.memory(status, left, buf);
        self.limits(status, right, buf);
        if history.height > 0 {
            let (left, right) = halves(history);
            self.history("messages/s", &self.samples.messages, &count, left, buf);
            self.history("delivery p99", &self.samples.deliveries, &micros, right, buf);
        }
        self.bottom(&found, bottom, buf);
        if self.help {
            self.help(area, buf);
        }
    }

    fn alerts(&self, status: &Status) -> Vec<Alert> {
        let delivery = self.samples.latency(|status| &status.load.delivery);
        let commit = self.samples.latency(|status| &status.load.commit);
        alerts(status, &self.samples.rates(), delivery, commit)
    }

    fn badge(&self) -> Line<'static> {
        let theme = self.theme;
        let ready = self.samples.last().is_some_and(|status| status.load.not_ready.is_empty());
        let (text, style) = match &self.link {
            Link::Down(seconds, why) => (format!(" NO DAEMON for {seconds} s: {why} "), theme.bad()),
            Link::Silent(seconds) => (format!(" NO ANSWER for {seconds} s "), theme.bad()),
            Link::Up if self.paused => (" PAUSED ".into(), theme.warning()),
            Link::Up if ready => (" ready ".into(), theme.good()),
            Link::Up => (" NOT READY ".into(), theme.bad()),
        };
        Line::from(Span::styled(text, style.add_modifier(Modifier::REVERSED)))
    }

    fn head(&self, status: &Status, area: Rect, buf: &mut Buffer) {
        let up = span(status.now_ms.saturating_sub(status.started_ms));
        let who = format!(" godwitd {}", status.version);
        let what = format!(" · {} · up {up} · process {}", status.domains.join(", "), status.pid);
        let clock = time(status.now_ms);
        let clock = clock.get(11..).unwrap_or_default();
        let spans = vec![Span::styled(who, Theme::value()), Span::raw(what)];
        Line::from(spans).render(area, buf);
        let mut right = self.badge();
        right.spans.insert(0, Span::raw(format!("  {clock} ")));
        let width = u16::try_from(right.width()).unwrap_or(u16::MAX).min(area.width);
        let place = Rect { x: area.right() - width, width, ..area };
        Clear.render(place, buf);
        right.render(place, buf);
    }

    fn load(&self, status: &Status, area: Rect, buf: &mut Buffer) {
        let inner = panel("load", area, buf, self.theme);
        let rates = self.samples.rates();
        let per_s = |n: f64| bytes(super::whole(n)) + "/s";
        let rows: [&[(&str, String)]; 4] = [
            &[("messages/s", rate(rates.messages)), ("", String::new())],
            &[("stanzas/s", rate(rates.stanzas)), ("delivered/s", rate(rates.delivered))],
            &[("logins/s", rate(rates.logins)), ("failed/s", rate(rates.logins_failed))],
            &[("in", per_s(rates.bytes_in)), ("out", per_s(rates.bytes_out))],
        ];
        pairs(&rows, inner, buf, self.theme);
        // Beside the most important number, how it came to be.
        let (_, right) = columns(inner);
        self.spark(&self.samples.messages, Rect { height: 1, ..right }, buf);
        let cpu = format!(" CPU {:.0} % of {} cores ", rates.cpu_percent, status.load.cores);
        self.corner(&cpu, area, buf);
    }

    fn latency(&self, area: Rect, buf: &mut Buffer) {
        let title = format!("latency, last {:.0} s", self.samples.seconds());
        let inner = panel(&title, area, buf, self.theme);
        let cell = |us: Option<u64>| us.map_or_else(|| "-".to_owned(), micros);
        let row = |label: &str, latency: Latency| {
            let label = Span::styled(format!("{label:10}"), self.theme.label());
            let half = usize::from(inner.width.saturating_sub(10)) / 2;
            let value = |us| Span::styled(format!("{:>half$}", cell(us)), Theme::value());
            Line::from(vec![label, value(latency.p50_us), value(latency.p99_us)])
        };
        let half = usize::from(inner.width.saturating_sub(10)) / 2;
        let head = format!("{:10}{:>half$}{:>half$}", "", "p50", "p99");
        let rows = vec![
            Line::styled(head, self.theme.label()),
            row("delivery", self.samples.latency(|status| &status.load.delivery)),
            row("commit", self.samples.latency(|status| &status.load.commit)),
            row("fsync", self.samples.latency(|status| &status.load.sync)),
        ];
        lines(rows, inner, buf);
    }

    fn sessions(&self, status: &Status, area: Rect, buf: &mut Buffer) {
        let inner = panel("sessions", area, buf, self.theme);
        let load = &status.load;
        let connected = status.sessions.saturating_sub(status.detached);
        let login = status.connections.saturating_sub(load.handshaking + connected);
        let rows: [&[(&str, String)]; 4] = [
            &[("connected", count(connected)), ("waiting", count(status.detached))],
            &[("TLS 1.3", count(load.tls13)), ("TLS 1.2", count(load.tls12))],
            &[("handshakes", count(load.handshaking)), ("in login", count(login))],
            &[("slow readers", count(load.slow_readers)), ("offline", count(load.waiting_messages))],
        ];
        pairs(&rows, inner, buf, self.theme);
    }

    fn store(&self, status: &Status, area: Rect, buf: &mut Buffer) {
        let inner = panel("store", area, buf, self.theme);
        let (store, rates) = (&status.store, self.samples.rates());
        let health = match (store.ok, store.full) {
            (true, _) => (" ok ", self.theme.good()),
            (false, true) => (" NO SPACE ", self.theme.bad()),
            (false, false) => (" NO WRITES ", self.theme.bad()),
        };
        let queue = format!("{} of {}", count(store.queued), count(store.queue_max));
        let rows: [&[(&str, String)]; 4] = [
            &[("fsyncs/s", rate(rates.syncs)), ("msgs each", rate(rates.messages_per_sync))],
            &[("queue", queue)],
            &[
                ("WAL", bytes(super::whole(rates.written)) + "/s"),
                ("stalled", format!("{:.0} %", rates.stalled_percent)),
            ],
            &[("size", bytes(status.load.store_bytes)), ("rows", count(status.archive.rows))],
        ];
        pairs(&rows, inner, buf, self.theme);
        let text = Span::styled(health.0, health.1);
        Line::from(text).right_aligned().render(Rect { width: area.width - 2, height: 1, ..area }, buf);
    }

    fn memory(&self, status: &Status, area: Rect, buf: &mut Buffer) {
        let inner = panel("memory", area, buf, self.theme);
        let owners = status.owners.each();
        let cells: Vec<_> = owners.iter().map(|(name, n)| (short(name), short_bytes(*n))).collect();
        let (left, right) = columns(inner);
        let half = cells.len().div_ceil(2);
        for (column, cells) in [left, right].into_iter().zip(cells.chunks(half)) {
            let rows = cells.iter().map(|(name, n)| Line::from(pair(name, n, column.width, self.theme)));
            lines(rows.collect(), column, buf);
        }
        self.corner(&format!(" {} resident ", bytes(status.rss_bytes)), area, buf);
    }

    fn limits(&self, status: &Status, area: Rect, buf: &mut Buffer) {
        let inner = panel("limits", area, buf, self.theme);
        let (load, ceiling) = (&status.load, &status.ceiling);
        let memory_max = status.overload.memory_max_bytes;
        let disk_used = load.disk_bytes.saturating_sub(load.disk_free_bytes);
        let of = |used: String, max: String| format!("{used} of {max}");
        let rows = [
            (
                "connections",
                (status.connections, ceiling.connections_max),
                of(count(status.connections), count(ceiling.connections_max)),
            ),
            ("memory", (status.rss_bytes, memory_max), of(bytes(status.rss_bytes), bytes(memory_max))),
            (
                "descriptors",
                (load.descriptors, load.descriptors_max),
                of(count(load.descriptors), count(load.descriptors_max)),
            ),
            ("disk", (disk_used, load.disk_bytes), bytes(load.disk_free_bytes) + " free"),
        ];
        for ((label, used, words), area) in rows.iter().zip(inner.rows()) {
            bar(label, *used, words, area, buf, self.theme);
        }
        let by = match ceiling.bound_by {
            Bound::Configuration => "limits.connections_max",
            Bound::Descriptors => "descriptors",
            Bound::Memory => "memory",
        };
        let last = Rect { y: inner.y + 4, height: 1, ..inner };
        Line::from(pair("bounded by", by, inner.width, self.theme)).render(last, buf);
    }

    fn history(
        &self,
        what: &str,
        values: &VecDeque<u64>,
        show: &dyn Fn(u64) -> String,
        area: Rect,
        buf: &mut Buffer,
    ) {
        let inner = panel(what, area, buf, self.theme);
        let most = values.iter().rev().take(usize::from(inner.width)).max().copied().unwrap_or(0);
        self.corner(&format!(" at most {} ", show(most)), area, buf);
        self.spark(values, inner, buf);
    }

    /// The newest value at the right end.
    fn spark(&self, values: &VecDeque<u64>, area: Rect, buf: &mut Buffer) {
        let newest_first = values.iter().rev().take(usize::from(area.width)).copied();
        Sparkline::default()
            .data(newest_first)
            .direction(RenderDirection::RightToLeft)
            .style(self.theme.graph())
            .render(area, buf);
    }

    fn bottom(&self, found: &[Alert], area: Rect, buf: &mut Buffer) {
        let title = match found.len() {
            0 => "alerts: none".to_owned(),
            n => format!("alerts: {n}"),
        };
        let inner = panel(&title, area, buf, self.theme);
        let room = usize::from(inner.height);
        let shown = if found.len() > room { room.saturating_sub(1) } else { found.len() };
        let mut rows: Vec<Line<'_>> = found.iter().take(shown).map(|alert| self.alert(alert)).collect();
        if found.len() > shown {
            rows.push(Line::raw(format!("  … and {} more: godwitctl status", found.len() - shown)));
        }
        lines(rows, inner, buf);
        let keys = Span::styled(" q quit · p pause · ? help ", self.theme.label());
        let place = Rect { y: area.bottom() - 1, height: 1, width: area.width - 2, ..area };
        Line::from(keys).right_aligned().render(place, buf);
    }

    fn alert<'a>(&self, alert: &'a Alert) -> Line<'a> {
        let (mark, style) = match alert.weight {
            Weight::Critical => ("✖ ", self.theme.bad()),
            Weight::Warning => ("▲ ", self.theme.warning()),
            Weight::Remark => ("· ", Style::new()),
        };
        Line::from(vec![Span::styled(mark, style), Span::styled(alert.text.as_str(), style)])
    }

    fn help(&self, area: Rect, buf: &mut Buffer) {
        let height = u16::try_from(HELP.len()).unwrap_or(u16::MAX) + 2;
        let place = area.centered(Constraint::Length(76), Constraint::Length(height));
        Clear.render(place, buf);
        let inner = panel("godwitctl top", place, buf, self.theme);
        lines(HELP.iter().map(|line| Line::raw(*line)).collect(), inner, buf);
    }

    /// In the upper right corner of a panel's frame.
    fn corner(&self, text: &str, area: Rect, buf: &mut Buffer) {
        let place = Rect { width: area.width.saturating_sub(2), height: 1, ..area };
        Line::from(Span::styled(text.to_owned(), self.theme.label())).right_aligned().render(place, buf);
    }
}

fn halves(area: Rect) -> (Rect, Rect) {
    let left = Rect { width: area.width / 2, ..area };
    (left, Rect { x: left.right(), width: area.width - left.width, ..area })
}

/// An owner of memory, in half a panel.
fn short(name: &str) -> &str {
    match name {
        "block_cache" => "cache",
        "table_readers" => "tables",
        name => name,
    }
}

/// Likewise its bytes: `12.3M`.
fn short_bytes(n: u64) -> String {
    bytes(n).replace(" ", "").replace("iB", "")
}

/// The columns that pairs stand in.
fn columns(area: Rect) -> (Rect, Rect) {
    let width = area.width.saturating_sub(3) / 2;
    (Rect { width, ..area }, Rect { x: area.x + width + 3, width, ..area })
}

/// A frame as text, without the blanks at the ends of lines.
pub(super) fn text(buf: &Buffer) -> String {
    let area = buf.area;
    let mut text = String::new();
    for row in area.rows() {
        let line: String = row.positions().filter_map(|at| buf.cell(at)).map(|cell| cell.symbol()).collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
