//! Compaction on a machine whose power fails: of each key the newest acknowledged record is there afterwards, or its tombstone had its
//! time; nothing comes back that was superseded or deleted for good; offsets never change.
//!
//! Each seed is a machine of several lives. Clients append records of few keys, read and drop old ones, while the store compacts all the
//! time, until the power goes, the process dies or the store is shut down. What is left is looked at with the offline tools and then
//! with the store itself, which may lose power while it recovers, and compared with a naive model.
//!
//! `CORELOG_SEED=<n>` runs one seed alone, `CORELOG_SEEDS=<n>` as many as one has time for.

mod life;
mod model;
#[path = "../support/mod.rs"]
mod support;

use life::Machine;

/// Seeds of one test run.
const SEEDS: u64 = if cfg!(debug_assertions) { 50 } else { 1000 };

#[test]
fn the_newest_record_of_each_key_survives_every_crash() {
    let seeds = support::seeds(SEEDS);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let parts: Vec<_> = (0..threads)
        .map(|first| {
            let mine = seeds.clone().skip(first).step_by(threads);
            std::thread::spawn(move || {
                mine.map(Machine::run).fold([0; 4], |sum, found| std::array::from_fn(|place| sum[place] + found[place]))
            })
        })
        .collect();
    let mut sum = [0u64; 4];
    for part in parts {
        let found = part.join().expect("the failure is printed above");
        sum = std::array::from_fn(|place| sum[place] + found[place]);
    }
    let [crashes, compactions, gone, swaps] = sum;
    println!("{crashes} crashes, {compactions} compactions, {gone} records gone, {swaps} swaps carried on by a start");
    if seeds.end - seeds.start >= 100 {
        assert!(compactions > 1000 && gone > 10_000, "nothing was compacted");
        assert!(swaps > 0, "no power cut fell between a file's completion and its place");
    }
}
