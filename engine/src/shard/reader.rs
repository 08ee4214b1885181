//! Reads: the newest bytes from memory, older ones by large reads of the file.

use std::rc::Rc;

use crate::batch::BatchHeader;
use crate::checksum::crc32c_append;
use crate::error::{Error, Result};
use crate::io::{File, Slice};
use crate::log::{LogOffsets, Place, SealedSegment, SegmentIndex, Slices, decode_points};
use crate::shard::partition::{Cursor, Partition};
use crate::shard::read_stream::{Pace, READ_BYTES, ReadStream};
use crate::shard::shard::Shard;
use crate::types::{BLOCK_BYTES, Offset, Position, TopicPartition};

/// The bytes read at first where a batch's place is only known to an index entry.
const SEEK_BYTES: u64 = 64 << 10;
/// What an index in memory takes beside its entries, in bytes.
const INDEX_BYTES: usize = 256;
/// The bytes of a batch's header before what its checksum covers.
const CRC_FROM: usize = 21;

/// How far a reader may see.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReadUpTo {
    /// Consumers.
    HighWatermark,
    /// Consumers of committed transactions.
    LastStable,
    /// Followers and tools: everything appended.
    End,
}

/// What is to be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReadRequest {
    /// The first offset wanted. If it is inside a batch, the whole batch is given.
    pub from: Offset,
    /// At most so many bytes, in whole batches.
    pub bytes_max: usize,
    /// Whether the first batch is given even where it alone is larger.
    pub at_least_one: bool,
    /// How far the reader may see.
    pub up_to: ReadUpTo,
}

/// Whole batches, contiguous, as they are stored.
#[derive(Clone, Debug)]
pub struct ReadBatches {
    /// Their bytes, in parts.
    pub slices: Vec<Slice>,
    /// How many they are.
    pub bytes: usize,
    /// The offset behind the last record; where to go on.
    pub next_offset: Offset,
    /// How far the log reached.
    pub offsets: LogOffsets,
}

/// Where a read's bytes are: in a file up to one place, and behind it, for an open segment, in memory.
struct Source {
    file_end: Position,
    memory: Slices,
    end: Position,
    attached: bool,
    /// Whether offsets may be missing, as compaction leaves it.
    has_gaps: bool,
}

impl Source {
    /// Whether a batch is the one that a read goes on with at `offset`: no checksum covers its base offset. The first batch of a read
    /// holds the offset, the others begin with it.
    fn follows(&self, header: &BatchHeader, offset: Offset, is_first: bool) -> bool {
        let begins = header.base_offset == offset
            || (is_first && header.base_offset < offset)
            || (self.has_gaps && header.base_offset > offset);
        begins && header.next_offset() > offset
    }
}

impl ReadBatches {
    fn empty(from: Offset, offsets: LogOffsets) -> ReadBatches {
        ReadBatches { slices: Vec::new(), bytes: 0, next_offset: from, offsets }
    }

    /// All bytes in one piece.
    pub fn to_vec(&self) -> Vec<u8> {
        self.slices.iter().flat_map(|slice| slice.iter().copied()).collect()
    }
}

impl Shard {
    /// Reads batches from an offset on: at most to the end of the segment that it is in.
    ///
    /// # Errors
    /// [`Error::OffsetOutOfRange`]; [`Error::Corrupt`] with file and position where the segment's bytes are damaged: they are never
    /// given out.
    pub async fn read(self: &Rc<Self>, name: &TopicPartition, request: ReadRequest) -> Result<ReadBatches> {
        let partition = self.partition(name)?;
        self.read_from(&partition, request).await
    }

    pub(super) async fn read_from(
        self: &Rc<Self>,
        partition: &Rc<Partition>,
        request: ReadRequest,
    ) -> Result<ReadBatches> {
        partition.check()?;
        let offsets = partition.offsets();
        if request.from < offsets.start || request.from > offsets.end {
            return Err(Error::OffsetOutOfRange { requested: request.from, start: offsets.start, end: offsets.end });
        }
        let limit = match request.up_to {
            ReadUpTo::HighWatermark => offsets.high_watermark,
            ReadUpTo::LastStable => offsets.last_stable,
            ReadUpTo::End => offsets.end,
        };
        if request.from >= limit {
            return Ok(ReadBatches::empty(request.from, offsets));
        }
        if let Some(read) = self.read_memory(partition, &request, limit, offsets) {
            self.metrics.reads_memory.add(1);
            return Ok(read);
        }
        self.metrics.reads_file.add(1);
        let read = self.read_file(partition, &request, limit, offsets).await;
        let LogOffsets { start, end, .. } = partition.offsets();
        match read {
            // Deleted meanwhile, its file with it.
            Err(_) if request.from < start => Err(Error::OffsetOutOfRange { requested: request.from, start, end }),
            read => read,
        }
    }

