//! Replicated maps, lists and numbers over an in-memory mesh. The first tests are CometD's rows, by its names.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../../cluster/tests/memory_mesh/mod.rs"]
mod memory_mesh;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use halley_cluster::parts::PartLimits;
use halley_cluster::{Clock, Member, StateChannel};
use halley_replication::{
    CreateError, ListElement, ListListener, MapKey, MapListener, ObjectValue, Objects, OortList,
    OortLong, OortMap, OortObject, SetError,
};
use memory_mesh::{Mesh, node_name};
use parking_lot::Mutex;

fn node(mesh: &Mesh, name: &str) -> Objects {
    let objects = Objects::new(mesh.add(name), Clock::start());
    mesh.register(name, StateChannel::OBJECTS, Arc::new(objects.clone()));
    objects
}

/// Nodes that are all linked, each with what `make` makes.
fn joined<O>(mesh: &Mesh, names: &[&str], make: impl Fn(&Objects) -> O) -> Vec<O> {
    let made = names.iter().map(|name| make(&node(mesh, name))).collect();
    for (index, name) in names.iter().enumerate() {
        for other in &names[index + 1..] {
            mesh.join(name, other);
        }
    }
    mesh.settle();
    made
}

fn maps(mesh: &Mesh, names: &[&str]) -> Vec<OortMap<String, i64>> {
    joined(mesh, names, |objects| objects.map("test").unwrap())
}

fn lists(mesh: &Mesh, names: &[&str]) -> Vec<OortList<String>> {
    joined(mesh, names, |objects| objects.list("test").unwrap())
}

fn key(text: &str) -> String {
    text.to_owned()
}

fn keys(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| key(text)).collect()
}

/// The part of a node as text.
fn part<K: MapKey + std::fmt::Debug, V: ObjectValue + std::fmt::Debug>(
    map: &OortMap<K, V>,
    node: &str,
) -> String {
    format!("{:?}", map.part(&node_name(node)))
}

/// Writes down what a listener is told.
#[derive(Default)]
struct Recorder(Mutex<Vec<String>>);

impl Recorder {
    fn told(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock())
    }

    fn on_map<K: MapKey + std::fmt::Debug, V: ObjectValue + std::fmt::Debug>(
        map: &OortMap<K, V>,
    ) -> Arc<Self> {
        let recorder = Arc::new(Self::default());
        map.add_listener(recorder.clone());
        recorder
    }

    fn on_list<E: ListElement + std::fmt::Debug>(list: &OortList<E>) -> Arc<Self> {
        let recorder = Arc::new(Self::default());
        list.add_listener(recorder.clone());
        recorder
    }
}

impl<K: std::fmt::Debug, V: std::fmt::Debug> MapListener<K, V> for Recorder {
    fn put(&self, member: &Member, key: &K, old: Option<&Arc<V>>, new: &Arc<V>) {
        let line = format!("{}: {key:?} {old:?} -> {new:?}", member.name);
        self.0.lock().push(line);
    }

    fn removed(&self, member: &Member, key: &K, old: &Arc<V>) {
        let line = format!("{}: {key:?} {old:?} removed", member.name);
        self.0.lock().push(line);
    }

    fn part_changed(&self, member: &Member) {
        self.0.lock().push(format!("{} changed", member.name));
    }

    fn part_removed(&self, member: &Member) {
        self.0.lock().push(format!("{} is gone", member.name));
    }
}

impl<E: std::fmt::Debug> ListListener<E> for Recorder {
    fn added(&self, member: &Member, elements: &[Arc<E>]) {
        let line = format!("{}: {elements:?} added", member.name);
        self.0.lock().push(line);
    }

    fn removed(&self, member: &Member, elements: &[Arc<E>]) {
        let line = format!("{}: {elements:?} removed", member.name);
        self.0.lock().push(line);
    }

    fn part_removed(&self, member: &Member) {
        self.0.lock().push(format!("{} is gone", member.name));
    }
}

#[test]
fn entry_put() {
    let mesh = Mesh::default();
    let maps = maps(&mesh, &["a", "b"]);
    let told: Vec<_> = maps.iter().map(Recorder::on_map).collect();
    assert_eq!(maps[0].put(key("k"), 1).unwrap(), None);
    mesh.settle();
    assert_eq!(maps[0].put(key("k"), 2).unwrap().as_deref(), Some(&1));
    mesh.settle();
    for told in &told {
        assert_eq!(
            told.told(),
            [
                "a: \"k\" None -> 1",
                "a changed",
                "a: \"k\" Some(1) -> 2",
                "a changed"
            ]
        );
    }
    // Neither sent nor told.
    maps[0].put(key("k"), 2).unwrap();
    assert_eq!(mesh.frames_waiting("b", StateChannel::OBJECTS), 0);
    assert!(told[0].told().is_empty());
}

