//! Thousands of connections: each a task on one thread that sends a request, waits for its answer, and waits again.
//!
//! Connections stay open between loads, so that one crowd can be idle, then busy, then idle. Members are numbered, and a member
//! always uses the same partition: neighbours share one, the first of each pair producing to it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, LocalSet};

use super::fetch::{Whole, each_partition};
use super::produce::{ReadyBatch, answer, request_head};
use super::wire::{API_VERSIONS, Api, CORRELATION_AT, FETCH, Reader, Writer};
use super::{Topic, connection};
use crate::measure::{Latency, proc};

/// Connections that are being made at the same time.
const CONNECTING_MAX: usize = 256;
/// How long an answer may be missing before a member is counted as lost.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// How long a follower lets the broker wait for records.
const FOLLOW_WAIT_MS: i32 = 500;
/// The most bytes of an answer to a follower.
const FOLLOW_BYTES_MAX: i32 = 64 << 10;
/// Descriptors that this process needs beside the connections.
const OTHER_FILES: u64 = 64;

/// Open connections to a topic's leaders.
#[derive(Debug)]
pub struct Crowd {
    runtime: tokio::runtime::Runtime,
    members: Vec<Member>,
    topic: Topic,
}

#[derive(Debug)]
struct Member {
    number: usize,
    stream: TcpStream,
    correlation: i32,
    input: Vec<u8>,
    /// Where a follower goes on; `None` until it has followed.
    next: Option<i64>,
}

/// What members do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    /// All produce.
    Produce,
    /// One of two produces, the other follows the same partition by long polling.
    ProduceAndFollow,
}

/// A load on a crowd.
#[derive(Clone, Debug)]
pub struct CrowdLoad {
    /// What members do.
    pub doing: Doing,
    /// What a producer sends.
    pub batch: ReadyBatch,
    /// How often each producer sends; `None` as soon as the last one is answered.
    pub every: Option<Duration>,
    /// For how long.
    pub length: Duration,
}

/// What a crowd saw.
#[derive(Clone, Debug, Default)]
pub struct Crowded {
    /// Produce requests that were answered without an error.
    pub produced: u64,
    /// Records that followers got.
    pub followed_records: u64,
    /// Bytes of batches that followers got.
    pub followed_bytes: u64,
    /// Of produce requests: from the intended time where they are paced, else from the actual one.
    pub latency: Latency,
    /// Requests that were answered with an error, by code.
    pub errors: BTreeMap<i16, u64>,
    /// Members whose connection failed, with the last reason.
    pub lost: u64,
    /// Why.
    pub lost_why: Option<String>,
    /// Answers of each producer, fewest first.
    pub by_producer: Vec<u64>,
    /// Seconds from the start to the last answer.
    pub seconds: f64,
    /// CPU seconds of the generator's thread as a share of the time.
    pub generator_share: f64,
}

/// Lets this process, and those that it starts from now on, have so many connections; the connections that it may have at most.
pub fn raise_descriptor_limit(connections: usize) -> Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let needed = connections as u64 + OTHER_FILES;
    ensure!(hard >= needed, "{connections} connections need {needed} descriptors, the limit is {hard}: see ulimit -Hn");
    Ok(setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?)
}

impl Crowd {
    /// Connects so many members to the leaders of `topic`, each of which asks for the broker's versions once.
    pub fn connect(topic: &Topic, members: usize) -> Result<Crowd> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut crowd = Crowd { runtime, members: Vec::with_capacity(members), topic: topic.clone() };
        let made = LocalSet::new().block_on(&crowd.runtime, async {
            let turns = Rc::new(tokio::sync::Semaphore::new(CONNECTING_MAX));
            let tasks: Vec<JoinHandle<Result<Member>>> = (0..members)
                .map(|number| {
                    let (turns, address) = (turns.clone(), topic.leaders[partition_of(number, topic)].clone());
                    tokio::task::spawn_local(async move {
                        let _turn = turns.acquire().await?;
                        Member::connect(number, &address).await
                    })
                })
                .collect();
            let mut made = Vec::with_capacity(members);
            for task in tasks {
                made.push(task.await??);
            }
            anyhow::Ok(made)
        });
        crowd.members = made?;
        Ok(crowd)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Runs a load on all members, to its last answer. Members that are lost stay so.
    pub fn run(&mut self, load: &CrowdLoad) -> Result<Crowded> {
        let ends = match load.doing {
            Doing::Produce => Vec::new(),
            Doing::ProduceAndFollow => self.topic.offsets()?.into_iter().map(|offsets| offsets.1).collect(),
        };
        let shared = Rc::new(Shared {
            load: load.clone(),
            topic: self.topic.clone(),
            ends,
            members: self.members.len(),
            seen: RefCell::default(),
            begin: Instant::now(),
        });
        let cpu = proc::thread_cpu();
        let members = std::mem::take(&mut self.members);
        let left = LocalSet::new().block_on(&self.runtime, async {
            let tasks: Vec<_> =
                members.into_iter().map(|member| tokio::task::spawn_local(member.work(shared.clone()))).collect();
            let mut left = Vec::with_capacity(tasks.len());
            for task in tasks {
                left.extend(task.await?);
            }
            anyhow::Ok(left)
        });
        self.members = left?;
        let mut seen = shared.seen.take();
        seen.seconds = seen.seconds.max(1e-9);
        seen.generator_share = (proc::thread_cpu() - cpu) / shared.begin.elapsed().as_secs_f64();
        seen.by_producer.sort_unstable();
        Ok(seen)
    }
}

/// The partition of a member: one for every two.
fn partition_of(number: usize, topic: &Topic) -> usize {
    number / 2 % topic.leaders.len()
}

