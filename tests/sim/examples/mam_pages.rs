//! How long a page of 50 messages takes from archives of different sizes: the query's XML in, the answer's
//! XML out, over RocksDB, without sockets and threads. Half of the messages are with one contact, 60 with a
//! rare one, the others with a thousand more.
//!
//! `cargo run --release -p godwit-sim --example mam_pages [sizes…]`
use godwit_modules::archive::{ArchiveSettings, id};
use godwit_modules::hub::Origin;
use godwit_modules::note::Poster;
use godwit_modules::row::Row;
use godwit_modules::{Address, Background, Completion, Hub, HubSink, Note, Outside, Post, Settings};
use godwit_session::{Event, Place, SessionId};
use godwit_store::{Op, Options, Outcome, Owner, Rocks, Seq, Sink, Submit, Tx, Writer};
use godwit_wire::{Element, Jid, Stanza, element::Scope};
use std::error::Error;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Instant;

const SIZES: [u64; 3] = [1_000, 100_000, 1_000_000];
const RUNS: usize = 300;
const RARE: u64 = 60;
const OWNER: u64 = 7;
/// Messages of the other accounts between two of ours, as on a server with many.
const OTHERS: u64 = 1;
const ROWS_A_TX: u64 = 500;
const START_MS: u64 = 1_700_000_000_000;

struct Told(Sender<Vec<Seq>>);
impl Sink<()> for Told {
    fn committed(&mut self, round: &mut Vec<((), Outcome)>) {
        for ((), outcome) in round.drain(..) {
            let _ = self.0.send(outcome.unwrap_or_default());
        }
    }
}

fn contact(n: u64, size: u64) -> String {
    let step = (size / RARE).max(1);
    match n {
        n if n % step == step / 2 => "rare@example.org".to_owned(),
        n if n % 2 == 0 => "frequent@example.org".to_owned(),
        n => format!("contact{}@example.org", n % 1_000),
    }
}

/// Fills a store and gives the position in its middle.
fn fill(path: &std::path::Path, size: u64) -> Result<u64, Box<dyn Error>> {
    let store = Arc::new(Rocks::open(path, &Options::default())?);
    let now = Arc::new(AtomicU64::new(START_MS));
    let clock = Arc::clone(&now);
    let (tell, told) = channel();
    let sink = Box::new(Told(tell));
    let clock = Arc::new(move || clock.load(Ordering::Relaxed));
    let writer = Writer::start(Arc::clone(&store), &Options::default(), clock, sink)?;
    let mut middle = 0;
    for from in (0..size).step_by(usize::try_from(ROWS_A_TX)?) {
        let mut tx = Tx { lazy: true, ..Tx::default() };
        for n in from..(from + ROWS_A_TX).min(size) {
            let with = contact(n, size);
            let body = "The quick brown fox jumps over the lazy dog, and then once more.";
            let (from, id) = (format!("{with}/phone"), format!("m{n:08}"));
            let stanza = format!(
                "<message type='chat' id='{id}' from='{from}' to='me@example.org'>\
                 <body>{n} {body}</body></message>"
            );
            let row = Row { incoming: true, with: &with, stanza: stanza.as_bytes(), ..Row::default() };
            for other in 0..=OTHERS {
                let owner = Owner(if other == 0 { OWNER } else { OWNER + 1 + n % 50 });
                tx.ops.push(Op::Append { owner, index: row.index(), value: row.encode() });
            }
        }
        now.fetch_add(ROWS_A_TX * 20_000, Ordering::Relaxed);
        writer.submit(tx, ()).map_err(|_| "the writer does not take it")?;
        let seqs = told.recv()?;
        if from <= size / 2 {
            middle = seqs.first().map_or(middle, |seq| seq.0);
        }
    }
    writer.close()?;
    store.close()?;
    Ok(middle)
}

fn main() -> Result<(), Box<dyn Error>> {
    let sizes: Vec<u64> = std::env::args().skip(1).map(|arg| arg.parse()).collect::<Result<_, _>>()?;
    let sizes = if sizes.is_empty() { SIZES.to_vec() } else { sizes };
    println!(
        "microseconds for a page of 50: median / 99th percentile of {RUNS}, and of the first after opening"
    );
    for size in sizes {
        let dir = tempfile::tempdir()?;
        let middle = fill(dir.path(), size)?;
        println!("{size} messages");
        for (name, query) in queries(&id(middle)) {
            // Opened anew: nothing is in RocksDB's cache.
            let store = Arc::new(Rocks::open(dir.path(), &Options::default())?);
            let mut rig = Rig::new(Arc::clone(&store));
            let first = rig.page(&query)?;
            let mut times = (0..RUNS).map(|_| rig.page(&query)).collect::<Result<Vec<_>, _>>()?;
            times.sort_unstable();
            let (micros, rows) = (|at: usize| times.get(at).map_or(0, |(us, _)| *us), first.1);
            let (median, late) = (micros(RUNS / 2), micros(RUNS * 99 / 100));
            println!("  {name:<28} {median:>6} / {late:>6}   first {:>6}   {rows} messages", first.0);
            store.close()?;
        }
    }
    Ok(())
}

