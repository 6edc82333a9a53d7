//! XEP-0313 Message Archive Management: clients query their account's history.
//!
//! A query is a job for a worker; its session reads nothing further meanwhile. The answer is a run of
//! messages, each of which counts as a stanza that is stored nowhere: a page ends before it would exceed half
//! of what the session may still be sent unacknowledged, and the client asks for the next one (RSM allows
//! shorter pages).
//!
//! `<count/>` and the index of the first item are exact or absent: present when the page holds the whole set,
//! and for `<max>0</max>` if the set has at most 10,000 messages. When the rows that a page may look at are
//! used up, its `<last/>` (backwards: `<first/>`) is the place to go on from, even if there are fewer
//! results, or none.
use crate::archive::{Archive, ArchiveSettings, Page, Refused, Wanted, id};
use crate::effects::{Effects, Slow};
use crate::feed;
use crate::forward::forwarded;
use crate::module::{Cx, Info, Iq, Module, Target, unreadable};
use crate::row::Row;
use crate::xep0059_rsm::Answer;
use crate::xep0313_query::{Query, form};
use crate::xep0441_prefs as prefs;
use godwit_session::Spec;
use godwit_store::Seq;
use godwit_wire::{Condition, Stanza, StanzaError, Writer, ns};

/// Messages in a page for a client that does not say how many it wants.
const PAGE_ROWS_USUAL: usize = 50;

/// What queries are written in and results are wrapped into.
const ALSO: [Spec; 4] = [
    Spec { id: "XEP-0004", title: "Data Forms", version: "2.13.2", note: "the form of archive queries" },
    Spec {
        id: "XEP-0082",
        title: "XMPP Date and Time Profiles",
        version: "1.1.1",
        note: "DateTime, with any offset from UTC",
    },
    Spec { id: "XEP-0122", title: "Data Forms Validation", version: "1.0.2", note: "open lists" },
    Spec { id: "XEP-0297", title: "Stanza Forwarding", version: "1.0", note: "archive queries, carbons" },
];

/// The module.
#[derive(Debug)]
pub struct Mam;

impl Module for Mam {
    fn info(&self) -> Info {
        Info {
            name: "mam",
            spec: "XEP-0313",
            title: "Message Archive Management",
            version: "1.1.3",
            note: "an account's archive; no messages of rooms",
            also: &ALSO,
            account_features: &[ns::MAM, ns::MAM_EXTENDED, ns::MAM_GROUPCHAT_FIELD],
            iq: &[ns::MAM],
            ..Info::default()
        }
    }

    fn iq(&self, cx: &Cx<'_>, iq: &Iq<'_>, fx: &mut Effects) -> Result<(), StanzaError> {
        match iq.target {
            Target::Own => {}
            Target::Account { .. } => return Err(StanzaError::new(Condition::Forbidden)),
            Target::Server => return Err(StanzaError::new(Condition::ServiceUnavailable)),
        }
        match (iq.payload.name(), iq.set) {
            ("query", true) => query(cx, iq, fx)?,
            ("query", false) => iq.result(&form(), fx),
            ("metadata", false) => metadata(cx, iq, fx),
            ("prefs", _) => prefs::iq(cx, iq, fx)?,
            _ => return Err(StanzaError::new(Condition::BadRequest)),
        }
        Ok(())
    }
}

/// What a job needs of the session and its question.
struct Asked {
    stanza: Stanza,
    owner: u64,
    bare: String,
    to: String,
    settings: ArchiveSettings,
    room: usize,
}

impl Asked {
    fn new(cx: &Cx<'_>, iq: &Iq<'_>) -> Asked {
        Asked {
            stanza: iq.stanza.clone(),
            owner: cx.origin.owner,
            bare: cx.origin.jid.bare_str().to_owned(),
            to: cx.origin.jid.as_str().to_owned(),
            settings: cx.settings.archive,
            room: cx.origin.room,
        }
    }

