//! Somebody in between: passes on and records what diallers send, and may end TLS on either side.

#![allow(unreachable_pub, missing_docs, clippy::unwrap_used)]

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::{TlsAcceptor, TlsConnector};

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

#[derive(Debug)]
pub struct Relay {
    pub address: SocketAddr,
    recorded: Arc<Mutex<Vec<Vec<u8>>>>,
    _accepting: JoinSet<()>,
}

/// What the relay uses towards the dialler, and towards the node; none: what it reads there is passed on as it is.
#[derive(Clone, Debug, Default)]
pub struct Ends {
    pub front: Option<Arc<ServerConfig>>,
    pub back: Option<Arc<ClientConfig>>,
}

impl Relay {
    pub async fn start(node: SocketAddr, ends: Ends) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let recorded = Arc::<Mutex<Vec<Vec<u8>>>>::default();
        let records = recorded.clone();
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let record = {
                    let mut records = records.lock();
                    records.push(Vec::new());
                    records.len() - 1
                };
                let (ends, records) = (ends.clone(), records.clone());
                connections.spawn(async move {
                    let _ = relay(client, node, ends, &records, record).await;
                });
            }
        });
        Self {
            address,
            recorded,
            _accepting: accepting,
        }
    }

    /// What the dialler of each connection has sent so far.
    pub fn recorded(&self) -> Vec<Vec<u8>> {
        self.recorded.lock().clone()
    }
}

async fn relay(
    client: TcpStream,
    node: SocketAddr,
    ends: Ends,
    records: &Mutex<Vec<Vec<u8>>>,
    record: usize,
) -> std::io::Result<()> {
    let client: Box<dyn Stream> = match ends.front {
        None => Box::new(client),
        Some(front) => Box::new(TlsAcceptor::from(front).accept(client).await?),
    };
    let server = TcpStream::connect(node).await?;
    let server: Box<dyn Stream> = match ends.back {
        None => Box::new(server),
        Some(back) => {
            let name = ServerName::IpAddress(node.ip().into());
            Box::new(TlsConnector::from(back).connect(name, server).await?)
        }
    };
    let (mut client_in, mut client_out) = tokio::io::split(client);
    let (mut server_in, mut server_out) = tokio::io::split(server);
    let there = async {
        let mut buffer = vec![0; 16 << 10];
        loop {
            let length = client_in.read(&mut buffer).await?;
            if length == 0 {
                return server_out.shutdown().await;
            }
            records.lock()[record].extend_from_slice(&buffer[..length]);
            server_out.write_all(&buffer[..length]).await?;
            server_out.flush().await?;
        }
    };
    let back = async {
        tokio::io::copy(&mut server_in, &mut client_out).await?;
        client_out.shutdown().await
    };
    tokio::try_join!(there, back).map(drop)
}
