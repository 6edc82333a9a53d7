//! Asks another program, for a few seconds at most.
use super::run::monotonic;
use std::io::{ErrorKind, Read};
use std::process::{Command, Stdio};
use std::time::Duration;

const WAIT: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(10);
/// Longest output that is read, in bytes: what `systemd-analyze security` prints has about 12,000.
const OUTPUT_BYTES_MAX: u64 = 256 << 10;

/// What it prints, or why there is nothing.
pub(super) fn output(program: &str, arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new(program);
    command.args(arguments).env("LC_ALL", "C.UTF-8").env("SYSTEMD_COLORS", "0");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(|error| match error.kind() {
        ErrorKind::NotFound => format!("{program} is not installed"),
        _ => format!("{program}: {error}"),
    })?;
    let out = child.stdout.take();
    let reader = std::thread::spawn(move || {
        let mut text = Vec::new();
        if let Some(out) = out {
            // What could be read is what there is.
            let _ = out.take(OUTPUT_BYTES_MAX).read_to_end(&mut text);
        }
        String::from_utf8_lossy(&text).into_owned()
    });
    let end = monotonic() + WAIT;
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(reader.join().unwrap_or_default()),
            Ok(Some(status)) => return Err(format!("{program} failed ({status})")),
            Ok(None) if monotonic() < end => std::thread::sleep(LOOK),
            Ok(None) => {
                // It may have ended just now.
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("{program} did not answer within {} s", WAIT.as_secs()));
            }
            Err(error) => return Err(format!("{program}: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_prints_is_read_and_its_absence_said() {
        assert_eq!(output("echo", &["a b"]), Ok("a b\n".into()));
        assert!(output("false", &[]).is_err_and(|why| why.starts_with("false failed")));
        assert_eq!(output("no-such-program", &[]), Err("no-such-program is not installed".into()));
    }
}
