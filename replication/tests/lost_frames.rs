//! Changes that do not arrive, and the forms of the Oort dialect: one object that is handed its frames by the test.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use halley_cluster::parts::PartFrame;
use halley_cluster::{
    Clock, Incarnation, Member, NodeId, NodeName, SendError, StateChannel, StateHandler,
    StateSender,
};
use halley_replication::{Objects, OortForm, OortList, OortLong, OortMap};
use parking_lot::Mutex;
use serde_json::value::RawValue;

/// Keeps what is sent.
struct Wire(Member, Mutex<Vec<Bytes>>);

impl StateSender for Wire {
    fn this_node(&self) -> Member {
        self.0.clone()
    }

    fn members(&self) -> Vec<Member> {
        Vec::new()
    }

    fn send_state(&self, _: &NodeId, _: StateChannel, body: Bytes) -> Result<(), SendError> {
        self.1.lock().push(body);
        Ok(())
    }

    fn broadcast_state(&self, _: StateChannel, body: Bytes) -> usize {
        self.1.lock().push(body);
        1
    }
}

struct Node {
    member: Member,
    wire: Arc<Wire>,
    objects: Objects,
}

impl Node {
    fn new(name: &str, incarnation: u64) -> Self {
        let member = Member {
            name: NodeName::new(name).unwrap(),
            incarnation: Incarnation(incarnation),
            mesh_address: ([127, 0, 0, 1], 7400).into(),
            client_url: String::new(),
        };
        let wire = Arc::new(Wire(member.clone(), Mutex::default()));
        let objects = Objects::new(wire.clone(), Clock::start());
        Self {
            member,
            wire,
            objects,
        }
    }

    fn sent(&self) -> Vec<Bytes> {
        std::mem::take(&mut self.wire.1.lock())
    }

    /// Gives everything that this node has sent to another one.
    fn send_to(&self, other: &Self) -> usize {
        let sent = self.sent();
        let count = sent.len();
        for frame in sent {
            other.objects.received(&self.member, frame);
        }
        count
    }
}

fn exchange(a: &Node, b: &Node) {
    while a.send_to(b) + b.send_to(a) > 0 {}
}

fn linked() -> (Node, Node) {
    (Node::new("a", 1), Node::new("b", 2))
}

fn join(a: &Node, b: &Node) {
    a.objects.joined(&b.member);
    b.objects.joined(&a.member);
    exchange(a, b);
}

/// CometD's testLostEntry: the next change shows the gap, and one pull repairs it.
#[tokio::test(start_paused = true)]
async fn lost_entry() {
    let (a, b) = linked();
    let on_a: OortMap<String, i64> = a.objects.map("test").unwrap();
    let on_b: OortMap<String, i64> = b.objects.map("test").unwrap();
    join(&a, &b);
    on_a.put("lost".to_owned(), 1).unwrap();
    assert_eq!(a.sent().len(), 1);
    for entry in 0..10 {
        on_a.put(entry.to_string(), entry).unwrap();
    }
    a.send_to(&b);
    assert_eq!(b.wire.1.lock().len(), 1, "one pull");
    exchange(&a, &b);
    assert_eq!(on_b.part(&a.member.name), Some(on_a.local()));
    assert_eq!(on_a.local().len(), 11);
}

/// A list is repaired without doubling what had come before the gap was closed.
#[tokio::test(start_paused = true)]
async fn lost_and_late_elements() {
    let (a, b) = linked();
    let on_a: OortList<u32> = a.objects.list("test").unwrap();
    let on_b: OortList<u32> = b.objects.list("test").unwrap();
    join(&a, &b);
    for element in 0..6 {
        on_a.add(element).unwrap();
    }
    let frames = a.sent();
    for at in [4, 1, 0, 5] {
        b.objects.received(&a.member, frames[at].clone());
    }
    exchange(&a, &b);
    for frame in frames {
        b.objects.received(&a.member, frame);
    }
    assert_eq!(on_b.part(&a.member.name), Some(on_a.local()));
}

/// Nothing follows the change that was lost: the version that owners tell shows the gap.
#[tokio::test(start_paused = true)]
async fn the_last_entry_is_lost() {
    let (a, b) = linked();
    let on_a: OortMap<String, i64> = a.objects.map("test").unwrap();
    let on_b: OortMap<String, i64> = b.objects.map("test").unwrap();
    join(&a, &b);
    on_a.remove(&"none".to_owned()).unwrap();
    on_a.put("lost".to_owned(), 1).unwrap();
    a.sent();
    for _ in 0..20 {
        tokio::time::advance(Duration::from_millis(250)).await;
        a.objects.tick();
        b.objects.tick();
        exchange(&a, &b);
    }
    assert_eq!(on_b.part(&a.member.name), Some(on_a.local()));
}

fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.to_owned()).unwrap()
}

/// The delta in a frame of an object called `test`, as the Oort dialect has it.
fn item(objects: &Objects, frame: Bytes) -> (Option<(&'static str, &'static str)>, String) {
    let PartFrame::Delta { bytes, .. } = PartFrame::decode(frame.slice(5..)).unwrap() else {
        panic!("no delta");
    };
    let form = objects.by_name("test").unwrap();
    let change = form.oort_change(&bytes).unwrap();
    (change.item, change.object.get().to_owned())
}

fn own(objects: &Objects) -> (u64, String) {
    let form = objects.by_name("test").unwrap();
    let (version, json) = form.oort_own().unwrap();
    (version, json.get().to_owned())
}

