//! Sockets, TLS, the mio loop.
