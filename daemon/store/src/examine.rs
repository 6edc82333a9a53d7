//! Reads a whole store, row by row with every checksum, and goes on behind what is damaged.
//!
//! The database is held for some thousand rows at a time, so that it can be closed or opened anew meanwhile.
//! So rows that are written while it reads may be seen or not. Blocks of filters are not read.

use std::ops::ControlFlow;

use rocksdb::ReadOptions;

use crate::cf::{EXAMINE_DAMAGE_MAX, EXAMINE_STEP_ROWS};
use crate::open::blame;
use crate::rocks::Engine;
use crate::{Cf, Rocks, StoreError};

/// How one step ended.
pub(crate) enum Step {
    /// Go on with this key.
    More(Vec<u8>),
    /// There are no more rows.
    End,
    /// The visitor has seen enough.
    Stopped,
    /// Something cannot be read; go on with this key, if anything is left to read.
    Damaged(StoreError, Option<Vec<u8>>),
}

pub(crate) type Each<'a> = &'a mut dyn FnMut(Cf, &[u8], &[u8]) -> ControlFlow<()>;

impl Rocks {
    /// Calls `each` for every row, family by family in the order of [`Cf::ALL`], until it breaks. Returns
    /// what could not be read. From a damage on, the keys of that table file are skipped, also where other
    /// files have rows among them; RocksDB may find it before it comes to those keys, and then what lies
    /// before them is skipped too.
    pub fn examine(&self, each: Each<'_>) -> Vec<StoreError> {
        let mut damage = Vec::new();
        for cf in Cf::ALL {
            if self.family(cf, each, &mut damage).is_break() {
                break;
            }
        }
        damage
    }

    fn family(&self, cf: Cf, each: Each<'_>, damage: &mut Vec<StoreError>) -> ControlFlow<()> {
        let mut next = Some(Vec::new());
        while let Some(from) = next.take() {
            let step = match self.engine() {
                Ok(engine) => self.step(&engine, cf, &from, each),
                Err(closed) => {
                    damage.push(closed);
                    return ControlFlow::Break(());
                }
            };
            match step {
                Step::More(key) => next = Some(key),
                Step::End => {}
                Step::Stopped => return ControlFlow::Break(()),
                Step::Damaged(error, behind) => {
                    damage.push(error);
                    next = behind.filter(|key| *key > from && damage.len() < EXAMINE_DAMAGE_MAX);
                }
            }
        }
        ControlFlow::Continue(())
    }

    pub(crate) fn step(&self, engine: &Engine, cf: Cf, from: &[u8], each: Each<'_>) -> Step {
        let mut options = ReadOptions::default();
        options.set_verify_checksums(true);
        options.fill_cache(false);
        options.set_total_order_seek(true);
        let mut found = engine.db.raw_iterator_cf_opt(engine.family(cf), options);
        found.seek(from);
        let mut rows = 0;
        while let Some((key, value)) = found.item() {
            if rows == EXAMINE_STEP_ROWS {
                return Step::More(key.to_vec());
            }
            rows += 1;
            if each(cf, key, value).is_break() {
                return Step::Stopped;
            }
            found.next();
        }
        match found.status() {
            Ok(()) => Step::End,
            Err(error) => Step::Damaged(blame(self.path(), &error), behind(engine, cf, error.as_ref())),
        }
    }
}

/// The first key behind those of the table file that an error names.
fn behind(engine: &Engine, cf: Cf, error: &str) -> Option<Vec<u8>> {
    let files = engine.db.live_files().ok()?;
    let mut of_family = files.into_iter().filter(|file| file.column_family_name == cf.name());
    let mut key = of_family.find(|file| error.contains(&file.name))?.end_key?;
    key.push(0);
    Some(key)
}
