//! A cable between clients and a node: a TCP proxy in the test itself, which the test can pull out, or cut for a moment.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use parking_lot::Mutex;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::ports;

/// Relays every connection to an address. What is under way in its buffers is lost when it is cut. Dropped, it is unplugged.
#[derive(Debug)]
pub struct Cable {
    /// Where clients connect.
    pub address: SocketAddr,
    target: SocketAddr,
    connections: Arc<Mutex<JoinSet<()>>>,
    accepting: Option<JoinHandle<()>>,
}

impl Cable {
    /// A plugged cable to an address.
    ///
    /// # Errors
    /// No port to listen on.
    pub async fn plugged(target: SocketAddr) -> anyhow::Result<Self> {
        let mut cable = Self {
            address: ports::free_address(),
            target,
            connections: Arc::default(),
            accepting: None,
        };
        cable.plug().await?;
        Ok(cable)
    }

    /// The Bayeux URL at its end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/cometd", self.address)
    }

    /// Accepts connections again.
    ///
    /// # Errors
    /// The port is taken.
    pub async fn plug(&mut self) -> anyhow::Result<()> {
        let listener = TcpListener::bind(self.address)
            .await
            .with_context(|| format!("cannot listen on {}", self.address))?;
        let (target, connections) = (self.target, Arc::clone(&self.connections));
        self.accepting = Some(tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                connections.lock().spawn(async move {
                    if let Ok(mut node) = TcpStream::connect(target).await {
                        let _ = copy_bidirectional(&mut client, &mut node).await;
                    }
                });
            }
        }));
        Ok(())
    }

    /// Cuts all connections that are open now; new ones are accepted as before. Returns how many there were.
    pub fn cut(&self) -> usize {
        let mut connections = std::mem::take(&mut *self.connections.lock());
        while connections.try_join_next().is_some() {}
        let open = connections.len();
        connections.abort_all();
        open
    }

    /// Cuts every connection and refuses new ones.
    pub async fn unplug(&mut self) {
        if let Some(accepting) = self.accepting.take() {
            accepting.abort();
            // Ended, not only told to end: the port is free afterwards.
            let _ = accepting.await;
        }
        let mut connections = std::mem::take(&mut *self.connections.lock());
        connections.shutdown().await;
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        if let Some(accepting) = &self.accepting {
            accepting.abort();
        }
    }
}
