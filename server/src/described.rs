//! Settings as clients are told of them: value, source, synonyms, type and documentation, as Kafka's `ConfigHelper` does.

use std::borrow::Cow;
use std::collections::BTreeSet;

use corelog_replication::metadata::ConfigMap;

use crate::config::key::{Effect, Key, Kind, Why};
use crate::config::resource::{Dynamic, is_changeable};
use crate::config::{Settings, of_listener, table};

/// Where a setting's value comes from, by Kafka's id (`DescribeConfigsResponse.ConfigSource`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConfigSource {
    /// It was set for the topic.
    Topic = 1,
    /// It was set for this broker while it ran.
    DynamicBroker = 2,
    /// It was set for all brokers while they ran.
    DynamicDefaultBroker = 3,
    /// `server.properties` or the command line gives it.
    StaticBroker = 4,
    /// Nobody set it.
    Default = 5,
    /// It is the level of a logger.
    BrokerLogger = 6,
    /// It was set for the telemetry subscription.
    ClientMetrics = 7,
    /// It was set for the group.
    Group = 8,
}

/// What gives a setting a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Synonym {
    pub(crate) name: Cow<'static, str>,
    pub(crate) value: Option<String>,
    pub(crate) source: ConfigSource,
}

/// One setting of a resource.
pub(crate) struct Described {
    /// Its name: that of `key`, or with the listener before it whose setting it is.
    pub(crate) name: Cow<'static, str>,
    pub(crate) key: &'static Key,
    /// `None` where there is none, or it is secret.
    pub(crate) value: Option<String>,
    pub(crate) source: ConfigSource,
    pub(crate) read_only: bool,
    /// What gives a value, the one that counts first.
    pub(crate) synonyms: Vec<Synonym>,
}

impl Described {
    /// Whether its value is kept secret.
    pub(crate) fn is_sensitive(&self) -> bool {
        self.key.kind == Kind::Password
    }
}

/// Every setting of a topic.
pub(crate) fn topic(settings: &Settings, dynamic: Dynamic<'_>, overrides: &ConfigMap) -> Vec<Described> {
    let defaults = settings.topic_defaults(dynamic);
    let described = table::topic_keys().iter().map(|key| {
        let mut synonyms = match key.synonyms.first() {
            Some(synonym) => broker_synonyms(settings, dynamic, synonym.name),
            None => Vec::new(),
        };
        let value = match overrides.get(key.name) {
            Some(value) => {
                let value = shown(key, value);
                synonyms.insert(0, synonym(key.name, key, &value, ConfigSource::Topic));
                value
            }
            None => shown(key, defaults.get(key.name).unwrap_or_default()),
        };
        described(key, Some(value), synonyms, false)
    });
    described.collect()
}

/// Every setting of a broker that runs; not what Kafka 4 does not have any more, unless somebody set it.
pub(crate) fn broker(settings: &Settings, dynamic: Dynamic<'_>) -> Vec<Described> {
    let is_told = |key: &&Key| key.effect != Effect::Inert(Why::Removed) || settings.given(key.name).is_some();
    let described = table::broker_keys().filter(is_told).map(|key| {
        let value = dynamic.get(key.name).or(settings.given(key.name)).or(key.default).map(|value| shown(key, value));
        described(key, value, broker_synonyms(settings, dynamic, key.name), !is_changeable(key))
    });
    let of_rows: Vec<Described> = described.collect();
    let given = settings.all_given().chain(dynamic.all()).map(|(name, _)| name);
    let listeners: BTreeSet<&str> = given.filter(|name| of_listener(name).is_some()).collect();
    let of_listeners = listeners.into_iter().filter_map(|name| {
        let (_, key) = of_listener(name)?;
        let synonyms = synonyms(settings, dynamic, &[(name, key), (key.name, key)]);
        Some(listeners_own(name, key, synonyms))
    });
    of_rows.into_iter().chain(of_listeners).collect()
}

/// The settings that were set for all brokers.
pub(crate) fn all_brokers(dynamic: Dynamic<'_>) -> Vec<Described> {
    let source = ConfigSource::DynamicDefaultBroker;
    let set = dynamic.cluster.into_iter().flatten();
    let described = set.filter_map(|(name, value)| {
        if let Some((_, key)) = of_listener(name) {
            return Some(listeners_own(name, key, vec![synonym(name.to_string(), key, value, source)]));
        }
        let key = table::broker_key(name)?;
        let synonyms = vec![synonym(key.name, key, value, source)];
        Some(described(key, Some(shown(key, value)), synonyms, !is_changeable(key)))
    });
    described.collect()
}

