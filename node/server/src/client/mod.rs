//! The client listener: one port for long-polling, WebSocket, and the demonstration page.
//!
//! ```text
//! OPTIONS /cometd...  ──> 200, CORS headers
//! POST    /cometd...  ──> origin ──> long-polling
//! GET     /cometd     ──> origin ──> upgrade ──> WebSocket task
//! GET     /cometd...?jsonp=  ──> origin ──> callback-polling, if configured
//! else    /cometd...  ──> 400 Unknown Bayeux Transport
//! ```

mod admissions;
mod callback_polling;
mod closing;
mod endpoint;
mod long_polling;
mod patience;
mod request_head;
mod ticket_body;
mod upgrade;
mod websocket;

pub(crate) use admissions::Admissions;
pub(crate) use closing::{Close, say_goodbye};
pub(crate) use endpoint::{Endpoint, routes};
pub(crate) use upgrade::{Refused, Upgrade, socket_config};

/// A WebSocket of a client.
pub(crate) type Socket = tokio_tungstenite::WebSocketStream<crate::http_server::Stream>;
