//! What is known of the request that brought a message: CometD's `BayeuxContext`.

use crate::Transport;
use std::fmt;
use std::net::IpAddr;

/// The head of an HTTP request, as its transport has it. Looked at only by those who ask.
pub trait RequestHead: Send + Sync {
    /// The client's address.
    fn remote_address(&self) -> Option<IpAddr>;

    /// The header of this name, whatever its case, the `n`th of several counted from 0; `None` when there is none or it is not text.
    fn header(&self, name: &str, n: usize) -> Option<&str>;
}

/// The head of the request that became a WebSocket, kept as long as that is open.
#[derive(Clone, PartialEq, Eq)]
pub struct UpgradeHead {
    remote: Option<IpAddr>,
    /// `name:value` lines, names in lower case.
    headers: Box<str>,
}

impl UpgradeHead {
    /// Copies the headers into one piece. Each connection keeps it: leave out what nobody will ask for. A name or value with a line end is
    /// left out.
    pub fn new<'h>(
        remote: Option<IpAddr>,
        headers: impl Iterator<Item = (&'h str, &'h str)>,
    ) -> Self {
        let mut text = String::new();
        let breaks = |text: &str| text.contains(['\r', '\n']);
        for (name, value) in headers {
            if !breaks(name) && !breaks(value) && !name.contains(':') {
                text.extend(name.chars().map(|c| c.to_ascii_lowercase()));
                text.push(':');
                text.push_str(value);
                text.push('\n');
            }
        }
        Self {
            remote,
            headers: text.into(),
        }
    }
}

impl RequestHead for UpgradeHead {
    fn remote_address(&self) -> Option<IpAddr> {
        self.remote
    }

    fn header(&self, name: &str, n: usize) -> Option<&str> {
        self.headers
            .lines()
            .filter_map(|line| line.split_once(':'))
            .filter_map(|(known, value)| known.eq_ignore_ascii_case(name).then_some(value))
            .nth(n)
    }
}

/// Shows no headers: they hold credentials.
impl fmt::Debug for UpgradeHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpgradeHead")
            .field("remote", &self.remote)
            .finish_non_exhaustive()
    }
}

/// The request that brought a message: of a WebSocket that which opened it. See [`crate::Message::request`].
#[derive(Clone, Copy)]
pub struct Request<'m> {
    pub(crate) transport: Transport,
    pub(crate) head: Option<&'m dyn RequestHead>,
}

impl<'m> Request<'m> {
    /// The transport.
    #[must_use]
    pub const fn transport(&self) -> Transport {
        self.transport
    }

    /// The client's address, if the transport knows it. A local session has none.
    #[must_use]
    pub fn remote_address(&self) -> Option<IpAddr> {
        self.head?.remote_address()
    }

    /// The first header of this name, whatever its case: `Authorization`, `Cookie`, `Origin`. What the client writes there is its own
    /// word.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'m str> {
        self.head?.header(name, 0)
    }

    /// A cookie, the first of this name, without surrounding quotes.
    #[must_use]
    pub fn cookie(&self, name: &str) -> Option<&'m str> {
        let head = self.head?;
        // HTTP/2 may bring each in a header of its own.
        (0..)
            .map_while(|n| head.header("cookie", n))
            .flat_map(|header| header.split(';'))
            .filter_map(|pair| pair.split_once('='))
            .find_map(|(known, value)| (known.trim() == name).then(|| value.trim()))
            .map(|value| {
                let inner = value.strip_prefix('"').and_then(|v| v.strip_suffix('"'));
                inner.unwrap_or(value)
            })
    }
}

/// Shows no headers: they hold credentials.
impl fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("transport", &self.transport)
            .field("remote", &self.remote_address())
            .finish_non_exhaustive()
    }
}
