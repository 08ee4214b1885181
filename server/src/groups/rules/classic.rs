//! The classic protocol, and what both have in common.

use super::*;

#[test]
fn the_first_rebalance_waits_for_more_members_while_they_come_but_not_for_ever() {
    let mut room = Room::new();
    room.settings.initial_rebalance_delay_ms = 3000;
    let first = room.id();
    let first = room.join(&first).later();
    let mut others = Vec::new();
    // Each newcomer prolongs it, up to the rebalance timeout of 20 s.
    for _ in 0..7 {
        room.pass(2500);
        assert!(room.answers.is_empty(), "after {} ms", room.now.0 / 1_000_000);
        let id = room.id();
        others.push(room.join(&id).later());
    }
    room.pass(2500);
    let generation = room.joined(first).generation_id;
    assert!(others.into_iter().all(|ticket| room.joined(ticket).generation_id == generation));

    let mut room = Room::new();
    room.settings.initial_rebalance_delay_ms = 3000;
    let only = room.id();
    let only = room.join(&only).later();
    room.pass(2999);
    assert!(room.answers.is_empty());
    room.pass(1);
    assert_eq!(room.joined(only).generation_id, 1);
}

#[test]
fn before_v4_a_member_joins_without_asking_twice() {
    let mut room = Room::new();
    let ticket = room.join_as(3, |_| {}).later();
    room.pass(0);
    let joined = room.joined(ticket);
    assert!(joined.member_id.starts_with("client-") && joined.leader == joined.member_id);
}

#[test]
fn an_id_that_was_given_out_holds_a_rebalance_up_until_it_is_used_or_old() {
    let mut room = Room::new();
    let (a, b) = room.two();
    let unused = room.id();
    assert_eq!(room.leave(&b), ErrorCode::NONE);
    let waiting = room.join(&a).later();
    assert!(room.answers.is_empty(), "somebody is about to come");
    room.pass(10_000);
    assert_eq!(room.joined(waiting).generation_id, 2);
    assert_eq!(room.join(&unused).now().error_code, ErrorCode::UNKNOWN_MEMBER_ID);
}