/// What the members of a load share.
#[derive(Debug)]
struct Shared {
    load: CrowdLoad,
    topic: Topic,
    ends: Vec<i64>,
    members: usize,
    seen: RefCell<Crowded>,
    begin: Instant,
}

impl Member {
    async fn connect(number: usize, address: &str) -> Result<Member> {
        let stream = TcpStream::connect(address).await.with_context(|| format!("connection {number} to {address}"))?;
        stream.set_nodelay(true)?;
        let mut member = Member { number, stream, correlation: 0, input: Vec::new(), next: None };
        let mut request = Writer::request(API_VERSIONS).frame();
        member.call(API_VERSIONS, &mut request, &[]).await?;
        ensure!(Reader::new(&member.input[4..]).i16()? == 0, "connection {number} is refused ApiVersions");
        Ok(member)
    }

    /// Does its part of a load; itself, unless its connection failed.
    async fn work(mut self, shared: Rc<Shared>) -> Option<Member> {
        let follows = shared.load.doing == Doing::ProduceAndFollow && self.number % 2 == 1;
        let outcome = if follows { self.follow(&shared).await } else { self.produce(&shared).await };
        match outcome {
            Ok(()) => Some(self),
            Err(error) => {
                let mut seen = shared.seen.borrow_mut();
                seen.lost += 1;
                seen.lost_why = Some(format!("{error:#}"));
                None
            }
        }
    }

    async fn produce(&mut self, shared: &Shared) -> Result<()> {
        let partition = partition_of(self.number, &shared.topic) as i32;
        let batch: Arc<Vec<u8>> = shared.load.batch.bytes.clone();
        let mut head = request_head(&shared.topic.name, partition, -1, batch.len());
        // Members take turns over the interval.
        let first = |every: Duration| every.mul_f64(self.number as f64 / shared.members as f64);
        let mut due = shared.load.every.map(|every| shared.begin + first(every));
        let end = shared.begin + shared.load.length;
        let mut answers = 0;
        loop {
            let intended = due.unwrap_or_else(Instant::now);
            if intended >= end {
                break;
            }
            tokio::time::sleep_until(intended.into()).await;
            self.call(super::wire::PRODUCE, &mut head, &batch).await?;
            let (_, code) = answer(&self.input)?;
            let mut seen = shared.seen.borrow_mut();
            match code {
                0 => {
                    answers += 1;
                    seen.produced += 1;
                    seen.latency.record(intended.elapsed());
                }
                code => *seen.errors.entry(code).or_default() += 1,
            }
            seen.seconds = shared.begin.elapsed().as_secs_f64();
            drop(seen);
            due = due.zip(shared.load.every).map(|(due, every)| due + every);
        }
        shared.seen.borrow_mut().by_producer.push(answers);
        Ok(())
    }

    async fn follow(&mut self, shared: &Shared) -> Result<()> {
        let partition = partition_of(self.number, &shared.topic);
        let end = shared.begin + shared.load.length;
        while Instant::now() < end {
            let mut next = self.next.unwrap_or(shared.ends[partition]);
            let mut request = follow_request(&shared.topic.name, partition as i32, next);
            self.call(FETCH, &mut request, &[]).await?;
            let (mut records, mut bytes) = (0, 0);
            each_partition(&self.input, self.correlation, |_, mut batches| {
                while let Some(batch) = Whole::first(batches) {
                    next = batch.next;
                    records += batch.records;
                    bytes += batch.size as u64;
                    batches = &batches[batch.size..];
                }
                Ok(())
            })?;
            self.next = Some(next);
            let mut seen = shared.seen.borrow_mut();
            seen.followed_records += records;
            seen.followed_bytes += bytes;
        }
        Ok(())
    }

    /// Sends a request in two parts and leaves its answer, correlation id first, in `input`.
    async fn call(&mut self, api: Api, head: &mut [u8], body: &[u8]) -> Result<()> {
        self.correlation = self.correlation.wrapping_add(1);
        head[CORRELATION_AT..CORRELATION_AT + 4].copy_from_slice(&self.correlation.to_be_bytes());
        let exchange = async {
            self.stream.write_all(head).await?;
            self.stream.write_all(body).await?;
            let mut prefix = [0; 4];
            self.stream.read_exact(&mut prefix).await?;
            self.input.resize(connection::frame_length(prefix)?, 0);
            self.stream.read_exact(&mut self.input).await?;
            anyhow::Ok(())
        };
        let context = || format!("{} on connection {}", api.name, self.number);
        tokio::time::timeout(SILENCE_MAX, exchange).await.with_context(context)?.with_context(context)?;
        let answered = Reader::new(&self.input).i32()?;
        ensure!(answered == self.correlation, "an answer with id {answered} where {} was due", self.correlation);
        Ok(())
    }
}

fn follow_request(topic: &str, partition: i32, next: i64) -> Vec<u8> {
    let mut request = Writer::request(FETCH);
    request.i32(-1).i32(FOLLOW_WAIT_MS).i32(1).i32(FOLLOW_BYTES_MAX).i8(0).i32(0).i32(-1);
    request.i32(1).string(topic).i32(1);
    request.i32(partition).i32(-1).i64(next).i64(-1).i32(FOLLOW_BYTES_MAX);
    request.i32(0).string("");
    request.frame()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_share_a_partition_and_all_partitions_are_used() {
        let topic = Topic { name: "t".into(), leaders: vec!["h:1".into(); 3] };
        let used: Vec<usize> = (0..8).map(|number| partition_of(number, &topic)).collect();
        assert_eq!(used, [0, 0, 1, 1, 2, 2, 0, 0]);
    }
}
