//! Partitions begin and end: what is on the disk when, so that a power cut leaves the one or the other.

use std::rc::Rc;

use crate::error::{Error, Result};
use crate::journal::PartitionKey;
use crate::log::partition_metadata::{DELETED_METADATA_FILE, PARTITION_METADATA_FILE};
use crate::log::{LeaderEpochs, Log, LogConfig, PartitionMetadata, SegmentState, segment_base_of};
use crate::shard::leftovers::deleted_dir_name;
use crate::shard::partition::Partition;
use crate::shard::shard::{NotedEntry, Shard};
use crate::types::{Offset, TopicId, TopicPartition};

impl Shard {
    /// Creates a partition, empty; it exists after a power cut when this has returned.
    ///
    /// # Errors
    /// [`Error::PartitionExists`]; faults of the disk.
    pub async fn create(self: &Rc<Self>, name: &TopicPartition, topic_id: TopicId, config: LogConfig) -> Result<()> {
        self.check()?;
        let _name = self.take_name(name).await;
        if self.contains(name) {
            return Err(Error::PartitionExists(name.clone()));
        }
        let dir = self.partition_dir(name);
        self.io.create_dir_all(&dir).await?;
        if let Some(other) = self.io.list_dir(&dir).await?.iter().find(|entry| segment_base_of(&entry.name).is_some()) {
            let what = "it belongs to no partition, and is in the way of a new one; take its directory away";
            return Err(Error::corrupt(&dir.join(&other.name), None, what));
        }
        self.io.replace_file(&dir.join(PARTITION_METADATA_FILE), PartitionMetadata { topic_id }.encode()).await?;
        self.io.sync_dir(&self.config.dir).await?;
        self.check()?;
        let state = SegmentState::empty(Offset::ZERO);
        let key = PartitionKey { topic_id, partition: name.partition };
        let log = Log::open(
            &self.io,
            dir.clone(),
            Rc::new(config),
            Offset::ZERO,
            Offset::ZERO,
            LeaderEpochs::new(),
            Vec::new(),
            Vec::new(),
            state,
        );
        let partition = Rc::new(Partition::new(name.clone(), key, dir, log));
        partition.changed.set(true);
        // The journal tells that the log is new before anything is written to it: recovery believes no file that it finds
        // there, while one that nothing tells of is taken for another broker's.
        self.newborn.borrow_mut().push(partition.clone());
        let sequence = self.note_entry(NotedEntry::Start { key, start: Offset::ZERO });
        let told = self.group_applied(sequence).await;
        self.newborn.borrow_mut().retain(|newborn| !Rc::ptr_eq(newborn, &partition));
        told?;
        self.partitions.borrow_mut().insert(name.clone(), partition);
        Ok(())
    }

    /// Deletes a partition: it is gone at once, its files follow.
    pub async fn delete(self: &Rc<Self>, name: &TopicPartition) -> Result<()> {
        let _name = self.take_name(name).await;
        let partition = self.partition(name)?;
        // From here on recovery takes it for deleted. No checkpoint may leave it out before.
        self.io
            .rename(&partition.dir.join(PARTITION_METADATA_FILE), &partition.dir.join(DELETED_METADATA_FILE))
            .await?;
        self.io.sync_dir(&partition.dir).await?;
        self.partitions.borrow_mut().remove(name);
        partition.delete();
        self.recount(&partition, &partition.log.borrow());
        // The queue would keep its memory until others hold too much.
        self.evictable.borrow_mut().retain(|other| !Rc::ptr_eq(other, &partition));
        self.partitions_gone.set(true);
        // What is under way would else miss its files, or find those of a partition that gets the name next.
        while partition.is_at_work() {
            self.failed()?;
            let progress = partition.progress.notified();
            if partition.is_at_work() {
                progress.await;
            }
        }
        let gone = self.config.dir.join(deleted_dir_name(name, partition.key.topic_id));
        self.io.rename(&partition.dir, &gone).await?;
        self.io.sync_dir(&self.config.dir).await?;
        let shard = self.clone();
        self.io.spawn(async move {
            if let Err(error) = shard.io.remove_dir_all(&gone).await {
                tracing::warn!(%error, "a deleted partition's files stay");
            }
        });
        Ok(())
    }

    /// Waits until nobody else creates or deletes a partition of this name.
    async fn take_name(&self, name: &TopicPartition) -> TakenName<'_> {
        loop {
            let changed = self.changed.notified();
            if self.changing.borrow_mut().insert(name.clone()) {
                return TakenName { shard: self, name: name.clone() };
            }
            changed.await;
        }
    }
}

/// The right to create or delete the partition of a name.
struct TakenName<'a> {
    shard: &'a Shard,
    name: TopicPartition,
}

impl Drop for TakenName<'_> {
    fn drop(&mut self) {
        self.shard.changing.borrow_mut().remove(&self.name);
        self.shard.changed.notify_waiters();
    }
}