#[test]
fn entry_put_if_absent() {
    let mesh = Mesh::default();
    let maps = maps(&mesh, &["a", "b"]);
    assert_eq!(maps[0].put_if_absent(key("k"), 1).unwrap(), None);
    mesh.settle();
    let held = maps[0].put_if_absent(key("k"), 2).unwrap();
    assert_eq!(held.as_deref(), Some(&1));
    assert_eq!(mesh.frames_waiting("b", StateChannel::OBJECTS), 0);
    // Only the own part counts.
    assert_eq!(maps[1].put_if_absent(key("k"), 3).unwrap(), None);
    mesh.settle();
    assert_eq!(part(&maps[0], "b"), "Some({\"k\": 3})");
}

#[test]
fn entry_removed() {
    let mesh = Mesh::default();
    let maps = maps(&mesh, &["a", "b"]);
    maps[0].put(key("k"), 1).unwrap();
    mesh.settle();
    let told = Recorder::on_map(&maps[1]);
    assert_eq!(maps[0].remove(&key("k")).unwrap().as_deref(), Some(&1));
    assert_eq!(maps[0].remove(&key("k")).unwrap(), None);
    assert_eq!(mesh.frames_waiting("b", StateChannel::OBJECTS), 1);
    mesh.settle();
    assert_eq!(told.told(), ["a: \"k\" 1 removed", "a changed"]);
    assert_eq!(part(&maps[1], "a"), "Some({})");
}

#[test]
fn entry_updated() {
    let mesh = Mesh::default();
    let maps = maps(&mesh, &["a", "b"]);
    let add = |value: Option<&i64>| Some(value.map_or(1, |value| value + 1));
    assert_eq!(maps[0].update(&key("k"), add).unwrap(), None);
    assert_eq!(maps[0].update(&key("k"), add).unwrap().as_deref(), Some(&1));
    mesh.settle();
    assert_eq!(part(&maps[1], "a"), "Some({\"k\": 2})");
    maps[0].update(&key("k"), |_| None).unwrap();
    maps[0].update(&key("never"), |_| None).unwrap();
    assert_eq!(mesh.frames_waiting("b", StateChannel::OBJECTS), 1);
    mesh.settle();
    assert_eq!(part(&maps[1], "a"), "Some({})");
}

#[test]
fn map_delta_listener() {
    let mesh = Mesh::default();
    let maps = maps(&mesh, &["a", "b"]);
    for (name, value) in [("equal", 1), ("other", 2), ("old", 3)] {
        maps[0].put(key(name), value).unwrap();
    }
    mesh.settle();
    let told = Recorder::on_map(&maps[1]);
    let before = maps[0]
        .set([(key("equal"), 1), (key("other"), 20), (key("new"), 4)])
        .unwrap();
    assert_eq!(before.len(), 3);
    assert_eq!(mesh.frames_waiting("b", StateChannel::OBJECTS), 1);
    mesh.settle();
    assert_eq!(
        told.told(),
        [
            "a: \"old\" 3 removed",
            "a: \"new\" None -> 4",
            "a: \"other\" Some(2) -> 20",
            "a changed"
        ]
    );
    mesh.crash("a");
    mesh.settle();
    assert_eq!(
        told.told(),
        [
            "a: \"equal\" 1 removed",
            "a: \"new\" 4 removed",
            "a: \"other\" 20 removed",
            "a is gone"
        ]
    );
    assert_eq!(part(&maps[1], "a"), "None");
}

#[test]
fn map_get_find() {
    let mesh = Mesh::default();
    let maps = maps(&mesh, &["a", "b", "c"]);
    maps[1].put(key("both"), 2).unwrap();
    maps[2].put(key("both"), 3).unwrap();
    mesh.settle();
    let whose = |found: Option<(Member, Arc<i64>)>| {
        found.map(|(member, value)| (member.name.to_string(), *value))
    };
    assert_eq!(maps[0].get("both"), None, "the own part only");
    assert_eq!(whose(maps[0].find("both")), Some((key("b"), 2)), "by name");
    assert_eq!(
        whose(maps[2].find("both")),
        Some((key("c"), 3)),
        "own first"
    );
    assert_eq!(maps[0].find_all("both").len(), 2);
    assert_eq!(whose(maps[0].find("nowhere")), None);
}

