//! The Bayeux protocol and the engine: messages, channel names, sessions, the channel tree, queues, hooks.
//!
//! No sockets, no HTTP, no clock: a transport brings text and the present instant, and carries out what comes back. No cluster either:
//! siblings plug in through taps, listeners and local sessions.
//!
//! ```text
//! transport -> Engine::websocket_frame / Engine::http_request
//!   json: one pass, fields as slices -> pipeline: validation, extensions, session, policy
//!     -> publication: encoded once -> tree: snapshots, no lock -> session queues -> writer
//! ```
//!
//! Allowed order of locks: a session's subscriptions, or the taps, before a channel; a session's state before the timer wheel or the browsers. Nothing
//! else is nested.

mod admission;
mod advice;
mod authorizer;
mod binary;
mod browsers;
mod call;
mod channel_name;
mod config;
mod data_filter;
mod engine;
mod extension;
mod ids;
mod json;
mod listener;
mod message;
mod policy;
mod publication;
mod queue_listener;
mod refusal;
mod reply;
mod request;
mod session;
mod stats;
mod time;
mod timestamp;
mod timesync;
mod tree;
mod wheel;
pub mod z85;

pub use admission::{AddressGroup, Admission, Crowded};
pub use advice::{Advice, Reconnect};
pub use authorizer::{Authorization, Authorizer, AuthorizerId, Operation};
pub use binary::BinaryData;
pub use call::{CallError, RemoteCall, Responder};
pub use channel_name::{
    CHANNEL_NAME_BYTES_MAX, CHANNEL_SEGMENTS_MAX, ChannelKind, ChannelName, InvalidChannel,
};
pub use config::{Activity, DEPTH_MAX, EngineConfig, InvalidConfig};
pub use data_filter::{DataFilter, DataFilterId, Filtered};
pub use engine::{
    Engine, HeldConnect, HttpOutcome, HttpReply, HttpRequest, LocalSession, Output, Refused,
    Released, WebSocketPeer, WriteTicket,
};
pub use extension::{Delivery, Extension, Flow};
pub use ids::{InvalidUserId, SESSION_ID_CHARACTERS, SessionId, USER_ID_BYTES_MAX, UserId};
pub use json::{Json, ScanError};
pub use listener::{
    MessageListener, MessageListenerId, Service, ServiceReply, SessionListener,
    SubscriptionListener, Tap, TapId,
};
pub use message::Message;
pub use policy::{
    Attachment, BoxFuture, Decision, DefaultPolicy, HandshakeVerdict, SecurityPolicy, Verdict,
};
pub use publication::{InvalidPublication, Publication};
pub use queue_listener::{QueueListener, Waiting, WhenFull};
pub use refusal::{
    DENIED_BY_NOT_GRANTING, DENIED_BY_SECURITY_POLICY, FrameError, FrameRefusal, HttpError,
    LIMIT_REACHED,
};
pub use reply::Reply;
pub use request::{Request, RequestHead, UpgradeHead};
pub use session::{EndReason, LocalReceiver, Session, Transport};
pub use stats::EngineStats;
pub use time::Millis;
pub use tree::ChannelUse;
