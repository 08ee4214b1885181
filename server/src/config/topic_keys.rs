//! The settings of a topic, all that a 4.x broker has, with Kafka's defaults and bounds except where the sentence says so.

use super::key::{INT_MAX, Key, Kind, MAX, MIN, Synonym, Why};

/// The codecs of `compression.type`.
pub(super) const COMPRESSION_TYPES: &[&str] = &["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"];
/// The words of `cleanup.policy`.
pub(super) const CLEANUP_POLICIES: &[&str] = &["compact", "delete"];
/// The words of `message.timestamp.type`.
pub(super) const TIMESTAMP_TYPES: &[&str] = &["CreateTime", "LogAppendTime"];

pub(super) const HOUR_MS: i64 = 3_600_000;
pub(super) const MINUTE_MS: i64 = 60_000;

pub(super) const fn same(name: &'static str) -> Synonym {
    Synonym { name, unit: 1 }
}

/// The rows, by name.
#[rustfmt::skip]
pub(super) const TOPIC_KEYS: &[Key] = &[
    Key::dynamic("cleanup.policy", Kind::ListOf(CLEANUP_POLICIES), "delete",
        "Whether old segments are deleted (`delete`), or the newest record of each key is kept (`compact`), or both; the empty list \
         keeps everything.")
        .of(&[same("log.cleanup.policy")]),
    Key::dynamic("compression.gzip.level", Kind::GzipLevel, "-1", "The gzip level of `compression.type`.")
        .of(&[same("compression.gzip.level")]),
    Key::dynamic("compression.lz4.level", Kind::Int(1, 17), "9", "The lz4 level of `compression.type`.")
        .of(&[same("compression.lz4.level")]).inert(Why::OneLevel),
    Key::dynamic("compression.type", Kind::OneOf(COMPRESSION_TYPES), "producer",
        "The codec that batches are stored with, whatever the producer chose; `producer` keeps that, and costs nothing.")
        .of(&[same("compression.type")]),
    Key::dynamic("compression.zstd.level", Kind::Int(-131_072, 22), "3", "The zstd level of `compression.type`.")
        .of(&[same("compression.zstd.level")]),
    Key::dynamic("delete.retention.ms", Kind::Long(0, MAX), "86400000",
        "How long a tombstone outlives the compaction that first saw it.")
        .of(&[same("log.cleaner.delete.retention.ms")]),
    Key::dynamic("file.delete.delay.ms", Kind::Long(0, MAX), "60000", "How long the file of a deleted segment stays.")
        .of(&[same("log.segment.delete.delay.ms")]),
    Key::dynamic("flush.messages", Kind::Long(1, MAX), "1",
        "How many records may be unflushed. **1, the default here, acknowledges only what is on stable storage**; anything \
         larger (Kafka's default is 9223372036854775807) acknowledges from memory and leaves flushing to `flush.ms` and \
         the checkpoint.")
        .of(&[same("log.flush.interval.messages")]),
    Key::dynamic("flush.ms", Kind::Long(0, MAX), "9223372036854775807", "The longest time that a record stays unflushed.")
        .of(&[same("log.flush.interval.ms"), same("log.flush.scheduler.interval.ms")]),
    Key::dynamic("follower.replication.throttled.replicas", Kind::Replicas, "",
        "Replicas whose replication is throttled on the follower's side.").inert(Why::OneBroker),
    Key::dynamic("index.interval.bytes", Kind::Int(0, INT_MAX), "4096", "One index entry is made for so many bytes of log.")
        .of(&[same("log.index.interval.bytes")]),
    Key::dynamic("leader.replication.throttled.replicas", Kind::Replicas, "",
        "Replicas whose replication is throttled on the leader's side.").inert(Why::OneBroker),
    Key::dynamic("local.retention.bytes", Kind::Long(-2, MAX), "-2",
        "How much of a tiered partition stays on local disks; -2 takes `retention.bytes`.")
        .of(&[same("log.local.retention.bytes")]).inert(Why::NoTiers),
    Key::dynamic("local.retention.ms", Kind::Long(-2, MAX), "-2",
        "How long a tiered partition stays on local disks; -2 takes `retention.ms`.")
        .of(&[same("log.local.retention.ms")]).inert(Why::NoTiers),
    Key::dynamic("max.compaction.lag.ms", Kind::Long(1, MAX), "9223372036854775807",
        "The longest time that a record may escape compaction; segments are rolled accordingly.")
        .of(&[same("log.cleaner.max.compaction.lag.ms")]),
    Key::dynamic("max.message.bytes", Kind::Int(0, INT_MAX), "1048588", "The largest record batch, compressed, with its header.")
        .of(&[same("message.max.bytes")]),
    Key::dynamic("message.timestamp.after.max.ms", Kind::Long(0, MAX), "3600000",
        "How far ahead of the broker's clock a record's timestamp may be, with CreateTime.")
        .of(&[same("log.message.timestamp.after.max.ms")]),
    Key::dynamic("message.timestamp.before.max.ms", Kind::Long(0, MAX), "9223372036854775807",
        "How far behind the broker's clock a record's timestamp may be, with CreateTime.")
        .of(&[same("log.message.timestamp.before.max.ms")]),
    Key::dynamic("message.timestamp.type", Kind::OneOf(TIMESTAMP_TYPES), "CreateTime",
        "Whether a record keeps the producer's timestamp or gets the broker's.")
        .of(&[same("log.message.timestamp.type")]),
    Key::dynamic("min.cleanable.dirty.ratio", Kind::Double(0.0, 1.0), "0.5",
        "The share of uncompacted bytes at which a log is compacted.")
        .of(&[same("log.cleaner.min.cleanable.ratio")]),
    Key::dynamic("min.compaction.lag.ms", Kind::Long(0, MAX), "0", "How long a record stays uncompacted at least.")
        .of(&[same("log.cleaner.min.compaction.lag.ms")]),
    Key::dynamic("min.insync.replicas", Kind::Int(1, INT_MAX), "1",
        "How many replicas must be in sync for an append with `acks=-1`; at most the number of replicas counts.")
        .of(&[same("min.insync.replicas")]),
    Key::dynamic("preallocate", Kind::Boolean, "false",
        "Whether a segment's file is allocated when it is created; it always is, ahead of time.")
        .of(&[same("log.preallocate")]).inert(Why::Unneeded),
    Key::dynamic("remote.copy.lag.bytes", Kind::Long(-1, MAX), "0",
        "How many bytes behind the end segments are copied to the remote tier.").inert(Why::NoTiers),
    Key::dynamic("remote.copy.lag.ms", Kind::Long(-1, MAX), "0",
        "How long behind the end segments are copied to the remote tier.").inert(Why::NoTiers),
    Key::dynamic("remote.log.copy.disable", Kind::Boolean, "false", "Whether a tiered topic stops copying segments.")
        .inert(Why::NoTiers),
    Key::dynamic("remote.log.delete.on.disable", Kind::Boolean, "false",
        "Whether disabling tiered storage deletes what is remote.").inert(Why::NoTiers),
    Key::dynamic("remote.storage.enable", Kind::Boolean, "false", "Whether the topic is tiered; `true` is refused.")
        .inert(Why::NoTiers),
    Key::dynamic("retention.bytes", Kind::Long(MIN, MAX), "-1",
        "The size of a partition beyond which its oldest segments are deleted; negative for no bound.")
        .of(&[same("log.retention.bytes")]),
    Key::dynamic("retention.ms", Kind::Long(-1, MAX), "604800000",
        "The age of its newest record at which a segment is deleted; -1 for never.")
        .of(&[same("log.retention.ms"), Synonym { name: "log.retention.minutes", unit: MINUTE_MS },
            Synonym { name: "log.retention.hours", unit: HOUR_MS }]),
    Key::dynamic("segment.bytes", Kind::Int(1_048_576, INT_MAX), "1073741824",
        "A segment is rolled before it would grow beyond this.")
        .of(&[same("log.segment.bytes")]),
    Key::dynamic("segment.index.bytes", Kind::Int(4, INT_MAX), "10485760",
        "A segment is rolled when its offset index would outgrow this.")
        .of(&[same("log.index.size.max.bytes")]),
    Key::dynamic("segment.jitter.ms", Kind::Long(0, MAX), "0",
        "The most by which a roll by time is brought forward at random, so that segments do not roll all at once.")
        .of(&[same("log.roll.jitter.ms"), Synonym { name: "log.roll.jitter.hours", unit: HOUR_MS }]),
    Key::dynamic("segment.ms", Kind::Long(1, MAX), "604800000",
        "A segment is rolled when its first record is older than this.")
        .of(&[same("log.roll.ms"), Synonym { name: "log.roll.hours", unit: HOUR_MS }]),
    Key::dynamic("unclean.leader.election.enable", Kind::Boolean, "false",
        "Whether a replica out of sync may lead when no other is left, at the price of what it lacks.")
        .of(&[same("unclean.leader.election.enable")]).inert(Why::OneBroker),
];
