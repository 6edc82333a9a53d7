//! What the workers do, one file each.

pub(crate) mod chat;
pub(crate) mod failover;
pub(crate) mod idle;
pub(crate) mod login;
pub(crate) mod mam;
pub(crate) mod muc;
pub(crate) mod offline;
pub(crate) mod pair;
pub(crate) mod ramp;
pub(crate) mod register;
pub(crate) mod rtb;
pub(crate) mod storm;
