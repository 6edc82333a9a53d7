//! A few threads for work that would stall a shard (hashing passwords, ranges of the archive), behind a
//! bounded queue.
use crossbeam_channel::{Receiver, Sender, bounded};
use godwit_modules::Background;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Jobs waiting. Each is a paused connection, so this bounds how long a login waits rather than memory.
const JOBS_MAX: usize = 8192;
/// Threads, whatever the number of cores: password hashing must not starve shards and writer.
const THREADS_MAX: usize = 8;

type Job = Box<dyn FnOnce() + Send>;

/// The threads.
pub(super) struct Workers {
    jobs: Sender<Job>,
    /// Jobs that were ever queued, and of those, done with.
    queued: AtomicU64,
    finished: Arc<AtomicU64>,
}

impl Workers {
    /// Starts as many as there are cores, at most [`THREADS_MAX`].
    pub(super) fn start(cores: u32) -> io::Result<Workers> {
        let (jobs, waiting) = bounded::<Job>(JOBS_MAX);
        let threads = usize::try_from(cores).unwrap_or(1).clamp(1, THREADS_MAX);
        let finished = Arc::<AtomicU64>::default();
        for number in 0..threads {
            let (waiting, finished) = (waiting.clone(), Arc::clone(&finished));
            std::thread::Builder::new()
                .name(format!("worker-{number}"))
                .spawn(move || work(&waiting, &finished))?;
        }
        Ok(Workers { jobs, queued: AtomicU64::new(0), finished })
    }

    /// Jobs that were ever queued.
    pub(super) fn queued(&self) -> u64 {
        self.queued.load(Ordering::Acquire)
    }

    /// Of those, done with: whatever they gave to others has been given. Read before [`Workers::queued`].
    pub(super) fn finished(&self) -> u64 {
        self.finished.load(Ordering::Acquire)
    }
}

fn work(waiting: &Receiver<Job>, finished: &AtomicU64) {
    for job in waiting {
        // A panic costs the job, not the thread.
        if catch_unwind(AssertUnwindSafe(job)).is_err() {
            tracing::error!("a background job panicked");
        }
        finished.fetch_add(1, Ordering::Release);
    }
}

impl Background for Workers {
    fn run(&self, job: Job) -> bool {
        self.queued.fetch_add(1, Ordering::Release);
        let queued = self.jobs.try_send(job).is_ok();
        if !queued {
            self.finished.fetch_add(1, Ordering::Release);
        }
        queued
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_panic_costs_the_job_only() {
        let workers = Workers::start(1).expect("threads");
        assert!(workers.run(Box::new(|| panic!("on purpose"))));
        let (done, wait) = bounded(1);
        assert!(workers.run(Box::new(move || done.send(7).expect("sent"))));
        assert_eq!(wait.recv_timeout(Duration::from_secs(5)), Ok(7));
    }

    #[test]
    fn a_full_queue_says_so() {
        let workers = Workers::start(1).expect("threads");
        let (open, gate) = bounded::<()>(0);
        let ran = (0..JOBS_MAX + 2).filter(|_| {
            let gate = gate.clone();
            workers.run(Box::new(move || gate.recv().unwrap_or_default()))
        });
        let count = ran.count();
        drop(open);
        assert!((JOBS_MAX..=JOBS_MAX + 1).contains(&count), "{count}");
    }
}
