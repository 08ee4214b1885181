//! How far groups are behind the end of what they read, in records and in seconds.
//!
//! In seconds it is the age of the oldest record that the group has not committed: of its batch's first record, which spares
//! decompressing it.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use corelog_engine::batch::{BatchHeader, TimestampType};
use corelog_engine::shard::{ReadRequest, ReadUpTo, ShardId};
use corelog_engine::{Offset, TopicPartition};

use super::exposition::{Family, Kind, Samples};
use crate::broker::ShardServer;

static RECORDS: Family = Family {
    name: "corelog_group_lag_records",
    kind: Kind::Gauge,
    help: "Records between a group's committed offset and the high watermark.",
};
static SECONDS: Family = Family {
    name: "corelog_group_lag_seconds",
    kind: Kind::Gauge,
    help: "The age of the oldest record that a group has not committed; 0 where there is none.",
};
static OFFSET: Family =
    Family { name: "corelog_group_committed_offset", kind: Kind::Gauge, help: "A group's committed offset." };

/// Every family of this file.
#[cfg(test)]
pub(super) static FAMILIES: &[&Family] = &[&OFFSET, &RECORDS, &SECONDS];

/// The most partitions of groups that are looked at for one answer.
const PARTITIONS_MAX: usize = 10_000;

/// Group, partition, committed offset.
type Committed = (Arc<str>, TopicPartition, Offset);

/// Adds the lag of every group that has committed.
pub(super) async fn gather(server: &Rc<ShardServer>, samples: &mut Samples) {
    let mut work: BTreeMap<ShardId, Vec<Committed>> = BTreeMap::new();
    let all = server.on_all_coordinators(|coordinator, _, _| coordinator.committed()).await;
    for (group, topic, partition, offset) in all.into_iter().flatten().flatten().take(PARTITIONS_MAX) {
        let name = TopicPartition::new(&*topic, partition);
        let shard = server.broker.store.shard_of(&name);
        work.entry(shard).or_default().push((Arc::from(&*group), name, Offset(offset)));
    }
    for (shard, committed) in work {
        let looked = server.on(shard, move |server| async move {
            let mut samples = Samples::default();
            for (group, name, offset) in committed {
                look(&server, &group, &name, offset, &mut samples).await;
            }
            samples
        });
        if let Ok(others) = looked.await {
            samples.merge(others);
        }
    }
}

async fn look(server: &Rc<ShardServer>, group: &str, name: &TopicPartition, committed: Offset, samples: &mut Samples) {
    // The topic may be gone.
    let Ok(offsets) = server.shard.offsets(name) else { return };
    // What retention took cannot be read any more, but it is what the group has missed.
    let behind = (offsets.high_watermark.0 - committed.0).max(0);
    let seconds = if behind == 0 { 0.0 } else { age(server, name, committed.max(offsets.start)).await };
    let labels: [(&str, &dyn std::fmt::Display); 3] =
        [("group", &group), ("topic", &name.topic), ("partition", &name.partition)];
    samples.add(&OFFSET, &labels, committed.0);
    samples.add(&RECORDS, &labels, behind);
    samples.add(&SECONDS, &labels, seconds);
}

/// The age of the record at `offset`, in seconds; 0 where it cannot be read.
async fn age(server: &Rc<ShardServer>, name: &TopicPartition, offset: Offset) -> f64 {
    let request = ReadRequest { from: offset, bytes_max: 0, at_least_one: true, up_to: ReadUpTo::HighWatermark };
    let Ok(read) = server.shard.read(name, request).await else { return 0.0 };
    let Ok(header) = BatchHeader::parse(&read.to_vec()) else { return 0.0 };
    let time = match header.timestamp_type() {
        TimestampType::CreateTime => header.base_timestamp,
        TimestampType::LogAppendTime => header.max_timestamp,
    };
    (server.io.unix_time().0 - time.0).max(0) as f64 / 1000.0
}