    fn archive<'a>(&self, slow: &Slow<'a>) -> Archive<'a> {
        Archive::new(slow.store, self.owner, self.settings.oldest(slow.now))
    }

    fn answer(&self, payload: &[u8], fx: &mut Effects) {
        let mut out = Vec::with_capacity(payload.len() + 160);
        self.stanza.iq_result(&mut out, payload);
        fx.send(out);
    }
}

fn query(cx: &Cx<'_>, iq: &Iq<'_>, fx: &mut Effects) -> Result<(), StanzaError> {
    let query = Query::read(iq.payload)?;
    let asked = Asked::new(cx, iq);
    fx.slow = Some(Box::new(move |slow: &Slow<'_>| {
        let archive = asked.archive(slow);
        let (filter, wanted) = query.resolve(&archive)?;
        let usual = PAGE_ROWS_USUAL.min(asked.settings.page_rows_max);
        let wanted = Wanted {
            rows_max: query.page.max.map_or(usual, |max| max.min(asked.settings.page_rows_max)),
            bytes_max: asked.settings.page_bytes_max.min(asked.room / 2),
            first_bytes_max: asked.room,
            ..wanted
        };
        let render = |seq, row: &Row<'_>| result(&asked, query.queryid.as_deref(), seq, row);
        let mut page = archive.page(&filter, &wanted, &render).map_err(refusal)?;
        let mut fx = Effects::default();
        let rows = std::mem::take(&mut page.rows);
        if query.flip {
            rows.into_iter().rev().for_each(|row| fx.send(row));
        } else {
            rows.into_iter().for_each(|row| fx.send(row));
        }
        asked.answer(&fin(&page), &mut fx);
        Ok(fx)
    }));
    Ok(())
}

fn refusal(refused: Refused) -> StanzaError {
    match refused {
        Refused::Store(error) => unreadable(error),
        Refused::TooLarge => StanzaError::new(Condition::ResourceConstraint)
            .with_text("acknowledge what was sent before, then ask again"),
    }
}

/// §4.2: the archived message, forwarded (XEP-0297) with the time at which it was archived.
fn result(asked: &Asked, queryid: Option<&str>, seq: u64, row: &Row<'_>) -> Vec<u8> {
    let mut delay = Vec::new();
    let stamp = feed::timestamp(Seq(seq).millis());
    Writer::new(&mut delay).start("delay").attr("xmlns", ns::DELAY).attr("stamp", &stamp).end();
    let mut inside = Vec::with_capacity(row.stanza.len() + 200);
    forwarded(&mut inside, row.stanza, b"", &delay);
    let mut out = Vec::with_capacity(inside.len() + 200);
    let mut writer = Writer::new(&mut out);
    writer.start("message").attr("from", &asked.bare).attr("to", &asked.to);
    writer.start("result").attr("xmlns", ns::MAM).attr_opt("queryid", queryid).attr("id", &id(seq));
    writer.raw(&inside).end().end();
    out
}

fn fin(page: &Page) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out);
    writer.start("fin").attr("xmlns", ns::MAM).attr_opt("complete", page.complete.then_some("true"));
    let ends = page.ends.map(|(first, last)| (id(first), id(last)));
    Answer { ends, index: page.index, count: page.count }.write(&mut writer);
    writer.end();
    out
}

/// §5: the first and the last message of the archive.
fn metadata(cx: &Cx<'_>, iq: &Iq<'_>, fx: &mut Effects) {
    let asked = Asked::new(cx, iq);
    fx.slow = Some(Box::new(move |slow: &Slow<'_>| {
        let ends = asked.archive(slow).ends().map_err(unreadable)?;
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out);
        writer.start("metadata").attr("xmlns", ns::MAM);
        if let Some((first, last)) = ends {
            for (name, seq) in [("start", first), ("end", last)] {
                let stamp = feed::timestamp(Seq(seq).millis());
                writer.start(name).attr("id", &id(seq)).attr("timestamp", &stamp).end();
            }
        }
        writer.end();
        let mut fx = Effects::default();
        asked.answer(&out, &mut fx);
        Ok(fx)
    }));
}
