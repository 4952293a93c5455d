//! A TCP proxy in the test itself, whose connections the test cuts in mid-flow.

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// A proxy in front of one node. What is under way in its buffers is lost when it cuts.
#[derive(Debug)]
pub struct CutProxy {
    address: SocketAddr,
    connections: Arc<Mutex<JoinSet<()>>>,
    _accepting: JoinSet<()>,
}

impl CutProxy {
    /// Starts a proxy on a free loopback port.
    ///
    /// # Errors
    /// No port can be listened on.
    pub async fn start(node: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let connections = Arc::new(Mutex::new(JoinSet::new()));
        let open = Arc::clone(&connections);
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                open.lock().spawn(async move {
                    if let Ok(mut upstream) = TcpStream::connect(node).await {
                        let _ = tokio::io::copy_bidirectional(&mut client, &mut upstream).await;
                    }
                });
            }
        });
        Ok(Self {
            address,
            connections,
            _accepting: accepting,
        })
    }

    /// The Bayeux URL behind the proxy.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/cometd", self.address)
    }

    /// Cuts all connections that are open now; new ones are accepted as before. Returns how many there were.
    pub fn cut(&self) -> usize {
        let mut connections = std::mem::take(&mut *self.connections.lock());
        while connections.try_join_next().is_some() {}
        let open = connections.len();
        connections.abort_all();
        open
    }
}
