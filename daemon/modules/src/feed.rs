//! Reads stored messages back for one session: after a login, for a slow reader, after a resumption.
//! Runs on background threads; looks at a bounded number of rows a page.
use crate::hub::Hub;
use crate::note::{Address, Poster};
use crate::row::Row;
use godwit_session::{Event, FeedPage, FeedRow, Millis, Place, SessionId};
use godwit_store::{Cf, Owner, Range, Seq, StoreError, schema};
use godwit_wire::{Writer, ns};
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

fn complete(bare: &str, seq: u64, row: &Row<'_>, regular: bool) -> FeedRow {
    let mut extra = stanza_id(bare, seq);
    delay(&mut extra, bare, seq);
    let mut bytes = Vec::with_capacity(row.stanza.len() + extra.len());
    godwit_wire::stanza::splice(&mut bytes, row.stanza, &extra);
    FeedRow { seq, bytes: bytes.into(), regular }
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
    /// Queues the reading of a page of at most `rows_max` messages after a position.
    pub(crate) fn fetch(self: &Arc<Self>, wanted: Wanted, after: u64, rows_max: u32, post: &mut Poster) {
        self.read_for(wanted, post, move |hub, wanted| {
            hub.page(wanted, after, usize::try_from(rows_max).unwrap_or(1))
        });
    }

    /// Queues the reading of messages at given positions.
    pub(crate) fn replay(self: &Arc<Self>, wanted: Wanted, seqs: Vec<u64>, post: &mut Poster) {
        self.read_for(wanted, post, move |hub, wanted| {
            let mut rows = Vec::with_capacity(seqs.len());
            for &seq in &seqs {
                let key = schema::archive(Owner(wanted.owner), Seq(seq));
                if let Some(value) = hub.outside.store.get(Cf::Archive, &key)?
                    && let Some(row) = Row::decode(&value)
                {
                    rows.push(complete(&wanted.bare, seq, &row, false));
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

    /// The messages after `after` that are for the session: to the bare JID or to its resource; to another
    /// resource only if that is gone; and those from before it began to read only if nobody has acknowledged
    /// them.
    fn page(&self, wanted: &Wanted, after: u64, rows_max: usize) -> Result<FeedPage, StoreError> {
        let Some((entry, delivery, online)) = self
            .registry
            .with(&wanted.bare, |live| {
                let online: Vec<Box<str>> =
                    live.sessions.iter().map(|entry| entry.resource.clone()).collect();
                let delivery = live.delivery.clone();
                live.session(wanted.session)
                    .map(|entry| ((entry.resource.clone(), entry.reads_from), delivery, online))
            })
            .flatten()
        else {
            return Ok(FeedPage { after, end: true, upto: after, ..FeedPage::default() });
        };
        let (resource, reads_from) = entry;
        let head = self.outside.store.head();
        let (start, end) = schema::archives(Owner(wanted.owner), Seq(after), head);
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
                let for_it = row.resource.is_empty()
                    || *row.resource == *resource
                    || !online.iter().any(|there| **there == *row.resource);
                let new = reads_from.is_some_and(|from| seq.0 > from);
                if for_it && (new || delivery.is_pending(seq.0)) {
                    bytes += row.stanza.len();
                    let regular = new && (row.resource.is_empty() || *row.resource == *resource);
                    page.rows.push(complete(&wanted.bare, seq.0, &row, regular));
                }
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
