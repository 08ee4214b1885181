//! Everything a shard has to tell, as samples; runs on the shard.

use std::collections::BTreeMap;
use std::rc::Rc;

use corelog_engine::TopicPartition;

use super::exposition::{Family, Kind, Samples};
use crate::broker::ShardServer;

macro_rules! families {
    ($($id:ident = $kind:ident $name:literal $help:literal;)*) => {
        $(static $id: Family = Family { name: $name, kind: Kind::$kind, help: $help };)*
        /// Every family that a shard fills.
        #[cfg(test)]
        pub(super) static FAMILIES: &[&Family] = &[$(&$id),*];
    };
}

families! {
    REQUESTS = Histogram "corelog_request_seconds" "From a request's last byte to its answer, by API; the waiting of a fetch is part of it.";
    RECEIVED = Counter "corelog_received_bytes_total" "Bytes received from clients.";
    SENT = Counter "corelog_sent_bytes_total" "Bytes sent to clients.";
    CONNECTIONS = Gauge "corelog_connections" "Open connections.";
    ACCEPTED = Counter "corelog_connections_accepted_total" "Connections accepted.";
    REFUSED = Counter "corelog_connections_refused_total" "Connections refused by max.connections.per.ip (over max.connections they wait).";
    FULL_LISTENERS = Gauge "corelog_listeners_full" "Listeners that accept nobody, since there are as many connections as max.connections allows.";
    CONNECTION_MEMORY = Gauge "corelog_connection_memory_bytes" "Memory of requests and answers under way (corelog.connection.bytes bounds it).";
    SESSIONS = Gauge "corelog_fetch_sessions" "Fetch sessions.";
    BATCHES = Counter "corelog_appended_batches_total" "Record batches appended.";
    RECORDS = Counter "corelog_appended_records_total" "Records appended.";
    APPENDED = Counter "corelog_appended_bytes_total" "Bytes of record batches appended.";
    GROUP_SECONDS = Histogram "corelog_commit_group_seconds" "How long a durable write of the journal took, with the direct writes beside it.";
    JOURNAL_FULL_SECONDS = Histogram "corelog_journal_full_seconds" "How long commits waited for a checkpoint to make room in the journal, each time that it was full.";
    JOURNAL_WRITTEN = Counter "corelog_journal_bytes_total" "Bytes of segments that became durable through the journal.";
    DIRECT = Counter "corelog_direct_bytes_total" "Bytes of segments that were written durably at once.";
    SEGMENT = Counter "corelog_segment_bytes_total" "Bytes written to segments behind the appends.";
    JOURNAL_USED = Gauge "corelog_journal_used_bytes" "Bytes of the journal that a restart would read.";
    JOURNAL_CAPACITY = Gauge "corelog_journal_capacity_bytes" "Bytes that the journal has.";
    SEGMENTS_PREPARED = Counter "corelog_segments_prepared_total" "Files of segments that were made ready before the log rolled.";
    CHECKPOINTS = Counter "corelog_checkpoints_total" "Checkpoints.";
    READS = Counter "corelog_reads_total" "Reads of partitions, by where their first byte came from: memory or file.";
    READ_AHEAD = Counter "corelog_read_ahead_hits_total" "Reads from files whose bytes were under way or there already.";
    READ_FILE = Counter "corelog_read_file_bytes_total" "Bytes read from files for readers.";
    COMPACTIONS = Counter "corelog_compactions_total" "Logs compacted (cleanup.policy=compact).";
    COMPACTIONS_FAILED = Counter "corelog_compactions_failed_total" "Compactions that ended with an error; where a log is damaged it is not compacted again before the next start.";
    COMPACTION_BYTES = Counter "corelog_compaction_bytes_total" "Bytes of compacted segments, before and after.";
    DIRTY_RATIO = Gauge "corelog_compaction_dirty_ratio_max" "The share of uncompacted bytes of the dirtiest log.";
    DAMAGED = Counter "corelog_damaged_batches_total" "Damaged batches that readers came upon.";
    TAIL_MEMORY = Gauge "corelog_tail_memory_bytes" "Memory of what was appended last (corelog.cache.bytes bounds it).";
    BACKLOG = Gauge "corelog_backlog_bytes" "Bytes appended that wait for the disk.";
    DISK_OPERATIONS = Counter "corelog_disk_operations_total" "Disk operations that ended, by kind.";
    DISK_BYTES = Counter "corelog_disk_bytes_total" "Bytes read from and written to the disk.";
    DISK_ERRORS = Counter "corelog_disk_errors_total" "Disk operations that failed.";
    DISK_IN_FLIGHT = Gauge "corelog_disk_operations_in_flight" "Disk operations under way.";
    RING_ENTERS = Counter "corelog_disk_ring_enters_total" "System calls into the disk ring.";
    ARENA = Gauge "corelog_arena_bytes" "Registered memory for disk buffers, in all, free, and on huge pages.";
    PARTITIONS = Gauge "corelog_partitions" "Partitions.";
    HEALTHY = Gauge "corelog_shard_healthy" "1 while the shard can write, 0 once its directory has failed.";
    TOPIC_BATCHES = Counter "corelog_topic_produced_batches_total" "Record batches that clients produced.";
    TOPIC_RECORDS = Counter "corelog_topic_produced_records_total" "Records that clients produced.";
    TOPIC_BYTES_IN = Counter "corelog_topic_produced_bytes_total" "Bytes that clients produced.";
    TOPIC_BYTES_OUT = Counter "corelog_topic_fetched_bytes_total" "Bytes that clients fetched.";
    TOPIC_PRODUCE_ERRORS = Counter "corelog_topic_produce_errors_total" "Batches that were refused.";
    TOPIC_FETCH_ERRORS = Counter "corelog_topic_fetch_errors_total" "Partitions of fetches that got an error.";
    TOPIC_PARTITIONS = Gauge "corelog_topic_partitions" "Partitions of the topic.";
    TOPIC_SIZE = Gauge "corelog_topic_size_bytes" "Bytes of the topic's segments, as far as known without asking the disk.";
    TOPIC_UNFLUSHED = Gauge "corelog_topic_unflushed_records" "Records that are not on stable storage.";
}

