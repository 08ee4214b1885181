//! The protocol of KIP-848, and moving between the two.

use super::*;

#[test]
fn consumers_get_partitions_one_after_the_other_has_given_them_up() {
    let mut room = Room::new();
    let a = room.consume("a", 0, |_| {});
    assert_eq!((a.member_epoch, given(&a)), (1, Some(vec![0, 1])));
    let b = room.consume("b", 0, |_| {});
    assert_eq!((b.member_epoch, given(&b)), (2, Some(vec![])), "nothing is free");
    // It is told what to keep, and stays in its epoch until it has given up the rest.
    let a = room.consume("a", 1, |request| request.topic_partitions = owned(&[0, 1]));
    let kept = given(&a).expect("a new assignment");
    assert_eq!((a.member_epoch, kept.len()), (1, 1));
    assert_eq!(given(&room.consume("b", 2, |_| {})), None);
    let a = room.consume("a", 1, |_| {});
    assert_eq!((a.member_epoch, given(&a)), (1, None), "it does not say what it owns");
    let a = room.consume("a", 1, |request| request.topic_partitions = owned(&kept));
    assert_eq!(a.member_epoch, 2);
    let b = room.consume("b", 2, |_| {});
    assert_eq!(given(&b), Some(vec![1 - kept[0]]));
    assert_eq!(room.state(), "Stable");
    // Commits are for members in their epoch.
    assert_eq!(room.commit(&"a".into(), 2, "t"), ErrorCode::NONE);
    assert_eq!(room.commit(&"a".into(), 1, "t"), ErrorCode::STALE_MEMBER_EPOCH);
    assert_eq!(room.commit(&"x".into(), 2, "t"), ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(room.consume("b", -1, |_| {}).member_epoch, -1);
    let a = room.consume("a", 2, |_| {});
    assert_eq!((a.member_epoch, given(&a)), (3, Some(vec![0, 1])));
}

#[test]
fn a_consumer_whose_answer_was_lost_goes_on_and_one_that_is_behind_is_fenced() {
    let mut room = Room::new();
    room.consume("a", 0, |_| {});
    room.consume("a", 1, |request| request.subscribed_topic_names = Some(vec!["t".into(), "u".into()]));
    let again = room.consume("a", 1, |request| request.topic_partitions = owned(&[0, 1]));
    assert_eq!((again.error_code, again.member_epoch), (ErrorCode::NONE, 2));
    let behind = |room: &mut Room, epoch, partitions: &[i32]| {
        room.consume("a", epoch, |request| request.topic_partitions = owned(partitions)).error_code
    };
    assert_eq!(behind(&mut room, 1, &[0, 1, 7]), ErrorCode::FENCED_MEMBER_EPOCH, "more than it was given");
    assert_eq!(behind(&mut room, 3, &[]), ErrorCode::FENCED_MEMBER_EPOCH, "an epoch that is not yet");
    assert_eq!(room.consume("x", 1, |_| {}).error_code, ErrorCode::UNKNOWN_MEMBER_ID);
    // Fenced or not, it can join anew.
    assert_eq!(room.consume("a", 0, |_| {}).error_code, ErrorCode::NONE);
}

#[test]
fn consumers_that_are_silent_or_keep_what_they_have_to_give_up_are_removed() {
    let mut room = Room::new();
    room.consume("a", 0, |_| {});
    let mut epoch = room.consume("b", 0, |_| {}).member_epoch;
    room.consume("a", 1, |request| request.topic_partitions = owned(&[0, 1]));
    for _ in 0..4 {
        room.pass(5000);
        room.consume("a", 1, |request| request.topic_partitions = owned(&[0, 1]));
        epoch = room.consume("b", epoch, |_| {}).member_epoch;
    }
    assert_eq!(room.consume("a", 1, |_| {}).error_code, ErrorCode::UNKNOWN_MEMBER_ID, "after the rebalance timeout");
    assert_eq!(epoch, 3);
    room.pass(45_000);
    assert_eq!((room.consume("b", 3, |_| {}).error_code, room.state()), (ErrorCode::UNKNOWN_MEMBER_ID, "Empty"));
}

#[test]
fn a_group_has_its_own_times_from_the_next_heartbeat_on() {
    let mut room = Room::new();
    assert_eq!(room.consume("a", 0, |_| {}).heartbeat_interval_ms, 5000);
    for (key, value) in [("consumer.heartbeat.interval.ms", "7000"), ("consumer.session.timeout.ms", "50000")] {
        let config =
            Config { resource: ResourceType::Group, name: "g".into(), key: key.into(), value: Some(value.into()) };
        room.image.replay(room.image.next_offset(), &MetadataRecord::Config(config)).expect("a good record");
    }
    assert_eq!(room.consume("a", 1, |_| {}).heartbeat_interval_ms, 7000);
    room.pass(49_999);
    assert_eq!(room.consume("a", 1, |_| {}).error_code, ErrorCode::NONE);
    room.pass(50_000);
    assert_eq!(room.consume("a", 1, |_| {}).error_code, ErrorCode::UNKNOWN_MEMBER_ID);
    // Another group has the broker's.
    let other = room.consume("b", 0, |request| request.group_id = "h".into());
    assert_eq!(other.heartbeat_interval_ms, 5000);
}

#[test]
fn a_consumer_group_is_no_classic_group() {
    let mut room = Room::new();
    room.consume("a", 0, |_| {});
    let describe = |room: &mut Room, id: &str| room.groups.describe(&id.into()).expect_err("it is none");
    assert_eq!(describe(&mut room, "g"), "Group g is not a classic group.");
    assert_eq!(describe(&mut room, "nowhere"), "Group nowhere not found.");
}

#[test]
fn a_static_consumer_that_left_for_a_while_gets_what_it_had() {
    let mut room = Room::new();
    let named = |request: &mut ConsumerGroupHeartbeatRequest| request.instance_id = Some("i".into());
    let first = room.consume("a", 0, named);
    assert_eq!(given(&first), Some(vec![0, 1]));
    let second = room.consume("b", 0, named);
    assert_eq!(second.error_code, ErrorCode::UNRELEASED_INSTANCE_ID);
    assert_eq!(room.consume("a", -2, named).member_epoch, -2);
    let again = room.consume("b", 0, named);
    assert_eq!((again.member_epoch, given(&again)), (1, Some(vec![0, 1])), "no epoch began");
    assert_eq!(room.consume("a", 1, named).error_code, ErrorCode::FENCED_INSTANCE_ID);
}

#[test]
fn topics_that_come_or_grow_begin_an_epoch() {
    let mut room = Room::new();
    let regex = |request: &mut ConsumerGroupHeartbeatRequest| {
        request.subscribed_topic_names = None;
        request.subscribed_topic_regex = Some("t|new.*".into());
    };
    assert_eq!(given(&room.consume("a", 0, regex)), Some(vec![0, 1]));
    add_topic(&mut room.image, "t", 1, 2..3);
    let grown = room.consume("a", 1, |_| {});
    assert_eq!((grown.member_epoch, given(&grown)), (2, Some(vec![0, 1, 2])));
    add_topic(&mut room.image, "new-1", 9, 0..1);
    assert_eq!(given(&room.consume("a", 2, |_| {})), None, "expressions are not looked up at every change");
    room.pass(10_000);
    let more = room.consume("a", 2, |_| {});
    assert_eq!((more.member_epoch, given(&more)), (3, Some(vec![0, 1, 2, 0])));
}

#[test]
fn a_member_that_reads_nothing_yet_may_join() {
    let mut room = Room::new();
    let no_names = |request: &mut ConsumerGroupHeartbeatRequest| request.subscribed_topic_names = Some(Vec::new());
    let no_regex = |request: &mut ConsumerGroupHeartbeatRequest| {
        request.subscribed_topic_names = None;
        request.subscribed_topic_regex = Some("".into());
    };
    for (member, change) in [("a", &no_names as &dyn Fn(&mut _)), ("b", &no_regex)] {
        let joined = room.consume(member, 0, change);
        assert_eq!((joined.error_code, given(&joined)), (ErrorCode::NONE, Some(vec![])), "{member}");
    }
    let some = room.consume("a", 1, |request| request.subscribed_topic_names = Some(vec!["t".into()]));
    assert_eq!((some.error_code, given(&some)), (ErrorCode::NONE, Some(vec![0, 1])));
}

#[test]
fn requests_that_make_no_sense_get_kafkas_codes() {
    let mut room = Room::new();
    let mut code = |epoch, change: &dyn Fn(&mut ConsumerGroupHeartbeatRequest)| {
        let response = room.consume("a", epoch, change);
        assert!(response.error_message.is_some());
        response.error_code
    };
    assert_eq!(code(0, &|request| request.group_id = "".into()), ErrorCode::INVALID_REQUEST);
    assert_eq!(code(0, &|request| request.member_id = "".into()), ErrorCode::INVALID_REQUEST);
    assert_eq!(code(0, &|request| request.instance_id = Some("".into())), ErrorCode::INVALID_REQUEST);
    assert_eq!(code(0, &|request| request.rebalance_timeout_ms = -1), ErrorCode::INVALID_REQUEST);
    assert_eq!(code(0, &|request| request.topic_partitions = None), ErrorCode::INVALID_REQUEST);
    assert_eq!(code(0, &|request| request.subscribed_topic_names = None), ErrorCode::INVALID_REQUEST);
    assert_eq!(code(-2, &|_| {}), ErrorCode::INVALID_REQUEST);
    assert_eq!(code(-3, &|_| {}), ErrorCode::INVALID_REQUEST);
    assert_eq!(code(0, &|request| request.server_assignor = Some("x".into())), ErrorCode::UNSUPPORTED_ASSIGNOR);
    let regex = |request: &mut ConsumerGroupHeartbeatRequest| request.subscribed_topic_regex = Some("(".into());
    assert_eq!(code(0, &regex), ErrorCode::INVALID_REGULAR_EXPRESSION);
    assert_eq!(code(1, &|_| {}), ErrorCode::GROUP_ID_NOT_FOUND);
    assert_eq!(code(-1, &|_| {}), ErrorCode::GROUP_ID_NOT_FOUND);
    assert!(room.groups.groups.is_empty() && room.records == 0, "nothing came of them");
}

#[test]
fn a_classic_group_of_another_kind_does_not_become_a_consumer_group() {
    let mut room = Room::new();
    room.two();
    assert_eq!(room.consume("a", 0, |_| {}).error_code, ErrorCode::GROUP_ID_NOT_FOUND);
    assert_eq!(room.state(), "Stable");
}

#[test]
fn a_group_that_does_not_fit_a_record_is_told_so_and_harms_nobody() {
    const LARGE: &[u8] = &[7; 600_000];
    let mut room = Room::new();
    let (a, b) = room.two();
    let again = room.join(&a).later();
    let other = room.join(&b).later();
    assert_eq!((room.joined(again).generation_id, room.joined(other).generation_id), (2, 2));
    let waiting = room.sync(&b, 2, &[]).later();
    let written = room.records;
    assert_eq!(room.sync(&a, 2, &[(&a, LARGE), (&b, LARGE)]).now().error_code, ErrorCode::UNKNOWN_SERVER_ERROR);
    assert_eq!(room.synced(waiting).error_code, ErrorCode::UNKNOWN_SERVER_ERROR);
    assert_eq!((room.state(), room.records), ("PreparingRebalance", written));

    let many = |request: &mut ConsumerGroupHeartbeatRequest| {
        request.group_id = "h".into();
        request.subscribed_topic_names = Some((0..50_000).map(|number| Text::from(format!("t{number:09}"))).collect());
    };
    assert_eq!(room.consume("a", 0, many).error_code, ErrorCode::INVALID_REQUEST);
    assert_eq!(room.records, written);
}
