//! How many connections there may be: `max.connections` and what goes with it, of all and of single listeners.

use std::collections::HashMap;
use std::net::{IpAddr, ToSocketAddrs};

use super::key::{Key, items};
use super::listener::Listener;
use super::table::broker_key;

/// The settings that a listener may have of its own, as `listener.name.NAME.` and this.
const OF_LISTENER: [&str; 2] = ["max.connections", "max.connection.creation.rate"];

/// The most connections, of all, of an address, and new ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// `max.connections`.
    pub total: usize,
    /// `max.connections.per.ip`.
    pub per_ip: usize,
    /// `max.connections.per.ip.overrides`, by address.
    pub of_ip: HashMap<IpAddr, usize>,
    /// `max.connection.creation.rate`: new ones in a second; [`RATE_MAX`] for any number.
    pub rate: u32,
    /// Those of listeners that have their own, by the listener's name.
    pub of_listener: HashMap<String, ListenerLimits>,
    /// The listener for brokers where there are others: it counts for itself, and those on others make room for it.
    pub protected: Option<String>,
}

/// The rate that is none: any number of new connections.
pub const RATE_MAX: u32 = i32::MAX as u32;

/// The limits of one listener; what is not given is that of the broker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListenerLimits {
    /// `listener.name.NAME.max.connections`.
    pub total: Option<usize>,
    /// `listener.name.NAME.max.connection.creation.rate`.
    pub rate: Option<u32>,
}

impl ConnectionLimits {
    /// The limits as they are set: numbers, and the overrides as text. A host that has no address is left out, and said so.
    pub(super) fn new(total: usize, per_ip: usize, overrides: &str, rate: u32) -> ConnectionLimits {
        let mut of_ip = HashMap::new();
        for (host, limit) in parse(overrides).unwrap_or_default() {
            match addresses(host) {
                Ok(found) => of_ip.extend(found.into_iter().map(|ip| (ip, limit))),
                Err(error) => {
                    tracing::warn!(host, error, "max.connections.per.ip.overrides names a host without address")
                }
            }
        }
        ConnectionLimits { total, per_ip, of_ip, rate, of_listener: HashMap::new(), protected: None }
    }

    /// Takes in what is set for one listener, if that is what the setting is; in place of what was set before.
    pub(super) fn set_of_listener(&mut self, name: &str, value: &str) {
        let Some((listener, key)) = of_listener(name) else { return };
        let Ok(number) = value.trim().parse::<u32>() else { return };
        let limits = self.of_listener.entry(listener).or_default();
        match key.name == OF_LISTENER[0] {
            true => limits.total = Some(number as usize),
            false => limits.rate = Some(number),
        }
    }

    /// The most connections on a listener, where it has a limit of its own or counts for itself.
    pub(crate) fn total_of(&self, listener: &str) -> Option<usize> {
        let own = self.of_listener.get(listener).and_then(|limits| limits.total);
        own.or(self.is_protected(listener).then_some(self.total))
    }

    /// The most new connections on a listener in a second.
    pub(crate) fn rate_of(&self, listener: &str) -> u32 {
        self.of_listener.get(listener).and_then(|limits| limits.rate).unwrap_or(self.rate)
    }

    /// Whether a listener counts among those that `total` bounds.
    pub(crate) fn is_protected(&self, listener: &str) -> bool {
        self.protected.as_deref() == Some(listener)
    }

    /// Whether a change leaves every listener open; the error is Kafka's sentence.
    pub(super) fn check_change(&self, listeners: &[Listener]) -> Result<(), &'static str> {
        self.check()?;
        for Listener { name, .. } in listeners {
            if self.total_of(name).unwrap_or(self.total) == 0 {
                return Err("Invalid max.connections 0");
            }
            if self.rate_of(name) == 0 {
                return Err("Invalid max.connection.creation.rate 0");
            }
        }
        Ok(())
    }

    /// Whether anybody can connect; the error is Kafka's sentence.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        match self.per_ip == 0 && self.of_ip.is_empty() {
            true => Err(
                "max.connections.per.ip can be set to zero only if max.connections.per.ip.overrides property is set.",
            ),
            false => Ok(()),
        }
    }

    /// The most connections of this address.
    pub fn of(&self, ip: IpAddr) -> usize {
        self.of_ip.get(&ip.to_canonical()).copied().unwrap_or(self.per_ip)
    }
}

