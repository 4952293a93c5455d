//! Replicated objects over an in-memory mesh. The first tests are CometD's rows for `OortObject`, by its names.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../../cluster/tests/memory_mesh/mod.rs"]
mod memory_mesh;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use halley_cluster::parts::PartLimits;
use halley_cluster::{Clock, Member, StateChannel, StateSender};
use halley_replication::{CreateError, ObjectListener, ObjectValue, Objects, OortObject, SetError};
use memory_mesh::{Mesh, node_name};
use parking_lot::Mutex;

/// One node with its objects, and one object `counter` of whole numbers.
struct Node {
    objects: Objects,
    sender: Arc<dyn StateSender>,
}

fn node(mesh: &Mesh, name: &str) -> Node {
    let sender = mesh.add(name);
    let objects = Objects::new(sender.clone(), Clock::start());
    mesh.register(name, StateChannel::OBJECTS, Arc::new(objects.clone()));
    Node { objects, sender }
}

fn object<T: ObjectValue>(node: &Node, initial: T) -> OortObject<T> {
    OortObject::new(&node.objects, "test", initial).unwrap()
}

fn values<T: ObjectValue + Clone>(object: &OortObject<T>) -> Vec<(String, T)> {
    let parts = object.parts().into_iter();
    let mut values: Vec<_> = parts
        .map(|(member, value)| (member.name.to_string(), T::clone(&value)))
        .collect();
    values.sort_by(|(a, _), (b, _)| a.cmp(b));
    values
}

fn pairs<T: Clone>(pairs: &[(&str, T)]) -> Vec<(String, T)> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.clone()))
        .collect()
}

fn sum(object: &OortObject<i64>) -> i64 {
    object.merge(|values| values.sum())
}

/// Writes down what a listener is told.
#[derive(Default)]
struct Recorder(Mutex<Vec<String>>);

impl Recorder {
    fn on<T: ObjectValue + std::fmt::Debug>(object: &OortObject<T>) -> Arc<Self> {
        let recorder = Arc::new(Self::default());
        object.add_listener(recorder.clone());
        recorder
    }

    fn told(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock())
    }
}

impl<T: std::fmt::Debug> ObjectListener<T> for Recorder {
    fn updated(&self, member: &Member, old: Option<&Arc<T>>, new: &Arc<T>) {
        self.0
            .lock()
            .push(format!("{}: {old:?} -> {new:?}", member.name));
    }

    fn removed(&self, member: &Member, old: &Arc<T>) {
        self.0
            .lock()
            .push(format!("{}: {old:?} removed", member.name));
    }
}

/// `count` nodes that are all linked, each with the object.
fn joined<T: ObjectValue + Clone>(
    mesh: &Mesh,
    names: &[&str],
    initial: T,
) -> Vec<(Node, OortObject<T>)> {
    let make = |name: &&str| {
        let node = node(mesh, name);
        let object = object(&node, initial.clone());
        (node, object)
    };
    let nodes: Vec<_> = names.iter().map(make).collect();
    for (index, name) in names.iter().enumerate() {
        for other in &names[index + 1..] {
            mesh.join(name, other);
        }
    }
    mesh.settle();
    nodes
}

#[test]
fn share_object() {
    let mesh = Mesh::default();
    let nodes = joined(&mesh, &["a", "b"], 0);
    let told: Vec<_> = nodes
        .iter()
        .map(|(_, object)| Recorder::on(object))
        .collect();
    let old = nodes[0].1.set(5).unwrap();
    mesh.settle();
    assert_eq!(*old, 0);
    for (told, (_, object)) in told.iter().zip(&nodes) {
        assert_eq!(told.told(), ["a: Some(0) -> 5"]);
        assert_eq!(sum(object), 5);
    }
}

#[test]
fn an_equal_value_is_neither_sent_nor_told() {
    let mesh = Mesh::default();
    let nodes = joined(&mesh, &["a", "b"], 7);
    let told = Recorder::on(&nodes[0].1);
    nodes[0].1.set(7).unwrap();
    assert_eq!(mesh.frames_waiting("b", StateChannel::OBJECTS), 0);
    assert!(told.told().is_empty());
}

