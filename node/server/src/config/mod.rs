//! The configuration of a node: a TOML file, and the environment on top of it.
//!
//! ```text
//! file ──┐
//!        ├─> flat keys ──> options table ──> Config ──> checks ──> Config or every error at once
//! env  ──┘
//! ```
//!
//! [`OPTIONS`] is the only list of options there is, and [`ROW_LISTS`] the only list of lists of tables: reading, printing
//! (`halley config`), the environment and the logged effective configuration all walk them. A key that is in neither is an
//! error that names it.

mod check;
mod check_api;
mod check_security;
mod check_services;
mod field;
mod load;
mod options;
mod print;
mod rows;
mod types;

pub(crate) use check::read_secret_file;
pub use check::{Secret, Token};
pub(crate) use check_api::{ApiKeys, ambiguous, read_api_keys};
pub(crate) use load::environment;
pub use load::{ConfigError, Problem};
pub use options::{OPTIONS, Opt};
pub use print::{effective, reference};
pub use rows::{Column, ROW_LISTS, RowList};
pub use types::{
    AdminConfig, ApiConfig, ApiRole, ApiToken, BrowserCookieConfig, ChannelRule, ClientConfig,
    Config, Discovery, DnsConfig, HooksConfig, Http2Config, JwtConfig, LogConfig, LogFormat,
    LogLevel, MeshConfig, MeshTlsConfig, MulticastConfig, NodeConfig, OortConfig, OortDigest,
    PolicyKind, PresenceConfig, SameSite, SecurityConfig, ServiceHook, ServicesConfig, SetiConfig,
    TlsConfig, TokenAlgorithm,
};