    fn read_memory(
        &self,
        partition: &Partition,
        request: &ReadRequest,
        limit: Offset,
        offsets: LogOffsets,
    ) -> Option<ReadBatches> {
        let log = partition.log.borrow();
        let cursor = partition.take_cursor(request.from);
        let known = cursor.filter(|cursor| {
            // A reader that stopped at the end of a segment goes on in the next one, if that one was rolled meanwhile.
            log.open_segment(cursor.segment).is_some_and(|segment| {
                segment.tail().start() <= cursor.position && cursor.position < segment.tail().end()
            })
        });
        let (base, mut position) = match known {
            Some(cursor) => (cursor.segment, cursor.position),
            None => match log.place(request.from) {
                Place::Memory(base, position) => (base, position),
                _ => return None,
            },
        };
        let segment = log.open_segment(base)?;
        let tail = segment.tail();
        if known.is_none() {
            position = tail.find(position, request.from);
        }
        let mut end = position;
        let mut next_offset = request.from;
        while end < tail.end() {
            let header = tail.header(end);
            let bytes = header.size_bytes() as u64;
            let fits = end + bytes - position <= request.bytes_max as u64 || (request.at_least_one && end == position);
            if header.base_offset >= limit || !fits {
                break;
            }
            end += bytes;
            next_offset = header.next_offset();
        }
        if end == tail.end() && end == position && base == log.active().base() {
            // Compaction left nothing from there on, and then the log was cut.
            next_offset = offsets.end;
        }
        if end == tail.end() && base != log.active().base() {
            // The next batch is the first of the next segment.
            let segment = log.segment_after(base).expect("a rolled segment is followed by another");
            partition.keep_cursor(Cursor { offset: next_offset, segment, position: Position::ZERO });
        } else {
            partition.keep_cursor(Cursor { offset: next_offset, segment: base, position: end });
        }
        let slices = tail.slices(position, end);
        Some(ReadBatches { slices: slices.into_vec(), bytes: (end - position) as usize, next_offset, offsets })
    }

    async fn read_file(
        self: &Rc<Self>,
        partition: &Rc<Partition>,
        request: &ReadRequest,
        limit: Offset,
        offsets: LogOffsets,
    ) -> Result<ReadBatches> {
        let _work = partition.work();
        let place = partition.log.borrow().place(request.from);
        let (has_gaps, upheavals) = (partition.has_gaps(), partition.upheavals());
        let mut sealed = None;
        let (base, file, mut source) = match place {
            Place::Memory(..) => {
                // It came into memory's reach meanwhile.
                let read = self.read_memory(partition, request, limit, offsets);
                return Ok(read.unwrap_or_else(|| ReadBatches::empty(request.from, offsets)));
            }
            Place::OpenFile(base) => {
                let log = partition.log.borrow();
                let segment = log.open_segment(base).expect("just placed");
                // The last batch that begins in the file may end in memory.
                let (written, end) = (segment.written(), segment.end());
                let memory = segment.tail().slices(written, end);
                (base, segment.file().clone(), Source { file_end: written, memory, end, attached: false, has_gaps })
            }
            Place::Sealed(base) => {
                let found = partition.log.borrow().sealed_segment(base).expect("just placed");
                let end = self.sealed_size(&found).await?;
                let file = found.file.clone();
                sealed = Some(found);
                (base, file, Source { file_end: end, memory: Slices::new(), end, attached: false, has_gaps })
            }
        };
        let open = file.readable(&self.io).await?;
        // A segment that was replaced meanwhile is read to the end; the streams are of the one in its place.
        let is_current = partition.upheavals() == upheavals;
        let kept = is_current.then(|| partition.streams.borrow_mut().take(base, request.from)).flatten();
        let mut stream = match kept {
            Some(stream) => stream,
            None => {
                let position = self.file_position(partition, sealed.as_ref(), base, request.from).await?;
                ReadStream::new(base, position)
            }
        };
        if stream.is_ahead() {
            self.metrics.read_ahead_hits.add(1);
        }
        let read = self.read_batches(&mut stream, &open, &mut source, request, limit, offsets).await;
        if source.attached {
            stream.detach(source.file_end);
        }
        match &read {
            Ok(read) if read.bytes > 0 => {
                if partition.upheavals() == upheavals {
                    partition.streams.borrow_mut().keep(stream);
                }
            }
            // Compaction by others may leave a segment without its last offsets.
            Ok(_) if sealed.is_some() && has_gaps && stream.position >= source.end => {
                let next = match partition.upheavals() == upheavals {
                    true => partition.log.borrow().segment_after(base).filter(|next| *next > request.from),
                    false => Some(request.from),
                };
                if let Some(from) = next {
                    return Box::pin(self.read_from(partition, ReadRequest { from, ..*request })).await;
                }
            }
            // The same at the end of a log that was cut.
            Ok(_) if has_gaps && stream.position >= source.end => {
                return Ok(ReadBatches::empty(offsets.end, offsets));
            }
            Ok(_) => {}
            Err(error) => {
                if matches!(error, Error::Corrupt { .. }) {
                    self.metrics.damaged.add(1);
                    tracing::error!(%error, partition = %partition.name, "damaged bytes are not served");
                }
            }
        }
        read
    }

