use futures_util::FutureExt;
use halley_bayeux::{ChannelName, Json};

use super::*;

fn publication(size: usize) -> Arc<Publication> {
    let text = format!("\"{}\"", "x".repeat(size));
    let channel = ChannelName::parse("/a").unwrap();
    Publication::new(&channel, Json::validate(&text, 4).unwrap())
}

fn limits() -> LinkLimits {
    LinkLimits {
        message_queue_bytes: 1 << 20,
        ..LinkLimits::default()
    }
}

fn frames(queue: &LinkQueue) -> Vec<Frame> {
    match queue.take() {
        Taken::Frames(frames) => frames.iter().map(|f| Frame::decode(f).unwrap()).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn control_goes_before_state_and_state_before_messages() {
    let queue = LinkQueue::new(1, limits(), Arc::default());
    queue.snapshot_queued();
    queue.push_message(&publication(1)).unwrap();
    queue
        .push_state(StateChannel(9), Bytes::from_static(b"s"))
        .unwrap();
    queue.push_control(&Frame::Known(vec![])).unwrap();
    let frames = frames(&queue);
    assert!(matches!(frames[0], Frame::Known(_)));
    assert!(matches!(&frames[1], Frame::State(state) if state.channel == 9 && state.last));
    assert!(matches!(&frames[2], Frame::Publications(p) if p.first_sequence == 0));
    assert_eq!(queue.take(), Taken::Nothing);
    assert_eq!(queue.queued_bytes(), 0);
}

/// What was wrong: what was for a user went by the lane of state, past the publications that were sent before it.
#[test]
fn what_is_for_a_user_keeps_its_place_between_the_publications() {
    let queue = LinkQueue::new(2, limits(), Arc::default());
    queue.snapshot_queued();
    let (message, body) = (StateChannel::SETI_MESSAGES, Bytes::from_static(b"u"));
    for _ in 0..2 {
        queue.push_message(&publication(1)).unwrap();
    }
    queue.push_for_user(message, body.clone()).unwrap();
    let disconnect = StateChannel::SETI_DISCONNECTS;
    queue.push_for_user(disconnect, body.clone()).unwrap();
    queue.push_message(&publication(1)).unwrap();
    queue.push_state(StateChannel(9), body).unwrap();
    let frames = frames(&queue);
    assert!(matches!(&frames[0], Frame::State(state) if state.channel == 9));
    let first = |frame: &Frame| match frame {
        Frame::Publications(p) => Some((p.first_sequence, p.items.len())),
        _ => None,
    };
    assert_eq!(first(&frames[1]), Some((0, 2)));
    assert!(matches!(&frames[2], Frame::State(state) if state.channel == message.0 && state.last));
    assert!(matches!(&frames[3], Frame::State(state) if state.channel == disconnect.0));
    assert_eq!(first(&frames[4]), Some((2, 1)));
    assert_eq!((frames.len(), queue.queued_bytes()), (5, 0));
    assert_eq!(queue.publications_sent(), 3);
}

/// A sibling puts the parts of a state message together as they come: none of another one may come between.
#[test]
fn what_is_for_a_user_waits_until_a_divided_state_message_is_whole() {
    let queue = LinkQueue::new(2, limits(), Arc::default());
    queue.snapshot_queued();
    let state = Bytes::from(vec![7; 100_001]);
    queue.push_state(StateChannel(9), state).unwrap();
    let body = Bytes::from_static(b"u");
    queue
        .push_for_user(StateChannel::SETI_MESSAGES, body)
        .unwrap();
    queue.push_message(&publication(1)).unwrap();
    // Something of the control lane leaves little room for the parts, and some for small messages.
    let piece = Frame::Known(vec!["127.0.0.1:1".parse().unwrap(); 500]);
    let (mut order, mut writes) = (Vec::new(), 0);
    while queue.queued_bytes() > 0 {
        queue.push_control(&piece).unwrap();
        writes += 1;
        for frame in frames(&queue) {
            match frame {
                Frame::State(state) => order.push((state.channel, state.last)),
                Frame::Publications(_) => order.push((0, true)),
                _ => {}
            }
        }
    }
    let whole = order.iter().position(|part| *part == (9, true)).unwrap();
    assert!(whole >= 3 && order[..whole].iter().all(|(channel, _)| *channel == 9));
    assert_eq!(order[whole + 1..], [(2, true), (0, true)]);
    assert!(writes > 1);
}

#[test]
fn one_write_coalesces_up_to_the_budget_and_numbers_without_gap() {
    let queue = LinkQueue::new(1, limits(), Arc::default());
    for _ in 0..1000 {
        queue.push_message(&publication(200)).unwrap();
    }
    let (mut next, mut writes) = (0, 0);
    while next < 1000 {
        let Frame::Publications(publications) = frames(&queue).remove(0) else {
            panic!()
        };
        assert_eq!(publications.first_sequence, next);
        next += publications.items.len() as u64;
        writes += 1;
    }
    assert!((4..10).contains(&writes), "{writes}");
}

#[test]
fn a_large_state_message_leaves_in_parts() {
    let queue = LinkQueue::new(1, limits(), Arc::default());
    queue.snapshot_queued();
    let body = Bytes::from(vec![7; 200_000]);
    queue.push_state(StateChannel(1), body.clone()).unwrap();
    let (mut got, mut ended) = (Vec::new(), false);
    while !ended {
        for frame in frames(&queue) {
            let Frame::State(state) = frame else { panic!() };
            assert!(state.body.len() <= STATE_PART_BYTES);
            got.extend_from_slice(&state.body);
            ended = state.last;
        }
        queue.push_control(&Frame::Known(vec![])).unwrap();
        let Taken::Frames(first) = queue.take() else {
            panic!()
        };
        assert!(matches!(Frame::decode(&first[0]), Ok(Frame::Known(_))));
        for frame in &first[1..] {
            let Ok(Frame::State(state)) = Frame::decode(frame) else {
                panic!()
            };
            got.extend_from_slice(&state.body);
            ended = state.last;
        }
    }
    assert_eq!(got, body);
}

#[test]
fn a_full_lane_resets_the_link_and_takes_nothing_more() {
    let queue = LinkQueue::new(1, limits(), Arc::default());
    let mut pushed = 0;
    while queue.push_message(&publication(10_000)).is_ok() {
        pushed += 1;
    }
    assert!(pushed > 90, "{pushed}");
    assert_eq!(queue.push_message(&publication(1)), Err(PushError::Full));
    assert_eq!(queue.take(), Taken::Full(Lane::Messages));
    assert_eq!(queue.close().queued, pushed);
    assert_eq!(queue.push_message(&publication(1)), Err(PushError::Closed));
}

#[test]
fn closing_writes_everything_first() {
    let queue = LinkQueue::new(1, limits(), Arc::default());
    queue.push_message(&publication(1)).unwrap();
    queue.close_after(&Frame::Leaving);
    assert_eq!(queue.push_message(&publication(1)), Err(PushError::Closed));
    assert!(matches!(frames(&queue)[..], [Frame::Publications(_)]));
    assert_eq!(frames(&queue), [Frame::Leaving]);
    assert_eq!(queue.take(), Taken::Drained);
}

#[test]
fn interest_waits_for_room_and_its_sender_is_woken() {
    let wake = Arc::new(Notify::new());
    let limits = LinkLimits {
        control_queue_bytes: 1 << 16,
        ..limits()
    };
    let queue = LinkQueue::new(1, limits, wake.clone());
    let piece = Frame::Known(vec!["127.0.0.1:1".parse().unwrap(); 500]);
    let mut pieces = 0;
    while queue.has_room_for_interest() {
        queue.push_control(&piece).unwrap();
        pieces += 1;
    }
    assert!((2..10).contains(&pieces), "{pieces}");
    assert!(wake.notified().now_or_never().is_none());
    assert_eq!(frames(&queue).len(), pieces);
    assert!(wake.notified().now_or_never().is_some());
    assert!(queue.has_room_for_interest());
    // A queue that has ended does not make anybody wait for ever.
    while queue.has_room_for_interest() {
        queue.push_control(&piece).unwrap();
    }
    queue.close();
    assert!(queue.has_room_for_interest());
}

#[test]
fn state_waits_for_the_snapshot_and_publications_do_not_wait_for_interest() {
    let queue = LinkQueue::new(1, limits(), Arc::default());
    let body = Bytes::from_static(b"s");
    queue.push_state(StateChannel(1), body).unwrap();
    assert_eq!(queue.take(), Taken::Nothing);
    let piece = Frame::Known(vec!["127.0.0.1:1".parse().unwrap(); 1000]);
    for _ in 0..100 {
        queue.push_control(&piece).unwrap();
    }
    queue.push_message(&publication(1)).unwrap();
    let first = frames(&queue);
    assert!(first.len() < 6 && matches!(first.last(), Some(Frame::Publications(_))));
    queue.snapshot_queued();
    while queue.queued_bytes() > 0 {
        frames(&queue);
    }
}

/// What was wrong: a queue of tiny publications held several times its bound.
#[test]
fn the_bound_is_one_of_memory() {
    let queue = LinkQueue::new(1, limits(), Arc::default());
    let mut held = 0;
    loop {
        let publication = publication(1);
        // Each allocation with the allocator's own 16 bytes, and a slot.
        held += size_of::<Publication>() + 16 + 16;
        held += publication.array().len() + 16;
        held += publication.channel().as_str().len() + 16 + 16 + 16;
        if queue.push_message(&publication).is_err() {
            break;
        }
    }
    assert!(held < (1 << 20) * 3 / 2 && held > (1 << 20) / 2, "{held}");
}

/// Queue and window have one bound, and what waits is worth more than what was written.
#[test]
fn the_window_makes_room_for_what_waits() {
    let queue = LinkQueue::new(2, limits(), Arc::default());
    let received = |frames| Received {
        frames,
        publications: 0,
    };
    for _ in 0..3 {
        queue.push_message(&publication(10_000)).unwrap();
        assert!(matches!(queue.take(), Taken::Frames(_)));
    }
    assert!(queue.window_bytes() > 30_000);
    assert!(queue.acknowledge(received(1)) && queue.window_bytes() > 20_000);
    while queue.push_message(&publication(10_000)).is_ok() {
        let held = queue.window_bytes() + queue.queued_bytes();
        assert!(held <= limits().message_queue_bytes as u64, "{held}");
    }
    assert_eq!(queue.window_bytes(), 0);
    assert!(queue.resume(received(2)).is_none(), "a frame is missing");
    let unsent = queue.close();
    assert_eq!((unsent.written, unsent.acknowledged), (3, 0));
}

#[test]
fn version_1_keeps_nothing() {
    let queue = LinkQueue::new(1, limits(), Arc::default());
    queue.push_message(&publication(10)).unwrap();
    assert!(matches!(queue.take(), Taken::Frames(_)));
    assert!(queue.window_bytes() == 0 && !queue.can_resume());
}
