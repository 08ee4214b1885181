//! The settings of one topic: what was set for it, else what the broker's settings say, else the default.

use std::collections::BTreeMap;

use corelog_engine::batch::{Codec, Compression};
use corelog_replication::metadata::ConfigMap;

use super::key::{Key, items};
use super::table::{nearest, topic_key, topic_keys};

/// The topic settings as the broker's settings give them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicDefaults {
    values: BTreeMap<&'static str, String>,
}

/// What becomes of old segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CleanupPolicies {
    /// Retention deletes them.
    pub delete: bool,
    /// Only the newest record of each key is promised.
    pub compact: bool,
}

/// The settings of a topic that act, typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicConfig {
    /// `cleanup.policy`.
    pub cleanup: CleanupPolicies,
    /// `min.cleanable.dirty.ratio` in millionths.
    pub min_cleanable_ppm: u32,
    /// `min.compaction.lag.ms`.
    pub min_compaction_lag_ms: u64,
    /// `max.compaction.lag.ms`.
    pub max_compaction_lag_ms: u64,
    /// `delete.retention.ms`.
    pub delete_retention_ms: u64,
    /// `compression.type` with the codec's level; `None` for `producer`.
    pub compression: Option<Compression>,
    /// `file.delete.delay.ms`.
    pub file_delete_delay_ms: u64,
    /// `flush.messages`; 1 is durable.
    pub flush_messages: u64,
    /// `flush.ms`; `None` for Kafka's largest number.
    pub flush_ms: Option<u64>,
    /// `index.interval.bytes`.
    pub index_interval_bytes: u32,
    /// `max.message.bytes`.
    pub batch_bytes_max: u32,
    /// `message.timestamp.after.max.ms`.
    pub timestamp_after_max_ms: i64,
    /// `message.timestamp.before.max.ms`.
    pub timestamp_before_max_ms: i64,
    /// Whether records get the broker's timestamp (`message.timestamp.type`).
    pub log_append_time: bool,
    /// `min.insync.replicas`.
    pub min_insync_replicas: usize,
    /// `retention.bytes`; `None` for no bound.
    pub retention_bytes: Option<u64>,
    /// `retention.ms`; `None` for ever.
    pub retention_ms: Option<u64>,
    /// `segment.bytes`.
    pub segment_bytes: u64,
    /// `segment.index.bytes`.
    pub segment_index_bytes: u32,
    /// `segment.jitter.ms`.
    pub segment_jitter_ms: u64,
    /// `segment.ms`.
    pub segment_ms: u64,
}

impl Default for TopicDefaults {
    /// The defaults where the broker's settings say nothing.
    fn default() -> TopicDefaults {
        TopicDefaults::new(|_| None)
    }
}

