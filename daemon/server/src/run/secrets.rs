//! Secrets that outlive the process, as small files in the data directory, readable by its owner only.
//!
//! `secret.key`: what made-up SCRAM keys of unknown users are derived from; if it changed at each start, an
//! attacker could tell unknown users from known ones by asking before and after. `tickets.key`: TLS session
//! ticket keys, so that clients resume their TLS sessions after a restart.
use godwit_edge::tls::TicketKeys;
use rustix::fs::{Mode, OFlags};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Longest file read, in bytes.
const BYTES_MAX: u64 = 4096;

/// The secrets' place.
#[derive(Debug, Clone)]
pub(super) struct Secrets(PathBuf);

impl Secrets {
    pub(super) fn of(data_dir: &Path) -> Secrets {
        Secrets(data_dir.to_owned())
    }

    /// The server's secret; made at the first start.
    pub(super) fn server(&self) -> io::Result<[u8; 32]> {
        if let Some(bytes) = self.read("secret.key")? {
            let wrong = || {
                io::Error::other(format!("{}: not 32 bytes; remove it", self.path("secret.key").display()))
            };
            return bytes.as_slice().try_into().map_err(|_| wrong());
        }
        let mut secret = [0; 32];
        crate::random::fill(&mut secret);
        self.write("secret.key", &secret)?;
        Ok(secret)
    }

    /// The ticket keys of the last run, if their time is not over; or fresh ones. `now` is in Unix seconds.
    pub(super) fn tickets(&self, now: u64) -> io::Result<TicketKeys> {
        let kept = self.read("tickets.key")?.and_then(|bytes| TicketKeys::from_bytes(&bytes));
        let keys = match kept {
            Some(keys) => {
                keys.rotate(now).map_err(io::Error::other)?;
                keys
            }
            None => TicketKeys::new(now).map_err(io::Error::other)?,
        };
        self.keep_tickets(&keys)?;
        Ok(keys)
    }

    /// Writes the ticket keys down, after they changed.
    pub(super) fn keep_tickets(&self, keys: &TicketKeys) -> io::Result<()> {
        self.write("tickets.key", &keys.to_bytes())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn read(&self, name: &str) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
        let file = match File::open(self.path(name)) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(io::Error::new(e.kind(), format!("{}: {e}", self.path(name).display()))),
        };
        let mut bytes = Zeroizing::new(Vec::new());
        file.take(BYTES_MAX).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    /// Whole or not at all, and durable: written beside, synced, renamed, the directory synced.
    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let path = self.path(name);
        let at = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", path.display()));
        let new = self.path(&format!("{name}.new"));
        let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::TRUNC | OFlags::CLOEXEC;
        let mut file =
            File::from(rustix::fs::open(&new, flags, Mode::RUSR | Mode::WUSR).map_err(|e| at(e.into()))?);
        file.write_all(bytes).and_then(|()| file.sync_all()).map_err(at)?;
        fs::rename(&new, &path).map_err(at)?;
        File::open(&self.0)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestDir;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn secrets_are_the_same_after_a_restart_and_private() {
        let dir = TestDir::new("secrets");
        let secrets = Secrets::of(dir.path());
        let first = secrets.server().expect("made");
        assert_eq!(secrets.server().expect("read"), first);
        let keys = secrets.tickets(1_000_000).expect("made");
        assert_eq!(secrets.tickets(1_000_060).expect("read").to_bytes(), keys.to_bytes());
        for name in ["secret.key", "tickets.key"] {
            let mode = fs::metadata(dir.path().join(name)).expect("file").permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
    }

    #[test]
    fn a_damaged_secret_is_not_replaced_silently() {
        let dir = TestDir::new("secrets-damaged");
        fs::write(dir.path().join("secret.key"), b"short").expect("written");
        assert!(Secrets::of(dir.path()).server().is_err_and(|e| e.to_string().contains("remove it")));
    }
}
