//! The controller: runs decisions about the cluster's metadata. Decide, append, wait until it is safe, replay, carry out,
//! publish, and only then reply.
//!
//! One decision at a time, each on a task of its own, so that a client which goes away cannot stop one half-way. The log
//! is `corelog_replication::metadata`'s, as are the decisions, which are pure; what is here is what they cost.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use corelog_engine::log::LogConfig;
use corelog_engine::shard::{CleanerConfig, ShardId};
use corelog_engine::{Epoch, Error, Offset, Result, TopicId, TopicPartition};
use corelog_replication::metadata::record::{Endpoint, Partition, ProducerIds, Topic};
use corelog_replication::metadata::{
    ClusterImage, Decision, METADATA_TOPIC, MetadataLog, MetadataRecord, Registration, ResourceType, TopicImage, batch,
    decide_register_broker,
};
use corelog_replication::partition::Assignment;
use rustc_hash::{FxHashMap, FxHashSet};
use tokio::sync::{Mutex, oneshot};
use uuid::Uuid;

use crate::broker::ShardServer;
use crate::config::resource::Dynamic;
use crate::config::{Effect, table};
use crate::groups::OFFSETS_TOPIC;
use crate::protocol::Text;
use crate::{join, topic_settings};

/// Partitions of one shard that are created at the same time.
const CREATED_AT_ONCE: usize = 32;

/// Runs decisions, one at a time.
pub(crate) struct Controller {
    state: Mutex<ClusterImage>,
    log: Arc<MetadataLog>,
}

/// Partitions by the shard they are on.
type ByShard<T> = BTreeMap<ShardId, Vec<T>>;

impl Controller {
    /// A controller that has replayed nothing yet.
    pub(crate) fn new(image: ClusterImage, log_bytes_max: u64) -> Controller {
        Controller { state: Mutex::new(image), log: Arc::new(MetadataLog::new(log_bytes_max)) }
    }
}

