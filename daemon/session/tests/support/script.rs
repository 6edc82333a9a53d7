//! Reads and runs a transcript; the format is described in `tests/transcripts/README.md`.

use super::client::Sasl;
use super::{DOMAIN, World};
use godwit_wire::{StreamCondition, StreamError};
use std::collections::HashMap;

/// How input is cut on its way to the server.
pub type Cut<'a> = &'a mut dyn FnMut(usize) -> usize;

/// A run under way.
pub struct Run<'a> {
    pub world: World,
    pub at: usize,
    names: HashMap<String, usize>,
    vars: HashMap<String, String>,
    cut: Option<Cut<'a>>,
}

/// Runs a transcript; gives everything that each connection wrote. `Err` names the line.
pub fn run(text: &str, cut: Option<Cut<'_>>) -> Result<Vec<Vec<u8>>, String> {
    let mut run = Run { world: World::new(), at: 0, names: HashMap::new(), vars: HashMap::new(), cut };
    run.lines(text)?;
    for (at, client) in run.world.clients.iter().enumerate() {
        let left = &client.wrote[client.read..];
        if !left.is_empty() {
            return Err(format!("connection {at}: not expected: {}", String::from_utf8_lossy(left)));
        }
    }
    Ok(run.world.clients.into_iter().map(|c| c.wrote).collect())
}

/// The world after a transcript, to go on from there.
pub fn run_world(text: &str) -> Result<World, String> {
    run_on(World::new(), 0, text)
}

/// Goes on in a world, on one of its connections.
pub fn run_on(world: World, at: usize, text: &str) -> Result<World, String> {
    let mut run = Run { world, at, names: HashMap::new(), vars: HashMap::new(), cut: None };
    run.lines(text)?;
    Ok(run.world)
}

