//! The fetch loop: one request in flight per connection over its partitions, from the first offset to the end and round again.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

use super::wire::{CORRELATION_AT, FETCH, Reader, Writer, check};
use super::{Connection, Topic};
use crate::measure::{Latency, proc};

/// How long answers may be missing before the loop gives up.
const SILENCE_MAX: Duration = Duration::from_secs(20);

/// Bytes of a batch's header up to and including its record count.
const BATCH_HEADER_BYTES: usize = 61;

/// A fetch load.
#[derive(Clone, Debug)]
pub struct FetchLoad {
    /// Where from.
    pub topic: Topic,
    /// The first offset and the end of each partition: a reader at the end begins again.
    pub offsets: Vec<(i64, i64)>,
    /// Connections, shared out over the leaders.
    pub connections: usize,
    /// Bytes asked for per partition.
    pub partition_bytes_max: i32,
    /// Bytes asked for per request.
    pub bytes_max: i32,
    /// Time of reading.
    pub length: Duration,
}

/// What a fetch loop saw.
#[derive(Clone, Debug, Default)]
pub struct Fetched {
    /// Answered requests.
    pub requests: u64,
    /// Records in whole batches.
    pub records: u64,
    /// Bytes of whole batches.
    pub batch_bytes: u64,
    /// Seconds from the first request to the last answer.
    pub seconds: f64,
    /// From a request to its answer.
    pub latency: Latency,
    /// CPU seconds of the generator's thread as a share of the time.
    pub generator_share: f64,
}

#[derive(Debug)]
struct Lane {
    connection: Connection,
    partitions: Vec<Place>,
    /// The partition to begin with, so that a full answer does not starve the later ones.
    first: usize,
    sent: Option<(i32, Instant)>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    partition: i32,
    start: i64,
    end: i64,
    next: i64,
}

impl FetchLoad {
    /// Runs the loop on the calling thread to its end.
    pub fn run(&self) -> Result<Fetched> {
        let mut lanes = self.lanes()?;
        ensure!(!lanes.is_empty(), "topic {} has no records to fetch", self.topic.name);
        let mut fetched = Fetched::default();
        let cpu = proc::thread_cpu();
        let begin = Instant::now();
        let mut last_answer = begin;
        loop {
            let now = Instant::now();
            if now - begin < self.length {
                for lane in lanes.iter_mut().filter(|lane| lane.sent.is_none()) {
                    lane.send(self)?;
                }
            }
            if lanes.iter().all(|lane| lane.sent.is_none()) {
                break;
            }
            let mut fds: Vec<PollFd<'_>> =
                lanes.iter().map(|lane| PollFd::new(lane.connection.fd(), PollFlags::POLLIN)).collect();
            match ppoll(&mut fds, Some(TimeSpec::from_duration(SILENCE_MAX)), None) {
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(error) => return Err(error).context("ppoll failed"),
            }
            let ready: Vec<bool> = fds.iter().map(|fd| fd.any().unwrap_or(false)).collect();
            for (lane, _) in lanes.iter_mut().zip(ready).filter(|lane| lane.1) {
                if lane.receive(&mut fetched)? {
                    last_answer = Instant::now();
                }
            }
            ensure!(last_answer.elapsed() < SILENCE_MAX, "no answer from the broker for {SILENCE_MAX:?}");
        }
        fetched.seconds = (last_answer - begin).as_secs_f64().max(1e-9);
        fetched.generator_share = (proc::thread_cpu() - cpu) / fetched.seconds;
        Ok(fetched)
    }

    fn lanes(&self) -> Result<Vec<Lane>> {
        let mut leaders: Vec<&str> = self.topic.leaders.iter().map(String::as_str).collect();
        leaders.sort_unstable();
        leaders.dedup();
        let mut lanes = Vec::new();
        for leader in leaders {
            let led: Vec<Place> = (0..self.topic.leaders.len())
                .filter(|partition| self.topic.leaders[*partition] == leader)
                .map(|partition| (partition as i32, self.offsets[partition]))
                .filter(|(_, (start, end))| end > start)
                .map(|(partition, (start, end))| Place { partition, start, end, next: start })
                .collect();
            let connections = self.connections.clamp(1, led.len().max(1));
            for index in 0..connections.min(led.len()) {
                let partitions = led.iter().copied().skip(index).step_by(connections).collect();
                let connection = Connection::open(leader)?.into_loop()?;
                lanes.push(Lane { connection, partitions, first: 0, sent: None });
            }
        }
        Ok(lanes)
    }
}

