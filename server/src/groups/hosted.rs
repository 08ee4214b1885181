//! The coordinators of one shard: loads them, runs their turns, appends what comes of them, and answers when that is safe.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use corelog_engine::batch::{BatchBuilder, Codec, Origin, records, scan};
use corelog_engine::io::Instant;
use corelog_engine::shard::{AppendOptions, ReadRequest, ReadUpTo};
use corelog_engine::{Epoch, Error, Offset, Result, TopicId, TopicPartition};
use rustc_hash::FxHashMap;
use tokio::sync::{Notify, oneshot};

use super::coordinator::Coordinator;
use super::place::{OFFSETS_TOPIC, partition_of};
use super::record::GroupRecord;
use super::turn::{Answer, Effects, Ticket, World};
use crate::broker::ShardServer;
use crate::protocol::{ErrorCode, Text};

/// Bytes of one read while a partition is loaded.
const READ_BYTES: usize = 1 << 20;
/// Bytes that a compressed batch of the partition may become.
const BATCH_BYTES_MAX: usize = 64 << 20;
/// Bytes of records in one batch; more become several.
const BATCH_BYTES: usize = 512 << 10;
/// How long nothing is tried on a partition that could not be loaded.
const RETRY: Duration = Duration::from_secs(1);

/// The coordinators of one shard, by partition.
#[derive(Default)]
pub(crate) struct Groups {
    hosted: RefCell<FxHashMap<i32, Rc<Hosted>>>,
}

/// A coordinator and its partition.
struct Hosted {
    name: TopicPartition,
    topic_id: TopicId,
    state: RefCell<State>,
    waiting: RefCell<FxHashMap<Ticket, oneshot::Sender<Answered>>>,
    tickets: Cell<u64>,
    /// The deadline for which the timer sleeps; and told of an earlier one.
    armed: Cell<Option<Instant>>,
    rearm: Notify,
}

/// An answer, or why there is none.
type Answered = std::result::Result<Answer, ErrorCode>;

enum State {
    /// Its records are being read.
    Loading,
    /// It serves.
    Active(Coordinator),
    /// It is gone, or the broker shuts down.
    Closed,
}

impl Groups {
    /// Coordinates a partition from now on, if it is not done already.
    pub(crate) fn host(&self, server: &Rc<ShardServer>, name: &TopicPartition, topic_id: TopicId) {
        let mut all = self.hosted.borrow_mut();
        if all.get(&name.partition).is_some_and(|hosted| hosted.topic_id == topic_id) {
            return;
        }
        let hosted = Rc::new(Hosted {
            name: name.clone(),
            topic_id,
            state: RefCell::new(State::Loading),
            waiting: RefCell::default(),
            tickets: Cell::new(0),
            armed: Cell::new(None),
            rearm: Notify::new(),
        });
        if let Some(before) = all.insert(name.partition, hosted.clone()) {
            before.close();
        }
        server.io.spawn(hosted.run(server.clone()));
    }

    /// Coordinates a partition no more: it is gone.
    pub(crate) fn release(&self, partition: i32) {
        if let Some(hosted) = self.hosted.borrow_mut().remove(&partition) {
            hosted.close();
        }
    }

    /// Answers everyone who waits: the broker shuts down.
    pub(crate) fn close(&self) {
        for hosted in self.hosted.borrow().values() {
            hosted.close();
        }
    }

    fn find(&self, partition: i32) -> std::result::Result<Rc<Hosted>, ErrorCode> {
        self.hosted.borrow().get(&partition).cloned().ok_or(ErrorCode::NOT_COORDINATOR)
    }

    /// The partitions that are coordinated here.
    fn all(&self) -> Vec<Rc<Hosted>> {
        self.hosted.borrow().values().cloned().collect()
    }
}

