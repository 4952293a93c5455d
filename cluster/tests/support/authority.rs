//! Certificates of a mesh, made by the test.

#![allow(unreachable_pub, missing_docs, clippy::unwrap_used)]

use std::sync::Arc;

use halley_cluster::{MeshTls, MeshTlsError, MeshTlsPem, MeshTlsRules};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// An authority.
#[derive(Debug)]
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// The three files of a node.
#[derive(Clone, Debug)]
pub struct Pem {
    pub certificate: String,
    pub key: String,
    pub ca: String,
}

impl Authority {
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Two authorities have two names.
        let name = format!("{:?}", &key.public_key_raw()[..8]);
        params.distinguished_name.push(DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for a name, which ends with the year.
    pub fn issue_until(&self, name: &str, year: i32) -> Pem {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        Pem {
            certificate: params.signed_by(&key, &self.0).unwrap().pem(),
            key: key.serialize_pem(),
            ca: self.pem(),
        }
    }

    pub fn issue(&self, name: &str) -> Pem {
        self.issue_until(name, 2100)
    }

    /// What a client that trusts this authority uses, with or without a certificate of its own.
    pub fn client(&self, own: Option<&Pem>) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        Arc::new(match own {
            None => builder.with_no_client_auth(),
            Some(own) => builder
                .with_client_auth_cert(own.chain(), own.private())
                .unwrap(),
        })
    }
}

impl Pem {
    pub fn tls(&self) -> MeshTls {
        self.with(&MeshTlsRules::default()).unwrap()
    }

    pub fn with(&self, rules: &MeshTlsRules) -> Result<MeshTls, MeshTlsError> {
        let pem = MeshTlsPem {
            certificate: self.certificate.as_bytes(),
            key: self.key.as_bytes(),
            ca: self.ca.as_bytes(),
        };
        MeshTls::new(pem, rules)
    }

    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap()]
    }

    pub fn private(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap()
    }

    /// What a server with this certificate uses; it asks nobody for one.
    pub fn server(&self) -> Arc<ServerConfig> {
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(self.chain(), self.private())
            .unwrap();
        Arc::new(config)
    }
}
