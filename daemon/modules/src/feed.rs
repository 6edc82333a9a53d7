//! Reads stored messages back for one session: after a login, for a slow reader, after a resumption.
//! Runs on background threads; looks at a bounded number of rows a page.
use crate::delivery::Delivery;
use crate::hub::Hub;
use crate::note::{Address, Poster};
use crate::registry::Live;
use crate::row::Row;
use crate::xep0280_carbons::{Direction, Runs, copy};
use godwit_session::{Event, FeedPage, FeedRow, Millis, Place, SessionId};
use godwit_store::{Cf, Owner, Range, Seq, StoreError, schema};
use godwit_wire::{Writer, ns, rendered};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Rows looked at for one page, those that are not for the session included.
const EXAMINED_MAX: usize = 2_000;
/// Bytes of stanzas in one page; at least one row is always there.
const PAGE_BYTES_MAX: usize = 256 * 1024;

/// `<stanza-id/>` of a stored message (XEP-0359): its position in hexadecimal.
pub fn stanza_id(bare: &str, seq: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(80);
    let mut writer = Writer::new(&mut out);
    writer
        .start("stanza-id")
        .attr("xmlns", ns::STANZA_IDS)
        .attr("by", bare)
        .attr("id", &format!("{seq:016x}"))
        .end();
    out
}

/// XEP-0082 date and time in UTC.
pub fn timestamp(ms: Millis) -> String {
    humantime::format_rfc3339_millis(SystemTime::UNIX_EPOCH + Duration::from_millis(ms)).to_string()
}

/// Appends `<delay/>` (XEP-0203) in the name of the account's domain.
pub fn delay(out: &mut Vec<u8>, bare: &str, seq: u64) {
    let domain = bare.rsplit('@').next().unwrap_or(bare);
    let stamp = timestamp(Seq(seq).millis());
    Writer::new(out).start("delay").attr("xmlns", ns::DELAY).attr("from", domain).attr("stamp", &stamp).end();
}

/// How a session gets a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// As it is.
    Message,
    /// As a copy of another session's (XEP-0280).
    Copy(Direction),
}

/// A session that rows are read for, as it and its account were when the reading began.
struct Reader {
    bare: Arc<str>,
    resource: Box<str>,
    /// Full JID.
    jid: String,
    reads_from: Option<u64>,
    carbons_from: Option<u64>,
    copied: Runs,
    online: Vec<Box<str>>,
}

impl Reader {
    fn new(live: &Live, session: SessionId) -> Option<Reader> {
        let entry = live.sessions.iter().find(|entry| entry.id == session)?;
        Some(Reader {
            bare: Arc::clone(&live.bare),
            resource: entry.resource.clone(),
            jid: format!("{}/{}", live.bare, entry.resource),
            reads_from: entry.reads_from,
            carbons_from: entry.carbons_from,
            copied: entry.copied.clone(),
            online: live.sessions.iter().map(|entry| entry.resource.clone()).collect(),
        })
    }

    /// The row is for it: to the bare JID or to its resource; to another resource only if that is gone.
    fn is_addressed(&self, row: &Row<'_>) -> bool {
        row.incoming
            && (row.resource.is_empty()
                || *row.resource == *self.resource
                || !self.online.iter().any(|there| **there == *row.resource))
    }

    /// It gets the row whatever other resources do.
    fn is_regular(&self, seq: u64, row: &Row<'_>) -> bool {
        let new = self.reads_from.is_some_and(|from| seq > from);
        new && row.incoming && (row.resource.is_empty() || *row.resource == *self.resource)
    }

    /// How it gets a row that it has not had: one from before it began to read only if nobody has
    /// acknowledged it. Of its own messages it gets no copies.
    fn first(&self, seq: u64, row: &Row<'_>, delivery: &Delivery) -> Option<Form> {
        if row.copied && self.copied.has(seq) {
            return None;
        }
        if self.is_addressed(row) {
            let new = self.reads_from.is_some_and(|from| seq > from);
            return (new || delivery.is_pending(seq)).then_some(Form::Message);
        }
        let wanted = row.copied && self.carbons_from.is_some_and(|from| seq > from);
        let own = || rendered::has_attr(row.stanza, "from", &self.jid);
        (wanted && !own()).then(|| self.copy(row))
    }

    /// How it gets a row again that it was sent.
    fn again(&self, row: &Row<'_>) -> Form {
        let message = row.incoming && (self.is_addressed(row) || self.carbons_from.is_none());
        if message { Form::Message } else { self.copy(row) }
    }

    fn copy(&self, row: &Row<'_>) -> Form {
        Form::Copy(if row.incoming { Direction::Received } else { Direction::Sent })
    }

    fn complete(&self, seq: u64, row: &Row<'_>, form: Form, regular: bool) -> FeedRow {
        let (mut id, mut when) = (stanza_id(&self.bare, seq), Vec::new());
        delay(&mut when, &self.bare, seq);
        let bytes = match form {
            Form::Message => {
                id.extend_from_slice(&when);
                let mut bytes = Vec::with_capacity(row.stanza.len() + id.len());
                godwit_wire::stanza::splice(&mut bytes, row.stanza, &id);
                bytes
            }
            Form::Copy(direction) => copy((&self.bare, &self.resource), direction, row.stanza, &id, &when),
        };
        FeedRow { seq, bytes: bytes.into(), regular }
    }
}

