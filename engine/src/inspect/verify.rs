//! Checks every invariant of a stopped data directory and lists what is broken, with file and place.
//!
//! What recovery tolerates is no finding, at most a note: bytes behind the durable end of the active segment, files of
//! segments behind it, recycled files, missing derived files, deleted partitions. Everything else that this checks is an invariant of the format (`docs/format.md`).

use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use nix::fcntl::{FcntlArg, fcntl};
use serde::Serialize;

use crate::error::{Error, Result};
use crate::inspect::contents::{DataDirectory, PartitionContents, list, read, segment_base};
use crate::inspect::verify_segment::{Chain, verify_segment};
use crate::types::{Position, TopicPartition};

/// The name of the lock file, which is Kafka's.
pub const LOCK_FILE: &str = ".lock";

/// The name of the file with the directory's identity, which is Kafka's.
pub const META_PROPERTIES_FILE: &str = "meta.properties";

/// Something that is broken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The file or directory.
    pub file: PathBuf,
    /// Where in it, where that is known.
    pub position: Option<u64>,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(position) = self.position {
            write!(f, " at byte {position}")?;
        }
        write!(f, ": {}", self.what)
    }
}

/// What was checked, and what is broken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The number of partitions.
    pub partitions: u64,
    /// The number of segments.
    pub segments: u64,
    /// The number of batches whose checksums were checked.
    pub batches: u64,
    /// The number of records in them.
    pub records: u64,
    /// The bytes of them.
    pub bytes: u64,
    /// The number of index entries.
    pub index_entries: u64,
    /// What is worth knowing and not broken: what a crash or a deletion leaves until the next start.
    pub notes: Vec<Finding>,
    /// What is broken; empty where nothing is.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Adds a finding.
    pub(super) fn find(&mut self, file: &Path, position: Option<Position>, what: impl Into<String>) {
        let position = position.map(|position| position.0);
        self.findings.push(Finding { file: file.to_path_buf(), position, what: what.into() });
    }

    /// Adds a note.
    pub(super) fn note(&mut self, file: &Path, what: impl Into<String>) {
        self.notes.push(Finding { file: file.to_path_buf(), position: None, what: what.into() });
    }

    /// Adds what an error says.
    pub(super) fn find_error(&mut self, file: &Path, error: Error) {
        match error {
            Error::Corrupt { path, position, what } => self.find(&path, position, what),
            Error::Io { path, position, operation, source } => {
                self.find(&path, position, format!("{operation} failed: {source}"));
            }
            other => self.find(file, None, other.to_string()),
        }
    }
}

/// Checks the data directory. An error is what kept it from being checked; what is broken in it is in the report.
pub fn verify(dir: &Path) -> Result<Report> {
    let _lock = lock(dir)?;
    let mut report = Report::default();
    verify_meta_properties(dir, &mut report)?;
    let mut directory = DataDirectory::open(dir)?;
    for damage in std::mem::take(&mut directory.damage) {
        if let Error::NewerFormat { .. } = damage {
            return Err(damage);
        }
        report.find_error(dir, damage);
    }
    for name in &directory.partitions {
        report.partitions += 1;
        match directory.partition(name) {
            Ok(contents) => verify_partition(&contents, &mut report),
            Err(error) => report.find_error(&directory.partition_dir(name), error),
        }
    }
    note_the_missing(&directory, &mut report);
    Ok(report)
}

/// Takes the lock for as long as the result lives, both as this store and as Kafka would.
fn lock(dir: &Path) -> Result<Option<File>> {
    let path = dir.join(LOCK_FILE);
    let locked = || Error::Locked { dir: dir.to_path_buf() };
    let file = match OpenOptions::new().read(true).write(true).open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("open", &path, None, error)),
    };
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(locked()),
        Err(TryLockError::Error(error)) => return Err(Error::io("lock", &path, None, error)),
    }
    let mut held = nix::libc::flock {
        l_type: nix::libc::F_WRLCK as i16,
        l_whence: nix::libc::SEEK_SET as i16,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    fcntl(&file, FcntlArg::F_GETLK(&mut held)).map_err(|error| Error::io("lock", &path, None, error.into()))?;
    if held.l_type != nix::libc::F_UNLCK as i16 {
        return Err(locked());
    }
    Ok(Some(file))
}

/// The identity of the directory, in Java's properties: version, cluster and node have to be there.
fn verify_meta_properties(dir: &Path, report: &mut Report) -> Result<()> {
    let path = dir.join(META_PROPERTIES_FILE);
    let Some(bytes) = read(&path)? else { return Ok(()) };
    let text = String::from_utf8_lossy(&bytes);
    let value = |key: &str| {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines
            .filter_map(|line| line.split_once('='))
            .find(|(name, _)| name.trim() == key)
            .map(|(_, value)| value.trim())
    };
    match value("version") {
        Some("1" | "0") => {}
        Some(other) => match other.parse::<u16>() {
            Ok(found) => return Err(Error::NewerFormat { path, found, supported: 1 }),
            Err(_) => report.find(&path, None, format!("version {other:?} is not a number")),
        },
        None => report.find(&path, None, "has no version"),
    }
    for key in ["cluster.id", "node.id"] {
        if value(key).is_none_or(str::is_empty) && (key != "node.id" || value("broker.id").is_none()) {
            report.find(&path, None, format!("has no {key}"));
        }
    }
    Ok(())
}

/// A partition that a checkpoint has and that has no directory counts as deleted: its directory was renamed before the
/// deletion was acknowledged.
fn note_the_missing(directory: &DataDirectory, report: &mut Report) {
    for checkpoint in &directory.checkpoints {
        for state in &checkpoint.partitions {
            let name = TopicPartition::new(state.topic.as_str(), state.id.partition);
            if !directory.partitions.contains(&name) {
                let what = format!("is not there; the checkpoint of shard {} has it: deleted", checkpoint.shard);
                report.note(&directory.partition_dir(&name), what);
            }
        }
    }
}

fn verify_partition(contents: &PartitionContents, report: &mut Report) {
    for problem in &contents.problems {
        report.find(&contents.dir, None, problem.clone());
    }
    verify_names(contents, report);
    for path in &contents.ignored {
        report.note(path, "is no part of its log: recovery removes it");
    }
    let mut chain = Chain::new(contents);
    for (place, segment) in contents.segments.iter().enumerate() {
        report.segments += 1;
        let next = contents.segments.get(place + 1).map(|next| next.base);
        if let Err(error) = verify_segment(segment, next, &mut chain, report) {
            report.find_error(&segment.path, error);
        }
    }
    let (end, last) = (chain.next_offset(), contents.segments.last());
    if let (Some(recorded), Some(last)) = (contents.end, last)
        && (recorded < end || (recorded > end && !contents.has_gaps))
        && !chain.is_broken()
    {
        let what = format!("its batches end at offset {end}, checkpoint and journal say {recorded}");
        report.find(&last.path, Some(last.length), what);
    }
    let first = contents.segments.first().map_or(end, |first| first.base);
    if !chain.is_broken() && !(first..=end).contains(&contents.start) {
        let what = format!("its log start is {}, its segments have {first} to {end}", contents.start);
        report.find(&contents.dir, None, what);
    }
}

/// A `.log` file whose name is not an offset in 20 digits would be passed over by recovery.
fn verify_names(contents: &PartitionContents, report: &mut Report) {
    for (name, _) in list(&contents.dir).unwrap_or_default() {
        if name.ends_with(".log") && segment_base(&name).is_none() {
            report.find(&contents.dir.join(name), None, "is not named as a segment is, by an offset in 20 digits");
        }
    }
}
