//! How many connections there are, of all shards, of each listener and of each address, and whether there may be one more.
//!
//! As Kafka's `ConnectionQuotas`: one too many for the broker or its listener waits for a place, and nobody behind it is accepted
//! meanwhile; one too many of its address is closed. The listener for brokers, where there are others, counts for itself: those that
//! were silent for the longest on the others are closed for it, and where the limit is lowered.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use corelog_engine::io::Instant;
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use crate::config::{ConnectionLimits, RATE_MAX};

/// The share of the process's descriptors that connections may have: a log that cannot open its files would go offline.
const DESCRIPTOR_SHARE: (usize, usize) = (3, 4);

/// The open connections of a broker. Only accepting and closing touch it.
#[derive(Clone)]
pub(crate) struct Connections {
    open: Arc<Mutex<Open>>,
    /// Told when there may be a place.
    freed: Arc<Notify>,
    /// Told when there may be too many.
    exceeded: Arc<Notify>,
}

struct Open {
    limits: ConnectionLimits,
    /// As many as there are descriptors for.
    descriptors_max: usize,
    total: usize,
    /// Of `total`, those that have been told to end to make room.
    leaving: usize,
    by_ip: HashMap<IpAddr, usize>,
    by_listener: HashMap<String, usize>,
    /// How fast new ones come, on all listeners but the one for brokers.
    pace: Pace,
    /// The same of each listener.
    pace_of: HashMap<String, Pace>,
}

/// How fast new connections come.
#[derive(Default)]
struct Pace {
    /// Where the next one stands, were they spread evenly at the rate.
    next: Option<Instant>,
}

/// A place among the connections; given back when dropped.
pub(crate) struct Ticket {
    connections: Connections,
    ip: IpAddr,
    listener: Rc<str>,
    is_leaving: bool,
}

/// Why there may not be one more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Full {
    /// Of all.
    #[error("there are {0} connections, as many as max.connections allows")]
    Total(usize),
    /// Of its listener.
    #[error("there are {0} connections of this listener, as many as its max.connections allows")]
    Listener(usize),
    /// Of those that there are descriptors for.
    #[error(
        "there are {0} connections, and the other descriptors are for the log's files; raise the limit (ulimit -Hn, LimitNOFILE)"
    )]
    Descriptors(usize),
    /// Of this address.
    #[error("there are {0} connections from this address, as many as max.connections.per.ip allows")]
    PerIp(usize),
}

impl Full {
    /// Whether one more waits for a place, rather than being closed.
    pub(crate) fn waits(self) -> bool {
        !matches!(self, Full::PerIp(_))
    }
}

impl Connections {
    /// None yet, of at most so many, in a process that may open so many descriptors.
    pub(crate) fn new(limits: ConnectionLimits, descriptors: usize) -> Connections {
        let open = Open {
            limits,
            descriptors_max: most(descriptors),
            total: 0,
            leaving: 0,
            by_ip: HashMap::new(),
            by_listener: HashMap::new(),
            pace: Pace::default(),
            pace_of: HashMap::new(),
        };
        Connections { open: Arc::new(Mutex::new(open)), freed: Arc::default(), exceeded: Arc::default() }
    }

    /// From now on at most so many, of which those are closed that are too many for the broker.
    pub(crate) fn limit(&self, limits: ConnectionLimits) {
        self.open().limits = limits;
        self.freed.notify_waiters();
        self.exceeded.notify_waiters();
    }

    /// Ready when there may be a place for one more since this call.
    pub(crate) fn freed(&self) -> OwnedNotified {
        self.freed.clone().notified_owned()
    }

    /// Ready when there may be too many since this call.
    pub(crate) fn exceeded(&self) -> OwnedNotified {
        self.exceeded.clone().notified_owned()
    }

