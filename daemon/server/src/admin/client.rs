//! The other end of the admin socket, for `godwitctl`. Blocking.
use super::protocol::{Answer, Failure, FailureKind, Operations, REPLY_BYTES_MAX, Reply, Request};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// For a reply. Removing an account with a long history takes a while.
const REPLY_WAIT: Duration = Duration::from_secs(120);

/// A connection to a running daemon.
#[derive(Debug)]
pub struct Client {
    path: PathBuf,
    stream: Mutex<UnixStream>,
}

impl Client {
    /// Connects. `Ok(None)`: no daemon is running there.
    pub fn connect(path: &Path) -> io::Result<Option<Client>> {
        Client::connect_for(path, REPLY_WAIT)
    }

    /// The same, with a time within which each reply must come.
    pub fn connect_for(path: &Path, wait: Duration) -> io::Result<Option<Client>> {
        match UnixStream::connect(path) {
            Ok(stream) => {
                stream.set_read_timeout(Some(wait))?;
                stream.set_write_timeout(Some(wait))?;
                Ok(Some(Client { path: path.to_owned(), stream: Mutex::new(stream) }))
            }
            // A socket without listener is what kill -9 leaves.
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }

    fn exchange(&self, request: &Request) -> io::Result<Reply> {
        let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        let sent = stream.write_all(&line);
        zeroize::Zeroize::zeroize(&mut line);
        sent?;
        let mut reply = Vec::new();
        let limit = u64::try_from(REPLY_BYTES_MAX + 1).unwrap_or(u64::MAX);
        // A reader of its own is safe: nothing comes behind the reply until the next request.
        BufReader::new((&mut *stream).take(limit)).read_until(b'\n', &mut reply)?;
        if reply.last() != Some(&b'\n') {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the daemon closed the connection"));
        }
        Ok(serde_json::from_slice(&reply)?)
    }
}

impl Operations for Client {
    fn call(&self, request: Request) -> Result<Answer, Failure> {
        match self.exchange(&request) {
            Ok(Reply::Ok(answer)) => Ok(answer),
            Ok(Reply::Error(failure)) => Err(failure),
            Err(e) => {
                let message = format!("talking to the daemon at {} failed: {e}", self.path.display());
                Err(Failure::new(FailureKind::Failed, message))
            }
        }
    }
}
