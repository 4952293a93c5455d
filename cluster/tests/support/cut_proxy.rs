//! A TCP proxy in front of a node, which cuts its connections and is dark for a while.

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What is under way in the buffers is lost when it cuts. While it is dark, connections are taken and not served.
#[derive(Debug)]
pub struct CutProxy {
    pub address: SocketAddr,
    connections: Arc<Mutex<JoinSet<()>>>,
    dark: watch::Sender<bool>,
    _accepting: JoinSet<()>,
}

impl CutProxy {
    pub async fn start(node: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(Mutex::new(JoinSet::new()));
        let (dark, is_dark) = watch::channel(false);
        let open = Arc::clone(&connections);
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let mut is_dark = is_dark.clone();
                open.lock().spawn(async move {
                    let lit = is_dark.wait_for(|dark| !dark).await.is_ok();
                    if lit && let Ok(mut upstream) = TcpStream::connect(node).await {
                        let _ = tokio::io::copy_bidirectional(&mut client, &mut upstream).await;
                    }
                });
            }
        });
        Self {
            address,
            connections,
            dark,
            _accepting: accepting,
        }
    }

    /// Cuts all connections that are open now; nothing passes until [`Self::mend`].
    pub fn cut(&self) {
        self.dark.send_replace(true);
        std::mem::take(&mut *self.connections.lock()).abort_all();
    }

    pub fn mend(&self) {
        self.dark.send_replace(false);
    }
}