    async fn read_batches(
        &self,
        stream: &mut ReadStream,
        file: &File,
        source: &mut Source,
        request: &ReadRequest,
        limit: Offset,
        offsets: LogOffsets,
    ) -> Result<ReadBatches> {
        let exact = stream.next_offset == Some(request.from);
        stream.pace = self.read_pace();
        let wanted = request.bytes_max.min(stream.pace.read_bytes) as u64;
        let first = if exact { wanted } else { SEEK_BYTES.max(wanted) };
        stream.read_up_to(&self.io, file, stream.position + first, source.file_end);
        stream.wait(stream.position + 1).await?;
        let file_end = source.end;
        let mut start = stream.position;
        if !exact {
            start = self.seek(stream, file, source, request.from).await?;
        }
        let mut end = start;
        let mut next_offset = request.from;
        while end < file_end {
            let Some(header) = self.header_at(stream, file, end, source).await? else { break };
            let bytes = header.size_bytes() as u64;
            let fits = end + bytes - start <= request.bytes_max as u64 || (request.at_least_one && end == start);
            if !source.follows(&header, next_offset, end == start) {
                if end > start {
                    break;
                }
                let what = format!("offset {} is there, where {next_offset} was to follow", header.base_offset);
                return Err(Error::corrupt(file.path(), Some(end), what));
            }
            if header.base_offset >= limit || !fits {
                break;
            }
            if end + bytes > file_end {
                if end == start {
                    let what = format!("a batch of {bytes} bytes reaches beyond the end at {file_end}");
                    return Err(Error::corrupt(file.path(), Some(end), what));
                }
                break;
            }
            self.have(stream, file, end + bytes, source).await?;
            if !self.is_sound(stream, end, &header) {
                if end > start {
                    break;
                }
                let what = format!("the checksum of the batch at offset {} does not match", header.base_offset);
                return Err(Error::corrupt(file.path(), Some(end), what));
            }
            end += bytes;
            next_offset = header.next_offset();
        }
        let slices = stream.slices(start, end);
        self.metrics.bytes_read_file.add(end - start);
        stream.advance(end, next_offset);
        Ok(ReadBatches { slices: slices.into_vec(), bytes: (end - start) as usize, next_offset, offsets })
    }

    /// The header at `position`, read if it is not here yet; `None` at the end of the file.
    async fn header_at(
        &self,
        stream: &mut ReadStream,
        file: &File,
        position: Position,
        source: &mut Source,
    ) -> Result<Option<BatchHeader>> {
        if let Some(header) = stream.header(file, position)? {
            return Ok(Some(header));
        }
        let end = position + crate::batch::HEADER_BYTES as u64;
        if end > source.end {
            return Ok(None);
        }
        self.have(stream, file, end, source).await?;
        stream.header(file, position)
    }

    /// Reads so that everything up to `end`, which the source has, is here.
    async fn have(&self, stream: &mut ReadStream, file: &File, end: Position, source: &mut Source) -> Result<()> {
        if stream.held_end() >= end {
            return Ok(());
        }
        stream.pace = self.read_pace();
        stream.read_up_to(&self.io, file, end, source.file_end);
        if end > source.file_end && !source.attached {
            stream.attach(source.file_end, &source.memory);
            source.attached = true;
        }
        stream.wait(end).await?;
        if stream.held_end() < end {
            let what = format!("the file ends before the recorded end at {}", source.file_end);
            return Err(Error::corrupt(file.path(), Some(stream.held_end()), what));
        }
        Ok(())
    }

