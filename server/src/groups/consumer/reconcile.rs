//! How a member gets from what it owns to what it is to own: first it gives up, then it gets what the others have given up
//! (Kafka's `CurrentAssignmentBuilder`).

use super::group::{ConsumerGroup, ConsumerMember, MemberState, Partitions};
use crate::protocol::Text;

impl ConsumerGroup {
    /// Where a member is after it has told what it owns (`None`: it has not); the same as before if there is nothing to do.
    pub(super) fn reconciled(&self, id: &Text, owned: Option<&Partitions>) -> ConsumerMember {
        let member = &self.members[id];
        match member.state {
            MemberState::Stable if member.epoch == self.target_epoch => member.clone(),
            MemberState::Stable | MemberState::Unreleased => self.next(id, member.epoch, owned),
            MemberState::Unrevoked if still_owns(owned, &member.revoking) => member.clone(),
            // It has given up what kept it in its epoch.
            MemberState::Unrevoked => self.next(id, member.epoch + 1, owned),
        }
    }

    /// One step towards the target.
    fn next(&self, id: &Text, epoch: i32, owned: Option<&Partitions>) -> ConsumerMember {
        let member = &self.members[id];
        let none = Partitions::new();
        let target = self.targets.get(id).unwrap_or(&none);
        let kept = intersection(&member.assigned, target);
        let revoking = difference(&member.assigned, target);
        if !revoking.is_empty() && still_owns(owned, &revoking) {
            return self.moved(member, epoch, MemberState::Unrevoked, kept, revoking);
        }
        let mut waits = false;
        let mut assigned = kept;
        for (&topic, partitions) in target {
            for &partition in partitions {
                let free = self.owners.get(&(topic, partition)).is_none_or(|owner| owner == id);
                if free {
                    assigned.entry(topic).or_default().insert(partition);
                } else {
                    waits = true;
                }
            }
        }
        let state = if waits { MemberState::Unreleased } else { MemberState::Stable };
        self.moved(member, self.target_epoch, state, assigned, Partitions::new())
    }

    fn moved(
        &self,
        member: &ConsumerMember,
        epoch: i32,
        state: MemberState,
        assigned: Partitions,
        revoking: Partitions,
    ) -> ConsumerMember {
        let previous_epoch = if epoch == member.epoch { member.previous_epoch } else { member.epoch };
        ConsumerMember { wants: member.wants.clone(), epoch, previous_epoch, state, assigned, revoking }
    }

    /// Whether something that a member waits for still has another owner.
    pub(super) fn waits_for_others(&self, id: &Text) -> bool {
        let target = self.targets.get(id).into_iter().flatten();
        let mut partitions = target.flat_map(|(&topic, partitions)| partitions.iter().map(move |&p| (topic, p)));
        partitions.any(|partition| self.owners.get(&partition).is_some_and(|owner| owner != id))
    }
}

/// Whether a member owns some of these still; one that does not say what it owns may.
fn still_owns(owned: Option<&Partitions>, revoking: &Partitions) -> bool {
    owned.is_none_or(|owned| !intersection(owned, revoking).is_empty())
}

/// Whether all of `part` is in `whole`.
pub(super) fn is_subset(part: &Partitions, whole: &Partitions) -> bool {
    difference(part, whole).is_empty()
}

fn intersection(a: &Partitions, b: &Partitions) -> Partitions {
    filtered(a, |topic, partition| b.get(topic).is_some_and(|partitions| partitions.contains(partition)))
}

fn difference(a: &Partitions, b: &Partitions) -> Partitions {
    filtered(a, |topic, partition| !b.get(topic).is_some_and(|partitions| partitions.contains(partition)))
}

fn filtered(all: &Partitions, which: impl Fn(&corelog_engine::TopicId, &i32) -> bool) -> Partitions {
    let topics = all.iter().map(|(topic, partitions)| {
        (*topic, partitions.iter().copied().filter(|partition| which(topic, partition)).collect())
    });
    topics.filter(|(_, partitions): &(_, std::collections::BTreeSet<i32>)| !partitions.is_empty()).collect()
}
