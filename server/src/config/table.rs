//! All settings by name, and the nearest name to one that is unknown.

use std::borrow::Cow;

use super::broker_keys::BROKER_KEYS;
use super::inert_keys::{INERT_KEYS, INERT_PREFIXES};
use super::key::{Key, Why};
use super::resource_keys::{CLIENT_METRICS_KEYS, GROUP_KEYS};
use super::topic_keys::TOPIC_KEYS;

/// The settings of the broker: first those that act.
pub fn broker_keys() -> impl Iterator<Item = &'static Key> {
    BROKER_KEYS.iter().chain(INERT_KEYS)
}

/// The settings of a topic, by name.
pub fn topic_keys() -> &'static [Key] {
    TOPIC_KEYS
}

/// The broker's setting of this name.
pub fn broker_key(name: &str) -> Option<&'static Key> {
    broker_keys().find(|key| key.name == name)
}

/// The topic's setting of this name.
pub fn topic_key(name: &str) -> Option<&'static Key> {
    TOPIC_KEYS.binary_search_by(|key| key.name.cmp(name)).ok().map(|at| &TOPIC_KEYS[at])
}

/// The settings of a group, by name.
pub fn group_keys() -> &'static [Key] {
    GROUP_KEYS
}

/// The group's setting of this name.
pub fn group_key(name: &str) -> Option<&'static Key> {
    GROUP_KEYS.iter().find(|key| key.name == name)
}

/// The settings of a telemetry subscription, by name.
pub fn client_metrics_keys() -> &'static [Key] {
    CLIENT_METRICS_KEYS
}

/// The telemetry subscription's setting of this name.
pub fn client_metrics_key(name: &str) -> Option<&'static Key> {
    CLIENT_METRICS_KEYS.iter().find(|key| key.name == name)
}

/// Why a name that is no row is accepted all the same: it belongs to a listener or plug-in by its prefix.
pub(super) fn inert_prefix(name: &str) -> Option<Why> {
    INERT_PREFIXES.iter().find(|(prefix, _)| name.starts_with(prefix)).map(|(_, why)| *why)
}

/// The sentence that helps with an unknown name: what a topic's setting is called for all topics, else the nearest name.
pub(super) fn hint(name: &str) -> Cow<'static, str> {
    if let Some(key) = topic_key(name) {
        return match key.synonyms.first() {
            Some(synonym) => format!("it is a topic's setting; for all topics it is {}", synonym.name).into(),
            None => "it is a topic's setting".into(),
        };
    }
    match nearest(name, broker_keys().map(|key| key.name)) {
        Some(near) => format!("did you mean {near}?").into(),
        None => "see the settings table in docs/operations.md".into(),
    }
}

/// The name with the fewest edits from `name`, if they are few for its length.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let longest = name.len() / 3 + 1;
    let measured = known.map(|candidate| (edits(name, candidate), candidate));
    measured.min_by_key(|(edits, _)| *edits).filter(|(edits, _)| *edits <= longest).map(|(_, candidate)| candidate)
}

/// Levenshtein's distance, in bytes; a name from outside counts with its first 100.
fn edits(a: &str, b: &str) -> usize {
    const NAME_BYTES_MAX: usize = 100;
    let a = &a.as_bytes()[..a.len().min(NAME_BYTES_MAX)];
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let substituted = diagonal + usize::from(*x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::config::key::{Kind, Update};

    /// Where we differ from Kafka, which the rows say.
    const OUR_DEFAULTS: [&str; 5] =
        ["flush.messages", "log.flush.interval.messages", "log.dir", "node.id", "process.roles"];

    #[test]
    fn names_are_unique_and_every_default_is_a_good_value() {
        let mut names = BTreeSet::new();
        for key in broker_keys() {
            assert!(names.insert(key.name), "{} has two rows", key.name);
        }
        assert!(TOPIC_KEYS.is_sorted_by_key(|key| key.name), "topic rows are searched by name");
        for key in broker_keys().chain(TOPIC_KEYS).chain(GROUP_KEYS).chain(CLIENT_METRICS_KEYS) {
            if let Some(default) = key.default {
                assert_eq!(key.check(default), Ok(default), "{}", key.name);
            }
        }
    }

    #[test]
    fn every_setting_of_apache_kafka_is_here_with_its_type_default_and_bounds() {
        let golden = include_str!("kafka-4.1.1.txt").lines().filter(|line| !line.starts_with('#'));
        let mut seen = 0;
        for line in golden {
            let [scope, name, kind, default, valid, update] = line.split('|').collect::<Vec<_>>()[..] else {
                panic!("six columns: {line}");
            };
            let key = if scope == "topic" { topic_key(name) } else { broker_key(name) };
            let key = key.unwrap_or_else(|| panic!("{scope} setting {name} is missing"));
            assert_eq!(key.kind.type_name(), kind.to_lowercase(), "{name}");
            if !OUR_DEFAULTS.contains(&name) {
                let ours = key.default.unwrap_or("null");
                let null = ours == "null" && default == "<none>";
                assert!(
                    null || ours.eq_ignore_ascii_case(&default.replace("E308", "e308")),
                    "{name}: {ours} {default}"
                );
            }
            let bounds =
                valid.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).and_then(|v| v.split_once(",..."));
            if let (Some((low, high)), Kind::Short(min, max) | Kind::Int(min, max) | Kind::Long(min, max)) =
                (bounds, key.kind)
            {
                assert_eq!(low, min.to_string(), "{name}");
                assert!(high.is_empty() || high == format!(",{max}"), "{name}");
            }
            let expected = match update {
                "cluster-wide" | "topic" => Update::Cluster,
                "per-broker" => Update::Broker,
                _ => Update::Restart,
            };
            assert_eq!(key.update, expected, "{name}");
            seen += 1;
        }
        assert_eq!(seen, 369, "all rows of the file");
    }

    #[test]
    fn every_synonym_is_a_broker_setting_with_the_same_default() {
        for key in TOPIC_KEYS.iter().chain(GROUP_KEYS) {
            let values = key.synonyms.iter().filter_map(|synonym| {
                let row = broker_key(synonym.name).unwrap_or_else(|| panic!("{} has no row", synonym.name));
                let default = row.default?;
                Some(default.parse::<i64>().map_or(default.to_string(), |number| (number * synonym.unit).to_string()))
            });
            for default in values {
                assert_eq!(Some(default.as_str()), key.default, "{}", key.name);
            }
        }
    }

    #[test]
    fn a_wrong_name_is_told_the_nearest() {
        assert_eq!(hint("log.segment.byte"), "did you mean log.segment.bytes?");
        assert_eq!(hint("num.partition"), "did you mean num.partitions?");
        assert_eq!(hint("corelog.jurnal.bytes"), "did you mean corelog.journal.bytes?");
        assert_eq!(hint("retention.ms"), "it is a topic's setting; for all topics it is log.retention.ms");
        assert!(hint("something.quite.different.from.all").contains("docs/operations.md"));
        assert_eq!((edits("kitten", "sitting"), edits("", "abc"), edits("abc", "abc")), (3, 3, 0));
    }
}