#[test]
fn local_object_is_pushed_when_node_joins() {
    let mesh = Mesh::default();
    let nodes = joined(&mesh, &["a", "b"], 1);
    nodes[0].1.set(10).unwrap();
    let late = node(&mesh, "c");
    let late_object = object(&late, 100);
    mesh.join("a", "c");
    mesh.join("b", "c");
    mesh.settle();
    for object in [&nodes[0].1, &nodes[1].1, &late_object] {
        assert_eq!(values(object), pairs(&[("a", 10), ("b", 1), ("c", 100)]));
    }
}

#[test]
fn local_object_is_removed_when_node_leaves() {
    let mesh = Mesh::default();
    let nodes = joined(&mesh, &["a", "b"], 1);
    nodes[1].1.set(2).unwrap();
    mesh.settle();
    let told = Recorder::on(&nodes[0].1);
    mesh.crash("b");
    mesh.settle();
    assert_eq!(told.told(), ["b: 2 removed"]);
    assert_eq!(values(&nodes[0].1), pairs(&[("a", 1)]));
    assert_eq!(nodes[0].1.part(&node_name("b")), None);
}

#[test]
fn iteration_over_parts() {
    let mesh = Mesh::default();
    let nodes = joined(&mesh, &["a", "b", "c"], "value".to_owned());
    let parts = nodes[1].1.parts();
    let members: Vec<_> = parts.iter().map(|(member, _)| member.clone()).collect();
    let expected: Vec<_> = [1, 0, 2]
        .iter()
        .map(|index: &usize| nodes[*index].0.sender.this_node())
        .collect();
    assert_eq!(members, expected, "this node's first, then by name");
}

#[test]
fn non_composite_object() {
    let mesh = Mesh::default();
    let nodes = joined(&mesh, &["a", "b"], 0);
    nodes[0].1.set(3).unwrap();
    nodes[1].1.set(4).unwrap();
    mesh.settle();
    assert_eq!((sum(&nodes[0].1), sum(&nodes[1].1)), (7, 7));
}

#[test]
fn stale_update_is_discarded() {
    let mesh = Mesh::default();
    let nodes = joined(&mesh, &["a", "b"], 0);
    nodes[0].1.set(1).unwrap();
    let (from, channel, late) = mesh.waiting("b").remove(0);
    nodes[0].1.set(2).unwrap();
    mesh.settle();
    let told = Recorder::on(&nodes[1].1);
    mesh.inject(from, "b", channel, late);
    mesh.settle();
    assert_eq!(values(&nodes[1].1), pairs(&[("a", 2), ("b", 0)]));
    assert!(told.told().is_empty());
}

#[test]
fn concurrent() {
    let mesh = Mesh::default();
    let nodes = joined(&mesh, &["a", "b"], String::new());
    let seen = Recorder::on(&nodes[1].1);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let setters: Vec<_> = (0..64)
            .map(|thread| {
                let object = &nodes[0].1;
                scope.spawn(move || {
                    for set in 0..32 {
                        object.set(format!("{thread}/{set}")).unwrap();
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                mesh.settle();
                std::thread::yield_now();
            }
        });
        for setter in setters {
            setter.join().unwrap();
        }
        done.store(true, Ordering::Release);
    });
    mesh.settle();
    let last = nodes[0].1.local();
    assert_eq!(nodes[1].1.part(&node_name("a")), Some(last.clone()));
    let told = seen.told();
    assert!(
        told.last().unwrap().ends_with(&format!("-> {last:?}")),
        "nothing after the last"
    );
    for pair in told.windows(2) {
        let new = pair[0].split(" -> ").nth(1).unwrap();
        assert!(
            pair[1].starts_with(&format!("a: Some({new})")),
            "each change begins where the last ended: {pair:?}"
        );
    }
}

#[test]
fn application_locking() {
    let mesh = Mesh::default();
    let nodes = joined(&mesh, &["a", "b"], 0);
    let lock = Arc::new(Mutex::new(()));
    struct Locking(Arc<Mutex<()>>, OortObject<i64>);
    impl ObjectListener<i64> for Locking {
        fn updated(&self, _: &Member, _: Option<&Arc<i64>>, new: &Arc<i64>) {
            let _lock = self.0.lock();
            if **new < 10 {
                // Set from inside a listener: told after this call, not within it.
                self.1.set(**new + 1).unwrap();
            }
        }
    }
    let object = &nodes[0].1;
    object.add_listener(Arc::new(Locking(lock.clone(), object.clone())));
    let other = {
        let _lock = lock.lock();
        let other = std::thread::spawn({
            let object = object.clone();
            move || object.set(1)
        });
        // The other thread tells and waits for the lock; a set by whoever holds it must not wait for the other thread.
        while *object.local() == 0 {
            std::thread::yield_now();
        }
        object.set(5).unwrap();
        other
    };
    other.join().unwrap().unwrap();
    mesh.settle();
    assert_eq!(*object.local(), 10);
    assert_eq!(nodes[1].1.part(&node_name("a")).as_deref(), Some(&10));
}

