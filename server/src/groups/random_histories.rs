//! Random histories of groups: clients of both protocols join, read, crash, come back and leave, topics come and grow.
//!
//! After every turn the state that a replay of the records makes is the live one, no partition has two owners, neither for
//! the coordinator nor for the clients; and whatever happened, a group left alone settles and reads everything.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use corelog_engine::io::Instant;
use corelog_engine::{Epoch, Timestamp, TopicId};
use corelog_replication::NodeId;
use corelog_replication::metadata::record::{Partition, Topic};
use corelog_replication::metadata::{ClusterImage, MetadataRecord};

use super::classic::ClassicState;
use super::commit::{Commit, Committer};
use super::consumer_protocol::{CONSUMER, ConsumerAssignment, ConsumerPartitions, Subscription};
use super::coordinator::Coordinator;
use super::group::Group;
use super::record::GroupRecord;
use super::settings::GroupSettings;
use super::turn::{Answer, Client, Effects, Ticket, World};
use crate::protocol::consumer_group_heartbeat::{ConsumerGroupHeartbeatRequest, TopicPartitions};
use crate::protocol::heartbeat::HeartbeatRequest;
use crate::protocol::join_group::{JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse};
use crate::protocol::leave_group::{LeaveGroupRequest, MemberIdentity};
use crate::protocol::sample::Sampler;
use crate::protocol::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment, SyncGroupResponse};
use crate::protocol::{ErrorCode, Text, Wire, Writer};

const GROUPS: [&str; 2] = ["g", "h"];
const CLIENTS: usize = 5;
const STEPS: usize = 200;
const HISTORIES: u64 = 25;
/// Seconds after which every group has settled.
const ROUNDS: usize = 400;

type Owned = BTreeSet<(TopicId, i32)>;

/// What a client waits for, if it speaks the classic protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It has to join.
    Out,
    /// It waits for the answer to its JoinGroup or its SyncGroup.
    Waiting,
    /// It has to ask for its assignment.
    Joined,
    /// It reads.
    In,
}

struct Someone {
    group: Text,
    classic: bool,
    by_regex: bool,
    instance: Option<Text>,
    member: Text,
    epoch: i32,
    owned: Owned,
    stage: Stage,
    assignments: Vec<SyncGroupRequestAssignment>,
    alive: bool,
}

struct History {
    dice: Sampler,
    now: Instant,
    image: ClusterImage,
    settings: GroupSettings,
    live: Coordinator,
    replayed: Coordinator,
    records: Vec<(Bytes, Option<Bytes>)>,
    people: Vec<Someone>,
    waiting: BTreeMap<Ticket, usize>,
    tickets: u64,
    seed: u64,
}

pub(super) fn settings() -> GroupSettings {
    crate::config::Settings::new(&[]).expect("the defaults are good").groups
}

pub(super) fn add_topic(image: &mut ClusterImage, name: &str, id: u128, partitions: std::ops::Range<i32>) {
    let id = TopicId(uuid::Uuid::from_u128(id));
    let mut records = Vec::new();
    if partitions.start == 0 {
        records.push(MetadataRecord::Topic(Topic { name: name.into(), id }));
    }
    records.extend(partitions.map(|partition| {
        MetadataRecord::Partition(Partition {
            partition,
            topic: id,
            replicas: vec![NodeId(1)],
            isr: vec![NodeId(1)],
            removing: Vec::new(),
            adding: Vec::new(),
            leader: NodeId(1),
            leader_epoch: Epoch(0),
            partition_epoch: 0,
            directories: vec![uuid::Uuid::nil()],
        })
    }));
    for record in records {
        image.replay(image.next_offset(), &record).expect("a good record");
    }
}

fn encoded(subscription: &Subscription) -> Bytes {
    let mut writer = Writer::frame();
    1i16.write(&mut writer);
    writer.set_version(1, false);
    subscription.write(&mut writer);
    writer.finish().to_bytes().slice(4..)
}