#[test]
fn map_merged() {
    let mesh = Mesh::default();
    let maps = maps(&mesh, &["a", "b", "c"]);
    for (map, entries) in maps.iter().zip([
        vec![("x", 1), ("same", 5)],
        vec![("x", 2), ("same", 5)],
        vec![("y", 3)],
    ]) {
        for (name, value) in entries {
            map.put(key(name), value).unwrap();
        }
    }
    mesh.settle();
    let merged = maps[1].merged();
    for map in &maps {
        assert_eq!(map.merged(), merged, "the same on all nodes");
    }
    let entries: Vec<_> = merged
        .entries
        .iter()
        .map(|(k, v)| (k.as_str(), **v))
        .collect();
    assert_eq!(entries, [("same", 5), ("x", 2), ("y", 3)]);
    let conflicts: Vec<_> = merged.conflicts.iter().collect();
    let [(name, values)] = conflicts.as_slice() else {
        panic!("{conflicts:?}");
    };
    let values: Vec<_> = values.iter().map(|(m, v)| (m.name.as_str(), **v)).collect();
    assert_eq!((name.as_str(), values), ("x", vec![("a", 1), ("b", 2)]));
}

/// 64 threads with 32 changes each, while another one delivers.
fn concurrently(mesh: &Mesh, change: impl Fn(usize, usize) + Sync) {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let change = &change;
        let threads: Vec<_> = (0..64)
            .map(|thread| scope.spawn(move || (0..32).for_each(|at| change(thread, at))))
            .collect();
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                mesh.settle();
                std::thread::yield_now();
            }
        });
        for thread in threads {
            thread.join().unwrap();
        }
        done.store(true, Ordering::Release);
    });
    mesh.settle();
}

#[test]
fn map_concurrent() {
    let mesh = Mesh::default();
    let maps = maps(&mesh, &["a", "b"]);
    let told = Recorder::on_map(&maps[1]);
    concurrently(&mesh, |thread, at| {
        maps[0].put(format!("{thread}/{at}"), 1).unwrap();
    });
    assert_eq!(maps[0].local().len(), 64 * 32);
    assert_eq!(maps[1].part(&node_name("a")), Some(maps[0].local()));
    let puts = told.told().into_iter().filter(|line| line.contains("->"));
    assert_eq!(puts.count(), 64 * 32, "all are told");
}

#[test]
fn entry_before_map() {
    let mesh = Mesh::default();
    let names = ["a", "b"];
    let nodes = joined(&mesh, &names, Objects::clone);
    let on_a: OortMap<String, i64> = nodes[0].map("test").unwrap();
    on_a.put(key("early"), 1).unwrap();
    mesh.settle();
    // The entry of a part that this node has not got yet.
    on_a.put(key("late"), 2).unwrap();
    let on_b: OortMap<String, i64> = nodes[1].map("test").unwrap();
    mesh.settle();
    assert_eq!(part(&on_b, "a"), "Some({\"early\": 1, \"late\": 2})");
    on_a.put(key("then"), 3).unwrap();
    assert_eq!(mesh.frames_waiting("b", StateChannel::OBJECTS), 1);
    mesh.settle();
    assert_eq!(on_b.part(&node_name("a")), Some(on_a.local()));
}

#[test]
fn map_node_sync_with_large_map() {
    let mesh = Mesh::default();
    let maps = maps(&mesh, &["a", "b"]);
    mesh.cut("a", "b");
    mesh.settle();
    for entry in 0..65_536 {
        maps[0].put(format!("entry {entry}"), entry).unwrap();
    }
    mesh.join("a", "b");
    mesh.settle();
    let there = maps[1].part(&node_name("a")).unwrap();
    assert_eq!((there.len(), &there), (65_536, &maps[0].local()));
}

#[test]
fn map_changes_on_both_sides_of_a_partition() {
    let mesh = Mesh::default();
    let maps = maps(&mesh, &["a", "b"]);
    for map in &maps {
        map.put(key("k"), 1).unwrap();
        map.put(key("gone"), 1).unwrap();
    }
    mesh.settle();
    let told = Recorder::on_map(&maps[0]);
    mesh.cut("a", "b");
    mesh.settle();
    assert_eq!(maps[0].part(&node_name("b")), None);
    for map in &maps {
        map.put(key("k"), 2).unwrap();
        map.remove(&key("gone")).unwrap();
    }
    told.told();
    mesh.join("a", "b");
    mesh.settle();
    assert_eq!(told.told(), ["b: \"k\" None -> 2", "b changed"]);
    for (map, other) in [(&maps[0], "b"), (&maps[1], "a")] {
        assert_eq!(part(map, other), "Some({\"k\": 2})");
    }
}

