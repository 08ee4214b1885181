//! What is asked of a group's offsets: to keep them, to tell them, to forget them.

use corelog_engine::{Timestamp, TopicId};

use super::classic::ClassicState;
use super::coordinator::Coordinator;
use super::group::Group;
use super::offsets::{Committed, OffsetsOfGroup, forgotten};
use super::timers::TimerKey;
use super::turn::{Effects, Turn, World};
use crate::protocol::{ErrorCode, Text};

/// The first version of OffsetCommit in which members of consumer groups may commit (KIP-848).
const MEMBER_EPOCH_VERSION: i16 = 9;

/// Who commits, and how.
#[derive(Clone, Debug, Default)]
pub(crate) struct Committer {
    /// The group.
    pub(crate) group: Text,
    /// The member; empty for none.
    pub(crate) member: Text,
    /// The static member's name.
    pub(crate) instance: Option<Text>,
    /// The generation or the member's epoch; -1 for who is no member.
    pub(crate) generation: i32,
    /// The version of the request.
    pub(crate) version: i16,
    /// How long the offsets are to be kept, if the client says so, in milliseconds.
    pub(crate) retention_ms: Option<i64>,
}

/// An offset to keep.
#[derive(Clone, Debug)]
pub(crate) struct Commit {
    /// The topic.
    pub(crate) topic: Text,
    /// Its id.
    pub(crate) topic_id: TopicId,
    /// The partition.
    pub(crate) partition: i32,
    /// The next offset to read.
    pub(crate) offset: i64,
    /// The leader's epoch of the last record read; -1 for none.
    pub(crate) leader_epoch: i32,
    /// What the client wants kept beside it.
    pub(crate) metadata: Option<Text>,
}

impl Coordinator {
    /// Keeps offsets; a code for each, or one for all.
    pub(crate) fn commit(
        &mut self,
        world: World<'_>,
        effects: &mut Effects,
        by: &Committer,
        commits: &[Commit],
    ) -> Result<Vec<ErrorCode>, ErrorCode> {
        self.check_commit(by)?;
        if by.generation >= 0 {
            self.heard_of(world, effects, &by.group, &by.member);
        }
        let expires = by.retention_ms.map(|ms| Timestamp(world.time.0.saturating_add(ms)));
        let group = by.group.detached();
        let codes = commits.iter().map(|commit| {
            let metadata = commit.metadata.as_ref();
            if metadata.is_some_and(|metadata| metadata.len() > world.settings.offset_metadata_bytes_max) {
                return ErrorCode::OFFSET_METADATA_TOO_LARGE;
            }
            // The record of an offset that says when it expires has room for no more, so that the state has none either.
            let expires_alone = expires.is_some();
            let committed = Committed {
                offset: commit.offset,
                leader_epoch: if expires_alone { -1 } else { commit.leader_epoch },
                metadata: metadata.map(Text::detached).unwrap_or_default(),
                time: world.time,
                expires,
                topic_id: if expires_alone { TopicId::ZERO } else { commit.topic_id },
            };
            effects.records.push(committed.to_record(&group, &commit.topic.detached(), commit.partition));
            ErrorCode::NONE
        });
        Ok(codes.collect())
    }

    fn check_commit(&self, by: &Committer) -> Result<(), ErrorCode> {
        match self.groups.get(&by.group) {
            // Who is no member makes a group by keeping offsets.
            None if by.generation < 0 => Ok(()),
            None if by.version >= MEMBER_EPOCH_VERSION => Err(ErrorCode::GROUP_ID_NOT_FOUND),
            None => Err(ErrorCode::ILLEGAL_GENERATION),
            Some(Group::Classic(group)) => group.check_commit(&by.member, by.instance.as_ref(), by.generation),
            Some(Group::Consumer(group)) => {
                group.check_commit(&by.member, by.generation, by.version >= MEMBER_EPOCH_VERSION)
            }
        }
    }

    /// Who commits is alive.
    fn heard_of(&mut self, world: World<'_>, effects: &mut Effects, group: &Text, member: &Text) {
        let Coordinator { groups, timers, .. } = self;
        let mut turn = Turn { world, timers, effects };
        match groups.get(group) {
            Some(Group::Classic(group)) if turn.timers.is_set(&TimerKey::Session(group.id.clone(), member.clone())) => {
                group.heard_of(&mut turn, member);
            }
            _ => {}
        }
    }

    /// The offsets of a group, for who may see them.
    pub(crate) fn fetch(
        &self,
        group: &Text,
        member: Option<&Text>,
        epoch: i32,
    ) -> Result<Option<&OffsetsOfGroup>, ErrorCode> {
        if let Some(Group::Consumer(found)) = self.groups.get(group) {
            found.check_fetch(member, epoch)?;
        }
        Ok(self.offsets.of(group))
    }

    /// Forgets offsets of topics that the group does not read; a code for each, or one for all.
    pub(crate) fn delete_offsets(
        &self,
        effects: &mut Effects,
        group: &Text,
        offsets: &[(Text, i32)],
    ) -> Result<Vec<ErrorCode>, ErrorCode> {
        let found = self.groups.get(group).ok_or(ErrorCode::GROUP_ID_NOT_FOUND)?;
        match found {
            Group::Classic(group) if group.state != ClassicState::Empty && !group.is_of_consumers() => {
                return Err(ErrorCode::NON_EMPTY_GROUP);
            }
            _ => {}
        }
        let codes = offsets.iter().map(|(topic, partition)| {
            if found.reads(topic) {
                return ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC;
            }
            if self.offsets.get(group, topic, *partition).is_some() {
                effects.records.push(forgotten(&group.detached(), &topic.detached(), *partition));
            }
            ErrorCode::NONE
        });
        Ok(codes.collect())
    }

    /// Forgets the offsets of topics that are no more.
    pub(crate) fn forget_topics(&self, effects: &mut Effects, topics: &[Text]) {
        for (group, _) in self.offsets.groups() {
            self.offsets.forget(group, |topic, _, _| topics.contains(topic), &mut effects.records);
        }
    }

    /// Forgets offsets that nobody has used for long, and groups that have neither members nor offsets.
    pub(crate) fn expire(&self, world: World<'_>, effects: &mut Effects) {
        for (id, group) in &self.groups {
            let mut left = 0;
            let retention = world.settings.offsets_retention_ms;
            let expired = |topic: &Text, _, committed: &Committed| {
                let due = match (committed.expires, group.unused_since(topic, committed)) {
                    (_, None) => false,
                    (Some(expires), _) => world.time >= expires,
                    (None, Some(since)) => world.time.0.saturating_sub(since.0) >= retention,
                };
                left += usize::from(!due);
                due
            };
            self.offsets.forget(id, expired, &mut effects.records);
            if left == 0 && group.is_idle() {
                self.forget_group(effects, id, group);
            }
        }
    }
}
