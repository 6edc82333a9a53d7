//! Counts the server's system calls with `perf stat`, where it is installed and the kernel permits.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

const EVENT: &str = "raw_syscalls:sys_enter";
/// perf prints the number that often, ms.
const INTERVAL: u32 = 200;
/// How long perf may take to say that it cannot count.
const STARTING: Duration = Duration::from_millis(500);

/// A running count.
#[derive(Debug)]
pub(crate) struct Syscalls {
    child: Option<Child>,
    sum: Arc<AtomicU64>,
    /// Why nothing is counted.
    pub(crate) unmeasured: Option<String>,
}

impl Syscalls {
    /// Starts to count if asked to.
    pub(crate) fn start(wanted: bool, pids: &[u32]) -> Self {
        let mut this = Self { child: None, sum: Arc::default(), unmeasured: None };
        if !wanted || pids.is_empty() {
            this.unmeasured = Some("not asked for (--syscalls with --server-pid)".into());
            return this;
        }
        let list = pids.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let spawned = Command::new("perf")
            .args(["stat", "-x", ",", "-I", &INTERVAL.to_string(), "-e", EVENT, "-p", &list])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        match spawned {
            Ok(mut child) => {
                let output = child.stderr.take();
                let sum = Arc::clone(&this.sum);
                std::thread::spawn(move || {
                    for line in
                        output.into_iter().flat_map(|o| BufReader::new(o).lines()).map_while(Result::ok)
                    {
                        sum.fetch_add(counted(&line).unwrap_or(0), Ordering::Relaxed);
                    }
                });
                std::thread::sleep(STARTING);
                match child.try_wait() {
                    Ok(None) => this.child = Some(child),
                    _ => this.unmeasured = Some("perf stat could not count system calls here".into()),
                }
            }
            Err(error) => this.unmeasured = Some(format!("perf could not be started: {error}")),
        }
        this
    }

    /// System calls so far; `None` if they are not counted.
    pub(crate) fn so_far(&self) -> Option<u64> {
        self.child.as_ref().map(|_| self.sum.load(Ordering::Relaxed))
    }
}

impl Drop for Syscalls {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
                // It may have ended with the server.
                let _ = kill_process(pid, Signal::INT);
            }
            let _ = child.wait();
        }
    }
}

/// `TIME,COUNT,,raw_syscalls:sys_enter,…`
fn counted(line: &str) -> Option<u64> {
    line.contains(EVENT).then(|| line.split(',').nth(1)?.trim().parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::counted;

    #[test]
    fn perfs_lines_are_read() {
        let line = "     0.200412345,1234,,raw_syscalls:sys_enter,200123456,100.00,,";
        assert_eq!(counted(line), Some(1234));
        assert_eq!(counted("0.2,<not counted>,,raw_syscalls:sys_enter,0,100.00,,"), None);
        assert_eq!(counted("# started"), None);
    }
}
