//! The admin socket: made so that only the daemon's user and root can connect, and never taken from a living
//! daemon.
//!
//! A lock file beside it (`….lock`) is held for the daemon's life. Who has the lock may remove a socket that
//! a dead daemon left; who does not get it, starts no second daemon. The socket gets its mode under a
//! temporary name and is then renamed, so that there is no moment in which others could connect.
use rustix::fs::{FlockOperation, flock};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

/// Readable and writable by its owner only; root may anyway.
const MODE: u32 = 0o600;

/// The listening socket and the lock on its place.
#[derive(Debug)]
pub struct AdminSocket {
    path: PathBuf,
    listener: UnixListener,
    /// Held until the end.
    lock: File,
}

impl AdminSocket {
    /// Makes the socket.
    pub fn bind(path: &Path) -> io::Result<AdminSocket> {
        let lock = lock(path)?;
        remove_stale(path)?;
        let temporary = beside(path, ".new");
        remove_stale(&temporary)?;
        let listener = UnixListener::bind(&temporary).map_err(|e| at(&temporary, &e))?;
        fs::set_permissions(&temporary, Permissions::from_mode(MODE)).map_err(|e| at(&temporary, &e))?;
        fs::rename(&temporary, path).map_err(|e| at(path, &e))?;
        listener.set_nonblocking(true)?;
        Ok(AdminSocket { path: path.to_owned(), listener, lock })
    }

    /// Goes on with the socket of the binary before this one, which has the lock too.
    pub fn handed_over(path: PathBuf, listener: RawFd, lock: RawFd) -> io::Result<AdminSocket> {
        let listener = UnixListener::from(godwit_edge::sys::adopt_socket(listener)?);
        let lock = File::from(godwit_edge::sys::adopt(lock)?);
        Ok(AdminSocket { path, listener, lock })
    }

    /// Path, listener and lock, to be handed over.
    pub fn parts(&self) -> io::Result<(PathBuf, UnixListener, OwnedFd)> {
        Ok((self.path.clone(), self.listener.try_clone()?, self.lock.try_clone()?.into()))
    }

    /// The listener, non-blocking.
    pub fn listener(&self) -> io::Result<UnixListener> {
        self.listener.try_clone()
    }
}

impl Drop for AdminSocket {
    fn drop(&mut self) {
        // The next start removes what stays here.
        let _ = fs::remove_file(&self.path);
    }
}

fn lock(path: &Path) -> io::Result<File> {
    let lock_path = beside(path, ".lock");
    let mut options = OpenOptions::new();
    let options = options.create(true).write(true).truncate(false).mode(MODE);
    let file = options.open(&lock_path).map_err(|e| at(&lock_path, &e))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let message =
                format!("another godwitd is running with the socket {}: stop it first", path.display());
            Err(io::Error::new(io::ErrorKind::AddrInUse, message))
        }
        Err(e) => Err(at(&lock_path, &e.into())),
    }
}

/// Removes a socket that nobody listens at; anything else at that place is somebody's file.
fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(at(path, &e)),
        Ok(found) if found.file_type().is_socket() => fs::remove_file(path).map_err(|e| at(path, &e)),
        Ok(_) => {
            let message =
                format!("{} is in the place of the admin socket and is none: move it away", path.display());
            Err(io::Error::new(io::ErrorKind::AlreadyExists, message))
        }
    }
}

fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

fn at(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestDir;
    use std::os::unix::net::UnixStream;

    #[test]
    fn only_the_owner_may_connect_and_it_goes_away() {
        let dir = TestDir::new("socket-mode");
        let path = dir.path().join("admin.sock");
        let socket = AdminSocket::bind(&path).expect("socket");
        let mode = fs::metadata(&path).expect("made").permissions().mode();
        assert_eq!(mode & 0o777, MODE);
        UnixStream::connect(&path).expect("connects");
        drop(socket);
        assert!(!path.exists());
    }

    #[test]
    fn a_living_daemon_keeps_its_socket_and_a_dead_ones_is_taken() {
        let dir = TestDir::new("socket-takeover");
        let path = dir.path().join("admin.sock");
        // A socket file whose listener is gone, as kill -9 leaves it.
        drop(UnixListener::bind(&path).expect("stale"));
        let first = AdminSocket::bind(&path).expect("takes the stale one");
        let second = AdminSocket::bind(&path).expect_err("the first one lives");
        assert_eq!(second.kind(), io::ErrorKind::AddrInUse);
        assert!(second.to_string().contains("another godwitd"), "{second}");
        UnixStream::connect(&path).expect("still the first one's");
        drop(first);
        AdminSocket::bind(&path).expect("free again");
    }

    #[test]
    fn a_file_in_its_place_is_not_removed() {
        let dir = TestDir::new("socket-file");
        let path = dir.path().join("admin.sock");
        fs::write(&path, "precious").expect("file");
        let error = AdminSocket::bind(&path).expect_err("a file is there");
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).expect("still there"), "precious");
    }
}
