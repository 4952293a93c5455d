//! What can go wrong: with the link to the server, with the session, with one request.

use std::{fmt, io};

use halley_bayeux::InvalidChannel;

use crate::{endpoint::InvalidUrl, json::Json, tls::TlsError};

/// The server said no. Bayeux writes it as `code:arguments:text`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    error: String,
}

impl Refusal {
    pub(crate) fn new(error: Option<String>) -> Self {
        // A reply with `successful:false` should say why; one that does not is still a refusal.
        Self {
            error: error.unwrap_or_default(),
        }
    }

    /// The three-digit code, when the server gave one.
    pub fn code(&self) -> Option<u16> {
        let code = self.error.split(':').next()?;
        if code.len() == 3 {
            code.parse().ok()
        } else {
            None
        }
    }

    /// The text after the second colon, or all of it when there are no colons.
    pub fn text(&self) -> &str {
        self.error.splitn(3, ':').last().unwrap_or_default()
    }

    /// The error as the server wrote it.
    pub fn as_str(&self) -> &str {
        &self.error
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.error.is_empty() {
            "no reason given"
        } else {
            &self.error
        })
    }
}

impl std::error::Error for Refusal {}

/// Why a connection could not be opened, or broke.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The TCP connection could not be opened.
    #[error("cannot connect: {0}")]
    Connect(#[source] io::Error),
    /// The host did not prove that it is the one in the URL, or TLS failed otherwise.
    #[error("TLS failed: {0}")]
    Tls(#[source] io::Error),
    /// The connection, or its upgrade to WebSocket, took too long.
    #[error("the connection was not open in time")]
    OpenTimeout,
    /// The server answered the upgrade with this HTTP status.
    #[error("the server answered the WebSocket upgrade with status {0}")]
    Upgrade(u16),
    /// The server answered a request with this HTTP status. Redirections are not followed.
    #[error("the server answered with HTTP status {0}")]
    Status(u16),
    /// A reply is larger than `max_frame_bytes`.
    #[error("the reply is larger than the allowed {0} bytes")]
    ReplyTooLarge(usize),
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(#[source] io::Error),
    /// What came is not WebSocket as the RFC wants it, or is larger than allowed.
    #[error("WebSocket violation: {0}")]
    WebSocket(String),
    /// The server closed the connection.
    #[error("the server closed the connection with code {code} {reason:?}")]
    Closed {
        /// The close code, 1005 when none was sent.
        code: u16,
        /// The reason beside it.
        reason: String,
    },
    /// A connect or handshake was not answered in time, or the socket took no more bytes.
    #[error("the server has gone silent")]
    Silent,
    /// A frame holds something that is not Bayeux.
    #[error("not Bayeux: {0}")]
    Bayeux(&'static str),
    /// A frame is not JSON.
    #[error("not a JSON array of messages: {0}")]
    Json(#[source] serde_json::Error),
}

/// Why [`connect`](crate::ClientBuilder::connect) gave no client.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The URL cannot be used.
    #[error(transparent)]
    Url(#[from] InvalidUrl),
    /// No transport is allowed.
    #[error("no transport is allowed")]
    NoTransport,
    /// A URL asks for TLS, which cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A header name or value is not allowed in HTTP.
    #[error("header {0:?} cannot be sent")]
    Header(String),
    /// A value for the handshake's `ext` cannot be written as JSON.
    #[error("a handshake extension cannot be written as JSON: {0}")]
    Ext(#[source] serde_json::Error),
    /// No connection to any of the URLs, or it broke during the handshake; the last failure.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The server refused the handshake.
    #[error("handshake refused: {0}")]
    Refused(#[source] Refusal),
}

/// Why a request has no good answer.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The channel name is not one; nothing was sent.
    #[error("{channel:?} is not a channel: {reason}")]
    Channel {
        /// What was given.
        channel: String,
        /// The rule it breaks.
        #[source]
        reason: InvalidChannel,
    },
    /// The data cannot be written as JSON; nothing was sent.
    #[error("the data cannot be written as JSON: {0}")]
    Data(#[source] serde_json::Error),
    /// The message is larger than `max_message_bytes`; nothing was sent.
    #[error("the message has {bytes} bytes, more than the allowed {max}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// The server refused it.
    #[error("refused: {0}")]
    Refused(#[source] Refusal),
    /// The server answered the HTTP request that carried it with this status, which says nothing about the single
    /// message: whether it took effect is **not known**, though 4xx means as a rule that it did not.
    #[error("the server answered the request with HTTP status {0}")]
    Status(u16),
    /// The connection broke before the answer came. Whether the request took effect is **not known**.
    #[error("the connection broke before the answer came; the outcome is not known")]
    Interrupted,
    /// No answer within the request timeout. Whether the request took, or will take, effect is **not known**.
    #[error("no answer in time; the outcome is not known")]
    TimedOut,
    /// The client has ended; nothing was sent.
    #[error("the client has ended")]
    Ended,
}

/// Why a remote call has no result.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The service answered, with a failure; this is its data.
    #[error("the service failed: {0}")]
    Failed(Json),
    /// The call was not sent, was refused, or no result came.
    #[error(transparent)]
    Request(#[from] RequestError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_a_refusal_apart() {
        let refusal = Refusal::new(Some("403:denied_by_security_policy:publish_denied".into()));
        assert_eq!(
            (refusal.code(), refusal.text()),
            (Some(403), "publish_denied")
        );
        let refusal = Refusal::new(Some("no".into()));
        assert_eq!((refusal.code(), refusal.text()), (None, "no"));
        assert_eq!(Refusal::new(None).to_string(), "no reason given");
    }
}