/// CometD: OortLongMap, whose keys are numbers in items and texts in the whole.
#[test]
fn long_map_share() {
    let mesh = Mesh::default();
    let make = |objects: &Objects| objects.map_of::<i64, String>("test").unwrap();
    let maps = joined(&mesh, &["a", "b"], make);
    maps[0].put(i64::MIN, key("x")).unwrap();
    maps[0].put(7, key("y")).unwrap();
    mesh.settle();
    let expected = "Some({-9223372036854775808: \"x\", 7: \"y\"})";
    assert_eq!(part(&maps[1], "a"), expected, "by items");
    mesh.cut("a", "b");
    mesh.join("a", "b");
    mesh.settle();
    assert_eq!(part(&maps[1], "a"), expected, "as a whole");
}

#[test]
fn element_added() {
    let mesh = Mesh::default();
    let lists = lists(&mesh, &["a", "b"]);
    let told: Vec<_> = lists.iter().map(Recorder::on_list).collect();
    assert!(lists[0].add_all(keys(&["x", "y", "x"])).unwrap());
    assert!(!lists[0].add_all([]).unwrap());
    assert_eq!(mesh.frames_waiting("b", StateChannel::OBJECTS), 1);
    mesh.settle();
    for told in &told {
        assert_eq!(told.told(), ["a: [\"x\", \"x\", \"y\"] added"]);
    }
    assert_eq!(
        format!("{:?}", lists[1].part(&node_name("a")).unwrap()),
        "[\"x\", \"y\", \"x\"]"
    );
}

#[test]
fn element_removed() {
    let mesh = Mesh::default();
    let lists = lists(&mesh, &["a", "b"]);
    lists[0].add_all(keys(&["x", "y", "x", "z"])).unwrap();
    mesh.settle();
    let told = Recorder::on_list(&lists[1]);
    assert!(lists[0].remove_all(keys(&["x", "nowhere"])).unwrap());
    assert!(!lists[0].remove(key("nowhere")).unwrap());
    assert_eq!(mesh.frames_waiting("b", StateChannel::OBJECTS), 1);
    mesh.settle();
    assert_eq!(told.told(), ["a: [\"x\", \"x\"] removed"], "all of them");
    assert_eq!(
        format!("{:?}", lists[1].part(&node_name("a")).unwrap()),
        "[\"y\", \"z\"]"
    );
}

#[test]
fn list_delta_listener() {
    let mesh = Mesh::default();
    let lists = lists(&mesh, &["a", "b"]);
    lists[0]
        .add_all(keys(&["same", "old", "twice", "twice"]))
        .unwrap();
    mesh.settle();
    let told = Recorder::on_list(&lists[1]);
    lists[0].set(keys(&["new", "twice", "same"])).unwrap();
    mesh.settle();
    assert_eq!(
        told.told(),
        [
            "a: [\"old\"] removed",
            "a: [\"new\"] added",
            "a: [\"twice\"] removed"
        ]
    );
    mesh.crash("a");
    mesh.settle();
    assert_eq!(
        told.told(),
        ["a: [\"new\", \"twice\", \"same\"] removed", "a is gone"]
    );
}

#[test]
fn list_contains() {
    let mesh = Mesh::default();
    let lists = lists(&mesh, &["a", "b"]);
    lists[0].add(key("x")).unwrap();
    lists[1].add(key("x")).unwrap();
    lists[1].add(key("y")).unwrap();
    mesh.settle();
    assert!(!lists[0].contains(&key("y")), "the own part only");
    assert!(lists[0].is_present(&key("y")));
    assert!(!lists[0].is_present(&key("z")));
    assert_eq!(lists[0].find_all(&key("x")).len(), 2);
    let merged: Vec<_> = lists[0].merged().iter().map(|e| e.to_string()).collect();
    assert_eq!(merged, ["x", "x", "y"]);
}

#[test]
fn list_concurrent() {
    let mesh = Mesh::default();
    let lists = lists(&mesh, &["a", "b"]);
    let told = Recorder::on_list(&lists[1]);
    concurrently(&mesh, |thread, at| {
        lists[0].add(format!("{thread}/{at}")).unwrap();
    });
    assert_eq!(lists[0].local().len(), 64 * 32);
    assert_eq!(lists[1].part(&node_name("a")), Some(lists[0].local()));
    let elements: usize = told
        .told()
        .iter()
        .map(|line| line.matches('/').count())
        .sum();
    assert_eq!(elements, 64 * 32, "all are told");
}

