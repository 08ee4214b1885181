//! Kafka's `partition.metadata`: which topic, by id, a partition's directory belongs to (KIP-516).
//!
//! Written once when the directory is made. A directory without it was made by a Kafka before 2.8.

use std::path::Path;

use crate::error::{Error, Result};
use crate::types::{Position, TopicId};

/// The name of the file in a partition's directory.
pub const PARTITION_METADATA_FILE: &str = "partition.metadata";

/// What [`PARTITION_METADATA_FILE`] is renamed to when the partition is deleted: a directory with this and without that is gone.
pub const DELETED_METADATA_FILE: &str = "deleted.metadata";

/// The only version of the file there is.
const VERSION: u16 = 0;

/// What the file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionMetadata {
    /// The topic's id.
    pub topic_id: TopicId,
}

impl PartitionMetadata {
    /// The bytes of the file; Kafka ends its second line without a newline (`PartitionMetadata.encode`).
    pub fn encode(&self) -> Vec<u8> {
        format!("version: {VERSION}\ntopic_id: {}", self.topic_id).into_bytes()
    }

    /// Reads the file; anything but a version and an id is [`Error::Corrupt`] with the place of its line.
    pub fn decode(path: &Path, bytes: &[u8]) -> Result<PartitionMetadata> {
        let damaged = |place: usize, what: String| Error::corrupt(path, Some(Position(place as u64)), what);
        let text = std::str::from_utf8(bytes).map_err(|error| damaged(error.valid_up_to(), "not text".into()))?;
        let (first, second) = text.split_once('\n').ok_or_else(|| damaged(0, "has no second line".into()))?;
        let version = first.strip_prefix("version: ").and_then(|version| version.trim_end().parse::<u16>().ok());
        let version = version.ok_or_else(|| damaged(0, format!("{first:?} is not a version")))?;
        if version > VERSION {
            return Err(Error::NewerFormat { path: path.to_path_buf(), found: version, supported: VERSION });
        }
        let id = second.strip_prefix("topic_id: ").and_then(|id| id.trim_end().parse::<TopicId>().ok());
        let topic_id = id.ok_or_else(|| damaged(first.len() + 1, format!("{second:?} is not a topic id")))?;
        if topic_id == TopicId::ZERO {
            return Err(damaged(first.len() + 1, "names no topic".into()));
        }
        Ok(PartitionMetadata { topic_id })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_kafkas_text() {
        let metadata = PartitionMetadata { topic_id: "JfxVyjyJQ2-GnzM_CvmBaw".parse().unwrap() };
        assert_eq!(metadata.encode(), b"version: 0\ntopic_id: JfxVyjyJQ2-GnzM_CvmBaw");
        for text in ["version: 0\ntopic_id: JfxVyjyJQ2-GnzM_CvmBaw", "version: 0\ntopic_id: JfxVyjyJQ2-GnzM_CvmBaw\n"] {
            assert_eq!(PartitionMetadata::decode(Path::new("x"), text.as_bytes()).unwrap(), metadata);
        }
    }

    #[test]
    fn damage_is_reported_and_a_newer_version_by_name() {
        for text in [
            "",
            "version: 0",
            "version: x\ntopic_id: a",
            "version: 0\ntopic_id: short",
            "version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAA",
        ] {
            assert!(
                matches!(PartitionMetadata::decode(Path::new("x"), text.as_bytes()), Err(Error::Corrupt { .. })),
                "{text:?}"
            );
        }
        let newer = PartitionMetadata::decode(Path::new("x"), b"version: 1\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ");
        assert!(matches!(newer, Err(Error::NewerFormat { found: 1, supported: 0, .. })));
    }
}