impl Hosted {
    /// Loads the coordinator, then does what falls due, until it is closed.
    async fn run(self: Rc<Self>, server: Rc<ShardServer>) {
        let check = Duration::from_millis(server.broker.settings.groups.offsets_retention_check_ms);
        let mut next_check = server.io.now() + check;
        while !self.is_closed() {
            let loaded = if self.is_loading() { self.load(&server).await } else { Ok(()) };
            if let Err(error) = loaded {
                if matches!(error, Error::Closed) {
                    return;
                }
                tracing::error!(%error, partition = %self.name, "groups cannot be loaded");
                server.io.sleep(RETRY).await;
                continue;
            }
            let deadline = self.next_deadline().map_or(next_check, |deadline| deadline.min(next_check));
            self.armed.set(Some(deadline));
            tokio::select! {
                () = server.io.sleep_until(deadline) => {}
                () = self.rearm.notified() => {}
            }
            let now = server.io.now();
            if self.next_deadline().is_some_and(|deadline| deadline <= now) {
                let _ = self.turn(&server, |coordinator, world, effects| coordinator.on_time(world, effects));
            }
            if next_check <= now {
                next_check = now + check;
                let _ = self.turn(&server, |coordinator, world, effects| coordinator.expire(world, effects));
            }
        }
    }

    fn is_loading(&self) -> bool {
        matches!(*self.state.borrow(), State::Loading)
    }

    fn is_closed(&self) -> bool {
        matches!(*self.state.borrow(), State::Closed)
    }

    fn next_deadline(&self) -> Option<Instant> {
        match &*self.state.borrow() {
            State::Active(coordinator) => coordinator.next_deadline(),
            _ => None,
        }
    }

    fn close(&self) {
        *self.state.borrow_mut() = State::Closed;
        self.refuse_all(ErrorCode::NOT_COORDINATOR);
        self.rearm.notify_one();
    }

    fn refuse_all(&self, code: ErrorCode) {
        for (_, waiting) in self.waiting.borrow_mut().drain() {
            // Who waited may be gone.
            let _ = waiting.send(Err(code));
        }
    }

    /// Makes the state from the partition's records.
    async fn load(self: &Rc<Self>, server: &Rc<ShardServer>) -> Result<()> {
        let mut coordinator = Coordinator::default();
        let log = server.shard.offsets(&self.name)?;
        let mut from = log.start;
        while from < log.end {
            let request = ReadRequest { from, bytes_max: READ_BYTES, at_least_one: true, up_to: ReadUpTo::End };
            let read = server.shard.read(&self.name, request).await?;
            let batches = read.to_vec();
            self.replay(&mut coordinator, &batches)?;
            assert!(read.next_offset > from, "reading {} stands still at {from}", self.name);
            from = read.next_offset;
        }
        if self.is_closed() {
            return Err(Error::Closed);
        }
        *self.state.borrow_mut() = State::Active(coordinator);
        let _ = self.turn(server, |coordinator, world, effects| coordinator.begin(world, effects));
        Ok(())
    }

    fn replay(&self, coordinator: &mut Coordinator, batches: &[u8]) -> Result<()> {
        let damaged = |what: String| Error::corrupt(std::path::Path::new(&self.name.to_string()), None, what);
        for found in scan(batches) {
            let (position, header) = found.map_err(|error| damaged(error.to_string()))?;
            if header.is_control() {
                continue;
            }
            let batch = &batches[position..position + header.size_bytes()];
            let batch = records(batch, BATCH_BYTES_MAX).map_err(|error| damaged(error.to_string()))?;
            for record in batch.iter() {
                let record = record.map_err(|error| damaged(error.to_string()))?;
                let Some(key) = record.key else { continue };
                let decoded = GroupRecord::decode(key, record.value);
                match decoded.map_err(|error| damaged(format!("group record at {}: {error}", record.offset)))? {
                    Some(decoded) => coordinator.replay(&decoded),
                    None => {
                        tracing::debug!(offset = %record.offset, "a group record of an unknown type is passed over")
                    }
                }
            }
        }
        Ok(())
    }

