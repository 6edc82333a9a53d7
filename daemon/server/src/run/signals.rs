//! SIGHUP, SIGTERM and SIGINT, none of which is lost between two binaries.
//!
//! They are held back in every thread and read from a descriptor (`signalfd`). Held back signals stay with
//! the process over `execve`: one that was not read by then is read by the next binary. A handler would
//! take them at once, and what it has noted ends with its binary. So there is one moment from which on
//! nothing is read any more ([`Signals::leave_to_next`]), and an order to stop that was read before it is
//! seen by the upgrade.
use super::daemon::locked;
use godwit_edge::sys;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::Signal;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::mpsc::{Receiver, channel};

/// Bytes of what the kernel writes for each signal, its number first (signalfd(2)).
const RECORD_BYTES: usize = 128;
/// Signals that were read and not yet obeyed; further ones wait in the kernel, each kind once.
const WAITING_MAX: usize = 8;

/// What the daemon is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// To stop.
    Stop,
    /// To upgrade or to reload.
    HangUp,
}

/// The signals of the process.
pub(super) struct Signals {
    descriptor: OwnedFd,
    /// Held while one is read, and by whoever leaves them to the next binary.
    reading: Mutex<()>,
    stop: AtomicBool,
}

impl Signals {
    /// Holds them back from this thread and all that it starts from here on.
    pub(super) fn hold_back() -> io::Result<Arc<Signals>> {
        let descriptor = sys::hold_signals_back()?;
        Ok(Arc::new(Signals { descriptor, reading: Mutex::default(), stop: AtomicBool::new(false) }))
    }

    /// The daemon was told to stop.
    pub(super) fn told_to_stop(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// As long as this is held none is read: what comes is for the next binary. `None`: there was already an
    /// order to stop.
    pub(super) fn leave_to_next(&self) -> Option<MutexGuard<'_, ()>> {
        let reading = locked(&self.reading);
        (!self.told_to_stop()).then_some(reading)
    }

    /// Waits for the next one. It is read only while this binary may.
    fn next(&self) -> io::Result<Told> {
        loop {
            let mut ready = [PollFd::new(&self.descriptor, PollFlags::IN)];
            rustix::io::retry_on_intr(|| poll(&mut ready, None))?;
            let _reading = locked(&self.reading);
            let mut record = [0; RECORD_BYTES];
            match rustix::io::retry_on_intr(|| rustix::io::read(&self.descriptor, &mut record)) {
                Err(Errno::AGAIN) => continue,
                read => read?,
            };
            let number = record.first_chunk().map_or(0, |number| u32::from_ne_bytes(*number));
            if i32::try_from(number) == Ok(Signal::HUP.as_raw()) {
                return Ok(Told::HangUp);
            }
            self.stop.store(true, Ordering::Release);
            return Ok(Told::Stop);
        }
    }

    /// Reads them on a thread of their own, and passes them on.
    pub(super) fn listen(self: &Arc<Signals>) -> io::Result<Receiver<Told>> {
        let (tell, told) = channel(WAITING_MAX);
        let signals = Arc::clone(self);
        std::thread::Builder::new().name("signals".into()).spawn(move || {
            loop {
                match signals.next() {
                    // Nobody listens any more once the daemon has ended.
                    Ok(one) if tell.blocking_send(one).is_err() => return,
                    Ok(_) => {}
                    Err(error) => return tracing::error!(%error, "signals cannot be read any more"),
                }
            }
        })?;
        Ok(told)
    }
}

/// The next order to stop.
pub(super) async fn stop(told: &mut Receiver<Told>) -> Option<()> {
    while told.recv().await? != Told::Stop {}
    Some(())
}
