//! What is known of one producer, and whether a batch of it is the next one: the rules of Kafka's `ProducerAppendInfo` and
//! `ProducerStateEntry`.

use rustc_hash::FxHashMap;

use crate::batch::{self, BatchHeader, Origin};
use crate::types::{Offset, Timestamp};

/// The batches that are remembered of each producer, as in Kafka (`NUM_BATCHES_TO_RETAIN`): no client has more in flight.
pub const BATCHES_KEPT: usize = 5;
/// The epoch of a producer that has none.
pub const NO_PRODUCER_EPOCH: i16 = -1;
/// The last sequence of a producer without batches.
const NO_SEQUENCE: i32 = -1;
/// More than a marker ever has, were it compressed.
const MARKER_BYTES_MAX: usize = 1 << 10;

/// One batch of a producer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SequencedBatch {
    /// The sequence of its last record.
    pub last_sequence: i32,
    /// How far before it the first record is, in sequences and in offsets.
    pub offset_delta: i32,
    /// The offset of its last record.
    pub last_offset: Offset,
    /// Its greatest timestamp.
    pub timestamp: Timestamp,
}

impl SequencedBatch {
    const NONE: SequencedBatch = SequencedBatch {
        last_sequence: NO_SEQUENCE,
        offset_delta: 0,
        last_offset: Offset(-1),
        timestamp: Timestamp::NONE,
    };

    /// The sequence of its first record.
    pub fn first_sequence(&self) -> i32 {
        sequence_before(self.last_sequence, self.offset_delta)
    }

    /// The offset of its first record.
    pub fn base_offset(&self) -> Offset {
        Offset(self.last_offset.0 - i64::from(self.offset_delta))
    }
}

/// The sequence that is `delta` behind `sequence`: 0 follows on [`i32::MAX`].
fn sequence_after(sequence: i32, delta: i32) -> i32 {
    sequence.wrapping_add(delta) & i32::MAX
}

fn sequence_before(sequence: i32, delta: i32) -> i32 {
    sequence.wrapping_sub(delta) & i32::MAX
}

/// A batch of a producer as it stands in a log, or is to stand there: all that the producer's state depends on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProducedBatch {
    /// The producer.
    pub id: i64,
    /// Its epoch.
    pub epoch: i16,
    /// The sequence of the first record; -1 in a marker.
    pub base_sequence: i32,
    /// How far behind it the last record is.
    pub last_offset_delta: i32,
    /// The offset of the first record.
    pub base_offset: Offset,
    /// The greatest timestamp, or the marker's.
    pub max_timestamp: Timestamp,
    /// Whether it is part of a transaction.
    pub is_transactional: bool,
    /// The epoch of the coordinator, in the marker that ends a transaction.
    pub marker: Option<i32>,
}

impl ProducedBatch {
    /// What a batch says of its producer; `None` where it has none, and for a marker whose record was compacted away.
    pub fn of(header: &BatchHeader, batch: &[u8]) -> Option<ProducedBatch> {
        if !header.has_producer() {
            return None;
        }
        let (marker, max_timestamp) = match header.is_control() {
            false => (None, header.max_timestamp),
            true => marker(batch).map(|(epoch, timestamp)| (Some(epoch), timestamp))?,
        };
        Some(ProducedBatch {
            id: header.producer_id,
            epoch: header.producer_epoch,
            base_sequence: header.base_sequence,
            last_offset_delta: header.last_offset_delta,
            base_offset: header.base_offset,
            max_timestamp,
            is_transactional: header.is_transactional(),
            marker,
        })
    }

    /// The offset behind its last record.
    pub fn next_offset(&self) -> Offset {
        Offset(self.base_offset.0 + i64::from(self.last_offset_delta) + 1)
    }

    /// The sequence of its last record, or -1.
    pub(super) fn last_sequence(&self) -> i32 {
        match self.base_sequence {
            NO_SEQUENCE => NO_SEQUENCE,
            base => sequence_after(base, self.last_offset_delta),
        }
    }
}

/// Takes the batches out that leave no trace, since [`BATCHES_KEPT`] of the same producer follow. What is of a transaction stays:
/// the first such batch is remembered as its start.
pub fn keep_last(batches: &mut Vec<ProducedBatch>) {
    if batches.len() <= BATCHES_KEPT {
        return;
    }
    let mut behind: FxHashMap<i64, usize> = FxHashMap::default();
    let mut place = batches.len();
    let mut kept = vec![true; place];
    for batch in batches.iter().rev() {
        place -= 1;
        if batch.marker.is_none() {
            let behind = behind.entry(batch.id).or_default();
            kept[place] = batch.is_transactional || *behind < BATCHES_KEPT;
            *behind += 1;
        }
    }
    let mut kept = kept.into_iter();
    batches.retain(|_| kept.next().expect("one for each"));
}

/// What is known of one producer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Producer {
    /// Its id.
    pub id: i64,
    /// Its epoch, or [`NO_PRODUCER_EPOCH`].
    pub epoch: i16,
    /// The epoch of the transaction coordinator that last ended a transaction of it, or -1.
    pub coordinator_epoch: i32,
    /// The timestamp of its last batch or marker.
    pub last_timestamp: Timestamp,
    /// The first offset of its open transaction.
    pub transaction_start: Option<Offset>,
    /// Its last batches, oldest first; those behind `kept` are nothing.
    batches: [SequencedBatch; BATCHES_KEPT],
    kept: u8,
}

impl Producer {
    /// One that has written nothing.
    pub fn new(id: i64) -> Producer {
        Producer {
            id,
            epoch: NO_PRODUCER_EPOCH,
            coordinator_epoch: -1,
            last_timestamp: Timestamp::NONE,
            transaction_start: None,
            batches: [SequencedBatch::NONE; BATCHES_KEPT],
            kept: 0,
        }
    }

