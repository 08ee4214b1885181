//! One turn of a coordinator: what it knows of the outside, and what comes of it.

use std::time::Duration;

use corelog_engine::Timestamp;
use corelog_engine::io::Instant;
use corelog_replication::metadata::{ClusterImage, ResourceType};

use super::record::GroupRecord;
use super::settings::GroupSettings;
use super::timers::{TimerKey, Timers};
use crate::protocol::Text;
use crate::protocol::join_group::JoinGroupResponse;
use crate::protocol::sync_group::SyncGroupResponse;

/// An answer that is given later has a number until then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Ticket(pub(crate) u64);

/// An answer that was waited for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    /// To JoinGroup.
    Join(JoinGroupResponse),
    /// To SyncGroup.
    Sync(SyncGroupResponse),
}

/// Who asks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Client {
    /// What it calls itself.
    pub(crate) id: Text,
    /// From where it speaks, with a slash before as Java writes it.
    pub(crate) host: Text,
    /// The version of its request.
    pub(crate) version: i16,
}

/// What a turn is given.
#[derive(Clone, Copy)]
pub(crate) struct World<'a> {
    /// The clock for deadlines.
    pub(crate) now: Instant,
    /// The clock for what is written.
    pub(crate) time: Timestamp,
    /// The cluster.
    pub(crate) image: &'a ClusterImage,
    /// The settings.
    pub(crate) settings: &'a GroupSettings,
}

impl World<'_> {
    /// The session timeout and the heartbeat interval of members of a consumer group, as they are set now.
    pub(super) fn consumer_times(&self, group: &Text) -> (i32, i32) {
        self.settings.consumer_times(self.image.configs(ResourceType::Group, group))
    }
}

/// What comes of a turn: records to append, after which the answers may leave.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    /// To append, in this order, as one batch.
    pub(crate) records: Vec<GroupRecord>,
    /// To those who waited.
    pub(crate) answers: Vec<(Ticket, Answer)>,
    /// Whether the state shows the records already; else it follows them once they are appended.
    pub(crate) applied: bool,
}

/// What a group has in its hands during a turn.
pub(super) struct Turn<'a> {
    pub(super) world: World<'a>,
    pub(super) timers: &'a mut Timers,
    pub(super) effects: &'a mut Effects,
}

impl Turn<'_> {
    /// Sets a deadline so many milliseconds from now.
    pub(super) fn after(&mut self, key: TimerKey, ms: i32) {
        let wait = Duration::from_millis(ms.max(0) as u64);
        self.timers.set(key, self.world.now + wait);
    }

    /// Writes a record of what the state shows already.
    pub(super) fn write(&mut self, record: GroupRecord) {
        self.effects.applied = true;
        self.effects.records.push(record);
    }

    /// Answers who waits.
    pub(super) fn answer(&mut self, ticket: Ticket, answer: Answer) {
        self.effects.answers.push((ticket, answer));
    }
}
