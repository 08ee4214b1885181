//! Fetch sessions (KIP-227): what a client asked for before, so that it need only say what changes, and is only told what
//! changed.
//!
//! A shard keeps the sessions of its own connections. A client that comes back on another shard is told that its session is
//! not known and opens another one, which it has to be ready for at any time. As many are kept as
//! `max.incremental.fetch.session.cache.slots` says, spread over the shards; a full shard lets go of the one that was idle
//! longest, if for two minutes, else of an old one that is smaller than the one that comes.

use std::cell::RefCell;
use std::collections::BTreeMap;

use corelog_engine::TopicId;
use corelog_engine::io::Instant;
use rustc_hash::FxHashMap;

use crate::protocol::fetch::{
    FetchPartition, FetchRequest, FetchResponse, FetchTopic, FetchableTopicResponse, PartitionData,
};
use crate::protocol::{ErrorCode, Text};

/// The epoch by which a client wants to open a session.
const OPENING: i32 = 0;
/// The epoch by which a client wants none, or the one it has closed.
const CLOSING: i32 = -1;
/// How old or how idle a session is that may be let go for another (`FetchSessionCacheShard`, 2 minutes).
const SETTLED_MS: u64 = 120_000;
/// The first version that names topics by their ids.
const IDS_FROM: i16 = 13;

/// The sessions of a shard.
pub(crate) struct FetchSessions {
    sessions: RefCell<FxHashMap<i32, Session>>,
    slots: usize,
    /// The shard and how many there are: a session's id says where it is.
    place: (usize, usize),
}

/// What a request comes to.
pub(crate) enum Plan {
    /// These partitions, and no session.
    Once(Vec<FetchTopic>),
    /// These partitions, and from then on a session.
    Open(Vec<FetchTopic>),
    /// All partitions of a session.
    Go {
        /// The session.
        session: i32,
        /// Its epoch when the answer is due; another one means that another request came between.
        epoch: i32,
        /// The partitions.
        topics: Vec<FetchTopic>,
    },
}

struct Session {
    epoch: i32,
    by_id: bool,
    created: Instant,
    used: Instant,
    /// The partitions in the order in which they are read; one that had records goes behind the others.
    partitions: BTreeMap<u64, Cached>,
    places: FxHashMap<Key, u64>,
    next_place: u64,
}

/// A topic, by its name or its id, and a partition of it.
type Key = (Text, TopicId, i32);

struct Cached {
    key: Key,
    wanted: FetchPartition,
    told: Told,
}

/// What the client was told last, as far as a change of it is told.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Told {
    high_watermark: i64,
    start: i64,
}

/// Nothing yet, or an error, after which everything is told anew.
const UNTOLD: Told = Told { high_watermark: -1, start: -1 };

impl FetchSessions {
    /// No sessions yet, of at most `slots` on all shards together.
    pub(crate) fn new(slots: usize, shard: usize, shards: usize) -> FetchSessions {
        FetchSessions { sessions: RefCell::default(), slots: slots.div_ceil(shards), place: (shard, shards) }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.sessions.borrow().len()
    }

    /// What a request asks for, with what its session knows; the error is for the whole answer.
    pub(crate) fn begin(&self, request: &mut FetchRequest, version: i16, now: Instant) -> Result<Plan, ErrorCode> {
        let topics = std::mem::take(&mut request.topics);
        let mut sessions = self.sessions.borrow_mut();
        if matches!(request.session_epoch, OPENING | CLOSING) {
            sessions.remove(&request.session_id);
            return Ok(if request.session_epoch == CLOSING { Plan::Once(topics) } else { Plan::Open(topics) });
        }
        let session = sessions.get_mut(&request.session_id).ok_or(ErrorCode::FETCH_SESSION_ID_NOT_FOUND)?;
        if session.epoch != request.session_epoch {
            return Err(ErrorCode::INVALID_FETCH_SESSION_EPOCH);
        }
        if session.by_id != (version >= IDS_FROM) {
            return Err(ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR);
        }
        session.add(topics);
        for topic in &request.forgotten_topics_data {
            for partition in &topic.partitions {
                session.remove(&(topic.topic.clone(), topic.topic_id, *partition));
            }
        }
        if session.partitions.is_empty() {
            sessions.remove(&request.session_id);
            return Ok(Plan::Once(Vec::new()));
        }
        session.epoch = next_epoch(session.epoch);
        session.used = now;
        Ok(Plan::Go { session: request.session_id, epoch: session.epoch, topics: session.topics() })
    }

