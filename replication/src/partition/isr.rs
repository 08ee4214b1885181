//! The in-sync replicas of a partition, and how many of them an `acks=-1` append needs.

use crate::NodeId;

/// The committed in-sync set, ordered by node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Isr {
    nodes: Vec<NodeId>,
    /// `min(min.insync.replicas, number of replicas)`: a topic of one replica is not blocked by a broker default of two
    /// (Kafka's `Partition.effectiveMinIsr`).
    wanted: usize,
}

impl Isr {
    /// The set of `nodes` in a partition of `replicas` replicas whose topic has `min.insync.replicas` = `min`.
    pub fn new(nodes: &[NodeId], replicas: usize, min: usize) -> Isr {
        assert!(nodes.len() <= replicas, "{} of {replicas} replicas in sync", nodes.len());
        let mut nodes = nodes.to_vec();
        nodes.sort_unstable();
        nodes.dedup();
        Isr { nodes, wanted: min.clamp(1, replicas.max(1)) }
    }

    /// The nodes, ordered.
    pub fn nodes(&self) -> &[NodeId] {
        &self.nodes
    }

    /// Whether `node` is in sync.
    pub fn contains(&self, node: NodeId) -> bool {
        self.nodes.binary_search(&node).is_ok()
    }

    /// How many are in sync.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether none is in sync.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// How many must be in sync for `acks=-1` and for the high watermark to move.
    pub fn wanted(&self) -> usize {
        self.wanted
    }

    /// Whether too few are in sync.
    pub fn is_under_min(&self) -> bool {
        self.nodes.len() < self.wanted
    }
}
