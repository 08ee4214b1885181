//! The settings of a topic as the store takes them.

use std::collections::BTreeMap;

use corelog_engine::batch::TimestampType;
use corelog_engine::log::{CleanupPolicy, LogConfig};
use corelog_replication::metadata::ConfigMap;

use crate::config::resource::Dynamic;
use crate::config::{Settings, TopicConfig, TopicDefaults};

/// A topic's settings, typed. What the metadata has was checked when it was set; should it not pass any more, since it comes
/// from elsewhere, the topic is served with the broker's settings.
pub(crate) fn resolve(defaults: &TopicDefaults, topic: &str, overrides: Option<&ConfigMap>) -> TopicConfig {
    let none = BTreeMap::new();
    defaults.resolve(overrides.unwrap_or(&none)).unwrap_or_else(|reason| {
        tracing::error!(topic, reason, "the topic's settings cannot be used; it is served with the broker's");
        defaults.resolve(&none).expect("the broker's settings were checked when they were set")
    })
}

/// A topic's settings as its logs take them, under the settings of the broker that were changed since it started.
pub(crate) fn log_config(settings: &Settings, dynamic: Dynamic<'_>, topic: &TopicConfig) -> LogConfig {
    LogConfig {
        segment_bytes: topic.segment_bytes,
        // What may not stay uncompacted for longer has to be in a complete segment by then (`LogConfig.maxSegmentMs` of Kafka).
        segment_ms: match topic.cleanup.compact {
            true => topic.segment_ms.min(topic.max_compaction_lag_ms),
            false => topic.segment_ms,
        },
        segment_jitter_ms: topic.segment_jitter_ms,
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
        min_cleanable_ppm: topic.min_cleanable_ppm,
        min_compaction_lag_ms: topic.min_compaction_lag_ms,
        max_compaction_lag_ms: topic.max_compaction_lag_ms,
        delete_retention_ms: topic.delete_retention_ms,
        flush_messages: topic.flush_messages,
        flush_ms: topic.flush_ms,
        max_batch_bytes: topic.batch_bytes_max,
        compression: topic.compression,
        timestamp_type: if topic.log_append_time { TimestampType::LogAppendTime } else { TimestampType::CreateTime },
        timestamp_before_max_ms: topic.timestamp_before_max_ms,
        timestamp_after_max_ms: topic.timestamp_after_max_ms,
        file_delete_delay_ms: topic.file_delete_delay_ms,
        producer_expiration_ms: settings.producer_expiration_ms(dynamic),
        check_compressed: settings.engine.validate_compressed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_the_store() {
        let settings = Settings::new(&[]).expect("good");
        let topic = resolve(&settings.topics, "t", None);
        let dynamic = Dynamic { broker: None, cluster: None };
        assert_eq!(log_config(&settings, dynamic, &topic), LogConfig::default());
    }
}
