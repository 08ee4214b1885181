//! A case is one thing that is measured several times; a sample is one of those times.
//!
//! Cases that are compared run interleaved: every round takes each of them once, each round begins with another, so that
//! a disk that slows down or a neighbour that wakes up meets all of them alike.

use anyhow::Result;

use crate::measure::{Cost, Latency, Spread};
use crate::report::Row;
use crate::run::Run;

/// Bytes of a MB in every figure of ours: the decimal one.
pub const MB: f64 = 1e6;

/// One measurement of a case.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// Payload bytes moved.
    pub bytes: u64,
    /// Operations: writes, reads, commits, requests.
    pub operations: u64,
    /// Records moved, where they are counted.
    pub records: u64,
    /// Seconds from the first operation to the end of the last.
    pub seconds: f64,
    /// The latency of the operations.
    pub latency: Latency,
    /// What it cost.
    pub cost: Cost,
    /// CPU seconds to report instead of the cost's own (fio's, a broker's); `None` takes ours and the kernel threads'.
    pub cpu_seconds: Option<f64>,
    /// What a reader should know about this sample.
    pub notes: Vec<String>,
}

impl Sample {
    /// Payload throughput in MB/s.
    pub fn mb_per_s(&self) -> f64 {
        self.bytes as f64 / MB / self.seconds
    }

    /// Operations per second.
    pub fn operations_per_s(&self) -> f64 {
        self.operations as f64 / self.seconds
    }

    /// CPU µs per MB of payload.
    pub fn cpu_us_per_mb(&self) -> f64 {
        let cpu = self.cpu_seconds.unwrap_or(self.cost.own_cpu_seconds + self.cost.kernel_cpu_seconds);
        cpu * 1e6 / (self.bytes as f64 / MB)
    }

    /// Bytes written to the device per byte of payload, as the kernel accounts them to us.
    pub fn write_amplification(&self) -> f64 {
        self.cost.written_bytes as f64 / self.bytes as f64
    }
}

/// Whether data is on stable storage when an operation is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Acknowledged in memory, or written without a sync.
    None,
    /// On stable storage before the acknowledgement.
    BeforeAck,
    /// Reads have none.
    NotApplicable,
}

impl Durability {
    /// The word for tables.
    pub fn word(self) -> &'static str {
        match self {
            Durability::None => "no",
            Durability::BeforeAck => "yes",
            Durability::NotApplicable => "–",
        }
    }
}

/// One thing that is measured, and its samples so far, one per round.
#[derive(Clone, Debug)]
pub struct Case {
    /// What is done: "write 1 MiB".
    pub name: String,
    /// Who does it: "raw io_uring", "corelog".
    pub system: String,
    /// Whether it is durable.
    pub durability: Durability,
    /// Bytes of one operation, 0 where that varies.
    pub block_bytes: u64,
    /// Operations in flight, 0 where that varies.
    pub in_flight: u64,
    /// Partitions, 0 where there are none.
    pub partitions: u64,
    /// Whether write amplification makes sense for it.
    pub writes: bool,
    /// One sample per round.
    pub samples: Vec<Sample>,
    /// What a reader should know about all samples.
    pub notes: Vec<String>,
}

impl Case {
    /// A case without samples.
    pub fn new(name: impl Into<String>, system: impl Into<String>, durability: Durability) -> Case {
        Case {
            name: name.into(),
            system: system.into(),
            durability,
            block_bytes: 0,
            in_flight: 0,
            partitions: 0,
            writes: durability != Durability::NotApplicable,
            samples: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// With operations of this size and this many in flight.
    pub fn sized(mut self, block_bytes: u64, in_flight: u64) -> Case {
        (self.block_bytes, self.in_flight) = (block_bytes, in_flight);
        self
    }

    /// Over this many partitions.
    pub fn over(mut self, partitions: u64) -> Case {
        self.partitions = partitions;
        self
    }

    /// One figure of every round.
    pub fn rounds(&self, of: impl Fn(&Sample) -> f64) -> Vec<f64> {
        self.samples.iter().map(of).collect()
    }

    /// Throughput of every round in MB/s.
    pub fn rates(&self) -> Vec<f64> {
        self.rounds(Sample::mb_per_s)
    }

    /// The spread of one figure.
    pub fn spread(&self, of: impl Fn(&Sample) -> f64) -> Option<Spread> {
        Spread::of(&self.rounds(of))
    }

    /// The latencies of all rounds together.
    pub fn latency(&self) -> Latency {
        let mut all = Latency::new();
        for sample in &self.samples {
            all.merge(&sample.latency);
        }
        all
    }

    /// The row of this case in tables.
    pub fn row(&self) -> Row {
        let latency = self.latency();
        let mut notes = self.notes.clone();
        for note in self.samples.iter().flat_map(|sample| &sample.notes) {
            if !notes.contains(note) {
                notes.push(note.clone());
            }
        }
        let moved = self.samples.iter().any(|sample| sample.bytes > 0);
        let written = self.writes && self.samples.iter().any(|sample| sample.cost.written_bytes > 0);
        let records = self.samples.iter().any(|sample| sample.records > 0);
        Row {
            case: self.name.clone(),
            system: self.system.clone(),
            durable: self.durability.word().to_owned(),
            block_bytes: self.block_bytes,
            in_flight: self.in_flight,
            partitions: self.partitions,
            mb_per_s: self.spread(Sample::mb_per_s).filter(|_| moved),
            operations_per_s: self.spread(Sample::operations_per_s),
            records_per_s: self.spread(|sample| sample.records as f64 / sample.seconds).filter(|_| records),
            latency: (latency.count() > 0).then(|| latency.percentiles()),
            cpu_us_per_mb: self.spread(Sample::cpu_us_per_mb).filter(|_| moved),
            write_amplification: self.spread(Sample::write_amplification).filter(|_| written),
            rounds: self.samples.len(),
            disturbed_rounds: self.samples.iter().filter(|sample| sample.cost.disturbed()).count(),
            foreign_share_max: self.samples.iter().map(|sample| sample.cost.foreign_share).fold(0.0, f64::max),
            steal_share_max: self.samples.iter().map(|sample| sample.cost.steal_share).fold(0.0, f64::max),
            notes,
        }
    }
}

/// Takes every case once per round, in an order that rotates, behind the run's quiet gate. `take` measures the case with
/// this index once. There are as many rounds as the run has, but at most `rounds_max`.
pub fn interleave(
    run: &mut Run,
    rounds_max: usize,
    cases: &mut [Case],
    mut take: impl FnMut(&mut Run, usize, &Case) -> Result<Sample>,
) -> Result<()> {
    let rounds = run.rounds.min(rounds_max);
    for round in 0..rounds {
        for turn in 0..cases.len() {
            let index = (turn + round) % cases.len();
            let label = format!("{} · {}", cases[index].system, cases[index].name);
            run.progress.sample(&label, round, rounds);
            run.gate.pass(&[]);
            let sample = take(run, index, &cases[index])?;
            run.progress.took(&label, &sample);
            cases[index].samples.push(sample);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_the_median_of_its_rounds() {
        let mut case = Case::new("write", "raw", Durability::None).sized(4096, 1);
        for bytes in [1_000_000, 3_000_000, 2_000_000] {
            case.samples.push(Sample { bytes, operations: 10, seconds: 1.0, ..Sample::default() });
        }
        let row = case.row();
        assert_eq!(row.mb_per_s.expect("bytes moved").median, 2.0);
        assert_eq!((row.rounds, row.latency), (3, None));
    }
}