/// The listener, in upper case, of which a setting is the limit, and the broker's setting that it stands before.
pub(crate) fn of_listener(name: &str) -> Option<(String, &'static Key)> {
    let (listener, base) = name.strip_prefix("listener.name.")?.split_once('.')?;
    let base = OF_LISTENER.into_iter().find(|known| *known == base)?;
    (!listener.is_empty()).then(|| (listener.to_uppercase(), broker_key(base).expect("it is a row")))
}

/// Whether the text is a list of `HOST:LIMIT`.
pub(super) fn check(overrides: &str) -> Result<(), String> {
    parse(overrides).map(|_| ())
}

fn parse(overrides: &str) -> Result<Vec<(&str, usize)>, String> {
    let wrong = || "it must be a list of hosts or addresses with numbers, as in host:100,127.0.0.1:200".to_string();
    let pairs = items(overrides).map(|item| {
        let (host, limit) = item.rsplit_once(':').ok_or_else(wrong)?;
        let host = host.trim();
        let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._%:[]".contains(&byte);
        let limit: i32 = limit.trim().parse().map_err(|_| wrong())?;
        let limit = usize::try_from(limit).map_err(|_| wrong())?;
        if host.is_empty() || !host.bytes().all(is_host) { Err(wrong()) } else { Ok((host, limit)) }
    });
    pairs.collect()
}

/// The addresses of a host, which may be one itself.
fn addresses(host: &str) -> Result<Vec<IpAddr>, String> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![ip.to_canonical()]);
    }
    let found = (host, 0).to_socket_addrs().map_err(|error| error.to_string())?;
    Ok(found.map(|addr| addr.ip().to_canonical()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_have_a_limit_of_its_own() {
        let limits = ConnectionLimits::new(100, 5, " 127.0.0.1:7, [::1]:0 ,10.0.0.9 : 3", 9);
        let of = |ip: &str| limits.of(ip.parse().expect("an address"));
        assert_eq!(["127.0.0.1", "::ffff:127.0.0.1", "::1", "10.0.0.9", "10.0.0.8"].map(of), [7, 7, 0, 3, 5]);
        assert_eq!(limits.rate, 9);
        let by_name = ConnectionLimits::new(1, 1, "localhost:2,no-such-host.invalid:3", 1);
        assert_eq!(by_name.of("127.0.0.1".parse().expect("an address")), 2);
    }

    #[test]
    fn a_listener_has_its_own_limits_else_those_of_the_broker() {
        let mut limits = ConnectionLimits { protected: Some("BETWEEN".into()), ..ConnectionLimits::new(9, 9, "", 90) };
        for (name, value) in [
            ("listener.name.small.max.connections", "1"),
            ("listener.name.small.max.connections", " 2 "),
            ("listener.name.SLOW.max.connection.creation.rate", "3"),
            ("listener.name.small.max.connections.per.ip", "4"),
            ("listener.name..max.connections", "4"),
            ("max.connections", "4"),
        ] {
            limits.set_of_listener(name, value);
        }
        let of = |name| (limits.total_of(name), limits.rate_of(name));
        let of = ["SMALL", "SLOW", "BETWEEN", "ALL"].map(of);
        assert_eq!(of, [(Some(2), 90), (None, 3), (Some(9), 90), (None, 90)]);
        assert_eq!(limits.of_listener.len(), 2);
    }

    #[test]
    fn overrides_are_hosts_with_numbers() {
        for good in ["", " ", "127.0.0.1:1", "host:0,other.example.org:2", "[::1]:5", "::1:5"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in ["x", "x:", ":1", "x:y", "x:-1", "x:3000000000", "a b:1", "x:1;y:2"] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
