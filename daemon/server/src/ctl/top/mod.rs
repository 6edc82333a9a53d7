//! `godwitctl top [--interval TIME] [--once]`: the daemon's status again and again, with what has changed.
//!
//! `source.rs` asks, `sample.rs` makes rates and percentiles of the answers, `alerts.rs` a verdict,
//! `view.rs` a frame of `panel.rs`'s parts; `live.rs` has the terminal.

mod alerts;
mod live;
mod panel;
mod sample;
mod source;
mod view;

use super::args::{Ctl, Top};
use super::exit::Failed;
use super::print;
use crate::admin::load_status::whole;
use panel::Theme;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use sample::Samples;
use source::Source;
use std::io::{self, IsTerminal};
use view::{LEAST, Link, View};

pub(super) fn run(ctl: &Ctl, args: &Top) -> Result<(), Failed> {
    let socket = super::way::socket(ctl)?;
    // Says in full why there is nobody, with the remedy.
    drop(super::way::daemon(ctl)?);
    let mut source = Source::of(socket);
    let first = source.ask().map_err(Failed::unreachable)?;
    if !args.once {
        if !io::stdout().is_terminal() {
            return Err(Failed::usage("standard output is no terminal: say --once for a frame as text"));
        }
        let colors = std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty());
        return live::run(source, first, args.interval, Theme { colors });
    }
    let mut samples = Samples::default();
    samples.add(first);
    std::thread::sleep(args.interval);
    samples.add(source.ask().map_err(Failed::unreachable)?);
    let theme = Theme { colors: false };
    let view = View { samples: &samples, link: Link::Up, paused: false, help: false, theme };
    let mut frame = Buffer::empty(size());
    view.draw(frame.area, &mut frame);
    print(&view::text(&frame))
}

/// Of a frame as text: the terminal's, if there is one.
fn size() -> Rect {
    match ratatui::crossterm::terminal::size() {
        Ok((width, height)) if io::stdout().is_terminal() => Rect { width, height, ..LEAST },
        _ => LEAST,
    }
}

/// A part of a whole in hundredths; 0 if the whole is not known.
fn percent(used: u64, max: u64) -> u64 {
    used.saturating_mul(100).checked_div(max).unwrap_or(0)
}

#[cfg(test)]
mod tests;
