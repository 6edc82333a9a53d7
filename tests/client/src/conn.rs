//! One TCP connection with TLS over it: bytes in both directions, never blocking.

use std::io::{self, Read, Write};
use std::net::SocketAddr;

use mio::net::TcpStream;
use socket2::{Domain, Socket, Type};

use crate::settings::Settings;
use crate::tls::Tls;

/// Read in one call at most, bytes.
const CHUNK: usize = 65_536;
/// Calls to read in one turn at most, so that one peer cannot hold the loop.
const READS_MAX: u32 = 16;

/// A connection; plain until TLS starts. While it is idle it has no buffer.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) sock: TcpStream,
    tls: Option<Tls>,
    /// The start of a record whose rest has not come.
    input: Vec<u8>,
    /// What the socket has not taken yet.
    out: Vec<u8>,
}

/// Buffers that all connections of a loop share.
#[derive(Debug)]
pub(crate) struct Scratch {
    chunk: Vec<u8>,
    plain: Vec<u8>,
}

impl Default for Scratch {
    fn default() -> Self {
        Self { chunk: vec![0; CHUNK], plain: Vec::new() }
    }
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
        let (input, out) = (Vec::new(), Vec::new());
        Ok(Self { sock: TcpStream::from_std(socket.into()), tls: None, input, out })
    }

    /// From here on everything goes through TLS.
    pub(crate) fn start_tls(&mut self, settings: &Settings) -> io::Result<()> {
        let tls = Tls::connect(&settings.config, &settings.domain, settings.tickets, &mut self.out);
        self.tls = Some(tls.map_err(io::Error::other)?);
        Ok(())
    }

    /// The session is up: nothing is kept that only its beginning needed.
    pub(crate) fn settle(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.settle();
        }
    }

    /// Queues bytes; each call makes a record of its own. The scenarios' windows bound what is queued.
    pub(crate) fn queue(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.tls {
            Some(tls) => tls.seal(bytes, &mut self.out).map_err(io::Error::other),
            None => {
                self.out.extend_from_slice(bytes);
                Ok(())
            }
        }
    }

    /// Writes what the socket takes.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        let mut written = 0;
        while let Some(rest) = self.out.get(written..).filter(|rest| !rest.is_empty()) {
            match self.sock.write(rest) {
                Ok(n) => written += n,
                Err(e) => {
                    self.out.drain(..written);
                    return not_yet(e);
                }
            }
        }
        self.out = Vec::new();
        Ok(())
    }

    /// Reads what is there and hands the plain bytes to `sink`.
    pub(crate) fn receive(
        &mut self,
        scratch: &mut Scratch,
        mut sink: impl FnMut(&[u8]),
    ) -> io::Result<Received> {
        for _ in 0..READS_MAX {
            let n = match self.sock.read(&mut scratch.chunk) {
                Ok(0) => return Ok(Received::Closed),
                Ok(n) => n,
                Err(e) => return not_yet(e).map(|()| Received::Drained),
            };
            let Some(chunk) = scratch.chunk.get_mut(..n) else { break };
            let Some(tls) = &mut self.tls else {
                sink(chunk);
                // What follows may be TLS already: let the login look first.
                return Ok(Received::More);
            };
            let whole = if self.input.is_empty() {
                chunk
            } else {
                self.input.extend_from_slice(chunk);
                self.input.as_mut_slice()
            };
            scratch.plain.clear();
            let took = tls.receive(whole, &mut scratch.plain, &mut self.out).map_err(io::Error::other)?;
            let rest = whole.get(took.consumed..).unwrap_or_default();
            self.input = if rest.is_empty() { Vec::new() } else { rest.to_vec() };
            sink(&scratch.plain);
            if took.closed {
                return Ok(Received::Closed);
            }
        }
        Ok(Received::More)
    }
}

/// An error that only means "later" is none.
fn not_yet(error: io::Error) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted | io::ErrorKind::NotConnected => Ok(()),
        _ => Err(error),
    }
}
