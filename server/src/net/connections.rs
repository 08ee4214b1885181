//! How many connections there are, of all shards and of each address, and whether there may be one more.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};

/// The open connections of a broker. Only accepting and closing touch it.
#[derive(Clone)]
pub(crate) struct Connections(Arc<Inner>);

struct Inner {
    max: AtomicUsize,
    per_ip_max: AtomicUsize,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    total: usize,
    by_ip: HashMap<IpAddr, usize>,
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
    /// Of this address.
    #[error("there are {0} connections from this address, as many as max.connections.per.ip allows")]
    PerIp(usize),
}

impl Connections {
    /// None yet, of at most so many (`max.connections`, `max.connections.per.ip`).
    pub(crate) fn new(max: usize, per_ip_max: usize) -> Connections {
        Connections(Arc::new(Inner { max: max.into(), per_ip_max: per_ip_max.into(), open: Mutex::default() }))
    }

    /// From now on at most so many; those that are open stay.
    pub(crate) fn limit(&self, max: usize, per_ip_max: usize) {
        self.0.max.store(max, Relaxed);
        self.0.per_ip_max.store(per_ip_max, Relaxed);
    }

    /// One more, from `ip`.
    pub(crate) fn admit(&self, ip: IpAddr) -> Result<Ticket, Full> {
        let mut open = self.0.open.lock().expect("nothing panics while it is held");
        if open.total >= self.0.max.load(Relaxed) {
            return Err(Full::Total(open.total));
        }
        let of_ip = open.by_ip.get(&ip).copied().unwrap_or(0);
        if of_ip >= self.0.per_ip_max.load(Relaxed) {
            return Err(Full::PerIp(of_ip));
        }
        open.total += 1;
        open.by_ip.insert(ip, of_ip + 1);
        Ok(Ticket { connections: self.clone(), ip })
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut open = self.connections.0.open.lock().expect("nothing panics while it is held");
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

    #[test]
    fn a_place_is_given_back_and_taken_again() {
        let connections = Connections::new(3, 2);
        let (a, b) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let first = connections.admit(a).expect("room");
        let _second = connections.admit(a).expect("room");
        assert_eq!(connections.admit(a).err(), Some(Full::PerIp(2)));
        let _third = connections.admit(b).expect("room");
        assert_eq!(connections.admit(b).err(), Some(Full::Total(3)));
        drop(first);
        assert!(connections.admit(a).is_ok());
        connections.limit(2, 2);
        assert_eq!(connections.admit(a).err(), Some(Full::Total(2)));
    }
}