    /// The answer to a request, of which `response` has every partition in the order of the plan.
    pub(crate) fn end(
        &self,
        plan: Opened,
        response: FetchResponse,
        now: Instant,
        random: impl FnMut() -> u64,
    ) -> FetchResponse {
        match plan {
            Opened::Nothing => response,
            Opened::New { topics, by_id } => {
                let session_id = self.open(topics, by_id, &response, now, random);
                FetchResponse { session_id, ..response }
            }
            Opened::Known { session, epoch } => self.difference(session, epoch, response),
        }
    }

    /// Opens a session, if there is room for one; its id, else 0.
    fn open(
        &self,
        topics: Vec<FetchTopic>,
        by_id: bool,
        response: &FetchResponse,
        now: Instant,
        mut random: impl FnMut() -> u64,
    ) -> i32 {
        let size: usize = topics.iter().map(|topic| topic.partitions.len()).sum();
        let mut sessions = self.sessions.borrow_mut();
        if size == 0 || sessions.len() >= self.slots && !make_room(&mut sessions, size, now) {
            return 0;
        }
        let (shard, shards) = self.place;
        let id = loop {
            let drawn = (random() % (i32::MAX as u64 / shards as u64)) as usize * shards + shard;
            let id = drawn as i32;
            if id > 0 && !sessions.contains_key(&id) {
                break id;
            }
        };
        let mut session = Session {
            epoch: next_epoch(OPENING),
            by_id,
            created: now,
            used: now,
            partitions: BTreeMap::new(),
            places: FxHashMap::default(),
            next_place: 0,
        };
        session.add(topics);
        for topic in &response.responses {
            for data in &topic.partitions {
                session.tell(&(topic.topic.clone(), topic.topic_id, data.partition_index), data);
            }
        }
        sessions.insert(id, session);
        id
    }

    /// What of the response the client was not told before.
    fn difference(&self, id: i32, epoch: i32, response: FetchResponse) -> FetchResponse {
        let mut sessions = self.sessions.borrow_mut();
        let Some(session) = sessions.get_mut(&id).filter(|session| session.epoch == epoch) else {
            return FetchResponse { error_code: ErrorCode::INVALID_FETCH_SESSION_EPOCH, ..Default::default() };
        };
        let mut responses: Vec<FetchableTopicResponse> = Vec::new();
        for FetchableTopicResponse { topic, topic_id, partitions } in response.responses {
            for data in partitions {
                if !session.tell(&(topic.clone(), topic_id, data.partition_index), &data) {
                    continue;
                }
                match responses.last_mut().filter(|last| last.topic == topic && last.topic_id == topic_id) {
                    Some(last) => last.partitions.push(data),
                    None => responses.push(FetchableTopicResponse {
                        topic: topic.clone(),
                        topic_id,
                        partitions: vec![data],
                    }),
                }
            }
        }
        FetchResponse { session_id: id, responses, ..response }
    }
}

/// A plan that is being carried out: what is left to do when its answer is there.
pub(crate) enum Opened {
    /// Nothing.
    Nothing,
    /// To open a session.
    New { topics: Vec<FetchTopic>, by_id: bool },
    /// To tell the difference.
    Known { session: i32, epoch: i32 },
}

impl Plan {
    /// The partitions to read, and what is to be done with the answer.
    pub(crate) fn carry_out(self, version: i16) -> (Vec<FetchTopic>, Opened) {
        match self {
            Plan::Once(topics) => (topics, Opened::Nothing),
            Plan::Open(topics) => (topics.clone(), Opened::New { topics, by_id: version >= IDS_FROM }),
            Plan::Go { session, epoch, topics } => (topics, Opened::Known { session, epoch }),
        }
    }
}

