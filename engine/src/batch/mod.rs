//! Record batches of format v2: view, validate, iterate, build, codecs.

/// Why a batch is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// Fewer bytes than a batch header has.
    #[error("a record batch has at least 61 bytes, this one has {0}")]
    Short(usize),
}
