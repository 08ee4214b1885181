//! What the parts of the engine that need no disk cost the processor.
//!
//! `cargo bench -p corelog-benches --bench engine`; a word behind `--` runs those whose name has it.

mod append;
mod batch;
mod journal;

criterion::criterion_main!(journal::benches, batch::benches, append::benches);
