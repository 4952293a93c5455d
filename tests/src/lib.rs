//! What the tests of this crate stand on: real node processes, real clients, a real load balancer.
//!
//! ```text
//! test ── ClusterOfProcesses ── NodeProcess × n      the built binary, killed when dropped
//!      ├─ Agent ── node tests/js/agent.mjs           stock CometD clients, as tabs of one browser
//!      ├─ Agent ── node tests/js/faye.mjs            Faye clients
//!      ├─ Agent ── java tests/java                   CometD's Java clients
//!      ├─ Agent ── node tests/js/chromium.mjs        the demonstration page in headless Chromium
//!      ├─ Cable                                      a TCP proxy between clients and a node, which the test cuts or unplugs
//!      ├─ HookServer                                 the application that answers calls
//!      ├─ LoadBalancer                               HAProxy with deploy/haproxy/haproxy.cfg, unchanged
//!      ├─ Network                                    network namespaces joined by a bridge, cut, lossy or late
//!      └─ TornCluster                                nodes on a Network, numbered traffic, and a History that is checked
//! test ── sim::World                                 the cluster layer of several nodes in simulated time
//! ```
//!
//! Every process is ended by its id, by the one who started it. Nothing waits for time to pass: see [`patience`].

pub mod admin;
pub mod agent;
pub mod binary;
pub mod cable;
pub mod cluster_of_processes;
pub mod conversation;
pub mod dev_cluster;
pub mod history;
pub mod hook_server;
pub mod java_oort;
pub mod java_server;
pub mod load_balancer;
pub mod network;
pub mod node_process;
pub mod oort;
pub mod patience;
pub mod ports;
pub mod sim;
pub mod torn;
pub mod turn;
