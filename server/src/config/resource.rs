//! The settings that can change while the broker runs: which a resource may have, and what those of all layers together
//! give.
//!
//! A topic's setting is its own, else the broker's, else the default. The broker's is what was set for this broker, else for
//! all brokers, else in `server.properties`, each under its own name.

use corelog_engine::shard::CleanerConfig;
use corelog_replication::NodeId;
use corelog_replication::metadata::{ClusterImage, ConfigMap, MetadataError, Refusal, ResourceType};

use super::connection_limits::{ConnectionLimits, of_listener};
use super::key::{Effect, Key, Kind, Update};
use super::settings::{Settings, rate};
use super::table::{broker_key, client_metrics_key, group_key, topic_key};
use super::topic::TopicDefaults;
use crate::telemetry;

/// The settings that were changed while brokers run, of one broker.
#[derive(Clone, Copy, Default)]
pub struct Dynamic<'a> {
    /// Those of this broker.
    pub broker: Option<&'a ConfigMap>,
    /// Those of all brokers.
    pub cluster: Option<&'a ConfigMap>,
}

impl<'a> Dynamic<'a> {
    /// What the metadata has for a broker.
    pub fn of(image: &'a ClusterImage, node: NodeId) -> Dynamic<'a> {
        Dynamic {
            broker: image.configs(ResourceType::Broker, &node.0.to_string()),
            cluster: image.configs(ResourceType::Broker, ""),
        }
    }

    /// The value of a broker's setting.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        [self.broker, self.cluster].into_iter().flatten().find_map(|layer| layer.get(name)).map(|value| value.trim())
    }

    /// Every name and value, those of all brokers before those of this one, which count.
    pub fn all(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let layers = [self.cluster, self.broker].into_iter().flatten();
        layers.flatten().map(|(name, value)| (&**name, value.trim()))
    }
}

impl Settings {
    /// The settings of topics that do not say, under what was changed since.
    pub fn topic_defaults(&self, dynamic: Dynamic<'_>) -> TopicDefaults {
        TopicDefaults::new(|name| dynamic.get(name).or(self.given(name)).map(Into::into))
    }

    /// The most connections, under what was changed since.
    pub fn connection_limits(&self, dynamic: Dynamic<'_>) -> ConnectionLimits {
        const NAMES: [&str; 4] = [
            "max.connections",
            "max.connections.per.ip",
            "max.connections.per.ip.overrides",
            "max.connection.creation.rate",
        ];
        let is_limit = |name: &str| NAMES.contains(&name) || of_listener(name).is_some();
        if !dynamic.all().any(|(name, _)| is_limit(name)) {
            return self.broker.connection_limits.clone();
        }
        let text = |name: &str| {
            let default = broker_key(name).and_then(|key| key.default);
            dynamic.get(name).or(self.given(name)).or(default).unwrap_or_default()
        };
        let number = |name: &str| text(name).parse().unwrap_or(i32::MAX as u32);
        let [total, per_ip, overrides, rate] = NAMES;
        let (total, per_ip) = (number(total) as usize, number(per_ip) as usize);
        let mut limits = ConnectionLimits::new(total, per_ip, text(overrides), number(rate));
        limits.protected = self.broker.connection_limits.protected.clone();
        self.all_given().chain(dynamic.all()).for_each(|(name, value)| limits.set_of_listener(name, value));
        limits
    }

    /// For how long a producer that writes nothing is remembered, under what was changed since.
    pub fn producer_expiration_ms(&self, dynamic: Dynamic<'_>) -> u64 {
        let changed = dynamic.get("producer.id.expiration.ms").and_then(|text| text.trim().parse().ok());
        changed.unwrap_or(self.engine.producer_expiration_ms)
    }

    /// The settings of compaction for each of so many shards, under what was changed since.
    pub fn cleaner(&self, dynamic: Dynamic<'_>, shards: usize) -> CleanerConfig {
        let now = |name: &str| dynamic.get(name);
        let all = self.engine.cleaner;
        let changed = now("log.cleaner.io.max.bytes.per.second").map(rate);
        let bytes_per_second = changed.unwrap_or(all.bytes_per_second);
        let dedupe_bytes = now("log.cleaner.dedupe.buffer.size").and_then(|text| text.parse().ok());
        CleanerConfig {
            enabled: all.enabled,
            backoff_ms: now("log.cleaner.backoff.ms").and_then(|text| text.parse().ok()).unwrap_or(all.backoff_ms),
            dedupe_bytes: dedupe_bytes.unwrap_or(all.dedupe_bytes) / shards,
            bytes_per_second: bytes_per_second.map(|bytes| bytes.div_ceil(shards as u64)),
        }
    }

