//! How long a node that joins takes to exchange the user directory, and what a user costs on each node.
//!
//! Three processes over loopback; a third of the users on each. Two of them are one cluster when the third opens. Measured
//! from that moment until all three know every user, by looking every 5 ms; and by the resident set of the third, before it
//! knows any user, with its own, and with all.
//!
//! `cargo bench -p halley-cluster --bench presence -- [users] [runs] [listener]`; with `listener` every node tells each
//! change to one as well, as the presence channel does.

#![allow(clippy::unwrap_used, reason = "a benchmark")]

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use halley_bayeux::{DefaultPolicy, Engine, EngineConfig, Publication, UserId};
use halley_cluster::seti::PresenceListener;
use halley_cluster::{Clock, Cluster, ClusterConfig, NodeName, RandomSource, Secret, TokioNet};

const NODES: [&str; 3] = ["a", "b", "c"];

/// One process.
struct Process {
    child: Child,
    orders: ChildStdin,
    lines: Receiver<(Instant, String)>,
}

impl Process {
    fn start(node: usize, users: usize, listener: bool, seed: Option<&str>) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["node", NODES[node], &users.to_string()])
            .args([
                if listener { "listener" } else { "none" },
                seed.unwrap_or("-"),
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let _ = sender.send((Instant::now(), line));
            }
        });
        Self {
            orders: child.stdin.take().unwrap(),
            child,
            lines,
        }
    }

    fn order(&mut self) {
        self.orders.write_all(b"\n").unwrap();
    }

    fn line(&self, begin: &str) -> (Instant, String) {
        loop {
            let (at, line) = self.lines.recv_timeout(Duration::from_secs(60)).unwrap();
            if let Some(rest) = line.strip_prefix(begin) {
                return (at, rest.trim().to_owned());
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn main() {
    let args: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .collect();
    if args.first().is_some_and(|arg| arg == "node") {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        return runtime.block_on(node(&args[1], args[2].parse().unwrap(), &args[3], &args[4]));
    }
    let number = |n: usize, default| args.get(n).and_then(|a| a.parse().ok()).unwrap_or(default);
    let (users, runs) = (number(0, 100_000), number(1, 5));
    let listener = args.iter().any(|arg| arg == "listener");
    println!("{users} users over three nodes, listener: {listener}");
    for _ in 0..runs {
        run(users, listener);
    }
}

fn run(users: usize, listener: bool) {
    let mut a = Process::start(0, users, listener, None);
    a.line("ready");
    a.order();
    let (_, address) = a.line("open");
    let mut b = Process::start(1, users, listener, Some(&address));
    b.line("ready");
    b.order();
    let two = users - users / 3;
    for process in [&a, &b] {
        while process.line("knows").1.parse::<usize>().unwrap() < two {}
    }
    let mut c = Process::start(2, users, listener, Some(&address));
    c.line("ready");
    let began = Instant::now();
    c.order();
    let mut took = Duration::ZERO;
    for process in [&a, &b, &c] {
        loop {
            let (at, known) = process.line("knows");
            if known.parse::<usize>().unwrap() == users {
                took = took.max(at - began);
                break;
            }
        }
    }
    c.order();
    let memory: Vec<i64> = c
        .line("memory")
        .1
        .split(' ')
        .map(|n| n.parse().unwrap())
        .collect();
    let own = i64::try_from(users / 3).unwrap();
    let all = i64::try_from(users).unwrap();
    println!(
        "exchanged in {:.0} ms; on the node that joined: {} bytes per own user, {} per user of another node, {} per user",
        took.as_secs_f64() * 1000.0,
        (memory[1] - memory[0]) / own,
        (memory[2] - memory[1]) / (all - own),
        (memory[2] - memory[0]) / all,
    );
}

struct Told;

impl PresenceListener for Told {
    fn present(&self, user: &UserId, node: &NodeName) {
        std::hint::black_box((user, node));
    }
    fn absent(&self, user: &UserId, node: &NodeName) {
        std::hint::black_box((user, node));
    }
}

/// The resident set in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib * 1024
}

async fn node(name: &str, users: usize, listener: &str, seed: &str) {
    let secret = Secret::new(&[1; 32]).unwrap();
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let mut config = ClusterConfig::new(NodeName::new(name).unwrap(), any, secret);
    if seed != "-" {
        config.siblings = vec![seed.to_owned()];
    }
    let engine = Engine::new(EngineConfig::default(), Arc::new(DefaultPolicy::default()));
    let clock = Clock::start();
    let cluster = Cluster::new(config, engine.clone(), clock, RandomSource::system()).unwrap();
    let seti = cluster.seti().clone();
    if listener == "listener" {
        seti.add_listener(Arc::new(Told));
    }
    // One session stands for all: what sessions take is another measurement's.
    let session = engine.local_session(None, Arc::new(|_: &Arc<Publication>| {}));
    let empty = resident();
    let mine = NODES.iter().position(|node| *node == name).unwrap();
    let count = if mine == 2 {
        users / 3
    } else {
        (users - users / 3) / 2
    };
    let count = if mine == 1 {
        users - users / 3 - count
    } else {
        count
    };
    for user in 0..count {
        let user = UserId::new(&format!("user-{name}-{user:06}@example.com")).unwrap();
        seti.associate(&user, session.session()).unwrap();
    }
    let own = resident();
    println!("ready");
    let orders = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).unwrap();
    });
    orders.await.unwrap();
    cluster.open(TokioNet).await.unwrap();
    println!("open {}", cluster.this_node().mesh_address);
    let mut before = 0;
    let ends = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).unwrap();
    });
    while !ends.is_finished() {
        let known = seti.user_count();
        if known != before {
            println!("knows {known}");
            before = known;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    println!("memory {empty} {own} {}", resident());
    tokio::time::sleep(Duration::from_secs(1)).await;
}
