//! The whole store on a machine whose power fails: whatever it acknowledged is there afterwards, and nothing else.
//!
//! Each seed is a machine. Clients append, read, cut and delete on it until the power goes, or the process dies, or it is shut
//! down, or the disk fails and the store has to stay offline; then it is opened again, perhaps to lose power while it recovers,
//! and compared with a naive model. And so on.
//!
//! `CORELOG_SEED=n` replays one machine; `CORELOG_CRASHES=n` says how many crashes there are to be.

mod check;
mod clients;
mod dice;
mod machine;
mod model;
mod plan;

use machine::Machine;

/// Crashes of one test run: the full number where the code is optimised.
const CRASHES: u64 = if cfg!(debug_assertions) { 200 } else { 2000 };

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

#[test]
fn what_was_acknowledged_survives_every_crash() {
    let crashes = setting("CORELOG_CRASHES").unwrap_or(CRASHES);
    if let Some(seed) = setting("CORELOG_SEED") {
        let machine = Machine::run(seed);
        println!("seed {seed}: {} crashes, fingerprint {:x}", machine.crashes, machine.fingerprint);
        return;
    }
    let (mut seen, mut offline, mut seed) = (0, 0, 0);
    while seen < crashes {
        let machine = Machine::run(seed);
        seen += machine.crashes;
        offline += machine.offline;
        seed += 1;
    }
    println!("{seen} crashes of {seed} machines, {offline} of them of a store whose disk had failed");
    assert!(crashes < 100 || offline > 0, "no disk failed");
}

#[test]
fn the_same_seed_gives_the_same_crashes() {
    for seed in 0..4 {
        assert_eq!(Machine::run(seed).fingerprint, Machine::run(seed).fingerprint, "seed {seed}");
    }
}