/// A listener's own limit. It is told as read-only although it can be changed, as Kafka does, which looks for the whole name
/// among those that can.
fn listeners_own(name: &str, key: &'static Key, synonyms: Vec<Synonym>) -> Described {
    let value = synonyms.first().and_then(|synonym| synonym.value.clone());
    Described { name: name.to_string().into(), ..described(key, value, synonyms, true) }
}

/// Every setting of a group or a telemetry subscription.
pub(crate) fn other(
    settings: &Settings,
    dynamic: Dynamic<'_>,
    keys: &'static [Key],
    source: ConfigSource,
    overrides: &ConfigMap,
) -> Vec<Described> {
    let described = keys.iter().map(|key| {
        // The broker's setting is the group's default, but is not told as a synonym by its own name.
        let of_broker =
            key.synonyms.iter().find_map(|synonym| dynamic.get(synonym.name).or(settings.given(synonym.name)));
        let set = overrides.get(key.name).map(|value| &**value);
        let value = set.or(of_broker).or(key.default).map(|value| shown(key, value));
        let mut synonyms = Vec::from_iter(set.map(|_| Synonym { name: key.name.into(), value: value.clone(), source }));
        if source == ConfigSource::Group {
            let default = of_broker.or(key.default).map(|value| shown(key, value));
            synonyms.push(Synonym { name: key.name.into(), value: default, source: ConfigSource::Default });
        }
        described(key, value, synonyms, false)
    });
    described.collect()
}

fn described(key: &'static Key, value: Option<String>, synonyms: Vec<Synonym>, read_only: bool) -> Described {
    let source = synonyms.first().map_or(ConfigSource::Default, |synonym| synonym.source);
    let is_secret = key.kind == Kind::Password;
    let hide = |synonym: Synonym| Synonym { value: synonym.value.filter(|_| !is_secret), ..synonym };
    let synonyms = synonyms.into_iter().map(hide).collect();
    Described { name: key.name.into(), key, value: value.filter(|_| !is_secret), source, read_only, synonyms }
}

/// What gives a broker's setting a value, layer by layer. What stands before the first of the setting's own name is left
/// out, as Kafka does.
fn broker_synonyms(settings: &Settings, dynamic: Dynamic<'_>, name: &str) -> Vec<Synonym> {
    let keys = names_of(name).iter().filter_map(|name| Some((*name, table::broker_key(name)?)));
    let all = synonyms(settings, dynamic, &keys.collect::<Vec<_>>());
    all.into_iter().skip_while(|synonym| synonym.name != name).collect()
}

/// What gives a value under one of the names, layer by layer.
fn synonyms(settings: &Settings, dynamic: Dynamic<'_>, names: &[(&str, &'static Key)]) -> Vec<Synonym> {
    let of_layer = |get: &dyn Fn(&str) -> Option<String>, source| {
        let set = names.iter().filter_map(|(name, key)| Some(synonym(name.to_string(), key, &get(name)?, source)));
        set.collect::<Vec<_>>()
    };
    let of_map = |map: Option<&ConfigMap>, name: &str| Some(map?.get(name)?.to_string());
    let mut all = of_layer(&|name| of_map(dynamic.broker, name), ConfigSource::DynamicBroker);
    all.extend(of_layer(&|name| of_map(dynamic.cluster, name), ConfigSource::DynamicDefaultBroker));
    all.extend(of_layer(&|name| settings.given(name).map(Into::into), ConfigSource::StaticBroker));
    let defaults = names.iter().filter(|(name, key)| *name == key.name);
    all.extend(defaults.filter_map(|(_, key)| Some(synonym(key.name, key, key.default?, ConfigSource::Default))));
    all
}

fn synonym(name: impl Into<Cow<'static, str>>, key: &'static Key, value: &str, source: ConfigSource) -> Synonym {
    Synonym { name: name.into(), value: Some(shown(key, value)), source }
}

/// A broker's setting and those that stand in for it (`DynamicBrokerConfig.brokerConfigSynonyms`).
fn names_of(name: &str) -> &'static [&'static str] {
    const GROUPS: [&[&str]; 4] = [
        &["log.roll.ms", "log.roll.hours"],
        &["log.roll.jitter.ms", "log.roll.jitter.hours"],
        &["log.retention.ms", "log.retention.minutes", "log.retention.hours"],
        &["log.flush.interval.ms", "log.flush.scheduler.interval.ms"],
    ];
    if let Some(group) = GROUPS.into_iter().find(|group| group.contains(&name)) {
        return group;
    }
    table::broker_key(name).map_or(&[], |key| std::slice::from_ref(&key.name))
}

