//! Listening sockets: one per shard and address, so that the kernel spreads connections over the shards
//! (SO_REUSEPORT), or those that systemd opened, shared by all shards.
//!
//! TCP_NODELAY and the keepalive options are set on the listener: Linux hands them down to each accepted
//! socket, which saves several system calls per connection.
use crate::Entry;
use godwit_session::Millis;
use socket2::{Domain, Protocol, SockAddr, Socket, TcpKeepalive, Type};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::{OwnedFd, RawFd};
use std::time::Duration;

/// Options of the sockets.
#[derive(Debug, Clone, Copy)]
pub struct ListenOptions {
    /// Connections the kernel may hold ready for accept, per listener; bounded by net.core.somaxconn.
    pub backlog: i32,
    /// TCP keepalive, if any.
    pub keepalive: Option<Keepalive>,
}
impl Default for ListenOptions {
    fn default() -> Self {
        ListenOptions { backlog: 4096, keepalive: None }
    }
}

/// TCP keepalive: a dead peer is noticed after `idle_ms + probes * interval_ms`.
#[derive(Debug, Clone, Copy)]
pub struct Keepalive {
    /// Silence before the first probe.
    pub idle_ms: Millis,
    /// Between probes.
    pub interval_ms: Millis,
    /// Unanswered probes before the connection is dead.
    pub probes: u32,
}

/// A listening socket of one shard.
#[derive(Debug)]
pub struct Listener {
    pub(crate) entry: Entry,
    pub(crate) socket: TcpListener,
}
impl Listener {
    /// The address it listens at.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// How connections come in by it.
    pub fn entry(&self) -> Entry {
        self.entry
    }
}

/// Opens one listener per shard at `address`. Port 0 gives the same free port to all. Where the box has no
/// IPv6, `[::]` means `0.0.0.0`. Fails with `AddrInUse` if another process listens there, even one that would
/// share.
pub fn bind(
    entry: Entry,
    address: SocketAddr,
    shards: usize,
    options: &ListenOptions,
) -> io::Result<Vec<Listener>> {
    match bind_all(entry, address, shards, options) {
        Err(error) if is_any_v6(address) && no_ipv6(&error) => {
            let v4 = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), address.port());
            bind_all(entry, v4, shards, options)
        }
        other => other,
    }
}

/// Uses a listening socket that this process inherited (socket activation): all shards share it.
pub fn inherited(
    entry: Entry,
    fd: OwnedFd,
    shards: usize,
    options: &ListenOptions,
) -> io::Result<Vec<Listener>> {
    let socket = Socket::from(fd);
    set_options(&socket, options)?;
    let mut listeners = Vec::with_capacity(shards);
    for _ in 0..shards {
        listeners.push(Listener { entry, socket: socket.try_clone()?.into() });
    }
    Ok(listeners)
}

/// A listening socket of the binary before this one, by its descriptor's number; the caller gives it away.
pub fn handed_over(entry: Entry, fd: RawFd) -> io::Result<Listener> {
    let socket = TcpListener::from(crate::sys::adopt_socket(fd)?);
    socket.local_addr()?;
    Ok(Listener { entry, socket })
}

fn bind_all(
    entry: Entry,
    mut at: SocketAddr,
    shards: usize,
    options: &ListenOptions,
) -> io::Result<Vec<Listener>> {
    if at.port() != 0 {
        // A socket that does not share cannot be bound beside another's listener.
        drop(open(at, false, options)?);
    }
    let mut listeners = Vec::with_capacity(shards);
    for _ in 0..shards {
        let socket = open(at, true, options)?;
        socket.listen(options.backlog)?;
        let socket: TcpListener = socket.into();
        at.set_port(socket.local_addr()?.port());
        listeners.push(Listener { entry, socket });
    }
    Ok(listeners)
}

fn open(at: SocketAddr, share: bool, options: &ListenOptions) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(at), Type::STREAM, Some(Protocol::TCP))?;
    if is_any_v6(at) {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(share)?;
    set_options(&socket, options)?;
    socket.bind(&SockAddr::from(at))?;
    Ok(socket)
}

fn set_options(socket: &Socket, options: &ListenOptions) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    if let Some(keepalive) = options.keepalive {
        let params = TcpKeepalive::new()
            .with_time(Duration::from_millis(keepalive.idle_ms))
            .with_interval(Duration::from_millis(keepalive.interval_ms))
            .with_retries(keepalive.probes);
        socket.set_tcp_keepalive(&params)?;
    }
    Ok(())
}

fn is_any_v6(address: SocketAddr) -> bool {
    matches!(address.ip(), IpAddr::V6(ip) if ip.is_unspecified())
}

fn no_ipv6(error: &io::Error) -> bool {
    error.kind() == ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(libc::EAFNOSUPPORT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    const ANY_V6: &str = "[::]:0";
    const LOOPBACK: &str = "127.0.0.1:0";

    fn listeners(address: &str, shards: usize, options: &ListenOptions) -> Vec<Listener> {
        bind(Entry::StartTls, address.parse().expect("address"), shards, options).expect("bound")
    }

    #[test]
    fn shards_share_one_port() {
        let listeners = listeners(LOOPBACK, 3, &ListenOptions::default());
        let first = listeners[0].address().expect("address");
        assert_eq!(listeners.len(), 3);
        assert!(listeners.iter().all(|each| each.address().expect("address") == first));
    }

    #[test]
    fn the_unspecified_v6_address_serves_v4_too() {
        let listeners = listeners(ANY_V6, 1, &ListenOptions::default());
        let port = listeners[0].address().expect("address").port();
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("IPv4 reaches it");
    }

    #[test]
    fn a_port_that_is_taken_is_an_error_even_if_it_could_be_shared() {
        let options = ListenOptions::default();
        let listeners = listeners(LOOPBACK, 1, &options);
        let at = listeners[0].address().expect("address");
        let error = bind(Entry::StartTls, at, 1, &options).expect_err("taken");
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
    }

    #[test]
    fn accepted_sockets_have_the_options_of_their_listener() {
        let keepalive = Keepalive { idle_ms: 70_000, interval_ms: 11_000, probes: 3 };
        let options = ListenOptions { keepalive: Some(keepalive), ..ListenOptions::default() };
        let listeners = listeners(LOOPBACK, 1, &options);
        let at = listeners[0].address().expect("address");
        let _client = TcpStream::connect(at).expect("connected");
        listeners[0].socket.set_nonblocking(false).expect("blocking");
        let (accepted, _) = listeners[0].socket.accept().expect("accepted");
        let accepted = Socket::from(accepted);
        assert!(accepted.tcp_nodelay().expect("option"));
        assert!(accepted.keepalive().expect("option"));
        assert_eq!(accepted.tcp_keepalive_time().expect("option"), Duration::from_secs(70));
        assert_eq!(accepted.tcp_keepalive_interval().expect("option"), Duration::from_secs(11));
        assert_eq!(accepted.tcp_keepalive_retries().expect("option"), 3);
    }

    #[test]
    fn an_inherited_socket_is_shared() {
        let given = TcpListener::bind(LOOPBACK).expect("bound");
        let at = given.local_addr().expect("address");
        let listeners =
            inherited(Entry::DirectTls, OwnedFd::from(given), 2, &ListenOptions::default()).expect("made");
        assert!(
            listeners
                .iter()
                .all(|each| each.address().expect("address") == at && each.entry() == Entry::DirectTls)
        );
    }
}
