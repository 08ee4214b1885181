//! Producer ids: taken from a block that the metadata log has given to this broker, so that none is ever given twice.
//!
//! A restart leaves the rest of the block unused, as in Kafka (`RPCProducerIdManager`).

use std::ops::Range;
use std::rc::Rc;

use corelog_engine::{Error, Result};
use corelog_replication::metadata::decide_producer_ids;
use tokio::sync::Mutex;

use crate::broker::ShardServer;

/// The ids that this broker has and has not given out yet.
#[derive(Default)]
pub(crate) struct ProducerIds {
    block: Mutex<Range<i64>>,
}

impl ShardServer {
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
