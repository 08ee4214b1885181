//! The simulated disk: files and names, each as written and as durable.
//!
//! Conservative, as ext4 without a journal is: a name that was created, changed or removed is durable only after its
//! directory was synced; syncing the file is not enough. A rename is two changes of names, and a power cut may leave the
//! file under both, or under none. Removed bytes stay until no durable name leads to them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path, PathBuf};

use super::contents::{Fate, FileBytes, Survival, fates};
use super::seed::Seed;
use crate::io::file::DirEntry;
use crate::types::Timestamp;

/// A file or directory, whatever its names.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Inode(u64);

const ROOT: Inode = Inode(0);

struct Node {
    kind: Kind,
    modified: Timestamp,
    /// How often it is open.
    opens: u32,
}

enum Kind {
    File(FileBytes),
    Dir(Names),
}

/// A directory's names as written and as durable.
#[derive(Default)]
struct Names {
    written: BTreeMap<String, Inode>,
    durable: BTreeMap<String, Inode>,
    /// Changed, not durable yet; in order. Changes of one rename have the same number.
    pending: Vec<(u64, String, Option<Inode>)>,
}

/// A write that was begun and not completed.
struct InFlight {
    inode: Inode,
    at: u64,
    bytes: Vec<u8>,
    durable: bool,
}

/// All files of the machine.
pub(super) struct Disk {
    nodes: BTreeMap<Inode, Node>,
    next_inode: u64,
    next_change: u64,
    in_flight: BTreeMap<u64, InFlight>,
    next_flight: u64,
    removed: u32,
}

fn error<T>(code: i32) -> io::Result<T> {
    Err(io::Error::from_raw_os_error(code))
}

fn parts(path: &Path) -> impl Iterator<Item = &str> {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_str().expect("simulated names are UTF-8")),
        Component::ParentDir => panic!("simulated paths have no `..`"),
        _ => None,
    })
}

impl Disk {
    pub(super) fn new() -> Disk {
        let root = Node { kind: Kind::Dir(Names::default()), modified: Timestamp(0), opens: 0 };
        Disk {
            nodes: BTreeMap::from([(ROOT, root)]),
            next_inode: 1,
            next_change: 0,
            in_flight: BTreeMap::new(),
            next_flight: 0,
            removed: 0,
        }
    }

    // Names.

    fn names(&self, dir: Inode) -> io::Result<&Names> {
        match &self.nodes[&dir].kind {
            Kind::Dir(names) => Ok(names),
            Kind::File(_) => error(libc::ENOTDIR),
        }
    }

    /// What a path leads to.
    pub(super) fn find(&self, path: &Path) -> io::Result<Inode> {
        parts(path).try_fold(ROOT, |dir, name| match self.names(dir)?.written.get(name) {
            Some(inode) => Ok(*inode),
            None => error(libc::ENOENT),
        })
    }

