//! How many connections there are, of all shards and of each address, and whether there may be one more.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use corelog_engine::io::Instant;

use crate::config::ConnectionLimits;

/// The share of the process's descriptors that connections may have: a log that cannot open its files would go offline.
const DESCRIPTOR_SHARE: (usize, usize) = (3, 4);

/// The open connections of a broker. Only accepting and closing touch it.
#[derive(Clone)]
pub(crate) struct Connections(Arc<Mutex<Open>>);

struct Open {
    limits: ConnectionLimits,
    /// As many as there are descriptors for.
    descriptors_max: usize,
    total: usize,
    by_ip: HashMap<IpAddr, usize>,
    /// Where the next new one stands, were they spread evenly at the rate.
    next: Option<Instant>,
}

/// A place among the connections; given back when dropped.
pub(crate) struct Ticket {
    connections: Connections,
    ip: IpAddr,
}

/// Why there may not be one more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Full {
    /// Of all.
    #[error("there are {0} connections, as many as max.connections allows")]
    Total(usize),
    /// Of those that there are descriptors for.
    #[error(
        "there are {0} connections, and the other descriptors are for the log's files; raise the limit (ulimit -Hn, LimitNOFILE)"
    )]
    Descriptors(usize),
    /// Of this address.
    #[error("there are {0} connections from this address, as many as max.connections.per.ip allows")]
    PerIp(usize),
}

impl Connections {
    /// None yet, of at most so many, in a process that may open so many descriptors.
    pub(crate) fn new(limits: ConnectionLimits, descriptors: usize) -> Connections {
        let descriptors_max = most(descriptors);
        let open = Open { limits, descriptors_max, total: 0, by_ip: HashMap::new(), next: None };
        Connections(Arc::new(Mutex::new(open)))
    }

    /// From now on at most so many; those that are open stay.
    pub(crate) fn limit(&self, limits: ConnectionLimits) {
        self.open().limits = limits;
    }

    /// One more, from `ip`.
    pub(crate) fn admit(&self, ip: IpAddr) -> Result<Ticket, Full> {
        let ip = ip.to_canonical();
        let mut open = self.open();
        if open.total >= open.limits.total {
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
        Ok(Ticket { connections: self.clone(), ip })
    }

    /// For how long one that has just come waits, so that there are no more new ones than `max.connection.creation.rate` allows; a
    /// second's worth may come at once.
    pub(crate) fn wait_for_rate(&self, now: Instant) -> Duration {
        const BURST: Duration = Duration::from_secs(1);
        let mut open = self.open();
        let Some(rate) = open.limits.rate else {
            open.next = None;
            return Duration::ZERO;
        };
        // None at all would be a broker that cannot be told otherwise.
        let apart = BURST / rate.max(1);
        let place = open.next.filter(|next| *next > now).unwrap_or(now);
        open.next = Some(place + apart);
        (place + apart).since(now).saturating_sub(BURST)
    }

    fn open(&self) -> std::sync::MutexGuard<'_, Open> {
        self.0.lock().expect("nothing panics while it is held")
    }
}

/// The most connections of a process that may open so many descriptors.
pub(crate) fn most(descriptors: usize) -> usize {
    descriptors / DESCRIPTOR_SHARE.1 * DESCRIPTOR_SHARE.0
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut open = self.connections.open();
        open.total -= 1;
        let of_ip = open.by_ip.get_mut(&self.ip).expect("it was counted");
        *of_ip -= 1;
        if *of_ip == 0 {
            open.by_ip.remove(&self.ip);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(total: usize, per_ip: usize, rate: Option<u32>) -> ConnectionLimits {
        ConnectionLimits { total, per_ip, of_ip: HashMap::new(), rate }
    }

    #[test]
    fn new_ones_come_at_the_rate_after_a_second_of_them_at_once() {
        let connections = Connections::new(limits(100, 100, Some(10)), 1024);
        let start = Instant(5_000_000_000);
        let waits = |now| connections.wait_for_rate(now).as_millis();
        assert!((0..10).all(|_| waits(start) == 0));
        assert_eq!([waits(start), waits(start), waits(start)], [100, 200, 300]);
        let later = start + Duration::from_secs(10);
        assert!((0..10).all(|_| waits(later) == 0));
        assert_eq!(waits(later), 100);
        connections.limit(limits(100, 100, None));
        assert_eq!(waits(later), 0);
    }

    #[test]
    fn a_place_is_given_back_and_taken_again() {
        let connections = Connections::new(limits(3, 2, None), 1024);
        let (a, b) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let first = connections.admit(a).expect("room");
        let _second = connections.admit(a).expect("room");
        assert_eq!(connections.admit(a).err(), Some(Full::PerIp(2)));
        let _third = connections.admit(b).expect("room");
        assert_eq!(connections.admit(b).err(), Some(Full::Total(3)));
        drop(first);
        assert!(connections.admit(a).is_ok());
        connections.limit(limits(2, 2, None));
        assert_eq!(connections.admit(a).err(), Some(Full::Total(2)));
    }

    #[test]
    fn connections_leave_descriptors_for_the_log() {
        let connections = Connections::new(limits(100, 100, None), 8);
        let ip = IpAddr::from([10, 0, 0, 1]);
        let _open: Vec<Ticket> = (0..6).map(|_| connections.admit(ip).expect("room")).collect();
        assert_eq!(connections.admit(ip).err(), Some(Full::Descriptors(6)));
    }
}
