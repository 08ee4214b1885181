//! The produce loop: ready-made requests over several connections on one thread, as fast as they are answered or at a
//! fixed rate.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

use super::wire::{CORRELATION_AT, PRODUCE, Reader, Writer, error_name};
use super::{Connection, Topic};
use crate::measure::{Latency, Schedule, proc};

/// How long answers may be missing before the loop gives up.
const SILENCE_MAX: Duration = Duration::from_secs(20);

/// A batch ready to be sent.
#[derive(Clone, Debug)]
pub struct ReadyBatch {
    /// The record batch.
    pub bytes: Arc<Vec<u8>>,
    /// Its records.
    pub records: u32,
    /// Bytes of their values: the payload.
    pub payload_bytes: u64,
}

/// How requests are paced.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// The next request as soon as one is answered: the greatest throughput.
    Closed,
    /// So many requests per second, whatever the broker does: the latency that users see.
    Open {
        /// Over all connections.
        requests_per_s: f64,
    },
}

/// A produce load.
#[derive(Clone, Debug)]
pub struct ProduceLoad {
    /// Where to.
    pub topic: Topic,
    /// What is sent.
    pub batch: ReadyBatch,
    /// Connections, shared out over the leaders.
    pub connections: usize,
    /// Unanswered requests per connection.
    pub in_flight_max: usize,
    /// 1 or -1.
    pub acks: i16,
    /// How requests are paced.
    pub pace: Pace,
    /// Time before counting begins.
    pub warm_up: Duration,
    /// Time of counting.
    pub length: Duration,
    /// Ends a closed loop early, after this many counted requests.
    pub requests_max: u64,
}

/// What a produce loop saw.
#[derive(Clone, Debug, Default)]
pub struct Produced {
    /// Answered requests without an error.
    pub requests: u64,
    /// Their records.
    pub records: u64,
    /// Bytes of their values.
    pub payload_bytes: u64,
    /// Seconds from the first counted request to the last answer.
    pub seconds: f64,
    /// From the intended (open loop) or actual (closed loop) send time to the answer.
    pub latency: Latency,
    /// Requests that were answered with an error, by code.
    pub errors: BTreeMap<i16, u64>,
    /// CPU seconds of the generator's thread as a share of the time: near 1 the generator is the bottleneck.
    pub generator_share: f64,
}

impl Produced {
    /// The errors in words, if there were any.
    pub fn error_note(&self) -> Option<String> {
        let all: u64 = self.errors.values().sum();
        let (code, _) = self.errors.iter().max_by_key(|error| error.1)?;
        Some(format!("{all} requests refused, most with {} ({code})", error_name(*code)))
    }
}

/// A partition's request, without the batch that follows it.
#[derive(Debug)]
struct Head {
    bytes: Vec<u8>,
}

/// One connection of the loop.
#[derive(Debug)]
struct Lane {
    connection: Connection,
    heads: Vec<Head>,
    next_head: usize,
    /// Intended times of requests that could not be sent yet.
    waiting: VecDeque<Instant>,
    /// Times of the requests that were sent and not answered, in order: a broker answers in order.
    sent: VecDeque<(i32, Instant, bool)>,
    /// The request that the socket took only in part: (head, bytes taken).
    partial: Option<(usize, usize)>,
}

