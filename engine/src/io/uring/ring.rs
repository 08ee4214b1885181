//! The disk ring: operations in flight, the task that submits them and the task that reaps them.
//!
//! Every operation has a slot that owns what the kernel may touch (file, memory) until its completion arrives, whether
//! or not anyone still waits for it. Slots are reused, each time under a new generation, so that a steady stream of
//! operations allocates nothing.
//!
//! Entries are not submitted one by one: the first one queued wakes the *flush task*, which runs behind all tasks that
//! are ready by then and submits what they queued with one system call. Submitting only when the thread parks would
//! leave an operation behind for as long as other tasks are ready. Completions signal an eventfd that the host runtime
//! polls; with `DEFER_TASKRUN` they only come about when this thread enters the kernel to get them.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use io_uring::{IoUring, squeue};
use smallvec::SmallVec;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::file::OpenFile;
use crate::io::buffer::{Buffer, Slice};

/// `IORING_ENTER_GETEVENTS`: run what the kernel deferred and post its completions.
const GET_EVENTS: u32 = 1;
/// How long the flush task waits where the kernel has no room for more operations.
const FULL_RETRY: Duration = Duration::from_millis(1);

/// What an operation owns while the kernel may touch it.
pub(super) enum Held {
    /// Nothing.
    Nothing,
    /// Nothing but its file.
    File(#[expect(dead_code, reason = "held, not read")] Rc<OpenFile>),
    /// The buffer that is read into.
    Read(#[expect(dead_code, reason = "held, not read")] Rc<OpenFile>, Buffer),
    /// The bytes that are written.
    Write(
        #[expect(dead_code, reason = "held, not read")] Rc<OpenFile>,
        #[expect(dead_code, reason = "held, not read")] Slice,
    ),
    /// The bytes that are written, and the list of their places.
    WriteMany {
        /// The file.
        #[expect(dead_code, reason = "held, not read")]
        file: Rc<OpenFile>,
        /// The bytes.
        #[expect(dead_code, reason = "held, not read")]
        slices: SmallVec<[Slice; 4]>,
        /// Where they are, as the kernel reads it.
        places: Vec<libc::iovec>,
    },
}

enum Slot {
    Free { next: u32 },
    Flying { waker: Option<Waker>, abandoned: bool, held: Held },
    Landed { result: i32, held: Held },
}

const NO_SLOT: u32 = u32::MAX;

struct Slots {
    slots: Vec<(u32, Slot)>,
    free: u32,
    flying: usize,
}

/// One thread's ring.
pub(super) struct Ring {
    uring: RefCell<IoUring>,
    slots: RefCell<Slots>,
    /// Entries that the submission queue has no place for yet.
    backlog: RefCell<VecDeque<squeue::Entry>>,
    /// Entries queued and not yet submitted.
    queued: Cell<usize>,
    flush_waker: RefCell<Option<Waker>>,
    reaped: RefCell<Vec<(u64, i32)>>,
    enters: Cell<u64>,
    /// Nothing is submitted any more.
    finished: Cell<bool>,
    eventfd: Eventfd,
}

#[derive(Clone)]
struct Eventfd(Rc<OwnedFd>);

impl AsRawFd for Eventfd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl Ring {
    /// Takes over a ring that was made on this thread.
    pub(super) fn new(uring: IoUring) -> io::Result<Ring> {
        // SAFETY: a plain system call; the new descriptor has no other owner.
        let eventfd = unsafe {
            let fd = libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            Eventfd(Rc::new(OwnedFd::from_raw_fd(fd)))
        };
        uring.submitter().register_eventfd(eventfd.as_raw_fd())?;
        let capacity = uring.params().cq_entries() as usize;
        Ok(Ring {
            uring: RefCell::new(uring),
            slots: RefCell::new(Slots { slots: Vec::with_capacity(capacity), free: NO_SLOT, flying: 0 }),
            backlog: RefCell::new(VecDeque::new()),
            queued: Cell::new(0),
            flush_waker: RefCell::new(None),
            reaped: RefCell::new(Vec::with_capacity(capacity)),
            enters: Cell::new(0),
            finished: Cell::new(false),
            eventfd,
        })
    }

    /// Spawns the flush task and the reap task on the host runtime of this thread.
    pub(super) fn start(self: &Rc<Ring>) -> io::Result<()> {
        // SAFETY: the descriptor is owned by the `Eventfd` that moves into the `AsyncFd`, and stays the same.
        let events = unsafe { AsyncFd::register_with_interest(self.eventfd.clone(), Interest::READABLE)? };
        let ring = Rc::clone(self);
        tokio::task::spawn_local(async move {
            loop {
                let mut ready = events.readable().await.expect("the runtime outlives its tasks");
                // The eventfd is never read: each signal is a new edge, which is all that is wanted of it.
                ready.clear_ready();
                ring.reap_deferred();
            }
        });
        let ring = Rc::clone(self);
        tokio::task::spawn_local(async move {
            loop {
                ring.queued().await;
                if !ring.flush() {
                    tokio::time::sleep(FULL_RETRY).await;
                }
            }
        });
        Ok(())
    }

    /// Queues an operation that owns `held` until it completes.
    ///
    /// # Safety
    /// What the entry points to is alive and not otherwise written (for writes) or seen (for reads) as long as `held`
    /// is, and does not move with it.
    pub(super) unsafe fn push(self: &Rc<Ring>, entry: squeue::Entry, held: Held) -> Operation {
        let key = self.slots.borrow_mut().fly(held);
        let entry = entry.user_data(key);
        let mut backlog = self.backlog.borrow_mut();
        // SAFETY: the caller's promise; the slot keeps `held` until the completion arrives.
        if !backlog.is_empty() || unsafe { self.uring.borrow_mut().submission().push(&entry) }.is_err() {
            backlog.push_back(entry);
        }
        drop(backlog);
        self.queued.set(self.queued.get() + 1);
        if self.queued.get() == 1 {
            let waker = self.flush_waker.take();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
        Operation { ring: Rc::clone(self), key: Some(key) }
    }

    /// Waits until at least one entry is queued.
    fn queued(&self) -> impl Future<Output = ()> + '_ {
        std::future::poll_fn(|context| {
            if self.queued.get() > 0 {
                return Poll::Ready(());
            }
            *self.flush_waker.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        })
    }

    /// Submits what is queued, as far as the kernel takes it; the rest is the flush task's.
    pub(super) fn submit(&self) {
        self.flush();
    }

    /// Submits what is queued and reaps what completed at once. False where the kernel had no room for all of it.
    fn flush(&self) -> bool {
        while self.queued.get() > 0 {
            let submitted = {
                let mut uring = self.uring.borrow_mut();
                let mut backlog = self.backlog.borrow_mut();
                let mut submission = uring.submission();
                while let Some(entry) = backlog.front() {
                    // SAFETY: promised by the caller of `push`; its slot is still flying.
                    if unsafe { submission.push(entry) }.is_err() {
                        break;
                    }
                    backlog.pop_front();
                }
                drop(submission);
                uring.submit()
            };
            self.enters.set(self.enters.get() + 1);
            match submitted {
                Ok(count) => {
                    self.queued.set(self.queued.get() - count);
                    self.reap();
                }
                Err(error) => match error.raw_os_error() {
                    Some(libc::EINTR) => {}
                    Some(libc::EBUSY | libc::EAGAIN) => {
                        // Room comes with the completions of what is in flight.
                        self.reap_deferred();
                        return false;
                    }
                    _ => panic!("io_uring_enter: {error}"),
                },
            }
        }
        true
    }

    /// Has the kernel finish what it deferred, then reaps.
    fn reap_deferred(&self) {
        let deferred = {
            let mut uring = self.uring.borrow_mut();
            let submission = uring.submission();
            submission.taskrun() || submission.cq_overflow()
        };
        if deferred {
            self.enter(0);
        }
        self.reap();
    }

    fn enter(&self, want: u32) {
        self.enters.set(self.enters.get() + 1);
        // SAFETY: no argument is passed, and nothing is submitted.
        let entered = unsafe { self.uring.borrow().submitter().enter::<libc::sigset_t>(0, want, GET_EVENTS, None) };
        if let Err(error) = entered {
            let code = error.raw_os_error();
            assert!(matches!(code, Some(libc::EINTR | libc::EBUSY | libc::EAGAIN)), "io_uring_enter: {error}");
        }
    }

    /// Hands the completions that are there to those who wait for them.
    fn reap(&self) {
        let mut reaped = self.reaped.take();
        reaped.extend(self.uring.borrow_mut().completion().map(|entry| (entry.user_data(), entry.result())));
        for (key, result) in reaped.drain(..) {
            // Nothing is borrowed while who waits is woken, or what nobody waits for is dropped, which may close a file.
            let landed = self.slots.borrow_mut().land(key, result);
            match landed {
                Landed::Awaited(Some(waker)) => waker.wake(),
                Landed::Awaited(None) => {}
                Landed::Abandoned(held) => drop(held),
            }
        }
        *self.reaped.borrow_mut() = reaped;
    }

    /// Waits, blocking the thread, until nothing is in flight: before the memory and files go away.
    pub(super) fn finish(&self) {
        while self.slots.borrow().flying > 0 {
            if !self.flush() {
                std::thread::sleep(FULL_RETRY);
            }
            if self.slots.borrow().flying > 0 {
                self.enter(1);
                self.reap();
            }
        }
        self.finished.set(true);
    }

    /// Whether [`Ring::finish`] is over: what is queued now is never submitted.
    pub(super) fn is_finished(&self) -> bool {
        self.finished.get()
    }

    /// The operations whose completion has not arrived.
    pub(super) fn in_flight(&self) -> usize {
        self.slots.borrow().flying
    }

    /// The system calls made so far.
    pub(super) fn enters(&self) -> u64 {
        self.enters.get()
    }

    /// Uses the ring's registration calls.
    pub(super) fn submitter<T>(&self, call: impl FnOnce(io_uring::Submitter<'_>) -> T) -> T {
        call(self.uring.borrow().submitter())
    }
}

impl Slots {
    fn fly(&mut self, held: Held) -> u64 {
        let flying = Slot::Flying { waker: None, abandoned: false, held };
        self.flying += 1;
        if self.free == NO_SLOT {
            self.slots.push((0, flying));
            return (self.slots.len() - 1) as u64;
        }
        let index = self.free;
        let (generation, slot) = &mut self.slots[index as usize];
        let Slot::Free { next } = std::mem::replace(slot, flying) else { unreachable!("slot {index} is in use") };
        self.free = next;
        u64::from(*generation) << 32 | u64::from(index)
    }

    fn at(&mut self, key: u64) -> &mut Slot {
        let (generation, slot) = &mut self.slots[key as u32 as usize];
        assert_eq!(*generation, (key >> 32) as u32, "a completion came for an operation that is over");
        slot
    }

    fn free(&mut self, key: u64) -> Slot {
        let index = key as u32;
        let (generation, slot) = &mut self.slots[index as usize];
        *generation = generation.wrapping_add(1);
        let before = std::mem::replace(slot, Slot::Free { next: self.free });
        self.free = index;
        before
    }

    fn land(&mut self, key: u64, result: i32) -> Landed {
        self.flying -= 1;
        match std::mem::replace(self.at(key), Slot::Free { next: NO_SLOT }) {
            Slot::Flying { abandoned: true, held, .. } => {
                self.free(key);
                Landed::Abandoned(held)
            }
            Slot::Flying { waker, held, .. } => {
                *self.at(key) = Slot::Landed { result, held };
                Landed::Awaited(waker)
            }
            Slot::Free { .. } | Slot::Landed { .. } => unreachable!("an operation completed twice"),
        }
    }
}

/// What is to be done about an operation that completed.
enum Landed {
    Awaited(Option<Waker>),
    Abandoned(Held),
}

/// An operation under way; resolves to the kernel's result and what it held. Dropping it abandons the operation: the
/// kernel still does it, or not.
pub(super) struct Operation {
    ring: Rc<Ring>,
    key: Option<u64>,
}

impl Future for Operation {
    type Output = (i32, Held);

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<(i32, Held)> {
        let key = self.key.expect("an operation is not polled after its end");
        let mut slots = self.ring.slots.borrow_mut();
        match slots.at(key) {
            Slot::Flying { waker, .. } => {
                let same = waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker()));
                let before = if same { None } else { waker.replace(context.waker().clone()) };
                drop(slots);
                drop(before);
                Poll::Pending
            }
            Slot::Landed { .. } => {
                let Slot::Landed { result, held } = slots.free(key) else { unreachable!("just matched") };
                drop(slots);
                self.key = None;
                Poll::Ready((result, held))
            }
            Slot::Free { .. } => unreachable!("an operation's slot was freed under it"),
        }
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        let Some(key) = self.key else { return };
        let mut slots = self.ring.slots.borrow_mut();
        match slots.at(key) {
            Slot::Flying { abandoned, waker, .. } => {
                *abandoned = true;
                let waker = waker.take();
                drop(slots);
                drop(waker);
            }
            Slot::Landed { .. } => {
                let landed = slots.free(key);
                drop(slots);
                drop(landed);
            }
            Slot::Free { .. } => unreachable!("an operation's slot was freed under it"),
        }
    }
}
