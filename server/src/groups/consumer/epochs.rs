//! How the group follows its members and the cluster: a change begins an epoch, and an epoch gets its assignment.

use std::collections::{BTreeMap, BTreeSet};

use corelog_engine::TopicId;
use corelog_replication::metadata::ClusterImage;

use super::assignor::{Wish, assign};
use super::group::{ConsumerGroup, MemberState, Partitions, to_record};
use super::regex;
use crate::groups::coordinator::Coordinator;
use crate::groups::record::{
    ConsumerValue, GroupKey, GroupRecord, MemberKey, MemberValue, RegexKey, RegexValue, TargetMemberValue, TargetValue,
};
use crate::groups::settings::{Assignor, GroupSettings};
use crate::groups::timers::TimerKey;
use crate::groups::turn::{Effects, World};
use crate::protocol::Text;

/// However often topics come and go, expressions are not looked up again before this, in milliseconds.
const REGEX_REFRESH_MS_MIN: i64 = 10_000;

impl Coordinator {
    /// Notes what a member says of itself; whether that changes what it wants.
    pub(super) fn note_member(
        &mut self,
        effects: &mut Effects,
        id: &Text,
        member: &Text,
        mut wants: MemberValue,
    ) -> bool {
        wants.subscribed_topic_names.sort_unstable();
        wants.subscribed_topic_names.dedup();
        let before = self.consumer(id).members.get(member).map(|member| &member.wants);
        if before == Some(&wants) {
            return false;
        }
        let changed = before.is_none_or(|before| {
            before.subscribed_topic_names != wants.subscribed_topic_names
                || before.subscribed_topic_regex != wants.subscribed_topic_regex
                || before.server_assignor != wants.server_assignor
        });
        self.put(effects, GroupRecord::Member(MemberKey { group: id.clone(), member: member.clone() }, Some(wants)));
        changed
    }

    /// Begins an epoch if something changed, and gives it its assignment.
    pub(super) fn follow(&mut self, world: World<'_>, effects: &mut Effects, id: &Text, changed: bool) {
        let version = world.image.next_offset();
        let seen = self.consumer(id).seen == Some(version);
        let matched = self.look_up_expressions(world, effects, id, changed);
        if changed || matched || !seen {
            let group = self.consumer(id);
            let hash = metadata_hash(world.image, &group.topics());
            if changed || matched || hash != group.metadata_hash {
                let value = ConsumerValue { epoch: group.epoch + 1, metadata_hash: hash };
                self.put(effects, GroupRecord::Consumer(GroupKey { group: id.clone() }, Some(value)));
            }
            self.consumer_mut(id).seen = Some(version);
        }
        if self.consumer(id).epoch > self.consumer(id).target_epoch {
            self.retarget(world, effects, id);
        }
    }

    /// Looks up what the members' expressions match, where that is not known or old; whether something changed.
    fn look_up_expressions(&mut self, world: World<'_>, effects: &mut Effects, id: &Text, changed: bool) -> bool {
        let group = self.consumer(id);
        if group.regexes.is_empty() && !changed {
            return false;
        }
        let used: BTreeSet<Text> =
            group.members.values().filter_map(|member| member.wants.subscribed_topic_regex.clone()).collect();
        let unused: Vec<Text> = group.regexes.keys().filter(|regex| !used.contains(*regex)).cloned().collect();
        let version = world.image.next_offset().0;
        let is_old = |known: &RegexValue| {
            let age = world.time.0.saturating_sub(known.timestamp);
            age >= world.settings.regex_refresh_ms || (known.version != version && age >= REGEX_REFRESH_MS_MIN)
        };
        let wanted: Vec<Text> = used.into_iter().filter(|regex| group.regexes.get(regex).is_none_or(is_old)).collect();
        let key = |regex: &Text| RegexKey { group: id.clone(), regular_expression: regex.clone() };
        let mut matched = false;
        for regex in wanted {
            // It was compiled when the member came with it.
            let topics =
                regex::compile(&regex).map(|compiled| regex::matching(&compiled, world.image)).unwrap_or_default();
            matched |= self.consumer(id).regexes.get(&regex).is_none_or(|known| known.topics != topics);
            let value = RegexValue { topics, version, timestamp: world.time.0 };
            self.put(effects, GroupRecord::Regex(key(&regex), Some(value)));
        }
        for regex in unused {
            self.put(effects, GroupRecord::Regex(key(&regex), None));
        }
        matched
    }

