//! Real sockets.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use super::{Datagrams, Listener, Net, dns};
use crate::{DnsConfig, MulticastConfig};

/// The network of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct TokioNet;

/// A listening TCP socket.
#[derive(Debug)]
pub struct TokioListener(TcpListener);

/// A multicast group on UDP.
#[derive(Debug)]
pub struct TokioDatagrams {
    socket: UdpSocket,
    group: SocketAddr,
}

impl Net for TokioNet {
    type Stream = TcpStream;
    type Listener = TokioListener;
    type Datagrams = TokioDatagrams;

    async fn listen(&self, address: SocketAddr) -> io::Result<TokioListener> {
        TcpListener::bind(address).await.map(TokioListener)
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    async fn resolve(&self, host_and_port: &str) -> io::Result<Vec<SocketAddr>> {
        Ok(tokio::net::lookup_host(host_and_port).await?.collect())
    }

    async fn discover(&self, dns: &DnsConfig) -> io::Result<Vec<SocketAddr>> {
        // The resolver's futures are large, and there is one at a time.
        Box::pin(dns::discover(dns)).await
    }

    async fn join(&self, config: &MulticastConfig) -> io::Result<TokioDatagrams> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        // Several nodes on one host share the port.
        socket.set_reuse_address(true)?;
        #[cfg(unix)]
        socket.set_reuse_port(true)?;
        socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, config.port)).into())?;
        socket.join_multicast_v4(&config.group, &config.interface)?;
        if !config.interface.is_unspecified() {
            socket.set_multicast_if_v4(&config.interface)?;
        }
        socket.set_multicast_ttl_v4(config.ttl)?;
        socket.set_multicast_loop_v4(true)?;
        // Without this the runtime's worker would block.
        socket.set_nonblocking(true)?;
        let socket = UdpSocket::from_std(socket.into())?;
        Ok(TokioDatagrams {
            socket,
            group: SocketAddr::from((config.group, config.port)),
        })
    }
}

impl Listener for TokioListener {
    type Stream = TcpStream;

    fn local_address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, from) = self.0.accept().await?;
        stream.set_nodelay(true)?;
        Ok((stream, from))
    }
}

impl Datagrams for TokioDatagrams {
    async fn send(&self, datagram: &[u8]) -> io::Result<()> {
        self.socket.send_to(datagram, self.group).await.map(drop)
    }

    async fn receive(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.socket.recv_from(buffer).await
    }
}
