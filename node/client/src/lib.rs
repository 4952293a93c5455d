//! A Bayeux client over WebSocket and long-polling: handshake, connect loop driven by the server's advice, acknowledged
//! requests, remote calls, and a session that outlives its connections. It speaks to Halley and to CometD servers.
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
//! A service of the server is called by [`Client::call`]:
//!
//! ```no_run
//! # async fn example(client: halley_client::Client) -> Result<(), Box<dyn std::error::Error>> {
//! use halley_client::CallError;
//! use std::time::Duration;
//!
//! let patience = Duration::from_secs(5);
//! match client.call("/service/quotes", "EUR", patience).await {
//!     Ok(quotes) => println!("{}", quotes.as_str()),
//!     Err(CallError::Failed(why)) => println!("the service says no: {why}"),
//!     Err(CallError::Request(error)) => println!("no result: {error}"),
//! }
//! # Ok(()) }
//! ```
//!
//! # How it is built
//!
//! ```text
//!  Client ── bounded commands ──▶ driver (one task) ◀── frames ──▶ link: WebSocket | two HTTP connections
//!  Events ◀── bounded events ─────┘     │ ▲
//!                                 events, instants in │ frames, events, answers out
//!                                       ▼ │
//!                                    machine (no IO, no clock)
//! ```
//!
//! # Which transport
//!
//! The first of [`ClientBuilder::transports`] is opened; by default that is WebSocket, then long-polling. The
//! handshake offers all of them, and the first that the server names in its reply is used. Where the host answers but
//! gives no WebSocket (a proxy in between, say), long-polling is taken at once, and WebSocket is tried again when a
//! new session is due. Where WebSocket has worked before, three upgrades must fail in a row for that. A host that
//! cannot be reached at all is no matter of transports: the client goes to the next URL.
//!
//! Over long-polling the held connect has one HTTP/1.1 connection, everything else shares another, one request at a
//! time; what is asked for meanwhile leaves together with the next request. Events come with the replies of both, so
//! without the ack extension a client that also publishes may see the events of two replies in either order. With
//! [`acknowledge`](ClientBuilder::acknowledge) they come with connects alone, in order.
//!
//! `wss` and `https` URLs are TLS, with the system's certificate authorities or
//! [given ones](ClientBuilder::root_certificates). Redirections are not followed, and proxies not asked.
//!
//! # What a lost connection does
//!
//! The client opens another one, after a delay that doubles and carries jitter, going round the given URLs, and
//! resumes its session by its id. When the server still knows the session, [`Event::Resumed`] tells so. When it does
//! not (`402`, or advice to handshake), the client handshakes anew, subscribes again to everything it was subscribed
//! to, and only then reports [`Event::Renewed`]: events published in between are gone.
//!
//! A request whose answer was under way when the connection broke ends with [`RequestError::Interrupted`]: whether it
//! took effect is not known. A call that the server had accepted waits on, as the session brings its result. A request
//! made while there is no connection waits for one.
//!
//! # When the reader of events is slow
//!
//! The stream of events is bounded. When it is full the client stops reading, so the server is held back and the
//! bound of the server's own session queue applies; nothing is dropped on this side. A reader that stays away longer
//! than the server's `timeout + maxInterval` loses its session, and its next event says so. Answers to requests come
//! through the same connection: read events in another task than the one that awaits requests.

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
mod traffic;
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
pub use traffic::Traffic;
pub use transport::Transport;
