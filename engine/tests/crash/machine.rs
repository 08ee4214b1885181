//! One machine through several lives: work, a crash, recovery, the check.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use corelog_engine::Shard;
use corelog_engine::io::Io;
use corelog_engine::io::sim::{Faults, Simulation, Stop, Survival};

use crate::check::{Loss, check_files, check_live, check_reopened};
use crate::clients::{Client, observe};
use crate::dice::Dice;
use crate::model::{Model, Presence};
use crate::plan::{Plan, Weight, is_traced};

/// The lives of a machine.
const LIVES: u64 = 8;
/// The most that one is crashed in a row while it recovers.
const RECOVERY_CRASHES_MAX: u64 = 4;

/// How many of the lives in a hundred have a disk that fails at times.
const FAULTY_LIVES_PERCENT: u64 = 30;

/// How long a life with faults goes on at most, if it does not end otherwise.
const LENIENT_LIFE_MAX: Duration = Duration::from_secs(5);

/// What came of a machine.
pub struct Machine {
    pub crashes: u64,
    /// Lives in which the disk failed and the store went offline.
    pub offline: u64,
    pub fingerprint: u64,
}

/// How a life ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    PowerCut,
    Kill,
    Close,
}

struct Lives {
    sim: Rc<Simulation>,
    dice: Rc<Dice>,
    plan: Rc<Plan>,
    model: Rc<RefCell<Model>>,
    crashes: u64,
    offline: Rc<Cell<u64>>,
    loss: Loss,
}

impl Machine {
    /// Runs the machine of a seed through its lives.
    pub fn run(seed: u64) -> Machine {
        let life = Rc::new(Cell::new(0));
        let _named = Replay(seed, life.clone());
        let dice = Rc::new(Dice::new(seed));
        let plan = Rc::new(Plan::new(&dice));
        let sim = Rc::new(Simulation::new(seed, plan.sim.clone()));
        let _told = Trace(sim.clone());
        let (model, offline) = (Rc::default(), Rc::default());
        let mut lives = Lives { sim, dice, plan, model, crashes: 0, offline, loss: Loss::Unpromised };
        for number in 0..LIVES {
            life.set(number);
            lives.live();
        }
        Machine { crashes: lives.crashes, offline: lives.offline.get(), fingerprint: lives.sim.fingerprint() }
    }
}

impl Lives {
    fn live(&mut self) {
        self.recover_under_fire();
        let end = match self.dice.below(100) {
            0..70 => End::PowerCut,
            70..85 => End::Kill,
            _ => End::Close,
        };
        match end {
            End::Close => self.work_and_close(),
            _ => self.work_until(end),
        }
    }

    /// Opens the store and cuts the power before it is open, some times.
    fn recover_under_fire(&mut self) {
        for _ in 0..RECOVERY_CRASHES_MAX {
            if !self.dice.percent(40) {
                return;
            }
            let stop = Stop::AfterOperations(self.dice.magnitude(1, 200));
            let config = self.plan.store.clone();
            self.sim.run_until(stop, |io| async move {
                let shard = Shard::open_alone(&io, config).await.expect("the store opens");
                io.sleep(Duration::from_millis(20)).await;
                drop(shard);
            });
            self.crash();
        }
    }

    fn crash(&mut self) {
        self.crashes += 1;
        let survival = match self.dice.below(10) {
            0 => Survival::All,
            1 => Survival::None,
            _ => Survival::Some,
        };
        self.sim.crash_with(survival);
    }

