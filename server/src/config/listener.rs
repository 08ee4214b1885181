//! Addresses: what to listen on (`listeners`) and what to tell clients (`advertised.listeners`).

use std::collections::BTreeMap;
use std::fmt;

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its name, upper case.
    pub name: String,
    /// The host or address; empty for every address of the machine.
    pub host: String,
    /// The port; 0 picks a free one.
    pub port: u16,
}

/// An address that clients are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertised {
    /// The listener's name.
    pub name: String,
    /// The host that clients connect to; `None` where only the machine's name can say it.
    pub host: Option<String>,
    /// The port; `None` for the one that the listener gets.
    pub port: Option<u16>,
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        write!(f, "{}://{host}:{}", self.name, self.port)
    }
}

/// The hosts that stand for every address, which cannot be told to a client.
fn is_wildcard(host: &str) -> bool {
    matches!(host, "" | "0.0.0.0" | "::")
}

/// Reads `NAME://HOST:PORT,…`; names and ports do not repeat.
pub fn parse_listeners(list: &str) -> Result<Vec<Listener>, String> {
    let items: Vec<&str> = list.split(',').map(str::trim).filter(|item| !item.is_empty()).collect();
    if items.is_empty() {
        return Err("at least one listener is needed".into());
    }
    let mut listeners: Vec<Listener> = Vec::new();
    for item in items {
        let listener = parse_listener(item)?;
        if listeners.iter().any(|other| other.name == listener.name) {
            return Err(format!("listener {} is given twice", listener.name));
        }
        if listeners.iter().any(|other| other.port == listener.port && other.host == listener.host && other.port != 0) {
            return Err(format!("{}:{} is given twice", listener.host, listener.port));
        }
        listeners.push(listener);
    }
    Ok(listeners)
}

/// Reads `NAME:PROTOCOL,…`.
pub fn parse_protocols(list: &str) -> Result<BTreeMap<String, String>, String> {
    let items = list.split(',').map(str::trim).filter(|item| !item.is_empty());
    items
        .map(|item| {
            let (name, protocol) = item.split_once(':').ok_or_else(|| format!("{item:?} is not NAME:PROTOCOL"))?;
            Ok((name.trim().to_uppercase(), protocol.trim().to_uppercase()))
        })
        .collect()
}

/// The listeners to serve: those of controllers are left out, and the rest must be PLAINTEXT.
pub fn served(
    listeners: Vec<Listener>,
    controllers: &str,
    protocols: &BTreeMap<String, String>,
) -> Result<Vec<Listener>, String> {
    let controllers: Vec<String> = controllers.split(',').map(|name| name.trim().to_uppercase()).collect();
    let served: Vec<Listener> =
        listeners.into_iter().filter(|listener| !controllers.contains(&listener.name)).collect();
    if served.is_empty() {
        return Err("every listener is for controllers; one for clients is needed".into());
    }
    for listener in &served {
        match protocols.get(&listener.name).map(String::as_str) {
            Some("PLAINTEXT") => {}
            Some(other) => {
                return Err(format!(
                    "{listener} is {other}, but only PLAINTEXT is served; put a TLS proxy before a PLAINTEXT listener, or leave it out"
                ));
            }
            None => {
                return Err(format!("listener {} has no protocol in listener.security.protocol.map", listener.name));
            }
        }
    }
    Ok(served)
}

/// What clients are told of each served listener: from `advertised` where it is given, else the listener itself.
pub fn advertised(list: Option<&str>, served: &[Listener], controllers: &str) -> Result<Vec<Advertised>, String> {
    let Some(list) = list.filter(|list| !list.trim().is_empty()) else {
        return Ok(served.iter().map(Advertised::of).collect());
    };
    let given = parse_listeners(list)?;
    let controllers: Vec<String> = controllers.split(',').map(|name| name.trim().to_uppercase()).collect();
    for address in given.iter().filter(|address| !controllers.contains(&address.name)) {
        if !served.iter().any(|listener| listener.name == address.name) {
            return Err(format!("{address} has no listener of its name"));
        }
        if is_wildcard(&address.host) {
            return Err(format!("{address}: clients cannot connect to every address; name a host"));
        }
    }
    let told = |listener: &Listener| match given.iter().find(|address| address.name == listener.name) {
        Some(address) => Advertised::of(address),
        None => Advertised::of(listener),
    };
    Ok(served.iter().map(told).collect())
}

