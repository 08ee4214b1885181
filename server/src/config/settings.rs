//! The settings of a process: every value given, checked against the table, and typed.

use std::collections::BTreeMap;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use corelog_engine::shard::CleanerConfig;
use corelog_replication::NodeId;

use super::connection_limits::{ConnectionLimits, of_listener};
use super::key::{Effect, Kind};
use super::listener::{self, Advertised, Listener};
use super::source::{ConfigError, Given, Origin};
use super::table::{broker_key, hint, inert_prefix};
use super::topic::TopicDefaults;
use crate::groups::settings::{Assignor, GroupSettings};

/// Everything that was set, or its default.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The broker.
    pub broker: BrokerSettings,
    /// The store.
    pub engine: EngineSettings,
    /// Groups.
    pub groups: GroupSettings,
    /// The settings of topics that do not say, as long as nothing was changed while the broker runs.
    pub topics: TopicDefaults,
    /// What was given, by name.
    given: BTreeMap<String, String>,
    /// What an operator should read at start.
    pub warnings: Vec<String>,
}

/// The broker's settings.
#[derive(Clone, Debug, PartialEq)]
pub struct BrokerSettings {
    /// `node.id`.
    pub node: NodeId,
    /// `listeners`, without those of controllers; at least one.
    pub listeners: Vec<Listener>,
    /// What clients are told of each, in the same order.
    pub advertised: Vec<Advertised>,
    /// `broker.rack`.
    pub rack: Option<String>,
    /// `auto.create.topics.enable`.
    pub auto_create_topics: bool,
    /// `delete.topic.enable`.
    pub delete_topics: bool,
    /// `num.partitions`.
    pub partitions: i32,
    /// `default.replication.factor`.
    pub replication_factor: i16,
    /// `fetch.max.bytes`.
    pub fetch_bytes_max: usize,
    /// `max.incremental.fetch.session.cache.slots`.
    pub fetch_sessions_max: usize,
    /// `socket.request.max.bytes`.
    pub request_bytes_max: usize,
    /// `max.request.partition.size.limit`.
    pub described_partitions_max: i32,
    /// `max.connections` and what goes with it.
    pub connection_limits: ConnectionLimits,
    /// `corelog.metrics.listen`; `None` for nowhere.
    pub metrics_listen: Option<SocketAddr>,
    /// `telemetry.max.bytes`.
    pub telemetry_bytes_max: i32,
    /// `corelog.connection.bytes`.
    pub connection_bytes: usize,
    /// `connections.max.idle.ms`; `None` never closes one.
    pub connection_idle_ms_max: Option<u64>,
    /// `metadata.log.max.record.bytes.between.snapshots`.
    pub metadata_log_bytes_max: u64,
}

/// The store's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineSettings {
    /// `log.dirs`, else `log.dir`.
    pub dir: PathBuf,
    /// `corelog.cores`; `None` for one shard per core.
    pub cores: Option<usize>,
    /// `corelog.pin`.
    pub pin: bool,
    /// `corelog.journal.bytes`.
    pub journal_bytes: u64,
    /// `corelog.arena.bytes`.
    pub arena_bytes: usize,
    /// `corelog.cache.bytes`.
    pub cache_bytes: usize,
    /// `corelog.checkpoint.interval.ms`.
    pub checkpoint_interval_ms: u64,
    /// `corelog.recycle.bytes`.
    pub recycle_bytes: u64,
    /// `log.retention.check.interval.ms`.
    pub retention_check_ms: u64,
    /// `log.cleaner.enable`, `log.cleaner.backoff.ms`, and what all shards together get of `log.cleaner.dedupe.buffer.size` and
    /// `log.cleaner.io.max.bytes.per.second`.
    pub cleaner: CleanerConfig,
    /// `producer.id.expiration.check.interval.ms`.
    pub producer_expiry_check_ms: u64,
    /// `producer.id.expiration.ms`.
    pub producer_expiration_ms: u64,
    /// `corelog.direct`.
    pub direct: bool,
    /// `corelog.validate.compressed`.
    pub validate_compressed: bool,
}

