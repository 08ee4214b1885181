//! When clients asked for subscriptions and sent metrics, so that they do so no oftener than they are told to; the rules of Kafka's
//! `ClientMetricsManager` and `ClientMetricsInstance`.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use corelog_engine::io::Instant;
use uuid::Uuid;

use super::Wanted;
use crate::protocol::ErrorCode;

/// Clients that are remembered, `ClientMetricsManager.CACHE_MAX_SIZE`.
const INSTANCES_MAX: usize = 16_384;
/// For how long at least one is that says nothing, `ClientMetricsManager.DEFAULT_CACHE_EXPIRY_MS`.
const EXPIRY_MIN: Duration = Duration::from_secs(60);

/// The clients of a broker, by the ids that they or it have chosen.
#[derive(Debug, Default)]
pub(crate) struct Instances(Mutex<HashMap<Uuid, Instance>>);

#[derive(Debug)]
struct Instance {
    /// What it was asked for; with another one it is as if it came for the first time.
    subscription_id: i32,
    interval: Duration,
    got_at: Option<Instant>,
    pushed_at: Option<Instant>,
    /// Whether it has said that it ends.
    is_terminating: bool,
    last_error: ErrorCode,
    used_at: Instant,
}

/// What a client sends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Push {
    /// The subscription for which it does.
    pub(crate) subscription_id: i32,
    /// Whether it ends.
    pub(crate) is_terminating: bool,
    /// The codec's id.
    pub(crate) compression_type: i8,
    /// How much.
    pub(crate) bytes: usize,
}

impl Instances {
    /// A client asks what is wanted of it: whether it may, now.
    pub(crate) fn get(&self, id: Uuid, wanted: &Wanted, now: Instant) -> ErrorCode {
        self.with(id, wanted, now, |instance| {
            let may_ask_again = [ErrorCode::UNKNOWN_SUBSCRIPTION_ID, ErrorCode::UNSUPPORTED_COMPRESSION_TYPE]
                .contains(&instance.last_error);
            let is_due = instance.is_due(instance.got_at.max(instance.pushed_at), now);
            if is_due {
                instance.got_at = Some(now);
            } else if !may_ask_again {
                return ErrorCode::THROTTLING_QUOTA_EXCEEDED;
            }
            instance.last_error = ErrorCode::NONE;
            ErrorCode::NONE
        })
    }

    /// A client sends metrics of at most `bytes_max`: whether it may, now.
    pub(crate) fn push(&self, id: Uuid, wanted: &Wanted, push: Push, bytes_max: usize, now: Instant) -> ErrorCode {
        self.with(id, wanted, now, |instance| {
            let error = instance.check(push, bytes_max, now);
            instance.is_terminating = push.is_terminating;
            instance.last_error = error;
            error
        })
    }

    fn with(&self, id: Uuid, wanted: &Wanted, now: Instant, run: impl FnOnce(&mut Instance) -> ErrorCode) -> ErrorCode {
        let mut instances = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if instances.len() >= INSTANCES_MAX && !instances.contains_key(&id) {
            make_room(&mut instances, now);
        }
        let new = || Instance {
            subscription_id: wanted.subscription_id,
            interval: Duration::from_millis(wanted.interval_ms.max(0) as u64),
            got_at: None,
            pushed_at: None,
            is_terminating: false,
            last_error: ErrorCode::NONE,
            used_at: now,
        };
        let instance = instances.entry(id).or_insert_with(new);
        if instance.subscription_id != wanted.subscription_id || instance.is_over(now) {
            *instance = new();
        }
        instance.used_at = now;
        run(instance)
    }
}

/// Forgets those that have said nothing for long, or else the one that has not for the longest.
fn make_room(instances: &mut HashMap<Uuid, Instance>, now: Instant) {
    instances.retain(|_, instance| !instance.is_over(now));
    if instances.len() >= INSTANCES_MAX {
        let oldest = instances.iter().min_by_key(|(_, instance)| instance.used_at).map(|(id, _)| *id);
        oldest.map(|id| instances.remove(&id));
    }
}

impl Instance {
    fn is_over(&self, now: Instant) -> bool {
        now.since(self.used_at) >= EXPIRY_MIN.max(self.interval * 3)
    }

    fn is_due(&self, since: Option<Instant>, now: Instant) -> bool {
        since.is_none_or(|since| now.since(since) >= self.interval)
    }

