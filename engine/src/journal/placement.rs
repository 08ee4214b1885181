//! Where in the ring the next group goes, and what is free. No I/O.
//!
//! The ring is the journal's file behind its header block, up to where it was prewritten. A group is never split: one
//! that does not fit before the end goes to the start. The reader needs no mark for that, since it looks for the next
//! group in both places and a group names its own. The used part runs from the tail, where recovery would begin, to
//! the head; the head never reaches the tail again, so that equal positions always mean an empty ring.

use crate::journal::group::JournalMark;
use crate::types::{BLOCK_BYTES, Position};

/// Where the ring begins: behind the file's header block.
pub const RING_START: Position = Position(BLOCK_BYTES);

/// The used and the free part of one journal.
#[derive(Clone, Debug)]
pub(crate) struct Placement {
    head: JournalMark,
    tail: JournalMark,
    /// Where the prewritten part ends.
    end: Position,
    /// Where the used part ends before it goes on at the start, while the head is before the tail.
    wrapped_at: Position,
}

impl Placement {
    /// An empty ring of one generation that ends at `end`.
    pub(crate) fn new(generation: u64, end: Position) -> Placement {
        let first = JournalMark::first(generation);
        assert!(end > RING_START, "a ring that ends at {end}");
        Placement { head: first, tail: first, end, wrapped_at: end }
    }

    /// Where the next group goes.
    pub(crate) fn head(&self) -> JournalMark {
        self.head
    }

    /// Where the prewritten part ends.
    pub(crate) fn end(&self) -> Position {
        self.end
    }

    /// The place of the next group if it has `bytes`; `None` where it must wait for a release or for growth.
    pub(crate) fn place(&self, bytes: u64) -> Option<Position> {
        assert!(bytes > 0 && bytes.is_multiple_of(BLOCK_BYTES), "a group of {bytes} bytes");
        let (head, tail) = (self.head.position, self.tail.position);
        if self.is_wrapped() {
            return (head + bytes < tail).then_some(head);
        }
        if head + bytes <= self.end {
            return Some(head);
        }
        (RING_START + bytes < tail).then_some(RING_START)
    }

    /// Takes the place of the next group.
    pub(crate) fn take(&mut self, bytes: u64) -> Option<JournalMark> {
        let place = self.place(bytes)?;
        if place < self.head.position {
            self.wrapped_at = self.head.position;
        }
        let taken = JournalMark { position: place, ..self.head };
        self.head = JournalMark { sequence: self.head.sequence + 1, position: place + bytes, ..self.head };
        Some(taken)
    }

    /// Frees what is before the mark.
    pub(crate) fn release(&mut self, mark: JournalMark) {
        let sound = mark.generation == self.tail.generation
            && (self.tail.sequence..=self.head.sequence).contains(&mark.sequence);
        assert!(sound, "release up to {mark:?}, the ring has {:?} to {:?}", self.tail, self.head);
        self.tail = mark;
    }

    /// Makes the ring longer.
    pub(crate) fn grow(&mut self, end: Position) {
        assert!(end >= self.end, "the ring would shrink from {} to {end}", self.end);
        self.end = end;
    }

    /// Bytes from the tail to the head.
    pub(crate) fn used_bytes(&self) -> u64 {
        if self.is_wrapped() {
            self.wrapped_at.0.saturating_sub(self.tail.position.0) + (self.head.position - RING_START)
        } else {
            self.head.position - self.tail.position
        }
    }

    fn is_wrapped(&self) -> bool {
        self.head.position < self.tail.position
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    const B: u64 = BLOCK_BYTES;

    #[test]
    fn a_group_that_does_not_fit_before_the_end_goes_to_the_start() {
        let mut ring = Placement::new(3, RING_START + 10 * B);
        let first = ring.take(6 * B).expect("room");
        assert_eq!(first, JournalMark::first(3));
        assert_eq!(ring.place(6 * B), None, "neither before the end nor before the tail");
        ring.release(ring.head());
        assert_eq!(ring.place(6 * B), None, "the head would reach the tail");
        assert_eq!(ring.take(5 * B).expect("room"), JournalMark { generation: 3, sequence: 2, position: RING_START });
        assert_eq!(ring.used_bytes(), 5 * B);
    }

    #[test]
    fn a_ring_that_grows_uses_the_new_part_before_it_wraps() {
        let mut ring = Placement::new(1, RING_START + 4 * B);
        ring.take(4 * B).expect("room");
        assert_eq!(ring.place(B), None);
        ring.grow(RING_START + 8 * B);
        assert_eq!(ring.take(B).expect("room").position, RING_START + 4 * B);
    }

    proptest! {
        #[test]
        fn groups_in_use_never_overlap_and_are_found_at_the_head_or_the_start(
            steps in prop::collection::vec((1u64..8, 0usize..4, any::<bool>()), 1..300)
        ) {
            let mut ring = Placement::new(1, RING_START + 12 * B);
            let mut live: VecDeque<(JournalMark, u64)> = VecDeque::new();
            for (blocks, released, grow) in steps {
                let before = ring.head();
                if let Some(taken) = ring.take(blocks * B) {
                    prop_assert!(taken.position == before.position || taken.position == RING_START);
                    prop_assert_eq!(taken.sequence, before.sequence);
                    prop_assert!(taken.position + blocks * B <= ring.end());
                    for (other, bytes) in &live {
                        let apart = other.position + *bytes <= taken.position || taken.position + blocks * B <= other.position;
                        prop_assert!(apart, "{:?} over {:?}", taken, other);
                    }
                    live.push_back((taken, blocks * B));
                }
                for _ in 0..released.min(live.len()) {
                    let (gone, bytes) = live.pop_front().expect("one");
                    ring.release(JournalMark { sequence: gone.sequence + 1, position: gone.position + bytes, ..gone });
                }
                if grow && ring.end() < RING_START + 40 * B {
                    ring.grow(ring.end() + B);
                }
                let live_bytes: u64 = live.iter().map(|group| group.1).sum();
                prop_assert!(ring.used_bytes() >= live_bytes);
                prop_assert!(live.is_empty() == (ring.used_bytes() == 0) || live.is_empty());
            }
        }
    }
}