impl Advertised {
    fn of(listener: &Listener) -> Advertised {
        Advertised {
            name: listener.name.clone(),
            host: (!is_wildcard(&listener.host)).then(|| listener.host.clone()),
            port: (listener.port != 0).then_some(listener.port),
        }
    }
}

fn parse_listener(item: &str) -> Result<Listener, String> {
    let form = || format!("{item:?} is not NAME://HOST:PORT");
    let (name, address) = item.split_once("://").ok_or_else(form)?;
    let (host, port) = address.rsplit_once(':').ok_or_else(form)?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')) {
        return Err(format!("{name:?} is not the name of a listener"));
    }
    if host.contains(['/', '@', ' ', '[', ']']) || (host.contains(':') && !address.starts_with('[')) {
        return Err(form());
    }
    let port = port.parse().map_err(|_| format!("{port:?} is not a port, 0 to 65535"))?;
    Ok(Listener { name: name.to_uppercase(), host: host.into(), port })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(list: &str) -> Result<Vec<String>, String> {
        Ok(parse_listeners(list)?.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn listeners_are_read() {
        assert_eq!(texts("PLAINTEXT://:9092"), Ok(vec!["PLAINTEXT://:9092".into()]));
        assert_eq!(
            texts("plaintext://localhost:0, X_1://[::1]:9093"),
            Ok(vec!["PLAINTEXT://localhost:0".into(), "X_1://[::1]:9093".into()])
        );
        for (list, part) in [
            ("", "at least one"),
            ("localhost:9092", "not NAME://HOST:PORT"),
            ("A://host", "not NAME://HOST:PORT"),
            ("A://host:99999", "not a port"),
            ("A://host:x", "not a port"),
            ("A://::1:9092", "not NAME://HOST:PORT"),
            ("://h:1", "not the name"),
            ("A://h:1,A://h:2", "twice"),
            ("A://h:1,B://h:1", "twice"),
        ] {
            let error = texts(list).expect_err(list);
            assert!(error.contains(part), "{list}: {error}");
        }
        assert!(texts("A://h:0,B://h:0").is_ok(), "free ports differ");
    }

    #[test]
    fn only_plaintext_is_served_and_controllers_are_left_out() {
        let protocols =
            parse_protocols("CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,INSIDE:plaintext").expect("good");
        let serve = |list: &str| served(parse_listeners(list).expect("good"), "CONTROLLER", &protocols);
        let names = |list: &str| serve(list).map(|all| all.into_iter().map(|l| l.name).collect::<Vec<_>>());
        assert_eq!(names("PLAINTEXT://:9092,CONTROLLER://:9093"), Ok(vec!["PLAINTEXT".into()]));
        assert_eq!(names("INSIDE://:9092"), Ok(vec!["INSIDE".into()]));
        assert!(names("SSL://:9093").expect_err("not served").contains("only PLAINTEXT is served"));
        assert!(names("OTHER://:9093").expect_err("no protocol").contains("listener.security.protocol.map"));
        assert!(names("CONTROLLER://:9093").expect_err("none left").contains("one for clients"));
    }

    #[test]
    fn clients_are_told_what_is_advertised_else_what_is_listened_on() {
        let served = parse_listeners("PLAINTEXT://0.0.0.0:9092,B://inside:0").expect("good");
        let tell = |list: Option<&str>| advertised(list, &served, "CONTROLLER");
        let by =
            |name: &str, host: Option<&str>, port| Advertised { name: name.into(), host: host.map(Into::into), port };
        assert_eq!(tell(None), Ok(vec![by("PLAINTEXT", None, Some(9092)), by("B", Some("inside"), None)]));
        assert_eq!(
            tell(Some("PLAINTEXT://out.example:19092,CONTROLLER://x:1")),
            Ok(vec![by("PLAINTEXT", Some("out.example"), Some(19092)), by("B", Some("inside"), None)])
        );
        assert!(tell(Some("C://h:1")).expect_err("unknown").contains("no listener of its name"));
        assert!(tell(Some("B://0.0.0.0:1")).expect_err("wildcard").contains("name a host"));
    }
}