    fn find_parent<'a>(&self, path: &'a Path) -> io::Result<(Inode, &'a str)> {
        let Some(name) = parts(path).last() else { return error(libc::EINVAL) };
        let dir = self.find(path.parent().unwrap_or(Path::new("")))?;
        self.names(dir)?;
        Ok((dir, name))
    }

    fn create(&mut self, dir: Inode, name: &str, kind: Kind, now: Timestamp) -> Inode {
        let inode = Inode(self.next_inode);
        self.next_inode += 1;
        self.nodes.insert(inode, Node { kind, modified: now, opens: 0 });
        let change = self.next_change();
        self.set_name(change, dir, name, Some(inode), now);
        inode
    }

    fn next_change(&mut self) -> u64 {
        self.next_change += 1;
        self.next_change
    }

    fn set_name(&mut self, change: u64, dir: Inode, name: &str, to: Option<Inode>, now: Timestamp) {
        let node = self.nodes.get_mut(&dir).expect("a directory that was found");
        node.modified = now;
        let Kind::Dir(names) = &mut node.kind else { unreachable!("a directory that was found") };
        match to {
            Some(inode) => names.written.insert(name.to_owned(), inode),
            None => names.written.remove(name),
        };
        names.pending.push((change, name.to_owned(), to));
    }

    /// The file at a path; created where it is missing and `create` says so.
    pub(super) fn file(&mut self, path: &Path, create: bool, now: Timestamp) -> io::Result<Inode> {
        let (dir, name) = self.find_parent(path)?;
        match self.names(dir)?.written.get(name) {
            Some(inode) => match self.nodes[inode].kind {
                Kind::File(_) => Ok(*inode),
                Kind::Dir(_) => error(libc::EISDIR),
            },
            None if create => Ok(self.create(dir, name, Kind::File(FileBytes::default()), now)),
            None => error(libc::ENOENT),
        }
    }

    pub(super) fn create_dir_all(&mut self, path: &Path, now: Timestamp) -> io::Result<()> {
        let mut dir = ROOT;
        for name in parts(path) {
            dir = match self.names(dir)?.written.get(name) {
                Some(inode) => *inode,
                None => self.create(dir, name, Kind::Dir(Names::default()), now),
            };
        }
        self.names(dir).map(drop)
    }

    pub(super) fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let names = self.names(self.find(path)?)?;
        Ok(names
            .written
            .iter()
            .map(|(name, inode)| match &self.nodes[inode].kind {
                Kind::File(bytes) => DirEntry { name: name.clone(), is_dir: false, len: bytes.len() },
                Kind::Dir(_) => DirEntry { name: name.clone(), is_dir: true, len: 4096 },
            })
            .collect())
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path, now: Timestamp) -> io::Result<()> {
        let inode = self.find(from)?;
        let (from_dir, from_name) = self.find_parent(from)?;
        let (to_dir, to_name) = self.find_parent(to)?;
        if to.starts_with(from) && to != from {
            return error(libc::EINVAL);
        }
        if let Some(replaced) = self.names(to_dir)?.written.get(to_name) {
            match (&self.nodes[&inode].kind, &self.nodes[replaced].kind) {
                _ if *replaced == inode => return Ok(()),
                (Kind::File(_), Kind::File(_)) => self.removed += 1,
                (Kind::Dir(_), Kind::Dir(names)) if names.written.is_empty() => self.removed += 1,
                (Kind::Dir(_), Kind::Dir(_)) => return error(libc::ENOTEMPTY),
                (Kind::File(_), Kind::Dir(_)) => return error(libc::EISDIR),
                (Kind::Dir(_), Kind::File(_)) => return error(libc::ENOTDIR),
            }
        }
        let change = self.next_change();
        self.set_name(change, to_dir, to_name, Some(inode), now);
        self.set_name(change, from_dir, from_name, None, now);
        Ok(())
    }

    pub(super) fn remove_file(&mut self, path: &Path, now: Timestamp) -> io::Result<()> {
        let inode = self.find(path)?;
        if matches!(self.nodes[&inode].kind, Kind::Dir(_)) {
            return error(libc::EISDIR);
        }
        let (dir, name) = self.find_parent(path)?;
        let change = self.next_change();
        self.set_name(change, dir, name, None, now);
        self.removed += 1;
        Ok(())
    }

    pub(super) fn remove_dir_all(&mut self, path: &Path, now: Timestamp) -> io::Result<()> {
        for entry in self.list(path)? {
            let below = path.join(&entry.name);
            if entry.is_dir { self.remove_dir_all(&below, now)? } else { self.remove_file(&below, now)? }
        }
        let (dir, name) = self.find_parent(path)?;
        let change = self.next_change();
        self.set_name(change, dir, name, None, now);
        self.removed += 1;
        Ok(())
    }

    /// How many changes of names there were, for [`Disk::sync_dir`].
    pub(super) fn changes(&self) -> u64 {
        self.next_change
    }

    /// Makes the changes of a directory's names up to `last` durable; where renames do not tear, with what they changed elsewhere.
    pub(super) fn sync_dir(&mut self, dir: Inode, last: u64, renames_tear: bool) {
        let mut synced = BTreeSet::new();
        let node = self.nodes.get_mut(&dir).expect("a node goes when nobody has it open");
        if let Kind::Dir(names) = &mut node.kind {
            synced.extend(names.pending.iter().map(|(change, ..)| *change).filter(|change| *change <= last));
        }
        let mut more = true;
        while more {
            more = false;
            for (inode, node) in &mut self.nodes {
                if let Kind::Dir(names) = &mut node.kind
                    && (*inode == dir || !renames_tear)
                {
                    more |= names.sync(&mut synced) && !renames_tear;
                }
            }
        }
        if self.removed > 0 {
            self.removed = 0;
            self.forget_unreachable();
        }
    }

    // Files.

    fn node(&mut self, inode: Inode) -> &mut Node {
        self.nodes.get_mut(&inode).expect("a node goes when nobody has it open")
    }

    /// The bytes of a file that is open.
    pub(super) fn bytes(&mut self, inode: Inode) -> io::Result<&mut FileBytes> {
        match &mut self.node(inode).kind {
            Kind::File(bytes) => Ok(bytes),
            Kind::Dir(_) => error(libc::EISDIR),
        }
    }

    pub(super) fn open(&mut self, inode: Inode) {
        self.node(inode).opens += 1;
    }

    pub(super) fn close(&mut self, inode: Inode) {
        // A file that outlived its process was closed with it.
        if let Some(node) = self.nodes.get_mut(&inode) {
            node.opens = node.opens.saturating_sub(1);
        }
    }

    pub(super) fn modified(&self, inode: Inode) -> Timestamp {
        self.nodes[&inode].modified
    }

    pub(super) fn touch(&mut self, inode: Inode, now: Timestamp) {
        self.node(inode).modified = now;
    }

    /// The bytes of all files that have a name or are open.
    pub(super) fn used_bytes(&self) -> u64 {
        let mut used = BTreeSet::new();
        self.reach(ROOT, &mut used, &|names, used| used.extend(names.written.values()));
        used.extend(self.nodes.iter().filter(|(_, node)| node.opens > 0).map(|(inode, _)| *inode));
        let len = |inode| match &self.nodes[inode].kind {
            Kind::File(bytes) => bytes.len().next_multiple_of(4096),
            Kind::Dir(_) => 0,
        };
        used.iter().map(len).sum()
    }

    /// Begins a write; until it lands, a power cut may keep any part of it.
    pub(super) fn take_off(&mut self, inode: Inode, at: u64, bytes: Vec<u8>, durable: bool) -> u64 {
        let flight = self.next_flight;
        self.next_flight += 1;
        self.in_flight.insert(flight, InFlight { inode, at, bytes, durable });
        flight
    }

    /// Completes a write: all of it, or its first `bytes`.
    pub(super) fn land(&mut self, flight: u64, bytes: usize, now: Timestamp) {
        let Some(write) = self.in_flight.remove(&flight) else { return };
        self.touch(write.inode, now);
        let Kind::File(file) = &mut self.node(write.inode).kind else { unreachable!("only files are written") };
        file.write(write.at, &write.bytes[..bytes], write.durable);
    }

    /// Ends a write that failed: any part of it may be on the disk.
    pub(super) fn crash_land(&mut self, flight: u64, seed: &Seed, now: Timestamp) {
        let Some(write) = self.in_flight.remove(&flight) else { return };
        self.touch(write.inode, now);
        let Kind::File(file) = &mut self.node(write.inode).kind else { unreachable!("only files are written") };
        file.fail_write(seed, write.at, &write.bytes);
    }

    /// What a flush that begins now will cover: per file, the changes numbered below.
    pub(super) fn completed(&self) -> Vec<(Inode, u64)> {
        let waiting = self.nodes.iter().filter_map(|(inode, node)| match &node.kind {
            Kind::File(bytes) if bytes.has_pending() => Some((*inode, bytes.next())),
            _ => None,
        });
        waiting.collect()
    }

    /// The device was flushed: of what had completed, all that needs nothing but its own bytes on the disk is durable.
    pub(super) fn flush(&mut self, completed: &[(Inode, u64)]) {
        for (inode, before) in completed {
            if let Some(Node { kind: Kind::File(bytes), .. }) = self.nodes.get_mut(inode) {
                bytes.flush(*before);
            }
        }
    }

    /// Makes what had completed in any file durable, and the changes of names up to `last`.
    pub(super) fn sync_all(&mut self, completed: &[(Inode, u64)], last: u64, renames_tear: bool) {
        for (inode, before) in completed {
            if let Some(Node { kind: Kind::File(bytes), .. }) = self.nodes.get_mut(inode) {
                bytes.sync(*before);
            }
        }
        let is_dir = |node: &Node| matches!(node.kind, Kind::Dir(_));
        let dirs: Vec<Inode> = self.nodes.iter().filter(|(_, node)| is_dir(node)).map(|(inode, _)| *inode).collect();
        for dir in dirs {
            // Those removed meanwhile went with the first that was synced.
            if self.nodes.contains_key(&dir) {
                self.sync_dir(dir, last, renames_tear);
            }
        }
    }

    /// A sync of everything failed: of what had completed in each file, anything may be durable, and nothing more becomes so.
    pub(super) fn fail_sync_all(&mut self, completed: &[(Inode, u64)], seed: &Seed) {
        for (inode, _) in completed {
            if let Some(Node { kind: Kind::File(bytes), .. }) = self.nodes.get_mut(inode) {
                bytes.fail_sync(seed);
            }
        }
    }

    // Ends.

    /// The process died: what it began still lands.
    pub(super) fn land_all(&mut self, now: Timestamp) {
        while let Some((flight, write)) = self.in_flight.first_key_value() {
            let (flight, bytes) = (*flight, write.bytes.len());
            self.land(flight, bytes, now);
        }
        self.nodes.values_mut().for_each(|node| node.opens = 0);
    }

    /// The power went: what is durable is left, and of the rest what `survival` says.
    pub(super) fn cut_power(&mut self, seed: &Seed, survival: Survival, renames_tear: bool) {
        let mut in_flight: BTreeMap<Inode, Vec<(u64, Vec<u8>)>> = BTreeMap::new();
        for write in std::mem::take(&mut self.in_flight).into_values() {
            in_flight.entry(write.inode).or_default().push((write.at, write.bytes));
        }
        let whole = if renames_tear { BTreeMap::new() } else { self.fates_of_changes(seed, survival) };
        for (inode, node) in &mut self.nodes {
            node.opens = 0;
            match &mut node.kind {
                Kind::File(file) => file.cut_power(seed, survival, in_flight.remove(inode).unwrap_or_default()),
                Kind::Dir(names) => names.cut_power(seed, survival, &whole),
            }
        }
        self.forget_unreachable();
    }

    /// One fate for all parts of a change.
    fn fates_of_changes(&self, seed: &Seed, survival: Survival) -> BTreeMap<u64, Fate> {
        let changes: BTreeSet<u64> = self
            .nodes
            .values()
            .filter_map(|node| match &node.kind {
                Kind::Dir(names) => Some(names.pending.iter().map(|(change, ..)| *change)),
                Kind::File(_) => None,
            })
            .flatten()
            .collect();
        let fates = fates(seed, survival, changes.len(), changes.len());
        changes.into_iter().zip(fates).collect()
    }

    fn forget_unreachable(&mut self) {
        let mut reached = BTreeSet::new();
        let all = |names: &Names, found: &mut BTreeSet<Inode>| {
            found.extend(names.written.values().chain(names.durable.values()));
            found.extend(names.pending.iter().filter_map(|(_, _, to)| *to));
        };
        self.reach(ROOT, &mut reached, &all);
        for (inode, _) in self.nodes.iter().filter(|(_, node)| node.opens > 0) {
            self.reach(*inode, &mut reached, &all);
        }
        self.nodes.retain(|inode, _| reached.contains(inode));
    }

    fn reach(&self, from: Inode, reached: &mut BTreeSet<Inode>, below: &impl Fn(&Names, &mut BTreeSet<Inode>)) {
        if !reached.insert(from) {
            return;
        }
        if let Kind::Dir(names) = &self.nodes[&from].kind {
            let mut found = BTreeSet::new();
            below(names, &mut found);
            for inode in found {
                self.reach(inode, reached, below);
            }
        }
    }

    /// Every file by path, in order.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let mut dirs = vec![(PathBuf::from("/"), ROOT)];
        while let Some((path, dir)) = dirs.pop() {
            for (name, inode) in &self.names(dir).expect("only directories are pushed").written {
                match self.nodes[inode].kind {
                    Kind::File(_) => files.push(path.join(name)),
                    Kind::Dir(_) => dirs.push((path.join(name), *inode)),
                }
            }
        }
        files.sort();
        files
    }
}

