//! `godwit-tls-pipe`: a TLS client that is rustls's own from the first byte to the last, for tests in
//! Python.
//!
//! Standard input is a connected TCP socket, standard output a stream socket to the test. What comes from
//! there are frames, a kind, the length of what follows (4 bytes, big-endian), and that: `d` data to send,
//! `k` change the keys and ask the server to do the same (TLS 1.3), `c` `close_notify`. What goes there is
//! plaintext.
//!
//! `godwit-tls-pipe SERVER-NAME 1.2|1.3 RECORD-BYTES-MAX` ends with 0 after the server's `close_notify`,
//! with 1 and a reason if anything else ends the connection.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use godwit_testclient::{TlsVersions, client_config};
use rustls::ClientConnection;
use rustls_pki_types::ServerName;

/// Longest frame that is believed, in bytes.
const FRAME_BYTES_MAX: usize = 16 << 20;

/// The connection and the socket that its records go to.
struct Pipe {
    tls: ClientConnection,
    socket: TcpStream,
}

impl Pipe {
    fn flush(&mut self) -> io::Result<()> {
        while self.tls.wants_write() {
            self.tls.write_tls(&mut self.socket)?;
        }
        Ok(())
    }

    fn frame(&mut self, kind: u8, data: &[u8]) -> io::Result<()> {
        match kind {
            b'd' => self.tls.writer().write_all(data)?,
            b'k' => self.tls.refresh_traffic_keys().map_err(io::Error::other)?,
            b'c' => self.tls.send_close_notify(),
            _ => return Err(io::Error::other(format!("a frame of kind {kind}"))),
        }
        self.flush()
    }

    /// Takes bytes from the network; plaintext goes to `out`. True: the server's `close_notify` is there.
    fn received(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> io::Result<bool> {
        let mut closed = false;
        while !bytes.is_empty() {
            self.tls.read_tls(&mut bytes)?;
            closed = self.tls.process_new_packets().map_err(io::Error::other)?.peer_has_closed();
            match self.tls.reader().read_to_end(out) {
                Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
                _ => {}
            }
        }
        self.flush()?;
        Ok(closed)
    }
}

/// What the test says goes out, until it hangs up.
fn obey(mut test: &UnixStream, pipe: &Mutex<Pipe>) -> io::Result<()> {
    loop {
        let mut head = [0; 5];
        match test.read_exact(&mut head) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(()),
            other => other?,
        }
        let [kind, length @ ..] = head;
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if length > FRAME_BYTES_MAX {
            return Err(io::Error::other("a frame too long"));
        }
        let mut data = vec![0; length];
        test.read_exact(&mut data)?;
        pipe.lock().unwrap_or_else(PoisonError::into_inner).frame(kind, &data)?;
    }
}

fn connection(arguments: &[String]) -> Result<ClientConnection, Box<dyn std::error::Error>> {
    let [name, version, record_bytes_max] = arguments else {
        return Err("usage: godwit-tls-pipe SERVER-NAME 1.2|1.3 RECORD-BYTES-MAX".into());
    };
    let versions = if version == "1.2" { TlsVersions::Tls12 } else { TlsVersions::Tls13 };
    let mut config = Arc::unwrap_or_clone(client_config(versions, true, false)?);
    // The library counts the record's five bytes of header.
    config.max_fragment_size = Some(record_bytes_max.parse::<usize>()? + 5);
    Ok(ClientConnection::new(Arc::new(config), ServerName::try_from(name.clone())?)?)
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let tls = connection(&std::env::args().skip(1).collect::<Vec<_>>())?;
    let mut socket = TcpStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let test = UnixStream::from(io::stdout().as_fd().try_clone_to_owned()?);
    let pipe = Arc::new(Mutex::new(Pipe { tls, socket: socket.try_clone()? }));
    pipe.lock().unwrap_or_else(PoisonError::into_inner).flush()?;
    let (obeying, obeyed, closing) = (Arc::clone(&pipe), test.try_clone()?, socket.try_clone()?);
    thread::spawn(move || {
        if let Err(error) = obey(&obeyed, &obeying) {
            eprintln!("godwit-tls-pipe: {error}");
        }
        // The test has hung up: nobody waits for what comes.
        let _ = closing.shutdown(Shutdown::Both);
    });
    let mut chunk = vec![0; 65_536];
    loop {
        let n = socket.read(&mut chunk)?;
        let got = chunk.get(..n).filter(|got| !got.is_empty());
        let got = got.ok_or("the server closed without close_notify")?;
        let mut plain = Vec::new();
        let closed = pipe.lock().unwrap_or_else(PoisonError::into_inner).received(got, &mut plain)?;
        (&test).write_all(&plain)?;
        if closed {
            return Ok(());
        }
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("godwit-tls-pipe: {error}");
            ExitCode::FAILURE
        }
    }
}
