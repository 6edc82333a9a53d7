//! Logins as conversations: what the server says, what the client answers.

use std::net::Ipv4Addr;

use super::{Login, Online, Step};
use crate::scan::Item;
use crate::session::Resume;
use crate::settings::{Account, Mechanism, Purpose, Settings, TlsMode};
use crate::tls::{TlsVersions, client_config};

const SASL_FEATURES: &str = "<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>\
    <mechanism>SCRAM-SHA-1-PLUS</mechanism><mechanism>PLAIN</mechanism></mechanisms></stream:features>";
const SM_FEATURES: &str = "<stream:features><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>\
    <sm xmlns='urn:xmpp:sm:3'/></stream:features>";
const SUCCESS: &str = "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>";
const BOUND: &str = "<iq type='result' id='bind'><bind><jid>u@localhost/r</jid></bind></iq>";

struct Script {
    login: Login,
    settings: Settings,
}

impl Script {
    fn new(tls: TlsMode, resume: Option<Resume>) -> Self {
        let config = client_config(TlsVersions::Both, true, false).expect("a TLS configuration");
        let mut settings = Settings::new((Ipv4Addr::LOCALHOST, 1).into(), tls, "localhost", config);
        settings.mechanism = Mechanism::Auto;
        let account = Account { user: "u".into(), password: "p".into(), resource: Some("r".into()) };
        Self { login: Login::new(account, Purpose::Session { sm: true }, resume, tls), settings }
    }

    fn open(&mut self) {
        let open = Item::Open("<stream:stream>".into());
        assert_eq!(self.login.item(&open, &self.settings), Ok(Step::Wait));
    }

    fn server(&mut self, element: &str) -> Result<Step, String> {
        self.login.item(&Item::Element(element.into()), &self.settings)
    }

    /// Up to the features that follow authentication; what they lead to.
    fn authenticated(&mut self) -> Step {
        self.open();
        let auth = self.server(SASL_FEATURES).expect("a mechanism");
        assert!(matches!(auth, Step::Send(text) if text.contains("mechanism='PLAIN'>AHUAcA==</auth>")));
        assert_eq!(self.server(SUCCESS), Ok(Step::Restart));
        self.open();
        self.server(SM_FEATURES).expect("features")
    }
}

#[test]
fn starttls_comes_before_everything_else() {
    let mut script = Script::new(TlsMode::StartTls, None);
    script.open();
    let features = "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:features>";
    assert!(matches!(script.server(features), Ok(Step::Send(text)) if text.starts_with("<starttls")));
    assert_eq!(script.server("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"), Ok(Step::StartTls));
    assert!(matches!(script.authenticated(), Step::Send(text) if text.contains("<resource>r</resource>")));
}

#[test]
fn a_fresh_session_binds_and_enables_stream_management() {
    let mut script = Script::new(TlsMode::Direct, None);
    script.authenticated();
    assert!(matches!(script.server(BOUND), Ok(Step::Send(text)) if text.starts_with("<enable")));
    let online = script.server("<enabled xmlns='urn:xmpp:sm:3' id='x' resume='true'/>");
    let expected =
        Online { jid: "u@localhost/r".into(), sm_id: Some("x".into()), sm: true, ..Online::default() };
    assert_eq!(online, Ok(Step::Online(expected)));
}

#[test]
fn a_session_is_resumed_or_replaced_by_a_new_one() {
    let resume = Some(Resume { id: "old".into(), received: 7, sent: 9 });
    let mut script = Script::new(TlsMode::Direct, resume.clone());
    assert!(matches!(script.authenticated(), Step::Send(text) if text.contains("h='7' previd='old'")));
    let online = script.server("<resumed xmlns='urn:xmpp:sm:3' h='5' previd='old'/>");
    assert!(matches!(online, Ok(Step::Online(Online { resumed: Some(5), sm: true, .. }))));

    let mut script = Script::new(TlsMode::Direct, resume);
    script.authenticated();
    let bind = script.server("<failed xmlns='urn:xmpp:sm:3' h='8'><item-not-found/></failed>");
    assert!(matches!(bind, Ok(Step::Send(text)) if text.contains("xmpp-bind")));
    script.server(BOUND).expect("bound");
    let online = script.server("<enabled xmlns='urn:xmpp:sm:3' id='new'/>");
    let is_new =
        |o: &Online| o.refused == Some(8) && o.resumed.is_none() && o.sm_id.as_deref() == Some("new");
    assert!(matches!(online, Ok(Step::Online(o)) if is_new(&o)));
}

#[test]
fn refusals_end_the_login() {
    let mut script = Script::new(TlsMode::Direct, None);
    script.open();
    script.server(SASL_FEATURES).expect("a mechanism");
    let failure = "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/></failure>";
    assert!(script.server(failure).is_err_and(|e| e.contains("not-authorized")));
    let mut script = Script::new(TlsMode::Direct, None);
    assert!(script.server("<stream:error><host-unknown/></stream:error>").is_err());
}
