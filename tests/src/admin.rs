//! A node's admin address, seen from outside.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Status and body of a GET request.
///
/// # Errors
/// No answer within two seconds.
pub async fn get(address: SocketAddr, path: &str) -> anyhow::Result<(u16, String)> {
    exchange(
        address,
        &format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"),
    )
    .await
}

/// Status and body of a request without a body to a node's HTTP API, with this token.
///
/// # Errors
/// No answer within two seconds.
pub async fn ask(
    address: SocketAddr,
    method: &str,
    path: &str,
    token: &str,
) -> anyhow::Result<(u16, String)> {
    exchange(
        address,
        &format!(
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
        ),
    )
    .await
}

async fn exchange(address: SocketAddr, request: &str) -> anyhow::Result<(u16, String)> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let answer = timeout(Duration::from_secs(2), exchange)
        .await
        .with_context(|| format!("no answer from {address}"))??;
    let answer = String::from_utf8_lossy(&answer);
    let status = answer
        .get(9..12)
        .and_then(|text| text.parse().ok())
        .context("no status line")?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok((status, body.to_owned()))
}

/// The value of a metric without labels, or of the one with exactly these labels (`halley_link_up{sibling="n2"}`).
///
/// # Errors
/// The node does not answer or does not have the metric.
pub async fn metric(address: SocketAddr, name: &str) -> anyhow::Result<f64> {
    let (_, body) = get(address, "/metrics").await?;
    for line in body.lines() {
        if let Some((found, value)) = line.rsplit_once(' ')
            && found == name
        {
            return Ok(value.parse()?);
        }
    }
    bail!("{address} has no metric {name}")
}
