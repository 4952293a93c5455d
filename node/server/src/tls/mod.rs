//! TLS on the client listener, and the certificates of the mesh, which have the same way.
//!
//! ```text
//! files ──load──> ServerConfig ──swap──> Tls ──taken by each handshake
//!   ▲                              ▲
//!   └── timer, SIGHUP ── reload ───┘    a bad file changes nothing
//! ```
//!
//! Sessions in progress keep the certificate they began with. Files are read again by path, never watched: a mounted
//! Kubernetes secret changes by swapping a symbolic link above the files.

mod acceptor;
mod files;
mod mesh;
mod validity;

pub(crate) use acceptor::Tls;
pub(crate) use files::TlsFiles;
pub(crate) use mesh::{MeshCertificates, MeshFiles};
