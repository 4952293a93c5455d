//! TLS: both transports through it, and servers that are not who they should be.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests stand outside of test functions"
)]

#[path = "script/http.rs"]
#[expect(dead_code, reason = "shared with other tests")]
mod http;
#[path = "script/mod.rs"]
#[expect(dead_code, reason = "shared with other tests")]
mod script;

use std::sync::Arc;

use halley_client::{Client, ConnectError, LinkError, TlsError, Transport};
use http::HttpServer;
use rustls::{ServerConfig, crypto::aws_lc_rs};
use script::PATIENCE;
use serde_json::json;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

/// Ends TLS for `localhost` in front of a server in clear text.
struct Front {
    port: u16,
    certificate: String,
    _accepting: JoinSet<()>,
}

impl Front {
    async fn of(url: &str) -> Self {
        let address = url.split('/').nth(2).unwrap().to_owned();
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = rustls_pki_types::PrivatePkcs8KeyDer::from(own.signing_key.serialize_der());
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![own.cert.der().clone()], key.into())
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, address) = (acceptor.clone(), address.clone());
                connections.spawn(async move {
                    if let Ok(mut outside) = acceptor.accept(stream).await {
                        let mut inside = TcpStream::connect(address).await.unwrap();
                        let _ = copy_bidirectional(&mut outside, &mut inside).await;
                    }
                });
            }
        });
        Self {
            port,
            certificate: own.cert.pem(),
            _accepting: accepting,
        }
    }

    fn url(&self, scheme: &str, host: &str) -> String {
        format!("{scheme}://{host}:{}/cometd", self.port)
    }
}

#[tokio::test]
async fn a_websocket_over_tls() {
    let server = script::Server::start().await;
    let front = Front::of(&server.url()).await;
    let connecting = Client::builder(front.url("wss", "localhost"))
        .root_certificates(front.certificate.as_bytes())
        .connect();
    let (client, ()) = tokio::join!(connecting, async {
        server.accept().await.grant_session("s1").await;
    });
    assert_eq!(
        client.unwrap().0.session().transport(),
        Transport::WebSocket
    );
}

#[tokio::test]
async fn long_polling_over_tls() {
    let mut server = HttpServer::start().await;
    let front = Front::of(&server.url()).await;
    let connecting = Client::builder(front.url("https", "localhost"))
        .transports([Transport::LongPolling])
        .root_certificates(front.certificate.as_bytes())
        .connect();
    let types = json!(["long-polling"]);
    let (client, _) = tokio::join!(connecting, server.grant_session("s1", types));
    assert_eq!(
        client.unwrap().0.session().transport(),
        Transport::LongPolling
    );
}

#[tokio::test]
async fn trusts_nobody_else() {
    let server = script::Server::start().await;
    let front = Front::of(&server.url()).await;
    let other = Front::of(&server.url()).await;
    for (host, roots) in [
        ("localhost", &other.certificate),
        ("127.0.0.1", &front.certificate),
    ] {
        let connecting = Client::builder(front.url("wss", host))
            .root_certificates(roots.as_bytes())
            .connect();
        let refused = tokio::time::timeout(PATIENCE, connecting).await.unwrap();
        assert!(
            matches!(refused, Err(ConnectError::Link(LinkError::Tls(_)))),
            "{host}: {refused:?}"
        );
    }
    let empty = Client::builder("wss://localhost/")
        .root_certificates("nothing")
        .connect()
        .await;
    assert!(matches!(
        empty,
        Err(ConnectError::Tls(TlsError::Certificates(_)))
    ));
}