/// Frames of a node of the Oort dialect, as their translator makes them.
struct Java<'a>(&'a Node, Member, Arc<dyn OortForm>);

impl<'a> Java<'a> {
    fn new(node: &'a Node) -> Self {
        let java = Node::new("java", 9).member;
        node.objects.joined(&java);
        assert_eq!(node.sent().len(), 1, "the own part");
        let form = node.objects.by_name("test").unwrap();
        Self(node, java, form)
    }

    fn frame(&self, frame: &PartFrame) {
        let mut named = vec![4];
        named.extend_from_slice(b"test");
        named.extend_from_slice(&frame.encode());
        self.0.objects.received(&self.1, named.into());
    }

    fn whole(&self, version: u64, json: &str) {
        self.frame(&PartFrame::Snapshot {
            incarnation: self.1.incarnation,
            version,
            piece: 0,
            pieces: 1,
            bytes: self.2.oort_whole(&raw(json)).unwrap(),
        });
    }

    fn item(&self, version: u64, kind: &str, action: &str, json: &str) {
        self.frame(&PartFrame::Delta {
            incarnation: self.1.incarnation,
            version,
            bytes: self.2.oort_item(kind, action, &raw(json)).unwrap(),
        });
    }
}

#[test]
fn maps_in_the_oort_dialect() {
    let node = Node::new("a", 1);
    let map: OortMap<i64, String> = node.objects.map_of("test").unwrap();
    let java = Java::new(&node);
    map.put(7, "x".to_owned()).unwrap();
    map.remove(&7).unwrap();
    map.set([(1, "y".to_owned())]).unwrap();
    let frames = node.sent();
    let entry = Some("oort.map.entry");
    let expected = [
        (
            entry.zip(Some("oort.map.put")),
            r#"{"oort.map.key":7,"oort.map.value":"x"}"#,
        ),
        (entry.zip(Some("oort.map.remove")), r#"{"oort.map.key":7}"#),
        (None, r#"{"1":"y"}"#),
    ];
    assert_eq!(frames.len(), expected.len());
    for (frame, (kind, json)) in frames.into_iter().zip(expected) {
        assert_eq!(item(&node.objects, frame), (kind, json.to_owned()));
    }
    assert_eq!(own(&node.objects), (3, r#"{"1":"y"}"#.to_owned()));

    let part = || format!("{:?}", map.part(&java.1.name).unwrap());
    java.whole(4, r#"{ "5": "five", "6": "six" }"#);
    assert_eq!(part(), r#"{5: "five", 6: "six"}"#);
    let kind = "oort.map.entry";
    java.item(
        5,
        kind,
        "oort.map.put",
        r#"{"oort.map.key":7,"oort.map.value":"seven"}"#,
    );
    java.item(
        6,
        kind,
        "oort.map.put.absent",
        r#"{"oort.map.value":"other","oort.map.key":7}"#,
    );
    java.item(
        7,
        kind,
        "oort.map.put.absent",
        r#"{"oort.map.key":8,"oort.map.value":"eight"}"#,
    );
    java.item(8, kind, "oort.map.remove", r#"{"oort.map.key":5}"#);
    assert_eq!(part(), r#"{6: "six", 7: "seven", 8: "eight"}"#);
    for (kind, action, json) in [
        (kind, "oort.map.put", r#"{"oort.map.key":7}"#),
        (kind, "oort.map.clear", r#"{"oort.map.key":7}"#),
        ("oort.list.element", "oort.list.add", "[1]"),
        (kind, "oort.map.remove", "[]"),
    ] {
        assert!(
            java.2.oort_item(kind, action, &raw(json)).is_none(),
            "{action} {json}"
        );
    }
}

#[test]
fn lists_and_numbers_in_the_oort_dialect() {
    let node = Node::new("a", 1);
    let list: OortList<String> = node.objects.list("test").unwrap();
    let java = Java::new(&node);
    list.add_all(["x".to_owned(), "y".to_owned()]).unwrap();
    list.remove("x".to_owned()).unwrap();
    let frames = node.sent();
    let element = Some("oort.list.element");
    let expected = [
        (element.zip(Some("oort.list.add")), r#"["x","y"]"#),
        (element.zip(Some("oort.list.remove")), r#"["x"]"#),
    ];
    assert_eq!(frames.len(), expected.len());
    for (frame, (kind, json)) in frames.into_iter().zip(expected) {
        assert_eq!(item(&node.objects, frame), (kind, json.to_owned()));
    }
    assert_eq!(own(&node.objects), (2, r#"["y"]"#.to_owned()));
    java.whole(0, r#"["p", "q", "p"]"#);
    java.item(
        1,
        "oort.list.element",
        "oort.list.remove",
        r#"["p", "none"]"#,
    );
    java.item(2, "oort.list.element", "oort.list.add", r#"["r", "r"]"#);
    let part = list.part(&java.1.name).unwrap();
    assert_eq!(format!("{part:?}"), r#"["q", "r", "r"]"#);

    let node = Node::new("a", 1);
    let long: OortLong = node.objects.long("test").unwrap();
    let java = Java::new(&node);
    long.add_and_get(17).unwrap();
    let frame = node.sent().remove(0);
    assert_eq!(item(&node.objects, frame), (None, "17".to_owned()));
    assert_eq!(own(&node.objects), (1, "17".to_owned()));
    java.whole(0, " 3 ");
    assert_eq!(long.sum(), 20);
}