fn queries(middle: &str) -> Vec<(&'static str, String)> {
    let set =
        |inside: &str| format!("<set xmlns='http://jabber.org/protocol/rsm'><max>50</max>{inside}</set>");
    let with = |jid: &str, inside: &str| {
        let field = |var: &str, value: &str| format!("<field var='{var}'><value>{value}</value></field>");
        let fields = field("FORM_TYPE", "urn:xmpp:mam:2") + &field("with", jid);
        format!("<x xmlns='jabber:x:data' type='submit'>{fields}</x>{}", set(inside))
    };
    let after = format!("<after>{middle}</after>");
    let before = format!("<before>{middle}</before>");
    vec![
        ("first page", set("")),
        ("last page", set("<before/>")),
        ("after an id in the middle", set(&after)),
        ("before an id in the middle", set(&before)),
        ("with frequent, first page", with("frequent@example.org", "")),
        ("with frequent, last page", with("frequent@example.org", "<before/>")),
        ("with frequent, after middle", with("frequent@example.org", &after)),
        ("with rare, first page", with("rare@example.org", "")),
        ("with rare, last page", with("rare@example.org", "<before/>")),
        ("with rare, after middle", with("rare@example.org", &after)),
        ("with nobody", with("nobody@example.org", "")),
        ("with an absent resource", with("frequent@example.org/absent", "")),
    ]
}

/// A whole hub over the store, whose workers, writer and shards do at once what they are asked.
struct Rig {
    hub: Arc<Hub>,
    sink: HubSink,
    commits: Arc<Commits>,
    sent: Arc<Sent>,
}

#[derive(Default)]
struct Commits(Mutex<Vec<Completion>>);
impl Submit<Completion> for Commits {
    fn submit(&self, _: Tx, completion: Completion) -> Result<(), (Tx, Completion)> {
        locked(&self.0).push(completion);
        Ok(())
    }
    fn queued(&self) -> usize {
        locked(&self.0).len()
    }
    fn break_chain(&self, _: u64) {}
    fn mend(&self, _: u64) {}
    fn broken(&self) -> Vec<u64> {
        Vec::new()
    }
}

struct AtOnce;
impl Background for AtOnce {
    fn run(&self, job: Box<dyn FnOnce() + Send>) -> bool {
        job();
        true
    }
}

#[derive(Default)]
struct Sent(AtomicUsize);
impl Post for Sent {
    fn shards(&self) -> u16 {
        1
    }
    fn post(&self, _: u16, notes: &mut Vec<Note>) {
        let is_result = |note: &Note| match note {
            Note::Event { event: Event::Deliver(stanza), .. } => stanza.bytes.starts_with(b"<message"),
            _ => false,
        };
        self.0.fetch_add(notes.drain(..).filter(is_result).count(), Ordering::Relaxed);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Rig {
    fn new(store: Arc<Rocks>) -> Rig {
        let (commits, sent) = (Arc::<Commits>::default(), Arc::<Sent>::default());
        let outside = Outside {
            store,
            post: Arc::clone(&sent) as _,
            background: Arc::new(AtOnce),
            clock: Arc::new(|| START_MS),
            random: Arc::new(|_| {}),
        };
        let settings = Settings { archive: ArchiveSettings::default(), ..godwit_sim::world::settings() };
        let hub = Hub::new(outside, settings);
        hub.attach(Arc::clone(&commits) as _);
        Rig { sink: HubSink::new(Arc::clone(&hub)), hub, commits, sent }
    }

    /// Microseconds, and how many messages came.
    fn page(&mut self, inside: &str) -> Result<(u128, usize), Box<dyn Error>> {
        let query = format!("<query xmlns='urn:xmpp:mam:2' queryid='f'>{inside}</query>");
        let xml = format!("<iq type='set' id='q'>{query}</iq>");
        let jid = Jid::parse("me@example.org/desk")?;
        let address = Address { session: SessionId(1), bare: jid.bare_str().into() };
        let (place, room) = (Place::default(), 1 << 20);
        let origin = Origin { address, owner: OWNER, jid: jid.clone(), place, room, h: None };
        let before = self.sent.0.load(Ordering::Relaxed);
        #[expect(clippy::disallowed_methods, reason = "this is what is measured")]
        let started = Instant::now();
        let element = Element::parse(xml.as_bytes(), &Scope::client()).map_err(|_| "XML")?;
        let mut stanza = Stanza::from_element(element).map_err(|_| "a stanza")?.ok_or("a stanza")?;
        stanza.from = Some(jid);
        let mut post = Poster::new(1);
        self.hub.stanza(&origin, Box::new(stanza), true, START_MS, &mut post);
        let completions = std::mem::take(&mut *locked(&self.commits.0));
        let mut round = completions.into_iter().map(|completion| (completion, Ok(Vec::new()))).collect();
        self.sink.committed(&mut round);
        Ok((started.elapsed().as_micros(), self.sent.0.load(Ordering::Relaxed) - before))
    }
}