/// A value as Kafka would print it after parsing it.
fn shown(key: &Key, value: &str) -> String {
    let value = value.trim();
    match key.kind {
        Kind::Boolean => value.to_ascii_lowercase(),
        Kind::List | Kind::ListOf(_) | Kind::Replicas => crate::config::key::items(value).collect::<Vec<_>>().join(","),
        Kind::Int(..) | Kind::Long(..) | Kind::Short(..) | Kind::GzipLevel => {
            value.parse::<i64>().map_or_else(|_| value.into(), |number| number.to_string())
        }
        _ => value.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Given;

    fn find<'a>(described: &'a [Described], name: &str) -> &'a Described {
        described.iter().find(|described| described.key.name == name).expect("listed")
    }

    fn layer(pairs: &[(&str, &str)]) -> ConfigMap {
        pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
    }

    #[test]
    fn a_topics_setting_says_where_it_comes_from_and_what_would_come_next() {
        let settings = Settings::new(&[
            Given::from_flag("t", "log.retention.ms", "1000"),
            Given::from_flag("t", "log.segment.bytes", "2097152"),
        ])
        .expect("good");
        let (broker, cluster) = (layer(&[("log.segment.bytes", "3145728")]), layer(&[("log.retention.ms", "2000")]));
        let dynamic = Dynamic { broker: Some(&broker), cluster: Some(&cluster) };
        let described = topic(&settings, dynamic, &layer(&[("flush.messages", " 7 "), ("preallocate", "TRUE")]));
        let of = |name: &str| {
            let found = find(&described, name);
            let synonyms: Vec<_> =
                found.synonyms.iter().map(|s| (&*s.name, s.value.as_deref().unwrap_or(""), s.source)).collect();
            (found.value.as_deref().unwrap_or("").to_string(), found.source, format!("{synonyms:?}"))
        };
        let (value, source, synonyms) = of("flush.messages");
        assert_eq!((value.as_str(), source), ("7", ConfigSource::Topic));
        assert!(synonyms.contains("(\"log.flush.interval.messages\", \"1\", Default)"), "{synonyms}");
        assert_eq!(of("preallocate").0, "true");
        assert_eq!((of("retention.ms").0.as_str(), of("retention.ms").1), ("2000", ConfigSource::DynamicDefaultBroker));
        assert_eq!(of("segment.bytes").1, ConfigSource::DynamicBroker);
        let synonyms = &find(&described, "segment.bytes").synonyms;
        assert_eq!(synonyms.iter().map(|s| s.source as i8).collect::<Vec<_>>(), [2, 4, 5]);
        assert_eq!(of("index.interval.bytes").1, ConfigSource::Default);
        // What is given under another name is left out, as Kafka does.
        assert_eq!(find(&described, "segment.ms").synonyms, []);
    }

    #[test]
    fn a_brokers_secret_is_not_told_and_what_needs_a_restart_is_read_only() {
        let settings = Settings::new(&[Given::from_flag("t", "ssl.key.password", "hush")]).expect("good");
        let described = broker(&settings, Dynamic::default());
        let password = find(&described, "ssl.key.password");
        assert!(password.is_sensitive() && password.value.is_none());
        assert!(password.synonyms.iter().all(|synonym| synonym.value.is_none()));
        assert!(find(&described, "num.partitions").read_only && find(&described, "listeners").read_only);
        assert!(!find(&described, "log.retention.ms").read_only);
        assert!(!described.iter().any(|setting| setting.key.name == "zookeeper.connect"), "Kafka 4 has none");
    }

    #[test]
    fn a_groups_setting_tells_its_default_beside_what_was_set() {
        let settings =
            Settings::new(&[Given::from_flag("t", "group.consumer.session.timeout.ms", "50000")]).expect("good");
        let set = layer(&[("consumer.heartbeat.interval.ms", "6000")]);
        let source = ConfigSource::Group;
        let described = other(&settings, Dynamic::default(), table::group_keys(), source, &set);
        let of = |name: &str| {
            let found = find(&described, name);
            found.synonyms.iter().map(|s| (s.value.clone().unwrap_or_default(), s.source)).collect::<Vec<_>>()
        };
        assert_eq!(of("consumer.session.timeout.ms"), [("50000".into(), ConfigSource::Default)]);
        let expected = [("6000".into(), source), ("5000".into(), ConfigSource::Default)];
        assert_eq!(of("consumer.heartbeat.interval.ms"), expected);
    }
}