impl TopicDefaults {
    /// The defaults under broker settings that `given` looks up; it gives only what is set.
    pub(super) fn new(given: impl Fn(&str) -> Option<String>) -> TopicDefaults {
        let value = |key: &'static Key| {
            let set = key.synonyms.iter().find_map(|synonym| {
                let value = given(synonym.name)?;
                Some(if synonym.unit == 1 { value } else { multiplied(&value, synonym.unit) })
            });
            (key.name, set.or(key.default.map(Into::into)).unwrap_or_default())
        };
        TopicDefaults { values: topic_keys().iter().map(value).collect() }
    }

    /// The default of a topic setting.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// Checks what the broker's settings give together, where their own bounds are wider (Kafka's `KafkaConfig.validateValues`); the
    /// error is Kafka's sentence.
    pub fn check_defaults(&self) -> Result<(), &'static str> {
        let number = |name: &str| self.get(name).and_then(|text| text.trim().parse::<i64>().ok()).unwrap_or_default();
        if number("segment.ms") < 1 {
            return Err("log.roll.ms must be greater than or equal to 1");
        }
        if number("segment.jitter.ms") < 0 {
            return Err("log.roll.jitter.ms must be greater than or equal to 0");
        }
        if number("retention.ms") == 0 {
            return Err("log.retention.ms must be unlimited (-1) or, greater or equal to 1");
        }
        Ok(())
    }

    /// Checks settings of a topic that were set for it; the error is a sentence for the client (INVALID_CONFIG).
    pub fn check(&self, overrides: &ConfigMap) -> Result<(), String> {
        self.resolve(overrides).map(|_| ())
    }

    /// The typed settings of a topic with these overrides.
    pub fn resolve(&self, overrides: &ConfigMap) -> Result<TopicConfig, String> {
        for (name, value) in overrides {
            let key = topic_key(name).ok_or_else(|| unknown(name))?;
            key.check(value)?;
        }
        let text = |name: &str| match overrides.get(name) {
            Some(value) => value.trim(),
            None => self.get(name).expect("every topic setting has a default"),
        };
        let number = |name: &str| text(name).parse::<i64>().expect("numbers were checked when they were given");
        let positive = |name: &str| u64::try_from(number(name)).expect("the setting's bound is 0 or higher");
        let small = |name: &str| u32::try_from(number(name)).expect("an int that is not negative");
        let bound = |name: &str| u64::try_from(number(name)).ok();

        let policies: Vec<&str> = items(text("cleanup.policy")).collect();
        let config = TopicConfig {
            cleanup: CleanupPolicies { delete: policies.contains(&"delete"), compact: policies.contains(&"compact") },
            min_cleanable_ppm: {
                let ratio: f64 =
                    text("min.cleanable.dirty.ratio").parse().expect("fractions were checked when they were given");
                (ratio * 1_000_000.0).round() as u32
            },
            min_compaction_lag_ms: positive("min.compaction.lag.ms"),
            max_compaction_lag_ms: positive("max.compaction.lag.ms"),
            delete_retention_ms: positive("delete.retention.ms"),
            compression: match text("compression.type") {
                "producer" => None,
                "uncompressed" => Some(Compression { codec: Codec::None, level: None }),
                name => {
                    let codec = name.parse().expect("the words that are allowed are codecs");
                    // -1 is the gzip library's own.
                    let level = match codec {
                        Codec::Gzip => i32::try_from(number("compression.gzip.level")).ok().filter(|&level| level > 0),
                        Codec::Zstd => i32::try_from(number("compression.zstd.level")).ok(),
                        _ => None,
                    };
                    Some(Compression { codec, level })
                }
            },
            file_delete_delay_ms: positive("file.delete.delay.ms"),
            flush_messages: positive("flush.messages"),
            flush_ms: bound("flush.ms").filter(|&ms| ms < i64::MAX as u64),
            index_interval_bytes: small("index.interval.bytes"),
            batch_bytes_max: small("max.message.bytes"),
            timestamp_after_max_ms: number("message.timestamp.after.max.ms"),
            timestamp_before_max_ms: number("message.timestamp.before.max.ms"),
            log_append_time: text("message.timestamp.type") == "LogAppendTime",
            min_insync_replicas: small("min.insync.replicas") as usize,
            retention_bytes: bound("retention.bytes"),
            retention_ms: bound("retention.ms"),
            segment_bytes: positive("segment.bytes"),
            segment_index_bytes: small("segment.index.bytes"),
            segment_jitter_ms: positive("segment.jitter.ms"),
            segment_ms: positive("segment.ms"),
        };
        if number("min.compaction.lag.ms") > number("max.compaction.lag.ms") {
            return Err(format!(
                "conflict topic config setting min.compaction.lag.ms ({}) > max.compaction.lag.ms ({})",
                number("min.compaction.lag.ms"),
                number("max.compaction.lag.ms")
            ));
        }
        if text("remote.storage.enable").eq_ignore_ascii_case("true") {
            return Err("Tiered Storage functionality is disabled in the broker. Topic cannot be configured with \
                        remote log storage."
                .into());
        }
        Ok(config)
    }
}

impl TopicConfig {
    /// Whether an append is acknowledged from stable storage.
    pub fn is_durable(&self) -> bool {
        self.flush_messages == 1
    }
}