#[test]
fn long_counts_and_sums() {
    let mesh = Mesh::default();
    let longs = joined(&mesh, &["a", "b"], |objects| objects.long("test").unwrap());
    assert_eq!(longs[0].add_and_get(5).unwrap(), 5);
    assert_eq!(longs[0].get_and_add(2).unwrap(), 5);
    assert_eq!(longs[1].get_and_set(i64::MAX).unwrap(), 0);
    assert!(!longs[0].compare_and_set(5, 0).unwrap());
    assert!(longs[0].compare_and_set(7, 1).unwrap());
    assert_eq!(longs[1].add_and_get(1).unwrap(), i64::MIN, "wraps around");
    mesh.settle();
    assert_eq!(longs[0].part(&node_name("b")), Some(i64::MIN));
    assert_eq!(
        (longs[0].sum(), longs[1].sum()),
        (i64::MIN + 1, i64::MIN + 1)
    );
    concurrently(&mesh, |_, _| {
        longs[0].add_and_get(1).unwrap();
    });
    assert_eq!(longs[1].part(&node_name("a")), Some(1 + 64 * 32));
}

#[test]
fn one_name_is_one_object_of_one_type() {
    let mesh = Mesh::default();
    let objects = node(&mesh, "a");
    let map = objects.map::<i64>("name").unwrap();
    objects
        .map::<i64>("name")
        .unwrap()
        .put(key("k"), 1)
        .unwrap();
    assert_eq!(map.local().len(), 1);
    let taken = [
        objects.map::<String>("name").err(),
        objects.list::<String>("name").err(),
        objects.long("name").err(),
        OortObject::new(&objects, "name", 0).err(),
        OortMap::<String, i64>::new(&objects, "name").err(),
    ];
    for error in taken {
        assert!(matches!(error, Some(CreateError::NameTaken)), "{error:?}");
    }
}

#[test]
fn what_siblings_could_not_hold_is_refused() {
    let mesh = Mesh::default();
    let objects = node(&mesh, "a");
    let map = objects.map::<Option<f64>>("values").unwrap();
    let refused = [map.put(key("k"), None), map.put(key("k"), Some(f64::NAN))];
    assert!(matches!(refused[0], Err(SetError::Null)), "{refused:?}");
    assert!(refused[1].is_err() && map.local().is_empty(), "{refused:?}");
    let map = objects.map_of::<Vec<u8>, i64>("keys").unwrap();
    assert!(matches!(map.put(vec![1], 1), Err(SetError::NotJson(_))));
    let list = objects.list::<Option<i64>>("elements").unwrap();
    assert!(matches!(list.add_all([Some(1), None]), Err(SetError::Null)));
    assert!(list.local().is_empty(), "all or nothing");
}

#[test]
fn bounds_refuse_the_change_and_nothing_else() {
    let limits = PartLimits {
        part_bytes_max: 20,
        entries_max: 2,
        ..PartLimits::default()
    };
    let mesh = Mesh::default();
    let objects = node(&mesh, "a");
    let map: OortMap<String, i64> = OortMap::with_limits(&objects, "map", limits).unwrap();
    map.put(key("a"), 1).unwrap();
    map.put(key("b"), 1).unwrap();
    let many = map.put(key("c"), 1);
    assert!(
        matches!(many, Err(SetError::TooManyEntries { max: 2 })),
        "{many:?}"
    );
    // {"a":1,"b":1} has 13 bytes.
    map.put(key("b"), 12_345_678).unwrap();
    let large = map.put(key("b"), 123_456_789);
    assert!(matches!(large, Err(SetError::TooLarge(_))), "{large:?}");
    assert_eq!(format!("{:?}", map.local()), "{\"a\": 1, \"b\": 12345678}");
    map.remove(&key("a")).unwrap();
    map.put(key("c"), 1).unwrap();
    let list: OortList<String> = OortList::with_limits(&objects, "list", limits).unwrap();
    let many = list.add_all(keys(&["a", "b", "c"]));
    assert!(
        matches!(many, Err(SetError::TooManyEntries { max: 2 })),
        "{many:?}"
    );
    let large = list.add(key("a text that is too long"));
    assert!(matches!(large, Err(SetError::TooLarge(_))), "{large:?}");
    list.add_all(keys(&["a", "b"])).unwrap();
    list.remove(key("a")).unwrap();
    list.add(key("c")).unwrap();
}

