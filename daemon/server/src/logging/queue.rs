//! The log thread: lines go through a bounded queue, and a full queue drops and counts instead of blocking.
//!
//! A shard must not wait for a slow terminal or a stuck journal. What was dropped is said in the log as soon
//! as there is room again, and is in the status. To wake a thread costs more than to write a line: after what
//! there was, the log thread sleeps a little, and nobody need wake it for what comes meanwhile.
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Lines waiting for the log thread.
const LINES_MAX: usize = 8192;
/// Bytes of one line; a longer one is cut.
pub(super) const LINE_BYTES_MAX: usize = 8192;
/// How late a line may be written that comes right after another.
const REST: Duration = Duration::from_millis(5);
/// How long a stop waits for the last lines to be written.
const FLUSH_WAIT: Duration = Duration::from_secs(2);

enum Item {
    Line(Vec<u8>),
    Flush(Sender<()>),
}

/// Where lines come out.
pub(super) trait Sink: Send + 'static {
    /// Writes one line (or one datagram). Errors are the sink's to deal with: there is nowhere to log them.
    fn line(&mut self, line: &[u8]);
    /// Says that lines were dropped.
    fn dropped(&mut self, count: u64);
    /// No further line is waiting: what was kept back goes out.
    fn rest(&mut self) {}
}

/// The sending side; clones share the queue.
#[derive(Clone)]
pub(super) struct Lines {
    items: Sender<Item>,
    dropped: Arc<AtomicU64>,
}

impl Lines {
    /// Starts the log thread.
    pub(super) fn start(sink: impl Sink) -> io::Result<Lines> {
        let (items, waiting) = bounded(LINES_MAX);
        let dropped = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&dropped);
        let _detached: JoinHandle<()> =
            std::thread::Builder::new().name("log".into()).spawn(move || run(&waiting, sink, &counter))?;
        Ok(Lines { items, dropped })
    }

    /// Queues a line, or drops and counts it.
    pub(super) fn send(&self, mut line: Vec<u8>) {
        line.truncate(LINE_BYTES_MAX);
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) =
            self.items.try_send(Item::Line(line))
        {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Lines dropped since the start.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Waits until everything queued is written, for a bounded time.
    pub(super) fn flush(&self) {
        let (done, wait) = bounded(1);
        if self.items.send_timeout(Item::Flush(done), FLUSH_WAIT).is_ok() {
            // A log that does not come to an end must not hold up the stop.
            let _ = wait.recv_timeout(FLUSH_WAIT);
        }
    }
}

fn run(items: &Receiver<Item>, mut sink: impl Sink, dropped: &AtomicU64) {
    let mut told = 0;
    for item in items {
        let flushed = match item {
            Item::Line(line) => {
                sink.line(&line);
                None
            }
            Item::Flush(done) => Some(done),
        };
        let now = dropped.load(Ordering::Relaxed);
        if now > told {
            sink.dropped(now - told);
            told = now;
        }
        if flushed.is_none() && !items.is_empty() {
            continue;
        }
        sink.rest();
        match flushed {
            Some(done) => drop(done.try_send(())),
            None => std::thread::sleep(REST),
        }
    }
}

/// Text lines on standard error, several at once when they come fast.
#[derive(Default)]
pub(super) struct Stderr(Vec<u8>);

/// Bytes that are kept back at most.
const TOGETHER_MAX: usize = 64 << 10;

impl Sink for Stderr {
    fn line(&mut self, line: &[u8]) {
        if self.0.len() + line.len() > TOGETHER_MAX {
            self.rest();
        }
        self.0.extend_from_slice(line);
    }
    fn dropped(&mut self, count: u64) {
        let _ = writeln!(self.0, "(the log was too slow: {count} lines dropped)");
    }
    fn rest(&mut self) {
        // Standard error may be closed; a daemon without a log still serves.
        let _ = io::stderr().write_all(&self.0);
        self.0.clear();
        // Lines seldom come fast: what a burst needed is not kept.
        self.0.shrink_to(LINE_BYTES_MAX);
    }
}

