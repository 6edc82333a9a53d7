//! The way from the stream header to a bound session, sans-IO: items in, steps out.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::scan::Item;
use crate::scram::{Hash, Scram};
use crate::session::{Offers, Resume};
use crate::settings::{Account, Mechanism, Purpose, Settings, TlsMode};
use crate::xml;

const NS_SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
const NS_SM: &str = "urn:xmpp:sm:3";
const NS_CSI: &str = "urn:xmpp:csi:0";
const NS_TLS: &str = "urn:ietf:params:xml:ns:xmpp-tls";

/// What the connection does next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Wait for more.
    Wait,
    /// Send this.
    Send(String),
    /// Start TLS, then send a new stream header.
    StartTls,
    /// Send a new stream header.
    Restart,
    /// Registration may begin.
    Features,
    /// The session is up.
    Online(Online),
}

/// How the session came up.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Online {
    /// Our full JID; empty after a resumption.
    pub(crate) jid: String,
    /// The SM identifier to resume with.
    pub(crate) sm_id: Option<String>,
    /// True if stream management counts from here.
    pub(crate) sm: bool,
    /// The server's `h` of a resumption.
    pub(crate) resumed: Option<u32>,
    /// The server's `h` in a refusal to resume, if it knew one.
    pub(crate) refused: Option<u32>,
}

#[derive(Debug)]
enum State {
    Header,
    Features,
    StartTls,
    Scram(Box<Scram>),
    Plain,
    Resume,
    Bind,
    Enable,
    Done,
}

/// One login.
#[derive(Debug)]
pub(crate) struct Login {
    account: Account,
    purpose: Purpose,
    resume: Option<Resume>,
    secure: bool,
    authenticated: bool,
    offers: Offers,
    state: State,
    online: Online,
}

impl Login {
    pub(crate) fn new(account: Account, purpose: Purpose, resume: Option<Resume>, tls: TlsMode) -> Self {
        Self {
            account,
            purpose,
            resume,
            secure: tls != TlsMode::StartTls,
            authenticated: false,
            offers: Offers::default(),
            state: State::Header,
            online: Online::default(),
        }
    }

    /// What the features said after authentication.
    pub(crate) fn offers(&self) -> Offers {
        self.offers
    }

    /// The stream header.
    pub(crate) fn header(settings: &Settings) -> String {
        format!(
            "<?xml version='1.0'?><stream:stream to='{}' version='1.0' xmlns='jabber:client' \
             xmlns:stream='http://etherx.jabber.org/streams'>",
            xml::escape(&settings.domain)
        )
    }

    /// Takes one item.
    pub(crate) fn item(&mut self, item: &Item, settings: &Settings) -> Result<Step, String> {
        let element = match item {
            Item::Close => return Err("the server closed the stream".into()),
            Item::Open(_) => {
                self.state = State::Features;
                return Ok(Step::Wait);
            }
            Item::Element(element) => element.as_str(),
        };
        if xml::name(element) == "stream:error" {
            return Err(format!("stream error: {element}"));
        }
        match std::mem::replace(&mut self.state, State::Done) {
            State::Features => self.features(element, settings),
            State::StartTls => self.proceed(element),
            State::Scram(scram) => self.scram(scram, element, settings),
            State::Plain => self.success(element),
            State::Resume => self.resumed(element),
            State::Bind => self.bound(element),
            State::Enable => self.enabled(element),
            State::Header | State::Done => Err(format!("unexpected during login: {element}")),
        }
    }

    fn features(&mut self, element: &str, settings: &Settings) -> Result<Step, String> {
        if xml::name(element) != "stream:features" {
            return Err(format!("expected features, got {element}"));
        }
        if !self.secure {
            if !xml::has(element, "starttls") {
                return Err("the server offers no STARTTLS".into());
            }
            self.state = State::StartTls;
            return Ok(Step::Send(format!("<starttls xmlns='{NS_TLS}'/>")));
        }
        if self.authenticated {
            self.offers = Offers { sm: element.contains(NS_SM), csi: element.contains(NS_CSI) };
            return Ok(self.resume_or_bind());
        }
        if self.purpose == Purpose::Register {
            return Ok(Step::Features);
        }
        self.authenticate(element, settings)
    }