impl Settings {
    /// Checks and types what was given; later values replace earlier ones.
    pub fn new(given: &[Given]) -> Result<Settings, ConfigError> {
        let (values, warnings) = Values::check(given)?;
        let broker = values.broker()?;
        let topics = TopicDefaults::new(|name| values.set(name).map(Into::into));
        let contradicts = |names: &[&str], reason: &str| {
            let name = names.iter().find(|name| values.set(name).is_some()).unwrap_or(&names[0]);
            Err(values.invalid(name, reason.into()))
        };
        topics.check_defaults().or_else(|reason| contradicts(topic_time_keys(reason), reason))?;
        broker.connection_limits.check().or_else(|reason| contradicts(&["max.connections.per.ip"], reason))?;
        Ok(Settings {
            broker,
            engine: values.engine()?,
            groups: values.groups()?,
            topics,
            given: values.given.iter().map(|(name, setting)| (name.to_string(), setting.value.clone())).collect(),
            warnings,
        })
    }

    /// The settings of the broker that were given, with their values.
    pub fn all_given(&self) -> impl Iterator<Item = (&str, &str)> {
        self.given.iter().map(|(name, value)| (name.as_str(), value.trim()))
    }

    /// The value that was given for a setting of the broker.
    pub fn given(&self, name: &str) -> Option<&str> {
        self.given.get(name).map(|value| value.trim())
    }
}

/// The settings of which one gave what the sentence refuses.
fn topic_time_keys(reason: &str) -> &'static [&'static str] {
    match reason.split(' ').next() {
        Some("log.roll.ms") => &["log.roll.ms", "log.roll.hours"],
        Some("log.roll.jitter.ms") => &["log.roll.jitter.ms", "log.roll.jitter.hours"],
        _ => &["log.retention.ms", "log.retention.minutes", "log.retention.hours"],
    }
}

/// Checked values by name.
struct Values<'a> {
    given: BTreeMap<&'a str, &'a Given>,
}

impl<'a> Values<'a> {
    /// Checks every value; what has no effect is gathered in one warning.
    fn check(given: &'a [Given]) -> Result<(Values<'a>, Vec<String>), ConfigError> {
        let mut values = BTreeMap::new();
        let mut idle: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for setting in given {
            let key = broker_key(&setting.name).or_else(|| of_listener(&setting.name).map(|(_, key)| key));
            let why = match key {
                Some(key) => {
                    key.check(&setting.value).map_err(|reason| setting.invalid(reason))?;
                    match key.effect {
                        Effect::Acts => None,
                        Effect::Inert(why) => Some(why),
                        Effect::Refused(why) if !setting.value.trim().is_empty() => {
                            let reason = format!("{} cannot be honoured, since {why}; leave it out", setting.name);
                            return Err(setting.invalid(reason));
                        }
                        Effect::Refused(_) => None,
                    }
                }
                None => {
                    let hint = || ConfigError::Unknown {
                        name: setting.name.clone(),
                        origin: setting.origin.clone(),
                        hint: hint(&setting.name).into_owned(),
                    };
                    Some(inert_prefix(&setting.name).ok_or_else(hint)?)
                }
            };
            if let Some(why) = why {
                let names = idle.entry(why.to_string()).or_default();
                if !names.contains(&setting.name.as_str()) {
                    names.push(&setting.name);
                }
            }
            values.insert(setting.name.as_str(), setting);
        }
        let reasons: Vec<String> = idle.iter().map(|(why, names)| format!("{} ({why})", names.join(", "))).collect();
        let warnings = (!reasons.is_empty()).then(|| format!("settings without effect here: {}", reasons.join("; ")));
        Ok((Values { given: values }, warnings.into_iter().collect()))
    }

