//! Which metrics a client is asked for (KIP-714): the subscriptions are the settings of the `client-metrics` resources.
//!
//! What clients send is checked as Kafka does and kept nowhere: there is no receiver of metrics, which in Kafka is a plug-in.
//! Of a client it is remembered when it asked and sent, so that it does so no oftener than it is told to (`instances`). What is
//! wanted of it is found anew for each request, so that a changed subscription counts from the next one on.

pub(crate) mod instances;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::SocketAddr;

use corelog_replication::metadata::{ClusterImage, ConfigMap, ResourceType};
use uuid::Uuid;

use crate::config::key::items;
use crate::groups::compile_expression;
use crate::protocol::Text;

/// How often a client sends where no subscription says, `ClientMetricsConfigs.INTERVAL_MS_DEFAULT`.
const INTERVAL_MS_DEFAULT: i32 = 300_000;
/// Stands for all metrics.
const ALL_METRICS: &str = "*";
/// The longest name and version of a client's software that are remembered, in bytes.
const SOFTWARE_BYTES_MAX: usize = 256;
/// What a subscription may tell clients apart by.
const SELECTORS: [&str; 6] = [
    "client_instance_id",
    "client_id",
    "client_software_name",
    "client_software_version",
    "client_source_address",
    "client_source_port",
];

/// Who is at the other end of a connection.
#[derive(Debug)]
pub(crate) struct Peer {
    /// From where it speaks.
    pub(crate) addr: SocketAddr,
    /// Name and version of its software, once it has told them with ApiVersions (KIP-511).
    software: RefCell<(Text, Text)>,
}

impl Peer {
    /// One that has said nothing yet.
    pub(crate) fn new(addr: SocketAddr) -> Peer {
        Peer { addr, software: RefCell::default() }
    }

    /// Remembers its software.
    pub(crate) fn is_of(&self, name: &Text, version: &Text) {
        if name.len() + version.len() <= SOFTWARE_BYTES_MAX {
            *self.software.borrow_mut() = (name.detached(), version.detached());
        }
    }

    /// What a selector is compared with.
    fn fact(&self, selector: &str, client_id: &Text, instance: Uuid) -> Text {
        match selector {
            "client_instance_id" => Text::from(kafka_uuid(instance)),
            "client_id" => client_id.clone(),
            "client_software_name" => self.software.borrow().0.clone(),
            "client_software_version" => self.software.borrow().1.clone(),
            "client_source_address" => Text::from(self.addr.ip().to_string()),
            _ => Text::from(self.addr.port().to_string()),
        }
    }
}

/// What a client is asked for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Wanted {
    /// Stands for the rest: what a client brings back with its metrics.
    pub(crate) subscription_id: i32,
    /// How often, in milliseconds.
    pub(crate) interval_ms: i32,
    /// The beginnings of the names of metrics; none for none, `*` for all.
    pub(crate) metrics: Vec<Text>,
}

/// What all subscriptions that match a client ask of it together: every metric, at the shortest of their intervals.
pub(crate) fn wanted(image: &ClusterImage, peer: &Peer, client_id: &Text, instance: Uuid) -> Wanted {
    let mut metrics = BTreeSet::new();
    let mut interval_ms = INTERVAL_MS_DEFAULT;
    let subscriptions = image.config_resources(ResourceType::ClientMetrics);
    for settings in subscriptions.filter_map(|name| image.configs(ResourceType::ClientMetrics, name)) {
        let get = |name: &str| settings.get(name).map_or("", |value| &**value);
        if matches(get("match"), |selector| peer.fact(selector, client_id, instance)) {
            metrics.extend(items(get("metrics")));
            interval_ms = interval_ms.min(get("interval.ms").trim().parse().unwrap_or(INTERVAL_MS_DEFAULT));
        }
    }
    if metrics.contains(ALL_METRICS) {
        metrics = BTreeSet::from([ALL_METRICS]);
    }
    Wanted {
        subscription_id: subscription_id(&metrics, interval_ms, instance),
        interval_ms,
        metrics: metrics.into_iter().map(Text::from).collect(),
    }
}

/// Whether a client obeys every pattern of a list.
fn matches(patterns: &str, fact: impl Fn(&str) -> Text) -> bool {
    items(patterns).all(|item| {
        // It was checked when it was set; a pattern that is none matches nobody.
        parse(item).is_ok_and(|(selector, pattern)| pattern.is_match(&fact(selector)))
    })
}

/// Reads `selector=pattern`; the error is Kafka's sentence.
fn parse(item: &str) -> Result<(&str, regex::Regex), String> {
    let illegal = || format!("Illegal client matching pattern: {item}");
    let (selector, pattern) = item.split_once('=').ok_or_else(illegal)?;
    let selector = selector.trim();
    if !SELECTORS.contains(&selector) {
        return Err(illegal());
    }
    Ok((selector, compile_expression(pattern.trim()).map_err(|_| illegal())?))
}

/// Whether a subscription may have these settings.
pub(crate) fn check(settings: &ConfigMap) -> Result<(), String> {
    let patterns = settings.get("match").map_or("", |value| &**value);
    items(patterns).try_for_each(|item| parse(item).map(drop))
}

/// Changes with what is asked for, and differs from client to client.
fn subscription_id(metrics: &BTreeSet<&str>, interval_ms: i32, instance: Uuid) -> i32 {
    let (high, low) = instance.as_u64_pair();
    let client = high ^ low;
    let told = metrics.iter().flat_map(|metric| metric.bytes().chain([b','])).chain(interval_ms.to_be_bytes());
    // FNV-1a: it only has to differ.
    let hash = told.fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    (hash ^ (client ^ (client >> 32)) as u32) as i32
}

/// An id as Kafka prints it: base64 for URLs, without padding.
fn kafka_uuid(id: Uuid) -> String {
    corelog_engine::TopicId(id).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_match(patterns: &str) -> Result<(), String> {
        check(&ConfigMap::from([("match".into(), patterns.into())]))
    }

    #[test]
    fn patterns_name_a_selector_and_an_expression() {
        assert_eq!(check_match("client_id=a.*, client_source_port=9[0-9]+"), Ok(()));
        assert_eq!(check_match(""), Ok(()));
        for wrong in ["client_id", "id=a", "client_id=(", "=x"] {
            assert_eq!(check_match(wrong), Err(format!("Illegal client matching pattern: {wrong}")));
        }
    }

    #[test]
    fn a_client_obeys_all_patterns_with_the_whole_of_what_it_is() {
        let peer = Peer::new("10.1.2.3:456".parse().expect("an address"));
        peer.is_of(&"apache-kafka-java".into(), &"4.1.1".into());
        let instance = Uuid::from_u128(7);
        let of = |patterns: &str| matches(patterns, |selector| peer.fact(selector, &"me".into(), instance));
        assert!(of("") && of("client_id=m.") && of("client_software_name=apache.*,client_software_version=4\\..*"));
        assert!(of("client_source_address=10\\..*,client_source_port=456"));
        assert!(of(&format!("client_instance_id={}", kafka_uuid(instance))));
        assert!(!of("client_id=m") && !of("client_id=me,client_source_port=4"));
        // What is too long to keep is not kept.
        peer.is_of(&"x".repeat(300).into(), &"1".into());
        assert!(of("client_software_version=4.*"));
    }
}
