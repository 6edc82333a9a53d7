//! One client: a connection, its login, and after it the counters of stream management (XEP-0198).

use std::io;

use crate::conn::{Conn, Received, Scratch};
use crate::login::{Login, Online, Step};
use crate::scan::{Item, Scanner};
use crate::settings::{Account, Purpose, Settings, TlsMode};
use crate::xml;

/// What is needed to resume a session on another connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resume {
    /// The server's identifier.
    pub id: String,
    /// Stanzas received so far: our `h`.
    pub received: u32,
    /// Stanzas sent so far.
    pub sent: u32,
}

/// What the server offered after authentication.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Offers {
    /// Stream management (XEP-0198).
    pub sm: bool,
    /// Client state indication (XEP-0352).
    pub csi: bool,
}

/// What a client has to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Connected for registration.
    Features,
    /// The session is up.
    Online {
        /// Our full JID; empty after a resumption.
        jid: String,
        /// The server's `h` if the old session was resumed.
        resumed: Option<u32>,
        /// The server's `h` if it refused to resume but still knew the count.
        refused: Option<u32>,
    },
    /// A message, presence or iq.
    Stanza(String),
    /// The server has taken responsibility for this many of our stanzas.
    Ack(u32),
    /// We told the server that we have this many of its stanzas.
    Acked(u32),
    /// The connection is gone; the client with it.
    Closed(String),
}

/// One client.
#[derive(Debug)]
pub struct Client {
    pub(crate) conn: Conn,
    login: Option<Box<Login>>,
    scanner: Scanner,
    sm: bool,
    offers: Offers,
    sm_id: Option<String>,
    /// Stanzas sent since stream management began.
    sent: u32,
    /// Stanzas received since stream management began.
    received: u32,
}

impl Client {
    /// Starts to connect and log in. The session's number chooses the source address.
    ///
    /// # Errors
    /// When there is no descriptor or port left, or the address is refused at once.
    pub fn connect(
        settings: &Settings,
        account: &Account,
        purpose: Purpose,
        resume: Option<Resume>,
        session: usize,
    ) -> io::Result<Self> {
        let mut conn = Conn::open(settings, session)?;
        if settings.tls == TlsMode::Direct {
            conn.start_tls(settings)?;
        }
        conn.queue(Login::header(settings).as_bytes())?;
        let (sent, received) = resume.as_ref().map_or((0, 0), |r| (r.sent, r.received));
        let login = Some(Box::new(Login::new(account.clone(), purpose, resume, settings.tls)));
        Ok(Self {
            conn,
            login,
            scanner: Scanner::default(),
            sm: false,
            offers: Offers::default(),
            sm_id: None,
            sent,
            received,
        })
    }

    /// Sends one stanza and returns its number in the SM session, from 1.
    ///
    /// # Errors
    /// When TLS cannot take it.
    pub fn send(&mut self, stanza: &str) -> io::Result<u32> {
        self.conn.queue(stanza.as_bytes())?;
        self.sent = self.sent.wrapping_add(1);
        Ok(self.sent)
    }

    /// Sends what stream management does not count.
    ///
    /// # Errors
    /// When TLS cannot take it.
    pub fn send_uncounted(&mut self, text: &str) -> io::Result<()> {
        self.conn.queue(text.as_bytes())
    }

    /// Asks for an acknowledgement.
    ///
    /// # Errors
    /// When TLS cannot take it.
    pub fn request_ack(&mut self) -> io::Result<()> {
        self.send_uncounted("<r xmlns='urn:xmpp:sm:3'/>")
    }

    /// What to resume this session with, if the server allows it.
    #[must_use]
    pub fn resume(&self) -> Option<Resume> {
        let id = self.sm_id.clone()?;
        Some(Resume { id, received: self.received, sent: self.sent })
    }

    /// Stanzas received since stream management began.
    #[must_use]
    pub fn received(&self) -> u32 {
        self.received
    }

