//! Syncs many files at once: each by a sync of its own where they are few, all by one of the file system where they are many.
//!
//! A sync of one file makes the file system write its journal and flush the device: thousands in a row take half a minute, and commits
//! wait in between. One sync of the file system costs about as much as one of a file, and what others have on it to write.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::error::Result;
use crate::io::{Io, OpenMode};
use crate::log::SegmentFile;
use crate::shard::join::each;
use crate::shard::shard::Shard;

impl Shard {
    /// Syncs what was written to these segments; each is named once.
    pub(super) async fn sync_segments(&self, files: &[Rc<SegmentFile>]) -> Result<()> {
        if files.len() <= self.config.sync_each_max {
            return each(files, async |file| file.sync(&self.io).await).await;
        }
        // One at a time: two that each had begun some of the same files would wait for each other.
        let _turn = self.syncing_many.lock().await;
        let mut begun = Vec::with_capacity(files.len());
        let mut outcome = Ok(());
        for file in files {
            match file.begin_sync().await {
                Ok(sync) => begun.extend(sync),
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
        }
        if outcome.is_ok() && !begun.is_empty() {
            let journal = self.journal.borrow().file().clone();
            outcome = match self.io.sync_all(&self.config.dir).await {
                Ok(()) => journal.sync().await,
                error => error,
            };
        }
        begun.into_iter().for_each(|sync| sync.end(&outcome));
        outcome
    }
}

/// Small files that are put in place of others, all of them whole and durably: the same as [`Io::replace_file`] of each, but that some of
/// them may be replaced and others not where a power cut comes before the end.
#[derive(Default)]
pub(super) struct Replacements {
    paths: Vec<PathBuf>,
}

impl Replacements {
    /// Writes what is to replace the file at `path`, beside it.
    pub(super) async fn write(&mut self, io: &Io, path: PathBuf, contents: Vec<u8>) -> Result<()> {
        let temporary = temporary(&path);
        if io.file_len(&temporary).await?.is_some() {
            // It may be longer, or the same file as the one to be replaced: what a power cut tore a rename into.
            io.remove_file(&temporary).await?;
        }
        io.append_file(&temporary, 0, contents).await?;
        self.paths.push(path);
        Ok(())
    }

    /// Adds others.
    pub(super) fn extend(&mut self, others: Replacements) {
        self.paths.extend(others.paths);
    }

    /// Puts them in place; `dir` is on their file system. Up to `each_max` are synced one by one.
    pub(super) async fn finish(self, io: &Io, dir: &Path, each_max: usize) -> Result<()> {
        let paths = &self.paths;
        if paths.len() > each_max {
            io.sync_all(dir).await?;
        } else {
            each(paths, async |path| io.open(&temporary(path), OpenMode::Write).await?.sync().await).await?;
        }
        each(paths, async |path| io.rename(&temporary(path), path).await).await?;
        let mut dirs: Vec<&Path> = paths.iter().filter_map(|path| path.parent()).collect();
        dirs.dedup();
        if dirs.len() > each_max {
            return io.sync_all(dir).await;
        }
        each(&dirs, async |dir| io.sync_dir(dir).await).await
    }
}

fn temporary(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    name.into()
}
