//! Any split of any input gives the same frames. The first bytes choose limits and cuts, the rest is the
//! input.
#![no_main]

#[path = "../../tests/oracle/mod.rs"]
mod oracle;

use godwit_wire::Limits;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some(([bytes_max, small, a, b, c], input)) = data.split_first_chunk::<5>() else { return };
    let limits = match small {
        0 => Limits::default(),
        n => Limits {
            depth_max: u16::from(n & 7),
            attributes_max: u16::from(n & 3),
            name_bytes_max: u16::from(n & 15) + 12,
            value_bytes_max: u32::from(n & 31) + 30,
            namespaces_max: u16::from(n & 3),
            ..Limits::default()
        },
    };
    let mut cuts = [a, b, c].map(|seed| usize::from(*seed) % (input.len() + 1));
    cuts.sort_unstable();
    oracle::split_invariant(input, &cuts, &limits, u32::from(*bytes_max) * 4);
});