    /// What the server offered after authentication.
    #[must_use]
    pub fn offers(&self) -> Offers {
        self.offers
    }

    /// True once the session is up.
    #[must_use]
    pub fn is_online(&self) -> bool {
        self.login.is_none()
    }

    /// Reads until the socket is empty; true if it is not yet.
    pub(crate) fn read(
        &mut self,
        settings: &Settings,
        scratch: &mut Scratch,
        events: &mut Vec<Event>,
    ) -> Result<bool, String> {
        let scanner = &mut self.scanner;
        let received = self.conn.receive(scratch, |bytes| scanner.feed(bytes)).map_err(|e| e.to_string())?;
        while let Some(item) = self.scanner.next_item().map_err(|e| e.to_string())? {
            self.item(item, settings, events)?;
        }
        match received {
            Received::Closed => Err("the server closed the connection".into()),
            other => Ok(other == Received::More),
        }
    }

    fn item(&mut self, item: Item, settings: &Settings, events: &mut Vec<Event>) -> Result<(), String> {
        if let Some(mut login) = self.login.take() {
            let step = login.item(&item, settings)?;
            self.login = Some(login);
            return self.step(step, settings, events).map_err(|e| e.to_string());
        }
        match item {
            Item::Element(element) => self.element(element, events),
            Item::Close => Err("the server closed the stream".into()),
            Item::Open(_) => Err("a stream header in the stream".into()),
        }
    }

    fn step(&mut self, step: Step, settings: &Settings, events: &mut Vec<Event>) -> io::Result<()> {
        match step {
            Step::Wait => Ok(()),
            Step::Send(text) => self.conn.queue(text.as_bytes()),
            Step::StartTls => {
                self.conn.start_tls(settings)?;
                self.restart(settings)
            }
            Step::Restart => self.restart(settings),
            Step::Features => {
                self.login = None;
                events.push(Event::Features);
                Ok(())
            }
            Step::Online(online) => {
                self.online(online, events);
                Ok(())
            }
        }
    }

    fn restart(&mut self, settings: &Settings) -> io::Result<()> {
        self.scanner.restart();
        self.conn.queue(Login::header(settings).as_bytes())
    }

    fn online(&mut self, online: Online, events: &mut Vec<Event>) {
        self.offers = self.login.take().map(|login| login.offers()).unwrap_or_default();
        self.conn.settle();
        self.sm = online.sm;
        self.sm_id = online.sm_id;
        if online.resumed.is_none() {
            (self.sent, self.received) = (0, 0);
        }
        events.push(Event::Online { jid: online.jid, resumed: online.resumed, refused: online.refused });
    }

    fn element(&mut self, element: String, events: &mut Vec<Event>) -> Result<(), String> {
        match xml::name(&element) {
            "r" => self.acknowledge(events)?,
            "a" => {
                let h = xml::attr(&element, "h").and_then(|h| h.parse().ok());
                events.push(Event::Ack(h.ok_or_else(|| format!("no h: {element}"))?));
            }
            "message" | "presence" | "iq" => {
                self.received = self.received.wrapping_add(1);
                events.push(Event::Stanza(element));
            }
            _ => return Err(format!("unexpected: {element}")),
        }
        Ok(())
    }

    fn acknowledge(&mut self, events: &mut Vec<Event>) -> Result<(), String> {
        let answer = format!("<a xmlns='urn:xmpp:sm:3' h='{}'/>", self.received);
        self.conn.queue(answer.as_bytes()).map_err(|e| e.to_string())?;
        events.push(Event::Acked(self.received));
        Ok(())
    }

    /// Acknowledges unasked what was received so far, if stream management is on.
    ///
    /// # Errors
    /// When TLS cannot take it.
    pub fn acknowledge_now(&mut self, events: &mut Vec<Event>) -> Result<(), String> {
        if self.sm { self.acknowledge(events) } else { Ok(()) }
    }
}
