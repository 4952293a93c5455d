//! The simulated network behind the cluster layer's seam.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use halley_cluster::{Datagrams, Listener, MulticastConfig, Net};
use turmoil::net::{TcpListener, TcpStream, UdpSocket};

/// Sockets of the simulation. Works inside a simulated host only.
#[derive(Clone, Copy, Debug, Default)]
pub struct SimNet;

/// A listening socket.
pub struct SimListener(TcpListener);

impl std::fmt::Debug for SimListener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SimListener(..)")
    }
}

/// A multicast group.
#[derive(Debug)]
pub struct SimDatagrams {
    socket: UdpSocket,
    group: SocketAddr,
}

impl Net for SimNet {
    type Stream = TcpStream;
    type Listener = SimListener;
    type Datagrams = SimDatagrams;

    async fn listen(&self, address: SocketAddr) -> io::Result<SimListener> {
        TcpListener::bind(address).await.map(SimListener)
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        TcpStream::connect(address).await
    }

    async fn resolve(&self, host_and_port: &str) -> io::Result<Vec<SocketAddr>> {
        let (host, port) = host_and_port
            .rsplit_once(':')
            .ok_or(io::ErrorKind::InvalidInput)?;
        let port: u16 = port.parse().map_err(|_| io::ErrorKind::InvalidInput)?;
        Ok(vec![(turmoil::lookup(host), port).into()])
    }

    async fn join(&self, config: &MulticastConfig) -> io::Result<SimDatagrams> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, config.port)).await?;
        socket.join_multicast_v4(config.group, Ipv4Addr::UNSPECIFIED)?;
        Ok(SimDatagrams {
            socket,
            group: (config.group, config.port).into(),
        })
    }
}

impl Listener for SimListener {
    type Stream = TcpStream;

    fn local_address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        self.0.accept().await
    }
}

impl Datagrams for SimDatagrams {
    async fn send(&self, datagram: &[u8]) -> io::Result<()> {
        self.socket.send_to(datagram, self.group).await.map(drop)
    }

    async fn receive(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.socket.recv_from(buffer).await
    }
}
