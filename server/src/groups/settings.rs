//! The settings of groups, typed.

use corelog_replication::metadata::ConfigMap;

/// `group.*` and `offsets.*`.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupSettings {
    /// `group.initial.rebalance.delay.ms`.
    pub initial_rebalance_delay_ms: i32,
    /// `group.max.size`.
    pub size_max: usize,
    /// `group.min.session.timeout.ms`.
    pub session_timeout_ms_min: i32,
    /// `group.max.session.timeout.ms`.
    pub session_timeout_ms_max: i32,
    /// `offset.metadata.max.bytes`.
    pub offset_metadata_bytes_max: usize,
    /// `offsets.retention.minutes`, in milliseconds.
    pub offsets_retention_ms: i64,
    /// `offsets.retention.check.interval.ms`.
    pub offsets_retention_check_ms: u64,
    /// `offsets.topic.num.partitions`.
    pub offsets_partitions: i32,
    /// `offsets.topic.segment.bytes`.
    pub offsets_segment_bytes: i32,
    /// `group.consumer.session.timeout.ms`.
    pub consumer_session_timeout_ms: i32,
    /// `group.consumer.heartbeat.interval.ms`.
    pub consumer_heartbeat_interval_ms: i32,
    /// `group.consumer.min.session.timeout.ms` and `group.consumer.max.session.timeout.ms`.
    pub consumer_session_timeout_ms_bounds: (i32, i32),
    /// `group.consumer.min.heartbeat.interval.ms` and `group.consumer.max.heartbeat.interval.ms`.
    pub consumer_heartbeat_interval_ms_bounds: (i32, i32),
    /// `group.consumer.max.size`.
    pub consumer_size_max: usize,
    /// `group.consumer.assignors`, the default first.
    pub consumer_assignors: Vec<Assignor>,
    /// `group.consumer.migration.policy` lets classic groups become consumer groups.
    pub upgrade: bool,
    /// `group.consumer.migration.policy` lets consumer groups become classic groups.
    pub downgrade: bool,
    /// `group.consumer.regex.refresh.interval.ms`.
    pub regex_refresh_ms: i64,
    /// `group.coordinator.rebalance.protocols` has `consumer`.
    pub consumer_protocol: bool,
}

/// A group's own session timeout.
pub const CONSUMER_SESSION_TIMEOUT_MS: &str = "consumer.session.timeout.ms";
/// A group's own interval of heartbeats.
pub const CONSUMER_HEARTBEAT_INTERVAL_MS: &str = "consumer.heartbeat.interval.ms";

impl GroupSettings {
    /// The session timeout and the heartbeat interval of members of a consumer group: its own, else the broker's.
    pub fn consumer_times(&self, own: Option<&ConfigMap>) -> (i32, i32) {
        let own = |name: &str| own.and_then(|own| own.get(name)).and_then(|text| text.trim().parse().ok());
        (
            own(CONSUMER_SESSION_TIMEOUT_MS).unwrap_or(self.consumer_session_timeout_ms),
            own(CONSUMER_HEARTBEAT_INTERVAL_MS).unwrap_or(self.consumer_heartbeat_interval_ms),
        )
    }

    /// Whether members of a consumer group may have this session timeout and this interval of heartbeats; the sentences are
    /// those of Kafka's `GroupConfig.validate`. `prefix` is what stands before the names of the two settings that are
    /// checked: nothing for a group's own, `group.` for the broker's.
    pub fn check_consumer_times(&self, prefix: &str, session_ms: i32, heartbeat_ms: i32) -> Result<(), String> {
        let times = [
            (CONSUMER_HEARTBEAT_INTERVAL_MS, heartbeat_ms, self.consumer_heartbeat_interval_ms_bounds),
            (CONSUMER_SESSION_TIMEOUT_MS, session_ms, self.consumer_session_timeout_ms_bounds),
        ];
        for (name, ms, (least, most)) in times {
            let kind = name.trim_start_matches("consumer.");
            if ms < least {
                return Err(format!("{prefix}{name} must be greater than or equal to group.consumer.min.{kind}"));
            }
            if ms > most {
                return Err(format!("{prefix}{name} must be less than or equal to group.consumer.max.{kind}"));
            }
        }
        if session_ms <= heartbeat_ms {
            let (session, heartbeat) = (CONSUMER_SESSION_TIMEOUT_MS, CONSUMER_HEARTBEAT_INTERVAL_MS);
            return Err(format!("{prefix}{session} must be greater than {prefix}{heartbeat}"));
        }
        Ok(())
    }
}

/// An assignor of the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Assignor {
    /// As even as can be over all topics, and as little moved as can be.
    Uniform,
    /// Topic by topic in ranges, so that partitions of the same index come together.
    Range,
}

impl Assignor {
    /// Kafka's name of it.
    pub fn name(self) -> &'static str {
        match self {
            Assignor::Uniform => "uniform",
            Assignor::Range => "range",
        }
    }

    /// The assignor of this name.
    pub fn by_name(name: &str) -> Option<Assignor> {
        [Assignor::Uniform, Assignor::Range].into_iter().find(|assignor| assignor.name() == name)
    }
}