/// Collects one event's text and queues it whole.
pub(super) struct Line {
    lines: Lines,
    text: Vec<u8>,
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = LINE_BYTES_MAX.saturating_sub(self.text.len());
        self.text.extend_from_slice(bytes.get(..room.min(bytes.len())).unwrap_or_default());
        // What does not fit is cut, not an error: half a line says more than none.
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let mut text = std::mem::take(&mut self.text);
        if text.last().is_some_and(|last| *last != b'\n') {
            text.pop();
            text.push(b'\n');
        }
        self.lines.send(text);
    }
}

impl<'a> tracing_subscriber::fmt::MakeWriter<'a> for Lines {
    type Writer = Line;
    fn make_writer(&'a self) -> Line {
        Line { lines: self.clone(), text: Vec::with_capacity(256) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    struct Stuck {
        gate: Receiver<()>,
        written: Arc<Mutex<(usize, u64)>>,
    }
    impl Sink for Stuck {
        fn line(&mut self, _: &[u8]) {
            let _ = self.gate.recv();
            self.written.lock().expect("lock").0 += 1;
        }
        fn dropped(&mut self, count: u64) {
            self.written.lock().expect("lock").1 += count;
        }
    }

    #[test]
    fn a_stuck_log_drops_and_counts_and_does_not_block() {
        let (open, gate) = bounded::<()>(0);
        let written = Arc::new(Mutex::new((0, 0)));
        let lines = Lines::start(Stuck { gate, written: Arc::clone(&written) }).expect("thread");
        let sent = LINES_MAX + 100;
        for _ in 0..sent {
            lines.send(b"x\n".to_vec());
        }
        // The thread holds at most one line in its hands, the queue the rest.
        let dropped = lines.dropped();
        assert!((99..=100).contains(&dropped), "{dropped}");
        drop(open);
        lines.flush();
        let (count, told) = *written.lock().expect("lock");
        assert_eq!(count as u64 + told, sent as u64);
    }

    #[test]
    fn what_a_sink_keeps_back_goes_out_before_a_flush_ends_and_when_nothing_follows() {
        #[derive(Default)]
        struct Together(Vec<u8>, Arc<Mutex<Vec<u8>>>);
        impl Sink for Together {
            fn line(&mut self, line: &[u8]) {
                self.0.extend_from_slice(line);
            }
            fn dropped(&mut self, _: u64) {}
            fn rest(&mut self) {
                self.1.lock().expect("lock").append(&mut self.0);
            }
        }
        let written = Arc::default();
        let lines = Lines::start(Together(Vec::new(), Arc::clone(&written))).expect("thread");
        (0..100).for_each(|_| lines.send(b"x\n".to_vec()));
        lines.flush();
        assert_eq!(written.lock().expect("lock").len(), 200);
        lines.send(b"last\n".to_vec());
        let mut looks = (0..FLUSH_WAIT.as_millis()).step_by(5);
        while written.lock().expect("lock").len() < 205 {
            assert!(looks.next().is_some(), "it waits for another line");
            std::thread::sleep(REST);
        }
    }

    #[test]
    fn long_lines_are_cut_and_still_end() {
        let (seen, lines_seen) = bounded(1);
        struct Keep(Sender<Vec<u8>>);
        impl Sink for Keep {
            fn line(&mut self, line: &[u8]) {
                let _ = self.0.try_send(line.to_vec());
            }
            fn dropped(&mut self, _: u64) {}
        }
        let lines = Lines::start(Keep(seen)).expect("thread");
        let mut line = tracing_subscriber::fmt::MakeWriter::make_writer(&lines);
        line.write_all(&vec![b'a'; LINE_BYTES_MAX * 2]).expect("write");
        drop(line);
        let got = lines_seen.recv_timeout(FLUSH_WAIT).expect("line");
        assert_eq!(got.len(), LINE_BYTES_MAX);
        assert_eq!(got.last(), Some(&b'\n'));
    }
}
