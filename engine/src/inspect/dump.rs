//! Says what is in a file or a data directory, in words or as one JSON object per line.

use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};

use crate::batch::{BatchHeader, TimestampType, verify_crc};
use crate::error::{Error, Result};
use crate::inspect::contents::{list, read, read_groups, segment_base};
use crate::inspect::segment::SegmentContents;
use crate::inspect::verify::{LOCK_FILE, META_PROPERTIES_FILE};
use crate::journal::ring::decode_header;
use crate::journal::{
    Checkpoint, GroupHeader, IndexPoint, JournalMark, OwnedEntry, ScannedGroup, checkpoint_file_name,
    shard_of_checkpoint, shard_of_journal,
};
use crate::log::leader_epochs::LEADER_EPOCH_FILE;
use crate::log::partition_metadata::PARTITION_METADATA_FILE;
use crate::log::{
    LeaderEpochs, OffsetIndex, POINT_RECORD_BYTES, PartitionMetadata, PreparedFile, TimeIndex, decode_points,
};
use crate::types::{BLOCK_BYTES, Offset, Position, TopicPartition};

/// The fields of a line in the order in which they are written.
type Fields = Vec<(&'static str, Value)>;

macro_rules! fields {
    ({ $($name:literal: $value:expr),* $(,)? }) => { vec![$(($name, json!($value))),*] };
}

/// Writes what is in `path` to `out`: a file of a data directory in full, or a directory, where a segment is one line.
/// Damage is part of what is said; the error is for what could not be read at all.
pub fn dump(path: &Path, json: bool, out: &mut dyn Write) -> Result<()> {
    let mut dump = Dump { out, json };
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => dump.directory(path),
        Ok(_) => dump.file(path, true),
        Err(error) => Err(Error::io("open", path, None, error)),
    }
}

struct Dump<'a> {
    out: &'a mut dyn Write,
    json: bool,
}