impl Session {
    /// Takes partitions in, or what changes of them.
    fn add(&mut self, topics: Vec<FetchTopic>) {
        for topic in topics {
            // Copied out of the frame, which would stay in memory otherwise.
            let name = Text::from(&*topic.topic);
            for wanted in topic.partitions {
                let key = (name.clone(), topic.topic_id, wanted.partition);
                match self.places.get(&key) {
                    Some(place) => self.partitions.get_mut(place).expect("its place").wanted = wanted,
                    None => {
                        self.places.insert(key.clone(), self.next_place);
                        self.partitions.insert(self.next_place, Cached { key, wanted, told: UNTOLD });
                        self.next_place += 1;
                    }
                }
            }
        }
    }

    fn remove(&mut self, key: &Key) {
        if let Some(place) = self.places.remove(key) {
            self.partitions.remove(&place);
        }
    }

    /// All partitions, those of one topic together where they are neighbours.
    fn topics(&self) -> Vec<FetchTopic> {
        let mut topics: Vec<FetchTopic> = Vec::new();
        for Cached { key: (topic, topic_id, _), wanted, .. } in self.partitions.values() {
            match topics.last_mut().filter(|last| last.topic == *topic && last.topic_id == *topic_id) {
                Some(last) => last.partitions.push(wanted.clone()),
                None => topics.push(FetchTopic {
                    topic: topic.clone(),
                    topic_id: *topic_id,
                    partitions: vec![wanted.clone()],
                }),
            }
        }
        topics
    }

    /// Whether the client is to be told this of a partition (`CachedPartition.maybeUpdateResponseData`).
    fn tell(&mut self, key: &Key, data: &PartitionData) -> bool {
        // Forgotten by a request that came between.
        let Some(place) = self.places.get(key).copied() else { return false };
        let cached = self.partitions.get_mut(&place).expect("its place");
        let now = Told { high_watermark: data.high_watermark, start: data.log_start_offset };
        let has_records = data.records.as_ref().is_some_and(|records| !records.is_empty());
        let is_odd = data.error_code.is_error() || data.diverging_epoch.epoch >= 0 || data.preferred_read_replica >= 0;
        let is_news = has_records || is_odd || now != cached.told;
        // After an error everything is told, whatever it is.
        cached.told = if data.error_code.is_error() { UNTOLD } else { now };
        if has_records {
            let cached = self.partitions.remove(&place).expect("its place");
            self.places.insert(cached.key.clone(), self.next_place);
            self.partitions.insert(self.next_place, cached);
            self.next_place += 1;
        }
        is_news
    }
}

/// Lets a session go for one of `size` partitions, if there is one to let go.
fn make_room(sessions: &mut FxHashMap<i32, Session>, size: usize, now: Instant) -> bool {
    let settled = |since: Instant| (now - since).as_millis() as u64 > SETTLED_MS;
    let idle = sessions.iter().min_by_key(|(_, session)| session.used).filter(|(_, session)| settled(session.used));
    let smaller = || {
        let old = sessions.iter().filter(|(_, session)| settled(session.created));
        old.min_by_key(|(id, session)| (session.partitions.len(), **id)).filter(|(_, old)| old.partitions.len() < size)
    };
    match idle.or_else(smaller).map(|(id, _)| *id) {
        Some(id) => sessions.remove(&id).is_some(),
        None => false,
    }
}

