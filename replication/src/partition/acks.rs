//! What a producer waits for (`acks`), and why it may be refused.

/// The `acks` of a Produce request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Acks {
    /// 0: no answer.
    None,
    /// 1: the leader has it; on stable storage where the topic is durable.
    Leader,
    /// -1: every in-sync replica has it, and there are at least `min.insync.replicas` of them.
    All,
}

impl Acks {
    /// Reads the wire's number; `None` for anything but -1, 0 and 1 (INVALID_REQUIRED_ACKS).
    pub fn from_wire(acks: i16) -> Option<Acks> {
        match acks {
            -1 => Some(Acks::All),
            0 => Some(Acks::None),
            1 => Some(Acks::Leader),
            _ => None,
        }
    }
}

/// Too few replicas are in sync for `acks=-1`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AckError {
    /// Nothing was appended (NOT_ENOUGH_REPLICAS, 19).
    #[error("{in_sync} replicas are in sync, min.insync.replicas asks for {wanted}")]
    NotEnoughReplicas {
        /// The size of the in-sync set.
        in_sync: usize,
        /// `min.insync.replicas`, at most the number of replicas.
        wanted: usize,
    },
    /// It was appended, but the in-sync set shrank meanwhile (NOT_ENOUGH_REPLICAS_AFTER_APPEND, 20).
    #[error("{in_sync} replicas are in sync after the append, min.insync.replicas asks for {wanted}")]
    NotEnoughReplicasAfterAppend {
        /// The size of the in-sync set.
        in_sync: usize,
        /// `min.insync.replicas`, at most the number of replicas.
        wanted: usize,
    },
}

/// How an append with `acks=-1` stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Acknowledged {
    /// The high watermark has not reached it.
    NotYet,
    /// Every in-sync replica has it, and they are enough.
    Yes,
    /// The high watermark reached it, but too few replicas are in sync now.
    Refused(AckError),
}
