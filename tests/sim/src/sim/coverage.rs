//! How often each fault happened and each interesting state was reached, so that one that never does is seen.

macro_rules! points {
    ($($name:ident => $text:literal,)*) => {
        /// Something that a run may meet.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[allow(missing_docs)]
        pub enum Point { $($name,)* }

        impl Point {
            /// All of them.
            pub const ALL: &[Point] = &[$(Point::$name,)*];

            /// In words.
            pub fn text(self) -> &'static str {
                match self { $(Point::$name => $text,)* }
            }
        }
    };
}

points! {
    CutByPeer => "connection closed by the client's side, bytes under way lost",
    CutMidStanza => "connection broke within a stanza to the server",
    CutMidDelivery => "connection broke within a stanza to the client",
    CutDuringReplay => "connection broke before a resumption's replay was through",
    CutDuringLogin => "connection broke during the login",
    DarkUp => "nothing reaches the server any more",
    DarkDown => "nothing reaches the client any more",
    DarkBoth => "nothing passes in either direction any more",
    DarkHealed => "a dark connection came back",
    GaveUpDark => "a client gave a dark connection up",
    SlowReader => "the server's kernel buffer for a client was full (runs)",
    Congested => "a machine was told that its client does not read (runs)",
    OutOfOrder => "posts of one thread were overtaken by another's (runs)",
    FsyncHeld => "fsync hung for a while",
    WriteFailed => "a write failed",
    DiskFull => "the disk was full",
    CrashIdle => "killed with nothing under way",
    CrashBeforeCommit => "killed with transactions waiting for the writer",
    CrashBeforeCompletions => "killed between a commit and its completions",
    CrashAmidCompletions => "killed between two completions of a round",
    CrashBeforePost => "killed with notes under way",
    CrashKeptUnsynced => "killed, rounds without sync were kept",
    CrashLostUnsynced => "killed, rounds without sync were lost",
    CrashWhileFailing => "killed while writes failed",
    ClockForward => "the clock jumped forward",
    ClockBack => "the clock had gone back at a restart",
    Resumed => "a session was resumed",
    ResumedAfterCrash => "a session was resumed over a restart",
    ResumeFailed => "a resumption was refused",
    ResentAfterResume => "stanzas were sent again after <resumed/>",
    ResentAfterBind => "messages were sent again in a new session",
    TakenOver => "a session was resumed while it was still connected",
    Replaced => "a session was replaced by one with the same resource",
    Expired => "a session was not resumed in time",
    PingTimeout => "a silent client was given up",
    LoginTimeout => "a login took too long",
    Overflowed => "a session ended because too much was unacknowledged",
    CatchUp => "a session read the archive (runs)",
    ConflictRetried => "a stanza was decided again after a conflict (runs)",
    Held => "a session was not read from: held, full, or being resumed (runs)",
    Unsettled => "a record of what was handed over was lost, and the client had acknowledged it",
    Bounced => "a message was answered with an error",
    BouncedStored => "such an error was stored, because the session may be resumed",
    BouncedAtOnce => "such an error was not stored",
    Offline => "a stored message came late",
    Again => "a message came to a second session of an account",
    FullJid => "a message to a full JID arrived",
    Swallowed => "a message was lost behind the kernel for a client without stream management",
    Subscribed => "two accounts see each other",
    RosterPushed => "a roster push arrived",
    Published => "a client was told of what another one published",
    ArchiveRead => "a client read a page of its archive",
    IqAnswered => "an iq result came",
    Copied => "a copy of a message to another session came",
    CopiedSent => "a copy of another session's message came",
    Inactive => "a client became inactive",
}

/// Counts by point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coverage(Vec<u64>);

impl Default for Coverage {
    fn default() -> Coverage {
        Coverage(vec![0; Point::ALL.len()])
    }
}

impl Coverage {
    /// It happened.
    pub fn hit(&mut self, point: Point) {
        self.0[point as usize] += 1;
    }

    /// It happened, which counts once in a run.
    pub fn once(&mut self, point: Point) {
        let count = &mut self.0[point as usize];
        *count = (*count).max(1);
    }

    /// Adds another run's counts.
    pub fn add(&mut self, other: &Coverage) {
        self.0.iter_mut().zip(&other.0).for_each(|(count, more)| *count += more);
    }

    /// What happened how often.
    pub fn each(&self) -> impl Iterator<Item = (Point, u64)> + '_ {
        Point::ALL.iter().copied().zip(self.0.iter().copied())
    }
}