/// What a shard has to tell.
pub(super) fn gather(server: &Rc<ShardServer>) -> Samples {
    let mut samples = Samples::default();
    let id = server.shard.id().0;
    requests(server, id, &mut samples);
    store(server, id, &mut samples);
    disk(server, id, &mut samples);
    topics(server, id, &mut samples);
    samples
}

fn requests(server: &ShardServer, shard: usize, samples: &mut Samples) {
    let counters = &server.counters;
    counters.each_api(|facts, api| {
        let histogram = api.seconds.get();
        if histogram.0.iter().any(|count| *count > 0) {
            samples.histogram(&REQUESTS, &[("api", &facts.name), ("shard", &shard)], histogram);
        }
    });
    samples.add(&RECEIVED, &[("shard", &shard)], counters.received_bytes.get());
    samples.add(&SENT, &[("shard", &shard)], counters.sent_bytes.get());
    samples.add(&ACCEPTED, &[("shard", &shard)], counters.accepted.get());
    samples.add(&REFUSED, &[("shard", &shard)], counters.refused.get());
    samples.add(&FULL_LISTENERS, &[("shard", &shard)], counters.full_listeners.get());
    samples.add(&CONNECTIONS, &[("shard", &shard)], server.live.get());
    samples.add(&CONNECTION_MEMORY, &[("shard", &shard)], server.memory.held());
    samples.add(&SESSIONS, &[("shard", &shard)], server.sessions.count());
}