    /// One more, from `ip` on `listener`.
    pub(crate) fn admit(&self, ip: IpAddr, listener: &Rc<str>) -> Result<Ticket, Full> {
        let ip = ip.to_canonical();
        let mut open = self.open();
        let of_listener = open.by_listener.get(&**listener).copied().unwrap_or(0);
        if open.limits.total_of(listener).is_some_and(|max| of_listener >= max) {
            return Err(Full::Listener(of_listener));
        }
        let is_protected = open.limits.is_protected(listener);
        if open.total >= open.limits.total && !is_protected {
            return Err(Full::Total(open.total));
        }
        if open.total >= open.descriptors_max {
            return Err(Full::Descriptors(open.total));
        }
        let of_ip = open.by_ip.get(&ip).copied().unwrap_or(0);
        if of_ip >= open.limits.of(ip) {
            return Err(Full::PerIp(of_ip));
        }
        open.total += 1;
        open.by_ip.insert(ip, of_ip + 1);
        open.by_listener.insert(listener.to_string(), of_listener + 1);
        if open.total > open.limits.total {
            self.exceeded.notify_waiters();
        }
        Ok(Ticket { connections: self.clone(), ip, listener: listener.clone(), is_leaving: false })
    }

    /// Whether there are too many for the broker; then the caller tells one to end ([`Ticket::leave`]).
    pub(crate) fn must_one_leave(&self) -> bool {
        let mut open = self.open();
        let must = open.total - open.leaving > open.limits.total;
        open.leaving += usize::from(must);
        must
    }

    /// Whether those of the listener may be told to.
    pub(crate) fn may_leave(&self, listener: &str) -> bool {
        !self.open().limits.is_protected(listener)
    }

    /// For how long one that has just come waits, so that there are no more new ones than `max.connection.creation.rate` allows, of
    /// the broker and of the listener; that for brokers has its own only.
    pub(crate) fn wait_for_rate(&self, listener: &str, now: Instant) -> Duration {
        let open = &mut *self.open();
        let of_broker = match open.limits.is_protected(listener) {
            true => Duration::ZERO,
            false => open.pace.wait(open.limits.rate, now),
        };
        if !open.pace_of.contains_key(listener) {
            open.pace_of.insert(listener.into(), Pace::default());
        }
        let pace = open.pace_of.get_mut(listener).expect("it is there");
        of_broker.max(pace.wait(open.limits.rate_of(listener), now))
    }

    fn open(&self) -> std::sync::MutexGuard<'_, Open> {
        self.open.lock().expect("nothing panics while it is held")
    }
}

impl Pace {
    /// For how long the next one waits; a second's worth may come at once.
    fn wait(&mut self, rate: u32, now: Instant) -> Duration {
        const BURST: Duration = Duration::from_secs(1);
        if rate >= RATE_MAX {
            self.next = None;
            return Duration::ZERO;
        }
        // None at all would be a broker that cannot be told otherwise.
        let apart = BURST / rate.max(1);
        let place = self.next.filter(|next| *next > now).unwrap_or(now);
        self.next = Some(place + apart);
        (place + apart).since(now).saturating_sub(BURST)
    }
}

/// The most connections of a process that may open so many descriptors.
pub(crate) fn most(descriptors: usize) -> usize {
    descriptors / DESCRIPTOR_SHARE.1 * DESCRIPTOR_SHARE.0
}

impl Ticket {
    /// Its connection was told to end because [`Connections::must_one_leave`] said so.
    pub(crate) fn leave(&mut self) {
        self.is_leaving = true;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut open = self.connections.open();
        open.total -= 1;
        open.leaving -= usize::from(self.is_leaving);
        give_back(&mut open.by_ip, &self.ip);
        give_back(&mut open.by_listener, &*self.listener);
        drop(open);
        self.connections.freed.notify_waiters();
    }
}

