//! The leader of one partition: its epoch, how far each replica is, and from that the high watermark.
//!
//! The high watermark is the lowest *flushed* end over the in-sync replicas where the topic is durable, else the lowest
//! end. It never moves back while the epoch lasts, and it stands still while fewer replicas are in sync than
//! `min.insync.replicas` asks for (KIP-966, part 1). Truncation goes by leader epochs, never by the high watermark.
//!
//! Pure: every method takes an event and returns the [`Effects`] that the caller carries out on the log.

use std::collections::BTreeMap;

use corelog_engine::{Epoch, Offset};

use super::acks::{AckError, Acknowledged, Acks};
use super::isr::Isr;
use crate::NodeId;

/// Who leads a partition since when, as the cluster's metadata has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Assignment {
    /// The node this state machine runs on.
    pub leader: NodeId,
    /// The leader's reign.
    pub epoch: Epoch,
    /// All replicas in order of preference.
    pub replicas: Vec<NodeId>,
    /// The committed in-sync set.
    pub isr: Vec<NodeId>,
    /// `min.insync.replicas` of the topic.
    pub min_insync_replicas: usize,
    /// Whether the topic acknowledges from stable storage (`flush.messages` = 1).
    pub durable: bool,
}

/// How far the leader's own log is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LocalLog {
    /// First offset not yet assigned.
    pub end: Offset,
    /// First offset not on stable storage here.
    pub flushed: Offset,
    /// The high watermark known when the reign begins.
    pub high_watermark: Offset,
}

/// What the caller has to do after an event; empty where nothing changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[must_use = "effects are carried out by the caller"]
pub struct Effects {
    /// The new high watermark.
    pub high_watermark: Option<Offset>,
    /// The epoch that begins at the log's end: to be in the epoch cache before the first append or fetch of it.
    pub epoch: Option<Epoch>,
}

/// How far a replica is, as its latest fetch told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Progress {
    end: Offset,
    flushed: Offset,
}

/// The leader's state.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Leader {
    node: NodeId,
    epoch: Epoch,
    epoch_start: Offset,
    durable: bool,
    replicas: usize,
    isr: Isr,
    local: Progress,
    /// Replicas other than the leader. One that has not fetched in this epoch is not here: it may hold anything.
    followers: BTreeMap<NodeId, Progress>,
    high_watermark: Offset,
}

impl Leader {
    /// Begins a reign over a log that stands at `log`.
    pub fn elect(assignment: &Assignment, log: LocalLog) -> (Leader, Effects) {
        assert!(log.flushed <= log.end, "flushed {} is beyond the end {}", log.flushed, log.end);
        assert!(
            assignment.isr.contains(&assignment.leader),
            "node {} leads without being in sync with itself",
            assignment.leader
        );
        let mut leader = Leader {
            node: assignment.leader,
            epoch: assignment.epoch,
            epoch_start: log.end,
            durable: assignment.durable,
            replicas: assignment.replicas.len(),
            isr: Isr::new(&assignment.isr, assignment.replicas.len(), assignment.min_insync_replicas),
            local: Progress { end: log.end, flushed: log.flushed },
            followers: BTreeMap::new(),
            high_watermark: log.high_watermark.min(log.end),
        };
        let effects = Effects { epoch: Some(assignment.epoch), ..leader.advance() };
        (leader, effects)
    }

    /// The metadata has a newer view of this partition, this node leading still. A newer epoch begins a new reign;
    /// an older or equal view is ignored, since metadata may arrive late.
    pub fn on_assignment(&mut self, assignment: &Assignment) -> Effects {
        assert_eq!(assignment.leader, self.node, "another node leads");
        if assignment.epoch < self.epoch {
            return Effects::default();
        }
        if assignment.epoch > self.epoch {
            let log =
                LocalLog { end: self.local.end, flushed: self.local.flushed, high_watermark: self.high_watermark };
            let before = self.high_watermark;
            let (leader, mut effects) = Leader::elect(assignment, log);
            *self = leader;
            effects.high_watermark = effects.high_watermark.filter(|&now| now != before);
            return effects;
        }
        self.durable = assignment.durable;
        self.replicas = assignment.replicas.len();
        self.isr = Isr::new(&assignment.isr, self.replicas, assignment.min_insync_replicas);
        self.followers.retain(|node, _| assignment.replicas.contains(node));
        self.advance()
    }

