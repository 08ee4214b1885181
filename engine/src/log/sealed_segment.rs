//! A segment that is complete: its file has exactly its bytes and never changes again.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::log::segment_file::SegmentFile;
use crate::log::segment_index::SegmentIndex;
use crate::types::{Offset, Position, Timestamp};

/// A complete segment; what is known of it beyond its name is loaded when it is first needed.
pub struct SealedSegment {
    /// The offset of its first record; also the name of its files.
    pub base: Offset,
    /// Its file.
    pub file: Rc<SegmentFile>,
    facts: RefCell<Facts>,
    index_turn: tokio::sync::Mutex<()>,
    is_replaced: Cell<bool>,
}

#[derive(Clone, Default)]
struct Facts {
    size: Option<Position>,
    max_timestamp: Option<Timestamp>,
    index: Option<Rc<SegmentIndex>>,
}

impl SealedSegment {
    /// A segment found in the directory.
    pub fn found(base: Offset, file: Rc<SegmentFile>) -> SealedSegment {
        SealedSegment::new(base, file, Facts::default())
    }

    /// A segment just sealed.
    pub fn sealed(base: Offset, file: Rc<SegmentFile>, size: Position, max_timestamp: Timestamp) -> SealedSegment {
        let facts = Facts { size: Some(size), max_timestamp: Some(max_timestamp), index: None };
        SealedSegment::new(base, file, facts)
    }

    fn new(base: Offset, file: Rc<SegmentFile>, facts: Facts) -> SealedSegment {
        let (facts, index_turn, is_replaced) = (RefCell::new(facts), tokio::sync::Mutex::new(()), Cell::new(false));
        SealedSegment { base, file, facts, index_turn, is_replaced }
    }

    /// Held by whoever reads or writes its index files.
    pub fn index_turn(&self) -> &tokio::sync::Mutex<()> {
        &self.index_turn
    }

    /// Another is about to take its name: what is found under it from now on is not its own. Its file is open and its size known.
    pub fn replace(&self) {
        self.is_replaced.set(true);
    }

    /// Whether its name is another's.
    pub fn is_replaced(&self) -> bool {
        self.is_replaced.get()
    }

    /// The file's length, where it is known.
    pub fn size(&self) -> Option<Position> {
        self.facts.borrow().size
    }

    /// Remembers the file's length.
    pub fn set_size(&self, size: Position) {
        self.facts.borrow_mut().size = Some(size);
    }

    /// The largest timestamp, where it is known.
    pub fn max_timestamp(&self) -> Option<Timestamp> {
        self.facts.borrow().max_timestamp
    }

    /// Remembers the largest timestamp.
    pub fn set_max_timestamp(&self, max_timestamp: Timestamp) {
        self.facts.borrow_mut().max_timestamp = Some(max_timestamp);
    }

    /// The indexes, where they are in memory.
    pub fn index(&self) -> Option<Rc<SegmentIndex>> {
        self.facts.borrow().index.clone()
    }

    /// Keeps the indexes in memory, or lets them go.
    pub fn set_index(&self, index: Option<Rc<SegmentIndex>>) {
        self.facts.borrow_mut().index = index;
    }
}

/// The name of a segment's file: the base offset in 20 digits and the suffix without its dot.
pub fn segment_file_name(base: Offset, suffix: &str) -> String {
    format!("{:020}.{suffix}", base.0)
}

/// Reads a base offset from a segment's file name with the suffix `log`.
pub fn segment_base_of(name: &str) -> Option<Offset> {
    let digits = name.strip_suffix(".log")?;
    (digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.parse().ok().map(Offset))?
}
