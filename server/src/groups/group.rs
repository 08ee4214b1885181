//! A group of either protocol.

use corelog_engine::Timestamp;

use super::classic::{ClassicGroup, ClassicState};
use super::consumer::ConsumerGroup;
use super::consumer_protocol::CONSUMER;
use super::offsets::Committed;
use crate::protocol::Text;
use crate::protocol::list_groups::ListedGroup;

/// A group.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Group {
    /// Its members assign.
    Classic(ClassicGroup),
    /// The broker assigns.
    Consumer(ConsumerGroup),
}

impl Group {
    /// Kafka's name of its type.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Group::Classic(_) => "classic",
            Group::Consumer(_) => CONSUMER,
        }
    }

    /// Kafka's name of its state.
    pub(super) fn state_name(&self) -> &'static str {
        match self {
            Group::Classic(group) => group.state.name(),
            Group::Consumer(group) => group.state_name(),
        }
    }

    /// Whether it has no members.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Group::Classic(group) => group.state == ClassicState::Empty,
            Group::Consumer(group) => group.is_empty(),
        }
    }

    /// Whether nobody is about to join it either.
    pub(super) fn is_idle(&self) -> bool {
        match self {
            Group::Classic(group) => self.is_empty() && !group.awaits_members(),
            Group::Consumer(group) => group.is_empty(),
        }
    }

    /// Whether its members read a topic, as far as can be known.
    pub(super) fn reads(&self, topic: &Text) -> bool {
        match self {
            Group::Classic(group) => group.reads(topic),
            Group::Consumer(group) => group.topics().contains(topic),
        }
    }

    /// Since when an offset counts as unused; `None` as long as it is used, or nobody can know (KIP-211).
    pub(super) fn unused_since(&self, topic: &Text, committed: &Committed) -> Option<Timestamp> {
        match self {
            // Nobody joins a group that only keeps offsets; each is as old as its commit.
            Group::Classic(group) if group.is_simple() => Some(committed.time),
            Group::Classic(group) => match group.state {
                ClassicState::Empty => {
                    Some(group.state_since.map_or(committed.time, |since| since.max(committed.time)))
                }
                ClassicState::Stable if group.subscribed_topics().is_some_and(|topics| !topics.contains(topic)) => {
                    Some(committed.time)
                }
                _ => None,
            },
            Group::Consumer(group) => (!group.topics().contains(topic)).then_some(committed.time),
        }
    }

    /// As one line of a list.
    pub(super) fn listed(&self, id: &Text) -> ListedGroup {
        ListedGroup {
            group_id: id.clone(),
            protocol_type: match self {
                Group::Classic(group) => group.protocol_type.clone().unwrap_or_default(),
                Group::Consumer(_) => Text::from_static(CONSUMER),
            },
            group_state: Text::from_static(self.state_name()),
            group_type: Text::from_static(self.type_name()),
        }
    }
}
