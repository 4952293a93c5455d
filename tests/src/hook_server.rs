//! The application behind `[[services.hooks]]`: an HTTP server in the test that answers calls.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use anyhow::Context;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

type Answer = Pin<Box<dyn Future<Output = Value> + Send>>;
type Application = Arc<dyn Fn(Value) -> Answer + Send + Sync>;

/// Answers until it is dropped.
#[derive(Debug)]
pub struct HookServer {
    /// Where it listens.
    pub address: SocketAddr,
    _connections: JoinSet<()>,
}

impl HookServer {
    /// Serves on a free loopback port. `application` gets each question and makes its answer, in its own time.
    ///
    /// # Errors
    /// There is no port.
    pub async fn start<F: Future<Output = Value> + Send + 'static>(
        application: impl Fn(Value) -> F + Send + Sync + 'static,
    ) -> anyhow::Result<Self> {
        let application: Application = Arc::new(move |question| Box::pin(application(question)));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let mut connections = JoinSet::new();
        connections.spawn(async move {
            let mut served = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let application = Arc::clone(&application);
                served.spawn(async move { serve(stream, application).await });
                while served.try_join_next().is_some() {}
            }
        });
        Ok(Self {
            address,
            _connections: connections,
        })
    }

    /// The rows of a node's configuration that hand the calls on these channels to this server, and fail those that take longer.
    #[must_use]
    pub fn rows(&self, pattern: &str, timeout_ms: u64) -> String {
        format!(
            "[services]\ntimeout_ms = {timeout_ms}\n\
            [[services.hooks]]\npattern = \"{pattern}\"\nurl = \"http://{}/\"\n",
            self.address
        )
    }
}

/// One connection, until it ends.
async fn serve(stream: TcpStream, application: Application) -> anyhow::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            if line.trim().is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().context("content-length")?;
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        let answer = application(serde_json::from_slice(&body)?)
            .await
            .to_string();
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            answer.len()
        );
        stream.write_all((head + &answer).as_bytes()).await?;
    }
}