#[test]
fn what_a_member_is_told_depends_on_the_state() {
    let mut room = Room::new();
    let nobody = Text::from("nobody");
    assert_eq!(room.beat(&nobody, 1), ErrorCode::UNKNOWN_MEMBER_ID);
    let (a, b) = room.two();
    // Stable.
    assert_eq!(room.beat(&nobody, 1), ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(room.beat(&a, 0), ErrorCode::ILLEGAL_GENERATION);
    assert_eq!(room.beat(&a, 1), ErrorCode::NONE);
    assert_eq!(room.commit(&a, 1, "t"), ErrorCode::NONE);
    assert_eq!(room.commit(&a, 2, "t"), ErrorCode::ILLEGAL_GENERATION);
    assert_eq!(room.commit(&nobody, 1, "t"), ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(room.commit(&Text::default(), -1, "t"), ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(room.sync(&b, 1, &[]).now().assignment, &b"B"[..]);
    assert_eq!(room.sync(&b, 2, &[]).now().error_code, ErrorCode::ILLEGAL_GENERATION);
    // A follower that asks again has its generation; a leader that does wants another.
    assert_eq!(room.join(&b).now().generation_id, 1);
    let waiting = room.join(&a).later();
    // PreparingRebalance.
    assert_eq!(room.state(), "PreparingRebalance");
    assert_eq!(room.beat(&b, 1), ErrorCode::REBALANCE_IN_PROGRESS);
    assert_eq!(room.sync(&b, 1, &[]).now().error_code, ErrorCode::REBALANCE_IN_PROGRESS);
    assert_eq!(room.commit(&b, 1, "t"), ErrorCode::NONE);
    let other = room.join(&b).later();
    assert_eq!((room.joined(waiting).generation_id, room.joined(other).generation_id), (2, 2));
    // CompletingRebalance.
    assert_eq!(room.state(), "CompletingRebalance");
    assert_eq!(room.beat(&b, 2), ErrorCode::NONE);
    assert_eq!(room.commit(&b, 2, "t"), ErrorCode::REBALANCE_IN_PROGRESS);
    assert_eq!(room.join(&b).now().generation_id, 2);
    let waiting = room.sync(&b, 2, &[]).later();
    let differs = room.join_as(9, |request| {
        request.member_id = b.clone();
        request.protocols[0].metadata = Bytes::from_static(b"other");
    });
    differs.later();
    assert_eq!(room.synced(waiting).error_code, ErrorCode::REBALANCE_IN_PROGRESS);
    assert_eq!(room.state(), "PreparingRebalance");
}

#[test]
fn nobody_gets_an_assignment_before_the_leader_has_made_it_nor_an_empty_one_after() {
    let mut room = Room::new();
    let (a, b, c) = (room.id(), room.id(), room.id());
    let tickets = [room.join(&a).later(), room.join(&b).later(), room.join(&c).later()];
    room.pass(0);
    let generation = tickets.map(|ticket| room.joined(ticket).generation_id)[0];
    let early = room.sync(&b, generation, &[]).later();
    let again = room.sync(&b, generation, &[]).later();
    assert_eq!(room.synced(early).error_code, ErrorCode::REBALANCE_IN_PROGRESS, "the connection is another by now");
    let all: [(&Text, &[u8]); 3] = [(&a, b"A"), (&b, b"B"), (&c, b"C")];
    assert_eq!(room.sync(&a, generation, &all).now().assignment, &b"A"[..]);
    assert_eq!(room.synced(again).assignment, &b"B"[..]);
    assert_eq!(room.sync(&c, generation, &[]).now().assignment, &b"C"[..]);
}

#[test]
fn a_silent_member_is_removed_and_the_others_share_its_part() {
    let mut room = Room::new();
    let (a, b) = room.two();
    for _ in 0..3 {
        room.pass(4000);
        let code = room.beat(&a, 1);
        assert!([ErrorCode::NONE, ErrorCode::REBALANCE_IN_PROGRESS].contains(&code));
    }
    assert_eq!(room.state(), "PreparingRebalance");
    assert_eq!(room.beat(&b, 1), ErrorCode::UNKNOWN_MEMBER_ID);
    let waiting = room.join(&a).later_or_answer(&mut room);
    assert_eq!((waiting.generation_id, waiting.members.len()), (2, 1));
}

#[test]
fn who_does_not_join_again_or_ask_for_its_assignment_in_time_is_removed() {
    let mut room = Room::new();
    let (a, b) = room.two();
    let waiting = room.join(&a).later();
    // It goes on with heartbeats, and never joins.
    for _ in 0..4 {
        room.pass(5000);
        room.beat(&b, 1);
    }
    assert_eq!(room.joined(waiting).generation_id, 2);
    assert_eq!(room.beat(&b, 1), ErrorCode::UNKNOWN_MEMBER_ID);
    // The leader never asks.
    for _ in 0..4 {
        room.pass(5000);
        room.beat(&a, 2);
    }
    assert_eq!(room.beat(&a, 2), ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(room.state(), "Empty");
}

#[test]
fn a_static_member_comes_back_under_a_new_id_without_a_rebalance() {
    for version in [8, 9] {
        let mut room = Room::new();
        let static_join = |room: &mut Room, member: &str, instance: &str| {
            room.join_as(version, |request| {
                request.member_id = member.into();
                request.group_instance_id = Some(instance.into());
            })
        };
        let (leader, follower) = (static_join(&mut room, "", "1").later(), static_join(&mut room, "", "2").later());
        room.pass(0);
        let (leader, follower) = (room.joined(leader), room.joined(follower));
        assert_eq!(follower.leader, leader.member_id);
        let (a, b) = (leader.member_id, follower.member_id);
        room.sync(&a, 1, &[(&a, b"A"), (&b, b"B")]).now();
        let written = room.records;

        let back = static_join(&mut room, "", "1").now();
        assert_eq!((back.error_code, back.generation_id, room.state()), (ErrorCode::NONE, 1, "Stable"));
        assert!(back.member_id != a && room.records > written, "it is kept");
        assert_eq!(room.sync(&back.member_id, 1, &[]).now().assignment, &b"A"[..]);
        if version >= 9 {
            assert!(back.skip_assignment && back.leader == back.member_id && back.members.len() == 2);
        } else {
            assert!(back.leader == a && back.members.is_empty(), "it must not assign");
        }
        // The old id is fenced wherever it shows up.
        assert_eq!(static_join(&mut room, &a, "1").now().error_code, ErrorCode::FENCED_INSTANCE_ID);
        let request = HeartbeatRequest {
            group_id: "g".into(),
            generation_id: 1,
            member_id: a.clone(),
            group_instance_id: Some("1".into()),
        };
        let code = room.turn(|groups, world, effects| groups.heartbeat(world, effects, &request));
        assert_eq!(code, ErrorCode::FENCED_INSTANCE_ID);
        // With another protocol there is a rebalance.
        let other = room.join_as(version, |request| {
            request.group_instance_id = Some("2".into());
            request.protocols[0].metadata = Bytes::from_static(b"other");
        });
        assert_eq!(other.now().generation_id, 1, "only the choice of the protocol counts");
        // An operator removes it by its name.
        let members = vec![MemberIdentity { group_instance_id: Some("1".into()), ..Default::default() }];
        let request = LeaveGroupRequest { group_id: "g".into(), members, ..Default::default() };
        let left = room.turn(|groups, world, effects| groups.leave(world, effects, 5, &request));
        assert_eq!((left.members[0].error_code, room.state()), (ErrorCode::NONE, "PreparingRebalance"));
    }
}

#[test]
fn the_protocol_is_one_that_all_can_do_and_most_like_best() {
    let mut room = Room::new();
    let join = |room: &mut Room, names: &[&'static str]| {
        let protocols: Vec<_> = names
            .iter()
            .map(|name| JoinGroupRequestProtocol { name: Text::from(*name), metadata: Bytes::from_static(b"m") })
            .collect();
        room.join_as(3, |request| request.protocols = protocols)
    };
    let tickets = [join(&mut room, &["x", "y", "z"]), join(&mut room, &["z", "y"]), join(&mut room, &["y", "z"])];
    let refused = join(&mut room, &["x"]).now();
    assert_eq!(refused.error_code, ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
    room.pass(0);
    for ticket in tickets {
        let ticket = ticket.later();
        assert_eq!(room.joined(ticket).protocol_name.as_deref(), Some("y"));
    }
}

#[test]
fn a_group_has_a_largest_size() {
    let mut room = Room::new();
    room.settings.size_max = 2;
    let (a, _) = room.two();
    assert_eq!(room.join("").now().error_code, ErrorCode::GROUP_MAX_SIZE_REACHED);
    assert_eq!(room.beat(&a, 1), ErrorCode::NONE);
    room.settings.consumer_size_max = 1;
    let mut room = Room { settings: room.settings, ..Room::new() };
    assert_eq!(room.consume("a", 0, |_| {}).error_code, ErrorCode::NONE);
    assert_eq!(room.consume("b", 0, |_| {}).error_code, ErrorCode::GROUP_MAX_SIZE_REACHED);
}

#[test]
fn offsets_are_forgotten_when_nobody_has_used_them_for_the_retention_time() {
    const DAY: u64 = 24 * 3600 * 1000;
    let mut room = Room::new();
    let nobody = Text::default();
    // Without a group each is as old as its commit.
    assert_eq!(room.commit(&nobody, -1, "t"), ErrorCode::NONE);
    room.pass(6 * DAY);
    assert_eq!(room.commit(&nobody, -1, "u"), ErrorCode::NONE);
    room.pass(DAY);
    room.expire();
    assert_eq!((room.offset("t"), room.offset("u")), (None, Some(1)));
    room.pass(6 * DAY);
    room.expire();
    assert_eq!((room.offset("u"), room.state()), (None, "Dead"));

    // A group keeps them as long as it has members, and for the retention time after.
    let (a, b) = room.two();
    assert_eq!(room.commit(&a, 1, "t"), ErrorCode::NONE);
    for _ in 0..3 {
        room.now += Duration::from_millis(10 * DAY);
        room.expire();
    }
    assert_eq!(room.offset("t"), Some(1));
    assert_eq!((room.leave(&a), room.leave(&b), room.state()), (ErrorCode::NONE, ErrorCode::NONE, "Empty"));
    room.pass(7 * DAY - 1);
    room.expire();
    assert_eq!(room.offset("t"), Some(1));
    room.pass(1);
    room.expire();
    assert_eq!((room.offset("t"), room.state()), (None, "Dead"));
}

#[test]
fn offsets_of_consumers_whose_subscriptions_cannot_be_read_are_not_deleted() {
    for (kind, expected) in
        [("consumer", Ok(vec![ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC])), ("other", Err(ErrorCode::NON_EMPTY_GROUP))]
    {
        let mut room = Room::new();
        let ticket = room.join_as(3, |request| request.protocol_type = kind.into()).later();
        room.pass(5_000);
        let joined = room.joined(ticket);
        room.sync(&joined.member_id, joined.generation_id, &[(&joined.member_id, b"A")]).now();
        assert_eq!(room.state(), "Stable");
        let deleted = room.turn(|groups, _, effects| groups.delete_offsets(effects, &"g".into(), &[("t".into(), 0)]));
        assert_eq!(deleted, expected, "{kind}");
    }
}
