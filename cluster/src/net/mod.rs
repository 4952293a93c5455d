//! The seam to the network. The real one is [`TokioNet`]; a simulation brings its own.

mod dns;
mod tokio_net;

use std::fmt::Debug;
use std::future::Future;
use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::{DnsConfig, MulticastConfig};
pub use tokio_net::{TokioDatagrams, TokioListener, TokioNet};

/// Opens sockets and resolves names.
pub trait Net: Clone + Debug + Send + Sync + 'static {
    /// A byte stream to another node.
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;
    /// Accepts streams.
    type Listener: Listener<Stream = Self::Stream>;
    /// Sends to and receives from a multicast group.
    type Datagrams: Datagrams;

    /// Listens for streams. A port of 0 takes any free one.
    fn listen(
        &self,
        address: SocketAddr,
    ) -> impl Future<Output = io::Result<Self::Listener>> + Send;

    /// Opens a stream. Small writes leave at once. The caller limits the time.
    fn connect(&self, address: SocketAddr)
    -> impl Future<Output = io::Result<Self::Stream>> + Send;

    /// The addresses of `host:port`, for host names and for literal addresses.
    fn resolve(
        &self,
        host_and_port: &str,
    ) -> impl Future<Output = io::Result<Vec<SocketAddr>>> + Send;

    /// The addresses where the DNS says that nodes may be. An empty answer says nothing, and does not mean that nobody
    /// is there. The caller limits the time. Unless there is a better way, the name is resolved as every other.
    fn discover(
        &self,
        dns: &DnsConfig,
    ) -> impl Future<Output = io::Result<Vec<SocketAddr>>> + Send {
        async { self.resolve(&format!("{}:{}", dns.name, dns.port)).await }
    }

    /// Joins a multicast group, with loop-back so that nodes on one host find each other.
    fn join(
        &self,
        group: &MulticastConfig,
    ) -> impl Future<Output = io::Result<Self::Datagrams>> + Send;
}

/// Accepts streams.
pub trait Listener: Debug + Send + 'static {
    /// A byte stream to another node.
    type Stream;
    /// Where it listens.
    ///
    /// # Errors
    /// When the system does not say.
    fn local_address(&self) -> io::Result<SocketAddr>;
    /// The next stream, and from where it comes. Cancel-safe.
    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Stream, SocketAddr)>> + Send;
}

/// A multicast group. Both futures are cancel-safe.
pub trait Datagrams: Debug + Send + Sync + 'static {
    /// Sends one datagram to the group.
    fn send(&self, datagram: &[u8]) -> impl Future<Output = io::Result<()>> + Send;
    /// Receives one datagram into the buffer; what does not fit is cut off.
    fn receive(
        &self,
        buffer: &mut [u8],
    ) -> impl Future<Output = io::Result<(usize, SocketAddr)>> + Send;
}