impl Run<'_> {
    fn lines(&mut self, text: &str) -> Result<(), String> {
        for (number, line) in text.lines().enumerate() {
            let line = line.trim_end_matches('\r');
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            self.line(line).map_err(|why| format!("line {}: {line}\n  {why}", number + 1))?;
        }
        Ok(())
    }

    fn line(&mut self, line: &str) -> Result<(), String> {
        if let Some(text) = line.strip_prefix("C: ") {
            let bytes = self.expand(text)?;
            return self.send(&bytes, false);
        }
        if let Some(text) = line.strip_prefix("CB: ") {
            let bytes = self.expand(text)?;
            return self.send(&bytes, true);
        }
        if let Some(pattern) = line.strip_prefix("S: ") {
            return self.expect(pattern);
        }
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["WHOLE"] => {}
            ["HOST", "account", name, password] => {
                self.world.host.accounts.insert((*name).to_owned(), (*password).to_owned());
            }
            ["HOST", "set", key, value] => self.set(key, value)?,
            ["CONNECT", kind] => self.at = self.world.connect(*kind == "tls"),
            ["CONNECT", kind, "as", name] => {
                self.at = self.world.connect(*kind == "tls");
                self.names.insert((*name).to_owned(), self.at);
            }
            ["USE", name] => self.at = *self.names.get(*name).ok_or("no such connection")?,
            ["TLS"] => self.world.tls(self.at),
            ["OPEN"] => self.open()?,
            ["STARTTLS"] => {
                self.open()?;
                self.send(b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>", false)?;
                self.expect("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")?;
                self.world.tls(self.at);
            }
            ["SASL", rest @ ..] => self.sasl(rest)?,
            ["LOGIN", user, password, resource] => self.login(user, password, resource)?,
            ["WAIT", ms] => self.world.wait(ms.parse().map_err(|_| "not a number")?),
            ["EOF"] => self.world.eof(self.at),
            ["SERVER", "close", condition] => {
                let condition = StreamCondition::from_name(condition).ok_or("no such condition")?;
                self.world.event(self.at, godwit_session::Event::Close(StreamError::new(condition)));
                self.world.settle();
            }
            ["SILENT"] => {
                let left = self.unread();
                if !left.is_empty() {
                    return Err(format!("not silent: {left}"));
                }
            }
            ["CLOSED"] => {
                if !self.world.clients[self.at].closed {
                    return Err("the connection is open".to_owned());
                }
            }
            _ => return Err("unknown directive".to_owned()),
        }
        Ok(())
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let settings = &mut self.world.settings;
        let number: u64 = value.parse().map_err(|_| "not a number")?;
        match key {
            "register" => settings.register = number != 0,
            "ping_after_ms" => settings.ping_after_ms = number,
            "ping_timeout_ms" => settings.ping_timeout_ms = number,
            "auth_attempts_max" => settings.auth_attempts_max = u8::try_from(number).unwrap(),
            _ => return Err("unknown setting".to_owned()),
        }
        Ok(())
    }

    fn open(&mut self) -> Result<(), String> {
        let header = format!(
            "<?xml version='1.0'?><stream:stream xmlns='jabber:client' \
             xmlns:stream='http://etherx.jabber.org/streams' to='{DOMAIN}' version='1.0'>"
        );
        self.send(header.as_bytes(), false)?;
        self.expect("<?xml version='1.0'?><stream:stream ${**}><stream:features>${**}</stream:features>")
    }

    fn login(&mut self, user: &str, password: &str, resource: &str) -> Result<(), String> {
        if self.world.clients[self.at].wants_tls {
            self.world.tls(self.at);
        } else {
            self.line("STARTTLS")?;
        }
        self.open()?;
        self.sasl(&["PLAIN", user, password])?;
        self.open()?;
        let bind = format!(
            "<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
             <resource>{resource}</resource></bind></iq>"
        );
        self.send(bind.as_bytes(), false)?;
        self.expect(&format!(
            "<iq type='result' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
             <jid>{user}@{DOMAIN}/{resource}</jid></bind></iq>"
        ))
    }

    fn sasl(&mut self, words: &[&str]) -> Result<(), String> {
        let [mechanism, user, password, options @ ..] = words else {
            return Err("SASL MECH USER PASSWORD".into());
        };
        let mut sasl = Sasl {
            mechanism: (*mechanism).to_owned(),
            user: (*user).to_owned(),
            password: (*password).to_owned(),
            ..Sasl::default()
        };
        let (mut fails, mut stepwise) = (None, false);
        for option in options {
            match option.split_once(':').ok_or("an option is name:value")? {
                ("authzid", value) => sasl.authzid = value.to_owned(),
                ("flag", value) => sasl.flag = Some(value.to_owned()),
                ("tamper", value) => sasl.tamper = value.to_owned(),
                ("fails", value) => fails = Some(value.to_owned()),
                ("first", "later") => stepwise = true,
                _ => return Err(format!("unknown option {option}")),
            }
        }
        let (first, exchange) = sasl.first();
        let ns = "urn:ietf:params:xml:ns:xmpp-sasl";
        if stepwise {
            self.send(format!("<auth xmlns='{ns}' mechanism='{mechanism}'/>").as_bytes(), false)?;
            self.expect(&format!("<challenge xmlns='{ns}'/>"))?;
            self.send(format!("<response xmlns='{ns}'>{first}</response>").as_bytes(), false)?;
        } else {
            self.send(
                format!("<auth xmlns='{ns}' mechanism='{mechanism}'>{first}</auth>").as_bytes(),
                false,
            )?;
        }
        let failure = fails.map(|condition| format!("<failure xmlns='{ns}'><{condition}/></failure>"));
        let mut success = format!("<success xmlns='{ns}'/>");
        let refused_at_once = failure.as_ref().is_some_and(|f| self.unread().starts_with(f.as_str()));
        if let Some(exchange) = exchange.filter(|_| !refused_at_once) {
            self.expect(&format!("<challenge xmlns='{ns}'>${{challenge?}}</challenge>"))?;
            let challenge = self.vars.get("challenge").cloned().unwrap_or_default();
            let (message, signature) = exchange.last(&challenge);
            self.send(format!("<response xmlns='{ns}'>{message}</response>").as_bytes(), false)?;
            success = format!("<success xmlns='{ns}'>{signature}</success>");
        }
        self.expect(&failure.unwrap_or(success))
    }

    fn unread(&self) -> String {
        let client = &self.world.clients[self.at];
        String::from_utf8_lossy(&client.wrote[client.read..]).into_owned()
    }

    fn send(&mut self, bytes: &[u8], slowly: bool) -> Result<(), String> {
        if self.world.clients[self.at].wants_tls {
            return Err("the server waits for TLS".to_owned());
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let length = match &mut self.cut {
                _ if slowly => 1,
                Some(cut) => cut(rest.len()).clamp(1, rest.len()),
                None => rest.len(),
            };
            let (piece, after) = rest.split_at(length);
            self.world.bytes(self.at, piece);
            rest = after;
        }
        Ok(())
    }

    /// `${name}`, `${N*text}`, and the escapes `\xHH`, `\n`, `\\`.
    fn expand(&self, text: &str) -> Result<Vec<u8>, String> {
        let mut out = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find(['$', '\\']) {
            out.extend_from_slice(&rest.as_bytes()[..at]);
            rest = &rest[at..];
            if let Some(inner) = rest.strip_prefix("${") {
                let (inner, after) = inner.split_once('}').ok_or("${ without }")?;
                match inner.split_once('*') {
                    Some((count, text)) => {
                        out.extend(text.repeat(count.parse().map_err(|_| "not a number")?).into_bytes());
                    }
                    None => out.extend_from_slice(self.vars.get(inner).ok_or("unknown name")?.as_bytes()),
                }
                rest = after;
            } else if let Some(hex) = rest.strip_prefix("\\x") {
                out.push(u8::from_str_radix(hex.get(..2).ok_or("\\xHH")?, 16).map_err(|_| "\\xHH")?);
                rest = &hex[2..];
            } else if let Some(after) = rest.strip_prefix("\\n") {
                out.push(b'\n');
                rest = after;
            } else if let Some(after) = rest.strip_prefix("\\\\") {
                out.push(b'\\');
                rest = after;
            } else {
                out.extend_from_slice(&rest.as_bytes()[..1]);
                rest = &rest[1..];
            }
        }
        out.extend_from_slice(rest.as_bytes());
        Ok(out)
    }

    /// Matches the next output. `${?}` and `${name?}` stand for text without `<`, `>` and `'`; `${**}` for
    /// any text, as little as possible; `${name}` for what was caught before.
    pub fn expect(&mut self, pattern: &str) -> Result<(), String> {
        let unread = self.unread();
        let mut input = unread.as_str();
        let mut pieces = pattern.split("${");
        let mismatch = |input: &str| format!("wanted: {pattern}\n  from:   {input}\n  unread: {unread}");
        let first = pieces.next().unwrap_or_default();
        input = input.strip_prefix(first).ok_or_else(|| mismatch(input))?;
        for piece in pieces {
            let (hole, literal) = piece.split_once('}').ok_or("${ without }")?;
            let length = match hole {
                "**" => input.find(literal).ok_or_else(|| mismatch(input))?,
                _ if hole.ends_with('?') => input.find(['<', '>', '\'']).unwrap_or(input.len()),
                name => {
                    let value = self.vars.get(name).ok_or("unknown name")?;
                    if input.starts_with(value.as_str()) { value.len() } else { return Err(mismatch(input)) }
                }
            };
            let (caught, after) = input.split_at(length);
            if let Some(name) = hole.strip_suffix('?').filter(|name| !name.is_empty()) {
                self.vars.insert(name.to_owned(), caught.to_owned());
            }
            input = after.strip_prefix(literal).ok_or_else(|| mismatch(after))?;
        }
        let client = &mut self.world.clients[self.at];
        client.read = client.wrote.len() - input.len();
        Ok(())
    }
}