fn store(server: &ShardServer, shard: usize, samples: &mut Samples) {
    let metrics = server.shard.metrics();
    for (family, counter) in [
        (&BATCHES, &metrics.batches_appended),
        (&RECORDS, &metrics.records_appended),
        (&APPENDED, &metrics.bytes_appended),
        (&JOURNAL_WRITTEN, &metrics.journal_bytes),
        (&DIRECT, &metrics.direct_bytes),
        (&SEGMENT, &metrics.segment_bytes),
        (&SEGMENTS_PREPARED, &metrics.segments_prepared),
        (&CHECKPOINTS, &metrics.checkpoints),
        (&READ_AHEAD, &metrics.read_ahead_hits),
        (&READ_FILE, &metrics.bytes_read_file),
        (&COMPACTIONS, &metrics.compactions),
        (&COMPACTIONS_FAILED, &metrics.compactions_failed),
        (&DAMAGED, &metrics.damaged),
    ] {
        samples.add(family, &[("shard", &shard)], counter.get());
    }
    samples.add(&READS, &[("from", &"memory"), ("shard", &shard)], metrics.reads_memory.get());
    samples.add(&READS, &[("from", &"file"), ("shard", &shard)], metrics.reads_file.get());
    let compacted = [("before", &metrics.compaction_bytes_before), ("after", &metrics.compaction_bytes_after)];
    for (when, bytes) in compacted {
        samples.add(&COMPACTION_BYTES, &[("when", &when), ("shard", &shard)], bytes.get());
    }
    samples.add(&DIRTY_RATIO, &[("shard", &shard)], server.shard.dirty_ppm_max() as f64 / 1e6);
    samples.histogram(&GROUP_SECONDS, &[("shard", &shard)], metrics.group_seconds.get());
    samples.histogram(&JOURNAL_FULL_SECONDS, &[("shard", &shard)], metrics.journal_full_seconds.get());
    let (tail, backlog) = server.shard.memory_bytes();
    samples.add(&TAIL_MEMORY, &[("shard", &shard)], tail);
    samples.add(&BACKLOG, &[("shard", &shard)], backlog);
    let (used, capacity) = server.shard.journal_bytes();
    samples.add(&JOURNAL_USED, &[("shard", &shard)], used);
    samples.add(&JOURNAL_CAPACITY, &[("shard", &shard)], capacity);
    samples.add(&HEALTHY, &[("shard", &shard)], u8::from(server.shard.check().is_ok()));
}

fn disk(server: &ShardServer, shard: usize, samples: &mut Samples) {
    let (counters, facts) = (server.io.counters(), server.io.facts());
    for (kind, count) in [("read", counters.reads), ("write", counters.writes), ("sync", counters.syncs)] {
        samples.add(&DISK_OPERATIONS, &[("kind", &kind), ("shard", &shard)], count);
    }
    for (kind, bytes) in [("read", counters.bytes_read), ("write", counters.bytes_written)] {
        samples.add(&DISK_BYTES, &[("kind", &kind), ("shard", &shard)], bytes);
    }
    samples.add(&DISK_ERRORS, &[("shard", &shard)], counters.errors);
    samples.add(&DISK_IN_FLIGHT, &[("shard", &shard)], counters.in_flight);
    samples.add(&RING_ENTERS, &[("shard", &shard)], counters.enters);
    let arena =
        [("all", facts.arena_bytes), ("free", counters.arena_free_bytes), ("huge", facts.huge_pages_bytes_granted)];
    for (part, bytes) in arena {
        samples.add(&ARENA, &[("part", &part), ("shard", &shard)], bytes);
    }
}

fn topics(server: &ShardServer, shard: usize, samples: &mut Samples) {
    server.counters.each_topic(|topic, counters| {
        for (family, counter) in [
            (&TOPIC_BATCHES, &counters.produced_batches),
            (&TOPIC_RECORDS, &counters.produced_records),
            (&TOPIC_BYTES_IN, &counters.produced_bytes),
            (&TOPIC_BYTES_OUT, &counters.fetched_bytes),
            (&TOPIC_PRODUCE_ERRORS, &counters.produce_errors),
            (&TOPIC_FETCH_ERRORS, &counters.fetch_errors),
        ] {
            samples.add(family, &[("shard", &shard), ("topic", &topic)], counter.get());
        }
    });
    let partitions = server.shard.partitions();
    samples.add(&PARTITIONS, &[("shard", &shard)], partitions.len());
    let mut sums: BTreeMap<_, (u64, u64, u64)> = BTreeMap::new();
    for (name, _) in &partitions {
        let (count, size, unflushed) = sums.entry(&*name.topic).or_default();
        *count += 1;
        *size += server.shard.disk_usage(name).unwrap_or(0);
        *unflushed += unflushed_records(server, name);
    }
    for (topic, (count, size, unflushed)) in sums {
        samples.add(&TOPIC_PARTITIONS, &[("shard", &shard), ("topic", &topic)], count);
        samples.add(&TOPIC_SIZE, &[("shard", &shard), ("topic", &topic)], size);
        samples.add(&TOPIC_UNFLUSHED, &[("shard", &shard), ("topic", &topic)], unflushed);
    }
}

fn unflushed_records(server: &ShardServer, name: &TopicPartition) -> u64 {
    server.shard.offsets(name).map_or(0, |offsets| offsets.end.since(offsets.flushed))
}
