//! One question to the admin address over HTTP/1.1.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST, HeaderValue};
use http::uri::Scheme;
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

/// Greatest answer that is read: ten thousand names of the greatest length, per sibling.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    /// The address cannot be used.
    #[error("--admin: {0:?} is not an address such as http://127.0.0.1:9400")]
    Address(String),
    /// Encryption is not spoken here.
    #[error(
        "--admin: the admin listener speaks http; reach it through a tunnel or on its own host"
    )]
    Https,
    /// The token cannot be read.
    #[error("--token-file: {file}: {error}", file = file.display())]
    TokenFile {
        /// The file.
        file: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The file holds no token.
    #[error("--token-file: {file} holds no token", file = file.display())]
    Token {
        /// The file.
        file: PathBuf,
    },
    /// Nobody answers.
    #[error("{address} cannot be reached: {error}")]
    Unreachable {
        /// Host and port.
        address: String,
        /// Why.
        error: String,
    },
    /// The token is missing, wrong, or none is configured on the node.
    #[error("not allowed: {0}")]
    NotAllowed(String),
    /// The node has answered with an error.
    #[error("the node answered {status}: {text}")]
    Answer {
        /// Its status.
        status: StatusCode,
        /// Its words.
        text: String,
    },
    /// The node has answered with what no node says.
    #[error("the answer cannot be read: {0}")]
    Unreadable(String),
}

/// An admin address, and the token for it.
#[derive(Debug)]
pub(super) struct Admin {
    host: String,
    port: u16,
    /// What stands before `/admin/`, when a proxy puts something there.
    prefix: String,
    token: Option<HeaderValue>,
}

impl Admin {
    pub(super) fn new(url: &str, token_file: Option<&Path>) -> Result<Self, AskError> {
        let invalid = || AskError::Address(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| invalid())?;
        if uri.scheme() == Some(&Scheme::HTTPS) {
            return Err(AskError::Https);
        }
        if uri.scheme() != Some(&Scheme::HTTP) {
            return Err(invalid());
        }
        let host = uri.host().ok_or_else(invalid)?;
        Ok(Self {
            host: host.to_owned(),
            port: uri.port_u16().unwrap_or(80),
            prefix: uri.path().trim_end_matches('/').to_owned(),
            token: token_file.map(token).transpose()?,
        })
    }

    /// Asks, and reads the answer.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        timeout: Duration,
    ) -> Result<Value, AskError> {
        let exchange = Box::pin(self.exchange(method, path));
        let (status, body) = match tokio::time::timeout(timeout, exchange).await {
            Ok(answered) => answered?,
            Err(_) => return Err(self.unreachable("no answer in time")),
        };
        let value: Result<Value, _> = serde_json::from_slice(&body);
        if status.is_success() {
            return value.map_err(|error| AskError::Unreadable(error.to_string()));
        }
        let text = match &value {
            Ok(value) => value["error"].as_str().unwrap_or_default().to_owned(),
            Err(_) => String::new(),
        };
        Err(match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => AskError::NotAllowed(text),
            status => AskError::Answer { status, text },
        })
    }

    async fn exchange(&self, method: Method, path: &str) -> Result<(StatusCode, Bytes), AskError> {
        let host = self.host.trim_start_matches('[').trim_end_matches(']');
        let stream = TcpStream::connect((host, self.port))
            .await
            .map_err(|error| self.unreachable(error))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.unreachable(error))?;
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.prefix))
            .header(HOST, format!("{}:{}", self.host, self.port));
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, token.clone());
        }
        let request = request
            .body(Empty::<Bytes>::new())
            .map_err(|_| AskError::Address(self.host.clone()))?;
        let answer = async {
            let answer = sender
                .send_request(request)
                .await
                .map_err(|e| self.unreachable(e))?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX)
                .collect()
                .await;
            let body = body.map_err(|error| AskError::Unreadable(error.to_string()))?;
            Ok((status, body.to_bytes()))
        };
        let mut answer = std::pin::pin!(answer);
        // The connection is driven until the answer is there; its own end is told by the answer.
        tokio::select! {
            answered = &mut answer => answered,
            _ = connection => answer.await,
        }
    }

    fn unreachable(&self, error: impl std::fmt::Display) -> AskError {
        AskError::Unreachable {
            address: format!("{}:{}", self.host, self.port),
            error: error.to_string(),
        }
    }
}

fn token(file: &Path) -> Result<HeaderValue, AskError> {
    let text = std::fs::read(file).map_err(|error| AskError::TokenFile {
        file: file.to_owned(),
        error,
    })?;
    let token = text.trim_ascii();
    let header = HeaderValue::from_bytes(&[b"Bearer ", token].concat());
    match header {
        Ok(mut header) if !token.is_empty() => {
            header.set_sensitive(true);
            Ok(header)
        }
        _ => Err(AskError::Token {
            file: file.to_owned(),
        }),
    }
}
