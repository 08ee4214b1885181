//! Files of deleted segments, kept to become new ones: their blocks are allocated and written, which the device likes.
//!
//! Nothing in such a file is believed: recovery reads no byte behind a partition's recorded end. A partition that no checkpoint
//! knows yet never gets one, since its end would be sought in the file itself.

use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::io::Io;

/// How the files are named in the data directory.
pub const RECYCLED_PREFIX: &str = "corelog-recycled-";

/// The files that wait to be used again.
pub struct Recycler {
    dir: PathBuf,
    /// What the names of its files begin with: those of other shards and of earlier runs begin otherwise.
    prefix: String,
    files: Vec<(PathBuf, u64)>,
    bytes: u64,
    bytes_max: u64,
    number: u64,
}

impl Recycler {
    /// Takes the files that an earlier run left (`found`, with their lengths), for a shard of a store of this generation.
    pub fn new(dir: PathBuf, generation: u64, shard: usize, bytes_max: u64, found: Vec<(PathBuf, u64)>) -> Recycler {
        let bytes = found.iter().map(|file| file.1).sum();
        let prefix = format!("{RECYCLED_PREFIX}{generation}-{shard}-");
        Recycler { dir, prefix, files: found, bytes, bytes_max, number: 0 }
    }

    /// A file for a new segment, of at least half its size.
    pub fn take(&mut self, segment_bytes: u64) -> Option<PathBuf> {
        let place = self.files.iter().position(|file| file.1 >= segment_bytes / 2 && file.1 <= segment_bytes * 2)?;
        let (path, bytes) = self.files.swap_remove(place);
        self.bytes -= bytes;
        Some(path)
    }

    /// All files, to be removed by the caller.
    pub fn take_all(&mut self) -> Vec<PathBuf> {
        self.bytes = 0;
        self.files.drain(..).map(|file| file.0).collect()
    }

    /// Takes a dead segment's file in, or removes it where enough are kept.
    pub async fn give(recycler: &std::cell::RefCell<Recycler>, io: &Io, path: PathBuf) -> Result<()> {
        let Some(bytes) = io.file_len(&path).await? else { return Ok(()) };
        let kept = {
            let mut this = recycler.borrow_mut();
            let room = bytes > 0 && this.bytes + bytes <= this.bytes_max;
            room.then(|| {
                this.number += 1;
                this.bytes += bytes;
                this.dir.join(format!("{}{}", this.prefix, this.number))
            })
        };
        match kept {
            Some(kept) => {
                if let Err(error) = Recycler::rename(io, &path, &kept).await {
                    recycler.borrow_mut().bytes -= bytes;
                    return Err(error);
                }
                recycler.borrow_mut().files.push((kept, bytes));
                Ok(())
            }
            None => io.remove_file(&path).await,
        }
    }

    /// Gives a dead segment's file its new name, for good: were the old one to come back after a power cut, the file of another
    /// segment would be found under it.
    async fn rename(io: &Io, from: &Path, to: &Path) -> Result<()> {
        io.rename(from, to).await?;
        for path in [from, to] {
            io.sync_dir(path.parent().expect("a file is in a directory")).await?;
        }
        Ok(())
    }
}