impl ProduceLoad {
    /// Runs the loop on the calling thread to its end.
    pub fn run(&self) -> Result<Produced> {
        ensure!(self.acks != 0, "the load generator waits for answers: acks must be 1 or -1");
        let mut lanes = self.lanes()?;
        let _ = nix::sys::prctl::set_timerslack(1);
        let mut produced = Produced::default();
        let begin = Instant::now();
        let count_from = begin + self.warm_up;
        let stop = count_from + self.length;
        let mut schedule = match self.pace {
            Pace::Open { requests_per_s } => Some(Schedule::new(begin, requests_per_s, self.warm_up + self.length)),
            Pace::Closed => None,
        };
        let mut turn = 0usize;
        let mut counted_sends = 0u64;
        let mut cpu_at_count: Option<f64> = None;
        let (mut last_answer, mut last_progress) = (count_from, Instant::now());
        loop {
            let now = Instant::now();
            if now >= count_from && cpu_at_count.is_none() {
                cpu_at_count = Some(proc::thread_cpu());
            }
            if let Some(schedule) = &mut schedule {
                while let Some(due) = schedule.take_due(now) {
                    let place = turn % lanes.len();
                    lanes[place].waiting.push_back(due);
                    turn += 1;
                }
            }
            let closed_goes_on = schedule.is_none() && now < stop && counted_sends < self.requests_max;
            for lane in &mut lanes {
                counted_sends += lane.send(self, closed_goes_on, count_from, now)?;
            }
            let idle =
                lanes.iter().all(|lane| lane.sent.is_empty() && lane.waiting.is_empty() && lane.partial.is_none());
            let next_due = schedule.as_ref().and_then(Schedule::next_due);
            if idle && next_due.is_none() && !closed_goes_on {
                break;
            }
            let ready = poll(&lanes, next_due)?;
            let now = Instant::now();
            for (lane, ready) in lanes.iter_mut().zip(&ready) {
                if !ready.intersects(PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR) {
                    continue;
                }
                let answered = lane.receive(self, now, &mut produced)?;
                if answered {
                    (last_answer, last_progress) = (now, now);
                }
            }
            let waits = lanes.iter().any(|lane| !lane.sent.is_empty());
            if !waits {
                last_progress = now;
            }
            ensure!(now - last_progress < SILENCE_MAX, "no answer from the broker for {SILENCE_MAX:?}");
        }
        produced.seconds = last_answer.saturating_duration_since(count_from).as_secs_f64().max(1e-9);
        let cpu = proc::thread_cpu() - cpu_at_count.unwrap_or_else(proc::thread_cpu);
        produced.generator_share = cpu / produced.seconds;
        ensure!(
            produced.requests > 0,
            "no request succeeded: {}",
            produced.error_note().unwrap_or_else(|| "none was answered in time".to_owned())
        );
        Ok(produced)
    }

    /// Connections, each with the heads of its partitions.
    fn lanes(&self) -> Result<Vec<Lane>> {
        let mut leaders: Vec<&str> = self.topic.leaders.iter().map(String::as_str).collect();
        leaders.sort_unstable();
        leaders.dedup();
        let connections = self.connections.max(leaders.len());
        let mut lanes = Vec::new();
        for index in 0..connections {
            let leader = leaders[index % leaders.len()];
            let connection = Connection::open(leader)?.into_loop()?;
            let place = index / leaders.len();
            let of_leader = (connections - index % leaders.len()).div_ceil(leaders.len());
            let led = self.topic.leaders.iter().enumerate().filter(|partition| partition.1 == leader);
            let led: Vec<i32> = led.map(|partition| partition.0 as i32).collect();
            let mut mine: Vec<i32> = led.iter().copied().skip(place).step_by(of_leader.max(1)).collect();
            if mine.is_empty() {
                mine.push(led[place % led.len()]);
            }
            let heads = mine.into_iter().map(|partition| Head { bytes: self.head(partition) }).collect();
            lanes.push(Lane {
                connection,
                heads,
                next_head: 0,
                waiting: VecDeque::new(),
                sent: VecDeque::new(),
                partial: None,
            });
        }
        Ok(lanes)
    }

    fn head(&self, partition: i32) -> Vec<u8> {
        request_head(&self.topic.name, partition, self.acks, self.batch.bytes.len())
    }
}

/// A Produce request for one partition up to its batch, whose length is counted in.
pub(super) fn request_head(topic: &str, partition: i32, acks: i16, batch_bytes: usize) -> Vec<u8> {
    let mut request = Writer::request(PRODUCE);
    request.null_string().i16(acks).i32(30_000);
    request.i32(1).string(topic).i32(1).i32(partition);
    request.i32(batch_bytes as i32);
    let mut head = request.frame();
    let length = (head.len() - 4 + batch_bytes) as i32;
    head[..4].copy_from_slice(&length.to_be_bytes());
    head
}

