//! The lines between the coordinator and its workers: JSON, one message a line, over the workers' standard
//! input and output.

use std::io::{BufRead as _, BufReader, Write as _};
use std::sync::mpsc::{Receiver, TryRecvError, channel};

use serde::{Deserialize, Serialize};

use crate::Outcome;
use crate::data::Tally;

/// What a worker says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Tell {
    /// How far the phase is.
    Progress {
        /// Units done, of `total` if that is known.
        done: u64,
        total: Option<u64>,
    },
    /// It is ready for this phase and waits for its order.
    Ready(String),
    /// The measured part of the phase is over; what follows is the drain.
    Measured,
    /// The phase is over.
    Phase(Box<Tally>),
    /// Something that a person should read.
    Note(String),
    /// The worker is done, with the reason if it failed.
    End(Option<String>),
}

/// What the coordinator answers to [`Tell::Ready`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Begin.
    Go,
    /// Begin, with this load in all workers together and for so long.
    Load {
        /// Messages per second.
        rate: f64,
        /// Seconds.
        seconds: f64,
    },
    /// There is nothing more to do.
    Stop,
}

/// A worker's end.
#[derive(Debug)]
pub(crate) struct Link {
    orders: Receiver<Order>,
}

impl Link {
    /// Reads orders in a thread of its own, so that the worker's loop goes on meanwhile.
    pub(crate) fn new() -> Self {
        let (sender, orders) = channel();
        std::thread::spawn(move || {
            for line in std::io::stdin().lock().lines() {
                let order = line.ok().and_then(|line| serde_json::from_str(&line).ok());
                if order.is_none_or(|order| sender.send(order).is_err()) {
                    break;
                }
            }
        });
        Self { orders }
    }

    /// The order, if it has come.
    pub(crate) fn order(&mut self) -> Outcome<Option<Order>> {
        match self.orders.try_recv() {
            Ok(order) => Ok(Some(order)),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err("the coordinator is gone".into()),
        }
    }
}

/// Says something to the coordinator.
pub(crate) fn tell(tell: &Tell) -> Outcome<()> {
    let text = serde_json::to_string(tell).map_err(|e| e.to_string())?;
    let mut out = std::io::stdout().lock();
    let written = writeln!(out, "{text}").and_then(|()| out.flush());
    written.map_err(|e| format!("the coordinator is gone: {e}"))
}

/// Reads what a worker says until it ends, and hands it on with the worker's number.
pub(crate) fn listen(
    number: usize,
    output: impl std::io::Read + Send + 'static,
    to: std::sync::mpsc::Sender<(usize, Tell)>,
) {
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines() {
            let Ok(line) = line else { break };
            let told = serde_json::from_str(&line).unwrap_or(Tell::Note(line));
            if to.send((number, told)).is_err() {
                return;
            }
        }
        let _ = to.send((number, Tell::End(Some("the process ended without a word".into()))));
    });
}
