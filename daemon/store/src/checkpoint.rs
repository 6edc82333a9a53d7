//! A consistent copy of the open store, as RocksDB makes it: table files by hard link, so that it costs no
//! space and no time at first.

use std::path::Path;

use rocksdb::checkpoint::Checkpoint;

use crate::open::blame;
use crate::{Read, Rocks, Seq, StoreError};

impl Rocks {
    /// Makes a checkpoint in a directory that does not exist yet, on the same file system. It holds every
    /// transaction that was completed before the call, and opens like a store. Returns the largest sequence
    /// number that it holds at least.
    ///
    /// Memtables are written to table files first; writing goes on meanwhile.
    pub fn checkpoint(&self, into: &Path) -> Result<Seq, StoreError> {
        let head = self.head();
        let engine = self.engine()?;
        let checkpoint = Checkpoint::new(&engine.db).map_err(|error| blame(into, &error))?;
        checkpoint.create_checkpoint(into).map_err(|error| blame(into, &error))?;
        Ok(head)
    }
}

#[cfg(test)]
mod tests {
    use crate::{Cf, Op, Options, Owner, Read, Rocks, Sink, Submit, Tx, schema};

    struct Nobody;
    impl Sink<()> for Nobody {
        fn committed(&mut self, round: &mut Vec<((), crate::Outcome)>) {
            round.clear();
        }
    }

    #[test]
    fn a_checkpoint_holds_what_was_committed_and_nothing_that_came_later() {
        let dir = tempfile::tempdir().unwrap();
        let clock = std::sync::Arc::new(|| 1_000);
        let store = dir.path().join("store");
        let opened = crate::open(&store, &Options::default(), clock, Box::new(Nobody)).unwrap();
        let put = |n: u64| {
            let mut tx = Tx::default();
            let key = schema::roster(Owner(n), "b@c");
            tx.ops.push(Op::Put { cf: Cf::Roster, key, value: b"x".to_vec() });
            opened.writer.submit(tx, ()).unwrap();
        };
        let wait = |n: u64| {
            let key = schema::roster(Owner(n), "b@c");
            while opened.store.get(Cf::Roster, &key).unwrap().is_none() {
                std::thread::yield_now();
            }
        };
        put(1);
        wait(1);
        let copy = dir.path().join("copy");
        opened.store.checkpoint(&copy).unwrap();
        put(2);
        wait(2);
        let copy = Rocks::open(&copy, &Options::default()).unwrap();
        assert!(copy.get(Cf::Roster, &schema::roster(Owner(1), "b@c")).unwrap().is_some());
        assert!(copy.get(Cf::Roster, &schema::roster(Owner(2), "b@c")).unwrap().is_none());
        let again = opened.store.checkpoint(&dir.path().join("copy"));
        assert!(again.unwrap_err().to_string().contains("copy"), "an existing directory is refused by name");
    }
}
