//! The service manager: readiness, status, reload, watchdog, and the sockets it opened for us.
//! The only file that names the crate `systemd`. Without systemd every call does nothing.
use std::io;
use std::net::TcpListener;
use std::time::Duration;
use systemd::daemon;

/// Longest status line, in characters.
const STATUS_CHARS_MAX: usize = 200;
/// Listening sockets taken from the service manager.
const LISTENERS_MAX: usize = 1024;

fn notify(fields: &[(&str, &str)]) {
    if let Err(error) = daemon::notify(fields.iter()) {
        tracing::warn!(%error, "cannot tell systemd");
    }
}

/// Everything runs (or a reload is done).
pub fn ready(status: &str) {
    notify(&[("READY", "1"), ("STATUS", &one_line(status))]);
}

/// A reload begins. `Type=notify-reload` wants the monotonic time, so that it can match this with its
/// request.
pub fn reloading() {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let usec = now.tv_sec * 1_000_000 + now.tv_nsec / 1_000;
    notify(&[
        ("RELOADING", "1"),
        ("MONOTONIC_USEC", &usec.to_string()),
        ("STATUS", "Reading the configuration again"),
    ]);
}

/// A stop begins.
pub fn stopping(status: &str) {
    notify(&[("STOPPING", "1"), ("STATUS", &one_line(status))]);
}

/// One line for `systemctl status`.
pub fn status(status: &str) {
    notify(&[("STATUS", &one_line(status))]);
}

/// All is well: to be said more often than [`watchdog_period`].
pub fn pet_watchdog() {
    notify(&[("WATCHDOG", "1")]);
}

/// How long the service manager waits for the next [`pet_watchdog`]; `None` if it does not.
pub fn watchdog_period() -> Option<Duration> {
    match daemon::watchdog_enabled() {
        Ok(usec) if usec > 0 => Some(Duration::from_micros(usec)),
        _ => None,
    }
}

/// Sockets by name, `FileDescriptorName=` in the socket unit.
#[derive(Debug, Default)]
pub struct Inherited {
    /// Listeners named `c2s`.
    pub c2s: Vec<TcpListener>,
    /// Listeners named `c2s_tls`.
    pub c2s_tls: Vec<TcpListener>,
}

/// The listening sockets that the service manager opened. To be called once: it takes the descriptors'
/// ownership.
pub fn listeners() -> io::Result<Inherited> {
    let mut inherited = Inherited::default();
    let passed = daemon::listen_fds_with_names()?;
    for (fd, name) in passed.iter().take(LISTENERS_MAX) {
        let name = name.to_string_lossy();
        let wrong = |e: &dyn std::fmt::Display| {
            io::Error::other(format!("socket {name:?} from systemd: {e}; it must be a listening TCP socket"))
        };
        let listener = daemon::tcp_listener(fd).map_err(|e| wrong(&e))?;
        listener.set_nonblocking(true).map_err(|e| wrong(&e))?;
        match name.as_ref() {
            "c2s" => inherited.c2s.push(listener),
            "c2s_tls" => inherited.c2s_tls.push(listener),
            _ => {
                let instead = "write FileDescriptorName=c2s or c2s_tls in the socket unit";
                return Err(io::Error::other(format!("socket from systemd named {name:?}: {instead}")));
            }
        }
    }
    Ok(inherited)
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(STATUS_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_cannot_forge_fields() {
        assert_eq!(one_line("a\nREADY=1"), "a READY=1");
        assert_eq!(one_line(&"x".repeat(500)).len(), STATUS_CHARS_MAX);
    }

    #[test]
    fn without_a_service_manager_nothing_is_inherited() {
        let inherited = listeners().expect("no descriptors");
        assert!(inherited.c2s.is_empty() && inherited.c2s_tls.is_empty());
        assert_eq!(watchdog_period(), None);
    }
}
