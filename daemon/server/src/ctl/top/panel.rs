//! The parts that frames are made of: a titled box, lines of labels and values, bars; and how numbers look.
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::border;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph, Widget};

/// How things look; without colours (`NO_COLOR`) only bold and reversed text tells them apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Theme {
    pub(super) colors: bool,
}

impl Theme {
    fn of(self, color: Color) -> Style {
        if self.colors { Style::new().fg(color) } else { Style::new() }
    }
    pub(super) fn good(self) -> Style {
        self.of(Color::Green)
    }
    pub(super) fn warning(self) -> Style {
        self.of(Color::Yellow).add_modifier(Modifier::BOLD)
    }
    pub(super) fn bad(self) -> Style {
        self.of(Color::Red).add_modifier(Modifier::BOLD)
    }
    pub(super) fn frame(self) -> Style {
        self.of(Color::DarkGray)
    }
    pub(super) fn label(self) -> Style {
        self.of(Color::Gray)
    }
    pub(super) fn graph(self) -> Style {
        self.of(Color::Cyan)
    }
    pub(super) fn value() -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }
    /// By how much of something is used.
    pub(super) fn used(self, percent: u64) -> Style {
        match percent {
            0..80 => self.good(),
            80..95 => self.warning(),
            _ => self.bad(),
        }
    }
}

/// A box with a title; returns what is inside, with a column of air on both sides.
pub(super) fn panel(title: &str, area: Rect, buf: &mut Buffer, theme: Theme) -> Rect {
    let title = Span::styled(format!(" {title} "), Theme::value());
    let block = Block::bordered().border_set(border::ROUNDED).border_style(theme.frame()).title(title);
    let inner = block.inner(area);
    block.render(area, buf);
    Rect { x: inner.x + 1, width: inner.width.saturating_sub(2), ..inner }
}

/// A label at the left end of its place, a value at the right one.
pub(super) fn pair(label: &str, value: &str, width: u16, theme: Theme) -> Vec<Span<'static>> {
    let (width, taken) = (usize::from(width), Span::raw(label).width() + Span::raw(value).width());
    let gap = " ".repeat(width.saturating_sub(taken).max(1));
    vec![
        Span::styled(label.to_owned(), theme.label()),
        Span::raw(gap),
        Span::styled(value.to_owned(), Theme::value()),
    ]
}

/// Pairs in columns of equal width, two columns of air between them; row by row.
pub(super) fn pairs(rows: &[&[(&str, String)]], area: Rect, buf: &mut Buffer, theme: Theme) {
    for (row, area) in rows.iter().zip(area.rows()) {
        let columns = u16::try_from(row.len()).unwrap_or(u16::MAX).max(1);
        let width = (area.width.saturating_sub(3 * (columns - 1))) / columns;
        let mut spans = Vec::new();
        for (number, (label, value)) in row.iter().enumerate() {
            if number > 0 {
                spans.push(Span::raw("   "));
            }
            spans.extend(pair(label, value, width, theme));
        }
        Line::from(spans).render(area, buf);
    }
}

/// A row that says how much of something is used: label, bar, words.
pub(super) fn bar(
    label: &str,
    (used, max): (u64, u64),
    words: &str,
    area: Rect,
    buf: &mut Buffer,
    theme: Theme,
) {
    const LABEL: u16 = 12;
    let words_width = u16::try_from(Span::raw(words).width()).unwrap_or(u16::MAX);
    let room = u64::from(area.width.saturating_sub(LABEL + words_width + 1));
    let percent = super::percent(used, max);
    // Something is never nothing.
    let full = (percent.min(100) * room / 100).max(u64::from(used > 0 && room > 0));
    let cells = |n: u64, symbol: &str| symbol.repeat(usize::try_from(n).unwrap_or(0));
    let line = Line::from(vec![
        Span::styled(format!("{label:12}"), theme.label()),
        Span::styled(cells(full, "█"), theme.used(percent)),
        Span::styled(cells(room - full.min(room), "░"), theme.frame()),
        Span::raw(" "),
        Span::styled(words.to_owned(), Theme::value()),
    ]);
    line.render(area, buf);
}

/// Lines over each other, as they are.
pub(super) fn lines(lines: Vec<Line<'_>>, area: Rect, buf: &mut Buffer) {
    Paragraph::new(lines).render(area, buf);
}

/// A count with separators; from ten millions on in millions.
pub(super) fn count(n: u64) -> String {
    if n >= 10_000_000 {
        return format!("{:.1}M", n as f64 / 1e6);
    }
    let digits = n.to_string();
    let mut text = String::new();
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number per second: with a digit behind the point while it is small.
pub(super) fn rate(n: f64) -> String {
    // A rate that is shown without fraction is far from what an f64 cannot hold.
    if n > 0.0 && n < 9.95 { format!("{n:.1}") } else { count(super::whole(n)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_readable() {
        assert_eq!(["0", "999", "1,000", "1,234,567"], [0, 999, 1_000, 1_234_567].map(count));
        assert_eq!(count(12_340_000), "12.3M");
        assert_eq!(["0", "0.2", "9.9", "10", "1,235"], [0.0, 0.2, 9.9, 9.96, 1_234.5].map(rate));
    }

    #[test]
    fn bars_are_as_full_as_what_they_show() {
        let full = |used, max| {
            let area = Rect::new(0, 0, 40, 1);
            let mut buf = Buffer::empty(area);
            bar("disk", (used, max), "x", area, &mut buf, Theme { colors: true });
            let symbols: String = buf.content.iter().map(|cell| cell.symbol()).collect();
            (symbols.matches('█').count(), symbols.matches('░').count())
        };
        assert_eq!(full(0, 100), (0, 26));
        assert_eq!(full(1, 1_000_000), (1, 25));
        assert_eq!((full(50, 100), full(100, 100), full(200, 100)), ((13, 13), (26, 0), (26, 0)));
        assert_eq!(full(5, 0), (1, 25), "no limit is known");
    }
}
