//! One TCP connection with TLS over it: bytes in both directions, never blocking.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use mio::net::TcpStream;
use rustls::{ClientConfig, ClientConnection};
use rustls_pki_types::ServerName;
use socket2::{Domain, Socket, Type};

use crate::settings::Settings;

/// Read in one call at most, bytes: one TLS record.
const CHUNK: usize = 16_384;
/// Calls to read in one turn at most, so that one peer cannot hold the loop.
const READS_MAX: u32 = 64;

/// A connection; plain until TLS starts.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) sock: TcpStream,
    tls: Option<Box<ClientConnection>>,
    plain: Vec<u8>,
}

/// What reading came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Received {
    /// The socket is empty for now.
    Drained,
    /// There may be more; call again.
    More,
    /// The peer closed.
    Closed,
}

impl Conn {
    /// Starts to connect.
    pub(crate) fn open(settings: &Settings, session: usize) -> io::Result<Self> {
        let addr = settings.addr;
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        if let Some(size) = settings.receive_buffer {
            socket.set_recv_buffer_size(size)?;
        }
        if let Some(source) = settings.source {
            socket.bind(&SocketAddr::new(source.address(session), 0).into())?;
        }
        match socket.connect(&addr.into()) {
            // EINPROGRESS: the loop learns of the outcome when the socket becomes writable.
            Err(e) if e.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {
                return Err(e);
            }
            _ => {}
        }
        Ok(Self { sock: TcpStream::from_std(socket.into()), tls: None, plain: Vec::new() })
    }

    /// From here on everything goes through TLS.
    pub(crate) fn start_tls(&mut self, config: &Arc<ClientConfig>, domain: &str) -> io::Result<()> {
        let name = ServerName::try_from(domain.to_owned()).map_err(io::Error::other)?;
        let mut tls = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        // The scenarios' windows bound what is queued.
        tls.set_buffer_limit(None);
        self.tls = Some(Box::new(tls));
        Ok(())
    }

    /// Queues bytes.
    pub(crate) fn queue(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.tls {
            Some(tls) => tls.writer().write_all(bytes),
            None => {
                self.plain.extend_from_slice(bytes);
                Ok(())
            }
        }
    }

    /// Writes what the socket takes.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        while !self.plain.is_empty() {
            match self.sock.write(&self.plain) {
                Ok(n) => drop(self.plain.drain(..n)),
                Err(e) => return not_yet(e),
            }
        }
        let Some(tls) = &mut self.tls else { return Ok(()) };
        while tls.wants_write() {
            match tls.write_tls(&mut self.sock) {
                Ok(_) => {}
                Err(e) => return not_yet(e),
            }
        }
        Ok(())
    }

    /// Reads what is there and hands the plain bytes to `sink`.
    pub(crate) fn receive(&mut self, mut sink: impl FnMut(&[u8])) -> io::Result<Received> {
        let mut chunk = [0; CHUNK];
        for _ in 0..READS_MAX {
            let read = match &mut self.tls {
                Some(tls) => tls.read_tls(&mut self.sock),
                None => self.sock.read(&mut chunk),
            };
            match read {
                Ok(0) => return Ok(Received::Closed),
                Ok(n) if self.tls.is_none() => {
                    sink(chunk.get(..n).unwrap_or_default());
                    // What follows may be TLS already: let the login look first.
                    return Ok(Received::More);
                }
                Ok(_) => self.decrypt(&mut chunk, &mut sink)?,
                Err(e) => return not_yet(e).map(|()| Received::Drained),
            }
        }
        Ok(Received::More)
    }

    fn decrypt(&mut self, chunk: &mut [u8], sink: &mut impl FnMut(&[u8])) -> io::Result<()> {
        let Some(tls) = &mut self.tls else { return Ok(()) };
        let state = tls.process_new_packets().map_err(io::Error::other)?;
        let mut left = state.plaintext_bytes_to_read();
        while left > 0 {
            let n = tls.reader().read(chunk)?;
            sink(chunk.get(..n).unwrap_or_default());
            left -= n;
        }
        Ok(())
    }
}

/// An error that only means "later" is none.
fn not_yet(error: io::Error) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted | io::ErrorKind::NotConnected => Ok(()),
        _ => Err(error),
    }
}
