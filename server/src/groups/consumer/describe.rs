//! What operators are told of a consumer group.

use super::group::{ConsumerGroup, Partitions, by_name};
use crate::groups::turn::World;
use crate::protocol::Text;
use crate::protocol::consumer_group_describe::{
    Assignment, DescribedGroup, MEMBER_CLASSIC, MEMBER_CONSUMER, Member, TopicPartitions,
};

impl ConsumerGroup {
    /// The group with its members.
    pub(in crate::groups) fn describe(&self, world: World<'_>, id: &Text) -> DescribedGroup {
        let none = Partitions::new();
        let members = self.members.iter().map(|(member_id, member)| Member {
            member_id: member_id.clone(),
            instance_id: member.wants.instance_id.clone(),
            rack_id: member.wants.rack_id.clone(),
            member_epoch: member.epoch,
            client_id: member.wants.client_id.clone(),
            client_host: member.wants.client_host.clone(),
            subscribed_topic_names: member.wants.subscribed_topic_names.clone(),
            // Kafka tells none as an empty text.
            subscribed_topic_regex: Some(member.wants.subscribed_topic_regex.clone().unwrap_or_default()),
            assignment: told(world, &member.assigned),
            target_assignment: told(world, self.targets.get(member_id).unwrap_or(&none)),
            member_type: if member.is_classic() { MEMBER_CLASSIC } else { MEMBER_CONSUMER },
        });
        DescribedGroup {
            group_id: id.clone(),
            group_state: Text::from_static(self.state_name()),
            group_epoch: self.epoch,
            assignment_epoch: self.target_epoch,
            assignor_name: Text::from_static(self.assignor(world.settings).name()),
            members: members.collect(),
            ..Default::default()
        }
    }
}

fn told(world: World<'_>, partitions: &Partitions) -> Assignment {
    let topics = partitions.iter().filter_map(|(&topic_id, _)| {
        let (topic_name, partitions) =
            by_name(world.image, &[(topic_id, partitions[&topic_id].clone())].into()).pop()?;
        Some(TopicPartitions { topic_id, topic_name, partitions })
    });
    Assignment { topic_partitions: topics.collect() }
}