fn unknown(name: &str) -> String {
    match nearest(name, topic_keys().iter().map(|key| key.name)) {
        Some(near) => format!("Unknown topic config name: {name}; did you mean {near}?"),
        None => format!("Unknown topic config name: {name}"),
    }
}

/// Hours or minutes in milliseconds; anything negative means -1, as Kafka takes it.
fn multiplied(value: &str, unit: i64) -> String {
    let number: i64 = value.parse().expect("numbers were checked when they were given");
    if number < 0 { "-1".into() } else { number.saturating_mul(unit).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overrides(pairs: &[(&str, &str)]) -> ConfigMap {
        pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
    }

    #[test]
    fn a_topic_without_settings_has_kafkas_defaults_and_is_durable() {
        let config = TopicDefaults::default().resolve(&ConfigMap::new()).expect("good");
        let expected = TopicConfig {
            cleanup: CleanupPolicies { delete: true, compact: false },
            min_cleanable_ppm: 500_000,
            min_compaction_lag_ms: 0,
            max_compaction_lag_ms: i64::MAX as u64,
            delete_retention_ms: 86_400_000,
            compression: None,
            file_delete_delay_ms: 60_000,
            flush_messages: 1,
            flush_ms: None,
            index_interval_bytes: 4096,
            batch_bytes_max: 1_048_588,
            timestamp_after_max_ms: 3_600_000,
            timestamp_before_max_ms: i64::MAX,
            log_append_time: false,
            min_insync_replicas: 1,
            retention_bytes: None,
            retention_ms: Some(604_800_000),
            segment_bytes: 1 << 30,
            segment_index_bytes: 10 << 20,
            segment_jitter_ms: 0,
            segment_ms: 604_800_000,
        };
        assert_eq!(config, expected);
        assert!(config.is_durable());
    }

    #[test]
    fn the_topics_own_setting_goes_before_the_brokers() {
        let defaults = TopicDefaults::new(|name| match name {
            "log.retention.hours" => Some("2".into()),
            "log.roll.hours" => Some("1".into()),
            "log.roll.ms" => Some("77".into()),
            "log.flush.interval.messages" => Some("1000".into()),
            _ => None,
        });
        let config =
            defaults.resolve(&overrides(&[("flush.messages", " 1 "), ("retention.bytes", "-5")])).expect("good");
        assert_eq!((config.retention_ms, config.segment_ms), (Some(7_200_000), 77));
        assert_eq!((config.flush_messages, config.retention_bytes), (1, None));
        let never = TopicDefaults::new(|name| (name == "log.retention.hours").then(|| "-1".into()));
        assert_eq!(never.resolve(&ConfigMap::new()).expect("good").retention_ms, None);
    }

    #[test]
    fn what_a_topic_cannot_have_is_refused_in_kafkas_words() {
        let cases: &[(&[(&str, &str)], &str)] = &[
            (&[("nope", "1")], "Unknown topic config name: nope"),
            (&[("retention.m", "1")], "did you mean retention.ms?"),
            (&[("retention.ms", "abc")], "Invalid value abc for configuration retention.ms: Not a number of type LONG"),
            (&[("retention.ms", "-2")], "Value must be at least -1"),
            (&[("segment.bytes", "10")], "Value must be at least 1048576"),
            (&[("cleanup.policy", "x")], "String must be one of: compact, delete"),
            (&[("min.compaction.lag.ms", "9"), ("max.compaction.lag.ms", "5")], "conflict topic config setting"),
            (&[("remote.storage.enable", "true")], "Tiered Storage functionality is disabled"),
        ];
        for (settings, sentence) in cases {
            let error = TopicDefaults::default().check(&overrides(settings)).expect_err("refused");
            assert!(error.contains(sentence), "{error}");
        }
        let empty = TopicDefaults::default().resolve(&overrides(&[("cleanup.policy", "")])).expect("allowed");
        assert_eq!(empty.cleanup, CleanupPolicies { delete: false, compact: false });
    }
}
