//! Certificate and key, from their files to something that can serve.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::validity;

/// What a client is offered to speak inside, in the order of preference.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Times the files are read again because they changed meanwhile.
pub(super) const READS_MAX: usize = 3;

/// Where certificate and key are.
#[derive(Debug, Clone)]
pub(crate) struct TlsFiles {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

/// What the two files held.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Content {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Content(***)")
    }
}

/// A certificate that can serve.
#[derive(Debug, Clone)]
pub(crate) struct Loaded {
    pub(crate) config: Arc<ServerConfig>,
    /// Seconds since 1970 at which the first certificate of the chain ends.
    pub(crate) expiry: i64,
}

/// Why the files cannot serve.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{key}: {what}")]
pub(crate) struct TlsProblem {
    /// The option that names the file.
    pub(crate) key: &'static str,
    pub(crate) what: String,
}

impl TlsProblem {
    fn certificate(what: impl Into<String>) -> Self {
        Self {
            key: "client.tls.certificate",
            what: what.into(),
        }
    }

    fn key(what: impl Into<String>) -> Self {
        Self {
            key: "client.tls.key",
            what: what.into(),
        }
    }
}

impl TlsFiles {
    /// Reads both files. Whoever replaces them does so one after the other: they are read until nothing changed
    /// meanwhile, a few times.
    pub(crate) fn read(&self) -> Result<Content, TlsProblem> {
        let mut certificate = read(&self.certificate).map_err(TlsProblem::certificate)?;
        for _ in 1..READS_MAX {
            let key = read(&self.key).map_err(TlsProblem::key)?;
            let again = read(&self.certificate).map_err(TlsProblem::certificate)?;
            if again == certificate {
                return Ok(Content { certificate, key });
            }
            certificate = again;
        }
        let key = read(&self.key).map_err(TlsProblem::key)?;
        Ok(Content { certificate, key })
    }

    /// Reads both files and makes something that can serve of them.
    pub(crate) fn load(&self) -> Result<(Content, Loaded), TlsProblem> {
        let content = self.read()?;
        let loaded = self.build(&content)?;
        Ok((content, loaded))
    }

    pub(super) fn build(&self, content: &Content) -> Result<Loaded, TlsProblem> {
        let file = self.certificate.display();
        let chain = CertificateDer::pem_slice_iter(&content.certificate)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| TlsProblem::certificate(format!("{file} is not PEM: {error}")))?;
        if chain.is_empty() {
            return Err(TlsProblem::certificate(format!(
                "{file} holds no certificate (PEM)"
            )));
        }
        let expiry = first_end(&chain).ok_or_else(|| {
            TlsProblem::certificate(format!(
                "{file} holds something that is not an X.509 certificate"
            ))
        })?;
        let key = PrivateKeyDer::from_pem_slice(&content.key).map_err(|error| {
            TlsProblem::key(format!(
                "{} holds no private key (PEM): {error}",
                self.key.display()
            ))
        })?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsProblem::certificate(error.to_string()))?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|error| {
                TlsProblem::key(format!(
                    "{} does not go with {file}: {error}",
                    self.key.display()
                ))
            })?;
        config.alpn_protocols = PROTOCOLS.iter().map(|name| name.to_vec()).collect();
        Ok(Loaded {
            config: Arc::new(config),
            expiry,
        })
    }
}

/// Seconds since 1970 at which the first certificate of a PEM file ends.
pub(super) fn expiry(pem: &[u8]) -> Option<i64> {
    let chain = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    first_end(&chain.ok()?)
}

fn first_end(chain: &[CertificateDer<'_>]) -> Option<i64> {
    let ends = chain
        .iter()
        .map(|certificate| validity::not_after(certificate));
    ends.collect::<Option<Vec<_>>>()?.into_iter().min()
}

pub(super) fn read(file: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(file).map_err(|error| format!("cannot read {}: {error}", file.display()))
}
