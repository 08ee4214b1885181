//! Producer ids: taken from a block that the metadata log has given to this broker, so that none is ever given twice.
//!
//! A restart leaves the rest of the block unused, as in Kafka (`RPCProducerIdManager`).

use std::ops::Range;
use std::rc::Rc;

use corelog_engine::{Error, Result, TopicPartition};
use corelog_replication::metadata::decide_producer_ids;
use tokio::sync::Mutex;

use crate::broker::ShardServer;

/// The ids that this broker has and has not given out yet.
#[derive(Default)]
pub(crate) struct ProducerIds {
    block: Mutex<Range<i64>>,
}

/// No broker gives out ids from here on; a client that makes up one must not use them all up.
const PRODUCER_ID_PLAUSIBLE_MAX: i64 = 1 << 48;

impl ShardServer {
    /// The greatest producer id that has written to these partitions, or -1: where the metadata was lost, it is not to be given out again,
    /// since what its next owner sends would be taken for what the earlier one had sent.
    pub(crate) async fn producer_ids_used(self: &Rc<Self>, partitions: Vec<TopicPartition>) -> i64 {
        let mut greatest = -1;
        for name in partitions {
            let shard = self.broker.store.shard_of(&name);
            let told = self.on(shard, move |server| async move { server.shard.producers(&name) }).await;
            // One that is damaged is offline, and nobody writes to it.
            let ids = told.and_then(|told| told).unwrap_or_default().into_iter().map(|producer| producer.id);
            greatest = ids.filter(|id| *id < PRODUCER_ID_PLAUSIBLE_MAX).fold(greatest, i64::max);
        }
        greatest
    }

    /// An id that no producer had before.
    ///
    /// # Errors
    /// The metadata log cannot be written; there are no ids left.
    pub(crate) async fn next_producer_id(self: &Rc<Self>) -> Result<i64> {
        let mut block = self.broker.producer_ids.block.lock().await;
        loop {
            if let Some(id) = block.next() {
                return Ok(id);
            }
            let node = self.broker.node;
            let given = self.decide(move |image| decide_producer_ids(image, node)).await?;
            *block = given.map_err(|error| Error::Setting { name: "producer ids".into(), reason: error.message })?;
        }
    }
}
