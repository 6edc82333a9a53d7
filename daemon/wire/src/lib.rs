//! XMPP on the wire: bytes to stanzas and back. No I/O, no clock, no tokio, no rocksdb.
#![forbid(unsafe_code)]

pub mod element;
pub mod error;
pub mod framer;
mod header;
pub mod jid;
pub mod limits;
pub mod ns;
mod parse;
pub mod rendered;
mod scope;
pub mod stanza;
pub mod writer;

pub use element::{Element, Header, Node, ParseError, Scope};
pub use error::{Condition, ErrorType, StanzaError, StreamCondition, StreamError};
pub use framer::{FrameKind, Framer, Scan};
pub use jid::{Jid, JidError};
pub use limits::Limits;
pub use stanza::{IqType, Kind, MessageType, PresenceType, Stanza};
pub use writer::Writer;
