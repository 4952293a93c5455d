//! TLS: whom the client trusts.

use std::{io, path::PathBuf, sync::Arc};

use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};

/// Where systems keep the certificate authorities they trust; the first that is there is read.
const SYSTEM_BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt", // Debian, Ubuntu, Arch, Alpine
    "/etc/pki/tls/certs/ca-bundle.crt",   // Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",             // SUSE
    "/etc/ssl/cert.pem",                  // Alpine, macOS, the BSDs
];

/// The variable that names another bundle, as for OpenSSL.
const BUNDLE_VARIABLE: &str = "SSL_CERT_FILE";

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The system's certificate authorities were not found; give your own with `root_certificates`, or set
    /// `SSL_CERT_FILE`.
    #[error(
        "no certificate authorities found on this system; set SSL_CERT_FILE, or give them with root_certificates"
    )]
    NoSystemRoots,
    /// The file with the system's certificate authorities cannot be read.
    #[error("cannot read {path}: {error}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        error: io::Error,
    },
    /// What was given holds no certificate, or something that is not one.
    #[error("no usable certificate authority in {0}: PEM with X.509 certificates is expected")]
    Certificates(String),
    /// The TLS library takes none of these settings.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[source] rustls::Error),
}

/// What connections of a client that trusts `roots` (PEM), or the system's certificate authorities, are set up with.
pub(crate) async fn config(roots: Option<&[u8]>) -> Result<Arc<ClientConfig>, TlsError> {
    let store = match roots {
        Some(pem) => read(pem, "the given root certificates", true)?,
        None => {
            let path = system_bundle().ok_or(TlsError::NoSystemRoots)?;
            let pem = tokio::fs::read(&path)
                .await
                .map_err(|error| TlsError::Read {
                    path: path.clone(),
                    error,
                })?;
            read(&pem, &path.display().to_string(), false)?
        }
    };
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Setup)?
        .with_root_certificates(store)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn system_bundle() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os(BUNDLE_VARIABLE).filter(|path| !path.is_empty()) {
        return Some(path.into());
    }
    SYSTEM_BUNDLES
        .iter()
        .map(PathBuf::from)
        .find(|path| path.is_file())
}

/// Reads PEM. A system's bundle may hold a few certificates that rustls does not take; what the user gives may not.
fn read(pem: &[u8], name: &str, strict: bool) -> Result<RootCertStore, TlsError> {
    let bad = || TlsError::Certificates(name.to_owned());
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let added = certificate.map_err(|_| bad())?;
        if store.add(added).is_err() && strict {
            return Err(bad());
        }
    }
    if store.is_empty() {
        return Err(bad());
    }
    Ok(store)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn refuses_what_holds_no_certificate() {
        for pem in [
            "",
            "nonsense",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        ] {
            assert!(
                matches!(
                    config(Some(pem.as_bytes())).await,
                    Err(TlsError::Certificates(_))
                ),
                "{pem}"
            );
        }
    }
}
