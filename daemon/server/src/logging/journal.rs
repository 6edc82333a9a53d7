//! Events as journal entries, in journald's native datagram protocol.
//!
//! Each field of an event becomes a journal field `GODWIT_<NAME>`, so that `journalctl
//! GODWIT_ACCOUNT=alice@example.org` works. The entry is made on the thread that logs and sent by the log
//! thread: a stuck journald blocks nobody. Spans are not used in this program, and are not written.
use super::queue::{LINE_BYTES_MAX, Lines, Sink};
use std::fmt::{self, Write as _};
use std::io;
use std::os::unix::net::UnixDatagram;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

const JOURNAL: &str = "/run/systemd/journal/socket";
/// Bytes of a single field's value: a whole entry must fit into one datagram and `LINE_BYTES_MAX`.
const FIELD_BYTES_MAX: usize = LINE_BYTES_MAX / 4;

/// Sends entries to journald.
pub(super) struct Journal(UnixDatagram);

impl Journal {
    pub(super) fn connect() -> io::Result<Journal> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(JOURNAL)?;
        Ok(Journal(socket))
    }
}

impl Sink for Journal {
    fn line(&mut self, entry: &[u8]) {
        if self.0.send(entry).is_err() {
            // journald was restarted: its socket is a new one.
            if let Ok(again) = Journal::connect() {
                *self = again;
                let _ = self.0.send(entry);
            }
        }
    }
    fn dropped(&mut self, count: u64) {
        let mut entry = Entry::default();
        entry.field("PRIORITY", "4");
        entry.field("SYSLOG_IDENTIFIER", "godwitd");
        entry.field("MESSAGE", &format!("the log was too slow: {count} lines dropped"));
        self.line(&entry.0);
    }
}

/// Makes entries of events.
pub(super) struct JournalLayer(pub(super) Lines);

impl<S: Subscriber> Layer<S> for JournalLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        self.0.send(entry(event).0);
    }
}

fn entry(event: &Event<'_>) -> Entry {
    let meta = event.metadata();
    let mut entry = Entry::default();
    let priority = match *meta.level() {
        Level::ERROR => "3",
        Level::WARN => "4",
        Level::INFO => "5",
        Level::DEBUG => "6",
        Level::TRACE => "7",
    };
    entry.field("PRIORITY", priority);
    entry.field("SYSLOG_IDENTIFIER", "godwitd");
    entry.field("GODWIT_MODULE", meta.target());
    let mut fields = Fields { entry: &mut entry, message: String::new(), rest: String::new() };
    event.record(&mut fields);
    let Fields { message, rest, .. } = fields;
    // The fields stand behind the message too: whoever reads without -o verbose must see which account it
    // was.
    entry.field("MESSAGE", &format!("{message}{rest}"));
    entry
}

#[derive(Default)]
struct Entry(Vec<u8>);

impl Entry {
    /// Adds a field: `NAME=value`, or with a length where the value has line breaks.
    fn field(&mut self, name: &str, value: &str) {
        let mut end = value.len().min(FIELD_BYTES_MAX);
        while !value.is_char_boundary(end) {
            end -= 1;
        }
        let value = value.get(..end).unwrap_or_default();
        if self.0.len() + name.len() + value.len() + 10 > LINE_BYTES_MAX {
            return;
        }
        self.0.extend_from_slice(name.as_bytes());
        if value.contains('\n') {
            self.0.push(b'\n');
            self.0.extend_from_slice(&(value.len() as u64).to_le_bytes());
        } else {
            self.0.push(b'=');
        }
        self.0.extend_from_slice(value.as_bytes());
        self.0.push(b'\n');
    }
}

struct Fields<'a> {
    entry: &'a mut Entry,
    message: String,
    rest: String,
}

impl Fields<'_> {
    fn add(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.message.push_str(value);
            return;
        }
        let name: String = field.name().chars().filter_map(journal_name).collect();
        self.entry.field(&format!("GODWIT_{name}"), value);
        // Writing to a String cannot fail.
        let _ = write!(self.rest, " {}={value}", field.name());
    }
}

/// Journal field names have capitals, digits and underscores only.
fn journal_name(c: char) -> Option<char> {
    match c {
        '.' | '-' | '_' => Some('_'),
        c if c.is_ascii_alphanumeric() => Some(c.to_ascii_uppercase()),
        _ => None,
    }
}

impl Visit for Fields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value);
    }
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam_channel::{Sender, bounded};
    use std::time::Duration;
    use tracing_subscriber::layer::SubscriberExt;

    struct Keep(Sender<Vec<u8>>);
    impl Sink for Keep {
        fn line(&mut self, line: &[u8]) {
            let _ = self.0.try_send(line.to_vec());
        }
        fn dropped(&mut self, _: u64) {}
    }

    #[test]
    fn an_event_becomes_fields() {
        let (seen, entries) = bounded(4);
        let layer = JournalLayer(Lines::start(Keep(seen)).expect("thread"));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            tracing::warn!(account = "alice@example.org", conn.slot = 7, "login failed");
        });
        let entry = entries.recv_timeout(Duration::from_secs(5)).expect("entry");
        let text = String::from_utf8(entry).expect("text");
        let lines: Vec<_> = text.lines().collect();
        assert!(lines.contains(&"PRIORITY=4"), "{text}");
        assert!(lines.contains(&"GODWIT_ACCOUNT=alice@example.org"), "{text}");
        assert!(lines.contains(&"GODWIT_CONN_SLOT=7"), "{text}");
        assert!(lines.contains(&"MESSAGE=login failed account=alice@example.org conn.slot=7"), "{text}");
    }

    #[test]
    fn line_breaks_cannot_forge_fields() {
        let mut entry = Entry::default();
        entry.field("GODWIT_NICK", "x\nPRIORITY=0");
        let mut want = b"GODWIT_NICK\n".to_vec();
        want.extend_from_slice(&12u64.to_le_bytes());
        want.extend_from_slice(b"x\nPRIORITY=0\n");
        assert_eq!(entry.0, want);
    }
}