    /// Its last batches of this epoch, oldest first.
    pub fn batches(&self) -> &[SequencedBatch] {
        &self.batches[..usize::from(self.kept)]
    }

    /// Its last batch.
    pub fn last_batch(&self) -> Option<&SequencedBatch> {
        self.batches().last()
    }

    /// The sequence of its last record in this epoch, or -1.
    pub fn last_sequence(&self) -> i32 {
        self.last_batch().map_or(NO_SEQUENCE, |batch| batch.last_sequence)
    }

    /// Adds its next batch; the one that gives way to it.
    pub fn push(&mut self, batch: SequencedBatch) -> Option<SequencedBatch> {
        let kept = usize::from(self.kept);
        if kept < BATCHES_KEPT {
            self.batches[kept] = batch;
            self.kept += 1;
            return None;
        }
        let oldest = self.batches[0];
        self.batches.copy_within(1.., 0);
        self.batches[BATCHES_KEPT - 1] = batch;
        Some(oldest)
    }

    /// Undoes [`Producer::push`].
    pub(super) fn pop(&mut self, oldest: Option<SequencedBatch>) {
        self.kept -= 1;
        if let Some(oldest) = oldest {
            self.batches.copy_within(..BATCHES_KEPT - 1, 1);
            self.batches[0] = oldest;
            self.kept += 1;
        } else {
            self.batches[usize::from(self.kept)] = SequencedBatch::NONE;
        }
    }

    /// Knows the same batches as `other`.
    pub(super) fn remember_batches_of(&mut self, other: &Producer) {
        (self.batches, self.kept) = (other.batches, other.kept);
    }

    /// Goes on in `epoch`; a new one has no batches yet.
    pub(super) fn begin_epoch(&mut self, epoch: i16) {
        if self.epoch != epoch {
            self.epoch = epoch;
            self.batches = [SequencedBatch::NONE; BATCHES_KEPT];
            self.kept = 0;
        }
    }

    /// Where `sent` is in the log already, if it is one of the batches that are remembered.
    pub(super) fn find(&self, sent: &ProducedBatch) -> Option<SequencedBatch> {
        if self.epoch != sent.epoch {
            return None;
        }
        let last = sent.last_sequence();
        // The newest first: what is sent again was sent just before.
        let same =
            |batch: &&SequencedBatch| batch.last_sequence == last && batch.first_sequence() == sent.base_sequence;
        self.batches().iter().rev().find(same).copied()
    }

    /// Whether `sent` may follow what is known.
    pub(super) fn check(&self, sent: &ProducedBatch, origin: Origin) -> Result<(), ProducerError> {
        let (id, epoch, sequence) = (self.id, sent.epoch, sent.base_sequence);
        if epoch < self.epoch {
            return Err(ProducerError::InvalidEpoch { id, epoch, current: self.epoch });
        }
        if origin == Origin::Client && self.epoch != NO_PRODUCER_EPOCH {
            // Without an epoch the records are gone, by retention or DeleteRecords, and any sequence is the next.
            let begins = epoch != self.epoch && sequence == 0;
            if !begins && (epoch != self.epoch || !follows(self.last_sequence(), sequence)) {
                return Err(ProducerError::OutOfOrderSequence { id, epoch, sequence, last: self.last_sequence() });
            }
        }
        if self.transaction_start.is_some() && !sent.is_transactional {
            return Err(ProducerError::InvalidTransactionState { id });
        }
        Ok(())
    }
}

fn follows(last: i32, next: i32) -> bool {
    i64::from(next) == i64::from(last) + 1 || (next == 0 && last == i32::MAX)
}

/// The coordinator's epoch and the timestamp in a transaction's marker: a key of version and type (0 abort, 1 commit), i16 each, and
/// a value of version i16 and epoch i32 (`EndTransactionMarker`). A marker without its record has been compacted away.
fn marker(batch: &[u8]) -> Option<(i32, Timestamp)> {
    let records = batch::records(batch, MARKER_BYTES_MAX).ok()?;
    let record = (&records).into_iter().next()?.ok()?;
    let is_marker = matches!(record.key, Some([_, _, 0, 0 | 1, ..]));
    let epoch = record.value.and_then(|value| value.get(2..6)).filter(|_| is_marker)?;
    Some((i32::from_be_bytes(epoch.try_into().expect("four bytes")), record.timestamp))
}

/// What is to be done with a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It is to be appended.
    Append,
    /// It is in the log already, here: its producer sent it again.
    Duplicate(SequencedBatch),
}

/// Why a producer's batch must not be appended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ProducerError {
    /// Batches before it are missing, or it is older than those that are remembered.
    #[error("producer {id} with epoch {epoch} sent sequence {sequence}, which does not follow its last one, {last}")]
    OutOfOrderSequence {
        /// The producer.
        id: i64,
        /// The batch's epoch.
        epoch: i16,
        /// Its first sequence.
        sequence: i32,
        /// The producer's last one, or -1.
        last: i32,
    },
    /// A newer incarnation of the producer has written.
    #[error("producer {id} sent epoch {epoch}, but its epoch {current} has written here")]
    InvalidEpoch {
        /// The producer.
        id: i64,
        /// The batch's epoch.
        epoch: i16,
        /// The newest known one.
        current: i16,
    },
    /// A batch outside of the transaction that is open.
    #[error("producer {id} has a transaction open, and this batch is not part of it")]
    InvalidTransactionState {
        /// The producer.
        id: i64,
    },
}
