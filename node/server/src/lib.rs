//! A clustered messaging node: transports, configuration, metrics and the command line of Halley.
//!
//! ```text
//! clients ──HTTP, WebSocket──> client ──frames──> halley_bayeux::Engine <── services
//! scrapers, operators (ctl) ──HTTP──> admin ──reads──> readiness, metrics
//! node: starts all of it from a config, and drains it
//! ```
//!
//! The protocol itself is in `halley-bayeux`, the links between nodes in `halley-cluster`; nothing here knows what a
//! message means.

mod admin;
pub mod api;
mod application;
pub mod bench;
mod browser_cookie;
mod builder;
mod client;
mod clock;
mod closures;
mod cluster;
pub mod command_line;
pub mod config;
mod cookies;
mod ctl;
pub mod dev;
mod files;
mod handle;
mod http_server;
mod inbox;
mod link_metrics;
mod local;
mod logs;
pub mod metrics;
pub mod node;
mod object_metrics;
mod operators;
mod origin;
pub mod pages;
mod proxies;
mod readiness;
mod rpc;
mod secret_file;
mod security;
pub mod services;
mod tasks;
mod tls;
mod ws_echo;

pub use application::ApplicationError;
pub use builder::NodeBuilder;
pub use clock::Clock;
pub use cluster::ClusterError;
pub use files::FileError;
pub use handle::{NodeHandle, PublishError};
pub use inbox::{Inbox, InboxEnd, Received};
pub use local::{LocalError, LocalSession};
pub use node::{Node, StartError};
pub use readiness::{Readiness, Unready};
pub use rpc::{Call, RpcError};
pub use security::SecurityError;

// What an application implements, and what it meets there: of the engine, the cluster layer and the replicated objects.
pub use halley_bayeux::{
    Advice, Attachment, Authorization, Authorizer, BinaryData, BoxFuture, CallError, ChannelName,
    DataFilter, Decision, DefaultPolicy, Delivery, EndReason, Engine, Extension, Filtered, Flow,
    HandshakeVerdict, Json, Message, MessageListener, Millis, Operation, Publication,
    QueueListener, Reconnect, RemoteCall, Reply, Request, Responder, SecurityPolicy, Service,
    ServiceReply, Session, SessionId, SessionListener, SubscriptionListener, Transport, UserId,
    Verdict, Waiting, WhenFull,
};
pub use halley_cluster::{Member, MembershipListener};
pub use halley_replication::{
    ListListener, ListPart, MapListener, MapPart, MergedMap, ObjectListener, Objects, OortList,
    OortLong, OortMap, OortObject,
};