    /// Readers of files give way to appends that wait for the device.
    fn read_pace(&self) -> Pace {
        if self.commits_lately() { Pace::BESIDE_COMMITS } else { Pace::FULL }
    }

    /// Walks to the batch that holds `offset`.
    async fn seek(
        &self,
        stream: &mut ReadStream,
        file: &File,
        source: &mut Source,
        offset: Offset,
    ) -> Result<Position> {
        let mut at = stream.position;
        while at < source.end {
            let Some(header) = self.header_at(stream, file, at, source).await? else { break };
            if header.last_offset() >= offset {
                break;
            }
            at += header.size_bytes() as u64;
            if at - stream.position > READ_BYTES as u64 {
                stream.advance(at, header.next_offset());
            }
        }
        Ok(at)
    }

    fn is_sound(&self, stream: &ReadStream, position: Position, header: &BatchHeader) -> bool {
        let from = position + CRC_FROM as u64;
        let to = position + header.size_bytes() as u64;
        let parts = stream.slices(from, to);
        parts.iter().fold(0, |crc, part| crc32c_append(crc, part)) == header.crc
    }

    /// The length of a sealed segment.
    pub(super) async fn sealed_size(&self, sealed: &SealedSegment) -> Result<Position> {
        if let Some(size) = sealed.size() {
            return Ok(size);
        }
        let size = match self.io.file_len(sealed.file.path()).await? {
            Some(bytes) => Position(bytes),
            None => return Err(Error::corrupt(sealed.file.path(), None, "the segment's file is missing")),
        };
        sealed.set_size(size);
        Ok(size)
    }

    /// Where in a segment's file to begin to look for `offset`.
    async fn file_position(
        self: &Rc<Self>,
        partition: &Rc<Partition>,
        sealed: Option<&Rc<SealedSegment>>,
        base: Offset,
        offset: Offset,
    ) -> Result<Position> {
        if offset == base {
            return Ok(Position::ZERO);
        }
        if let Some(sealed) = sealed {
            return Ok(self.sealed_index(sealed).await?.position_for(offset));
        }
        self.load_points(partition, base).await?;
        let log = partition.log.borrow();
        Ok(log.open_segment(base).and_then(|segment| segment.floor(offset)).unwrap_or(Position::ZERO))
    }

    /// The indexes of a sealed segment: from memory, from its index files, or, where those are missing or damaged, made anew
    /// from the segment and written back.
    pub(super) async fn sealed_index(&self, sealed: &Rc<SealedSegment>) -> Result<Rc<SegmentIndex>> {
        if let Some(index) = sealed.index() {
            return Ok(index);
        }
        let _turn = sealed.index_turn().lock().await;
        if let Some(index) = sealed.index() {
            return Ok(index);
        }
        let size = self.sealed_size(sealed).await?;
        if sealed.is_replaced() {
            return Ok(Rc::new(self.scan_index(sealed, size).await?));
        }
        let index = match self.stored_index(sealed, size).await {
            Ok(index) => index,
            Err(error) => {
                tracing::warn!(%error, "the index is made anew from its segment");
                let index = self.scan_index(sealed, size).await?;
                self.store_index(sealed, &index).await;
                index
            }
        };
        let index = Rc::new(index);
        self.keep_index(sealed, &index);
        Ok(index)
    }

    /// Keeps an index in memory; the oldest ones give way.
    pub(super) fn keep_index(&self, sealed: &Rc<SealedSegment>, index: &Rc<SegmentIndex>) {
        sealed.set_index(Some(index.clone()));
        let mut kept = self.indexes.borrow_mut();
        let bytes = index.memory_bytes() + INDEX_BYTES;
        kept.push_back((sealed.clone(), bytes));
        let mut held = self.index_bytes.get() + bytes;
        while held > self.config.index_cache_bytes && kept.len() > 1 {
            let (oldest, freed) = kept.pop_front().expect("there are two");
            oldest.set_index(None);
            held -= freed;
        }
        self.index_bytes.set(held);
    }

    /// Keeps a segment's new indexes, in memory and on disk.
    pub(super) async fn store_new_index(&self, sealed: &Rc<SealedSegment>, index: SegmentIndex) {
        let _turn = sealed.index_turn().lock().await;
        let index = Rc::new(index);
        self.keep_index(sealed, &index);
        self.store_index(sealed, &index).await;
    }

