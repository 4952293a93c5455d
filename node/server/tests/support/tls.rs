//! Certificates made by the test, and a client that trusts them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::within;

/// The name in every certificate.
pub const NAME: &str = "node.example";

/// An issuer, and a folder with a certificate and a key of it, laid out as Kubernetes mounts a secret: the files are
/// links through `..data`, which is a link to the folder of the present version.
#[derive(Debug)]
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: tempfile::TempDir,
    versions: usize,
}

impl Authority {
    /// An issuer, and a first certificate in place.
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key"))
            .expect("an issuer");
        let mut this = Self {
            issuer,
            folder: tempfile::tempdir().expect("a folder"),
            versions: 0,
        };
        this.renew(2100);
        for file in ["tls.crt", "tls.key"] {
            std::os::unix::fs::symlink(Path::new("..data").join(file), this.path(file))
                .expect("links");
        }
        this
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A new certificate that ends with the year, put in place in one step.
    pub fn renew(&mut self, year: i32) -> CertificateDer<'static> {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec![NAME.to_owned()]).expect("parameters");
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let chain = certificate.pem() + &self.issuer.pem();
        self.put(&chain, &key.serialize_pem());
        certificate.der().clone()
    }

    /// Puts any text in place of certificate and key, in one step.
    pub fn put(&mut self, certificate: &str, key: &str) {
        self.versions += 1;
        let version = format!("version-{}", self.versions);
        std::fs::create_dir(self.path(&version)).expect("a folder");
        std::fs::write(self.path(&version).join("tls.crt"), certificate).expect("writes");
        std::fs::write(self.path(&version).join("tls.key"), key).expect("writes");
        let next = self.path("..data-next");
        std::os::unix::fs::symlink(version, &next).expect("links");
        std::fs::rename(next, self.path("..data")).expect("renames");
    }

    /// The two files, as values of options.
    pub fn certificate(&self) -> String {
        self.path("tls.crt").display().to_string()
    }

    pub fn key(&self) -> String {
        self.path("tls.key").display().to_string()
    }

    /// The section for a node, with more options in it.
    pub fn toml(&self, more: &str) -> String {
        format!(
            "[client.tls]\ncertificate = {:?}\nkey = {:?}\n{more}\n",
            self.certificate(),
            self.key()
        )
    }

    /// A connection that trusts this issuer only. Boxed: it is large.
    pub async fn connect(&self, address: SocketAddr, alpn: &[&str]) -> Box<TlsStream<TcpStream>> {
        self.try_connect(address, alpn)
            .await
            .expect("the TLS handshake succeeds")
    }

    pub async fn try_connect(
        &self,
        address: SocketAddr,
        alpn: &[&str],
    ) -> std::io::Result<Box<TlsStream<TcpStream>>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).expect("an issuer");
        let mut config =
            ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .expect("versions")
                .with_root_certificates(roots)
                .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let stream = within("connection", TcpStream::connect(address)).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from(NAME).expect("a name");
        within(
            "TLS handshake",
            TlsConnector::from(Arc::new(config)).connect(name, stream),
        )
        .await
        .map(Box::new)
    }

    /// The certificate that is served now.
    pub async fn served(&self, address: SocketAddr) -> CertificateDer<'static> {
        let stream = self.connect(address, &[]).await;
        stream.get_ref().1.peer_certificates().expect("a chain")[0].clone()
    }
}
