//! Reads some stretches of a store at random places: a look that costs the same for a store of any size.

use std::ops::ControlFlow;

use rocksdb::ReadOptions;

use crate::examine::{Each, Step};
use crate::rocks::Engine;
use crate::{Cf, Rocks, StoreError};

/// How much is read of each family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// Stretches.
    pub stretches: u32,
    /// Rows of each, at most. Stretches may overlap in a small family.
    pub rows: u32,
}

impl Rocks {
    /// Calls `each` for the rows of some stretches of every family, with every checksum compared, as
    /// [`Rocks::examine`] does for all rows. `random` says where a stretch begins. Returns what could not be
    /// read.
    pub fn sample(&self, extent: Sample, random: &mut dyn FnMut() -> u64, each: Each<'_>) -> Vec<StoreError> {
        let mut damage = Vec::new();
        for cf in Cf::ALL {
            for stretch in 0..extent.stretches {
                let engine = match self.engine() {
                    Ok(engine) => engine,
                    Err(closed) => return vec![closed],
                };
                // The first one begins at the beginning, so that a small family is read as a whole.
                let from = if stretch == 0 { Vec::new() } else { place(&engine, cf, random()) };
                let mut left = extent.rows;
                let step = self.step(&engine, cf, &from, &mut |cf, key, value| {
                    left = left.saturating_sub(1);
                    match each(cf, key, value) {
                        ControlFlow::Continue(()) if left > 0 => ControlFlow::Continue(()),
                        _ => ControlFlow::Break(()),
                    }
                });
                if let Step::Damaged(error, _) = step {
                    damage.push(error);
                }
            }
        }
        damage
    }
}

/// A key somewhere between the first and the last one of a family.
fn place(engine: &Engine, cf: Cf, random: u64) -> Vec<u8> {
    let mut rows = engine.db.raw_iterator_cf_opt(engine.family(cf), ReadOptions::default());
    rows.seek_to_first();
    let first = rows.key().map(<[u8]>::to_vec).unwrap_or_default();
    rows.seek_to_last();
    between(&first, rows.key().unwrap_or_default(), random)
}

/// What both keys begin with, and then a number between theirs.
fn between(first: &[u8], last: &[u8], random: u64) -> Vec<u8> {
    let common = first.iter().zip(last).take_while(|(a, b)| a == b).count();
    let number = |key: &[u8]| {
        let mut bytes = [0; 8];
        for (byte, of_key) in bytes.iter_mut().zip(key.iter().skip(common)) {
            *byte = *of_key;
        }
        u64::from_be_bytes(bytes)
    };
    let (low, high) = (number(first), number(last));
    let at = match high.saturating_sub(low) {
        0 => low,
        width => low.saturating_add(random % width),
    };
    let mut key = last.get(..common).unwrap_or_default().to_vec();
    key.extend_from_slice(&at.to_be_bytes());
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_lies_between_first_and_last() {
        let (first, last) = (b"owner-aa".as_slice(), b"owner-zz123".as_slice());
        for random in [0, 1, 12_345, u64::MAX / 2, u64::MAX] {
            let key = between(first, last, random);
            assert!(key.starts_with(b"owner-"), "{key:?}");
            assert!(first <= key.as_slice() && key.as_slice() <= last, "{random}: {key:?}");
        }
        assert_eq!(between(b"", b"", 7), [0; 8]);
        assert!(between(b"same", b"same", 7).starts_with(b"same"));
    }
}
