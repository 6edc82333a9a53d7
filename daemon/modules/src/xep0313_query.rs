//! Reads a XEP-0313 query: its form, its page, and what is wrong with them.
use crate::archive::{self, Archive, Filter, Wanted};
use crate::module::unreadable;
use crate::xep0059_rsm::Request;
use crate::xep0082_time as time;
use godwit_store::{Seq, StoreError};
use godwit_wire::{Condition, Jid, Node, StanzaError, Writer, ns};

/// Ids that one query may name.
const IDS_MAX: usize = 250;

/// A query as it was asked, before the archive is looked at.
#[derive(Debug, Clone, Default)]
pub(crate) struct Query {
    /// To be repeated in each result.
    pub(crate) queryid: Option<Box<str>>,
    /// Results are sent in reverse order.
    pub(crate) flip: bool,
    /// Which page.
    pub(crate) page: Request,
    with: Option<Jid>,
    /// First millisecond and the one after the last.
    start: Option<u64>,
    end: Option<u64>,
    after_id: Option<Box<str>>,
    before_id: Option<Box<str>>,
    ids: Option<Vec<Box<str>>>,
}

fn bad(why: impl Into<std::borrow::Cow<'static, str>>) -> StanzaError {
    StanzaError::new(Condition::BadRequest).with_text(why)
}

impl Query {
    /// From the `<query/>`.
    pub(crate) fn read(query: Node<'_>) -> Result<Query, StanzaError> {
        let mut read = Query {
            queryid: query.attr("queryid").map(Into::into),
            flip: query.child("flip-page", ns::MAM).is_some(),
            page: Request::read(query)?,
            ..Query::default()
        };
        if query.attr("node").is_some() {
            return Err(StanzaError::new(Condition::ItemNotFound)); // of XEP-0442 alone
        }
        if let Some(form) = query.child("x", ns::DATA_FORMS) {
            read.form(form)?;
        }
        Ok(read)
    }

    fn form(&mut self, form: Node<'_>) -> Result<(), StanzaError> {
        if form.attr("type") != Some("submit") {
            return Err(bad("the form is of type 'submit'"));
        }
        let fields = || form.children().filter(|field| field.is("field", ns::DATA_FORMS));
        let type_ = fields().find(|field| field.attr("var") == Some("FORM_TYPE"));
        if type_.and_then(value).as_deref() != Some(ns::MAM) {
            return Err(bad("the form has the FORM_TYPE urn:xmpp:mam:2"));
        }
        let mut seen: Vec<&str> = Vec::new();
        for field in fields() {
            let name = field.attr("var").ok_or_else(|| bad("a field of the form has no var"))?;
            if seen.contains(&name) {
                return Err(bad("a field of the form comes twice"));
            }
            seen.push(name);
            self.field(name, field)?;
        }
        Ok(())
    }

    /// A field without a value is as good as absent.
    fn field(&mut self, name: &str, field: Node<'_>) -> Result<(), StanzaError> {
        let Some(value) = value(field) else { return Ok(()) };
        let moment = || time::parse(&value).ok_or_else(|| bad("start and end are dates as in XEP-0082"));
        match name {
            "FORM_TYPE" => {}
            "with" => self.with = Some(Jid::parse(&value).map_err(|_| bad("with is no JID"))?),
            "start" => {
                let start = moment()?;
                let ms = u64::try_from(start.ms + i64::from(start.rounded)).unwrap_or(0);
                self.start = Some(ms);
            }
            "end" => self.end = Some(u64::try_from(moment()?.ms + 1).unwrap_or(0)),
            "before-id" => self.before_id = Some(value),
            "after-id" => self.after_id = Some(value),
            "ids" => {
                let ids: Vec<Box<str>> = values(field).take(IDS_MAX + 1).collect();
                if ids.len() > IDS_MAX {
                    return Err(bad(format!("more than {IDS_MAX} ids; ask for them in several queries")));
                }
                self.ids = Some(ids);
            }
            // Accounts have no groupchat messages in their archives: all values mean the same.
            "include-groupchat" if matches!(&*value, "0" | "1" | "false" | "true") => {}
            "include-groupchat" => return Err(bad("include-groupchat is true or false")),
            _ => {
                let error = StanzaError::new(Condition::FeatureNotImplemented);
                return Err(error.with_text("an unknown field in the form"));
            }
        }
        Ok(())
    }

    /// The same in positions. An id that is not in the archive: `item-not-found`.
    pub(crate) fn resolve(&self, archive: &Archive<'_>) -> Result<(Filter, Wanted), StanzaError> {
        let mut filter = Filter {
            with: self.with.clone(),
            after: self.start.map_or(0, |ms| Seq::at(ms).0.saturating_sub(1)),
            upto: self.end.map_or(u64::MAX, |ms| Seq::at(ms).0.saturating_sub(1)),
            ids: None,
        };
        let place = |id: &str| placed(id, |seq| archive.is_place(seq));
        if let Some(after) = self.after_id.as_deref().map(place).transpose()? {
            filter.after = filter.after.max(after);
        }
        if let Some(before) = self.before_id.as_deref().map(place).transpose()? {
            filter.upto = filter.upto.min(before.saturating_sub(1));
        }
        if let Some(ids) = &self.ids {
            let positions = ids.iter().map(|id| placed(id, |seq| archive.is_message(seq)));
            let mut positions: Vec<u64> = positions.collect::<Result<_, _>>()?;
            positions.sort_unstable();
            positions.dedup();
            filter.ids = Some(positions);
        }
        let before = self.page.before.as_deref();
        let wanted = Wanted {
            after: self.page.after.as_deref().map(place).transpose()?,
            before: before.filter(|id| !id.is_empty()).map(place).transpose()?,
            from_end: before.is_some(),
            rows_max: 0,
            bytes_max: 0,
            first_bytes_max: 0,
        };
        Ok((filter, wanted))
    }
}

fn placed(id: &str, is_there: impl FnOnce(u64) -> Result<bool, StoreError>) -> Result<u64, StanzaError> {
    let seq = archive::position(id).map(|seq| is_there(seq).map(|there| there.then_some(seq)));
    let missing =
        || StanzaError::new(Condition::ItemNotFound).with_text("this archive has no message of that id");
    seq.transpose().map_err(unreadable)?.flatten().ok_or_else(missing)
}

fn values<'a>(field: Node<'a>) -> impl Iterator<Item = Box<str>> + 'a {
    let values = field.children().filter(|value| value.is("value", ns::DATA_FORMS));
    values.map(|value| value.text()).filter(|text| !text.is_empty()).map(Into::into)
}

fn value(field: Node<'_>) -> Option<Box<str>> {
    values(field).next()
}

/// §4.1.5: the form with all fields that are understood.
pub(crate) fn form() -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out);
    writer.start("query").attr("xmlns", ns::MAM);
    writer.start("x").attr("xmlns", ns::DATA_FORMS).attr("type", "form");
    writer.start("field").attr("type", "hidden").attr("var", "FORM_TYPE");
    writer.start("value").text(ns::MAM).end().end();
    let fields = [
        ("with", "jid-single"),
        ("start", "text-single"),
        ("end", "text-single"),
        ("before-id", "text-single"),
        ("after-id", "text-single"),
        ("include-groupchat", "boolean"),
    ];
    for (var, type_) in fields {
        writer.start("field").attr("type", type_).attr("var", var).end();
    }
    writer.start("field").attr("type", "list-multi").attr("var", "ids");
    writer.start("validate").attr("xmlns", ns::DATA_VALIDATE).attr("datatype", "xs:string");
    writer.start("open").end().end().end();
    writer.end().end();
    out
}
