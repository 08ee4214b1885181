//! Why a connection ends, in words for the log.

use std::io;

use super::input::FrameError;
use crate::api::Refused;

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    #[error("the client closed it")]
    Peer,
    #[error("the broker shuts down")]
    Shutdown,
    #[error("nothing moved for connections.max.idle.ms")]
    Idle,
    #[error("there are more than max.connections allows, and it was silent for the longest")]
    Room,
    #[error("its last answers took too long")]
    Drain,
    #[error("it held {0} bytes while nothing of it moved and the connections had used up corelog.connection.bytes")]
    Memory(usize),
    #[error("a produce request with acks=0 failed, and to close is the only way to say so")]
    Disconnect,
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("{0}")]
    Refused(#[from] Refused),
    #[error("{0}")]
    Io(#[from] io::Error),
}