    /// The leader's own log moved.
    pub fn on_local(&mut self, end: Offset, flushed: Offset) -> Effects {
        assert!(flushed <= end, "flushed {flushed} is beyond the end {end}");
        assert!(end >= self.high_watermark, "end {end} is before the high watermark {}", self.high_watermark);
        self.local = Progress { end, flushed };
        self.advance()
    }

    /// A follower fetches from `end`, so it has everything before it; `flushed` of that is on its stable storage.
    /// Both are taken as they are, since a follower that was cut back starts anew from where it is.
    pub fn on_fetch(&mut self, from: NodeId, end: Offset, flushed: Offset) -> Effects {
        assert_ne!(from, self.node, "a leader does not fetch from itself");
        // A follower cannot have more than the leader gave it: an end beyond ours is a log not yet cut back.
        let end = end.min(self.local.end);
        self.followers.insert(from, Progress { end, flushed: flushed.min(end) });
        self.advance()
    }

    /// The reign.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The log's end when the reign began.
    pub fn epoch_start(&self) -> Offset {
        self.epoch_start
    }

    /// First offset that a consumer may not read yet.
    pub fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// Whether the high watermark has reached the reign's start. Before that, the latest offset is not known: an earlier
    /// leader may have shown a higher one (KIP-207, OFFSET_NOT_AVAILABLE).
    pub fn knows_the_high_watermark(&self) -> bool {
        self.high_watermark >= self.epoch_start
    }

    /// The in-sync set.
    pub fn isr(&self) -> &Isr {
        &self.isr
    }

    /// Whether an append with these acks may begin.
    pub fn admit(&self, acks: Acks) -> Result<(), AckError> {
        if acks == Acks::All && self.isr.is_under_min() {
            return Err(AckError::NotEnoughReplicas { in_sync: self.isr.len(), wanted: self.isr.wanted() });
        }
        Ok(())
    }

    /// How an `acks=-1` append that ends before `next_offset` stands.
    pub fn acknowledged(&self, next_offset: Offset) -> Acknowledged {
        if self.high_watermark < next_offset {
            return Acknowledged::NotYet;
        }
        if self.isr.is_under_min() {
            return Acknowledged::Refused(AckError::NotEnoughReplicasAfterAppend {
                in_sync: self.isr.len(),
                wanted: self.isr.wanted(),
            });
        }
        Acknowledged::Yes
    }

    /// Whether `node` may be proposed for the in-sync set: it has all below the high watermark and all of earlier
    /// reigns (Kafka's `Partition.isFollowerInSync`).
    pub fn has_caught_up(&self, node: NodeId) -> bool {
        self.followers.get(&node).is_some_and(|progress| {
            let safe = self.safe(progress);
            safe >= self.high_watermark && safe >= self.epoch_start
        })
    }

    /// Moves the high watermark as far as every in-sync replica allows.
    fn advance(&mut self) -> Effects {
        if self.isr.is_under_min() {
            return Effects::default();
        }
        let mut lowest = self.safe(&self.local);
        for &node in self.isr.nodes().iter().filter(|&&node| node != self.node) {
            let Some(progress) = self.followers.get(&node) else {
                return Effects::default();
            };
            lowest = lowest.min(self.safe(progress));
        }
        if lowest <= self.high_watermark {
            return Effects::default();
        }
        self.high_watermark = lowest;
        Effects { high_watermark: Some(lowest), epoch: None }
    }

