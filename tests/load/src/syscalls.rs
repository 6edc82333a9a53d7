//! Counts the server's system calls with `perf stat`, where the kernel permits.

use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// A running count.
pub(crate) struct Syscalls(Option<Child>);

impl Syscalls {
    /// Starts to count if asked to.
    pub(crate) fn start(wanted: bool, pid: Option<u32>) -> Self {
        let child = pid.filter(|_| wanted).and_then(|pid| {
            let event = "raw_syscalls:sys_enter";
            Command::new("perf")
                .args(["stat", "-x", ",", "-e", event, "-p", &pid.to_string()])
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .ok()
        });
        Self(child)
    }

    /// Stops and returns the number; `None` if nothing could be counted.
    pub(crate) fn stop(self) -> Option<u64> {
        let child = self.0?;
        let pid = Pid::from_raw(i32::try_from(child.id()).ok()?)?;
        kill_process(pid, Signal::INT).ok()?;
        let output = child.wait_with_output().ok()?;
        let text = String::from_utf8_lossy(&output.stderr);
        text.lines().find(|l| l.contains("sys_enter")).and_then(|l| l.split(',').next()?.parse().ok())
    }
}
