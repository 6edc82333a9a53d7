//! A client's first steps at a listener, up to the end of the TLS handshake (RFC 6120 §5, XEP-0368).
use godwit_edge::tls::{Peer, probe};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// For the connection, and for each answer.
const WAIT: Duration = Duration::from_secs(3);
/// Bytes within which each answer must have come.
const ANSWER_BYTES_MAX: usize = 16 << 10;

/// Connects and shakes hands.
///
/// # Errors
/// In words: what was not done, and why.
pub(super) fn dial(address: SocketAddr, direct_tls: bool, domain: &str) -> Result<Peer, (Step, String)> {
    let failed = |step| move |error: io::Error| (step, error.to_string());
    let mut stream = connect(address).map_err(failed(Step::Connect))?;
    if !direct_tls {
        let head = format!(
            "<?xml version='1.0'?><stream:stream to='{domain}' version='1.0' xmlns='jabber:client' \
             xmlns:stream='http://etherx.jabber.org/streams'>"
        );
        exchange(&mut stream, &head, "</stream:features>").map_err(failed(Step::Stream))?;
        let start = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";
        exchange(&mut stream, start, "<proceed").map_err(failed(Step::Stream))?;
    }
    probe(&mut stream, domain).map_err(failed(Step::Tls))
}

/// How far it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Nobody accepts.
    Connect,
    /// Whoever accepts does not speak XMPP.
    Stream,
    /// No handshake.
    Tls,
}

/// Only connects. An address that stands for all of the machine's is reached by the loopback.
pub(super) fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    let at = |ip| TcpStream::connect_timeout(&SocketAddr::new(ip, address.port()), WAIT);
    // Where the box has no IPv6, `[::]` means `0.0.0.0`.
    let stream = at(ip).or_else(|error| match address.ip() {
        IpAddr::V6(ip) if ip.is_unspecified() => at(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        _ => Err(error),
    })?;
    stream.set_read_timeout(Some(WAIT))?;
    stream.set_write_timeout(Some(WAIT))?;
    Ok(stream)
}

/// Sends, and reads until the answer holds what it has to.
fn exchange(stream: &mut TcpStream, say: &str, until: &str) -> io::Result<()> {
    stream.write_all(say.as_bytes())?;
    let (mut heard, mut chunk) = (Vec::new(), [0; 1024]);
    while heard.len() < ANSWER_BYTES_MAX {
        let n = stream.read(&mut chunk)?;
        heard.extend_from_slice(chunk.get(..n).unwrap_or_default());
        let text = String::from_utf8_lossy(&heard);
        if text.contains(until) {
            return Ok(());
        }
        if n == 0 {
            break;
        }
    }
    Err(io::Error::other(format!("no {until} came")))
}