    /// The value that was given.
    fn set(&self, name: &str) -> Option<&'a str> {
        self.given.get(name).map(|setting| setting.value.trim())
    }

    /// The value given, else the default.
    fn text(&self, name: &str) -> Option<&'a str> {
        let key = broker_key(name).unwrap_or_else(|| panic!("setting {name} has no row"));
        assert_eq!(key.effect, Effect::Acts, "setting {name} is read, so its row says that it acts");
        self.set(name).or(key.default)
    }

    fn number<N: TryFrom<i64>>(&self, name: &str) -> Result<N, ConfigError> {
        let text = self.text(name).expect("numbers that are read have a default");
        let number: i64 = text.parse().expect("numbers were checked");
        N::try_from(number).map_err(|_| self.invalid(name, format!("Invalid value {text} for configuration {name}")))
    }

    /// A number of which a negative one means none.
    fn bound<N: TryFrom<i64>>(&self, name: &str) -> Option<N> {
        let number: i64 = self.text(name)?.parse().expect("numbers were checked");
        N::try_from(number).ok()
    }

    fn boolean(&self, name: &str) -> bool {
        debug_assert_eq!(broker_key(name).map(|key| key.kind), Some(Kind::Boolean));
        self.text(name).is_some_and(|text| text.eq_ignore_ascii_case("true"))
    }

    fn invalid(&self, name: &str, reason: String) -> ConfigError {
        match self.given.get(name) {
            Some(setting) => setting.invalid(reason),
            None => ConfigError::Invalid { name: name.into(), origin: Origin::Flag("default"), reason },
        }
    }

    fn broker(&self) -> Result<BrokerSettings, ConfigError> {
        self.check_roles()?;
        let (listeners, advertised) = self.listeners()?;
        let connection_limits = self.connection_limits(&listeners)?;
        Ok(BrokerSettings {
            node: self.node()?,
            listeners,
            advertised,
            rack: self.text("broker.rack").filter(|rack| !rack.is_empty()).map(Into::into),
            auto_create_topics: self.boolean("auto.create.topics.enable"),
            delete_topics: self.boolean("delete.topic.enable"),
            partitions: self.number("num.partitions")?,
            replication_factor: self.number("default.replication.factor")?,
            fetch_bytes_max: self.number("fetch.max.bytes")?,
            fetch_sessions_max: self.number("max.incremental.fetch.session.cache.slots")?,
            request_bytes_max: self.number("socket.request.max.bytes")?,
            described_partitions_max: self.number("max.request.partition.size.limit")?,
            connection_limits,
            metrics_listen: self.metrics_listen()?,
            telemetry_bytes_max: self.number("telemetry.max.bytes")?,
            connection_bytes: self.number("corelog.connection.bytes")?,
            connection_idle_ms_max: self.bound("connections.max.idle.ms"),
            metadata_log_bytes_max: self.number("metadata.log.max.record.bytes.between.snapshots")?,
        })
    }

    fn engine(&self) -> Result<EngineSettings, ConfigError> {
        Ok(EngineSettings {
            dir: self.dir()?,
            cores: self.bound("corelog.cores").filter(|&cores| cores > 0),
            pin: self.boolean("corelog.pin"),
            journal_bytes: self.number("corelog.journal.bytes")?,
            arena_bytes: self.number("corelog.arena.bytes")?,
            cache_bytes: self.number("corelog.cache.bytes")?,
            checkpoint_interval_ms: self.number("corelog.checkpoint.interval.ms")?,
            recycle_bytes: self.number("corelog.recycle.bytes")?,
            retention_check_ms: self.number("log.retention.check.interval.ms")?,
            cleaner: CleanerConfig {
                enabled: self.boolean("log.cleaner.enable"),
                backoff_ms: self.number("log.cleaner.backoff.ms")?,
                dedupe_bytes: self.bound("log.cleaner.dedupe.buffer.size").unwrap_or_default(),
                bytes_per_second: rate(self.text("log.cleaner.io.max.bytes.per.second").unwrap_or_default()),
            },
            producer_expiry_check_ms: self.number("producer.id.expiration.check.interval.ms")?,
            producer_expiration_ms: self.number("producer.id.expiration.ms")?,
            direct: self.boolean("corelog.direct"),
            validate_compressed: self.boolean("corelog.validate.compressed"),
        })
    }

    fn groups(&self) -> Result<GroupSettings, ConfigError> {
        let minutes: i64 = self.number("offsets.retention.minutes")?;
        let assignors = super::key::items(self.text("group.consumer.assignors").unwrap_or_default());
        let policy = self.text("group.consumer.migration.policy").unwrap_or_default().to_ascii_lowercase();
        let mut protocols = super::key::items(self.text("group.coordinator.rebalance.protocols").unwrap_or_default());
        let settings = GroupSettings {
            initial_rebalance_delay_ms: self.number("group.initial.rebalance.delay.ms")?,
            size_max: self.number("group.max.size")?,
            session_timeout_ms_min: self.number("group.min.session.timeout.ms")?,
            session_timeout_ms_max: self.number("group.max.session.timeout.ms")?,
            offset_metadata_bytes_max: self.number("offset.metadata.max.bytes")?,
            offsets_retention_ms: minutes * 60_000,
            offsets_retention_check_ms: self.number("offsets.retention.check.interval.ms")?,
            offsets_partitions: self.number("offsets.topic.num.partitions")?,
            offsets_segment_bytes: self.number("offsets.topic.segment.bytes")?,
            consumer_session_timeout_ms: self.number("group.consumer.session.timeout.ms")?,
            consumer_heartbeat_interval_ms: self.number("group.consumer.heartbeat.interval.ms")?,
            consumer_session_timeout_ms_bounds: self.bounds("group.consumer", "session.timeout.ms")?,
            consumer_heartbeat_interval_ms_bounds: self.bounds("group.consumer", "heartbeat.interval.ms")?,
            consumer_size_max: self.number("group.consumer.max.size")?,
            consumer_assignors: assignors.filter_map(Assignor::by_name).collect(),
            upgrade: policy == "upgrade" || policy == "bidirectional",
            downgrade: policy == "downgrade" || policy == "bidirectional",
            regex_refresh_ms: self.number("group.consumer.regex.refresh.interval.ms")?,
            consumer_protocol: protocols.any(|protocol| protocol == "consumer"),
        };
        let (session, heartbeat) = (settings.consumer_session_timeout_ms, settings.consumer_heartbeat_interval_ms);
        let checked = settings.check_consumer_times("group.", session, heartbeat);
        checked.map_err(|reason| self.invalid("group.consumer.session.timeout.ms", reason))?;
        Ok(settings)
    }

    /// The least and the most of a time, `PREFIX.min.KIND` and `PREFIX.max.KIND`.
    fn bounds(&self, prefix: &str, kind: &str) -> Result<(i32, i32), ConfigError> {
        let (min, max) = (format!("{prefix}.min.{kind}"), format!("{prefix}.max.{kind}"));
        let (least, most) = (self.number(&min)?, self.number(&max)?);
        if least > most {
            return Err(self.invalid(&max, format!("{max} must be greater than or equal to {min}")));
        }
        Ok((least, most))
    }

    fn metrics_listen(&self) -> Result<Option<SocketAddr>, ConfigError> {
        let name = "corelog.metrics.listen";
        let Some(text) = self.text(name).filter(|text| !text.is_empty()) else { return Ok(None) };
        let found = text
            .to_socket_addrs()
            .map_err(|error| error.to_string())
            .and_then(|mut found| found.next().ok_or_else(|| "the host has no address".into()));
        found
            .map(Some)
            .map_err(|reason| self.invalid(name, format!("{name}={text}: {reason}; it is given as HOST:PORT")))
    }

    /// A process that is only a broker has its controllers elsewhere, and a lone controller serves no clients.
    fn check_roles(&self) -> Result<(), ConfigError> {
        let roles = self.text("process.roles").unwrap_or_default();
        let both = ["broker", "controller"].iter().all(|role| roles.split(',').any(|given| given.trim() == *role));
        if both || roles.is_empty() {
            return Ok(());
        }
        let reason = format!("process.roles={roles}: this process is broker and controller at once; name both");
        Err(self.invalid("process.roles", reason))
    }

    /// `node.id`, or `broker.id` as older files have it.
    fn node(&self) -> Result<NodeId, ConfigError> {
        let node: i32 = self.number("node.id")?;
        let broker: i32 = self.number("broker.id")?;
        if broker < 0 {
            return Ok(NodeId(node));
        }
        if self.set("node.id").is_some() && broker != node {
            let reason = format!("broker.id={broker} contradicts node.id={node}");
            return Err(self.invalid("broker.id", reason));
        }
        Ok(NodeId(broker))
    }

    fn dir(&self) -> Result<PathBuf, ConfigError> {
        let given = self.text("log.dirs").filter(|dirs| !dirs.is_empty());
        let (name, dirs) = match given {
            Some(dirs) => ("log.dirs", dirs),
            None => ("log.dir", self.text("log.dir").expect("it has a default")),
        };
        let dirs: Vec<&str> = super::key::items(dirs).collect();
        match dirs[..] {
            [dir] => Ok(PathBuf::from(dir)),
            _ => Err(self.invalid(
                name,
                format!(
                    "{name} names {} directories; one is needed, and partitions are not spread over several",
                    dirs.len()
                ),
            )),
        }
    }

    fn connection_limits(&self, listeners: &[Listener]) -> Result<ConnectionLimits, ConfigError> {
        let mut limits = ConnectionLimits::new(
            self.number("max.connections")?,
            self.number("max.connections.per.ip")?,
            self.text("max.connections.per.ip.overrides").unwrap_or_default(),
            self.number("max.connection.creation.rate")?,
        );
        self.given.iter().for_each(|(name, setting)| limits.set_of_listener(name, &setting.value));
        // What Kafka takes where nothing is said: the listener of security.inter.broker.protocol.
        let between = self.text("inter.broker.listener.name").filter(|name| !name.is_empty()).unwrap_or("PLAINTEXT");
        limits.protected = (listeners.len() > 1).then(|| between.to_uppercase());
        Ok(limits)
    }

    fn listeners(&self) -> Result<(Vec<Listener>, Vec<Advertised>), ConfigError> {
        let text = |name: &str| self.text(name).unwrap_or_default();
        let wrong = |name: &'static str| move |reason: String| self.invalid(name, format!("{name}: {reason}"));
        let controllers = text("controller.listener.names");
        let protocols = listener::parse_protocols(text("listener.security.protocol.map"))
            .map_err(wrong("listener.security.protocol.map"))?;
        let all = listener::parse_listeners(text("listeners")).map_err(wrong("listeners"))?;
        let served = listener::served(all, controllers, &protocols).map_err(wrong("listeners"))?;
        let advertised = listener::advertised(self.text("advertised.listeners"), &served, controllers)
            .map_err(wrong("advertised.listeners"))?;
        let between = text("inter.broker.listener.name").to_uppercase();
        if !between.is_empty() && !served.iter().any(|listener| listener.name == between) {
            let reason = format!("inter.broker.listener.name={between} is not one of listeners");
            return Err(self.invalid("inter.broker.listener.name", reason));
        }
        Ok((served, advertised))
    }
}

impl Given {
    fn invalid(&self, reason: String) -> ConfigError {
        ConfigError::Invalid { name: self.name.clone(), origin: self.origin.clone(), reason }
    }
}

/// Bytes in a second; `None` for as many as there are, which is how Kafka takes its largest number.
pub(super) fn rate(text: &str) -> Option<u64> {
    let rate: f64 = text.parse().ok()?;
    (rate < u64::MAX as f64).then_some(rate.max(1.0) as u64)
}