#[test]
fn node_crash_while_other_node_starts() {
    let mesh = Mesh::default();
    let a = node(&mesh, "a");
    let on_a = object(&a, 1);
    let told = Recorder::on(&on_a);
    let b = node(&mesh, "b");
    let on_b = object(&b, 2);
    mesh.join("a", "b");
    // B has joined and sent its part; A has handled neither when B is gone.
    mesh.deliver("b", 10);
    mesh.crash("b");
    mesh.settle();
    assert!(told.told().is_empty(), "its part was lost with the link");
    drop((b, on_b));
    let b = node(&mesh, "b");
    let on_b = object(&b, 3);
    mesh.join("a", "b");
    mesh.settle();
    assert_eq!(told.told(), ["b: None -> 3"]);
    assert_eq!(values(&on_b), pairs(&[("a", 1), ("b", 3)]));
}

#[test]
fn nodes_that_create_the_object_after_they_joined_get_all_parts() {
    let mesh = Mesh::default();
    let names = ["a", "b", "c", "d"];
    let nodes: Vec<_> = names.iter().map(|name| node(&mesh, name)).collect();
    for (index, name) in names.iter().enumerate() {
        for other in &names[index + 1..] {
            mesh.join(name, other);
        }
    }
    mesh.settle();
    let objects: Vec<_> = nodes
        .iter()
        .zip(1..)
        .map(|(node, value)| {
            let object = object(node, value);
            mesh.settle();
            object
        })
        .collect();
    for object in &objects {
        assert_eq!(
            values(object),
            pairs(&[("a", 1), ("b", 2), ("c", 3), ("d", 4)])
        );
    }
}

#[test]
fn after_a_partition_both_sides_have_the_last_values() {
    let mesh = Mesh::default();
    let nodes = joined(&mesh, &["a", "b"], 0);
    mesh.cut("a", "b");
    mesh.settle();
    for value in 1..4 {
        nodes[0].1.set(value).unwrap();
        nodes[1].1.set(value * 10).unwrap();
    }
    assert_eq!(
        values(&nodes[0].1),
        pairs(&[("a", 3)]),
        "available, without the other's part"
    );
    let told = Recorder::on(&nodes[0].1);
    mesh.join("a", "b");
    mesh.settle();
    for (_, object) in &nodes {
        assert_eq!(values(object), pairs(&[("a", 3), ("b", 30)]));
    }
    assert_eq!(told.told(), ["b: None -> 30"], "the net change only");
}

#[test]
fn nothing_older_comes_back() {
    let mesh = Mesh::default();
    let nodes = joined(&mesh, &["a", "b"], 0);
    nodes[1].1.set(1).unwrap();
    let (from, channel, late) = mesh.waiting("a").remove(0);
    mesh.crash("b");
    mesh.inject(from.clone(), "a", channel, late.clone());
    mesh.settle();
    assert_eq!(values(&nodes[0].1), pairs(&[("a", 0)]), "after left");
    let again = node(&mesh, "b");
    let _object = object(&again, 9);
    mesh.join("a", "b");
    mesh.settle();
    mesh.inject(from, "a", channel, late.clone());
    mesh.inject(again.sender.this_node(), "a", channel, late);
    mesh.settle();
    assert_eq!(
        values(&nodes[0].1),
        pairs(&[("a", 0), ("b", 9)]),
        "after a new incarnation joined"
    );
}

