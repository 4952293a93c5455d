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
    let queue = LinkQueue::new(1, limits());
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

#[test]
fn one_write_coalesces_up_to_the_budget_and_numbers_without_gap() {
    let queue = LinkQueue::new(1, limits());
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
    let queue = LinkQueue::new(1, limits());
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
    let queue = LinkQueue::new(1, limits());
    let mut pushed = 0;
    while queue.push_message(&publication(10_000)).is_ok() {
        pushed += 1;
    }
    assert!(pushed > 90, "{pushed}");
    assert_eq!(queue.push_message(&publication(1)), Err(PushError::Full));
    assert_eq!(queue.take(), Taken::Full(Lane::Messages));
    assert_eq!(queue.close(), pushed);
    assert_eq!(queue.push_message(&publication(1)), Err(PushError::Closed));
}

#[test]
fn closing_writes_everything_first() {
    let queue = LinkQueue::new(1, limits());
    queue.push_message(&publication(1)).unwrap();
    queue.close_after(&Frame::Leaving);
    assert_eq!(queue.push_message(&publication(1)), Err(PushError::Closed));
    assert!(matches!(frames(&queue)[..], [Frame::Publications(_)]));
    assert_eq!(frames(&queue), [Frame::Leaving]);
    assert_eq!(queue.take(), Taken::Drained);
}
