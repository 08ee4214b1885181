//! Batch after batch through bytes that hold many: a fetch answer, a piece of a segment.

use crate::batch::error::BatchError;
use crate::batch::header::BatchHeader;

/// Walks from header to header; see [`scan`].
#[derive(Clone, Debug)]
pub struct Scan<'a> {
    bytes: &'a [u8],
    position: usize,
    ended: bool,
}

/// The batches in `bytes`, each with its place and header. Ends at a last batch that is not there in whole, without an
/// error; ends after the first place that cannot be a batch, with one. Checksums are not looked at.
pub fn scan(bytes: &[u8]) -> Scan<'_> {
    Scan { bytes, position: 0, ended: false }
}

impl Scan<'_> {
    /// The end of the last whole batch that was given out.
    pub fn position(&self) -> usize {
        self.position
    }
}

impl Iterator for Scan<'_> {
    type Item = Result<(usize, BatchHeader), BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let rest = &self.bytes[self.position..];
        match BatchHeader::parse(rest) {
            Ok(header) if header.size_bytes() <= rest.len() => {
                let position = self.position;
                self.position += header.size_bytes();
                Some(Ok((position, header)))
            }
            Ok(_) | Err(BatchError::Short(_)) => {
                self.ended = true;
                None
            }
            Err(error) => {
                self.ended = true;
                Some(Err(error))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{BatchBuilder, Codec};
    use crate::types::{Offset, Timestamp};

    fn batch(base: i64) -> Vec<u8> {
        let mut builder = BatchBuilder::new(Codec::None);
        builder.push(Timestamp(1), None, Some(b"value"), &[]);
        builder.build(Offset(base))
    }

    #[test]
    fn a_partial_last_batch_ends_the_scan_without_an_error() {
        let bytes = [batch(0), batch(1), batch(2)].concat();
        let size = batch(0).len();
        for cut in 2 * size..3 * size {
            let mut scan = scan(&bytes[..cut]);
            let found: Vec<_> = scan.by_ref().map(|found| found.expect("good").1.base_offset).collect();
            assert_eq!(found, [Offset(0), Offset(1)]);
            assert_eq!(scan.position(), 2 * size);
        }
    }

    #[test]
    fn what_cannot_be_a_batch_ends_the_scan_with_an_error() {
        let bytes = [batch(0), vec![0; 100], batch(1)].concat();
        let found: Vec<_> = scan(&bytes).collect();
        assert_eq!(found.len(), 2);
        assert_eq!(found[1], Err(BatchError::Magic(0)));
    }
}
