//! The settings of a topic as the store takes them, and as clients are told of them.

use std::collections::BTreeMap;

use corelog_engine::batch::TimestampType;
use corelog_engine::log::{CleanupPolicy, LogConfig};
use corelog_replication::metadata::ConfigMap;

use crate::config::{Settings, TopicConfig, table};

/// Where a setting's value comes from, by Kafka's id (`DescribeConfigsResponse.ConfigSource`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConfigSource {
    /// It was set for the topic.
    Topic = 1,
    /// The broker's settings give it.
    Broker = 4,
    /// Nobody set it.
    Default = 5,
}

/// One setting of a topic.
pub(crate) struct Described {
    pub(crate) name: &'static str,
    pub(crate) value: String,
    pub(crate) source: ConfigSource,
}

/// A topic's settings, typed. What the metadata has was checked when it was set; should it not pass any more, since it comes
/// from elsewhere, the topic is served with the broker's settings.
pub(crate) fn resolve(settings: &Settings, topic: &str, overrides: Option<&ConfigMap>) -> TopicConfig {
    let none = BTreeMap::new();
    settings.topics.resolve(overrides.unwrap_or(&none)).unwrap_or_else(|reason| {
        tracing::error!(topic, reason, "the topic's settings cannot be used; it is served with the broker's");
        settings.topics.resolve(&none).expect("the broker's settings were checked at its start")
    })
}

/// A topic's settings as its logs take them.
pub(crate) fn log_config(settings: &Settings, topic: &TopicConfig) -> LogConfig {
    LogConfig {
        segment_bytes: topic.segment_bytes,
        segment_ms: topic.segment_ms,
        index_interval_bytes: topic.index_interval_bytes,
        segment_index_bytes: topic.segment_index_bytes,
        retention_ms: topic.retention_ms,
        retention_bytes: topic.retention_bytes,
        cleanup_policy: match (topic.cleanup.delete, topic.cleanup.compact) {
            (true, true) => CleanupPolicy::CompactAndDelete,
            (true, false) => CleanupPolicy::Delete,
            (false, true) => CleanupPolicy::Compact,
            (false, false) => CleanupPolicy::Keep,
        },
        flush_messages: topic.flush_messages,
        flush_ms: topic.flush_ms,
        max_batch_bytes: topic.batch_bytes_max,
        timestamp_type: if topic.log_append_time { TimestampType::LogAppendTime } else { TimestampType::CreateTime },
        timestamp_before_max_ms: topic.timestamp_before_max_ms,
        timestamp_after_max_ms: topic.timestamp_after_max_ms,
        file_delete_delay_ms: topic.file_delete_delay_ms,
        check_compressed: settings.engine.validate_compressed,
    }
}

/// Every setting of a topic with its value and where that comes from.
pub(crate) fn describe(settings: &Settings, overrides: &ConfigMap) -> Vec<Described> {
    let described = table::topic_keys().iter().map(|key| {
        let of_broker = settings.topics.get(key.name);
        let (value, source) = match overrides.get(key.name) {
            Some(value) => (value.to_string(), ConfigSource::Topic),
            None if of_broker == Some(key.default.unwrap_or_default()) => {
                (of_broker.unwrap_or_default().into(), ConfigSource::Default)
            }
            None => (of_broker.unwrap_or_default().into(), ConfigSource::Broker),
        };
        Described { name: key.name, value, source }
    });
    described.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Given;

    #[test]
    fn a_setting_says_where_it_comes_from() {
        let settings = Settings::new(&[Given::from_flag("t", "log.retention.ms", "1000")]).expect("good");
        let overrides: ConfigMap = [("flush.messages".into(), "7".into())].into_iter().collect();
        let described = describe(&settings, &overrides);
        let of = |name: &str| {
            let found = described.iter().find(|described| described.name == name).expect("listed");
            (found.value.as_str(), found.source)
        };
        assert_eq!(of("flush.messages"), ("7", ConfigSource::Topic));
        assert_eq!(of("retention.ms"), ("1000", ConfigSource::Broker));
        assert_eq!(of("segment.bytes"), ("1073741824", ConfigSource::Default));

        let topic = resolve(&settings, "t", Some(&overrides));
        let log = log_config(&settings, &topic);
        assert_eq!((log.flush_messages, log.retention_ms, log.is_durable()), (7, Some(1000), false));
    }

    #[test]
    fn the_defaults_are_those_of_the_store() {
        let settings = Settings::new(&[]).expect("good");
        let topic = resolve(&settings, "t", None);
        assert_eq!(log_config(&settings, &topic), LogConfig::default());
    }
}