fn give_back<K, Q>(places: &mut HashMap<K, usize>, of: &Q)
where
    K: Hash + Eq + Borrow<Q>,
    Q: Hash + Eq + ?Sized,
{
    let taken = places.get_mut(of).expect("it was counted");
    *taken -= 1;
    if *taken == 0 {
        places.remove(of);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ListenerLimits;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    fn limits(total: usize, per_ip: usize, rate: Option<u32>) -> ConnectionLimits {
        let of_listener = HashMap::from([
            ("SMALL".into(), ListenerLimits { total: Some(1), rate: None }),
            ("SLOW".into(), ListenerLimits { total: None, rate: Some(2) }),
        ]);
        ConnectionLimits {
            total,
            per_ip,
            of_ip: HashMap::new(),
            rate: rate.unwrap_or(RATE_MAX),
            of_listener,
            protected: Some("BROKERS".into()),
        }
    }

    fn admit(connections: &Connections, ip: IpAddr, listener: &str) -> Result<Ticket, Full> {
        connections.admit(ip, &Rc::from(listener))
    }

    #[test]
    fn new_ones_come_at_the_rate_after_a_second_of_them_at_once() {
        let connections = Connections::new(limits(100, 100, Some(10)), 1024);
        let start = Instant(5_000_000_000);
        let waits = |now| connections.wait_for_rate("ALL", now).as_millis();
        assert!((0..10).all(|_| waits(start) == 0));
        assert_eq!([waits(start), waits(start), waits(start)], [100, 200, 300]);
        let later = start + Duration::from_secs(10);
        assert!((0..10).all(|_| waits(later) == 0));
        assert_eq!(waits(later), 100);
        connections.limit(limits(100, 100, None));
        assert_eq!(waits(later), 0);
    }

    #[test]
    fn a_listener_has_a_rate_of_its_own_under_that_of_the_broker() {
        let connections = Connections::new(limits(100, 100, Some(10)), 1024);
        let start = Instant(5_000_000_000);
        let waits = |listener| connections.wait_for_rate(listener, start).as_millis();
        assert_eq!([waits("SLOW"), waits("SLOW"), waits("SLOW"), waits("SLOW")], [0, 0, 500, 1000]);
        // They counted for the broker, which lets six more come at once.
        assert!((0..6).all(|_| waits("ALL") == 0));
        assert_eq!([waits("ALL"), waits("SLOW"), waits("ALL")], [100, 1500, 300]);
        // The listener for brokers counts for itself.
        assert!((0..10).all(|_| waits("BROKERS") == 0));
        assert_eq!([waits("BROKERS"), waits("ALL")], [100, 400]);
    }

    #[test]
    fn a_place_is_given_back_and_taken_again() {
        let connections = Connections::new(limits(3, 2, None), 1024);
        let first = admit(&connections, A, "ALL").expect("room");
        let _second = admit(&connections, A, "SMALL").expect("room");
        assert_eq!(admit(&connections, A, "ALL").err(), Some(Full::PerIp(2)));
        assert_eq!(admit(&connections, B, "SMALL").err(), Some(Full::Listener(1)));
        let _third = admit(&connections, B, "ALL").expect("room");
        assert_eq!(admit(&connections, B, "ALL").err(), Some(Full::Total(3)));
        drop(first);
        assert!(admit(&connections, A, "ALL").is_ok());
        connections.limit(limits(2, 2, None));
        assert_eq!(admit(&connections, A, "ALL").err(), Some(Full::Total(2)));
        assert!(Full::Total(1).waits() && Full::Listener(1).waits() && !Full::PerIp(1).waits());
    }

    #[test]
    fn those_of_brokers_have_a_place_for_which_others_leave() {
        let connections = Connections::new(limits(2, 9, None), 1024);
        let mut others: Vec<Ticket> = (0..2).map(|_| admit(&connections, A, "ALL").expect("room")).collect();
        assert!(!connections.must_one_leave());
        let _brokers: Vec<Ticket> = (0..2).map(|_| admit(&connections, A, "BROKERS").expect("room")).collect();
        assert!(connections.may_leave("ALL") && !connections.may_leave("BROKERS"));
        // As many as are too many, and each once.
        assert!(connections.must_one_leave() && connections.must_one_leave() && !connections.must_one_leave());
        for mut other in others.drain(..) {
            other.leave();
        }
        assert!(!connections.must_one_leave());
        assert_eq!(admit(&connections, A, "ALL").err(), Some(Full::Total(2)));
    }

    #[test]
    fn connections_leave_descriptors_for_the_log() {
        let connections = Connections::new(limits(100, 100, None), 8);
        let _open: Vec<Ticket> = (0..6).map(|_| admit(&connections, A, "ALL").expect("room")).collect();
        assert_eq!(admit(&connections, A, "ALL").err(), Some(Full::Descriptors(6)));
        assert_eq!(admit(&connections, A, "BROKERS").err(), Some(Full::Descriptors(6)));
    }
}
