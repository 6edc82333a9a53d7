//! `godwitctl account export JID`: everything held about an account, one JSON object on standard output,
//! written a page at a time.
use super::args::{Ctl, Jid};
use super::exit::Failed;
use super::said;
use super::way::{self, Way};
use crate::admin::protocol::{Answer, Request};
use godwit_modules::export::Page;
use serde::Serialize;
use std::io::{self, BufWriter, Write};

pub(super) fn run(ctl: &Ctl, args: &Jid) -> Result<(), Failed> {
    let way = way::any(ctl)?;
    if let Way::Done(code) = way {
        return super::done(code);
    }
    let mut document = Document::new(BufWriter::new(io::stdout().lock()));
    let mut from = None;
    loop {
        let request = Request::AccountExport { jid: args.jid.clone(), from };
        let Answer::Exported(page) = way.call(request)? else { return Err(super::odd()) };
        document.page(&page).map_err(Failed::because)?;
        from = page.next;
        if from.is_none() {
            break;
        }
    }
    let messages = document.end().map_err(Failed::because)?;
    said(&format!("exported {} with {messages} messages", args.jid), &way);
    way.close()
}

/// One object whose lists are written as their parts come: first all items, then all messages.
struct Document<W> {
    to: W,
    list: Option<&'static str>,
    messages: u64,
    first: bool,
}

impl<W: Write> Document<W> {
    fn new(to: W) -> Document<W> {
        Document { to, list: None, messages: 0, first: true }
    }

    fn page(&mut self, page: &Page) -> io::Result<()> {
        if let Some(account) = &page.account {
            let text = serde_json::to_string_pretty(account)?;
            // The object goes on.
            self.to.write_all(text.trim_end_matches(['}', '\n']).as_bytes())?;
            self.begin("items")?;
        }
        self.rows(&page.items)?;
        if page.next.as_ref().is_none_or(|next| next.seq.is_some()) && self.list == Some("items") {
            self.begin("messages")?;
        }
        self.messages += page.messages.len() as u64;
        self.rows(&page.messages)
    }

    fn begin(&mut self, list: &'static str) -> io::Result<()> {
        let end = if self.list.is_some() { "\n  ]" } else { "" };
        write!(self.to, "{end},\n  \"{list}\": [")?;
        (self.list, self.first) = (Some(list), true);
        Ok(())
    }

    fn rows<T: Serialize>(&mut self, rows: &[T]) -> io::Result<()> {
        for row in rows {
            let comma = if std::mem::take(&mut self.first) { "" } else { "," };
            write!(self.to, "{comma}\n    {}", serde_json::to_string(row)?)?;
        }
        Ok(())
    }

    fn end(mut self) -> io::Result<u64> {
        self.to.write_all(b"\n  ]\n}\n")?;
        self.to.flush()?;
        Ok(self.messages)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use godwit_modules::export::{Account, Cursor, Item, Message};

    fn account() -> Account {
        Account {
            format: 1,
            jid: "a@b".into(),
            created_ms: 1,
            password_keys: vec![],
            roster: vec![],
            roster_version: 0,
            last_activity: None,
            archive_preferences: None,
            sessions: vec![],
            nodes: vec![],
        }
    }

    fn written(pages: &[Page]) -> serde_json::Value {
        let mut bytes = Vec::new();
        let mut document = Document::new(&mut bytes);
        pages.iter().for_each(|page| document.page(page).expect("written"));
        document.end().expect("written");
        serde_json::from_slice(&bytes).expect("JSON")
    }

    #[test]
    fn pages_join_to_one_object() {
        let item = |id: &str| Item { node: "n".into(), id: id.into(), at_ms: 1, payload: "<x/>".into() };
        let message = |id: &str| Message {
            stanza_id: id.into(),
            at_ms: 1,
            incoming: true,
            with: "c@d".into(),
            resource: String::new(),
            hidden: false,
            stanza: "<message/>".into(),
        };
        let next = |items, seq| Some(Cursor { items, seq });
        let pages = [
            Page { account: Some(account()), items: vec![item("1")], next: next(1, None), ..Page::default() },
            Page { items: vec![item("2")], next: next(2, Some(0)), ..Page::default() },
            Page { messages: vec![message("1"), message("2")], next: next(0, Some(2)), ..Page::default() },
            Page { messages: vec![message("3")], ..Page::default() },
        ];
        let found = written(&pages);
        assert_eq!(found["jid"], "a@b");
        assert_eq!(
            (found["items"][1]["id"].as_str(), found["items"].as_array().map(Vec::len)),
            (Some("2"), Some(2))
        );
        assert_eq!(found["messages"].as_array().map(Vec::len), Some(3));
        assert_eq!(found["messages"][2]["stanza_id"], "3");
        let empty = Page { account: Some(account()), next: next(0, Some(0)), ..Page::default() };
        let found = written(&[empty, Page::default()]);
        assert_eq!((&found["items"], &found["messages"]), (&serde_json::json!([]), &serde_json::json!([])));
    }
}
