//! The partitions that this broker leads, on one shard: the state machine of each, fed by its log.
//!
//! The machine decides ([`Leader`]); what it decides is carried out here: epochs and high watermarks of the log.

use std::cell::RefCell;
use std::rc::Rc;

use corelog_engine::log::LogOffsets;
use corelog_engine::shard::Shard;
use corelog_engine::{Offset, Result, TopicPartition};
use corelog_replication::partition::{AckError, Acknowledged, Acks, Assignment, Effects, Leader, LocalLog};
use rustc_hash::FxHashMap;

/// The leaders of one shard.
#[derive(Default)]
pub(crate) struct Leaders {
    partitions: RefCell<FxHashMap<TopicPartition, Leader>>,
}

impl Leaders {
    /// Has the shard's logs tell the leaders how far they are.
    pub(crate) fn observe(self: &Rc<Self>, shard: &Shard) {
        let leaders = self.clone();
        shard.observe(Rc::new(move |shard: &Shard, name: &TopicPartition, log: LogOffsets| {
            let effects = match leaders.partitions.borrow_mut().get_mut(name) {
                Some(leader) => leader.on_local(log.end, log.flushed),
                None => return,
            };
            set_high_watermark(shard, name, effects);
        }));
    }

    /// Leads a partition as the metadata says, from now on or on.
    pub(crate) fn lead(&self, shard: &Rc<Shard>, name: &TopicPartition, assignment: &Assignment) -> Result<()> {
        let log = shard.offsets(name)?;
        let effects = {
            let mut partitions = self.partitions.borrow_mut();
            match partitions.get_mut(name) {
                Some(leader) => leader.on_assignment(assignment),
                None => {
                    let local = LocalLog { end: log.end, flushed: log.flushed, high_watermark: log.high_watermark };
                    let (leader, effects) = Leader::elect(assignment, local);
                    partitions.insert(name.clone(), leader);
                    effects
                }
            }
        };
        if let Some(epoch) = effects.epoch {
            shard.set_epoch(name, epoch)?;
        }
        set_high_watermark(shard, name, effects);
        Ok(())
    }

    /// Leads a partition no more: it is gone.
    pub(crate) fn forget(&self, name: &TopicPartition) {
        self.partitions.borrow_mut().remove(name);
    }

    /// Whether an append with these acks may begin. A partition that is not led is for the caller to find out.
    pub(crate) fn admit(&self, name: &TopicPartition, acks: Acks) -> Result<(), AckError> {
        self.partitions.borrow().get(name).map_or(Ok(()), |leader| leader.admit(acks))
    }

    /// How an append that ends before `next_offset` stands, once the high watermark has reached that.
    pub(crate) fn acknowledged(&self, name: &TopicPartition, next_offset: Offset) -> Acknowledged {
        self.partitions.borrow().get(name).map_or(Acknowledged::Yes, |leader| leader.acknowledged(next_offset))
    }

    /// Whether the high watermark is known to be the true one (KIP-207).
    pub(crate) fn knows_the_high_watermark(&self, name: &TopicPartition) -> bool {
        self.partitions.borrow().get(name).is_none_or(Leader::knows_the_high_watermark)
    }
}

fn set_high_watermark(shard: &Shard, name: &TopicPartition, effects: Effects) {
    if let Some(offset) = effects.high_watermark {
        shard.set_high_watermark(name, offset);
    }
}
