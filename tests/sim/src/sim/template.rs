//! What all runs begin with: a store with accounts, made once because hashing passwords takes its time.
use super::plan::NAMES;
use crate::scram::Salted;
use crate::world::World;
use godwit_modules::Completion;
use godwit_store::MemStore;
use std::sync::Mutex;

/// See the module's documentation.
pub struct Template {
    store: MemStore<Completion>,
    salted: Mutex<Salted>,
}

impl Default for Template {
    fn default() -> Template {
        let mut world = World::new(1, 1);
        NAMES.iter().for_each(|name| world.account(name));
        Template { store: world.store.crash(), salted: Mutex::default() }
    }
}

impl Template {
    /// A store of one's own.
    pub fn store(&self) -> MemStore<Completion> {
        self.store.crash()
    }

    /// The salted passwords known so far.
    pub fn salted(&self) -> Salted {
        self.salted.lock().map(|salted| salted.clone()).unwrap_or_default()
    }

    /// Keeps those that a run has found.
    pub fn learn(&self, found: &Salted) {
        if let Ok(mut salted) = self.salted.lock() {
            salted.extend(found.iter().map(|(salt, key)| (salt.clone(), *key)));
        }
    }
}
