//! What a shard counts of requests and topics. Nothing here is shared between threads.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Duration;

use corelog_engine::shard::{Counter, Histogram};
use rustc_hash::FxHashMap;

use crate::protocol::{APIS, ApiFacts};

/// The counts of a shard.
pub(crate) struct ShardCounters {
    apis: Box<[ApiCounters]>,
    topics: RefCell<FxHashMap<Arc<str>, TopicCounters>>,
    /// Bytes received from clients, and sent to them.
    pub(crate) received_bytes: Counter,
    pub(crate) sent_bytes: Counter,
    /// Connections accepted, and refused for being too many.
    pub(crate) accepted: Counter,
    pub(crate) refused: Counter,
    /// Listeners that have a connection for which there is no place.
    pub(crate) full_listeners: Cell<usize>,
}

/// The counts of an API.
#[derive(Default)]
pub(crate) struct ApiCounters {
    /// From the whole frame to the answer; a fetch's waiting is part of it.
    pub(crate) seconds: Histogram,
}

/// The counts of a topic on a shard.
#[derive(Default)]
pub(crate) struct TopicCounters {
    pub(crate) produced_batches: Counter,
    pub(crate) produced_records: Counter,
    pub(crate) produced_bytes: Counter,
    pub(crate) fetched_bytes: Counter,
    pub(crate) produce_errors: Counter,
    pub(crate) fetch_errors: Counter,
}

impl ShardCounters {
    /// Nothing was counted yet.
    pub(crate) fn new() -> ShardCounters {
        ShardCounters {
            apis: APIS.iter().map(|_| ApiCounters::default()).collect(),
            topics: RefCell::default(),
            received_bytes: Counter::default(),
            sent_bytes: Counter::default(),
            accepted: Counter::default(),
            refused: Counter::default(),
            full_listeners: Cell::new(0),
        }
    }

    /// An answer is there.
    pub(crate) fn answered(&self, key: i16, took: Duration) {
        if let Ok(place) = APIS.binary_search_by_key(&key, |api| api.key) {
            self.apis[place].seconds.observe(took);
        }
    }

    /// Counts for a topic.
    pub(crate) fn topic<R>(&self, name: &Arc<str>, count: impl FnOnce(&TopicCounters) -> R) -> R {
        let mut topics = self.topics.borrow_mut();
        match topics.get(name) {
            Some(counters) => count(counters),
            None => count(topics.entry(name.clone()).or_default()),
        }
    }

    /// A topic is gone.
    pub(crate) fn forget(&self, name: &str) {
        self.topics.borrow_mut().remove(name);
    }

    /// Every API that was asked for, with its counts.
    pub(super) fn each_api(&self, mut each: impl FnMut(&ApiFacts, &ApiCounters)) {
        APIS.iter().zip(&self.apis).for_each(|(facts, counters)| each(facts, counters));
    }

    /// Every topic that was used, with its counts.
    pub(super) fn each_topic(&self, mut each: impl FnMut(&str, &TopicCounters)) {
        self.topics.borrow().iter().for_each(|(name, counters)| each(name, counters));
    }
}
