//! What the connections have to send in one turn of the loop: collected here, sealed and written once at its
//! end.
use godwit_session::ConnId;

/// Buffers kept for the next turns.
const POOL_MAX: usize = 256;
/// A larger buffer is not kept.
const KEPT_BYTES_MAX: usize = 16 << 10;

/// One connection's output of this turn.
pub(crate) struct Output {
    pub(crate) at: ConnId,
    /// Goes out as it is: alerts, handshake messages, what preceded TLS. Before `plain`.
    pub(crate) raw: Vec<u8>,
    /// What the machine said.
    pub(crate) plain: Vec<u8>,
}

/// The turn's outputs, and spare buffers.
#[derive(Default)]
pub(crate) struct Outputs {
    list: Vec<Output>,
    other: Vec<Output>,
    spare: Vec<Vec<u8>>,
    /// So many of the spare ones have not been used since the last trimming.
    unused: usize,
}
impl Outputs {
    /// The output of a connection, made if there is none. `place` is the connection's: its index plus one, or
    /// 0.
    pub(crate) fn of(&mut self, at: ConnId, place: &mut u32) -> &mut Output {
        let index = match (*place as usize).checked_sub(1) {
            Some(index) if index < self.list.len() => index,
            _ => {
                let plain = self.spare.pop().unwrap_or_default();
                self.unused = self.unused.min(self.spare.len());
                self.list.push(Output { at, raw: Vec::new(), plain });
                *place = u32::try_from(self.list.len()).unwrap_or(u32::MAX);
                self.list.len() - 1
            }
        };
        &mut self.list[index]
    }

    /// The output of a connection, if it has one.
    pub(crate) fn get(&mut self, place: u32) -> Option<&mut Output> {
        self.list.get_mut((place as usize).checked_sub(1)?)
    }

    /// Nobody has anything to send.
    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Takes all outputs to write them. What is said meanwhile comes into the next list.
    pub(crate) fn take(&mut self) -> Vec<Output> {
        std::mem::replace(&mut self.list, std::mem::take(&mut self.other))
    }

    /// Drops the buffers that were not needed since this was last called: after a burst its memory goes back.
    pub(crate) fn trim(&mut self) {
        self.spare.truncate(self.spare.len() - self.unused.min(self.spare.len()));
        self.unused = self.spare.len();
        for list in [&mut self.list, &mut self.other] {
            list.shrink_to(list.len().max(self.spare.len()));
        }
    }

    /// Gives the taken list back for its memory.
    pub(crate) fn give_back(&mut self, mut list: Vec<Output>) {
        for output in list.drain(..) {
            for mut buffer in [output.plain, output.raw] {
                if buffer.capacity() > 0 && buffer.capacity() <= KEPT_BYTES_MAX && self.spare.len() < POOL_MAX
                {
                    buffer.clear();
                    self.spare.push(buffer);
                }
            }
        }
        self.other = list;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_connection_has_one_output_a_turn_and_buffers_come_back() {
        let (a, b) = (ConnId { slot: 1, generation: 1 }, ConnId { slot: 2, generation: 1 });
        let (mut place_a, mut place_b) = (0, 0);
        let mut outputs = Outputs::default();
        outputs.of(a, &mut place_a).plain.extend_from_slice(b"one");
        outputs.of(b, &mut place_b).plain.extend_from_slice(b"other");
        outputs.of(a, &mut place_a).plain.extend_from_slice(b" two");
        let list = outputs.take();
        let said: Vec<_> = list.iter().map(|output| (output.at, output.plain.as_slice())).collect();
        assert_eq!(said, [(a, b"one two".as_slice()), (b, b"other".as_slice())]);
        assert!(outputs.is_empty());
        outputs.give_back(list);
        place_a = 0;
        let next = outputs.of(a, &mut place_a);
        assert!(next.plain.is_empty() && next.plain.capacity() > 0, "a used buffer, emptied");
    }

    #[test]
    fn buffers_of_a_burst_are_dropped_and_those_in_use_are_kept() {
        let mut outputs = Outputs::default();
        let turn = |outputs: &mut Outputs, connections: u32| {
            for slot in 0..connections {
                let mut place = 0;
                outputs.of(ConnId { slot, generation: 1 }, &mut place).plain.push(b'x');
            }
            let list = outputs.take();
            outputs.give_back(list);
        };
        turn(&mut outputs, 100);
        outputs.trim();
        assert_eq!(outputs.spare.len(), 100);
        turn(&mut outputs, 3);
        outputs.trim();
        assert_eq!(outputs.spare.len(), 3);
        outputs.trim();
        assert_eq!(outputs.spare.len(), 0);
    }
}