    fn authenticate(&mut self, features: &str, settings: &Settings) -> Result<Step, String> {
        let offered = |name: &str| {
            xml::tags(features, "mechanism").any(|t| xml::text(t, "mechanism").as_deref() == Some(name))
        };
        let wants = |m: Mechanism| settings.mechanism == m || settings.mechanism == Mechanism::Auto;
        let user = &self.account.user;
        for (mechanism, hash) in [(Mechanism::ScramSha256, Hash::Sha256), (Mechanism::ScramSha1, Hash::Sha1)]
        {
            if wants(mechanism) && offered(hash.mechanism()) {
                let scram = Scram::new(hash, user)?;
                let first = scram.first();
                self.state = State::Scram(Box::new(scram));
                let mechanism = hash.mechanism();
                return Ok(Step::Send(format!(
                    "<auth xmlns='{NS_SASL}' mechanism='{mechanism}'>{first}</auth>"
                )));
            }
        }
        if wants(Mechanism::Plain) && offered("PLAIN") {
            let text = BASE64.encode(format!("\0{user}\0{}", self.account.password));
            self.state = State::Plain;
            return Ok(Step::Send(format!("<auth xmlns='{NS_SASL}' mechanism='PLAIN'>{text}</auth>")));
        }
        Err(format!("no mechanism in common: {features}"))
    }

    fn proceed(&mut self, element: &str) -> Result<Step, String> {
        if xml::name(element) != "proceed" {
            return Err(format!("STARTTLS refused: {element}"));
        }
        self.secure = true;
        self.state = State::Header;
        Ok(Step::StartTls)
    }

    fn scram(&mut self, mut scram: Box<Scram>, element: &str, settings: &Settings) -> Result<Step, String> {
        let name = xml::name(element);
        let text = xml::text(element, name).unwrap_or_default();
        if name == "success" {
            scram.verify(&text)?;
            return self.success(element);
        }
        if name != "challenge" {
            return Err(format!("not authenticated: {element}"));
        }
        let answer = scram.answer(&text, &self.account.password, &mut settings.keys.borrow_mut())?;
        self.state = State::Scram(scram);
        Ok(Step::Send(format!("<response xmlns='{NS_SASL}'>{answer}</response>")))
    }

    fn success(&mut self, element: &str) -> Result<Step, String> {
        if xml::name(element) != "success" {
            return Err(format!("not authenticated: {element}"));
        }
        self.authenticated = true;
        self.state = State::Header;
        Ok(Step::Restart)
    }

    fn resume_or_bind(&mut self) -> Step {
        match self.resume.take().filter(|_| self.offers.sm) {
            Some(resume) => {
                self.state = State::Resume;
                let previd = xml::escape(&resume.id);
                let request = format!("<resume xmlns='{NS_SM}' h='{}' previd='{previd}'/>", resume.received);
                self.online.sm_id = Some(resume.id);
                Step::Send(request)
            }
            None => self.bind(),
        }
    }

    fn bind(&mut self) -> Step {
        self.state = State::Bind;
        let resource = self.account.resource.as_deref().map(xml::escape);
        let resource = resource.map(|r| format!("<resource>{r}</resource>")).unwrap_or_default();
        Step::Send(format!(
            "<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>{resource}</bind></iq>"
        ))
    }

    fn resumed(&mut self, element: &str) -> Result<Step, String> {
        let h = xml::attr(element, "h").and_then(|h| h.parse().ok());
        match xml::name(element) {
            "resumed" => {
                self.online.resumed = Some(h.ok_or_else(|| format!("no h: {element}"))?);
                self.online.sm = true;
                Ok(Step::Online(std::mem::take(&mut self.online)))
            }
            "failed" => {
                self.online = Online { refused: h, ..Online::default() };
                Ok(self.bind())
            }
            _ => Err(format!("expected resumed or failed, got {element}")),
        }
    }

    fn bound(&mut self, element: &str) -> Result<Step, String> {
        let jid = xml::text(element, "jid").ok_or_else(|| format!("not bound: {element}"))?;
        self.online.jid = jid.into_owned();
        if self.purpose == (Purpose::Session { sm: true }) {
            if !self.offers.sm {
                return Err("the server offers no stream management".into());
            }
            self.state = State::Enable;
            return Ok(Step::Send(format!("<enable xmlns='{NS_SM}' resume='true'/>")));
        }
        Ok(Step::Online(std::mem::take(&mut self.online)))
    }

    fn enabled(&mut self, element: &str) -> Result<Step, String> {
        if xml::name(element) != "enabled" {
            return Err(format!("stream management refused: {element}"));
        }
        self.online.sm = true;
        self.online.sm_id = xml::attr(element, "id").map(std::borrow::Cow::into_owned);
        Ok(Step::Online(std::mem::take(&mut self.online)))
    }
}

#[cfg(test)]
#[path = "login_tests.rs"]
mod tests;
