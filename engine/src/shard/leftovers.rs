//! Which files of a recovered partition belong to its log, and what becomes of the others.
//!
//! A crash leaves segments behind the log's end, of which neither checkpoint nor journal tell: their records were never
//! acknowledged, but were they to stay, a later recovery would take them for segments of the log. It also leaves segments before
//! the log's start whose turn to be removed had not come. Both go, for good, before the log goes on. What is found damaged is
//! never touched.

use std::path::Path;

use crate::error::Result;
use crate::io::{DirEntry, Io};
use crate::log::{PreparedFile, segment_base_of};
use crate::shard::producer_files::snapshot_offset;
use crate::types::{Offset, TopicId, TopicPartition};

/// How the directory of a deleted partition ends, as with Kafka.
pub(super) const DELETED_SUFFIX: &str = "-delete";

/// What the directory of a deleted partition is called: no partition's name, so that a crash leaves nothing that would be taken for
/// one.
pub(super) fn deleted_dir_name(name: &TopicPartition, topic_id: TopicId) -> String {
    format!("{name}.{}{DELETED_SUFFIX}", topic_id.0.simple())
}

/// The files `names` of all segments that are none of a log from `start` to `end` whose newest segment is `newest` are removed, and
/// snapshots that are neither at a segment's base nor at the end, where a clean shutdown leaves one.
pub(super) async fn remove_leftovers(
    io: &Io,
    dir: &Path,
    names: &[DirEntry],
    start: Offset,
    newest: Offset,
    end: Offset,
) -> Result<()> {
    let (sealed, dead) = segments(names, start, newest);
    let mut removed = false;
    for entry in names {
        if entry.name == PreparedFile::NAME {
            // Of a rename that a power cut tore a segment may have both names: it is never given out again.
            io.remove_file(&dir.join(&entry.name)).await?;
            removed = true;
            continue;
        }
        let stem = entry.name.split_once('.').map_or("", |(stem, _)| stem);
        let Some(base) = segment_base_of(&format!("{stem}.log")) else { continue };
        let is_snapshot = snapshot_offset(&entry.name).is_some();
        let is_stray = is_snapshot && base != newest && !sealed.contains(&base);
        if (base > newest || dead.contains(&base) || is_stray) && !(is_snapshot && base == end) {
            tracing::info!(path = %dir.join(&entry.name).display(), %start, %newest, "no part of the log: removed");
            io.remove_file(&dir.join(&entry.name)).await?;
            removed = true;
        }
    }
    if removed {
        // Were one to come back after a power cut, it could be under the name of a segment that was begun meanwhile.
        io.sync_dir(dir).await?;
    }
    Ok(())
}

/// The bases of the segments before `newest` in a directory with these names: those that a log from `start` on needs, and those it
/// does not.
pub(super) fn segments(names: &[DirEntry], start: Offset, newest: Offset) -> (Vec<Offset>, Vec<Offset>) {
    let mut bases: Vec<Offset> = names.iter().filter_map(|entry| segment_base_of(&entry.name)).collect();
    bases.retain(|base| *base < newest);
    bases.sort_unstable();
    let ends = bases.iter().skip(1).copied().chain([newest]);
    let dead = bases.iter().zip(ends).take_while(|(_, end)| *end <= start).count();
    let sealed = bases.split_off(dead);
    (sealed, bases)
}

/// Removes the index files of a segment that are not of all its batches; they are made anew when they are first needed.
pub(super) async fn remove_indexes(io: &Io, segment: &Path) -> Result<()> {
    for suffix in ["index", "timeindex", "points"] {
        let path = segment.with_extension(suffix);
        if io.file_len(&path).await?.is_some() {
            io.remove_file(&path).await?;
        }
    }
    Ok(())
}
