//! One thread, a virtual clock and an order of events that follows from the seed alone.
//!
//! Among the tasks that are ready the seed picks the next. Each step takes a little virtual time, so that a task that
//! never rests does not stop the clock; when no task is ready the clock jumps to the next timer. Nothing here asks the
//! machine what time it is, and no other thread takes part.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use super::seed::Seed;

/// The virtual time of one step at most, in nanoseconds.
const STEP_NANOS_MAX: u64 = 1000;
/// The task that a run was started with.
const MAIN: usize = usize::MAX;

struct Task {
    future: Pin<Box<dyn Future<Output = ()>>>,
    flag: Arc<TaskWaker>,
    waker: Waker,
}

/// The tasks and timers of one run, and the clock of all runs.
pub(super) struct Executor {
    now: Cell<u64>,
    steps: Cell<u64>,
    tasks: RefCell<Vec<Option<Task>>>,
    free: RefCell<Vec<usize>>,
    ready: Arc<Mutex<Vec<usize>>>,
    timers: RefCell<BTreeMap<(u64, u64), Waker>>,
    timer_next: Cell<u64>,
    stopped: Cell<bool>,
    hash: Cell<u64>,
}

struct TaskWaker {
    task: usize,
    queued: AtomicBool,
    ready: Arc<Mutex<Vec<usize>>>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<TaskWaker>) {
        if !self.queued.swap(true, Ordering::Relaxed) {
            self.ready.lock().expect("a poll does not panic while waking").push(self.task);
        }
    }
}

impl Executor {
    pub(super) fn new() -> Executor {
        Executor {
            now: Cell::new(0),
            steps: Cell::new(0),
            tasks: RefCell::default(),
            free: RefCell::default(),
            ready: Arc::default(),
            timers: RefCell::default(),
            timer_next: Cell::new(0),
            stopped: Cell::new(false),
            hash: Cell::new(0xcbf2_9ce4_8422_2325),
        }
    }

    /// Runs `main` to its end, or until someone stops the run; then drops every task, as a process dies.
    ///
    /// # Panics
    /// Where every task waits for something that will not come, or the run does not end within `steps_max` steps.
    pub(super) fn run<T>(&self, seed: &Seed, steps_max: u64, main: impl Future<Output = T>) -> Option<T> {
        let _end = EndOfRun(self);
        self.stopped.set(false);
        let mut main = pin!(main);
        let (main_flag, main_waker) = self.waker(MAIN);
        main_waker.wake_by_ref();
        for _ in 0..steps_max {
            if self.stopped.get() {
                return None;
            }
            let Some(task) = self.pick(seed) else {
                assert!(self.jump(), "every task waits for something that will not come");
                continue;
            };
            self.step(seed, task);
            if task == MAIN {
                main_flag.queued.store(false, Ordering::Relaxed);
                if let Poll::Ready(result) = main.as_mut().poll(&mut Context::from_waker(&main_waker)) {
                    return Some(result);
                }
            } else {
                self.poll(task);
            }
            self.fire();
        }
        panic!("the run did not end within {steps_max} steps");
    }

    fn pick(&self, seed: &Seed) -> Option<usize> {
        let mut ready = self.ready.lock().expect("a poll does not panic while waking");
        (!ready.is_empty()).then(|| {
            let at = seed.below(ready.len() as u64) as usize;
            ready.remove(at)
        })
    }

    fn step(&self, seed: &Seed, task: usize) {
        self.steps.set(self.steps.get() + 1);
        self.now.set(self.now.get() + 1 + seed.below(STEP_NANOS_MAX));
        self.note(task as u64);
        self.note(self.now.get());
    }

    fn poll(&self, index: usize) {
        // Taken out while it runs, since it may spawn others. A task that is over may still be woken.
        let Some(mut task) = self.tasks.borrow_mut()[index].take() else { return };
        task.flag.queued.store(false, Ordering::Relaxed);
        if task.future.as_mut().poll(&mut Context::from_waker(&task.waker)).is_pending() {
            self.tasks.borrow_mut()[index] = Some(task);
        } else {
            self.free.borrow_mut().push(index);
        }
    }

    /// Moves the clock to the next timer; false where there is none.
    fn jump(&self) -> bool {
        let Some(moment) = self.timers.borrow().keys().next().map(|(moment, _)| *moment) else { return false };
        self.now.set(self.now.get().max(moment));
        self.fire();
        true
    }

    /// Wakes those whose moment has come.
    fn fire(&self) {
        loop {
            let mut timers = self.timers.borrow_mut();
            let Some(due) = timers.first_entry().filter(|first| first.key().0 <= self.now.get()) else { return };
            let waker = due.remove();
            drop(timers);
            waker.wake();
        }
    }

    fn waker(&self, task: usize) -> (Arc<TaskWaker>, Waker) {
        let flag = Arc::new(TaskWaker { task, queued: AtomicBool::new(false), ready: Arc::clone(&self.ready) });
        (Arc::clone(&flag), Waker::from(flag))
    }

    /// Adds a task to the run.
    pub(super) fn spawn(&self, future: impl Future<Output = ()> + 'static) {
        let index = self.free.borrow_mut().pop().unwrap_or_else(|| {
            let mut tasks = self.tasks.borrow_mut();
            tasks.push(None);
            tasks.len() - 1
        });
        let (flag, waker) = self.waker(index);
        waker.wake_by_ref();
        self.tasks.borrow_mut()[index] = Some(Task { future: Box::pin(future), flag, waker });
    }

    /// Ends the run before its next step.
    pub(super) fn stop(&self) {
        self.stopped.set(true);
    }

    /// The virtual time, in nanoseconds since the machine was built.
    pub(super) fn now(&self) -> u64 {
        self.now.get()
    }

    /// Lets time pass between two runs.
    pub(super) fn pass(&self, nanos: u64) {
        self.now.set(self.now.get() + nanos);
    }

    /// A wait until `moment`.
    pub(super) fn sleep_until(self: &Rc<Executor>, moment: u64) -> Sleep {
        Sleep { executor: Rc::clone(self), moment, key: None }
    }

    /// Adds an event to the fingerprint of the run.
    pub(super) fn note(&self, event: u64) {
        self.hash.set((self.hash.get() ^ event).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23));
    }

    /// A fingerprint of everything that happened so far.
    pub(super) fn hash(&self) -> u64 {
        self.hash.get()
    }
}

/// Drops what a run leaves, also where it panicked.
struct EndOfRun<'a>(&'a Executor);

impl Drop for EndOfRun<'_> {
    fn drop(&mut self) {
        // Not borrowed while they are dropped: a task's end may wake or spawn others, which then end here too.
        loop {
            let tasks = self.0.tasks.take();
            if tasks.iter().all(Option::is_none) {
                break;
            }
            drop(tasks);
        }
        self.0.free.take();
        self.0.timers.take();
        if let Ok(mut ready) = self.0.ready.lock() {
            ready.clear();
        }
    }
}

/// Waits until a moment of the virtual clock.
pub(super) struct Sleep {
    executor: Rc<Executor>,
    moment: u64,
    key: Option<(u64, u64)>,
}

impl Sleep {
    fn cancel(&mut self) {
        if let Some(key) = self.key.take() {
            let _waker = self.executor.timers.borrow_mut().remove(&key);
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.cancel();
        if self.executor.now() >= self.moment {
            return Poll::Ready(());
        }
        let key = (self.moment, self.executor.timer_next.get());
        self.executor.timer_next.set(key.1 + 1);
        self.key = Some(key);
        self.executor.timers.borrow_mut().insert(key, context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.cancel();
    }
}