    /// Makes the target assignment for the group's epoch.
    fn retarget(&mut self, world: World<'_>, effects: &mut Effects, id: &Text) {
        let group = self.consumer(id);
        let mut topics = BTreeMap::new();
        let mut wishes = BTreeMap::new();
        for (member_id, member) in &group.members {
            let found = group.topics_of(member).into_iter().filter_map(|name| world.image.topic(name));
            let mut wanted = BTreeSet::new();
            for topic in found {
                topics.insert(topic.id, topic.partitions.len() as i32);
                wanted.insert(topic.id);
            }
            let before = group.targets.get(member_id).cloned().unwrap_or_default();
            let wish = Wish { instance: member.wants.instance_id.clone(), topics: wanted, before };
            wishes.insert(member_id.clone(), wish);
        }
        let assigned = assign(group.assignor(world.settings), &wishes, &topics);
        let epoch = group.epoch;
        let none = Partitions::new();
        let changed: Vec<(Text, Partitions)> = assigned
            .into_iter()
            .filter(|(member, target)| group.targets.get(member).unwrap_or(&none) != target)
            .collect();
        for (member, target) in changed {
            let key = MemberKey { group: id.clone(), member };
            let value = TargetMemberValue { topic_partitions: to_record(&target) };
            self.put(effects, GroupRecord::TargetMember(key, Some(value)));
        }
        let value = TargetValue { assignment_epoch: epoch };
        self.put(effects, GroupRecord::Target(GroupKey { group: id.clone() }, Some(value)));
    }

    /// Brings a member one step nearer to its target, if there is one to make; whether what it owns changed.
    pub(super) fn bring_on(
        &mut self,
        world: World<'_>,
        effects: &mut Effects,
        id: &Text,
        member: &Text,
        owned: Option<&Partitions>,
    ) -> bool {
        let before = &self.consumer(id).members[member];
        let after = self.consumer(id).reconciled(member, owned);
        let changed = before.assigned != after.assigned;
        let (moved, revokes) = (*before != after, after.state == MemberState::Unrevoked);
        let timeout = after.wants.rebalance_timeout_ms;
        if moved {
            let key = MemberKey { group: id.clone(), member: member.clone() };
            self.put(effects, GroupRecord::Current(key, Some(after.to_record())));
        }
        let timer = TimerKey::Revocation(id.clone(), member.clone());
        if !revokes {
            self.timers.cancel(timer);
        } else if moved || !self.timers.is_set(&timer) {
            self.turn(world, effects).after(timer, timeout);
        }
        changed
    }

    /// Removes members; the rest of the group follows with the next heartbeat of each.
    pub(super) fn remove_members(&mut self, world: World<'_>, effects: &mut Effects, id: &Text, members: &[Text]) {
        if members.is_empty() {
            return;
        }
        for member in members {
            self.erase_member(effects, id, member);
        }
        // Before the epoch changes, so that members of the classic group are in its generation and hear of the rebalance.
        if self.downgrade_if_all_are_classic(world, effects, id) {
            return;
        }
        let group = self.consumer(id);
        let hash = metadata_hash(world.image, &group.topics());
        let value = ConsumerValue { epoch: group.epoch + 1, metadata_hash: hash };
        self.put(effects, GroupRecord::Consumer(GroupKey { group: id.clone() }, Some(value)));
    }

    /// Writes that a member is no more.
    pub(super) fn erase_member(&mut self, effects: &mut Effects, id: &Text, member: &Text) {
        for timer in [TimerKey::ConsumerSession, TimerKey::Revocation, TimerKey::ConsumerJoin, TimerKey::ConsumerSync] {
            self.timers.cancel(timer(id.clone(), member.clone()));
        }
        let key = MemberKey { group: id.clone(), member: member.clone() };
        self.put(effects, GroupRecord::Current(key.clone(), None));
        self.put(effects, GroupRecord::TargetMember(key.clone(), None));
        self.put(effects, GroupRecord::Member(key, None));
    }
}

impl ConsumerGroup {
    /// The assignor that most members ask for, else the first of the settings.
    pub(super) fn assignor(&self, settings: &GroupSettings) -> Assignor {
        let mut votes: BTreeMap<Assignor, usize> = BTreeMap::new();
        for name in self.members.values().filter_map(|member| member.wants.server_assignor.as_deref()) {
            if let Some(assignor) = Assignor::by_name(name) {
                *votes.entry(assignor).or_default() += 1;
            }
        }
        let preferred = votes.into_iter().max_by(|(a, votes_a), (b, votes_b)| votes_a.cmp(votes_b).then(b.cmp(a)));
        let first = settings.consumer_assignors.first().copied().unwrap_or(Assignor::Uniform);
        preferred.map_or(first, |(assignor, _)| assignor)
    }
}

/// A number that changes when one of the topics comes, goes or gets more partitions: FNV-1a, since it has to stay the same
/// over restarts and programs.
fn metadata_hash(image: &ClusterImage, topics: &BTreeSet<&Text>) -> i64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut add = |bytes: &[u8]| {
        for &byte in bytes {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    };
    let mut any = false;
    for topic in topics.iter().filter_map(|name| image.topic(name)) {
        let TopicId(id) = topic.id;
        add(id.as_bytes());
        add(&(topic.partitions.len() as u64).to_be_bytes());
        any = true;
    }
    if any { hash as i64 } else { 0 }
}
