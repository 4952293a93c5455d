//! Certificate, key and authorities of a node, and what is demanded of the other side.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::client::{Resumption, verify_server_name};
use rustls::crypto::aws_lc_rs;
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};

/// When TLS is used. The modes but the first are the steps from a cluster without TLS to one with it, and back: between
/// two that follow each other nodes may differ as long as they like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsMode {
    /// Always: nothing in clear text is accepted.
    #[default]
    Required,
    /// This node dials over TLS, and still accepts clear text.
    Dialled,
    /// This node still dials in clear text, and accepts both.
    Accepted,
}

/// The contents of three PEM files.
#[derive(Clone, Copy)]
pub struct MeshTlsPem<'a> {
    /// The certificate of this node, and after it those of its issuers.
    pub certificate: &'a [u8],
    /// Its private key.
    pub key: &'a [u8],
    /// The certificates of the authorities of the mesh, one or several while one is replaced.
    pub ca: &'a [u8],
}

impl std::fmt::Debug for MeshTlsPem<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MeshTlsPem(..)")
    }
}

/// What holds beside the certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeshTlsRules {
    /// When TLS is used.
    pub mode: TlsMode,
    /// The name that every certificate of the mesh carries; none: each is for the address that its node advertises.
    pub server_name: Option<String>,
    /// Whether diallers must show a certificate of the mesh too.
    pub verify_clients: bool,
}

impl Default for MeshTlsRules {
    fn default() -> Self {
        Self {
            mode: TlsMode::Required,
            server_name: None,
            verify_clients: true,
        }
    }
}

/// Why files cannot serve.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MeshTlsError {
    /// The certificate is none, or does not go with the key.
    #[error("{0}")]
    Certificate(String),
    /// There is no private key, or not that of the certificate.
    #[error("{0}")]
    Key(String),
    /// There is no certificate of an authority, or one that cannot be used.
    #[error("{0}")]
    Ca(String),
    /// The name is not one.
    #[error("{0:?} is neither a host name nor an address")]
    ServerName(String),
}

/// What a node needs for TLS on its links. Clones are the same. [`crate::Cluster::set_tls`] replaces it.
#[derive(Clone)]
pub struct MeshTls(Arc<Parts>);

struct Parts {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
    name: Option<ServerName<'static>>,
    mode: TlsMode,
    verify_clients: bool,
}

impl std::fmt::Debug for MeshTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MeshTls")
            .field("mode", &self.0.mode)
            .field("name", &self.0.name)
            .field("verify_clients", &self.0.verify_clients)
            .finish_non_exhaustive()
    }
}

impl MeshTls {
    /// Puts everything together.
    ///
    /// # Errors
    /// Which part cannot be used, and why.
    pub fn new(pem: MeshTlsPem<'_>, rules: &MeshTlsRules) -> Result<Self, MeshTlsError> {
        let chain = certificates(pem.certificate).map_err(MeshTlsError::Certificate)?;
        let key = PrivateKeyDer::from_pem_slice(pem.key)
            .map_err(|error| MeshTlsError::Key(format!("no private key (PEM): {error}")))?;
        let mut roots = RootCertStore::empty();
        for authority in certificates(pem.ca).map_err(MeshTlsError::Ca)? {
            roots
                .add(authority)
                .map_err(|error| MeshTlsError::Ca(error.to_string()))?;
        }
        let name = match &rules.server_name {
            None => None,
            Some(name) => Some(
                ServerName::try_from(name.clone())
                    .map_err(|_| MeshTlsError::ServerName(name.clone()))?,
            ),
        };
        Ok(Self(Arc::new(Parts {
            client: Arc::new(client(roots.clone(), chain.clone(), key.clone_key())?),
            server: Arc::new(server(roots, chain, key, rules.verify_clients)?),
            name,
            mode: rules.mode,
            verify_clients: rules.verify_clients,
        })))
    }

    /// When TLS is used.
    pub fn mode(&self) -> TlsMode {
        self.0.mode
    }

    pub(super) fn dials(&self) -> bool {
        self.0.mode != TlsMode::Accepted
    }

    pub(super) fn accepts_clear(&self) -> bool {
        self.0.mode != TlsMode::Required
    }

    pub(super) fn client(&self) -> Arc<ClientConfig> {
        self.0.client.clone()
    }

    pub(super) fn server(&self) -> Arc<ServerConfig> {
        self.0.server.clone()
    }

    /// The name that the certificate of the node at the address must carry.
    pub(super) fn name_of(&self, address: SocketAddr) -> ServerName<'static> {
        // As it stands in certificates: an IPv4 address is not written as an IPv6 one there.
        let own = || ServerName::IpAddress(address.ip().to_canonical().into());
        self.0.name.clone().unwrap_or_else(own)
    }

    /// What is wrong with the name in a dialler's certificate, if anything is. Its issuer was verified by the TLS
    /// handshake. `address` is what the dialler says of itself and has proved with the secret.
    pub(crate) fn refuses(
        &self,
        certificate: Option<&CertificateDer<'_>>,
        address: SocketAddr,
    ) -> Option<String> {
        if !self.0.verify_clients {
            return None;
        }
        let name = self.name_of(address);
        let verify = |certificate| {
            let parsed = ParsedCertificate::try_from(certificate)?;
            verify_server_name(&parsed, &name)
        };
        match certificate.map(verify) {
            Some(Ok(())) => None,
            Some(Err(error)) => Some(error.to_string()),
            None => Some("it has none".to_owned()),
        }
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("not PEM: {error}"))?;
    if chain.is_empty() {
        return Err("holds no certificate (PEM)".to_owned());
    }
    Ok(chain)
}

fn client(
    roots: RootCertStore,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ClientConfig, MeshTlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| MeshTlsError::Certificate(error.to_string()))?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .map_err(|error| MeshTlsError::Key(not_together(&error)))?;
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn server(
    roots: RootCertStore,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    verify_clients: bool,
) -> Result<ServerConfig, MeshTlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = if verify_clients {
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .build()
            .map_err(|error| MeshTlsError::Ca(error.to_string()))?
    } else {
        WebPkiClientVerifier::no_client_auth()
    };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| MeshTlsError::Certificate(error.to_string()))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(|error| MeshTlsError::Key(not_together(&error)))?;
    config.send_tls13_tickets = 0;
    Ok(config)
}

fn not_together(error: &rustls::Error) -> String {
    format!("does not go with the certificate: {error}")
}