impl History {
    fn new(seed: u64) -> History {
        let mut dice = Sampler::new(seed, 0);
        let mut image = ClusterImage::new("cluster");
        add_topic(&mut image, "t", 1, 0..4);
        add_topic(&mut image, "u", 2, 0..3);
        let people = (0..CLIENTS).map(|place| Someone {
            group: Text::from(GROUPS[dice.below(2) as usize]),
            classic: dice.below(3) == 0,
            by_regex: dice.below(4) == 0,
            instance: (dice.below(3) == 0).then(|| Text::from(format!("i{place}"))),
            member: Text::default(),
            epoch: 0,
            owned: Owned::new(),
            stage: Stage::Out,
            assignments: Vec::new(),
            alive: dice.below(2) == 0,
        });
        History {
            people: people.collect(),
            now: Instant(1_000_000_000),
            image,
            settings: settings(),
            live: Coordinator::default(),
            replayed: Coordinator::default(),
            records: Vec::new(),
            waiting: BTreeMap::new(),
            tickets: 0,
            seed,
            dice,
        }
    }

    fn turn<R>(&mut self, run: impl FnOnce(&mut Coordinator, World<'_>, &mut Effects) -> R) -> R {
        let mut effects = Effects::default();
        let time = Timestamp(1_700_000_000_000 + (self.now.0 / 1_000_000) as i64);
        let world = World { now: self.now, time, image: &self.image, settings: &self.settings };
        let reply = run(&mut self.live, world, &mut effects);
        for record in effects.records {
            let (key, value) = record.encode();
            let decoded = GroupRecord::decode(&key, value.as_deref()).expect("what was written is read");
            assert_eq!(decoded.as_ref(), Some(&record), "seed {}", self.seed);
            if !effects.applied {
                self.live.replay(&record);
            }
            self.replayed.replay(&decoded.expect("its type is known"));
            self.records.push((key, value));
        }
        self.check();
        for (ticket, answer) in effects.answers {
            if let Some(who) = self.waiting.remove(&ticket) {
                self.told(who, answer);
            }
        }
        reply
    }

    /// A replay makes what is live, and nothing has two owners.
    fn check(&self) {
        let seed = self.seed;
        assert_eq!(self.live.offsets, self.replayed.offsets, "seed {seed}");
        for (id, group) in &self.live.groups {
            let replayed = self.replayed.groups.get(id);
            match group {
                Group::Consumer(_) => {
                    let unwritten = matches!(group, Group::Consumer(group) if group.epoch == 0);
                    assert!(unwritten || replayed == Some(group), "seed {seed}: {group:#?}\n{replayed:#?}");
                }
                Group::Classic(group) if group.state == ClassicState::Stable => {
                    let Some(Group::Classic(replayed)) = replayed else { panic!("seed {seed}: {id} is forgotten") };
                    assert_eq!(replayed.to_record(), group.to_record(), "seed {seed}");
                }
                Group::Classic(_) => {}
            }
        }
        for (id, group) in &self.replayed.groups {
            let known = self.live.groups.get(id).map(Group::type_name);
            assert!(known == Some(group.type_name()) || group.is_empty(), "seed {seed}: {id} came back");
            if let Group::Consumer(group) = group {
                group.check();
            }
        }
    }

    /// What a client gets nobody else has.
    fn gets(&mut self, who: usize, owned: Owned) {
        let group = self.people[who].group.clone();
        for (other, someone) in self.people.iter().enumerate() {
            let shared: Vec<_> = someone.owned.intersection(&owned).collect();
            let same = other == who || someone.group != group || !someone.alive;
            assert!(same || shared.is_empty(), "seed {}: {who} and {other} own {shared:?}", self.seed);
        }
        self.people[who].owned = owned;
    }

    fn told(&mut self, who: usize, answer: Answer) {
        match answer {
            Answer::Join(response) => self.joined(who, response),
            Answer::Sync(response) => self.synced(who, response),
        }
    }

    fn failed(&mut self, who: usize, code: ErrorCode) {
        let someone = &mut self.people[who];
        // Eager: whoever joins again has given up everything.
        someone.owned.clear();
        someone.stage = Stage::Out;
        let anew = [ErrorCode::UNKNOWN_MEMBER_ID, ErrorCode::FENCED_INSTANCE_ID, ErrorCode::GROUP_MAX_SIZE_REACHED];
        if anew.contains(&code) {
            someone.member = Text::default();
        }
        let passing =
            [ErrorCode::REBALANCE_IN_PROGRESS, ErrorCode::ILLEGAL_GENERATION, ErrorCode::INCONSISTENT_GROUP_PROTOCOL];
        assert!(anew.contains(&code) || passing.contains(&code), "seed {}: {code}", self.seed);
    }

    fn joined(&mut self, who: usize, response: JoinGroupResponse) {
        if response.error_code == ErrorCode::MEMBER_ID_REQUIRED {
            self.people[who].member = response.member_id;
            self.people[who].stage = Stage::Out;
            return;
        }
        if response.error_code.is_error() {
            return self.failed(who, response.error_code);
        }
        let leads = response.leader == response.member_id && !response.members.is_empty();
        let mut parts: Vec<Vec<ConsumerPartitions>> = response.members.iter().map(|_| Vec::new()).collect();
        if leads {
            for (place, topic) in self.image.topics().into_iter().enumerate() {
                let partitions = (0..topic.partitions.len() as i32).collect();
                let topic = Text::from(&*topic.name);
                let count = parts.len();
                parts[place % count].push(ConsumerPartitions { topic, partitions });
            }
        }
        let assignments = response.members.iter().zip(parts).map(|(member, assigned_partitions)| {
            let assignment = ConsumerAssignment { assigned_partitions, user_data: None }.encode(1);
            SyncGroupRequestAssignment { member_id: member.member_id.clone(), assignment }
        });
        let someone = &mut self.people[who];
        someone.assignments = if leads { assignments.collect() } else { Vec::new() };
        someone.member = response.member_id;
        someone.epoch = response.generation_id;
        someone.stage = Stage::Joined;
    }

    fn synced(&mut self, who: usize, response: SyncGroupResponse) {
        if response.error_code.is_error() {
            return self.failed(who, response.error_code);
        }
        assert!(!response.assignment.is_empty(), "seed {}: an assignment was lost", self.seed);
        let decoded = ConsumerAssignment::decode(&response.assignment).expect("an assignment");
        let topics = decoded.assigned_partitions.iter();
        let owned = topics.flat_map(|topic| {
            let id = self.image.topic(&topic.topic).expect("a topic").id;
            topic.partitions.iter().map(move |&partition| (id, partition))
        });
        let owned = owned.collect();
        self.people[who].stage = Stage::In;
        self.gets(who, owned);
    }

    fn ticket(&mut self, who: usize) -> Ticket {
        self.tickets += 1;
        self.waiting.insert(Ticket(self.tickets), who);
        Ticket(self.tickets)
    }

    /// One thing that a client of the classic protocol does.
    fn act_classic(&mut self, who: usize) {
        let client = Client { id: "c".into(), host: "/h".into(), version: 9 };
        let someone = &self.people[who];
        let (group, member, instance, epoch) =
            (someone.group.clone(), someone.member.clone(), someone.instance.clone(), someone.epoch);
        match someone.stage {
            Stage::Waiting => {}
            Stage::Out => {
                let topics = vec!["t".into(), "u".into()];
                let subscription = Subscription { topics, ..Default::default() };
                let protocol = JoinGroupRequestProtocol { name: "range".into(), metadata: encoded(&subscription) };
                let request = JoinGroupRequest {
                    group_id: group,
                    session_timeout_ms: 45_000,
                    rebalance_timeout_ms: 60_000,
                    member_id: member,
                    group_instance_id: instance,
                    protocol_type: CONSUMER.into(),
                    protocols: vec![protocol],
                    ..Default::default()
                };
                let ticket = self.ticket(who);
                self.people[who].stage = Stage::Waiting;
                let reply = self.turn(|live, world, effects| live.join(world, effects, &client, &request, ticket));
                if let Some(response) = reply {
                    self.waiting.remove(&ticket);
                    self.joined(who, response);
                }
            }
            Stage::Joined => {
                let request = SyncGroupRequest {
                    group_id: group,
                    generation_id: epoch,
                    member_id: member,
                    group_instance_id: instance,
                    assignments: someone.assignments.clone(),
                    ..Default::default()
                };
                let ticket = self.ticket(who);
                self.people[who].stage = Stage::Waiting;
                let reply = self.turn(|live, world, effects| live.sync(world, effects, &request, ticket));
                if let Some(response) = reply {
                    self.waiting.remove(&ticket);
                    self.synced(who, response);
                }
            }
            Stage::In => {
                let request = HeartbeatRequest {
                    group_id: group,
                    generation_id: epoch,
                    member_id: member,
                    group_instance_id: instance,
                };
                let code = self.turn(|live, world, effects| live.heartbeat(world, effects, &request));
                if code.is_error() {
                    self.failed(who, code);
                }
            }
        }
    }

    /// One heartbeat of a client of the consumer protocol; the answer may be lost.
    fn act_consumer(&mut self, who: usize, epoch: i32) {
        let client = Client { id: "c".into(), host: "/h".into(), version: 1 };
        let someone = &mut self.people[who];
        if someone.member.is_empty() {
            someone.member = Text::from(uuid::Uuid::new_v4().to_string());
        }
        let joins = epoch == 0;
        let mut owned: BTreeMap<TopicId, Vec<i32>> = BTreeMap::new();
        for (topic, partition) in &someone.owned {
            owned.entry(*topic).or_default().push(*partition);
        }
        let owned = owned.into_iter().map(|(topic_id, partitions)| TopicPartitions { topic_id, partitions });
        let names = (!someone.by_regex).then(|| vec!["t".into(), "u".into(), "v".into()]);
        let request = ConsumerGroupHeartbeatRequest {
            group_id: someone.group.clone(),
            member_id: someone.member.clone(),
            member_epoch: epoch,
            instance_id: someone.instance.clone(),
            rebalance_timeout_ms: 60_000,
            subscribed_topic_names: names,
            subscribed_topic_regex: someone.by_regex.then(|| "[t-v]".into()),
            topic_partitions: Some(owned.collect()),
            ..Default::default()
        };
        let response = self.turn(|live, world, effects| live.consumer_heartbeat(world, effects, &client, &request));
        if epoch < 0 || (self.dice.below(10) == 0 && !joins) {
            return;
        }
        let someone = &mut self.people[who];
        match response.error_code {
            ErrorCode::NONE => {
                someone.epoch = response.member_epoch;
                if let Some(assignment) = response.assignment {
                    let topics = assignment.topic_partitions.iter();
                    let owned =
                        topics.flat_map(|topic| topic.partitions.iter().map(|&partition| (topic.topic_id, partition)));
                    self.gets(who, owned.collect());
                }
            }
            ErrorCode::UNKNOWN_MEMBER_ID | ErrorCode::FENCED_MEMBER_EPOCH | ErrorCode::GROUP_ID_NOT_FOUND => {
                someone.owned.clear();
                someone.epoch = 0;
            }
            // Its older self has to time out, or the group cannot change its protocol now.
            ErrorCode::UNRELEASED_INSTANCE_ID => someone.member = Text::default(),
            other => panic!("seed {}: {other} {:?}", self.seed, response.error_message),
        }
    }

    fn act(&mut self, who: usize) {
        match (self.people[who].alive, self.people[who].classic) {
            (false, _) => {}
            (true, true) => self.act_classic(who),
            (true, false) => {
                let epoch = self.people[who].epoch;
                self.act_consumer(who, epoch);
            }
        }
    }

    fn commit(&mut self, who: usize) {
        let someone = &self.people[who];
        let Some(&(topic_id, partition)) = someone.owned.iter().next() else { return };
        let topic = Text::from(&*self.image.topic_by_id(topic_id).expect("a topic").name);
        let by = Committer {
            group: someone.group.clone(),
            member: someone.member.clone(),
            instance: someone.instance.clone(),
            generation: someone.epoch,
            version: 9,
            retention_ms: None,
        };
        let offset = (self.now.0 % 1000) as i64;
        let commit = Commit { topic, topic_id, partition, offset, leader_epoch: 0, metadata: None };
        let (group, topic) = (by.group.clone(), commit.topic.clone());
        let codes = self.turn(|live, world, effects| live.commit(world, effects, &by, &[commit]));
        if codes.is_ok() {
            let kept = self.replayed.offsets.get(&group, &topic, partition).expect("it was acknowledged");
            assert_eq!(kept.offset, offset);
        }
    }

    fn leave(&mut self, who: usize) {
        if !self.people[who].alive {
            return;
        }
        if self.people[who].classic {
            let someone = &self.people[who];
            let (member_id, group_instance_id) = (someone.member.clone(), someone.instance.clone());
            let members = vec![MemberIdentity { member_id, group_instance_id, reason: None }];
            let request = LeaveGroupRequest { group_id: someone.group.clone(), members, ..Default::default() };
            self.people[who].owned.clear();
            self.turn(|live, world, effects| live.leave(world, effects, 5, &request));
        } else if !self.people[who].member.is_empty() {
            self.people[who].owned.clear();
            let epoch = if self.people[who].instance.is_some() && self.dice.below(2) == 0 { -2 } else { -1 };
            self.act_consumer(who, epoch);
        }
        self.crash(who);
    }

    /// It is gone without a word, and has nothing any more.
    fn crash(&mut self, who: usize) {
        self.waiting.retain(|_, waits| *waits != who);
        let someone = &mut self.people[who];
        (someone.alive, someone.stage, someone.epoch) = (false, Stage::Out, 0);
        someone.member = Text::default();
        someone.owned.clear();
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.turn(|live, world, effects| live.on_time(world, effects));
    }

    fn step(&mut self) {
        let who = self.dice.below(CLIENTS as u64) as usize;
        let ms = self.dice.below(200);
        self.pass(Duration::from_millis(ms));
        match self.dice.below(40) {
            0 => self.leave(who),
            1 => self.crash(who),
            2..=4 if !self.people[who].alive => {
                self.people[who].alive = true;
                self.people[who].classic = self.dice.below(3) == 0;
            }
            5..=7 => self.commit(who),
            8 if self.image.topic("v").is_none() && self.dice.below(3) == 0 => add_topic(&mut self.image, "v", 3, 0..2),
            9 if self.dice.below(4) == 0 => {
                let count = self.image.topic("t").expect("a topic").partitions.len() as i32;
                add_topic(&mut self.image, "t", 1, count..count + 1);
            }
            10 if self.dice.below(4) == 0 => self.restart(),
            11 => self.turn(|live, world, effects| live.expire(world, effects)),
            _ => self.act(who),
        }
    }

    /// The broker is killed: what was replayed is all there is.
    fn restart(&mut self) {
        let mut fresh = Coordinator::default();
        for (key, value) in &self.records {
            let record = GroupRecord::decode(key, value.as_deref()).expect("a record").expect("a known type");
            fresh.replay(&record);
        }
        self.live = fresh;
        for who in std::mem::take(&mut self.waiting).into_values() {
            self.people[who].stage = Stage::Out;
        }
        self.turn(|live, world, effects| live.begin(world, effects));
    }

    /// Left alone, every group settles and reads everything.
    fn settle(&mut self) {
        // The leader of a classic group sees that topics have grown, and joins again.
        for someone in self.people.iter_mut().filter(|someone| someone.classic && someone.stage == Stage::In) {
            someone.owned.clear();
            someone.stage = Stage::Out;
        }
        for _ in 0..ROUNDS {
            for who in 0..CLIENTS {
                self.act(who);
                self.act(who);
            }
            self.pass(Duration::from_secs(1));
            if GROUPS.iter().all(|group| self.unsettled(group).is_none()) {
                return;
            }
        }
        let unsettled: Vec<_> = GROUPS.iter().filter_map(|group| self.unsettled(group)).collect();
        panic!("seed {}: {unsettled:?} {:#?}", self.seed, self.live.groups);
    }

    /// What keeps a group from being settled.
    fn unsettled(&self, group: &str) -> Option<String> {
        let members: Vec<_> = self.people.iter().filter(|someone| someone.alive && someone.group == group).collect();
        if members.is_empty() {
            return None;
        }
        let mut all = Owned::new();
        for someone in &members {
            if someone.classic && someone.stage != Stage::In {
                return Some(format!("a member of {group} is {:?}", someone.stage));
            }
            all.extend(&someone.owned);
        }
        // Not everyone wants the third one.
        for topic in self.image.topics().into_iter().filter(|topic| *topic.name != *"v") {
            for partition in 0..topic.partitions.len() as i32 {
                if !all.contains(&(topic.id, partition)) {
                    return Some(format!("nobody reads {}-{partition} in {group}", topic.name));
                }
            }
        }
        let state = self.live.groups[&Text::from(group)].state_name();
        (state != "Stable").then(|| format!("{group} is {state}"))
    }
}

#[test]
fn replay_makes_what_was_live_and_groups_settle_without_two_owners() {
    for seed in 0..HISTORIES {
        let mut history = History::new(seed);
        for _ in 0..STEPS {
            history.step();
        }
        history.settle();
    }
}

/// What compaction may leave of the records: before some place the newest of each key, of its tombstones any part.
fn compacted(dice: &mut Sampler, records: &[(Bytes, Option<Bytes>)]) -> Vec<(Bytes, Option<Bytes>)> {
    let clean = dice.below(records.len() as u64 + 1) as usize;
    let newest: BTreeMap<&Bytes, usize> =
        records[..clean].iter().enumerate().map(|(place, (key, _))| (key, place)).collect();
    let stones = dice.below(3);
    let kept = records.iter().enumerate().filter(|(place, (key, value))| {
        *place >= clean || (newest[key] == *place && (value.is_some() || dice.below(2) < stones))
    });
    kept.map(|(_, record)| record.clone()).collect()
}

#[test]
fn whatever_compaction_leaves_of_the_records_makes_the_same_state() {
    for seed in 0..HISTORIES {
        let mut history = History::new(seed);
        for step in 0..STEPS {
            history.step();
            if step % 5 > 0 {
                continue;
            }
            let left = compacted(&mut history.dice, &history.records);
            let mut again = Coordinator::default();
            for (key, value) in &left {
                let record = GroupRecord::decode(key, value.as_deref()).expect("a record").expect("a known type");
                again.replay(&record);
            }
            let whole = std::mem::replace(&mut history.replayed, again);
            history.check();
            let ids = |coordinator: &Coordinator| coordinator.groups.keys().cloned().collect::<BTreeSet<_>>();
            assert_eq!(ids(&history.replayed), ids(&whole), "seed {seed}");
            history.replayed = whole;
        }
    }
}

#[test]
fn every_prefix_of_the_records_is_a_state_that_serves() {
    for seed in 0..3 {
        let mut history = History::new(seed);
        for _ in 0..STEPS {
            history.step();
        }
        let records = std::mem::take(&mut history.records);
        // A step through the records, since each prefix is replayed anew.
        for end in (0..records.len()).step_by(1 + records.len() / 12) {
            let mut again = History::new(seed);
            again.image = history.image.clone();
            again.records = records[..end].to_vec();
            for (key, value) in &again.records {
                let record = GroupRecord::decode(key, value.as_deref()).expect("a record").expect("a known type");
                again.replayed.replay(&record);
            }
            again.restart();
            again.now += Duration::from_secs(3600);
            again.pass(Duration::ZERO);
            again.people.iter_mut().for_each(|someone| someone.alive = true);
            again.settle();
        }
    }
}

#[test]
fn offsets_in_flight_are_read_from_records_that_say_when_they_expire() {
    let mut history = History::new(0);
    let by =
        Committer { group: "g".into(), generation: -1, version: 4, retention_ms: Some(5000), ..Default::default() };
    let topic_id = history.image.topic("t").expect("a topic").id;
    let commit =
        Commit { topic: "t".into(), topic_id, partition: 0, offset: 7, leader_epoch: 1, metadata: Some("m".into()) };
    let codes = history.turn(|live, world, effects| live.commit(world, effects, &by, &[commit]));
    assert_eq!(codes, Ok(vec![ErrorCode::NONE]));
    history.pass(Duration::from_millis(4999));
    history.turn(|live, world, effects| live.expire(world, effects));
    assert!(history.live.offsets.get(&"g".into(), &"t".into(), 0).is_some());
    history.pass(Duration::from_millis(1));
    history.turn(|live, world, effects| live.expire(world, effects));
    assert!(history.live.offsets.get(&"g".into(), &"t".into(), 0).is_none());
    assert!(history.live.groups.is_empty() && history.replayed.groups.is_empty());
}
