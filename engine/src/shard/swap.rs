//! Puts a compacted file in the place of the segments that it was made of, so that a power cut at any moment leaves the one or the
//! other (as Kafka's `LocalLog.replaceSegments` and `LogLoader` do it).
//!
//! `<base>.log.cleaned` is complete and synced when it is renamed to `<base>.log.swap`; from there on it is the segment, and what is still
//! to be done is done again at the next start: the segments that it covers go, then it takes the name of the first. Who reads one of
//! those meanwhile reads its old bytes to the end: their files stay open.

use std::path::Path;
use std::rc::Rc;

use crate::error::{Error, Result};
use crate::io::{DirEntry, Io, OpenMode};
use crate::log::{ABORTED_BYTES, SealedSegment, SegmentFile, SegmentIndex, segment_base_of, segment_file_name};
use crate::shard::clean::{Cleanable, CleanedFile};
use crate::shard::partition::Partition;
use crate::shard::segment_scan::scan_file;
use crate::shard::shard::Shard;
use crate::types::{Offset, Position};

/// How a file ends that is being written; a start removes it.
const CLEANED_SUFFIX: &str = ".cleaned";
/// How a complete one ends that is on its way into the log; a start carries that on.
const SWAP_SUFFIX: &str = ".swap";
/// What a segment has beside its batches.
const BESIDE: [&str; 5] = ["index", "timeindex", "txnindex", "snapshot", "points"];

impl Shard {
    /// Puts `cleaned` in the place of `group`.
    ///
    /// # Errors
    /// [`Error::Overloaded`] where the log is not as it was when that was made; nothing is changed then. A fault of the disk takes the log
    /// directory offline: what is in it is then only known to the next start.
    pub(super) async fn swap(
        self: &Rc<Self>,
        partition: &Rc<Partition>,
        group: &[Cleanable],
        cleaned: CleanedFile,
    ) -> Result<()> {
        let CleanedFile { path, scanned } = cleaned;
        let (base, end) = (group[0].facts.base, group[group.len() - 1].facts.next);
        assert!(base < scanned.next_offset && scanned.next_offset <= end, "the segment at {base} ends elsewhere");
        // Neither a cut nor the end of a segment's life may come between.
        let files = partition.files.lock().await;
        self.check_cleaning(partition)?;
        if !partition.log.borrow().has_sealed(group.iter().map(|one| &one.segment)) {
            self.io.remove_file(&path).await?;
            return Err(Error::Overloaded(format!(
                "the segments of {} went while they were compacted",
                partition.name
            )));
        }
        let mut held = Vec::with_capacity(group.len());
        for one in group {
            // Readers that have it go on with it: its file stays open, its size and its indexes are never looked up by name again.
            let open = one.segment.file.readable(&self.io).await?;
            one.segment.set_size(Position(one.facts.bytes));
            held.push((open, one.segment.index_turn().lock().await));
            one.segment.replace();
        }
        join_aborted(&self.io, &partition.dir, group).await?;
        let swapped = self.swap_files(partition, &path, base, end).await;
        if let Err(error) = swapped {
            self.fail(error.clone());
            return Err(error);
        }
        let path = partition.dir.join(segment_file_name(base, "log"));
        let mut index = SegmentIndex::new(base);
        scanned.points.iter().for_each(|point| index.push(*point));
        index.finish(scanned.max_timestamp, scanned.max_timestamp_offset);
        let file = Rc::new(SegmentFile::new(path, partition.log.borrow().config().segment_bytes));
        let segment = Rc::new(SealedSegment::sealed(base, file, scanned.end, scanned.max_timestamp));
        partition.log.borrow_mut().replace_sealed(base, group.len(), segment.clone());
        partition.was_compacted();
        self.forget_indexes(group.iter().map(|one| &one.segment));
        drop(held);
        self.store_new_index(&segment, index).await;
        drop(files);
        // What was due to go meanwhile.
        self.bury_dead(partition);
        Ok(())
    }

    async fn swap_files(&self, partition: &Partition, cleaned: &Path, base: Offset, end: Offset) -> Result<()> {
        let (io, dir) = (&self.io, &partition.dir);
        let swap = dir.join(segment_file_name(base, "log.swap"));
        io.rename(cleaned, &swap).await?;
        // From here on it is the segment.
        io.sync_dir(dir).await?;
        let names = io.list_dir(dir).await?;
        put_in_place(io, dir, &names, base, end).await
    }
}

