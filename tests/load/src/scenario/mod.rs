//! What the workers do, one file each.

pub(crate) mod chat;
pub(crate) mod idle;
pub(crate) mod login;
pub(crate) mod offline;
pub(crate) mod pair;
pub(crate) mod register;