impl Lane {
    /// Sends what may be sent; returns how many counted requests were begun.
    fn send(&mut self, load: &ProduceLoad, closed_goes_on: bool, count_from: Instant, now: Instant) -> Result<u64> {
        let mut counted = 0;
        loop {
            let (head, from) = match self.partial.take() {
                Some(partial) => partial,
                None => {
                    if self.sent.len() >= load.in_flight_max {
                        return Ok(counted);
                    }
                    let intended = self.waiting.pop_front().or_else(|| closed_goes_on.then_some(now));
                    let Some(intended) = intended else { return Ok(counted) };
                    let head = self.next_head;
                    self.next_head = (head + 1) % self.heads.len();
                    let correlation = self.connection.next_correlation();
                    self.heads[head].bytes[CORRELATION_AT..CORRELATION_AT + 4]
                        .copy_from_slice(&correlation.to_be_bytes());
                    let counts = intended >= count_from;
                    counted += u64::from(counts);
                    self.sent.push_back((correlation, intended, counts));
                    (head, 0)
                }
            };
            let written = self.connection.write_some(&self.heads[head].bytes, &load.batch.bytes, from)?;
            if from + written < self.heads[head].bytes.len() + load.batch.bytes.len() {
                self.partial = Some((head, from + written));
                return Ok(counted);
            }
        }
    }

    /// Takes the answers that are there; says whether there were any.
    fn receive(&mut self, load: &ProduceLoad, now: Instant, produced: &mut Produced) -> Result<bool> {
        let mut any = false;
        let sent = &mut self.sent;
        self.connection.read_frames(|frame| {
            let (correlation, intended, counts) = sent.pop_front().context("an answer to nothing")?;
            let (answered, code) = answer(frame)?;
            ensure!(answered == correlation, "an answer with id {answered} where {correlation} was due");
            any = true;
            if !counts {
                return Ok(());
            }
            if code == 0 {
                produced.requests += 1;
                produced.records += u64::from(load.batch.records);
                produced.payload_bytes += load.batch.payload_bytes;
                produced.latency.record(now - intended);
            } else {
                *produced.errors.entry(code).or_default() += 1;
            }
            Ok(())
        })?;
        Ok(any)
    }
}

/// The correlation id and the error code of a Produce answer for one partition.
pub(super) fn answer(frame: &[u8]) -> Result<(i32, i16)> {
    let mut reader = Reader::new(frame);
    let correlation = reader.i32()?;
    ensure!(reader.count()? == 1, "a Produce answer has not one topic");
    reader.string()?;
    ensure!(reader.count()? == 1, "a Produce answer has not one partition");
    reader.i32()?;
    Ok((correlation, reader.i16()?))
}

/// Sleeps until a socket is ready or `until`; returns what each is ready for.
fn poll(lanes: &[Lane], until: Option<Instant>) -> Result<Vec<PollFlags>> {
    let mut fds: Vec<PollFd<'_>> = lanes
        .iter()
        .map(|lane| {
            let write = if lane.partial.is_some() { PollFlags::POLLOUT } else { PollFlags::empty() };
            PollFd::new(lane.connection.fd(), PollFlags::POLLIN | write)
        })
        .collect();
    let wait = until.map_or(SILENCE_MAX, |until| until.saturating_duration_since(Instant::now()));
    match ppoll(&mut fds, Some(TimeSpec::from_duration(wait)), None) {
        Ok(_) => Ok(fds.iter().map(|fd| fd.revents().unwrap_or(PollFlags::empty())).collect()),
        Err(nix::errno::Errno::EINTR) => Ok(vec![PollFlags::empty(); lanes.len()]),
        Err(error) => Err(error).context("ppoll failed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_and_its_batch_are_one_frame() {
        let load = ProduceLoad {
            topic: Topic { name: "t".into(), leaders: vec!["127.0.0.1:1".into()] },
            batch: ReadyBatch { bytes: Arc::new(vec![7; 100]), records: 1, payload_bytes: 10 },
            connections: 1,
            in_flight_max: 1,
            acks: -1,
            pace: Pace::Closed,
            warm_up: Duration::ZERO,
            length: Duration::from_secs(1),
            requests_max: 1,
        };
        let head = load.head(5);
        let mut reader = Reader::new(&head);
        assert_eq!(reader.i32().expect("length") as usize, head.len() - 4 + 100);
        assert_eq!(&head[head.len() - 4..], 100i32.to_be_bytes());
        assert_eq!(&head[head.len() - 8..head.len() - 4], 5i32.to_be_bytes());
    }

    #[test]
    fn an_answer_s_error_is_found() {
        let mut writer = Writer::default();
        writer.i32(9).i32(1).string("t").i32(1).i32(0).i16(19).i64(-1);
        let frame = writer.frame();
        // `frame` puts a length over the first four bytes: the correlation id here.
        assert_eq!(answer(&frame).expect("an answer").1, 19);
    }
}