/// Aborted transactions are told of by one file per segment, with offsets of the log: that of the new segment has those of all.
async fn join_aborted(io: &Io, dir: &Path, group: &[Cleanable]) -> Result<()> {
    let mut all: Vec<u8> = Vec::new();
    let mut behind_first = false;
    for (place, one) in group.iter().enumerate() {
        let path = dir.join(segment_file_name(one.facts.base, "txnindex"));
        if io.file_len(&path).await?.is_some_and(|bytes| bytes > 0) {
            for entry in io.read_file(&path).await?.chunks(ABORTED_BYTES) {
                // An attempt that came to nothing may have added some to the first.
                if !all.chunks(ABORTED_BYTES).any(|known| known == entry) {
                    all.extend_from_slice(entry);
                }
            }
            behind_first |= place > 0;
        }
    }
    match behind_first {
        true => io.replace_file(&dir.join(segment_file_name(group[0].facts.base, "txnindex")), all).await,
        false => Ok(()),
    }
}

/// Gives the swap file of the segment at `base`, which reaches to `end`, its name, when the segments that it covers are gone for good:
/// were one to come back, its records would be in the log twice.
async fn put_in_place(io: &Io, dir: &Path, names: &[DirEntry], base: Offset, end: Offset) -> Result<()> {
    for entry in names {
        let Some((stem, suffix)) = entry.name.split_once('.') else { continue };
        let Some(other) = segment_base_of(&format!("{stem}.log")) else { continue };
        let is_covered = other > base && other < end && (suffix == "log" || BESIDE.contains(&suffix));
        let is_stale = other == base && matches!(suffix, "index" | "timeindex" | "points");
        if is_covered || is_stale {
            io.remove_file(&dir.join(&entry.name)).await?;
        }
    }
    io.sync_dir(dir).await?;
    io.rename(&dir.join(segment_file_name(base, "log.swap")), &dir.join(segment_file_name(base, "log"))).await?;
    io.sync_dir(dir).await
}

/// Carries on, in a partition's directory with these names, what a power cut interrupted; the names afterwards.
///
/// # Errors
/// [`Error::Corrupt`] where a file that was complete is not any more: then nothing of it is touched.
pub(super) async fn heal(io: &Io, dir: &Path, names: Vec<DirEntry>) -> Result<Vec<DirEntry>> {
    let is_left = |name: &str| name.ends_with(CLEANED_SUFFIX) || name.ends_with(SWAP_SUFFIX);
    if !names.iter().any(|entry| is_left(&entry.name)) {
        return Ok(names);
    }
    for entry in &names {
        let path = dir.join(&entry.name);
        let log = entry.name.strip_suffix(SWAP_SUFFIX).filter(|log| log.ends_with(".log"));
        if let Some(base) = log.and_then(segment_base_of) {
            let file = io.open(&path, OpenMode::Read).await?;
            let scanned = scan_file(io, base, &file, Position::ZERO, Position(entry.len), true).await?;
            if scanned.cut || scanned.end != Position(entry.len) || scanned.next_offset <= base {
                let what = "it was written whole, and is to replace segments that may be gone already";
                return Err(Error::corrupt(&path, Some(scanned.end), what));
            }
            tracing::info!(path = %path.display(), end = %scanned.next_offset, "a compacted segment takes its place");
            put_in_place(io, dir, &io.list_dir(dir).await?, base, scanned.next_offset).await?;
        } else if is_left(&entry.name) {
            // Not complete; or an index of Kafka's, which is made anew.
            io.remove_file(&path).await?;
        }
    }
    io.sync_dir(dir).await?;
    io.list_dir(dir).await
}

/// Removes the files of compactions that did not come to their end.
pub(super) async fn remove_cleaned(io: &Io, dir: &Path) -> Result<()> {
    for entry in io.list_dir(dir).await?.iter().filter(|entry| entry.name.ends_with(CLEANED_SUFFIX)) {
        io.remove_file(&dir.join(&entry.name)).await?;
    }
    Ok(())
}
