//! Measures the writer: `throughput [SECONDS [WINDOW [DIRECTORY]]]`. Four threads submit transactions of two
//! appends of 300 bytes, as a message between two accounts makes; each has at most WINDOW of them under way.

use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use godwit_store::{Clock, Op, Options, Outcome, Owner, Rocks, Sink, Submit, Tx};

const THREADS: usize = 4;
const VALUE_BYTES: usize = 300;
/// Clock ticks a second in `/proc`: the same on every Linux.
const TICKS: f64 = 100.0;

type UnderWay = Arc<[AtomicUsize; THREADS]>;

struct Count(UnderWay);
impl Sink<usize> for Count {
    fn committed(&mut self, round: &mut Vec<(usize, Outcome)>) {
        for (thread, outcome) in round.drain(..) {
            assert!(outcome.is_ok(), "{outcome:?}");
            self.0[thread].fetch_sub(1, Ordering::Release);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a measurement needs the real clock")]
fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Seconds of CPU of a `stat` file.
fn cpu(path: &str) -> Result<f64, Box<dyn Error>> {
    let stat = fs::read_to_string(path)?;
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks = fields.skip(11).take(2).map(str::parse::<f64>).sum::<Result<f64, _>>()?;
    Ok(ticks / TICKS)
}

/// Seconds of CPU of the writer's thread.
fn writer_cpu() -> Result<f64, Box<dyn Error>> {
    for task in fs::read_dir("/proc/self/task")? {
        let task = task?.path();
        if fs::read_to_string(task.join("comm"))?.trim() == "store-writer" {
            return cpu(&task.join("stat").display().to_string());
        }
    }
    Ok(0.0)
}

fn submit(
    writer: &impl Submit<usize>,
    under_way: &AtomicUsize,
    thread: usize,
    window: usize,
    stop: &AtomicBool,
) {
    let mut n = 0u64;
    while !stop.load(Ordering::Relaxed) {
        if under_way.load(Ordering::Acquire) >= window {
            std::thread::sleep(Duration::from_micros(200));
            continue;
        }
        n += 1;
        let owners = [n.wrapping_mul(7919) % 1000, n.wrapping_mul(104_729) % 1000];
        let ops = owners.map(|owner| Op::Append {
            owner: Owner(owner),
            index: Some(owner),
            value: vec![b'm'; VALUE_BYTES],
        });
        under_way.fetch_add(1, Ordering::Relaxed);
        if writer.submit(Tx { ops: ops.into(), ..Tx::default() }, thread).is_err() {
            under_way.fetch_sub(1, Ordering::Relaxed);
            std::thread::yield_now();
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let seconds: u64 = args.next().map_or(Ok(10), |arg| arg.parse())?;
    let window: usize = args.next().map_or(Ok(4_096), |arg| arg.parse())?;
    let path = args.next().map_or_else(|| std::env::temp_dir().join("godwit-throughput"), PathBuf::from);

    let under_way = UnderWay::default();
    let clock: Clock = Arc::new(|| u64::try_from(now().as_millis()).unwrap_or(u64::MAX));
    let sink = Box::new(Count(Arc::clone(&under_way)));
    let opened = godwit_store::open(&path, &Options::default(), clock, sink)?;
    let (stop, writer) = (AtomicBool::new(false), &*opened.writer);
    let (start, all, own) = (now(), cpu("/proc/self/stat")?, writer_cpu()?);
    std::thread::scope(|scope| {
        for (thread, mine) in under_way.iter().enumerate() {
            let stop = &stop;
            scope.spawn(move || submit(writer, mine, thread, window, stop));
        }
        std::thread::sleep(Duration::from_secs(seconds));
        stop.store(true, Ordering::Relaxed);
    });
    let (took, stats) = ((now() - start).as_secs_f64(), writer.stats());
    let (all, own) = (cpu("/proc/self/stat")? - all, writer_cpu()? - own);
    let (transactions, syncs) = (stats.transactions as f64, stats.syncs.max(1) as f64);
    println!("window {window}: {:.0} transactions/s", transactions / took);
    println!("{:.1} transactions per fsync, {:.0} fsyncs/s", transactions / syncs, syncs / took);
    println!("{:.2} ms per synced write", stats.sync_us.sum as f64 / syncs / 1000.0);
    println!(
        "{:.2} µs CPU per transaction, {:.2} in the writer",
        all / transactions * 1e6,
        own / transactions * 1e6
    );
    println!("{:.0} bytes of log per transaction", stats.bytes as f64 / transactions);
    let closing = now();
    opened.writer.close()?;
    opened.store.close()?;
    let opening = now();
    drop(Rocks::open(&path, &Options::default())?);
    let opened = now();
    println!("closed in {:?}, opened and dropped in {:?}", opening - closing, opened - opening);
    fs::remove_dir_all(&path)?;
    Ok(())
}