fn set(names: &mut BTreeMap<String, Inode>, name: String, to: Option<Inode>) {
    match to {
        Some(inode) => names.insert(name, inode),
        None => names.remove(&name),
    };
}

impl Names {
    /// Makes these changes durable, and those of the directory that came before, which are added; whether there were any.
    fn sync(&mut self, changes: &mut BTreeSet<u64>) -> bool {
        let Some(last) = self.pending.iter().rposition(|(change, ..)| changes.contains(change)) else { return false };
        for (change, name, to) in self.pending.drain(..=last) {
            set(&mut self.durable, name, to);
            changes.insert(change);
        }
        true
    }

    /// What is left of the names; `whole` has the fates of changes that do not come apart.
    fn cut_power(&mut self, seed: &Seed, survival: Survival, whole: &BTreeMap<u64, Fate>) {
        let pending = std::mem::take(&mut self.pending);
        let own = fates(seed, survival, pending.len(), pending.len());
        for ((change, name, to), own) in pending.into_iter().zip(own) {
            let survives = match whole.get(&change).copied().unwrap_or(own) {
                Fate::Kept => true,
                Fate::Lost => false,
                // One change has one fate, also where it is neither: by its number.
                Fate::Torn => change % 2 == 0,
            };
            if survives {
                set(&mut self.durable, name, to);
            }
        }
        self.written = self.durable.clone();
    }
}
