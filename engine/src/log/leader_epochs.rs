//! Which leader epoch began at which offset: how a replica finds where its log parts from its leader's (KIP-101, KIP-279).
//!
//! The rules are those of Kafka's `LeaderEpochFileCache`. On disk it is Kafka's `leader-epoch-checkpoint`, a text file:
//! version 0, the number of entries, then `<epoch> <start offset>` per line.

use std::path::Path;

use crate::error::{Error, Result};
use crate::types::{Epoch, Offset, Position};

/// The name of the file in a partition's directory.
pub const LEADER_EPOCH_FILE: &str = "leader-epoch-checkpoint";

/// The only version of the file there is.
const VERSION: u16 = 0;

/// The epochs of one log with their first offsets; both rise strictly.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaderEpochs {
    entries: Vec<(Epoch, Offset)>,
}

impl LeaderEpochs {
    /// No epochs.
    pub fn new() -> LeaderEpochs {
        LeaderEpochs::default()
    }

    /// Takes entries that were kept elsewhere; `None` where they do not rise strictly.
    pub fn from_entries(entries: Vec<(Epoch, Offset)>) -> Option<LeaderEpochs> {
        let sound = entries.iter().all(|entry| entry.0.0 >= 0 && entry.1.0 >= 0);
        let rising = entries.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 < pair[1].1);
        (sound && rising).then_some(LeaderEpochs { entries })
    }

    /// Notes that `epoch` begins at `start`; true where that changed anything. Entries of the same or a later epoch or
    /// offset give way, since the log was cut or the epoch between had no records.
    pub fn assign(&mut self, epoch: Epoch, start: Offset) -> bool {
        assert!(epoch.0 >= 0 && start.0 >= 0, "epoch {epoch} at offset {start}");
        if self.entries.last().is_some_and(|latest| epoch == latest.0 && start >= latest.1) {
            return false;
        }
        while self.entries.last().is_some_and(|latest| latest.0 >= epoch || latest.1 >= start) {
            self.entries.pop();
        }
        self.entries.push((epoch, start));
        true
    }

    /// The answer to OffsetForLeaderEpoch: the largest known epoch that is not above `epoch`, and where the one after
    /// it begins (the log's end for the latest). An epoch above the latest, or none, gives (-1, -1); one before the first
    /// gives itself and the first start (`LeaderEpochFileCache.endOffsetFor`).
    pub fn end_offset(&self, epoch: Epoch, log_end: Offset) -> (Epoch, Offset) {
        const UNDEFINED: (Epoch, Offset) = (Epoch::NONE, Offset(-1));
        let Some(latest) = self.latest() else { return UNDEFINED };
        if epoch == Epoch::NONE || epoch > latest.0 {
            return UNDEFINED;
        }
        if epoch == latest.0 {
            return (epoch, log_end);
        }
        let after = self.entries.partition_point(|entry| entry.0 <= epoch);
        let found = after.checked_sub(1).map_or(epoch, |place| self.entries[place].0);
        (found, self.entries[after].1)
    }

    /// The epoch of the record at `offset`; `None` before the first start or without epochs.
    pub fn epoch_of(&self, offset: Offset) -> Option<Epoch> {
        let after = self.entries.partition_point(|entry| entry.1 <= offset);
        after.checked_sub(1).map(|place| self.entries[place].0)
    }

    /// The latest epoch and its start.
    pub fn latest(&self) -> Option<(Epoch, Offset)> {
        self.entries.last().copied()
    }

    /// Forgets the epochs that begin at or behind `end`, the log's new end (KAFKA-10706).
    pub fn truncate_end(&mut self, end: Offset) {
        let kept = self.entries.partition_point(|entry| entry.1 < end);
        self.entries.truncate(kept);
    }

    /// Forgets the epochs that ended at or before `start`, the log's new start; the one that holds `start` begins there.
    pub fn truncate_start(&mut self, start: Offset) {
        let gone = self.entries.partition_point(|entry| entry.1 <= start);
        if gone > 0 {
            self.entries.drain(..gone - 1);
            self.entries[0].1 = start;
        }
    }

    /// The entries, first to last.
    pub fn entries(&self) -> &[(Epoch, Offset)] {
        &self.entries
    }

    /// The bytes of `leader-epoch-checkpoint`.
    pub fn encode(&self) -> Vec<u8> {
        let mut text = format!("{VERSION}\n{}\n", self.entries.len());
        for (epoch, start) in &self.entries {
            text.push_str(&format!("{epoch} {start}\n"));
        }
        text.into_bytes()
    }

    /// Reads `leader-epoch-checkpoint`; what Kafka could not have written is [`Error::Corrupt`] with the place of its line.
    pub fn decode(path: &Path, bytes: &[u8]) -> Result<LeaderEpochs> {
        let damaged = |place: usize, what: String| Error::corrupt(path, Some(Position(place as u64)), what);
        let text = std::str::from_utf8(bytes).map_err(|error| damaged(error.valid_up_to(), "not text".into()))?;
        let mut place = 0;
        let mut lines = text.split_inclusive('\n').map(|line| {
            let start = place;
            place += line.len();
            (start, line.trim_end())
        });
        let mut number = |what: &str| {
            let (start, line) = lines.next().ok_or_else(|| damaged(bytes.len(), format!("ends before its {what}")))?;
            line.parse::<usize>().map_err(|_| damaged(start, format!("{line:?} is not a {what}")))
        };
        let version = number("version")?;
        if version > usize::from(VERSION) {
            let found = u16::try_from(version).unwrap_or(u16::MAX);
            return Err(Error::NewerFormat { path: path.to_path_buf(), found, supported: VERSION });
        }
        let count = number("number of entries")?;
        let mut entries: Vec<(Epoch, Offset)> = Vec::new();
        for (start, line) in lines {
            let entry = line.split_once(' ').and_then(|(epoch, offset)| {
                Some((
                    Epoch(epoch.parse().ok().filter(|epoch| *epoch >= 0)?),
                    Offset(offset.parse().ok().filter(|offset| *offset >= 0)?),
                ))
            });
            let entry = entry.ok_or_else(|| damaged(start, format!("{line:?} is not an epoch and an offset")))?;
            if entries.last().is_some_and(|last| entry.0 <= last.0 || entry.1 <= last.1) {
                return Err(damaged(start, format!("epoch {} at {} does not rise", entry.0, entry.1)));
            }
            entries.push(entry);
        }
        if entries.len() != count {
            return Err(damaged(bytes.len(), format!("has {} entries, its second line says {count}", entries.len())));
        }
        Ok(LeaderEpochs { entries })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn epochs(entries: &[(i32, i64)]) -> LeaderEpochs {
        let mut epochs = LeaderEpochs::new();
        entries.iter().for_each(|&(epoch, start)| {
            epochs.assign(Epoch(epoch), Offset(start));
        });
        epochs
    }

    fn decode(text: &str) -> Result<LeaderEpochs> {
        LeaderEpochs::decode(Path::new(LEADER_EPOCH_FILE), text.as_bytes())
    }

    #[test]
    fn end_offsets_answer_as_kafka_does() {
        let epochs = epochs(&[(2, 10), (4, 20), (7, 30)]);
        let answers: [(i32, (i32, i64)); 8] = [
            (-1, (-1, -1)),
            (0, (0, 10)),
            (2, (2, 20)),
            (3, (2, 20)),
            (4, (4, 30)),
            (6, (4, 30)),
            (7, (7, 99)),
            (8, (-1, -1)),
        ];
        for (asked, (epoch, end)) in answers {
            assert_eq!(epochs.end_offset(Epoch(asked), Offset(99)), (Epoch(epoch), Offset(end)), "epoch {asked}");
        }
        assert_eq!(LeaderEpochs::new().end_offset(Epoch(0), Offset(5)), (Epoch::NONE, Offset(-1)));
    }

    #[test]
    fn an_epoch_without_records_gives_way_to_the_next() {
        let mut epochs = epochs(&[(0, 0), (1, 10), (2, 10)]);
        assert_eq!(epochs.entries(), [(Epoch(0), Offset(0)), (Epoch(2), Offset(10))]);
        assert!(!epochs.assign(Epoch(2), Offset(15)), "the epoch goes on");
        assert!(epochs.assign(Epoch(1), Offset(5)), "an earlier epoch cuts");
        assert_eq!(epochs.entries(), [(Epoch(0), Offset(0)), (Epoch(1), Offset(5))]);
    }

    #[test]
    fn truncation_forgets_epochs_at_both_ends() {
        let mut epochs = epochs(&[(0, 0), (1, 10), (2, 20), (3, 30)]);
        epochs.truncate_end(Offset(30));
        assert_eq!(epochs.latest(), Some((Epoch(2), Offset(20))));
        epochs.truncate_start(Offset(15));
        assert_eq!(epochs.entries(), [(Epoch(1), Offset(15)), (Epoch(2), Offset(20))]);
        assert_eq!(epochs.epoch_of(Offset(14)), None);
        assert_eq!(epochs.epoch_of(Offset(19)), Some(Epoch(1)));
        epochs.truncate_start(Offset(20));
        assert_eq!(epochs.entries(), [(Epoch(2), Offset(20))]);
    }

    #[test]
    fn the_file_is_kafkas_text() {
        let epochs = epochs(&[(0, 0), (5, 1234)]);
        assert_eq!(epochs.encode(), b"0\n2\n0 0\n5 1234\n");
        assert_eq!(decode("0\n2\n0 0\n5 1234\n").unwrap(), epochs);
        assert_eq!(decode("0\n0\n").unwrap(), LeaderEpochs::new());
    }

    #[test]
    fn damage_is_reported_at_its_line_and_a_newer_version_by_name() {
        for (text, place) in [
            ("", 0),
            ("0\n", 2),
            ("x\n", 0),
            ("0\n1\n", 4),
            ("0\n1\n5\n", 4),
            ("0\n1\n-1 5\n", 4),
            ("0\n2\n5 5\n4 6\n", 8),
            ("0\n1\n5 5\n6 6\n", 12),
            ("0\n9999999999999999999\n", 22),
        ] {
            match decode(text).unwrap_err() {
                Error::Corrupt { position, .. } => assert_eq!(position, Some(Position(place)), "{text:?}"),
                other => panic!("{text:?}: {other}"),
            }
        }
        assert!(matches!(decode("1\n0\n"), Err(Error::NewerFormat { found: 1, .. })));
    }

    proptest! {
        #[test]
        fn whatever_is_assigned_rises_and_reads_back(steps in prop::collection::vec((0i32..20, 0i64..100), 0..40)) {
            let epochs = epochs(&steps);
            prop_assert_eq!(LeaderEpochs::from_entries(epochs.entries().to_vec()), Some(epochs.clone()));
            prop_assert_eq!(LeaderEpochs::decode(Path::new("x"), &epochs.encode()).unwrap(), epochs);
        }

        #[test]
        fn hostile_bytes_never_panic(bytes in prop::collection::vec(prop_oneof![Just(b'0'), Just(b'1'), Just(b'\n'), Just(b' '), any::<u8>()], 0..60)) {
            let _ = LeaderEpochs::decode(Path::new("x"), &bytes);
        }
    }
}
