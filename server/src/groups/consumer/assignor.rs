//! The broker's assignors: who gets which partitions of the topics that it wants.

use std::collections::{BTreeMap, BTreeSet};

use corelog_engine::TopicId;

use super::group::Partitions;
use crate::groups::settings::Assignor;
use crate::protocol::Text;

/// Moves after which an assignment of members with different topics is even enough, per partition.
const MOVES_PER_PARTITION: usize = 4;

/// A member, as an assignor sees it.
#[derive(Clone, Debug, Default)]
pub(super) struct Wish {
    /// The static member's name.
    pub(super) instance: Option<Text>,
    /// The topics that it wants and that exist.
    pub(super) topics: BTreeSet<TopicId>,
    /// What it was to own up to now.
    pub(super) before: Partitions,
}

/// Assigns every partition of the topics that somebody wants to one member that wants it.
pub(super) fn assign(
    assignor: Assignor,
    wishes: &BTreeMap<Text, Wish>,
    topics: &BTreeMap<TopicId, i32>,
) -> BTreeMap<Text, Partitions> {
    match assignor {
        Assignor::Range => range(wishes, topics),
        Assignor::Uniform => uniform(wishes, topics),
    }
}

/// Each topic in ranges over the members that want it, in one order of the members, so that partitions of the same index
/// come together.
fn range(wishes: &BTreeMap<Text, Wish>, topics: &BTreeMap<TopicId, i32>) -> BTreeMap<Text, Partitions> {
    let mut members: Vec<(&Text, &Wish)> = wishes.iter().collect();
    // Static members first, by name: their order does not change when they come back under another id.
    members.sort_by_key(|(id, wish)| (wish.instance.is_none(), wish.instance.clone(), (*id).clone()));
    let mut assigned: BTreeMap<Text, Partitions> = wishes.keys().map(|id| (id.clone(), Partitions::new())).collect();
    for (topic, &count) in topics {
        let wanting: Vec<&Text> =
            members.iter().filter(|(_, wish)| wish.topics.contains(topic)).map(|(id, _)| *id).collect();
        if wanting.is_empty() {
            continue;
        }
        let (each, more) = (count as usize / wanting.len(), count as usize % wanting.len());
        let mut next = 0;
        for (place, id) in wanting.iter().enumerate() {
            let end = next + each + usize::from(place < more);
            if end > next {
                let partitions = assigned.get_mut(*id).expect("every member has an entry");
                partitions.entry(*topic).or_default().extend(next as i32..end as i32);
            }
            next = end;
        }
    }
    assigned
}

/// As even as can be over all topics, and as little moved as can be.
fn uniform(wishes: &BTreeMap<Text, Wish>, topics: &BTreeMap<TopicId, i32>) -> BTreeMap<Text, Partitions> {
    let ids: Vec<&Text> = wishes.keys().collect();
    let mut wanting: BTreeMap<TopicId, Vec<usize>> = BTreeMap::new();
    for (place, id) in ids.iter().enumerate() {
        for topic in wishes[*id].topics.iter().filter(|topic| topics.contains_key(topic)) {
            wanting.entry(*topic).or_default().push(place);
        }
    }
    let total: usize = wanting.keys().map(|topic| topics[topic] as usize).sum();
    let same = wanting.values().all(|places| places.len() == ids.len());
    // Where all want the same, nobody keeps more than its share; else the moves below see to it.
    let (least, mut larger) = match (same, ids.len()) {
        (true, count) if count > 0 => (total / count, total % count),
        _ => (usize::MAX, 0),
    };

    let mut owner: BTreeMap<(TopicId, i32), usize> = BTreeMap::new();
    let mut loads = vec![0; ids.len()];
    for (place, id) in ids.iter().enumerate() {
        let wish = &wishes[*id];
        for (topic, partitions) in wish.before.iter().filter(|(topic, _)| wish.topics.contains(topic)) {
            for &partition in partitions {
                let exists = topics.get(topic).is_some_and(|&count| partition < count);
                let room = loads[place] < least || (loads[place] == least && larger > 0);
                if exists && room && !owner.contains_key(&(*topic, partition)) {
                    larger -= usize::from(loads[place] == least);
                    loads[place] += 1;
                    owner.insert((*topic, partition), place);
                }
            }
        }
    }
    for (topic, places) in &wanting {
        for partition in 0..topics[topic] {
            if let std::collections::btree_map::Entry::Vacant(free) = owner.entry((*topic, partition)) {
                let place = *places.iter().min_by_key(|&&place| loads[place]).expect("somebody wants it");
                loads[place] += 1;
                free.insert(place);
            }
        }
    }
    if !same {
        even_out(&mut owner, &mut loads, &wanting, total);
    }

    let mut assigned: BTreeMap<Text, Partitions> = wishes.keys().map(|id| (id.clone(), Partitions::new())).collect();
    for ((topic, partition), place) in owner {
        let partitions = assigned.get_mut(ids[place]).expect("every member has an entry");
        partitions.entry(topic).or_default().insert(partition);
    }
    assigned
}

