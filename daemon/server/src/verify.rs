//! Reading the whole store to see whether it is whole: in the daemon on a thread of low priority, or by
//! `godwitctl` on a store that no daemon has.
use crate::admin::protocol::{Failure, FailureKind, Verified, Verifying};
use godwit_modules::archive::ArchiveSettings;
use godwit_modules::examination::Examination;
use godwit_store::{Cf, Read, Rocks, Sample, Seq};
use rustix::fs::{FlockOperation, fcntl_lock};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// Niceness of the daemon's thread: it gets what the others leave.
const NICE: i32 = 19;
/// The daemon's thread pauses after so many rows, for the disk's sake.
const ROWS_BETWEEN_PAUSES: u64 = 10_000;
const PAUSE: Duration = Duration::from_millis(10);
/// Damaged places in a report; all are counted.
const DAMAGE_MAX: usize = 100;

/// What expires while a verification runs may be gone in the middle of it.
const EXPIRY_MARGIN_MS: u64 = 86_400_000;

/// RocksDB's own lock, so that no daemon starts meanwhile and removes files that are being read. A store that
/// has none was never open.
pub(crate) fn lock(path: &Path) -> Result<Option<File>, String> {
    let Ok(file) = OpenOptions::new().read(true).write(true).open(path) else { return Ok(None) };
    match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(_) => Err(format!(
            "another process has the store open ({}) and does not answer: if it is a godwitd with another \
             admin.socket, name that with --socket; if it is another godwitctl, wait for it",
            path.display()
        )),
    }
}

/// From where on archives are whole, if messages expire.
pub(crate) fn whole_from(archive: &ArchiveSettings, now_ms: u64) -> Seq {
    Seq(archive.oldest(now_ms.saturating_add(EXPIRY_MARGIN_MS)))
}

/// Reads a store and judges it; archives from `oldest` on. `progress` hears the number of rows at each one.
pub(crate) fn verify(store: &Rocks, oldest: Seq, progress: &mut dyn FnMut(u64)) -> Verified {
    let mut examination = Examination::new(oldest, store.head());
    let mut rows: BTreeMap<String, u64> = Cf::ALL.iter().map(|cf| (cf.name().to_owned(), 0)).collect();
    let mut count = 0;
    let damage = store.examine(&mut |cf, key, value| {
        count += 1;
        if let Some(of_family) = rows.get_mut(cf.name()) {
            *of_family += 1;
        }
        examination.row(cf, key, value);
        progress(count);
        ControlFlow::Continue(())
    });
    let mut damage: Vec<String> = damage.iter().map(ToString::to_string).collect();
    let found = examination.finish(store, damage.is_empty()).unwrap_or_else(|error| {
        damage.push(error.to_string());
        godwit_modules::examination::Findings::default()
    });
    let damaged = damage.len() as u64;
    damage.truncate(DAMAGE_MAX);
    Verified { rows, damage, damaged, findings: found.texts, found: found.count }
}

/// What a sample reads of each of the families: some thousand rows in all.
const SAMPLE: Sample = Sample { stretches: 8, rows: 64 };

/// Reads a small part of a store, at random places. Rows must be readable and make sense by themselves; that
/// they belong together is not looked at.
pub(crate) fn sample(store: &Rocks) -> Verified {
    let mut examination = Examination::new(Seq(0), store.head());
    let mut rows: BTreeMap<String, u64> = Cf::ALL.iter().map(|cf| (cf.name().to_owned(), 0)).collect();
    let mut random = || {
        let mut bytes = [0; 8];
        crate::random::fill(&mut bytes);
        u64::from_le_bytes(bytes)
    };
    let damage = store.sample(SAMPLE, &mut random, &mut |cf, key, value| {
        if let Some(of_family) = rows.get_mut(cf.name()) {
            *of_family += 1;
        }
        examination.row(cf, key, value);
        ControlFlow::Continue(())
    });
    let mut damage: Vec<String> = damage.iter().map(ToString::to_string).collect();
    // Stretches overlap, and so does what they find.
    damage.dedup();
    let (damaged, found) = (damage.len() as u64, examination.of_sample());
    damage.truncate(DAMAGE_MAX);
    Verified { rows, damage, damaged, findings: found.texts, found: found.count }
}

/// The daemon's verification: one at a time, its result kept until the next one.
#[derive(Debug, Default)]
pub(crate) struct Verification(Mutex<Option<Arc<Job>>>);

#[derive(Debug, Default)]
struct Job {
    rows: AtomicU64,
    done: OnceLock<Verified>,
}

impl Verification {
    /// Starts one, unless one is under way.
    pub(crate) fn start(&self, store: Arc<Rocks>, oldest: Seq) -> Result<Verifying, Failure> {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(job) = slot.as_ref().filter(|job| job.done.get().is_none()) {
            return Ok(state(job));
        }
        let job = Arc::new(Job::default());
        let mine = Arc::clone(&job);
        let thread = std::thread::Builder::new().name("verify".into()).spawn(move || {
            work(&mine, &store, oldest);
        });
        thread.map_err(|e| Failure::new(FailureKind::Failed, format!("no thread for it: {e}")))?;
        let begun = state(&job);
        *slot = Some(job);
        Ok(begun)
    }

    /// How far it is.
    pub(crate) fn look(&self) -> Result<Verifying, Failure> {
        let slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let none = || Failure::new(FailureKind::Request, "no verification was started");
        slot.as_ref().map(|job| state(job)).ok_or_else(none)
    }
}

fn state(job: &Job) -> Verifying {
    Verifying { rows: job.rows.load(Ordering::Relaxed), done: job.done.get().cloned() }
}

fn work(job: &Job, store: &Rocks, oldest: Seq) {
    // Without it the thread is as important as the others, which costs latency and nothing else.
    let _ = rustix::process::nice(NICE);
    tracing::info!("verifying the store");
    let verified = verify(store, oldest, &mut |rows| {
        job.rows.store(rows, Ordering::Relaxed);
        if rows % ROWS_BETWEEN_PAUSES == 0 {
            std::thread::sleep(PAUSE);
        }
    });
    let (rows, damaged, found) = (verified.count(), verified.damaged, verified.found);
    if verified.is_good() {
        tracing::info!(rows, "the store is whole");
    } else {
        tracing::error!(rows, damaged, found, "the store is DAMAGED");
        verified.lines().for_each(|line| tracing::error!("{line}"));
    }
    // Nobody else sets it.
    let _ = job.done.set(verified);
}
