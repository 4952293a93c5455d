//! The configuration of a node: a TOML file, and the environment on top of it.
//!
//! ```text
//! file ──┐
//!        ├─> flat keys ──> options table ──> Config ──> checks ──> Config or every error at once
//! env  ──┘
//! ```
//!
//! [`OPTIONS`] is the only list of options there is: reading, printing (`halley config`), the environment and the
//! logged effective configuration all walk it. An option that is not in it is an error that names the key.

mod check;
mod field;
mod load;
mod options;
mod print;
mod types;

pub(crate) use check::read_secret_file;
pub use check::{Secret, Token};
pub use load::{ConfigError, Problem};
pub use options::{OPTIONS, Opt};
pub use print::{effective, reference};
pub use types::{
    AdminConfig, ClientConfig, Config, Discovery, DnsConfig, Http2Config, LogConfig, LogFormat,
    LogLevel, MeshConfig, MulticastConfig, NodeConfig, PresenceConfig, SetiConfig, TlsConfig,
};
