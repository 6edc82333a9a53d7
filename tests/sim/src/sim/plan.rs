//! What a seed decides before the first move: who there is, which faults there are, and how fast everybody
//! is.
use crate::seams::Dice;
use crate::server::Config;
use crate::world;

/// Accounts.
pub const NAMES: [&str; 4] = ["alice", "bob", "carol", "dave"];

/// See the module's documentation.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The server's settings.
    pub config: Config,
    /// Account, and whether it uses stream management, of each client.
    pub clients: Vec<(usize, bool)>,
    /// Moves until the faults end.
    pub moves: u64,
    /// Per kind of move, how often it is chosen.
    pub pace: Pace,
    /// Per mille of moves that are faults.
    pub faults: u64,
    /// Of those, per cent that kill the server.
    pub kills: u64,
    /// Largest padding of a message in bytes.
    pub padding_max: usize,
}

/// Weights of the kinds of moves.
#[derive(Debug, Clone)]
pub struct Pace {
    /// The network and the kernel.
    pub network: usize,
    /// Shards.
    pub shards: usize,
    /// The writer.
    pub writer: usize,
    /// Workers.
    pub workers: usize,
    /// Clients of their own accord.
    pub clients: usize,
    /// Time.
    pub time: usize,
}

impl Plan {
    /// From a run's dice.
    pub fn new(dice: &Dice) -> Plan {
        let accounts = 2 + dice.below(NAMES.len() - 1);
        let mut clients: Vec<(usize, bool)> = (0..accounts).map(|account| (account, true)).collect();
        for _ in 0..dice.below(5) {
            clients.push((dice.below(accounts), dice.chance(75)));
        }
        let speed = || [1, 2, 4, 8, 8, 16][dice.below(6)];
        let pace = Pace {
            network: speed() + 1,
            shards: speed(),
            writer: speed(),
            workers: speed(),
            clients: [1, 1, 2, 3][dice.below(4)],
            time: 1,
        };
        Plan {
            config: config(dice),
            clients,
            moves: dice.between(300, 1_500),
            pace,
            faults: [0, 5, 10, 20, 30][dice.below(5)],
            kills: [0, 5, 10, 20][dice.below(4)],
            padding_max: [0, 40, 300, 2_000][dice.below(4)],
        }
    }
}

fn config(dice: &Dice) -> Config {
    let stream = godwit_session::Settings {
        ping_after_ms: 60_000,
        ping_timeout_ms: 20_000,
        resume_s_max: 120,
        inflight_max: [2, 8, 64][dice.below(3)],
        unacked_max: [5, 30, 500][dice.below(3)],
        unacked_bytes_max: [4_000, 256 * 1024][usize::from(dice.chance(80))],
        request_ack_every: [1, 5, 20][dice.below(3)],
        ..world::stream_settings()
    };
    Config {
        shards: [1, 2, 3][dice.below(3)],
        hub: world::settings(),
        stream,
        queue_high: [2_000, 16_000][dice.below(2)],
        queue_bytes_max: 1 << 20,
        prompt: false,
    }
}
