//! Exit codes of `godwitctl`, as its help documents them, and the errors behind them.
use crate::admin::protocol::{Failure, FailureKind};
use std::fmt::Display;

/// Why a command did not do what it was told, and the code for that.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failed {
    /// Exit code.
    pub(super) code: u8,
    /// For standard error.
    pub(super) message: String,
}

impl Failed {
    /// Something went wrong.
    pub(super) fn because(message: impl Display) -> Failed {
        Failed { code: 1, message: message.to_string() }
    }
    /// It was asked for the wrong way.
    pub(super) fn usage(message: impl Display) -> Failed {
        Failed { code: 2, message: message.to_string() }
    }
    /// There is no daemon where one is needed.
    pub(super) fn unreachable(message: impl Display) -> Failed {
        Failed { code: 3, message: message.to_string() }
    }
}

impl From<Failure> for Failed {
    fn from(failure: Failure) -> Failed {
        let code = match failure.kind {
            FailureKind::Failed => 1,
            FailureKind::Request => 2,
            FailureKind::Missing => 4,
            FailureKind::Exists => 5,
        };
        Failed { code, message: failure.message }
    }
}