/// Moves partitions from members with more to members with at least two fewer that want them too, until there is no such
/// pair. Every move makes the sum of squares of the loads smaller, so that this ends; the bound only keeps it short.
fn even_out(
    owner: &mut BTreeMap<(TopicId, i32), usize>,
    loads: &mut [usize],
    wanting: &BTreeMap<TopicId, Vec<usize>>,
    total: usize,
) {
    let mut moves_left = total * MOVES_PER_PARTITION;
    loop {
        let mut moved = false;
        for ((topic, _), from) in owner.iter_mut() {
            let places = &wanting[topic];
            let to = *places.iter().min_by_key(|&&place| loads[place]).expect("its owner wants it");
            if loads[to] + 1 < loads[*from] && moves_left > 0 {
                loads[*from] -= 1;
                loads[to] += 1;
                *from = to;
                moved = true;
                moves_left -= 1;
            }
        }
        if !moved {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(number: u128) -> TopicId {
        TopicId(uuid::Uuid::from_u128(number))
    }

    fn wishes(members: &[(&str, &[u128])]) -> BTreeMap<Text, Wish> {
        let members = members.iter().map(|(id, topics)| {
            (Text::from(*id), Wish { topics: topics.iter().copied().map(topic).collect(), ..Default::default() })
        });
        members.collect()
    }

    fn topics(counts: &[(u128, i32)]) -> BTreeMap<TopicId, i32> {
        counts.iter().map(|&(number, count)| (topic(number), count)).collect()
    }

    fn sizes(assigned: &BTreeMap<Text, Partitions>) -> Vec<usize> {
        assigned.values().map(|partitions| partitions.values().map(BTreeSet::len).sum()).collect()
    }

    /// Every partition that somebody wants has one owner, who wants it.
    fn check(assigned: &BTreeMap<Text, Partitions>, wishes: &BTreeMap<Text, Wish>, topics: &BTreeMap<TopicId, i32>) {
        let mut seen = BTreeSet::new();
        for (id, partitions) in assigned {
            for (topic, partitions) in partitions {
                assert!(wishes[id].topics.contains(topic), "{id} does not want it");
                for &partition in partitions {
                    assert!(partition < topics[topic] && seen.insert((*topic, partition)), "two owners");
                }
            }
        }
        let wanted = topics.iter().filter(|(topic, _)| wishes.values().any(|wish| wish.topics.contains(topic)));
        assert_eq!(seen.len(), wanted.map(|(_, &count)| count as usize).sum::<usize>());
    }

    #[test]
    fn uniform_is_even_and_moves_no_more_than_it_must() {
        let topics = topics(&[(1, 5), (2, 4)]);
        let mut members = wishes(&[("a", &[1, 2]), ("b", &[1, 2])]);
        let two = assign(Assignor::Uniform, &members, &topics);
        check(&two, &members, &topics);
        let mut loads = sizes(&two);
        loads.sort_unstable();
        assert_eq!(loads, [4, 5]);

        for (id, partitions) in &two {
            members.get_mut(id).expect("a member").before = partitions.clone();
        }
        members.insert("c".into(), Wish { topics: members[&Text::from("a")].topics.clone(), ..Default::default() });
        let three = assign(Assignor::Uniform, &members, &topics);
        check(&three, &members, &topics);
        assert_eq!(sizes(&three), [3, 3, 3]);
        for id in ["a", "b"] {
            let id = Text::from(id);
            assert!(super::super::reconcile::is_subset(&three[&id], &two[&id]), "{id} got something new");
        }

        members.remove(&Text::from("b"));
        for (id, wish) in &mut members {
            wish.before = three[id].clone();
        }
        let again = assign(Assignor::Uniform, &members, &topics);
        check(&again, &members, &topics);
        for id in ["a", "c"] {
            let id = Text::from(id);
            assert!(super::super::reconcile::is_subset(&three[&id], &again[&id]), "{id} lost something");
        }
    }

    #[test]
    fn uniform_evens_out_members_that_want_different_topics() {
        let topics = topics(&[(1, 6), (2, 6), (3, 1)]);
        let mut members = wishes(&[("a", &[1]), ("b", &[1, 2]), ("c", &[2, 3]), ("d", &[9])]);
        // One that has everything of a topic lets go of a part.
        members.get_mut(&Text::from("b")).expect("a member").before =
            Partitions::from([(topic(1), (0..6).collect()), (topic(2), (0..6).collect())]);
        let assigned = assign(Assignor::Uniform, &members, &topics);
        check(&assigned, &members, &topics);
        let loads = sizes(&assigned);
        assert_eq!(loads[3], 0);
        assert!(loads[..3].iter().all(|load| (4..=5).contains(load)), "{loads:?}");
    }

    #[test]
    fn range_keeps_partitions_of_the_same_index_together() {
        let topics = topics(&[(1, 5), (2, 5), (3, 1)]);
        let mut members = wishes(&[("a", &[1, 2]), ("b", &[1, 2, 3]), ("z", &[1, 2])]);
        members.get_mut(&Text::from("z")).expect("a member").instance = Some("static".into());
        let assigned = assign(Assignor::Range, &members, &topics);
        check(&assigned, &members, &topics);
        let of = |id: &str, number| assigned[&Text::from(id)].get(&topic(number)).cloned().unwrap_or_default();
        assert_eq!(of("z", 1), BTreeSet::from([0, 1]));
        assert_eq!(of("a", 1), BTreeSet::from([2, 3]));
        assert_eq!(of("b", 1), BTreeSet::from([4]));
        for id in ["a", "b", "z"] {
            assert_eq!(of(id, 1), of(id, 2), "{id}");
        }
        assert_eq!(of("b", 3), BTreeSet::from([0]));
    }

    #[test]
    fn nobody_and_nothing_can_be_assigned() {
        for assignor in [Assignor::Uniform, Assignor::Range] {
            assert_eq!(assign(assignor, &BTreeMap::new(), &topics(&[(1, 3)])), BTreeMap::new());
            let nothing = assign(assignor, &wishes(&[("a", &[]), ("b", &[7])]), &topics(&[]));
            assert_eq!(sizes(&nothing), [0, 0]);
        }
    }
}