    /// Whether a resource may have these settings.
    pub fn check_resource(
        &self,
        image: &ClusterImage,
        resource: ResourceType,
        name: &str,
        configs: &ConfigMap,
    ) -> Result<(), MetadataError> {
        match resource {
            ResourceType::Topic => {
                let defaults = self.topic_defaults(Dynamic::of(image, self.broker.node));
                defaults.check(configs).map_err(|reason| MetadataError::new(Refusal::InvalidConfig, reason))
            }
            ResourceType::Broker => self.check_broker(image, name, configs),
            ResourceType::Group if name.is_empty() => Err(invalid_request("Default group resources are not allowed.")),
            ResourceType::Group => {
                check_rows(configs, group_key, "group config name")?;
                let invalid = |reason| MetadataError::new(Refusal::InvalidConfig, reason);
                let (session, heartbeat) = self.groups.consumer_times(Some(configs));
                self.groups.check_consumer_times("", session, heartbeat).map_err(invalid)
            }
            ResourceType::ClientMetrics if name.is_empty() => {
                Err(invalid_request("Default client metrics resources are not allowed."))
            }
            ResourceType::ClientMetrics => {
                // Kafka calls the request wrong here, where with groups and topics it is the setting.
                check_rows(configs, client_metrics_key, "client metrics configuration").map_err(|error| match error
                    .message
                    .contains("Not a number")
                {
                    true => error,
                    false => invalid_request(error.message),
                })?;
                telemetry::check(configs).map_err(|reason| MetadataError::new(Refusal::InvalidConfig, reason))
            }
        }
    }

    /// Kafka answers INVALID_REQUEST to a broker's setting that cannot be (KAFKA-13609).
    fn check_broker(&self, image: &ClusterImage, name: &str, configs: &ConfigMap) -> Result<(), MetadataError> {
        let is_for_all = name.is_empty();
        if !is_for_all && name.parse() != Ok(self.broker.node.0) {
            let message =
                format!("Unexpected broker id, expected {} or empty string, but received {name}", self.broker.node.0);
            return Err(invalid_request(message));
        }
        for (key, value) in configs {
            if let Some((_, row)) = of_listener(key) {
                row.check(value).map_err(invalid_request)?;
                continue;
            }
            let Some(row) = broker_key(key).filter(|row| is_changeable(row)) else {
                return Err(invalid_request(format!("Cannot update these configs dynamically: Set({key})")));
            };
            if is_for_all && row.update == Update::Broker {
                let message = format!(
                    "Cannot update these configs at default cluster level, broker id must be specified: Set({key})"
                );
                return Err(invalid_request(message));
            }
            row.check(value).map_err(invalid_request)?;
        }
        let layers = Dynamic { broker: Some(configs), cluster: None };
        let defaults = self.topic_defaults(layers);
        defaults.check_defaults().map_err(invalid_request)?;
        let now = Dynamic::of(image, self.broker.node);
        let then = match is_for_all {
            true => Dynamic { cluster: Some(configs), ..now },
            false => Dynamic { broker: Some(configs), ..now },
        };
        self.connection_limits(then).check_change(&self.broker.listeners).map_err(invalid_request)?;
        defaults.check(&ConfigMap::new()).map_err(invalid_request)
    }
}

/// Whether a broker's setting can change here while it runs: Kafka allows it, and what acts here follows.
pub fn is_changeable(key: &Key) -> bool {
    // A listener is bound once.
    key.update == Update::Cluster || key.update == Update::Broker && key.effect != Effect::Acts
}

/// The items of a list at its default; `None` for a setting that is no list.
pub fn list_default(defaults: &TopicDefaults, resource: ResourceType, name: &str) -> Option<String> {
    let key = match resource {
        ResourceType::Topic => topic_key(name),
        ResourceType::Broker => broker_key(name),
        ResourceType::Group => group_key(name),
        ResourceType::ClientMetrics => client_metrics_key(name),
    }?;
    if !matches!(key.kind, Kind::List | Kind::ListOf(_) | Kind::Replicas) {
        return None;
    }
    let default = if resource == ResourceType::Topic { defaults.get(name) } else { key.default };
    Some(default.unwrap_or_default().into())
}

fn check_rows(
    configs: &ConfigMap,
    row: impl Fn(&str) -> Option<&'static Key>,
    what: &str,
) -> Result<(), MetadataError> {
    let refused = |reason: String| MetadataError::new(Refusal::InvalidConfig, reason);
    for (name, value) in configs {
        let row = row(name).ok_or_else(|| refused(format!("Unknown {what}: {name}")))?;
        row.check(value).map_err(refused)?;
    }
    Ok(())
}

fn invalid_request(message: impl Into<String>) -> MetadataError {
    MetadataError::new(Refusal::InvalidRequest, message)
}
