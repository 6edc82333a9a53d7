//! A small XMPP client for load and crash tests: a sans-IO login, a TLS socket, a pool of both on mio.
//!
//! It shares no code with the daemon on purpose: a mistake made on both sides would go unseen. It scans XML
//! instead of parsing it and trusts the server to be well-formed; other tests look after that.

mod clock;
mod conn;
mod login;
mod pool;
mod rng;
mod scan;
mod scram;
mod session;
mod settings;
mod tls;
pub mod xml;

pub use clock::{micros, now};
pub use pool::{Pool, raise_descriptor_limit};
pub use rng::Rng;
pub use scan::{Item, ScanError, Scanner};
pub use session::{Client, Event, Offers, Resume};
pub use settings::{Account, Mechanism, Purpose, Settings, Source, TlsMode};
pub use tls::{TlsVersions, client_config};