    /// Lets the indexes of segments go that are no more.
    pub(super) fn forget_indexes<'a>(&self, segments: impl IntoIterator<Item = &'a Rc<SealedSegment>>) {
        let gone: Vec<_> = segments.into_iter().collect();
        let mut freed = 0;
        self.indexes.borrow_mut().retain(|(segment, bytes)| {
            let is_gone = gone.iter().any(|other| Rc::ptr_eq(other, segment));
            freed += if is_gone { *bytes } else { 0 };
            !is_gone
        });
        self.index_bytes.set(self.index_bytes.get() - freed);
        gone.iter().for_each(|segment| segment.set_index(None));
    }

    /// Puts an index that was made anew where it belongs. Where that fails the next reader makes it again.
    async fn store_index(&self, sealed: &SealedSegment, index: &SegmentIndex) {
        let path = sealed.file.path();
        for (suffix, bytes) in [("index", index.offsets.encode()), ("timeindex", index.times.encode())] {
            if let Err(error) = self.io.replace_file(&path.with_extension(suffix), bytes).await {
                tracing::warn!(%error, "an index that was made anew is not kept");
            }
        }
    }

    async fn stored_index(&self, sealed: &SealedSegment, size: Position) -> Result<SegmentIndex> {
        let path = sealed.file.path();
        let (offsets_path, times_path) = (path.with_extension("index"), path.with_extension("timeindex"));
        let offsets = self.io.read_file(&offsets_path).await?;
        let offsets = crate::log::OffsetIndex::decode(&offsets_path, sealed.base, &offsets, size)?;
        let times = self.io.read_file(&times_path).await?;
        let end = Offset(i64::MAX);
        let times = crate::log::TimeIndex::decode(&times_path, sealed.base, &times, end)?;
        let index = SegmentIndex { offsets, times };
        self.check_index(sealed, &index, size).await?;
        Ok(index)
    }

    /// Looks whether the last entry points at a batch that ends the way it says: an index of other bytes does not.
    async fn check_index(&self, sealed: &SealedSegment, index: &SegmentIndex, size: Position) -> Result<()> {
        let Some((offset, position)) = index.offsets.last() else { return Ok(()) };
        let file = sealed.file.readable(&self.io).await?;
        let mut stream = ReadStream::new(sealed.base, position);
        stream.read_up_to(&self.io, &file, position + BLOCK_BYTES, size);
        stream.wait(position + 1).await?;
        let mut source = Source { file_end: size, memory: Slices::new(), end: size, attached: false, has_gaps: true };
        let found = self.header_at(&mut stream, &file, position, &mut source).await;
        match found {
            Ok(Some(header)) if header.last_offset() == offset => Ok(()),
            _ => {
                let path = sealed.file.path().with_extension("index");
                let what = format!(
                    "its last entry says that offset {offset} is at {position} of the segment, which it is not"
                );
                Err(Error::corrupt(&path, None, what))
            }
        }
    }

    /// Makes a segment's indexes from its batches.
    async fn scan_index(&self, sealed: &SealedSegment, size: Position) -> Result<SegmentIndex> {
        let file = sealed.file.readable(&self.io).await?;
        let scanned = self.scan_points(sealed.base, &file, Position::ZERO, size).await?;
        let mut index = SegmentIndex::new(sealed.base);
        for point in &scanned.points {
            index.push(*point);
        }
        index.finish(scanned.max_timestamp, scanned.max_timestamp_offset);
        Ok(index)
    }

    /// Brings the index points of an open segment that are only on disk into memory.
    pub(super) async fn load_points(self: &Rc<Self>, partition: &Rc<Partition>, base: Offset) -> Result<()> {
        let (missing, path, file, written) = {
            let log = partition.log.borrow();
            let Some(segment) = log.open_segment(base) else { return Ok(()) };
            let file = segment.file().clone();
            (segment.dropped_points(), file.path().with_extension("points"), file, segment.written())
        };
        if missing == 0 {
            return Ok(());
        }
        let stored = match self.io.file_len(&path).await? {
            Some(_) => decode_points(base, &self.io.read_file(&path).await?),
            None => Vec::new(),
        };
        let points = if stored.len() >= missing {
            stored[..missing].to_vec()
        } else {
            tracing::warn!(path = %path.display(), "index points are missing and made anew from the segment");
            let open = file.readable(&self.io).await?;
            let first_held = partition
                .log
                .borrow()
                .open_segment(base)
                .and_then(|segment| segment.points().0.first().map(|point| point.position));
            let to = first_held.unwrap_or(written).min(written);
            self.scan_points(base, &open, Position::ZERO, to).await?.points
        };
        if let Some(segment) = partition.log.borrow_mut().open_segment_mut(base) {
            segment.points_loaded(missing, points);
        }
        Ok(())
    }
}
