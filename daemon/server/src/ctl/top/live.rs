//! The live view: a thread asks the daemon, this one draws and reads keys until it is told to end.
//!
//! The terminal is put back at the end, after a panic (ratatui's hook), and on SIGTERM, SIGINT and SIGHUP. A
//! daemon that hangs, goes away or comes back holds up no key.
use super::sample::Samples;
use super::source::Source;
use super::view::{Link, View};
use super::{Failed, Theme};
use crate::admin::protocol::Status;
use crossbeam_channel::{Receiver, TryRecvError, bounded, tick};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Between two frames, unless a key comes.
const FRAME: Duration = Duration::from_millis(200);
/// Answers that may wait for a frame.
const ANSWERS_MAX: usize = 4;
/// Without an answer for so many intervals, and so many milliseconds, the daemon is said to be silent.
const SILENT_INTERVALS: u64 = 3;
const SILENT_MS: u64 = 3_000;

type Answers = Receiver<Result<Status, String>>;

/// Runs until a key or a signal ends it. The first answer is there already.
pub(super) fn run(source: Source, first: Status, interval: Duration, theme: Theme) -> Result<(), Failed> {
    let ended = ended_by_signals().map_err(Failed::because)?;
    let answers = ask(source, interval).map_err(Failed::because)?;
    let clock = godwit_edge::clock::system();
    let mut live = Live::new(first, interval, theme, clock());
    let mut terminal = ratatui::try_init().map_err(Failed::because)?;
    let done = watch(&mut terminal, &mut live, &answers, &ended, &clock);
    let restored = ratatui::try_restore();
    done.and(restored).map_err(|error| Failed::because(format!("the terminal: {error}")))
}

/// Asks at once and then at each interval, for as long as somebody listens.
fn ask(mut source: Source, interval: Duration) -> io::Result<Answers> {
    let (tell, answers) = bounded(ANSWERS_MAX);
    std::thread::Builder::new().name("ask".into()).spawn(move || {
        let ticks = tick(interval);
        while tell.send(source.ask()).is_ok() && ticks.recv().is_ok() {}
    })?;
    Ok(answers)
}

/// Set when a signal asks for the end: none of them ends the program with the terminal as it is.
fn ended_by_signals() -> io::Result<Arc<AtomicBool>> {
    let ended = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&ended))?;
    }
    Ok(ended)
}

fn watch(
    terminal: &mut DefaultTerminal,
    live: &mut Live,
    answers: &Answers,
    ended: &AtomicBool,
    clock: &godwit_edge::Clock,
) -> io::Result<()> {
    while !ended.load(Ordering::Relaxed) {
        loop {
            match answers.try_recv() {
                Ok(answer) => live.answered(answer, clock()),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    return Err(io::Error::other("nobody asks the daemon any more"));
                }
            }
        }
        terminal.draw(|frame| live.view(clock()).draw(frame.area(), frame.buffer_mut()))?;
        if event::poll(FRAME)? && live.handles(&event::read()?) {
            break;
        }
    }
    Ok(())
}

/// What is shown, and how the daemon answers.
struct Live {
    samples: Samples,
    interval: Duration,
    theme: Theme,
    paused: bool,
    help: bool,
    /// When the last answer came.
    answered_ms: u64,
    /// Since when there has been none, and why.
    down: Option<(u64, String)>,
}

impl Live {
    fn new(first: Status, interval: Duration, theme: Theme, now_ms: u64) -> Live {
        let mut samples = Samples::default();
        samples.add(first);
        Live { samples, interval, theme, paused: false, help: false, answered_ms: now_ms, down: None }
    }

    fn answered(&mut self, answer: Result<Status, String>, now_ms: u64) {
        self.answered_ms = now_ms;
        match answer {
            Ok(status) => {
                self.down = None;
                if !self.paused {
                    self.samples.add(status);
                }
            }
            Err(why) => {
                let since = self.down.take().map_or(now_ms, |(since, _)| since);
                self.down = Some((since, why));
            }
        }
    }

    /// True: that was the end.
    fn handles(&mut self, event: &Event) -> bool {
        let Event::Key(KeyEvent { code, modifiers, kind: KeyEventKind::Press, .. }) = event else {
            return false;
        };
        match code {
            KeyCode::Char('c') if modifiers.contains(KeyModifiers::CONTROL) => return true,
            KeyCode::Char('q') => return true,
            KeyCode::Esc if self.help => self.help = false,
            KeyCode::Esc => return true,
            KeyCode::Char('?' | 'h') => self.help = !self.help,
            KeyCode::Char('p' | ' ') => self.paused = !self.paused,
            _ => {}
        }
        false
    }

    fn view(&self, now_ms: u64) -> View<'_> {
        let silence = now_ms.saturating_sub(self.answered_ms);
        let patience =
            u64::try_from(self.interval.as_millis()).unwrap_or(u64::MAX).saturating_mul(SILENT_INTERVALS);
        let link = match &self.down {
            Some((since, why)) => Link::Down(now_ms.saturating_sub(*since) / 1_000, why.clone()),
            None if silence > patience.max(SILENT_MS) => Link::Silent(silence / 1_000),
            None => Link::Up,
        };
        View { samples: &self.samples, link, paused: self.paused, help: self.help, theme: self.theme }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::status;
    use super::*;

    fn live() -> Live {
        Live::new(status(), Duration::from_secs(1), Theme { colors: false }, 10_000)
    }

    fn key(code: KeyCode, modifiers: KeyModifiers) -> Event {
        Event::Key(KeyEvent::new(code, modifiers))
    }

    #[test]
    fn a_daemon_that_goes_away_is_missed_and_one_that_comes_back_is_shown() {
        let mut live = live();
        live.answered(Ok(status()), 11_000);
        assert_eq!(live.view(13_900).link, Link::Up);
        assert_eq!(live.view(16_000).link, Link::Silent(5));
        for now in [16_000, 17_000, 18_000] {
            live.answered(Err("no daemon is running".into()), now);
        }
        assert_eq!(live.view(19_500).link, Link::Down(3, "no daemon is running".into()));
        live.answered(Ok(status()), 20_000);
        assert_eq!(live.view(20_100).link, Link::Up);
    }

    #[test]
    fn keys_pause_help_and_end() {
        let mut live = live();
        let none = KeyModifiers::NONE;
        assert!(!live.handles(&key(KeyCode::Char('p'), none)) && live.paused);
        let mut later = status();
        later.now_ms += 5_000;
        live.answered(Ok(later), 12_000);
        assert_eq!(live.samples.last().map(|status| status.now_ms), Some(status().now_ms), "paused");
        assert!(!live.handles(&key(KeyCode::Char('?'), none)) && live.help);
        assert!(!live.handles(&key(KeyCode::Esc, none)) && !live.help, "closes the help first");
        assert!(!live.handles(&key(KeyCode::Char('c'), none)));
        assert!(live.handles(&key(KeyCode::Char('c'), KeyModifiers::CONTROL)));
        assert!(live.handles(&key(KeyCode::Esc, none)) && live.handles(&key(KeyCode::Char('q'), none)));
        assert!(!live.handles(&Event::Resize(80, 24)));
    }
}
