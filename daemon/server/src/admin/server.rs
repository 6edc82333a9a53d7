//! The daemon's end of the admin socket: reads a request line, has it carried out off the runtime's threads,
//! writes the reply line. A client may send several requests, one after the other.
use super::protocol::{Failure, FailureKind, Operations, REPLY_BYTES_MAX, REQUEST_BYTES_MAX, Reply, Request};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, TryAcquireError};
use tokio::time::{sleep, timeout};

/// Clients at once.
const CLIENTS_MAX: usize = 16;
/// For a request to come, and for a reply to be taken.
const LINE_WAIT: Duration = Duration::from_secs(30);
/// After accept failed for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// Serves clients until it is dropped.
pub async fn serve(listener: UnixListener, operations: Arc<dyn Operations>) {
    let places = Arc::new(Semaphore::new(CLIENTS_MAX));
    loop {
        match listener.accept().await {
            Ok((client, _)) => match Arc::clone(&places).try_acquire_owned() {
                Ok(place) => {
                    let operations = Arc::clone(&operations);
                    tokio::spawn(async move {
                        if let Err(error) = client_turns(client, operations).await {
                            tracing::debug!(%error, "an admin client went away");
                        }
                        drop(place);
                    });
                }
                Err(TryAcquireError::NoPermits | TryAcquireError::Closed) => {
                    tracing::warn!("more than {CLIENTS_MAX} admin clients at once; one was turned away");
                }
            },
            Err(error) => {
                tracing::warn!(%error, "cannot accept an admin client");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn client_turns(client: UnixStream, operations: Arc<dyn Operations>) -> io::Result<()> {
    if !may_administer(&client)? {
        tracing::warn!("an admin client of another user was turned away");
        return Ok(());
    }
    let (input, mut output) = client.into_split();
    let mut input = BufReader::new(input);
    let mut line = Vec::new();
    loop {
        line.clear();
        let limit = u64::try_from(REQUEST_BYTES_MAX).unwrap_or(u64::MAX);
        let mut bounded = (&mut input).take(limit);
        if timeout(LINE_WAIT, bounded.read_until(b'\n', &mut line)).await?? == 0 {
            return Ok(());
        }
        let whole = line.last() == Some(&b'\n');
        let reply = if whole { answer(&line, &operations).await } else { too_long() };
        let mut text = serde_json::to_vec(&reply)?;
        if text.len() > REPLY_BYTES_MAX {
            let failure = Failure::new(FailureKind::Failed, "the reply is too long to be sent");
            text = serde_json::to_vec(&Reply::Error(failure))?;
        }
        text.push(b'\n');
        timeout(LINE_WAIT, output.write_all(&text)).await??;
        // The rest of a line that is too long is no request.
        if !whole {
            return Ok(());
        }
    }
}

/// The socket's mode says the same; this holds even if somebody changed that.
fn may_administer(client: &UnixStream) -> io::Result<bool> {
    let peer = client.peer_cred()?.uid();
    Ok(peer == 0 || peer == rustix::process::geteuid().as_raw())
}

fn too_long() -> Reply {
    let message = format!("a request is one line of at most {REQUEST_BYTES_MAX} bytes");
    Reply::Error(Failure::new(FailureKind::Request, message))
}

async fn answer(line: &[u8], operations: &Arc<dyn Operations>) -> Reply {
    let request: Request = match serde_json::from_slice(line) {
        Ok(request) => request,
        Err(e) => return Reply::Error(Failure::new(FailureKind::Request, format!("not a request: {e}"))),
    };
    let operations = Arc::clone(operations);
    // Hashing a password takes milliseconds, a write may wait for the disk.
    match tokio::task::spawn_blocking(move || operations.call(request)).await {
        Ok(Ok(answer)) => Reply::Ok(answer),
        Ok(Err(failure)) => Reply::Error(failure),
        Err(_) => {
            Reply::Error(Failure::new(FailureKind::Failed, "the request made a thread panic; see the log"))
        }
    }
}