    fn check(&mut self, push: Push, bytes_max: usize, now: Instant) -> ErrorCode {
        if self.is_terminating {
            return ErrorCode::INVALID_REQUEST;
        }
        // At once after it has asked, since clients spread what they send over the interval.
        let is_due = self.got_at > self.pushed_at || self.is_due(self.pushed_at, now);
        if is_due {
            self.pushed_at = Some(now);
        } else if !push.is_terminating {
            return ErrorCode::THROTTLING_QUOTA_EXCEEDED;
        }
        if push.subscription_id != self.subscription_id {
            // The client asks again what is wanted.
            ErrorCode::UNKNOWN_SUBSCRIPTION_ID
        } else if !(0..=4).contains(&push.compression_type) {
            ErrorCode::UNSUPPORTED_COMPRESSION_TYPE
        } else if push.bytes > bytes_max {
            ErrorCode::TELEMETRY_TOO_LARGE
        } else {
            ErrorCode::NONE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: Uuid = Uuid::from_u128(7);
    const GOOD: Push = Push { subscription_id: 1, is_terminating: false, compression_type: 0, bytes: 10 };

    fn wanted(subscription_id: i32) -> Wanted {
        Wanted { subscription_id, interval_ms: 1000, metrics: Vec::new() }
    }

    fn at(ms: u64) -> Instant {
        Instant(5_000_000_000) + Duration::from_millis(ms)
    }

    #[test]
    fn a_client_asks_and_sends_once_in_an_interval() {
        let instances = Instances::default();
        let get = |ms| instances.get(ID, &wanted(1), at(ms));
        let push = |ms, push| instances.push(ID, &wanted(1), push, 10, at(ms));
        assert_eq!((get(0), get(999)), (ErrorCode::NONE, ErrorCode::THROTTLING_QUOTA_EXCEEDED));
        // At once after the first question, and then when the interval is over.
        assert_eq!((push(10, GOOD), push(20, GOOD)), (ErrorCode::NONE, ErrorCode::THROTTLING_QUOTA_EXCEEDED));
        assert_eq!(
            (get(1005), push(1009, GOOD)),
            (ErrorCode::THROTTLING_QUOTA_EXCEEDED, ErrorCode::THROTTLING_QUOTA_EXCEEDED)
        );
        assert_eq!((push(1010, GOOD), get(2010)), (ErrorCode::NONE, ErrorCode::NONE));
        // A changed subscription counts at once.
        assert_eq!(instances.get(ID, &wanted(2), at(2020)), ErrorCode::NONE);
        assert_eq!(instances.get(Uuid::from_u128(8), &wanted(2), at(2020)), ErrorCode::NONE, "another client");
    }

    #[test]
    fn what_is_wrong_is_said_and_after_some_of_it_one_may_ask_at_once() {
        let instances = Instances::default();
        let get = |ms| instances.get(ID, &wanted(1), at(ms));
        let push = |ms, push| instances.push(ID, &wanted(1), push, 10, at(ms));
        assert_eq!(push(0, Push { subscription_id: 2, ..GOOD }), ErrorCode::UNKNOWN_SUBSCRIPTION_ID);
        assert_eq!((get(1), get(2)), (ErrorCode::NONE, ErrorCode::THROTTLING_QUOTA_EXCEEDED));
        assert_eq!(push(1000, Push { compression_type: 5, ..GOOD }), ErrorCode::UNSUPPORTED_COMPRESSION_TYPE);
        assert_eq!(get(1001), ErrorCode::NONE);
        assert_eq!(push(2000, Push { bytes: 11, ..GOOD }), ErrorCode::TELEMETRY_TOO_LARGE);
        assert_eq!(get(2001), ErrorCode::THROTTLING_QUOTA_EXCEEDED);
        // The last words of a client may come at any time, and are the last.
        assert_eq!(push(2002, Push { is_terminating: true, ..GOOD }), ErrorCode::NONE);
        assert_eq!(push(9000, GOOD), ErrorCode::INVALID_REQUEST);
        assert_eq!(push(9000 + 60_000, GOOD), ErrorCode::NONE, "forgotten");
    }

    #[test]
    fn no_more_clients_are_remembered_than_kafka_does() {
        let instances = Instances::default();
        for number in 0..INSTANCES_MAX as u64 + 100 {
            instances.get(Uuid::from_u128(number.into()), &wanted(1), at(number / 100));
        }
        assert_eq!(instances.0.lock().expect("whole").len(), INSTANCES_MAX);
        assert_eq!(instances.get(Uuid::from_u128(0), &wanted(1), at(200)), ErrorCode::NONE, "the oldest was forgotten");
    }
}
