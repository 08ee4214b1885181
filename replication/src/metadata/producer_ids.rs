//! Blocks of producer ids for brokers.

use std::ops::Range;

use super::decision::{Decision, MetadataError, Refusal};
use super::image::ClusterImage;
use super::record::{MetadataRecord, ProducerIds};
use crate::NodeId;

/// The ids of one block, as in Kafka (`ProducerIdsBlock.PRODUCER_ID_BLOCK_SIZE`).
pub const PRODUCER_IDS_PER_BLOCK: i64 = 1000;

/// Gives a broker the next block of ids (`ProducerIdControlManager.generateNextProducerId`).
pub fn decide_producer_ids(image: &ClusterImage, node: NodeId) -> Decision<Result<Range<i64>, MetadataError>> {
    let Some(broker) = image.broker(node) else {
        let message = format!("Broker {node} is not registered.");
        return Decision::only(Err(MetadataError::new(Refusal::StaleBrokerEpoch, message)));
    };
    let first = image.next_producer_id();
    let Some(next) = first.checked_add(PRODUCER_IDS_PER_BLOCK) else {
        let message = format!("There are no producer ids from {first} on.");
        return Decision::only(Err(MetadataError::new(Refusal::InvalidRequest, message)));
    };
    let record = MetadataRecord::ProducerIds(ProducerIds { node, epoch: broker.epoch, next });
    Decision { records: vec![record], reply: Ok(first..next) }
}

#[cfg(test)]
mod tests {
    use corelog_engine::Offset;
    use uuid::Uuid;

    use super::*;
    use crate::metadata::{Registration, decide_register_broker};

    fn replay(image: &mut ClusterImage, records: &[MetadataRecord]) {
        for record in records {
            image.replay(image.next_offset(), record).expect("a decision's record");
        }
    }

    #[test]
    fn no_id_is_in_two_blocks_and_only_registered_brokers_get_one() {
        let mut image = ClusterImage::new("cluster");
        assert!(decide_producer_ids(&image, NodeId(1)).reply.is_err());
        let registration = Registration {
            node: NodeId(1),
            incarnation: Uuid::from_u128(7),
            endpoints: Vec::new(),
            rack: None,
            directories: Vec::new(),
        };
        let registered = decide_register_broker(&image, &registration);
        replay(&mut image, &registered.records);
        for block in 0..3 {
            let given = decide_producer_ids(&image, NodeId(1));
            assert_eq!(given.reply, Ok(block * 1000..(block + 1) * 1000));
            replay(&mut image, &given.records);
        }
        let mut again = ClusterImage::new("cluster");
        for (offset, record) in (0..).zip(image.to_records()) {
            again.replay(Offset(offset), &record).expect("the image's own record");
        }
        assert_eq!(decide_producer_ids(&again, NodeId(1)).reply, Ok(3000..4000), "after a shortened log");
    }

    #[test]
    fn the_last_ids_are_not_given_out_by_running_over() {
        let mut image = ClusterImage::new("cluster");
        let registration = Registration {
            node: NodeId(1),
            incarnation: Uuid::from_u128(7),
            endpoints: Vec::new(),
            rack: None,
            directories: Vec::new(),
        };
        let registered = decide_register_broker(&image, &registration);
        replay(&mut image, &registered.records);
        let last = ProducerIds { node: NodeId(1), epoch: 0, next: i64::MAX - 500 };
        replay(&mut image, &[MetadataRecord::ProducerIds(last)]);
        let refused = decide_producer_ids(&image, NodeId(1));
        assert!(refused.reply.is_err() && refused.records.is_empty());
    }
}