impl ShardServer {
    /// Runs a decision and returns its reply once it is safe and carried out.
    ///
    /// # Errors
    /// The metadata log cannot be written.
    pub(crate) async fn decide<R: 'static>(
        self: &Rc<Self>,
        decide: impl FnOnce(&ClusterImage) -> Decision<R> + 'static,
    ) -> Result<R> {
        let (done, outcome) = oneshot::channel();
        let server = self.clone();
        self.io.spawn(async move {
            // The receiver is gone where the client is.
            let _ = done.send(server.decide_here(decide).await);
        });
        outcome.await.unwrap_or(Err(Error::Closed))
    }

    async fn decide_here<R>(self: Rc<Self>, decide: impl FnOnce(&ClusterImage) -> Decision<R>) -> Result<R> {
        let mut image = self.broker.controller.state.lock().await;
        let Decision { records, reply } = decide(&image);
        if records.is_empty() {
            return Ok(reply);
        }
        let before = image.clone();
        self.commit(&mut image, &records).await?;
        self.carry_out(&before, &image, &records).await;
        self.shorten(&mut image).await;
        Ok(reply)
    }

    /// Appends records to the metadata log, waits until they are safe, and replays them.
    async fn commit(self: &Rc<Self>, image: &mut ClusterImage, records: &[MetadataRecord]) -> Result<()> {
        let encoded = batch::encode(records, self.io.unix_time());
        let batch = encoded.map_err(|error| Error::Setting { name: "metadata".into(), reason: error.message })?;
        let appended = self.on_log(move |server, log| async move { log.append(&server.shard, &batch).await });
        let base = appended.await?;
        for (offset, record) in (base.0..).zip(records) {
            let replayed = image.replay(Offset(offset), record);
            replayed.unwrap_or_else(|error| panic!("a decision made a record that cannot be replayed: {error}"));
        }
        Ok(())
    }

    /// Begins the metadata log anew where it has grown long. Removals are carried out by now, so nothing is forgotten with
    /// the records that go.
    async fn shorten(self: &Rc<Self>, image: &mut ClusterImage) {
        if !self.broker.controller.log.is_long() {
            return;
        }
        let whole = image.clone();
        let end = self.on_log(move |server, log| async move { log.begin_anew(&server.shard, &whole).await }).await;
        match end {
            Ok(end) => image.skip_to(end),
            Err(error) => tracing::warn!(%error, "the metadata log stays long for now"),
        }
    }

    /// Runs `run` on the shard that has the metadata log.
    async fn on_log<T, F>(
        self: &Rc<Self>,
        run: impl FnOnce(Rc<ShardServer>, Arc<MetadataLog>) -> F + Send + 'static,
    ) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + 'static,
    {
        let log = self.broker.controller.log.clone();
        let shard = self.broker.store.shard_of(log.name());
        self.on(shard, move |server| run(server, log)).await?
    }

    /// Makes the store what the image says. What fails is logged and is made up for at the next start; until then the
    /// partition is offline.
    async fn carry_out(self: &Rc<Self>, before: &ClusterImage, after: &ClusterImage, records: &[MetadataRecord]) {
        let mut touched: FxHashSet<TopicId> = FxHashSet::default();
        let mut removed = Vec::new();
        for record in records {
            match record {
                MetadataRecord::Partition(partition) => drop(touched.insert(partition.topic)),
                MetadataRecord::PartitionChange(change) => drop(touched.insert(change.topic)),
                MetadataRecord::Config(config) if config.resource == ResourceType::Topic => {
                    touched.extend(after.topic(&config.name).map(|topic| topic.id));
                }
                // The broker's settings give topics their defaults.
                MetadataRecord::Config(config) if config.resource == ResourceType::Broker => {
                    if let Some(Effect::Inert(why)) = table::broker_key(&config.key).map(|key| key.effect) {
                        tracing::warn!(setting = %config.key, "a setting without effect here was changed: {why}");
                    }
                    touched.extend(after.topics().iter().map(|topic| topic.id));
                }
                MetadataRecord::RemoveTopic(id) => removed.extend(before.topic_by_id(*id).cloned()),
                _ => {}
            }
        }
        let topics: Vec<_> = touched.iter().filter_map(|id| after.topic_by_id(*id)).collect();
        if Dynamic::of(before, self.broker.node).cluster != Dynamic::of(after, self.broker.node).cluster
            || Dynamic::of(before, self.broker.node).broker != Dynamic::of(after, self.broker.node).broker
        {
            self.configure_cleaners(after).await;
        }
        self.lead(after, topics.into_iter()).await;
        // Published before anything is deleted, so that nobody is told of a partition that is gone, and after everything
        // is created, so that whoever is told of one finds it.
        self.broker.publish(Arc::new(after.clone()));
        self.remove(removed.iter().map(|topic| &**topic)).await;
        self.forget_offsets(&removed).await;
    }

    /// Groups forget the offsets of topics that are gone.
    async fn forget_offsets(self: &Rc<Self>, removed: &[Arc<TopicImage>]) {
        let topics: Vec<Text> = removed.iter().map(|topic| Text::from(&*topic.name)).collect();
        if topics.is_empty() {
            return;
        }
        let forgotten =
            self.on_all_coordinators(move |coordinator, _, effects| coordinator.forget_topics(effects, &topics));
        if let Some(code) = forgotten.await.into_iter().find_map(std::result::Result::err) {
            tracing::warn!(%code, "some groups keep offsets of a topic that is gone");
        }
    }

    /// Creates the partitions of these topics that this broker has to hold and does not, and leads those it has to lead.
    async fn lead<'a>(self: &Rc<Self>, image: &ClusterImage, topics: impl Iterator<Item = &'a Arc<TopicImage>>) {
        let dynamic = Dynamic::of(image, self.broker.node);
        let defaults = self.broker.settings.topic_defaults(dynamic);
        let mut work: ByShard<(TopicPartition, TopicId, LogConfig, Assignment)> = ByShard::new();
        for topic in topics {
            let overrides = image.configs(ResourceType::Topic, &topic.name);
            let settings = topic_settings::resolve(&defaults, &topic.name, overrides);
            let config = topic_settings::log_config(&self.broker.settings, dynamic, &settings);
            for (index, partition) in
                (0..).zip(&topic.partitions).filter(|(_, partition)| partition.leader == self.broker.node)
            {
                let name = TopicPartition::new(topic.name.clone(), index);
                let assignment = Assignment {
                    leader: partition.leader,
                    epoch: partition.leader_epoch,
                    replicas: partition.replicas.clone(),
                    isr: partition.isr.clone(),
                    min_insync_replicas: settings.min_insync_replicas,
                    durable: config.is_durable(),
                };
                let shard = self.broker.store.shard_of(&name);
                work.entry(shard).or_default().push((name, topic.id, config.clone(), assignment));
            }
        }
        self.each_shard(work, |server, (name, id, config, assignment)| async move {
            if server.shard.contains(&name) {
                server.shard.configure(&name, config)?;
            } else {
                server.shard.create(&name, id, config).await?;
            }
            server.leaders.lead(&server.shard, &name, &assignment)?;
            if *name.topic == *OFFSETS_TOPIC {
                server.groups.host(&server, &name, id);
            }
            Ok(())
        })
        .await;
    }

    /// Tells every shard the settings of compaction.
    async fn configure_cleaners(self: &Rc<Self>, image: &ClusterImage) {
        let shards = self.broker.store.shards();
        let config = self.broker.settings.cleaner(Dynamic::of(image, self.broker.node), shards);
        let work: ByShard<CleanerConfig> = (0..shards).map(|shard| (ShardId(shard), vec![config])).collect();
        self.each_shard(work, |server, config| async move {
            server.shard.configure_cleaner(config);
            Ok(())
        })
        .await;
    }

    /// Deletes the partitions of these topics.
    async fn remove<'a>(self: &Rc<Self>, topics: impl Iterator<Item = &'a TopicImage>) {
        let mut work: ByShard<TopicPartition> = ByShard::new();
        for topic in topics {
            for index in 0..topic.partitions.len() as i32 {
                let name = TopicPartition::new(topic.name.clone(), index);
                work.entry(self.broker.store.shard_of(&name)).or_default().push(name);
            }
        }
        self.each_shard(work, |server, name| async move {
            server.leaders.forget(&name);
            server.counters.forget(&name.topic);
            if *name.topic == *OFFSETS_TOPIC {
                server.groups.release(name.partition);
            }
            server.shard.delete(&name).await
        })
        .await;
    }

    /// Runs `run` for every item, on its shard, some at a time; logs what fails.
    async fn each_shard<T, F>(
        self: &Rc<Self>,
        work: ByShard<T>,
        run: impl Fn(Rc<ShardServer>, T) -> F + Copy + Send + 'static,
    ) where
        T: Send + 'static,
        F: Future<Output = Result<()>> + 'static,
    {
        let shards = work.into_iter().map(|(shard, items)| {
            let server = self.clone();
            let part: join::LocalFuture<_> = Box::pin(async move {
                let done = server.on(shard, move |server| async move {
                    let mut items = items.into_iter().peekable();
                    while items.peek().is_some() {
                        let some = items.by_ref().take(CREATED_AT_ONCE);
                        let running =
                            some.map(|item| Box::pin(run(server.clone(), item)) as join::LocalFuture<_>).collect();
                        for error in join::all(running).await.into_iter().filter_map(Result::err) {
                            tracing::error!(%error, "the store could not follow a change of the metadata");
                        }
                    }
                });
                if let Err(error) = done.await {
                    tracing::error!(%error, "the store could not follow a change of the metadata");
                }
            });
            part
        });
        join::all(shards.collect()).await;
    }

    /// Replays the metadata log, registers this broker, and makes the store what the metadata says. Called once, before
    /// anything is served.
    ///
    /// # Errors
    /// The log is damaged or cannot be written.
    pub(crate) async fn start_controller(self: &Rc<Self>, endpoints: Vec<Endpoint>, directory: Uuid) -> Result<()> {
        let mut image = self.broker.controller.state.lock().await;
        let removed = self.replay_log(&mut image).await?;
        self.adopt(&mut image, &removed).await?;
        let registration = Registration {
            node: self.broker.node,
            incarnation: Uuid::new_v4(),
            endpoints,
            rack: self.broker.settings.broker.rack.clone(),
            directories: vec![directory],
        };
        let Decision { records, reply } = decide_register_broker(&image, &registration);
        reply.map_err(|error| Error::Setting { name: "node.id".into(), reason: error.message })?;
        self.commit(&mut image, &records).await?;
        self.configure_cleaners(&image).await;
        self.lead(&image, image.topics().into_iter()).await;
        self.broker.publish(Arc::new(image.clone()));
        Ok(())
    }

    /// Replays the metadata log from its start; the ids of the topics that were removed.
    async fn replay_log(self: &Rc<Self>, image: &mut ClusterImage) -> Result<FxHashSet<TopicId>> {
        let mut replayed = image.clone();
        let opened = self.on_log(move |server, log| async move {
            let mut removed = FxHashSet::default();
            let note = |record| {
                if let MetadataRecord::RemoveTopic(id) = record {
                    removed.insert(id);
                }
            };
            log.open(&server.shard, &mut replayed, note).await?;
            Ok((replayed, removed))
        });
        let (replayed, removed) = opened.await?;
        *image = replayed;
        Ok(removed)
    }

    /// Settles what the store has and the metadata does not. A topic whose removal is in the log goes on going. Any other was
    /// there before us (the directory of a stopped Kafka broker, or metadata that was lost) and is taken in: no data is
    /// deleted because metadata about it is missing.
    async fn adopt(self: &Rc<Self>, image: &mut ClusterImage, removed: &FxHashSet<TopicId>) -> Result<()> {
        let mut strangers: FxHashMap<(Arc<str>, TopicId), i32> = FxHashMap::default();
        let mut strange = Vec::new();
        let mut going: ByShard<TopicPartition> = ByShard::new();
        for (name, id) in self.broker.store.partitions().iter().cloned() {
            if *name.topic == *METADATA_TOPIC || image.topic_by_id(id).is_some() {
                continue;
            }
            if removed.contains(&id) {
                going.entry(self.broker.store.shard_of(&name)).or_default().push(name);
            } else {
                let count = strangers.entry((name.topic.clone(), id)).or_default();
                *count = (*count).max(name.partition + 1);
                strange.push(name);
            }
        }
        self.each_shard(going, |server, name| async move { server.shard.delete(&name).await }).await;
        let mut records = Vec::new();
        for ((name, id), partitions) in strangers {
            if image.topic(&name).is_some() {
                return Err(Error::Setting {
                    name: "log.dirs".into(),
                    reason: format!(
                        "it holds partitions of a topic {name} with id {id}, and the metadata knows another topic of that name; move one of them away"
                    ),
                });
            }
            tracing::warn!(topic = %name, partitions, "a topic that the metadata does not know is taken in");
            records.push(MetadataRecord::Topic(Topic { name, id }));
            records.extend((0..partitions).map(|partition| {
                MetadataRecord::Partition(Partition {
                    partition,
                    topic: id,
                    replicas: vec![self.broker.node],
                    isr: vec![self.broker.node],
                    removing: Vec::new(),
                    adding: Vec::new(),
                    leader: self.broker.node,
                    leader_epoch: Epoch(0),
                    partition_epoch: 0,
                    directories: vec![Uuid::nil()],
                })
            }));
        }
        if records.is_empty() {
            return Ok(());
        }
        let next = self.producer_ids_used(strange).await + 1;
        if next > image.next_producer_id() {
            records.push(MetadataRecord::ProducerIds(ProducerIds { node: self.broker.node, epoch: -1, next }));
        }
        self.commit(image, &records).await
    }
}
