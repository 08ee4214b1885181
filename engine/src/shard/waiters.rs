//! Those who wait for a partition to reach something, and who is woken by what it reached.
//!
//! A waiter is a place in a list, taken again and again: to wait allocates nothing once the list has grown.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::error::{Error, Result};
use crate::shard::partition::Partition;
use crate::types::Offset;

/// What is waited for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// Everything before the offset is on stable storage.
    Flushed(Offset),
    /// The high watermark is at least the offset.
    Visible(Offset),
    /// This many bytes became visible since the log was opened, or the high watermark passed the offset by any number, where
    /// the bytes are 0.
    VisibleBytes(u64),
}

struct Waiter {
    event: Event,
    waker: Option<Waker>,
    /// Why it is not to wait any longer.
    refused: Option<Error>,
}

/// The waiters of one partition.
#[derive(Default)]
pub struct Waiters {
    list: slab::Slab<Waiter>,
}

impl Waiters {
    /// Wakes those whose event has come.
    pub fn wake(&mut self, reached: impl Fn(Event) -> bool) {
        for (_, waiter) in &mut self.list {
            if waiter.waker.is_some() && reached(waiter.event) {
                waiter.waker.take().expect("it was there").wake();
            }
        }
    }

    /// Ends the wait of those who wait for what they appended.
    pub fn refuse(&mut self, error: &Error) {
        for (_, waiter) in &mut self.list {
            if matches!(waiter.event, Event::Flushed(_) | Event::Visible(_)) {
                waiter.refused = Some(error.clone());
                waiter.waker.take().into_iter().for_each(Waker::wake);
            }
        }
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Gives memory back where none waits.
    pub fn shrink(&mut self) {
        if self.list.is_empty() {
            self.list.shrink_to_fit();
        }
    }
}

/// Ends when the event has come, or with an error when it never will.
pub struct Wait {
    partition: Rc<Partition>,
    event: Event,
    place: Option<usize>,
}

impl Wait {
    /// Waits for `event` at `partition`.
    pub fn new(partition: Rc<Partition>, event: Event) -> Wait {
        Wait { partition, event, place: None }
    }
}

impl Future for Wait {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        if let Err(error) = self.partition.check() {
            return Poll::Ready(Err(error));
        }
        if self.partition.reached(self.event) {
            return Poll::Ready(Ok(()));
        }
        if let Err(error) = self.partition.check_not_cut_off(self.event) {
            return Poll::Ready(Err(error));
        }
        let event = self.event;
        let mut waiters = self.partition.waiters.borrow_mut();
        let waker = Some(context.waker().clone());
        let place = match self.place {
            Some(place) => {
                if let Some(error) = waiters.list[place].refused.take() {
                    return Poll::Ready(Err(error));
                }
                waiters.list[place].waker = waker;
                place
            }
            None => waiters.list.insert(Waiter { event, waker, refused: None }),
        };
        drop(waiters);
        self.place = Some(place);
        Poll::Pending
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            self.partition.waiters.borrow_mut().list.remove(place);
        }
    }
}
