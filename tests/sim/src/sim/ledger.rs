//! What clients sent, were promised and got, judged as it happens. `checks.rs` judges what is left at rest.
//!
//! A *lineage* is one session as its client knows it, across resumptions. A *copy* is a stored message under
//! one stanza-id in one account. The rules, as in the crash test's oracle:
//!
//! 1. the same stanza-id never twice in one lineage;
//! 2. a copy is *settled* once a client acknowledged it and the server has taken that in: it never comes to a
//!    lineage that began afterwards, unless a crash lost the (lazily written) record of it;
//! 3. within a lineage, messages of one sender to one address come in the order of the archive, and those of
//!    one of its sessions in the order of sending, but for those that another session had been sent before.
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A message, by number.
pub type Number = usize;
/// The account of an address that there is not.
pub const NOBODY: usize = usize::MAX;
/// Account and position.
pub type CopyKey = (usize, u64);

/// What its sender knows of a message.
#[derive(Debug, Clone)]
pub struct Message {
    /// Client that sent it.
    pub from: usize,
    /// Account it is for.
    pub account: usize,
    /// Address it is for.
    pub to: String,
    /// Lineages in which it was sent: the server may hold so many copies.
    pub sent_in: BTreeSet<usize>,
    /// The server has acknowledged it.
    pub acked: bool,
    /// It had not when its sender began another session: what was under way on the old connection may come
    /// after what is sent on the new one.
    pub left_behind: bool,
    /// It came back as an error.
    pub bounced: bool,
}

/// One session of a client.
#[derive(Debug, Clone, Default)]
pub struct Lineage {
    /// Its client.
    pub client: usize,
    /// Its account.
    pub account: usize,
    /// Step at which the client began to connect for it.
    pub began: u64,
    /// What it got.
    pub got: BTreeSet<u64>,
    /// What it got and did not acknowledge: number by stream management, position.
    pub unacked: VecDeque<(u32, u64)>,
    /// Per sender and address: the last message and position that came first here.
    last: BTreeMap<(usize, String), (Number, u64)>,
    /// Per sender: the last passing signal.
    signal: BTreeMap<usize, usize>,
}

/// One stored message of one account.
#[derive(Debug, Clone, Default)]
pub struct Copy {
    /// Which message.
    pub message: Option<Number>,
    /// Lineages that got it.
    pub receivers: Vec<usize>,
    /// A client said that it has it.
    pub acked: bool,
    /// The server takes it for handed over, since this step.
    pub settled: Option<u64>,
    /// A client without stream management was sent it, and the kernel took it.
    pub swallowed: bool,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Messages by number.
    pub messages: Vec<Message>,
    /// Lineages by number.
    pub lineages: Vec<Lineage>,
    /// Copies.
    pub copies: BTreeMap<CopyKey, Copy>,
    /// Pages of archives that have come and were not checked yet.
    pub pages: Vec<super::archive::Query>,
    /// Items published so far.
    pub published: u64,
    /// Passing signals (who is typing) by number: who sent it, and whether it may come late, as its sender
    /// sent it again, or in another session than a later one.
    pub signals: Vec<(usize, bool)>,
    /// A write failed, so that messages may have been answered with errors.
    pub write_failed: bool,
    /// What went wrong first.
    pub failure: Option<String>,
}

impl Ledger {
    /// Something that must not happen.
    pub fn fail(&mut self, what: impl FnOnce() -> String) {
        if self.failure.is_none() {
            self.failure = Some(what());
        }
    }

    /// A session begins, for a connection that was begun at a step.
    pub fn lineage(&mut self, client: usize, account: usize, began: u64) -> usize {
        for left in self.messages.iter_mut().filter(|message| message.from == client && !message.acked) {
            left.left_behind = true;
        }
        self.signals_late(client);
        self.lineages.push(Lineage { client, account, began, ..Lineage::default() });
        self.lineages.len() - 1
    }

    /// A new message.
    pub fn message(&mut self, from: usize, account: usize, to: String) -> Number {
        self.messages.push(Message {
            from,
            account,
            to,
            sent_in: BTreeSet::new(),
            acked: false,
            left_behind: false,
            bounced: false,
        });
        self.messages.len() - 1
    }

    /// A new passing signal of a client.
    pub fn signal(&mut self, client: usize) -> usize {
        self.signals.push((client, false));
        self.signals.len() - 1
    }

    /// What a client has sent of these so far may come late.
    pub fn signals_late(&mut self, client: usize) {
        self.signals.iter_mut().filter(|signal| signal.0 == client).for_each(|signal| signal.1 = true);
    }

    /// A passing signal arrived.
    pub fn signalled(&mut self, lineage: usize, number: usize) {
        let Some(&(from, late)) = self.signals.get(number) else {
            return self.fail(|| format!("signal {number} was never sent"));
        };
        let last = self.lineages[lineage].signal.entry(from).or_default();
        let before = std::mem::replace(last, number.max(*last));
        if before > number && !late {
            self.fail(|| format!("signal {number} came to session {lineage} after {before}"));
        }
    }