    /// Runs a turn and appends what comes of it. What `run` returns may leave when everything before the offset is safe.
    fn turn<R>(
        self: &Rc<Self>,
        server: &Rc<ShardServer>,
        run: impl FnOnce(&mut Coordinator, World<'_>, &mut Effects) -> R,
    ) -> std::result::Result<(R, Offset), ErrorCode> {
        let mut effects = Effects::default();
        let mut state = self.state.borrow_mut();
        let State::Active(coordinator) = &mut *state else {
            return Err(match *state {
                State::Loading => ErrorCode::COORDINATOR_LOAD_IN_PROGRESS,
                _ => ErrorCode::NOT_COORDINATOR,
            });
        };
        let image = server.broker.image();
        let time = server.io.unix_time();
        let world = World { now: server.io.now(), time, image: &image, settings: &server.broker.settings.groups };
        let reply = run(coordinator, world, &mut effects);
        let Effects { records, answers, applied } = effects;
        if let Err(error) = self.append(server, coordinator, &records, applied, time) {
            tracing::warn!(%error, partition = %self.name, "what groups decided cannot be written");
            if applied {
                // The state shows what is not written: it is made again from what is.
                *state = State::Loading;
                drop(state);
                self.refuse_all(ErrorCode::COORDINATOR_NOT_AVAILABLE);
                self.rearm.notify_one();
            }
            return Err(match error {
                Error::Batch(_) => ErrorCode::INVALID_COMMIT_OFFSET_SIZE,
                _ => ErrorCode::COORDINATOR_NOT_AVAILABLE,
            });
        }
        let earlier = match (coordinator.next_deadline(), self.armed.get()) {
            (Some(deadline), Some(armed)) => deadline < armed,
            _ => false,
        };
        drop(state);
        if earlier {
            self.rearm.notify_one();
        }
        let end = server.shard.offsets(&self.name).map_err(|_| ErrorCode::NOT_COORDINATOR)?.end;
        self.deliver(server, answers, end);
        Ok((reply, end))
    }

    /// Appends records as batches, and has the state follow where it does not yet.
    fn append(
        &self,
        server: &Rc<ShardServer>,
        coordinator: &mut Coordinator,
        records: &[GroupRecord],
        applied: bool,
        time: corelog_engine::Timestamp,
    ) -> Result<()> {
        let mut rest = records;
        while !rest.is_empty() {
            let mut batch = BatchBuilder::new(Codec::None);
            let mut bytes = 0;
            let mut count = 0;
            for record in rest {
                let (key, value) = record.encode();
                let size = key.len() + value.as_ref().map_or(0, |value| value.len());
                if count > 0 && bytes + size > BATCH_BYTES {
                    break;
                }
                batch.push(time, Some(&key), value.as_deref(), &[]);
                bytes += size;
                count += 1;
            }
            let options = AppendOptions { epoch: Epoch::NONE, origin: Origin::Coordinator };
            server.shard.append(&self.name, &batch.build(Offset::ZERO), options)?;
            let (done, more) = rest.split_at(count);
            if !applied {
                done.iter().for_each(|record| coordinator.replay(record));
            }
            rest = more;
        }
        Ok(())
    }

    /// Gives answers to those who wait, once everything before `end` is safe.
    fn deliver(self: &Rc<Self>, server: &Rc<ShardServer>, answers: Vec<(Ticket, Answer)>, end: Offset) {
        if answers.is_empty() {
            return;
        }
        let senders: Vec<_> = {
            let mut waiting = self.waiting.borrow_mut();
            answers.into_iter().filter_map(|(ticket, answer)| Some((waiting.remove(&ticket)?, answer))).collect()
        };
        let (hosted, server) = (self.clone(), server.clone());
        server.io.clone().spawn(async move {
            let safe = hosted.safe(&server, end).await;
            for (sender, answer) in senders {
                // Who waited may be gone.
                let _ = sender.send(safe.map(|()| answer));
            }
        });
    }

    /// Returns when everything before `end` is as safe as the partition keeps it.
    async fn safe(&self, server: &Rc<ShardServer>, end: Offset) -> std::result::Result<(), ErrorCode> {
        let reached = server.shard.high_watermark_reached(&self.name, end).await;
        reached.map_err(|_| ErrorCode::COORDINATOR_NOT_AVAILABLE)
    }

    /// Waits while too much waits for the disk.
    async fn room(&self, server: &Rc<ShardServer>) {
        if !server.shard.has_room() {
            server.shard.room().await;
        }
    }
}

impl ShardServer {
    /// Runs a turn of the coordinator that has the group; the reply, once it is safe to tell.
    ///
    /// # Errors
    /// The code for a coordinator that is not here, not yet, or cannot write.
    pub(crate) async fn on_coordinator<R: Send + 'static>(
        self: &Rc<Self>,
        group: &Text,
        run: impl FnOnce(&mut Coordinator, World<'_>, &mut Effects) -> R + Send + 'static,
    ) -> std::result::Result<R, ErrorCode> {
        self.at_coordinator(group, |server, hosted| async move {
            hosted.room(&server).await;
            let (reply, end) = hosted.turn(&server, run)?;
            hosted.safe(&server, end).await?;
            Ok(reply)
        })
        .await
    }