impl Lane {
    fn send(&mut self, load: &FetchLoad) -> Result<()> {
        let mut request = Writer::request(FETCH);
        request.i32(-1).i32(500).i32(1).i32(load.bytes_max).i8(0).i32(0).i32(-1);
        request.i32(1).string(&load.topic.name).i32(self.partitions.len() as i32);
        let count = self.partitions.len();
        for turn in 0..count {
            let place = &self.partitions[(self.first + turn) % count];
            request.i32(place.partition).i32(-1).i64(place.next).i64(-1).i32(load.partition_bytes_max);
        }
        self.first = (self.first + 1) % count;
        request.i32(0).string("");
        let mut frame = request.frame();
        let correlation = self.connection.next_correlation();
        frame[CORRELATION_AT..CORRELATION_AT + 4].copy_from_slice(&correlation.to_be_bytes());
        let written = self.connection.write_some(&frame, &[], 0)?;
        ensure!(written == frame.len(), "the socket does not take a request of {} bytes at once", frame.len());
        self.sent = Some((correlation, Instant::now()));
        Ok(())
    }

    /// Takes the answer if it is there whole; says whether it was.
    fn receive(&mut self, fetched: &mut Fetched) -> Result<bool> {
        let (partitions, sent) = (&mut self.partitions, &mut self.sent);
        let mut answered = false;
        self.connection.read_frames(|frame| {
            let (correlation, began) = sent.take().context("an answer to nothing")?;
            each_partition(frame, correlation, |partition, records| {
                let place = partitions.iter_mut().find(|place| place.partition == partition);
                place.context("an answer for another partition")?.advance(records, fetched);
                Ok(())
            })?;
            fetched.requests += 1;
            fetched.latency.record(began.elapsed());
            answered = true;
            Ok(())
        })?;
        Ok(answered)
    }
}

impl Place {
    /// Walks the whole batches of an answer; at the end of the partition it begins again.
    fn advance(&mut self, mut records: &[u8], fetched: &mut Fetched) {
        while let Some(batch) = Whole::first(records) {
            self.next = batch.next;
            fetched.records += batch.records;
            fetched.batch_bytes += batch.size as u64;
            records = &records[batch.size..];
        }
        if self.next >= self.end {
            self.next = self.start;
        }
    }
}

/// Walks the partitions of a Fetch answer, correlation id first: each with its batches as they came.
pub(super) fn each_partition(
    frame: &[u8],
    correlation: i32,
    mut each: impl FnMut(i32, &[u8]) -> Result<()>,
) -> Result<()> {
    let mut reader = Reader::new(frame);
    let id = reader.i32()?;
    ensure!(id == correlation, "an answer with id {id} where {correlation} was due");
    reader.i32()?;
    check(reader.i16()?, "Fetch")?;
    reader.i32()?;
    for _ in 0..reader.count()? {
        let topic = reader.string()?.unwrap_or_default();
        for _ in 0..reader.count()? {
            let partition = reader.i32()?;
            check(reader.i16()?, &format!("cannot fetch {topic}-{partition}"))?;
            reader.take(24)?;
            for _ in 0..reader.count()? {
                reader.take(16)?;
            }
            reader.i32()?;
            each(partition, reader.blob()?)?;
        }
    }
    Ok(())
}

/// A batch that an answer has whole.
#[derive(Clone, Copy, Debug)]
pub(super) struct Whole {
    /// Its bytes.
    pub size: usize,
    /// The offset behind it.
    pub next: i64,
    /// Its records.
    pub records: u64,
}

impl Whole {
    /// The first one, where there is one: the last of an answer may be cut off.
    pub fn first(bytes: &[u8]) -> Option<Whole> {
        let number = |at: usize| i32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        if bytes.len() < BATCH_HEADER_BYTES {
            return None;
        }
        let size = usize::try_from(number(8)).unwrap_or(0) + 12;
        let base = i64::from_be_bytes(bytes[..8].try_into().expect("eight bytes"));
        (BATCH_HEADER_BYTES..=bytes.len()).contains(&size).then(|| Whole {
            size,
            next: base + i64::from(number(23)) + 1,
            records: u64::try_from(number(57)).unwrap_or(0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_passes_whole_batches_and_begins_again_at_the_end() {
        let mut batch = vec![0u8; 70];
        batch[..8].copy_from_slice(&40i64.to_be_bytes());
        batch[8..12].copy_from_slice(&58i32.to_be_bytes());
        batch[23..27].copy_from_slice(&9i32.to_be_bytes());
        batch[57..61].copy_from_slice(&10i32.to_be_bytes());
        let mut place = Place { partition: 0, start: 0, end: 100, next: 40 };
        let mut fetched = Fetched::default();
        let mut answer = batch.clone();
        answer.extend_from_slice(&batch[..69]);
        place.advance(&answer, &mut fetched);
        assert_eq!((place.next, fetched.records, fetched.batch_bytes), (50, 10, 70));
        place.end = 50;
        place.advance(&batch, &mut fetched);
        assert_eq!(place.next, 0);
    }
}