impl Dump<'_> {
    fn directory(&mut self, dir: &Path) -> Result<()> {
        for (name, is_dir) in list(dir)? {
            let path = dir.join(&name);
            if !is_dir {
                self.file(&path, false)?;
            } else if TopicPartition::from_dir_name(&name).is_some() {
                self.line("partition", fields!({ "name": name }))?;
                self.directory(&path)?;
            } else {
                self.line("directory", fields!({ "name": name, "note": "not a partition" }))?;
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, in_full: bool) -> Result<()> {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let outcome = match path.extension().and_then(|extension| extension.to_str()) {
            Some("log") => self.segment(path, in_full),
            Some("index") => self.offset_index(path, in_full),
            Some("timeindex") => self.time_index(path, in_full),
            Some("points") => self.points(path, in_full),
            Some("txnindex") => self.transaction_index(path),
            Some("snapshot") => self.snapshot(path),
            _ if name == LEADER_EPOCH_FILE => self.leader_epochs(path),
            _ if name == PARTITION_METADATA_FILE => self.partition_metadata(path),
            _ if name == META_PROPERTIES_FILE => self.text(path),
            _ if shard_of_journal(&name).is_some() => self.journal(path),
            _ if shard_of_checkpoint(&name).is_some() => self.checkpoint(path),
            _ => self.other(path, &name),
        };
        match outcome {
            Err(Error::Corrupt { path, position, what }) => {
                let position = position.map(|position| position.0);
                self.line("damage", fields!({ "file": path.display().to_string(), "position": position, "what": what }))
            }
            outcome => outcome,
        }
    }

    /// One line: its type and its fields.
    fn line(&mut self, kind: &str, fields: Fields) -> Result<()> {
        let line = if self.json {
            let names = [("type", Value::from(kind))].into_iter().chain(fields);
            let pairs = names.map(|(name, value)| format!("{}:{value}", Value::from(name)));
            format!("{{{}}}", pairs.collect::<Vec<_>>().join(","))
        } else {
            let words = fields.iter().filter(|(_, value)| !value.is_null()).map(|(name, value)| match value {
                Value::String(text) => format!("{} {text}", name.replace('_', " ")),
                other => format!("{} {other}", name.replace('_', " ")),
            });
            format!("{kind}: {}", words.collect::<Vec<_>>().join(", "))
        };
        writeln!(self.out, "{line}").map_err(|error| Error::io("write", Path::new("output"), None, error))
    }

    fn segment(&mut self, path: &Path, in_full: bool) -> Result<()> {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let base = segment_base(&name).unwrap_or(Offset::ZERO);
        let segment = SegmentContents::of_file(path, base)?;
        let mut batches = segment.batches()?;
        let (mut count, mut records, mut next_offset, mut bad) = (0u64, 0i64, base, 0u64);
        let mut end = None;
        for batch in batches.by_ref() {
            match batch {
                Ok((position, header, bytes)) => {
                    let sound = verify_crc(&bytes);
                    (count, records) = (count + 1, records + i64::from(header.record_count));
                    (next_offset, bad) = (header.next_offset(), bad + u64::from(!sound));
                    if in_full {
                        self.line("batch", batch_fields(position, &header, sound))?;
                    }
                }
                Err(Error::Corrupt { what, .. }) => end = Some(what),
                Err(error) => return Err(error),
            }
        }
        let end = match end {
            Some(_) if batches.rest_is_zero()? => Some("zeros from there on".to_owned()),
            other => other,
        };
        self.line(
            "segment",
            fields!({
                "file": path.display().to_string(), "base_offset": base.0, "next_offset": next_offset.0, "batches": count,
                "records": records, "bytes": segment.file_bytes, "batches_end_at": batches.position().0,
                "batches_with_bad_checksum": (bad > 0).then_some(bad), "then": end,
            }),
        )
    }

    fn offset_index(&mut self, path: &Path, in_full: bool) -> Result<()> {
        let bytes = read(path)?.unwrap_or_default();
        let base = base_of(path);
        let index = OffsetIndex::decode(path, base, &bytes, Position(u64::MAX))?;
        for (offset, position) in index.iter().filter(|_| in_full) {
            self.line("index entry", fields!({ "offset": offset.0, "position": position.0 }))?;
        }
        self.line(
            "index",
            fields!({ "file": path.display().to_string(), "base_offset": base.0, "entries": index.len() }),
        )
    }

    fn time_index(&mut self, path: &Path, in_full: bool) -> Result<()> {
        let bytes = read(path)?.unwrap_or_default();
        let base = base_of(path);
        let index = TimeIndex::decode(path, base, &bytes, Offset(i64::MAX))?;
        for (timestamp, offset) in index.iter().filter(|_| in_full) {
            self.line("time index entry", fields!({ "timestamp": timestamp.0, "offset": offset.0 }))?;
        }
        let entries = index.len();
        self.line(
            "time index",
            fields!({ "file": path.display().to_string(), "base_offset": base.0, "entries": entries }),
        )
    }

    fn points(&mut self, path: &Path, in_full: bool) -> Result<()> {
        let bytes = read(path)?.unwrap_or_default();
        let points = decode_points(base_of(path), &bytes);
        for point in points.iter().filter(|_| in_full) {
            self.line(
                "index point",
                fields!({
                    "offset": point.offset.0, "position": point.position.0, "max_timestamp": point.max_timestamp.0,
                    "max_timestamp_offset": point.max_timestamp_offset.0,
                }),
            )?;
        }
        let left = bytes.len() - points.len() * POINT_RECORD_BYTES;
        let fields = fields!({ "file": path.display().to_string(), "points": points.len(), "bytes_left_over": left });
        self.line("index points", fields)
    }

    /// Kafka's `TransactionIndex`: 34 bytes per aborted transaction.
    fn transaction_index(&mut self, path: &Path) -> Result<()> {
        let bytes = read(path)?.unwrap_or_default();
        let (whole, rest) = bytes.as_chunks::<34>();
        for entry in whole {
            let number = |at: usize| i64::from_be_bytes(*entry[at..].first_chunk().expect("8 bytes"));
            self.line(
                "aborted transaction",
                fields!({
                    "producer_id": number(2), "first_offset": number(10), "last_offset": number(18), "last_stable_offset": number(26),
                }),
            )?;
        }
        let fields =
            fields!({ "file": path.display().to_string(), "entries": whole.len(), "bytes_left_over": rest.len() });
        self.line("transaction index", fields)
    }

    /// Kafka's `ProducerStateManager`: version, CRC-32C, and 46 bytes per producer.
    fn snapshot(&mut self, path: &Path) -> Result<()> {
        let bytes = read(path)?.unwrap_or_default();
        let damaged = |place: u64, what: &str| Error::corrupt(path, Some(Position(place)), what);
        let Some(head) = bytes.first_chunk::<10>() else { return Err(damaged(0, "shorter than a snapshot's head")) };
        let [v0, v1, c0, c1, c2, c3, n0, n1, n2, n3] = *head;
        let version = i16::from_be_bytes([v0, v1]);
        if version != 1 {
            return self.line(
                "snapshot",
                fields!({ "file": path.display().to_string(), "version": version, "note": "not known here" }),
            );
        }
        if crc32c::crc32c(&bytes[6..]) != u32::from_be_bytes([c0, c1, c2, c3]) {
            return Err(damaged(2, "its checksum does not match"));
        }
        let (producers, rest) = bytes[10..].as_chunks::<46>();
        let count = u32::from_be_bytes([n0, n1, n2, n3]);
        if producers.len() != count as usize || !rest.is_empty() {
            return Err(damaged(6, "the number of its producers does not match its length"));
        }
        for producer in producers {
            let long = |at: usize| i64::from_be_bytes(*producer[at..].first_chunk().expect("8 bytes"));
            let int = |at: usize| i32::from_be_bytes(*producer[at..].first_chunk().expect("4 bytes"));
            let epoch = i16::from_be_bytes(*producer[8..].first_chunk().expect("2 bytes"));
            self.line(
                "producer",
                fields!({
                    "producer_id": long(0), "producer_epoch": epoch, "last_sequence": int(10), "last_offset": long(14),
                    "offset_delta": int(22), "timestamp": long(26), "coordinator_epoch": int(34), "transaction_first_offset": long(38),
                }),
            )?;
        }
        self.line("snapshot", fields!({ "file": path.display().to_string(), "producers": count }))
    }

    fn leader_epochs(&mut self, path: &Path) -> Result<()> {
        let epochs = LeaderEpochs::decode(path, &read(path)?.unwrap_or_default())?;
        for (epoch, start) in epochs.entries() {
            self.line("leader epoch", fields!({ "epoch": epoch.0, "start_offset": start.0 }))?;
        }
        self.line("leader epochs", fields!({ "file": path.display().to_string(), "entries": epochs.entries().len() }))
    }

    fn partition_metadata(&mut self, path: &Path) -> Result<()> {
        let metadata = PartitionMetadata::decode(path, &read(path)?.unwrap_or_default())?;
        let topic_id = metadata.topic_id.to_string();
        self.line("partition metadata", fields!({ "file": path.display().to_string(), "topic_id": topic_id }))
    }

    fn text(&mut self, path: &Path) -> Result<()> {
        let bytes = read(path)?.unwrap_or_default();
        for line in String::from_utf8_lossy(&bytes).lines().filter(|line| !line.starts_with('#')) {
            if let Some((name, value)) = line.split_once('=') {
                self.line("property", fields!({ "name": name.trim(), "value": value.trim() }))?;
            }
        }
        Ok(())
    }

    fn checkpoint(&mut self, path: &Path) -> Result<()> {
        let checkpoint = Checkpoint::decode(path, &read(path)?.unwrap_or_default())?;
        for state in &checkpoint.partitions {
            self.line(
                "checkpointed partition",
                fields!({
                    "name": format!("{}-{}", state.topic, state.id.partition), "topic_id": state.id.topic_id.to_string(),
                    "generation": state.generation, "applied_before": state.applied_before, "log_start": state.start.0,
                    "segment": state.segment.0, "position": state.position.0, "next_offset": state.next_offset.0,
                    "segment_created": state.segment_created.0, "first_timestamp": state.first_timestamp.0,
                    "max_timestamp": state.max_timestamp.0, "max_timestamp_offset": state.max_timestamp_offset.0,
                    "partial_bytes": state.partial.len(), "index_points": state.index_points.len(), "index_spilled": state.index_spilled, "producers": state.producers.len(),
                    "damage": state.damage,
                    "epochs": state.epochs.iter().map(|(epoch, start)| json!([epoch.0, start.0])).collect::<Vec<_>>(),
                }),
            )?;
        }
        self.line(
            "checkpoint",
            fields!({
                "file": path.display().to_string(), "shard": checkpoint.shard, "generation": checkpoint.generation,
                "mark": mark_fields(&checkpoint.mark), "partitions": checkpoint.partitions.len(),
            }),
        )
    }

    /// With its checkpoint beside it, what recovery would read; else every group that verifies, wherever it is.
    fn journal(&mut self, path: &Path) -> Result<()> {
        let bytes = std::fs::File::open(path).and_then(|file| {
            let mut block = vec![0; BLOCK_BYTES as usize];
            std::os::unix::fs::FileExt::read_exact_at(&file, &mut block, 0).map(|()| block)
        });
        let header = bytes.ok().map_or(Ok(None), |block| decode_header(path, &block))?;
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let shard = shard_of_journal(&name).or(header).unwrap_or_default();
        let checkpoint_path = path.with_file_name(checkpoint_file_name(shard));
        let checkpoint = match read(&checkpoint_path)? {
            Some(bytes) => Checkpoint::decode(&checkpoint_path, &bytes).ok(),
            None => None,
        };
        let Some(checkpoint) = checkpoint else { return self.groups_anywhere(path, header) };
        let mut outcome = Ok(());
        let mut count = 0u64;
        let end = read_groups(path, checkpoint.mark, |group| {
            count += 1;
            if outcome.is_ok() {
                outcome = self.group(&group);
            }
        });
        outcome?;
        self.line(
            "journal",
            fields!({
                "file": path.display().to_string(), "shard": header, "from": mark_fields(&checkpoint.mark), "groups": count,
                "end": end.as_ref().ok().map(mark_fields),
            }),
        )?;
        end.map(|_| ())
    }

    fn group(&mut self, group: &ScannedGroup) -> Result<()> {
        self.line("group", group_fields(&group.header))?;
        for entry in &group.entries {
            self.line("entry", entry_fields(entry))?;
        }
        Ok(())
    }

    fn groups_anywhere(&mut self, path: &Path, shard: Option<u32>) -> Result<()> {
        let mut file = std::fs::File::open(path).map_err(|error| Error::io("open", path, None, error))?;
        let mut block = vec![0; BLOCK_BYTES as usize];
        let (mut at, mut count) = (Position::ZERO, 0u64);
        while std::io::Read::read_exact(&mut file, &mut block).is_ok() {
            if let Ok(header) = GroupHeader::parse(&block)
                && header.place == at
            {
                self.line("group", group_fields(&header))?;
                count += 1;
            }
            at += BLOCK_BYTES;
        }
        let note = "no checkpoint beside it: the headers that verify, of every lap and generation";
        self.line(
            "journal",
            fields!({ "file": path.display().to_string(), "shard": shard, "groups": count, "note": note }),
        )
    }

    fn other(&mut self, path: &Path, name: &str) -> Result<()> {
        let bytes = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        let note = match name {
            LOCK_FILE => "held while a process uses the directory",
            PreparedFile::NAME => "made ready to become the next segment",
            _ if name.starts_with("corelog-recycled-") => "a file that waits to become a segment",
            _ if name.ends_with(".tmp") => "left by a replacement that did not come to its end",
            _ => "not known here",
        };
        self.line("file", fields!({ "file": path.display().to_string(), "bytes": bytes, "note": note }))
    }
}

/// The base offset in the name of a segment's sibling file; 0 where it has none.
fn base_of(path: &Path) -> Offset {
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    segment_base(&format!("{stem}.log")).unwrap_or(Offset::ZERO)
}

fn batch_fields(position: Position, header: &BatchHeader, sound: bool) -> Fields {
    let codec = header.codec().map_or_else(|error| error.to_string(), |codec| format!("{codec:?}").to_lowercase());
    let broker_time = header.attributes.timestamp_type() == TimestampType::LogAppendTime;
    fields!({
        "position": position.0, "base_offset": header.base_offset.0, "last_offset": header.last_offset().0,
        "records": header.record_count, "bytes": header.size_bytes(), "leader_epoch": header.leader_epoch.0,
        "codec": codec, "timestamps": if broker_time { "log append time" } else { "create time" },
        "base_timestamp": header.base_timestamp.0, "max_timestamp": header.max_timestamp.0,
        "producer_id": header.producer_id, "producer_epoch": header.producer_epoch, "base_sequence": header.base_sequence,
        "transactional": header.attributes.is_transactional(), "control": header.attributes.is_control(),
        "crc": format!("{:08x}", header.crc), "checksum": if sound { "right" } else { "WRONG" },
    })
}

fn mark_fields(mark: &JournalMark) -> Value {
    json!({ "generation": mark.generation, "sequence": mark.sequence, "position": mark.position.0 })
}

fn group_fields(header: &GroupHeader) -> Fields {
    fields!({
        "position": header.place.0, "generation": header.generation, "sequence": header.sequence, "shard": header.shard,
        "flushed_before": header.flushed_before, "bytes": header.length, "entries": header.count,
    })
}

fn entry_fields(entry: &OwnedEntry) -> Fields {
    let id = entry.id();
    let (topic_id, partition) = (id.topic_id.to_string(), id.partition);
    match entry {
        OwnedEntry::Data { segment, position, next_offset, bytes, .. } => fields!({
            "kind": "data", "topic_id": topic_id, "partition": partition, "segment": segment.0, "position": position.0,
            "bytes": bytes.len(), "next_offset": next_offset.0,
        }),
        OwnedEntry::Extent { segment, position, length, next_offset, chain_crc, points, produced, .. } => fields!({
            "kind": "extent", "topic_id": topic_id, "partition": partition, "segment": segment.0, "position": position.0,
            "bytes": length, "next_offset": next_offset.0, "chain_crc": format!("{chain_crc:08x}"),
            "points": points.iter().map(point_fields).collect::<Vec<_>>(), "batches_of_producers": produced.len(),
        }),
        OwnedEntry::Start { start, .. } => {
            fields!({ "kind": "start", "topic_id": topic_id, "partition": partition, "start": start.0 })
        }
        OwnedEntry::EpochStart { epoch, start, .. } => {
            fields!({ "kind": "epoch start", "topic_id": topic_id, "partition": partition, "epoch": epoch.0, "start": start.0 })
        }
    }
}

fn point_fields(point: &IndexPoint) -> Value {
    json!([point.offset.0, point.position.0, point.max_timestamp.0, point.max_timestamp_offset.0])
}
