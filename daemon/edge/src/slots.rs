//! The shard's table of connections: slots in chunks that never move, each with a generation.
//!
//! A [`ConnId`] of a former tenant finds nothing. Chunks are allocated as they are needed and kept; growing
//! copies nothing, so the millionth connection costs what the first did.
use godwit_session::ConnId;

const CHUNK: u32 = 128;

enum State<T> {
    Free { next: Option<u32> },
    Used(T),
}

struct Slot<T> {
    generation: u32,
    state: State<T>,
}

/// The table.
pub(crate) struct Slots<T> {
    chunks: Vec<Box<[Slot<T>]>>,
    free: Option<u32>,
    used: usize,
}
impl<T> Slots<T> {
    pub(crate) fn new() -> Slots<T> {
        Slots { chunks: Vec::new(), free: None, used: 0 }
    }

    /// Number of connections.
    pub(crate) fn len(&self) -> usize {
        self.used
    }

    /// Bytes of the table itself.
    pub(crate) fn memory(&self) -> usize {
        self.chunks.len() * CHUNK as usize * size_of::<Slot<T>>()
    }

    /// Number of slots, used or not.
    pub(crate) fn span(&self) -> u32 {
        u32::try_from(self.chunks.len() * CHUNK as usize).unwrap_or(u32::MAX)
    }

    fn slot(&mut self, slot: u32) -> Option<&mut Slot<T>> {
        self.chunks.get_mut((slot / CHUNK) as usize)?.get_mut((slot % CHUNK) as usize)
    }

    fn grow(&mut self) -> u32 {
        let first = self.span();
        let slot = |at| Slot { generation: 0, state: State::Free { next: Some(first + at + 1) } };
        let mut chunk: Box<[Slot<T>]> = (0..CHUNK).map(slot).collect();
        if let Some(last) = chunk.last_mut() {
            last.state = State::Free { next: None };
        }
        self.chunks.push(chunk);
        first
    }

    /// Places what `make` makes for its own id. `None` (and nothing placed) if `make` gives none.
    pub(crate) fn insert(&mut self, make: impl FnOnce(ConnId) -> Option<T>) -> Option<ConnId> {
        let at = match self.free {
            Some(at) => at,
            None => self.grow(),
        };
        let slot = self.slot(at)?;
        let State::Free { next } = slot.state else { return None };
        // Generation 0 means nobody: skipped when the counter wraps.
        let generation = slot.generation.checked_add(1).unwrap_or(1);
        let id = ConnId { slot: at, generation };
        match make(id) {
            Some(tenant) => {
                slot.generation = generation;
                slot.state = State::Used(tenant);
                self.free = next;
                self.used += 1;
                Some(id)
            }
            None => {
                self.free = Some(at);
                None
            }
        }
    }

    /// Fills an empty table with tenants under their own ids: none below generation 1 or twice in a slot, and
    /// none beyond so many slots. `false` if one is; then the table is not to be used.
    pub(crate) fn restore(&mut self, slots_max: u32, tenants: impl IntoIterator<Item = (ConnId, T)>) -> bool {
        for (id, tenant) in tenants {
            if id.slot >= slots_max {
                return false;
            }
            while id.slot >= self.span() {
                self.grow();
            }
            let Some(slot) = self.slot(id.slot) else { return false };
            if id.generation == 0 || matches!(slot.state, State::Used(_)) {
                return false;
            }
            *slot = Slot { generation: id.generation, state: State::Used(tenant) };
            self.used += 1;
        }
        self.free = None;
        for at in (0..self.span()).rev() {
            let next = self.free;
            if let Some(slot) = self.slot(at)
                && let State::Free { next: place } = &mut slot.state
            {
                *place = next;
                self.free = Some(at);
            }
        }
        true
    }

    /// The connection of this id, if it is still there.
    pub(crate) fn get(&mut self, id: ConnId) -> Option<&mut T> {
        let slot = self.slot(id.slot)?;
        match &mut slot.state {
            State::Used(tenant) if slot.generation == id.generation => Some(tenant),
            _ => None,
        }
    }

    /// Who is in a slot now.
    pub(crate) fn tenant(&mut self, slot: u32) -> Option<ConnId> {
        let found = self.slot(slot)?;
        matches!(found.state, State::Used(_)).then_some(ConnId { slot, generation: found.generation })
    }

    /// Takes a connection out.
    pub(crate) fn remove(&mut self, id: ConnId) -> Option<T> {
        let free = self.free;
        let slot = self.slot(id.slot)?;
        if slot.generation != id.generation || matches!(slot.state, State::Free { .. }) {
            return None;
        }
        let State::Used(tenant) = std::mem::replace(&mut slot.state, State::Free { next: free }) else {
            return None;
        };
        self.free = Some(id.slot);
        self.used -= 1;
        Some(tenant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn former_tenants_are_not_found() {
        let mut slots = Slots::new();
        let first = slots.insert(|_| Some('a')).expect("placed");
        assert_eq!(slots.remove(first), Some('a'));
        let second = slots.insert(|_| Some('b')).expect("placed");
        assert_eq!((first.slot, second.slot), (0, 0));
        assert_eq!(slots.get(first), None);
        assert_eq!(slots.remove(first), None);
        assert_eq!(slots.get(second), Some(&mut 'b'));
        assert_eq!(slots.tenant(0), Some(second));
    }

    #[test]
    fn slots_are_reused_before_the_table_grows() {
        let mut slots = Slots::new();
        let ids: Vec<_> = (0..CHUNK * 3).map(|at| slots.insert(|_| Some(at)).expect("placed")).collect();
        assert_eq!(slots.len(), ids.len());
        assert!((0..).zip(&ids).all(|(at, id)| slots.get(*id) == Some(&mut { at })));
        for id in &ids {
            slots.remove(*id);
        }
        assert_eq!(slots.len(), 0);
        for at in 0..CHUNK * 3 {
            assert!(slots.insert(|_| Some(at)).is_some());
        }
        assert_eq!(slots.span(), CHUNK * 3);
    }

    #[test]
    fn a_table_is_restored_with_its_ids() {
        let mut slots = Slots::new();
        let at = |slot, generation| ConnId { slot, generation };
        assert!(slots.restore(1_000, [(at(3, 7), 'a'), (at(300, 1), 'b')]));
        assert_eq!((slots.len(), slots.get(at(3, 7))), (2, Some(&mut 'a')));
        let free = 0..slots.span() - 2;
        let others: Vec<_> = free.map(|_| slots.insert(|_| Some('x')).expect("placed")).collect();
        assert_eq!(
            (slots.span(), slots.get(at(300, 1))),
            (3 * CHUNK, Some(&mut 'b')),
            "free slots are found"
        );
        assert!(others.iter().all(|id| id.slot != 3 && id.slot != 300));
        assert!(!Slots::new().restore(1_000, [(at(3, 7), 'a'), (at(3, 8), 'b')]), "twice");
        assert!(!Slots::new().restore(1_000, [(at(1_000, 1), 'a')]), "beyond the bound");
        assert!(!Slots::new().restore(1_000, [(at(1, 0), 'a')]), "nobody's generation");
    }

    #[test]
    fn a_refused_insert_leaves_the_slot_free() {
        let mut slots: Slots<u8> = Slots::new();
        assert_eq!(slots.insert(|_| None), None);
        assert_eq!(slots.len(), 0);
        assert_eq!(slots.tenant(0), None);
        assert_eq!(slots.insert(|_| Some(1)).map(|id| id.slot), Some(0));
    }
}
