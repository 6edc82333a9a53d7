//! Framer and parser against rxml's full parser on everything that may follow a stream header.
#![no_main]

#[path = "../../tests/oracle/mod.rs"]
mod oracle;

use godwit_wire::Limits;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    oracle::differential(data, &Limits::default());
});
