//! A cable between clients and a node that a test can pull out.

use std::net::SocketAddr;

use anyhow::Context;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::ports;

/// Relays every connection to an address. Dropped, it is unplugged.
#[derive(Debug)]
pub struct Cable {
    /// Where clients connect.
    pub address: SocketAddr,
    target: SocketAddr,
    relay: Option<JoinHandle<()>>,
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
            relay: None,
        };
        cable.plug().await?;
        Ok(cable)
    }

    /// Accepts connections again.
    ///
    /// # Errors
    /// The port is taken.
    pub async fn plug(&mut self) -> anyhow::Result<()> {
        let listener = TcpListener::bind(self.address)
            .await
            .with_context(|| format!("cannot listen on {}", self.address))?;
        let target = self.target;
        self.relay = Some(tokio::spawn(async move {
            // Dropped with the task, and the connections with it.
            let mut connections = JoinSet::new();
            while let Ok((mut client, _)) = listener.accept().await {
                connections.spawn(async move {
                    if let Ok(mut node) = TcpStream::connect(target).await {
                        let _ = copy_bidirectional(&mut client, &mut node).await;
                    }
                });
            }
        }));
        Ok(())
    }

    /// Cuts every connection and refuses new ones.
    pub async fn unplug(&mut self) {
        if let Some(relay) = self.relay.take() {
            relay.abort();
            // Ended, not only told to end: the port is free afterwards.
            let _ = relay.await;
        }
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        if let Some(relay) = &self.relay {
            relay.abort();
        }
    }
}
