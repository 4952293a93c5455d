//! A Bayeux client over WebSocket: handshake, connect loop driven by the server's advice, acknowledged requests,
//! and a session that outlives its connections.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use halley_client::{Client, Event};
//!
//! let (client, mut events) = Client::builder("ws://127.0.0.1:8080/cometd").connect().await?;
//! client.subscribe("/chat/*").await?;
//! client.publish("/chat/lobby", "hello").await?;
//! while let Some(event) = events.next().await {
//!     match event {
//!         Event::Message(message) => println!("{}: {}", message.channel(), message.data()),
//!         other => println!("{other:?}"),
//!     }
//! }
//! # Ok(()) }
//! ```
//!
//! # How it is built
//!
//! ```text
//!  Client ── bounded commands ──▶ driver (one task) ◀── frames ──▶ socket
//!  Events ◀── bounded events ─────┘     │ ▲
//!                                 events, instants in │ frames, events, answers out
//!                                       ▼ │
//!                                    machine (no IO, no clock)
//! ```
//!
//! # What a lost connection does
//!
//! The client opens another one, after a delay that doubles and carries jitter, going round the given URLs, and
//! resumes its session by its id. When the server still knows the session, [`Event::Resumed`] tells so. When it does
//! not (`402`, or advice to handshake), the client handshakes anew, subscribes again to everything it was subscribed
//! to, and only then reports [`Event::Renewed`]: events published in between are gone.
//!
//! A request whose answer was under way when the connection broke ends with [`RequestError::Interrupted`]: whether it
//! took effect is not known. A request made while there is no connection waits for one.
//!
//! # When the reader of events is slow
//!
//! The stream of events is bounded. When it is full the client stops reading its socket, so TCP pushes back and the
//! bound of the server's own session queue applies; nothing is dropped on this side. A reader that stays away longer
//! than the server's `timeout + maxInterval` loses its session, and its next event says so. Answers to requests come
//! through the same socket: read events in another task than the one that awaits requests.
//!
//! # What it does not do
//!
//! TLS (`wss`), and transports other than WebSocket.

mod advice;
mod backoff;
mod builder;
mod client;
mod cookies;
mod driver;
mod endpoint;
mod error;
mod event;
mod exchange;
mod json;
mod link;
mod machine;
mod pending;
mod poll;
mod request;
mod routes;
mod session;
mod socket;
mod stream;
mod tls;
mod transport;
mod wire;

pub use builder::ClientBuilder;
pub use client::{Batch, Client};
pub use endpoint::InvalidUrl;
pub use error::{CallError, ConnectError, LinkError, Refusal, RequestError};
pub use event::{EndReason, Event, Events, Message};
pub use json::Json;
pub use session::Session;
pub use tls::TlsError;
pub use transport::Transport;
