//! How many connections there may be: `max.connections` and what goes with it.

use std::collections::HashMap;
use std::net::{IpAddr, ToSocketAddrs};

use super::key::items;

/// The most connections, of all, of an address, and new ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// `max.connections`.
    pub total: usize,
    /// `max.connections.per.ip`.
    pub per_ip: usize,
    /// `max.connections.per.ip.overrides`, by address.
    pub of_ip: HashMap<IpAddr, usize>,
    /// `max.connection.creation.rate`: new ones in a second; `None` for any number.
    pub rate: Option<u32>,
    /// `listener.name.NAME.max.connections`, by the listener's name.
    pub of_listener: HashMap<String, usize>,
    /// The listener for brokers where there are others: it has none of `total`, which those on others make room for.
    pub protected: Option<String>,
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
        let rate = (rate < i32::MAX as u32).then_some(rate);
        ConnectionLimits { total, per_ip, of_ip, rate, of_listener: HashMap::new(), protected: None }
    }

    /// Whether a listener counts among those that `total` bounds.
    pub(crate) fn is_protected(&self, listener: &str) -> bool {
        self.protected.as_deref() == Some(listener)
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

/// The listener, in upper case, of which a setting is the limit.
pub(super) fn listener_of(name: &str) -> Option<String> {
    let listener = name.strip_prefix("listener.name.")?.strip_suffix(".max.connections")?;
    (!listener.is_empty()).then(|| listener.to_uppercase())
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
        assert_eq!(limits.rate, Some(9));
        assert_eq!(ConnectionLimits::new(1, 1, "", i32::MAX as u32).rate, None);
        let by_name = ConnectionLimits::new(1, 1, "localhost:2,no-such-host.invalid:3", 1);
        assert_eq!(by_name.of("127.0.0.1".parse().expect("an address")), 2);
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