/// What a page is for.
pub(crate) struct Wanted {
    pub(crate) bare: Arc<str>,
    pub(crate) owner: u64,
    pub(crate) session: SessionId,
    pub(crate) place: Place,
}

impl Wanted {
    fn address(&self) -> Address {
        Address { session: self.session, bare: Arc::clone(&self.bare) }
    }
}

impl Hub {
    /// Queues the reading of a page of at most `rows_max` messages after a position, for this fetch.
    pub(crate) fn fetch(
        self: &Arc<Self>,
        wanted: Wanted,
        (after, fetch): (u64, u32),
        rows_max: u32,
        post: &mut Poster,
    ) {
        self.read_for(wanted, post, move |hub, wanted| {
            let page = hub.page(wanted, after, usize::try_from(rows_max).unwrap_or(1))?;
            Ok(FeedPage { fetch, ..page })
        });
    }

    /// Queues the reading of messages at given positions.
    pub(crate) fn replay(self: &Arc<Self>, wanted: Wanted, seqs: Vec<u64>, post: &mut Poster) {
        self.read_for(wanted, post, move |hub, wanted| {
            let mut rows = Vec::with_capacity(seqs.len());
            let reader = hub.registry.with(&wanted.bare, |live| Reader::new(live, wanted.session)).flatten();
            let Some(reader) = reader else {
                // Replaced meanwhile: rows that are left out would count as acknowledged.
                return Ok(FeedPage { failed: true, ..FeedPage::default() });
            };
            let oldest = hub.oldest();
            for &seq in seqs.iter().filter(|seq| **seq >= oldest) {
                let key = schema::archive(Owner(wanted.owner), Seq(seq));
                if let Some(value) = hub.outside.store.get(Cf::Archive, &key)?
                    && let Some(row) = Row::decode(&value)
                {
                    rows.push(reader.complete(seq, &row, reader.again(&row), false));
                }
            }
            Ok(FeedPage { rows, replay: true, ..FeedPage::default() })
        });
    }

    fn read_for(
        self: &Arc<Self>,
        wanted: Wanted,
        post: &mut Poster,
        read: impl FnOnce(&Hub, &Wanted) -> Result<FeedPage, StoreError> + Send + 'static,
    ) {
        let hub = Arc::clone(self);
        let (address, place) = (wanted.address(), wanted.place);
        let queued = self.outside.background.run(Box::new(move || {
            let page = read(&hub, &wanted).unwrap_or_else(|error| {
                tracing::error!(account = %wanted.bare, %error, "stored messages cannot be read");
                FeedPage { failed: true, ..FeedPage::default() }
            });
            let mut post = Poster::new(hub.outside.post.shards());
            post.event(wanted.address(), wanted.place, Event::Feed(Box::new(page)));
            post.flush(&*hub.outside.post);
        }));
        if !queued {
            let page = FeedPage { failed: true, ..FeedPage::default() };
            post.event(address, place, Event::Feed(Box::new(page)));
        }
    }

    /// The messages after `after` that are for the session, and the copies that it wants.
    fn page(&self, wanted: &Wanted, after: u64, rows_max: usize) -> Result<FeedPage, StoreError> {
        let Some((reader, delivery)) = self
            .registry
            .with(&wanted.bare, |live| Some((Reader::new(live, wanted.session)?, live.delivery.clone())))
            .flatten()
        else {
            return Ok(FeedPage { after, end: true, upto: after, ..FeedPage::default() });
        };
        let head = self.outside.store.head();
        let from = after.max(self.oldest().saturating_sub(1));
        let (start, end) = schema::archives(Owner(wanted.owner), Seq(from), head);
        let mut page = FeedPage { after, upto: head.0, end: true, ..FeedPage::default() };
        let (mut incoming, mut examined, mut bytes, mut bad) = (Vec::new(), 0, 0, None);
        let range = Range { cf: Cf::Archive, start, end, reverse: false };
        self.outside.store.scan(&range, &mut |key, value| {
            let (Some(seq), Some(row)) = (schema::archive_seq(key), Row::decode(value)) else {
                bad = Some(StoreError::Corrupt(format!(
                    "a row in the archive of {} cannot be read",
                    wanted.bare
                )));
                return ControlFlow::Break(());
            };
            examined += 1;
            if row.incoming {
                incoming.push(seq.0);
            }
            if let Some(form) = reader.first(seq.0, &row, &delivery) {
                bytes += row.stanza.len();
                let regular = form == Form::Message && reader.is_regular(seq.0, &row);
                page.rows.push(reader.complete(seq.0, &row, form, regular));
            }
            if page.rows.len() >= rows_max || examined >= EXAMINED_MAX || bytes >= PAGE_BYTES_MAX {
                (page.upto, page.end) = (seq.0, false);
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })?;
        if let Some(error) = bad {
            return Err(error);
        }
        self.registry.with(&wanted.bare, |live| live.delivery.read(after, incoming, page.upto));
        Ok(page)
    }
}
