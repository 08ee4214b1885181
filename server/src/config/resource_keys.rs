//! The settings of groups and of telemetry subscriptions, with Kafka's defaults and bounds.

use super::key::{INT_MAX, Key, Kind};
use super::topic_keys::same;

/// The rows of a group, by name.
#[rustfmt::skip]
pub(super) const GROUP_KEYS: &[Key] = &[
    Key::dynamic("consumer.heartbeat.interval.ms", Kind::Int(1, INT_MAX), "5000",
        "How often members of a consumer group are to send heartbeats.")
        .of(&[same("group.consumer.heartbeat.interval.ms")]),
    Key::dynamic("consumer.session.timeout.ms", Kind::Int(1, INT_MAX), "45000",
        "After how long without a heartbeat a member of a consumer group is taken out.")
        .of(&[same("group.consumer.session.timeout.ms")]),
    Key::dynamic("share.auto.offset.reset", Kind::Text, "latest", "Where a share group begins."),
    Key::dynamic("share.heartbeat.interval.ms", Kind::Int(1, INT_MAX), "5000",
        "How often members of a share group are to send heartbeats.")
        .of(&[same("group.share.heartbeat.interval.ms")]),
    Key::dynamic("share.isolation.level", Kind::OneOf(&["read_committed", "read_uncommitted"]), "read_uncommitted",
        "Whether a share group sees records of open transactions."),
    Key::dynamic("share.record.lock.duration.ms", Kind::Int(1000, INT_MAX), "30000",
        "How long a record stays with the member of a share group that fetched it.")
        .of(&[same("group.share.record.lock.duration.ms")]),
    Key::dynamic("share.session.timeout.ms", Kind::Int(1, INT_MAX), "45000",
        "After how long without a heartbeat a member of a share group is taken out.")
        .of(&[same("group.share.session.timeout.ms")]),
    Key::dynamic("streams.heartbeat.interval.ms", Kind::Int(1, INT_MAX), "5000",
        "How often members of a streams group are to send heartbeats.")
        .of(&[same("group.streams.heartbeat.interval.ms")]),
    Key::dynamic("streams.num.standby.replicas", Kind::Int(0, INT_MAX), "0", "How many standby tasks a streams group has.")
        .of(&[same("group.streams.num.standby.replicas")]),
    Key::dynamic("streams.session.timeout.ms", Kind::Int(1, INT_MAX), "45000",
        "After how long without a heartbeat a member of a streams group is taken out.")
        .of(&[same("group.streams.session.timeout.ms")]),
];

/// The rows of a telemetry subscription, by name.
#[rustfmt::skip]
pub(super) const CLIENT_METRICS_KEYS: &[Key] = &[
    Key::dynamic("interval.ms", Kind::Int(100, 3_600_000), "300000", "How often clients send the metrics."),
    Key::dynamic("match", Kind::List, "", "Which clients send them, as selector=pattern."),
    Key::dynamic("metrics", Kind::List, "", "The beginnings of the names of the metrics wanted."),
];
