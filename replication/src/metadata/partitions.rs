//! Adding partitions to a topic.

use super::decision::{Decision, MetadataError, Refusal};
use super::image::ClusterImage;
use super::record::MetadataRecord;
use super::topics::{check_count, check_replicas, first_record, partitions_left, place, repeated, unknown};
use crate::NodeId;

/// A topic that is to have more partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewPartitions {
    /// The topic.
    pub topic: String,
    /// How many partitions it is to have in all.
    pub count: i32,
    /// The replicas of each new partition, where the client chooses them.
    pub assignments: Option<Vec<Vec<NodeId>>>,
}

/// Adds partitions; each topic gets an answer of its own.
pub fn decide_create_partitions(
    image: &ClusterImage,
    topics: &[NewPartitions],
) -> Decision<Vec<Result<(), MetadataError>>> {
    let repeated = repeated(topics.iter().map(|topic| topic.topic.as_str()));
    let mut records = Vec::new();
    let mut left = partitions_left(image);
    let reply = topics
        .iter()
        .map(|topic| {
            if repeated.contains(topic.topic.as_str()) {
                return Err(MetadataError::new(Refusal::InvalidRequest, "Duplicate topic name."));
            }
            let added = add(image, topic, left)?;
            left -= added.len();
            records.extend(added);
            Ok(())
        })
        .collect();
    Decision { records, reply }
}

fn add(image: &ClusterImage, request: &NewPartitions, left: usize) -> Result<Vec<MetadataRecord>, MetadataError> {
    let topic = image.topic(&request.topic).ok_or_else(|| unknown(&request.topic))?;
    let present = topic.partitions.len();
    let invalid = |message| MetadataError::new(Refusal::InvalidPartitions, message);
    let wanted = usize::try_from(request.count).ok().filter(|&wanted| wanted >= present).ok_or_else(|| {
        invalid(format!(
            "The topic {} currently has {present} partition(s); {} would not be an increase.",
            request.topic, request.count
        ))
    })?;
    if wanted == present {
        return Err(invalid(format!("Topic already has {present} partition(s).")));
    }
    let more = wanted - present;
    check_count(more, left)?;
    let replicas = topic.partitions[0].replicas.len();
    let assignments = match &request.assignments {
        None => place(image, image.topic_count(), present, more, replicas)?,
        Some(chosen) => {
            let wrong = |message| Err(MetadataError::new(Refusal::InvalidReplicaAssignment, message));
            if chosen.len() != more {
                return wrong(format!(
                    "Attempted to add {more} additional partition(s), but only {} assignment(s) were specified.",
                    chosen.len()
                ));
            }
            for (index, nodes) in (present as i32..).zip(chosen) {
                check_replicas(image, index, nodes)?;
                if nodes.len() != replicas {
                    return wrong(format!(
                        "Partition {index} has {} replicas, the others have {replicas}.",
                        nodes.len()
                    ));
                }
            }
            chosen.clone()
        }
    };
    let indexes = present as i32..;
    Ok(indexes.zip(assignments).map(|(index, nodes)| first_record(image, topic.id, index, nodes)).collect())
}
