//! The simulated machine: what outlives its processes, and how an operation on it takes its course.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use super::contents::Survival;
use super::disk::Disk;
use super::executor::{Executor, Sleep};
use super::faults::{Faults, Injection, Operation, SimConfig};
use super::net::Net;
use super::seed::Seed;
use crate::io::arena::Arena;
use crate::io::facts::IoCounters;
use crate::types::Timestamp;

/// The wall clock when a machine is built, in milliseconds.
const BUILT_AT_MS: i64 = 1_750_000_000_000;

/// One machine: disk, network, clock and seed.
pub(super) struct Machine {
    pub(super) seed: Seed,
    /// For the numbers that the program asks for.
    pub(super) numbers: Cell<u64>,
    pub(super) executor: Rc<Executor>,
    pub(super) disk: RefCell<Disk>,
    pub(super) net: RefCell<Net>,
    pub(super) arena: Arena,
    pub(super) config: SimConfig,
    /// Whether a durable write leaves the rest of the device's cache as it is.
    pub(super) fua: bool,
    pub(super) faults: RefCell<Faults>,
    pub(super) injections: RefCell<Vec<Injection>>,
    pub(super) counters: Cell<IoCounters>,
    /// Disk operations begun in this run, and after how many the run stops.
    operations: Cell<u64>,
    operations_max: Cell<Option<u64>>,
    trace: RefCell<Vec<String>>,
}

impl Machine {
    pub(super) fn new(seed: u64, config: SimConfig) -> Machine {
        let numbers = Seed::new(seed ^ 0x5851_f42d_4c95_7f2d);
        Machine {
            seed: Seed::new(seed),
            numbers: Cell::new(numbers.any()),
            executor: Rc::new(Executor::new()),
            disk: RefCell::new(Disk::new()),
            net: RefCell::new(Net::new()),
            arena: Arena::new(config.arena_bytes, false, false).expect("memory for a small arena"),
            faults: RefCell::new(config.faults.clone()),
            injections: RefCell::default(),
            counters: Cell::default(),
            operations: Cell::new(0),
            operations_max: Cell::new(None),
            trace: RefCell::default(),
            fua: config.fua.unwrap_or(seed % 2 == 1),
            config,
        }
    }

    pub(super) fn unix_time(&self) -> Timestamp {
        Timestamp(BUILT_AT_MS + (self.executor.now() / 1_000_000) as i64)
    }

    pub(super) fn sleep(&self, duration: Duration) -> Sleep {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.executor.sleep_until(self.executor.now().saturating_add(nanos))
    }

    /// Writes an event into the trace.
    pub(super) fn note(&self, event: std::fmt::Arguments<'_>) {
        let event = format!("{:>12} {event}", self.executor.now());
        event.bytes().for_each(|byte| self.executor.note(u64::from(byte)));
        if self.config.keep_trace {
            self.trace.borrow_mut().push(event);
        }
    }

    pub(super) fn trace(&self) -> Vec<String> {
        self.trace.borrow().clone()
    }

    /// A run begins: it stops after so many disk operations.
    pub(super) fn begin(&self, operations_max: Option<u64>) {
        self.operations.set(0);
        self.operations_max.set(operations_max);
    }

    pub(super) fn operations(&self) -> u64 {
        self.operations.get()
    }

    /// Begins a disk operation: counts it, and fails it where a fault was injected at it.
    pub(super) fn begin_operation(&self, operation: Operation, path: &Path) -> io::Result<()> {
        let number = self.operations.get() + 1;
        self.operations.set(number);
        if self.operations_max.get().is_some_and(|max| number >= max) {
            self.executor.stop();
        }
        let mut injections = self.injections.borrow_mut();
        for injection in injections.iter_mut() {
            if injection.operation != operation || !path.to_string_lossy().contains(&injection.path) {
                continue;
            }
            if injection.skip > 0 {
                injection.skip -= 1;
            } else if injection.count > 0 {
                injection.count -= 1;
                self.note(format_args!("injected {operation:?} of {}", path.display()));
                return Err(io::Error::from_raw_os_error(injection.code));
            }
        }
        Ok(())
    }

    /// How long an operation takes that takes `usual` without faults.
    pub(super) fn duration(&self, usual: u64) -> u64 {
        let faults = self.faults.borrow();
        usual + if self.seed.happens(faults.slow) { faults.slow_time.as_nanos() as u64 } else { 0 }
    }

    /// Runs an operation to its end whether or not anyone waits for it, as a disk does.
    pub(super) fn detached<T: 'static>(&self, operation: impl Future<Output = T> + 'static) -> impl Future<Output = T> {
        let outcome: Rc<RefCell<(Option<T>, Option<Waker>)>> = Rc::new(RefCell::new((None, None)));
        let ours = Rc::clone(&outcome);
        self.executor.spawn(async move {
            let result = operation.await;
            let waker = {
                let mut outcome = ours.borrow_mut();
                outcome.0 = Some(result);
                outcome.1.take()
            };
            if let Some(waker) = waker {
                waker.wake();
            }
        });
        std::future::poll_fn(move |context| {
            let mut outcome = outcome.borrow_mut();
            match outcome.0.take() {
                Some(result) => Poll::Ready(result),
                None => {
                    outcome.1 = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
    }

    pub(super) fn count(&self, add: impl FnOnce(&mut IoCounters)) {
        let mut counters = self.counters.get();
        add(&mut counters);
        self.counters.set(counters);
    }

    /// The process is dead: what it began on the disk completes, its connections are cut.
    pub(super) fn process_died(&self) {
        self.disk.borrow_mut().land_all(self.unix_time());
        *self.net.borrow_mut() = Net::new();
    }

    pub(super) fn cut_power(&self, survival: Survival) {
        self.note(format_args!("power cut, {survival:?} survives"));
        self.disk.borrow_mut().cut_power(&self.seed, survival, self.config.renames_tear);
        *self.net.borrow_mut() = Net::new();
        self.executor.pass(1_000_000_000 + self.seed.below(60_000_000_000));
    }
}
