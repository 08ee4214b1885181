//! The connections of a shard, so that one of them can be told to make room for another.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Waker};

use corelog_engine::io::Instant;
use rustc_hash::FxHashMap;

/// The connections that are open.
#[derive(Debug, Default)]
pub(crate) struct Seats {
    taken: RefCell<FxHashMap<u64, Rc<Seat>>>,
    next: Cell<u64>,
}

/// What is known of one.
#[derive(Debug)]
pub(crate) struct Seat {
    id: u64,
    /// Its listener.
    pub(crate) listener: Rc<str>,
    used_at: Cell<Instant>,
    is_to_leave: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Seats {
    /// One more, on `listener`.
    pub(super) fn take(&self, listener: Rc<str>, now: Instant) -> Rc<Seat> {
        let id = self.next.replace(self.next.get() + 1);
        let seat = Rc::new(Seat {
            id,
            listener,
            used_at: Cell::new(now),
            is_to_leave: Cell::new(false),
            waker: RefCell::default(),
        });
        self.taken.borrow_mut().insert(id, seat.clone());
        seat
    }

    /// It has ended.
    pub(super) fn give_back(&self, seat: &Seat) {
        self.taken.borrow_mut().remove(&seat.id);
    }

    /// The one that was silent for the longest, of those that may be told to end and have not been.
    pub(super) fn most_silent(&self, may_leave: impl Fn(&Seat) -> bool) -> Option<Rc<Seat>> {
        let taken = self.taken.borrow();
        let able = taken.values().filter(|seat| !seat.was_told() && may_leave(seat));
        able.min_by_key(|seat| seat.used_at.get()).cloned()
    }
}

impl Seat {
    /// Something of it moved.
    pub(super) fn used(&self, now: Instant) {
        self.used_at.set(now);
    }

    /// Tells it to end.
    pub(super) fn tell(&self) {
        self.is_to_leave.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Whether it was told to end.
    pub(super) fn was_told(&self) -> bool {
        self.is_to_leave.get()
    }

    /// The same; wakes the task when it is.
    pub(super) fn poll_told(&self, cx: &Context<'_>) -> bool {
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        self.was_told()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_silent_is_told_and_each_once() {
        let seats = Seats::default();
        let take = |listener: &str, at| seats.take(listener.into(), Instant(at));
        let (first, second, kept, gone) = (take("A", 1), take("A", 2), take("B", 0), take("A", 0));
        seats.give_back(&gone);
        first.used(Instant(3));
        let tell = || seats.most_silent(|seat| &*seat.listener == "A").map(|seat| seat.tell()).is_some();
        assert!(tell() && second.was_told() && !first.was_told());
        assert!(tell() && first.was_told());
        assert!(!tell() && !kept.was_told() && !gone.was_told());
    }
}