#[test]
fn a_suspended_node_starts_over_with_its_value_in_a_new_incarnation() {
    let mesh = Mesh::default();
    let nodes = joined(&mesh, &["a", "b"], 0);
    for value in 1..9 {
        nodes[1].1.set(value).unwrap();
    }
    mesh.settle();
    mesh.restart("b");
    mesh.settle();
    assert_eq!(values(&nodes[1].1), pairs(&[("b", 8)]));
    mesh.join("a", "b");
    mesh.settle();
    nodes[1].1.set(100).unwrap();
    mesh.settle();
    assert_eq!(values(&nodes[0].1), pairs(&[("a", 0), ("b", 100)]));
    assert_eq!(nodes[1].1.parts()[0].0, nodes[1].0.sender.this_node());
}

#[test]
fn objects_of_one_node_do_not_mix() {
    let mesh = Mesh::default();
    let (a, b) = (node(&mesh, "a"), node(&mesh, "b"));
    mesh.join("a", "b");
    let one = OortObject::new(&a.objects, "one", 1).unwrap();
    let two = OortObject::new(&a.objects, "two", "x".to_owned()).unwrap();
    let one_there = OortObject::new(&b.objects, "one", 2).unwrap();
    one.set(10).unwrap();
    two.set("y".to_owned()).unwrap();
    mesh.settle();
    assert_eq!(values(&one_there), pairs(&[("a", 10), ("b", 2)]));
    assert!(matches!(
        OortObject::new(&a.objects, "one", 1),
        Err(CreateError::NameTaken)
    ));
    assert!(matches!(
        OortObject::new(&a.objects, "", 1),
        Err(CreateError::InvalidName)
    ));
    assert!(matches!(
        OortObject::new(&a.objects, &"x".repeat(256), 1),
        Err(CreateError::InvalidName)
    ));
}

#[test]
fn values_that_siblings_could_not_read_are_refused() {
    let mesh = Mesh::default();
    let node = node(&mesh, "a");
    let number = object(&node, 0.0);
    assert!(matches!(number.set(f64::NAN), Err(SetError::NotFaithful)));
    let limits = PartLimits {
        part_bytes_max: 10,
        ..PartLimits::default()
    };
    let text = OortObject::with_limits(&node.objects, "text", String::new(), limits).unwrap();
    assert!(text.set("12345678".to_owned()).is_ok());
    assert!(matches!(
        text.set("123456789".to_owned()),
        Err(SetError::TooLarge(_))
    ));
    assert_eq!(*text.local(), "12345678");
}

#[test]
fn a_value_of_megabytes_arrives_in_windows() {
    let mesh = Mesh::default();
    let nodes = joined(&mesh, &["a", "b"], String::new());
    let large = "x".repeat(5 << 20);
    nodes[0].1.set(large.clone()).unwrap();
    while mesh.deliver("a", 1) + mesh.deliver("b", 1) > 0 {
        assert!(
            mesh.frames_waiting("b", StateChannel::OBJECTS) <= 17,
            "one window and a change"
        );
    }
    assert_eq!(nodes[1].1.part(&node_name("a")).as_deref(), Some(&large));
}

#[tokio::test(start_paused = true)]
async fn a_node_without_the_object_is_asked_ever_less() {
    let mesh = Mesh::default();
    let a = node(&mesh, "a");
    let _b = node(&mesh, "b");
    let _object = object(&a, 1);
    mesh.join("a", "b");
    mesh.settle();
    let mut frames = 0;
    for _ in 0..240 {
        tokio::time::advance(Duration::from_millis(250)).await;
        mesh.tick();
        mesh.deliver("a", 10);
        frames += mesh.frames_waiting("b", StateChannel::OBJECTS);
        mesh.settle();
    }
    // In a minute: 24 announcements, pulls after 1, 3, 7, 15 and 31 seconds.
    assert!((29..=30).contains(&frames), "{frames}");
}

/// A listener that panics does not silence the others for ever.
#[test]
fn a_listener_that_panics_does_not_end_the_telling() {
    let mesh = Mesh::default();
    let node = node(&mesh, "a");
    let object = object(&node, 0);
    struct Panics;
    impl ObjectListener<i64> for Panics {
        fn updated(&self, _: &Member, _: Option<&Arc<i64>>, new: &Arc<i64>) {
            assert!(**new != 1, "on purpose");
        }
    }
    object.add_listener(Arc::new(Panics));
    let told = Recorder::on(&object);
    let setter = object.clone();
    assert!(std::thread::spawn(move || setter.set(1)).join().is_err());
    object.set(2).unwrap();
    assert_eq!(told.told(), ["a: Some(1) -> 2"]);
}