    /// [`ShardServer::on_coordinator`] for what may be answered later, under the ticket that `run` is given.
    pub(crate) async fn wait_for_coordinator(
        self: &Rc<Self>,
        group: &Text,
        run: impl FnOnce(&mut Coordinator, World<'_>, &mut Effects, Ticket) -> Option<Answer> + Send + 'static,
    ) -> std::result::Result<Answer, ErrorCode> {
        self.at_coordinator(group, |server, hosted| async move {
            hosted.room(&server).await;
            let ticket = Ticket(hosted.tickets.replace(hosted.tickets.get() + 1));
            let (sender, receiver) = oneshot::channel();
            hosted.waiting.borrow_mut().insert(ticket, sender);
            let turned = hosted.turn(&server, |coordinator, world, effects| run(coordinator, world, effects, ticket));
            let reply = turned.inspect_err(|_| drop(hosted.waiting.borrow_mut().remove(&ticket)))?;
            if let (Some(answer), end) = reply {
                hosted.waiting.borrow_mut().remove(&ticket);
                hosted.safe(&server, end).await?;
                return Ok(answer);
            }
            receiver.await.unwrap_or(Err(ErrorCode::NOT_COORDINATOR))
        })
        .await
    }

    async fn at_coordinator<R, F>(
        self: &Rc<Self>,
        group: &Text,
        run: impl FnOnce(Rc<ShardServer>, Rc<Hosted>) -> F + Send + 'static,
    ) -> std::result::Result<R, ErrorCode>
    where
        R: Send + 'static,
        F: Future<Output = std::result::Result<R, ErrorCode>> + 'static,
    {
        let partitions = {
            let image = self.broker.image();
            image.topic(OFFSETS_TOPIC).map(|topic| topic.partitions.len() as i32)
        };
        let partitions = partitions.ok_or(ErrorCode::NOT_COORDINATOR)?;
        let partition = partition_of(group, partitions);
        let shard = self.broker.store.shard_of(&TopicPartition::new(OFFSETS_TOPIC, partition));
        let ran = self.in_order_on(shard, move |server| async move {
            let hosted = server.groups.find(partition)?;
            run(server, hosted).await
        });
        ran.await.unwrap_or(Err(ErrorCode::COORDINATOR_NOT_AVAILABLE))
    }

    /// Runs a turn of every coordinator of this broker; the replies, once they are safe to tell.
    pub(crate) async fn on_all_coordinators<R: Send + 'static>(
        self: &Rc<Self>,
        run: impl Fn(&mut Coordinator, World<'_>, &mut Effects) -> R + Clone + Send + 'static,
    ) -> Vec<std::result::Result<R, ErrorCode>> {
        let mut replies = Vec::new();
        for shard in 0..self.broker.store.shards() {
            let run = run.clone();
            let here = self.on(corelog_engine::shard::ShardId(shard), move |server| async move {
                let mut replies = Vec::new();
                for hosted in server.groups.all() {
                    replies.push(match hosted.turn(&server, run.clone()) {
                        Ok((reply, end)) => hosted.safe(&server, end).await.map(|()| reply),
                        Err(code) => Err(code),
                    });
                }
                replies
            });
            replies.extend(here.await.unwrap_or_else(|_| vec![Err(ErrorCode::COORDINATOR_NOT_AVAILABLE)]));
        }
        replies
    }
}