    fn safe(&self, progress: &Progress) -> Offset {
        if self.durable { progress.flushed } else { progress.end }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: NodeId = NodeId(1);
    const B: NodeId = NodeId(2);
    const C: NodeId = NodeId(3);

    fn assignment(replicas: &[NodeId], isr: &[NodeId], min: usize, durable: bool) -> Assignment {
        Assignment {
            leader: A,
            epoch: Epoch(5),
            replicas: replicas.to_vec(),
            isr: isr.to_vec(),
            min_insync_replicas: min,
            durable,
        }
    }

    fn log(end: i64, flushed: i64, high_watermark: i64) -> LocalLog {
        LocalLog { end: Offset(end), flushed: Offset(flushed), high_watermark: Offset(high_watermark) }
    }

    enum Event {
        Local(i64, i64),
        Fetch(NodeId, i64, i64),
        Isr(&'static [NodeId]),
    }
    use Event::{Fetch, Isr as InSync, Local};

    /// Runs events and gives the high watermark after each.
    fn run(start: &Assignment, log: LocalLog, events: &[Event]) -> Vec<i64> {
        let (mut leader, _) = Leader::elect(start, log);
        let mut seen = vec![leader.high_watermark().0];
        for event in events {
            let before = leader.high_watermark();
            let effects = match event {
                Local(end, flushed) => leader.on_local(Offset(*end), Offset(*flushed)),
                Fetch(from, end, flushed) => leader.on_fetch(*from, Offset(*end), Offset(*flushed)),
                InSync(isr) => leader.on_assignment(&Assignment { isr: isr.to_vec(), ..start.clone() }),
            };
            let after = leader.high_watermark();
            assert_eq!(
                effects.high_watermark,
                (after != before).then_some(after),
                "an effect for each move, and only then"
            );
            seen.push(after.0);
        }
        seen
    }

    #[test]
    fn the_high_watermark_follows_the_slowest_in_sync_replica() {
        type Case = (&'static str, Assignment, LocalLog, &'static [Event], &'static [i64]);
        let cases: &[Case] = &[
            (
                "alone and durable: what is flushed",
                assignment(&[A], &[A], 1, true),
                log(10, 10, 10),
                &[Local(15, 10), Local(15, 15), Local(20, 17)],
                &[10, 10, 15, 17],
            ),
            (
                "alone and not durable: what is appended",
                assignment(&[A], &[A], 1, false),
                log(10, 3, 3),
                &[Local(15, 3)],
                &[10, 15],
            ),
            (
                "alone: a broker default of two does not block one replica",
                assignment(&[A], &[A], 2, true),
                log(0, 0, 0),
                &[Local(4, 4)],
                &[0, 4],
            ),
            (
                "three: the slowest, and what it flushed",
                assignment(&[A, B, C], &[A, B, C], 2, true),
                log(10, 10, 0),
                &[Fetch(B, 10, 10), Fetch(C, 8, 4), Fetch(C, 10, 9)],
                &[0, 0, 4, 9],
            ),
            (
                "three: a silent in-sync replica holds it",
                assignment(&[A, B, C], &[A, B, C], 1, false),
                log(10, 10, 2),
                &[Fetch(B, 10, 10), Local(12, 12)],
                &[2, 2, 2],
            ),
            (
                "three: one that left the set does not hold it",
                assignment(&[A, B, C], &[A, B, C], 1, false),
                log(10, 10, 2),
                &[Fetch(B, 9, 9), InSync(&[A, B])],
                &[2, 2, 9],
            ),
            (
                "below min.insync.replicas it stands still",
                assignment(&[A, B, C], &[A, B], 2, false),
                log(10, 10, 2),
                &[Fetch(B, 5, 5), InSync(&[A]), Local(20, 20), InSync(&[A, B]), Fetch(B, 20, 20)],
                &[2, 5, 5, 5, 5, 20],
            ),
            (
                "it never moves back",
                assignment(&[A, B], &[A, B], 1, false),
                log(10, 10, 8),
                &[Fetch(B, 10, 10), Fetch(B, 3, 3), Fetch(B, 11, 11)],
                &[8, 10, 10, 10],
            ),
            (
                "a follower's claim beyond the leader's end is not believed",
                assignment(&[A, B], &[A, B], 1, false),
                log(10, 10, 0),
                &[Fetch(B, 99, 99), Local(12, 12)],
                &[0, 10, 10],
            ),
        ];
        for (name, start, log, events, expected) in cases {
            assert_eq!(&run(start, *log, events), expected, "{name}");
        }
    }

    #[test]
    fn a_reign_begins_with_its_epoch_at_the_logs_end() {
        let (mut leader, effects) = Leader::elect(&assignment(&[A, B], &[A, B], 1, true), log(10, 10, 7));
        assert_eq!(effects, Effects { epoch: Some(Epoch(5)), high_watermark: None });
        assert_eq!((leader.epoch_start(), leader.knows_the_high_watermark()), (Offset(10), false));
        let _ = leader.on_fetch(B, Offset(10), Offset(10));
        assert!(leader.knows_the_high_watermark());

        let older = Assignment { epoch: Epoch(4), isr: vec![A], ..assignment(&[A, B], &[A], 1, true) };
        assert_eq!(leader.on_assignment(&older), Effects::default());
        assert_eq!(leader.isr().len(), 2, "a late view changes nothing");

        let _ = leader.on_local(Offset(12), Offset(12));
        let newer = Assignment { epoch: Epoch(6), ..assignment(&[A, B], &[A, B], 1, true) };
        assert_eq!(leader.on_assignment(&newer), Effects { epoch: Some(Epoch(6)), high_watermark: None });
        assert_eq!(leader.epoch_start(), Offset(12));
        assert!(!leader.has_caught_up(B), "what a follower told an earlier reign does not count");
    }

    #[test]
    fn acks_all_needs_enough_replicas_before_and_after() {
        let start = assignment(&[A, B, C], &[A, B], 2, true);
        let (mut leader, _) = Leader::elect(&start, log(0, 0, 0));
        assert_eq!(leader.admit(Acks::All), Ok(()));
        let _ = leader.on_local(Offset(5), Offset(5));
        assert_eq!(leader.acknowledged(Offset(5)), Acknowledged::NotYet);
        let _ = leader.on_fetch(B, Offset(5), Offset(5));
        assert_eq!(leader.acknowledged(Offset(5)), Acknowledged::Yes);
        let _ = leader.on_assignment(&Assignment { isr: vec![A], ..start });
        let short = AckError::NotEnoughReplicasAfterAppend { in_sync: 1, wanted: 2 };
        assert_eq!(leader.acknowledged(Offset(5)), Acknowledged::Refused(short));
        assert_eq!(leader.admit(Acks::All), Err(AckError::NotEnoughReplicas { in_sync: 1, wanted: 2 }));
        assert_eq!((leader.admit(Acks::Leader), leader.admit(Acks::None)), (Ok(()), Ok(())));
    }

    #[test]
    fn a_follower_may_join_when_it_has_all_of_earlier_reigns() {
        let (mut leader, _) = Leader::elect(&assignment(&[A, B], &[A], 1, true), log(10, 10, 10));
        for (end, flushed, expected) in [(9, 9, false), (10, 9, false), (10, 10, true)] {
            let _ = leader.on_fetch(B, Offset(end), Offset(flushed));
            assert_eq!(leader.has_caught_up(B), expected, "end {end} flushed {flushed}");
        }
    }

    #[test]
    fn only_three_numbers_are_acks() {
        let wire: Vec<_> = [-2, -1, 0, 1, 2].map(Acks::from_wire).to_vec();
        assert_eq!(wire, [None, Some(Acks::All), Some(Acks::None), Some(Acks::Leader), None]);
    }
}
