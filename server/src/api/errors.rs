//! The one table from what can go wrong to Kafka's error codes.

use corelog_engine::Error;
use corelog_engine::batch::{BatchError, BatchErrorKind};
use corelog_engine::log::ProducerError;
use corelog_replication::metadata::MetadataError;
use corelog_replication::partition::AckError;

use crate::protocol::ErrorCode;

/// The code for a fault of the store.
///
/// What may pass is a code that clients retry by themselves: a full disk and a failed log directory are
/// KAFKA_STORAGE_ERROR, too much at once is REQUEST_TIMED_OUT, a broker that shuts down NOT_LEADER_OR_FOLLOWER.
pub(super) fn code(error: &Error) -> ErrorCode {
    match error {
        Error::Batch(error) => batch_code(error),
        Error::Producer(ProducerError::OutOfOrderSequence { .. }) => ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER,
        Error::Producer(ProducerError::InvalidEpoch { .. }) => ErrorCode::INVALID_PRODUCER_EPOCH,
        Error::Producer(ProducerError::InvalidTransactionState { .. }) => ErrorCode::INVALID_TXN_STATE,
        Error::OffsetOutOfRange { .. } => ErrorCode::OFFSET_OUT_OF_RANGE,
        Error::DiskFull { .. } | Error::Offline { .. } | Error::Io { .. } => ErrorCode::KAFKA_STORAGE_ERROR,
        // Asked for only where the metadata has the partition: the store is behind, or could not follow.
        Error::UnknownPartition(_) => ErrorCode::KAFKA_STORAGE_ERROR,
        Error::Corrupt { .. } => ErrorCode::CORRUPT_MESSAGE,
        Error::PartitionExists(_) => ErrorCode::TOPIC_ALREADY_EXISTS,
        Error::Overloaded(_) => ErrorCode::REQUEST_TIMED_OUT,
        Error::Closed | Error::FencedEpoch { .. } => ErrorCode::NOT_LEADER_OR_FOLLOWER,
        Error::Setting { .. } => ErrorCode::INVALID_CONFIG,
        Error::Locked { .. } | Error::NewerFormat { .. } | Error::Unsupported { .. } => ErrorCode::UNKNOWN_SERVER_ERROR,
    }
}

/// The code for a batch that is refused.
pub(super) fn batch_code(error: &BatchError) -> ErrorCode {
    match error.kind() {
        BatchErrorKind::Corrupt => ErrorCode::CORRUPT_MESSAGE,
        BatchErrorKind::TooLarge => ErrorCode::MESSAGE_TOO_LARGE,
        BatchErrorKind::InvalidTimestamp => ErrorCode::INVALID_TIMESTAMP,
        BatchErrorKind::InvalidRecord | BatchErrorKind::UnsupportedMagic => ErrorCode::INVALID_RECORD,
        BatchErrorKind::UnsupportedCodec => ErrorCode::UNSUPPORTED_COMPRESSION_TYPE,
    }
}

/// The code for too few replicas.
pub(super) fn ack_code(error: &AckError) -> ErrorCode {
    match error {
        AckError::NotEnoughReplicas { .. } => ErrorCode::NOT_ENOUGH_REPLICAS,
        AckError::NotEnoughReplicasAfterAppend { .. } => ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND,
    }
}

/// The code for a change of metadata that is refused.
pub(super) fn metadata_code(error: &MetadataError) -> ErrorCode {
    ErrorCode(error.refusal.code())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_by_itself_is_retried_by_clients() {
        let full = Error::DiskFull { path: "/d".into() };
        let offline = Error::Offline { what: "d".into(), reason: "r".into() };
        assert_eq!(code(&full), ErrorCode::KAFKA_STORAGE_ERROR);
        assert_eq!(code(&offline), ErrorCode::KAFKA_STORAGE_ERROR);
        assert_eq!(code(&Error::Overloaded("o".into())), ErrorCode::REQUEST_TIMED_OUT);
        assert_eq!(code(&Error::Closed), ErrorCode::NOT_LEADER_OR_FOLLOWER);
    }
}