/// A sibling with wider bounds: what passes this node's is not taken, neither by changes nor as a whole.
#[test]
fn a_sibling_cannot_pass_the_bounds() {
    let limits = PartLimits {
        entries_max: 3,
        ..PartLimits::default()
    };
    let mesh = Mesh::default();
    let (a, b) = (node(&mesh, "a"), node(&mesh, "b"));
    let wide: OortMap<String, i64> = a.map("test").unwrap();
    let narrow: OortMap<String, i64> = OortMap::with_limits(&b, "test", limits).unwrap();
    mesh.join("a", "b");
    mesh.settle();
    for entry in 0..5 {
        wide.put(entry.to_string(), entry).unwrap();
    }
    mesh.settle();
    let there = || narrow.part(&node_name("a")).unwrap().len();
    assert_eq!(there(), 3);
    assert!(b.report()[0].parts[1].behind);
    for entry in 0..4 {
        wide.remove(&entry.to_string()).unwrap();
    }
    mesh.cut("a", "b");
    mesh.join("a", "b");
    mesh.settle();
    assert_eq!(there(), 1, "it is whole again");
}

#[test]
fn snapshots_do_not_change_and_hold_no_lock() {
    let mesh = Mesh::default();
    let maps = maps(&mesh, &["a", "b"]);
    maps[0].put(key("k"), 1).unwrap();
    mesh.settle();
    let (own, replica) = (maps[0].local(), maps[1].part(&node_name("a")).unwrap());
    for (name, value) in own.iter() {
        maps[0].put(name.clone(), **value + 1).unwrap();
        mesh.settle();
    }
    assert_eq!(
        (own.get("k"), replica.get("k")),
        (Some(&Arc::new(1)), Some(&Arc::new(1)))
    );
    assert_eq!(maps[1].find("k").unwrap().1, Arc::new(2));
}

/// A listener that is slow is told the last value of each key, not those in between, and it sees the whole part.
#[test]
fn a_slow_listener_is_told_net_changes() {
    struct Putting(OortMap<String, i64>, Mutex<BTreeMap<String, Vec<i64>>>);
    impl MapListener<String, i64> for Putting {
        fn put(&self, _: &Member, key: &String, _: Option<&Arc<i64>>, new: &Arc<i64>) {
            self.1.lock().entry(key.clone()).or_default().push(**new);
            if key == "first" {
                for value in 1..=100 {
                    self.0.put("second".to_owned(), value).unwrap();
                }
                self.0.put("passing".to_owned(), 1).unwrap();
                self.0.remove(&"passing".to_owned()).unwrap();
            }
        }
    }
    let mesh = Mesh::default();
    let maps = maps(&mesh, &["a"]);
    let told = Arc::new(Putting(maps[0].clone(), Mutex::default()));
    maps[0].add_listener(told.clone());
    maps[0].put(key("first"), 1).unwrap();
    let expected = BTreeMap::from([(key("first"), vec![1]), (key("second"), vec![100])]);
    assert_eq!(*told.1.lock(), expected);
}

#[test]
fn the_report_counts_entries_and_bytes_of_every_part() {
    let mesh = Mesh::default();
    let nodes = joined(&mesh, &["a", "b"], Objects::clone);
    let map = nodes[0].map::<i64>("map").unwrap();
    nodes[1].map::<i64>("map").unwrap();
    let list = nodes[0].list::<String>("list").unwrap();
    let _long: OortLong = nodes[0].long("zero").unwrap();
    map.put(key("a"), 1).unwrap();
    map.put(key("b"), 22).unwrap();
    list.add_all(keys(&["x", "y"])).unwrap();
    mesh.settle();
    let report: Vec<_> = nodes[0]
        .report()
        .iter()
        .map(|object| {
            let parts = object.parts.iter();
            let parts = parts.map(|part| format!("{} {} {}", part.node, part.entries, part.bytes));
            format!(
                "{} {}: {}",
                object.name,
                object.kind,
                parts.collect::<Vec<_>>().join(", ")
            )
        })
        .collect();
    assert_eq!(
        report,
        [
            format!("list list: a 2 {}", r#"["x","y"]"#.len()),
            format!("map map: a 2 {}, b 0 2", r#"{"a":1,"b":22}"#.len()),
            "zero long: a 1 1".to_owned(),
        ]
    );
}