    /// Opens, checks, works until the end comes.
    fn work_until(&mut self, end: End) {
        let busy = if self.plan.weight == Weight::Heavy { 4000 } else { 2000 };
        let stop = match self.dice.percent(50) {
            true => Stop::AfterOperations(self.dice.magnitude(50, busy)),
            false => Stop::After(Duration::from_micros(self.dice.magnitude(1000, 300_000))),
        };
        let faults = self.dice.percent(FAULTY_LIVES_PERCENT).then(|| self.plan.faults(&self.dice));
        let opened = Rc::new(Cell::new(false));
        let (told, loss) = (opened.clone(), self.loss);
        let (parts, sim, offline) = (self.parts(), self.sim.clone(), self.offline.clone());
        self.sim.run_until(stop, move |io| async move {
            let clients = parts.open(&io, loss).await;
            told.set(true);
            let (lenient, shard) = (faults.is_some(), clients[0].shard.clone());
            sim.set_faults(faults.unwrap_or_default());
            for client in clients {
                io.spawn(Client { lenient, ..client }.run(None));
            }
            if !lenient {
                std::future::pending::<()>().await;
            }
            // Where a fault met the creation of the only partition, nobody has anything more to do.
            let patience = io.now() + LENIENT_LIFE_MAX;
            while shard.check().is_ok() {
                if io.now() > patience {
                    return;
                }
                io.sleep(Duration::from_micros(20)).await;
            }
            offline.set(offline.get() + 1);
            // The disk works again: whoever tried a second time would succeed now.
            sim.set_faults(Faults::default());
            io.sleep(Duration::from_secs(2)).await;
        });
        self.sim.set_faults(Faults::default());
        match end {
            End::Kill => self.crashes += 1,
            _ => self.crash(),
        }
        // Before it was checked, the earlier end still says what may be lost.
        if opened.get() {
            self.loss = Loss::Unpromised;
        }
    }

    /// Opens, checks, works a while, checks again in peace, closes.
    fn work_and_close(&mut self) {
        let parts = self.parts();
        let (steps, loss) = (self.dice.magnitude(4, 60), self.loss);
        let model = self.model.clone();
        self.sim.run(move |io| async move {
            let clients = parts.open(&io, loss).await;
            let shard = clients[0].shard.clone();
            let left = Rc::new(Cell::new(clients.len()));
            for client in clients {
                let left = left.clone();
                io.spawn(async move {
                    client.run(Some(steps)).await;
                    left.set(left.get() - 1);
                });
            }
            while left.get() > 0 {
                io.sleep(Duration::from_millis(1)).await;
            }
            check_live(&shard, &model, &parts.dice).await;
            shard.close().await.expect("it closes");
        });
        check_files(&self.sim, &self.model.borrow());
        self.loss = Loss::Nothing;
    }

    fn parts(&self) -> Parts {
        Parts { dice: self.dice.clone(), plan: self.plan.clone(), model: self.model.clone() }
    }
}

struct Parts {
    dice: Rc<Dice>,
    plan: Rc<Plan>,
    model: Rc<RefCell<Model>>,
}

impl Parts {
    /// Opens the store, checks it, and makes clients of it.
    async fn open(&self, io: &Io, loss: Loss) -> Vec<Client> {
        let shard = Shard::open_alone(io, self.plan.store.clone()).await.expect("the store opens");
        check_reopened(&shard, &self.model, loss, &self.dice).await;
        if self.plan.observed {
            observe(&shard, &self.model);
        }
        assert!(self.model.borrow().logs.values().all(|log| log.presence == Presence::There));
        let client = || Client {
            io: io.clone(),
            shard: shard.clone(),
            model: self.model.clone(),
            dice: self.dice.clone(),
            plan: self.plan.clone(),
            lenient: false,
        };
        (0..self.plan.clients).map(|_| client()).collect()
    }
}

/// Says how to see a failure again.
struct Replay(u64, Rc<Cell<u64>>);

impl Drop for Replay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("in life {}; replay with CORELOG_SEED={} cargo test --test crash", self.1.get(), self.0);
        }
    }
}

/// Prints what happened on the disk of a machine that failed, where that is asked for.
struct Trace(Rc<Simulation>);

impl Drop for Trace {
    fn drop(&mut self) {
        if std::thread::panicking() && is_traced() {
            self.0.trace().iter().for_each(|event| eprintln!("{event}"));
        }
    }
}
