//! What compaction leaves in a partition's directory: offsets that are missing, and files that were on their way into the log.

use std::path::{Path, PathBuf};

use crate::batch::verify_crc;
use crate::compaction::{CLEANED_TO_FILE, CleanedTo};
use crate::error::Result;
use crate::inspect::contents::{list, read, segment_base};
use crate::inspect::segment::SegmentContents;
use crate::types::{Offset, TopicPartition};

/// Whether offsets may be missing in a partition, by the files that tell how far it is compacted: its own, and Kafka's.
pub(super) fn has_gaps(dir: &Path, name: &TopicPartition) -> Result<bool> {
    let kafkas = read(&dir.with_file_name(CLEANED_TO_FILE))?;
    let is_kafkas = kafkas.is_some_and(|text| CleanedTo::decode(name, &text).is_some());
    Ok(is_kafkas || dir.join(CLEANED_TO_FILE).exists())
}

/// A compacted segment that was complete when the power went, but does not have its name yet: recovery gives it that.
pub(super) struct Swap {
    /// Its first offset.
    pub(super) base: Offset,
    /// The offset behind its last batch: segments before it are covered.
    pub(super) end: Offset,
    /// Its file.
    pub(super) path: PathBuf,
}

impl Swap {
    /// Those in a partition's directory, and what is wrong with them.
    pub(super) fn all(dir: &Path) -> Result<(Vec<Swap>, Vec<String>)> {
        let (mut swaps, mut problems) = (Vec::new(), Vec::new());
        for (name, _) in list(dir)? {
            let Some(base) = name.strip_suffix(".swap").and_then(segment_base) else { continue };
            let path = dir.join(&name);
            let mut end = base;
            for batch in SegmentContents::of_file(&path, base)?.batches()? {
                match batch {
                    Ok((_, header, bytes)) if header.base_offset >= end && verify_crc(&bytes) => {
                        end = header.next_offset();
                    }
                    _ => {
                        problems.push(format!("{name} was written whole, and is damaged behind offset {end}"));
                        break;
                    }
                }
            }
            swaps.push(Swap { base, end, path });
        }
        Ok((swaps, problems))
    }

    /// Whether it covers the segment at `base`, other than by its name.
    pub(super) fn covers(&self, base: Offset) -> bool {
        base > self.base && base < self.end
    }
}