/// The epoch after one: they go round, past 0.
fn next_epoch(epoch: i32) -> i32 {
    if epoch == i32::MAX { 1 } else { epoch + 1 }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::protocol::Records;

    fn topic(name: &str, partitions: &[i32]) -> FetchTopic {
        let partitions = partitions.iter().map(|&partition| FetchPartition { partition, ..Default::default() });
        FetchTopic { topic: name.into(), partitions: partitions.collect(), ..Default::default() }
    }

    fn request(session_id: i32, session_epoch: i32, topics: Vec<FetchTopic>) -> FetchRequest {
        FetchRequest { session_id, session_epoch, topics, ..Default::default() }
    }

    /// The answer of partitions that are all empty, but for those of `full`.
    fn answer(topics: &[FetchTopic], full: &[(&str, i32)]) -> FetchResponse {
        let responses = topics.iter().map(|topic| FetchableTopicResponse {
            topic: topic.topic.clone(),
            topic_id: topic.topic_id,
            partitions: topic
                .partitions
                .iter()
                .map(|wanted| PartitionData {
                    partition_index: wanted.partition,
                    records: full
                        .contains(&(&*topic.topic, wanted.partition))
                        .then(|| Records::from(bytes::Bytes::from_static(b"records"))),
                    ..Default::default()
                })
                .collect(),
        });
        FetchResponse { responses: responses.collect(), ..Default::default() }
    }

    fn names(topics: impl IntoIterator<Item = (Text, Vec<i32>)>) -> String {
        topics.into_iter().map(|(name, partitions)| format!("{name}{partitions:?} ")).collect::<String>().trim().into()
    }

    struct Bench {
        sessions: FetchSessions,
        now: Instant,
        drawn: u64,
    }

    impl Bench {
        fn new(slots: usize) -> Bench {
            Bench { sessions: FetchSessions::new(slots, 0, 1), now: Instant(0), drawn: 0 }
        }

        /// Carries a request out; what was read, the session, what was told.
        fn go(&mut self, mut request: FetchRequest, full: &[(&str, i32)]) -> Result<(String, i32, String), ErrorCode> {
            let plan = self.sessions.begin(&mut request, 12, self.now)?;
            let (topics, opened) = plan.carry_out(12);
            let drawn = &mut self.drawn;
            let random = || {
                *drawn += 1;
                *drawn
            };
            let response = self.sessions.end(opened, answer(&topics, full), self.now, random);
            let read = names(topics.into_iter().map(|t| (t.topic, t.partitions.iter().map(|p| p.partition).collect())));
            let told = response.responses.into_iter();
            let told = names(told.map(|t| (t.topic, t.partitions.iter().map(|p| p.partition_index).collect())));
            Ok((read, response.session_id, told))
        }
    }

    fn outcome(read: &str, session: i32, told: &str) -> Result<(String, i32, String), ErrorCode> {
        Ok((read.into(), session, told.into()))
    }

    #[test]
    fn a_session_reads_all_and_tells_only_what_changed() {
        let mut bench = Bench::new(10);
        let opened = bench.go(request(0, 0, vec![topic("a", &[0, 1]), topic("b", &[0])]), &[]);
        assert_eq!(opened, outcome("a[0, 1] b[0]", 1, "a[0, 1] b[0]"));
        assert_eq!(bench.go(request(1, 1, vec![]), &[]), outcome("a[0, 1] b[0]", 1, ""));
        // One with records goes behind the others.
        assert_eq!(bench.go(request(1, 2, vec![]), &[("a", 0)]), outcome("a[0, 1] b[0]", 1, "a[0]"));
        assert_eq!(bench.go(request(1, 3, vec![]), &[]), outcome("a[1] b[0] a[0]", 1, ""));
        // What is new is told whatever it is; what is forgotten is not read any more.
        let mut change = request(1, 4, vec![topic("c", &[7])]);
        change.forgotten_topics_data = vec![crate::protocol::fetch::ForgottenTopic {
            topic: "a".into(),
            partitions: vec![1, 9],
            ..Default::default()
        }];
        assert_eq!(bench.go(change, &[]), outcome("b[0] a[0] c[7]", 1, "c[7]"));
        // Closed.
        assert_eq!(bench.go(request(1, -1, vec![topic("a", &[0])]), &[]), outcome("a[0]", 0, "a[0]"));
        assert_eq!(bench.go(request(1, 5, vec![]), &[]), Err(ErrorCode::FETCH_SESSION_ID_NOT_FOUND));
        assert_eq!(bench.sessions.count(), 0);
    }

    #[test]
    fn a_wrong_epoch_a_wrong_version_and_an_empty_session_are_told_apart() {
        let mut bench = Bench::new(10);
        assert_eq!(bench.go(request(5, 3, vec![]), &[]), Err(ErrorCode::FETCH_SESSION_ID_NOT_FOUND));
        assert_eq!(bench.go(request(0, 0, vec![topic("a", &[0])]), &[]), outcome("a[0]", 1, "a[0]"));
        assert_eq!(bench.go(request(1, 2, vec![]), &[]), Err(ErrorCode::INVALID_FETCH_SESSION_EPOCH));
        let by_id = bench.sessions.begin(&mut request(1, 1, vec![]), 13, bench.now);
        assert_eq!(by_id.err(), Some(ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR));
        assert_eq!(bench.go(request(1, 1, vec![]), &[]), outcome("a[0]", 1, ""), "the errors changed nothing");
        // Another request for the same epoch came between.
        let (_, opened) = bench.sessions.begin(&mut request(1, 2, vec![]), 12, bench.now).expect("good").carry_out(12);
        bench.sessions.begin(&mut request(1, 3, vec![]), 12, bench.now).expect("good");
        let late = bench.sessions.end(opened, FetchResponse::default(), bench.now, || 0);
        assert_eq!(late.error_code, ErrorCode::INVALID_FETCH_SESSION_EPOCH);
        let mut forget = request(1, 4, vec![]);
        forget.forgotten_topics_data = vec![crate::protocol::fetch::ForgottenTopic {
            topic: "a".into(),
            partitions: vec![0],
            ..Default::default()
        }];
        assert_eq!(bench.go(forget, &[]), outcome("", 0, ""), "an empty session ends");
        assert_eq!(bench.sessions.count(), 0);
        assert_eq!(next_epoch(i32::MAX), 1);
    }

    #[test]
    fn a_partition_with_an_error_is_told_again_and_after_it_too() {
        let mut bench = Bench::new(10);
        bench.go(request(0, 0, vec![topic("a", &[0])]), &[]).expect("good");
        let tell = |epoch, error_code, high_watermark| {
            let plan = bench.sessions.begin(&mut request(1, epoch, vec![]), 12, bench.now).expect("good");
            let (topics, opened) = plan.carry_out(12);
            let mut response = answer(&topics, &[]);
            response.responses[0].partitions[0].error_code = error_code;
            response.responses[0].partitions[0].high_watermark = high_watermark;
            bench.sessions.end(opened, response, bench.now, || 0).responses.len()
        };
        assert_eq!(tell(1, ErrorCode::NONE, 5), 1, "the high watermark moved");
        assert_eq!(tell(2, ErrorCode::NONE, 5), 0);
        assert_eq!(tell(3, ErrorCode::NOT_LEADER_OR_FOLLOWER, -1), 1);
        assert_eq!(tell(4, ErrorCode::NOT_LEADER_OR_FOLLOWER, -1), 1);
        assert_eq!(tell(5, ErrorCode::NONE, 5), 1);
        assert_eq!(tell(6, ErrorCode::NONE, 5), 0);
    }

    #[test]
    fn a_full_cache_lets_go_of_what_is_idle_or_small_and_of_nothing_else() {
        let mut bench = Bench::new(2);
        let open = |bench: &mut Bench, partitions: &[i32]| {
            bench.go(request(0, 0, vec![topic("a", partitions)]), &[]).expect("good").1
        };
        assert_eq!((open(&mut bench, &[0]), open(&mut bench, &[0, 1])), (1, 2));
        assert_eq!(open(&mut bench, &[0, 1, 2]), 0, "both are young");
        bench.now += Duration::from_secs(121);
        bench.go(request(1, 1, vec![]), &[]).expect("used");
        assert_eq!(open(&mut bench, &[0]), 3, "the idle one goes");
        bench.go(request(1, 2, vec![]), &[]).expect("it was used, and stays");
        assert_eq!(open(&mut bench, &[0]), 0, "not smaller");
        assert_eq!(open(&mut bench, &[0, 1]), 4, "smaller and old");
        assert_eq!(bench.go(request(1, 3, vec![]), &[]), Err(ErrorCode::FETCH_SESSION_ID_NOT_FOUND));
        assert_eq!(Bench::new(0).go(request(0, 0, vec![topic("a", &[0])]), &[]).expect("good").1, 0);
    }
}