    /// The server says that it has a message.
    pub fn acked(&mut self, message: Number) {
        self.messages[message].acked = true;
    }

    /// A stored message arrived; `number` is its count by stream management, 0 if it is outside of that.
    /// `ordered`: the session is one that all messages come to in order. True if another session of the
    /// account had it before.
    pub fn delivered(
        &mut self,
        lineage: usize,
        message: Number,
        seq: u64,
        number: u32,
        ordered: bool,
    ) -> bool {
        let key = (self.lineages[lineage].account, seq);
        let sent = self.messages.get(message).map(|sent| (sent.account, sent.from, sent.to.clone()));
        let Some((_, from, to)) = sent.filter(|(account, ..)| *account == key.0) else {
            self.fail(|| format!("message {message} was never sent to account {}", key.0));
            return false;
        };
        let copy = self.copies.entry(key).or_default();
        let again = !copy.receivers.is_empty();
        let known = *copy.message.get_or_insert(message);
        let settled = copy.settled;
        copy.receivers.push(lineage);
        let session = &mut self.lineages[lineage];
        let began = session.began;
        session.unacked.push_back((number, seq));
        let twice = !session.got.insert(seq);
        let before = session.last.get(&(from, to.clone())).copied();
        let ordered = ordered && !again;
        if ordered {
            session.last.insert((from, to), (message, seq));
        }
        if known != message {
            self.fail(|| format!("stanza-id {seq:016x} names both message {known} and {message}"));
        }
        if twice {
            self.fail(|| format!("message {message} ({seq:016x}) twice in session {lineage}"));
        } else if settled.is_some_and(|at| at < began) {
            self.fail(|| format!("message {message} ({seq:016x}) again although it was acknowledged"));
        }
        if let Some((last, last_seq)) = before.filter(|_| ordered) {
            // What was sent again in a later session has an older copy perhaps, which went another way.
            let resent = self.messages[message].sent_in.len() > 1;
            let late = last > message && !resent && !self.messages[message].left_behind;
            if last_seq > seq || late {
                self.fail(|| format!("message {message} ({seq:016x}) after {last} ({last_seq:016x})"));
            }
        }
        again
    }

    /// The error that answers a message arrived; with a position if it is stored, as above.
    pub fn bounced(&mut self, lineage: usize, message: Number, stored: Option<(u64, u32)>) {
        let session = &mut self.lineages[lineage];
        let (client, account, began) = (session.client, session.account, session.began);
        if self.messages.get(message).is_none_or(|sent| !self.accounts(sent.from, account)) {
            return self.fail(|| format!("client {client} got the error to message {message}"));
        }
        self.messages[message].bounced = true;
        let Some((seq, number)) = stored else { return };
        let session = &mut self.lineages[lineage];
        session.unacked.push_back((number, seq));
        let twice = !session.got.insert(seq);
        let copy = self.copies.entry((account, seq)).or_default();
        let known = *copy.message.get_or_insert(message);
        let settled = copy.settled;
        copy.receivers.push(lineage);
        if twice || known != message || settled.is_some_and(|at| at < began) {
            self.fail(|| {
                format!("the error to message {message} ({seq:016x}) once more in session {lineage}")
            });
        }
    }

    /// A client that had sessions of an account.
    fn accounts(&self, client: usize, account: usize) -> bool {
        self.lineages.iter().any(|session| session.client == client && session.account == account)
    }

    /// The copy of a message that another session of the account sent arrived.
    pub fn copied(&mut self, lineage: usize, message: Number, seq: u64, number: u32) {
        let session = &mut self.lineages[lineage];
        let (client, account) = (session.client, session.account);
        session.unacked.push_back((number, seq));
        let twice = !session.got.insert(seq);
        let copy = self.copies.entry((account, seq)).or_default();
        let known = *copy.message.get_or_insert(message);
        copy.receivers.push(lineage);
        // One that this session sent itself; an earlier one of the same client is another session.
        let own = |sent: &Message| sent.sent_in.len() == 1 && sent.sent_in.contains(&lineage);
        if self.messages.get(message).is_none_or(own) || known != message {
            self.fail(|| format!("client {client} got a copy of {message} as {seq:016x}, which was {known}"));
        }
        if twice {
            self.fail(|| format!("the copy of {message} ({seq:016x}) twice in session {lineage}"));
        }
    }

    /// A client says that it has everything up to `h`.
    pub fn client_acks(&mut self, lineage: usize, h: u32) {
        let session = &mut self.lineages[lineage];
        while let Some((number, seq)) = session.unacked.front().copied()
            && number <= h
        {
            session.unacked.pop_front();
            if let Some(copy) = self.copies.get_mut(&(session.account, seq)) {
                copy.acked = true;
            }
        }
    }

    /// The server takes a message for handed over.
    pub fn settled(&mut self, key: CopyKey, sm: bool, step: u64) {
        let copy = self.copies.entry(key).or_default();
        copy.swallowed |= !sm;
        copy.settled.get_or_insert(step);
        if sm && !copy.acked {
            self.fail(|| format!("position {:016x} counts as acknowledged, but no client said so", key.1));
        }
    }
}
