//! A TCP proxy that can fall silent: connections stay open and take bytes, and nothing comes out at the other end.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// In front of one node.
#[derive(Debug)]
pub struct FreezeProxy {
    pub address: SocketAddr,
    frozen: Arc<watch::Sender<bool>>,
    _accepting: JoinSet<()>,
}

impl FreezeProxy {
    pub async fn start(node: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let frozen = Arc::new(watch::Sender::new(false));
        let is_frozen = frozen.clone();
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let frozen = is_frozen.clone();
                connections.spawn(async move {
                    let Ok(upstream) = TcpStream::connect(node).await else {
                        return;
                    };
                    let (client_read, client_write) = client.into_split();
                    let (upstream_read, upstream_write) = upstream.into_split();
                    tokio::join!(
                        pass(client_read, upstream_write, frozen.subscribe()),
                        pass(upstream_read, client_write, frozen.subscribe()),
                    );
                });
            }
        });
        Self {
            address,
            frozen,
            _accepting: accepting,
        }
    }

    /// Nothing passes, not even the end of a connection, until [`Self::thaw`]; then everything does.
    pub fn freeze(&self) {
        self.frozen.send_replace(true);
    }

    pub fn thaw(&self) {
        self.frozen.send_replace(false);
    }
}

async fn pass(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mut frozen: watch::Receiver<bool>,
) {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let length = from.read(&mut buffer).await.unwrap_or(0);
        if frozen.wait_for(|frozen| !frozen).await.is_err() {
            return;
        }
        if length == 0 || to.write_all(&buffer[..length]).await.is_err() {
            let _ = to.shutdown().await;
            return;
        }
    }
}
