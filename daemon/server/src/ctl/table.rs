//! Aligned tables for people, and the forms of times and sizes in them.
use std::time::{Duration, UNIX_EPOCH};

/// Rows under a head, columns as wide as their widest cell; the last column is not padded.
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = line(head.iter().copied(), &widths);
    for row in rows {
        text.push_str(&line(row.iter().map(String::as_str), &widths));
    }
    text
}

fn line<'a>(cells: impl Iterator<Item = &'a str>, widths: &[usize]) -> String {
    let mut text = String::new();
    for (cell, width) in cells.zip(widths) {
        text.push_str(cell);
        text.extend(std::iter::repeat_n(' ', width + 2 - cell.chars().count().min(*width)));
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

/// A time as `2026-01-31T12:00:00Z`.
pub(super) fn time(ms: u64) -> String {
    UNIX_EPOCH
        .checked_add(Duration::from_millis(ms))
        .map_or_else(|| "?".into(), |at| humantime::format_rfc3339_seconds(at).to_string())
}

/// The same with milliseconds.
pub(super) fn time_ms(ms: u64) -> String {
    UNIX_EPOCH
        .checked_add(Duration::from_millis(ms))
        .map_or_else(|| "?".into(), |at| humantime::format_rfc3339_millis(at).to_string())
}

/// A duration in its two largest units: `3days 4h`.
pub(super) fn span(ms: u64) -> String {
    let text = humantime::format_duration(Duration::from_secs(ms / 1000)).to_string();
    text.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

/// Bytes in a fitting unit.
pub(super) fn bytes(n: u64) -> String {
    let units = [(1u64 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.iter().find(|(unit, _)| n >= *unit) {
        Some((unit, name)) => {
            let tenths = n / (unit / 10);
            format!("{}.{} {name}", tenths / 10, tenths % 10)
        }
        None => format!("{n} B"),
    }
}

/// Microseconds in a fitting unit.
pub(super) fn micros(n: u64) -> String {
    match n {
        0..1_000 => format!("{n} µs"),
        1_000..1_000_000 => format!("{}.{} ms", n / 1_000, n / 100 % 10),
        _ => format!("{}.{} s", n / 1_000_000, n / 100_000 % 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = vec![vec!["zoë@example.org".into(), "1".into()], vec!["b@x".into(), "22".into()]];
        let text = table(&["ADDRESS", "N"], &rows);
        assert_eq!(text, "ADDRESS          N\nzoë@example.org  1\nb@x              22\n");
    }

    #[test]
    fn numbers_have_units() {
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(3 << 29), "1.5 GiB");
        assert_eq!([micros(999), micros(1_960), micros(2_500_000)], ["999 µs", "1.9 ms", "2.5 s"]);
        assert_eq!(span(90_061_000), "1day 1h");
        assert_eq!(time(0), "1970-01-01T00:00:00Z");
    }
}
