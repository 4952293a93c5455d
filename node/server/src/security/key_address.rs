//! Fetches a key set over HTTP. Knows nothing of what is in it.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

/// For the whole answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes of a key set.
const BYTES_MAX: usize = 1 << 20;

/// Where a key set can be had.
pub(crate) struct KeyAddress {
    uri: Uri,
    client: Client<HttpConnector, Empty<Bytes>>,
}

impl fmt::Debug for KeyAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyAddress")
            .field("uri", &self.uri)
            .finish_non_exhaustive()
    }
}

impl KeyAddress {
    pub(crate) fn new(uri: Uri) -> Self {
        Self {
            uri,
            // Once in minutes: a connection is not worth keeping.
            client: Client::builder(TokioExecutor::new())
                .pool_max_idle_per_host(0)
                .build_http(),
        }
    }

    /// # Errors
    /// Why there is nothing.
    pub(crate) async fn fetch(&self) -> Result<Bytes, String> {
        tokio::time::timeout(TIMEOUT, self.ask())
            .await
            .unwrap_or_else(|_| Err(format!("no answer within {} s", TIMEOUT.as_secs())))
    }

    async fn ask(&self) -> Result<Bytes, String> {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = self.uri.clone();
        let answer = self
            .client
            .request(request)
            .await
            .map_err(|error| format!("cannot be reached: {error}"))?;
        if answer.status() != StatusCode::OK {
            return Err(format!("status {}", answer.status().as_u16()));
        }
        Limited::new(answer.into_body(), BYTES_MAX)
            .collect()
            .await
            .map(|body| body.to_bytes())
            .map_err(|_| "the answer is too large, or was cut".into())
    }
}
