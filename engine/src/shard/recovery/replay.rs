//! One partition while the journals are replayed: what is known of it so far.

use std::path::Path;

use crate::batch::BatchHeader;
use crate::error::Error;
use crate::journal::{IndexPoint, PartitionKey, PartitionState};
use crate::log::{Producers, segment_file_name};
use crate::types::{Epoch, Offset, Position, Timestamp, TopicPartition};

/// Index entries made while replaying are this far apart.
const INTERVAL_BYTES: u64 = 4096;

/// One partition while its entries are replayed.
pub(super) struct Replay {
    pub(super) state: PartitionState,
    pub(super) producers: Producers,
    /// Bytes of the newest segment from `write_from` on, a block boundary, to the state's position: not in the file yet.
    pub(super) bytes: Vec<u8>,
    pub(super) write_from: Position,
    pub(super) bytes_since_point: u64,
    pub(super) changed: bool,
    /// An extent in flight did not get to its segment: nobody was told of it, nor of anything behind it.
    pub(super) rejected: bool,
    pub(super) failure: Option<Error>,
}

impl Replay {
    pub(super) fn new(state: PartitionState) -> Replay {
        let write_from = state.position.block_start();
        let bytes = state.partial.clone();
        let producers = Producers::new(state.producers.clone(), state.next_offset);
        Replay {
            state,
            producers,
            bytes,
            write_from,
            bytes_since_point: u64::MAX,
            changed: false,
            rejected: false,
            failure: None,
        }
    }

    pub(super) fn unknown(name: &TopicPartition, id: PartitionKey, segment: Offset, generation: u64) -> Replay {
        let mut replay = Replay::new(PartitionState {
            topic: name.topic.to_string(),
            id,
            generation,
            start: segment,
            segment,
            position: Position::ZERO,
            next_offset: segment,
            segment_created: Timestamp::NONE,
            first_timestamp: Timestamp::NONE,
            max_timestamp: Timestamp::NONE,
            max_timestamp_offset: segment,
            partial: Vec::new(),
            epochs: Vec::new(),
            index_points: Vec::new(),
            index_spilled: 0,
            applied_before: 0,
            producers: Vec::new(),
            damage: None,
        });
        replay.bytes_since_point = 0;
        replay
    }

    pub(super) fn name(&self) -> TopicPartition {
        TopicPartition::new(self.state.topic.as_str(), self.state.id.partition)
    }

    pub(super) fn begin_segment(&mut self, segment: Offset) {
        let state = &mut self.state;
        state.segment = segment;
        state.position = Position::ZERO;
        state.first_timestamp = Timestamp::NONE;
        state.max_timestamp = Timestamp::NONE;
        state.max_timestamp_offset = segment;
        state.index_points = Vec::new();
        state.index_spilled = 0;
        self.bytes = Vec::new();
        self.write_from = Position::ZERO;
        self.bytes_since_point = 0;
    }

    /// Keeps the index, timestamps and epochs for a batch at the state's position.
    pub(super) fn note(&mut self, header: &BatchHeader, position: Position) {
        let state = &mut self.state;
        if state.first_timestamp == Timestamp::NONE {
            state.first_timestamp = header.first_timestamp();
        }
        if header.max_timestamp > state.max_timestamp {
            state.max_timestamp = header.max_timestamp;
            state.max_timestamp_offset = header.last_offset();
        }
        if position != Position::ZERO && self.bytes_since_point > INTERVAL_BYTES {
            state.index_points.push(IndexPoint {
                offset: header.last_offset(),
                position,
                max_timestamp: state.max_timestamp,
                max_timestamp_offset: state.max_timestamp_offset,
            });
            self.bytes_since_point = 0;
        }
        if position == Position::ZERO {
            self.bytes_since_point = 0;
        }
        self.bytes_since_point = self.bytes_since_point.saturating_add(header.size_bytes() as u64);
        note_epoch(&mut state.epochs, header.leader_epoch, header.base_offset);
        state.next_offset = header.next_offset();
    }

    pub(super) fn hole(&mut self, dir: &Path, position: Position, what: &str) {
        let path = dir.join(self.name().to_string()).join(segment_file_name(self.state.segment, "log"));
        let what = format!(
            "{what}: the records from offset {} on are missing from the journal; restore them from a replica or a backup",
            self.state.next_offset
        );
        let error = Error::corrupt(&path, Some(position), what);
        tracing::error!(%error, "the partition serves no more");
        self.failure.get_or_insert(error);
    }
}

/// Notes a later epoch than the last one; those that would begin at or behind it had no records ([`LeaderEpochs::assign`]).
pub(super) fn note_epoch(epochs: &mut Vec<(Epoch, Offset)>, epoch: Epoch, start: Offset) {
    if epoch.0 < 0 || epochs.last().is_some_and(|last| last.0 >= epoch) {
        return;
    }
    let kept = epochs.partition_point(|entry| entry.1 < start);
    epochs.truncate(kept);
    epochs.push((epoch, start));
}
