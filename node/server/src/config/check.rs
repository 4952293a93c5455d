//! What must hold beyond types: relations between options, and the files that hold secrets.

use std::fmt;
use std::path::Path;

use halley_cluster::{InvalidSecrets, NodeName, OortUrl, Secrets, TlsMode};
use subtle::ConstantTimeEq as _;

use super::load::Problem;
use super::types::{BrowserCookieConfig, Config, Discovery, MeshTlsConfig};
use super::{check_api, check_security, check_services};
use crate::tls::{MeshFiles, TlsFiles};

/// The least number of bytes of the secret that all nodes share.
pub(super) const SECRET_BYTES_MIN: usize = 32;

/// The largest message that still fits into a frame of a link.
const MESSAGE_BYTES_MAX: usize = 7 << 20;

/// The secret that all nodes of a cluster share. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes, for the one who signs with them.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

/// What clients call the transport that is offered only if configured.
const CALLBACK_POLLING: &str = "callback-polling";

/// The token that opens `/admin/`, or one of an application. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Vec<u8>);

impl Token {
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// Whether `given` is the token; takes the same time wherever they differ.
    #[must_use]
    pub fn matches(&self, given: &[u8]) -> bool {
        self.0.ct_eq(given).into()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(***)")
    }
}

/// Checks relations, reads secrets, and notes everything that is wrong. `mesh` and `discovery` say whether the
/// section and the key were written at all.
pub(super) fn check(config: &mut Config, mesh: bool, discovery: bool, problems: &mut Vec<Problem>) {
    node(config, problems);
    client(config, problems);
    tls(config, problems);
    admin(config, problems);
    mesh_secret(config, mesh, discovery, problems);
    check_security::check(config, problems);
    check_services::check(config, problems);
    check_api::check(config, problems);
    if config.mesh.clustered {
        mesh_relations(config, problems);
        mesh_tls(&config.mesh.tls, problems);
        mesh_oort(config, problems);
        if config.session.max_message_bytes > MESSAGE_BYTES_MAX {
            problems.push(Problem::new(
                "session.maxMessageSize",
                "is more than a link to a sibling carries (7 MiB)",
            ));
        }
        // What the cluster layer itself would refuse, so that it is a configuration error and not a failed start.
        if problems.is_empty()
            && let Ok(settings) = crate::cluster::cluster_config(config, "")
        {
            let refused = settings.validate().err().unwrap_or_default();
            problems.extend(
                refused
                    .into_iter()
                    .map(|error| Problem::new(error.key, error.problem)),
            );
        }
    }
}

fn node(config: &Config, problems: &mut Vec<Problem>) {
    if let Err(error) = NodeName::new(&config.node_name()) {
        problems.push(Problem::new("node.name", error.to_string()));
    }
}

/// A token of RFC 9110, of a length that fits a header.
fn is_token(text: &str) -> bool {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    (1..=128).contains(&text.len()) && text.bytes().all(token)
}

fn is_path(path: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~/".contains(&b);
    path.len() >= 2
        && path.starts_with('/')
        && !path.ends_with('/')
        && !path.contains("//")
        && path.bytes().all(plain)
}

fn browser_cookie(cookie: &BrowserCookieConfig, problems: &mut Vec<Problem>) {
    let name = &cookie.name;
    let token = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    if name.is_empty() || name.len() > 64 || !name.bytes().all(token) {
        problems.push(Problem::new(
            "session.browserCookieName",
            format!("{name:?} is not a cookie name of 1 to 64 letters, digits, `-`, `_` and `.`"),
        ));
    }
    let host = |b: u8| b.is_ascii_alphanumeric() || b"-.".contains(&b);
    if let Some(domain) = &cookie.domain
        && (domain.is_empty() || domain.len() > 253 || !domain.bytes().all(host))
    {
        problems.push(Problem::new(
            "session.browserCookieDomain",
            format!("{domain:?} is not a domain such as \"example.com\""),
        ));
    }
    let path = &cookie.path;
    if path != "/" && !is_path(path.trim_end_matches('/')) {
        problems.push(Problem::new(
            "session.browserCookiePath",
            format!("{path:?} is not a path such as \"/cometd\""),
        ));
    }
}

fn client(config: &mut Config, problems: &mut Vec<Problem>) {
    for (key, path) in std::iter::once(("client.path", &config.client.path)).chain(
        config
            .client
            .further_paths
            .iter()
            .map(|path| ("client.further_paths", path)),
    ) {
        if path != "/" && !is_path(path) {
            problems.push(Problem::new(
                key,
                format!("{path:?} is not a path such as \"/cometd\""),
            ));
        }
    }
    if config.client.demo && config.client.paths().any(|path| path == "/") {
        problems.push(Problem::new(
            "client.demo",
            "the demonstration page stands on \"/\", which is the Bayeux endpoint: one of them has to go",
        ));
    }
    // One below the other would be two answers to one request.
    let paths: Vec<_> = config.client.paths().collect();
    for (at, path) in paths.iter().enumerate() {
        // The root is above everything.
        let path_slash = format!("{}/", path.trim_end_matches('/'));
        let below = |other: &&str| {
            let other_slash = format!("{}/", other.trim_end_matches('/'));
            other_slash.starts_with(&path_slash) || path_slash.starts_with(&other_slash)
        };
        if paths[..at].iter().any(below) {
            problems.push(Problem::new(
                "client.further_paths",
                format!("{path:?} is, or lies below or above, another endpoint"),
            ));
        }
    }
    if let Some(subprotocol) = &config.client.subprotocol
        && !is_token(subprotocol)
    {
        problems.push(Problem::new(
            "client.subprotocol",
            format!("{subprotocol:?} is not the name of a sub-protocol"),
        ));
    }
    browser_cookie(&config.client.browser_cookie, problems);
    if config.client.max_unfinished_bytes < config.session.max_message_bytes {
        problems.push(Problem::new(
            "client.max_unfinished_bytes",
            "is smaller than one message (session.maxMessageSize)",
        ));
    }
    if let Some(url) = &config.client.url {
        let valid = url.parse::<http::Uri>().is_ok_and(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https")) && uri.authority().is_some()
        });
        if !valid {
            problems.push(Problem::new(
                "client.url",
                format!("{url:?} is not an absolute http or https address"),
            ));
        }
    }
    for origin in &config.client.allowed_origins {
        if !is_origin(origin) {
            problems.push(Problem::new(
                "client.allowed_origins",
                format!("{origin:?} is not an exact origin such as \"https://app.example\""),
            ));
        }
    }
    let types = &mut config.session.supported_connection_types;
    if config.client.callback_polling && !types.iter().any(|known| known == CALLBACK_POLLING) {
        types.push(CALLBACK_POLLING.to_owned());
    }
    for error in config.session.validate().err().unwrap_or_default() {
        problems.push(Problem::new(
            format!("session ({})", error.option),
            error.rule,
        ));
    }
    if config.session.max_queue_bytes < config.session.max_message_bytes {
        problems.push(Problem::new(
            "session.maxQueueBytes",
            "must not be less than session.maxMessageSize",
        ));
    }
}

/// Certificate and key come together and can serve.
fn tls(config: &Config, problems: &mut Vec<Problem>) {
    let tls = &config.client.tls;
    match (&tls.certificate, &tls.key) {
        (Some(certificate), Some(key)) => {
            let files = TlsFiles {
                certificate: certificate.clone(),
                key: key.clone(),
            };
            if let Err(problem) = files.load() {
                problems.push(Problem::new(problem.key, problem.what));
            }
        }
        (Some(_), None) => problems.push(Problem::new(
            "client.tls.key",
            "is needed beside client.tls.certificate",
        )),
        (None, Some(_)) => problems.push(Problem::new(
            "client.tls.certificate",
            "is needed beside client.tls.key",
        )),
        (None, None) => {}
    }
}

/// Three files come together and can serve.
fn mesh_tls(tls: &MeshTlsConfig, problems: &mut Vec<Problem>) {
    if let Some(files) = MeshFiles::of(tls) {
        if let Err(problem) = files.load() {
            problems.push(Problem::new(problem.key, problem.what));
        }
        return;
    }
    let files = [
        ("mesh.tls.certificate", &tls.certificate),
        ("mesh.tls.key", &tls.key),
        ("mesh.tls.ca", &tls.ca),
    ];
    let others = tls.server_name.is_some() || !tls.verify_clients || tls.mode != TlsMode::Required;
    if others || files.iter().any(|(_, file)| file.is_some()) {
        for (key, _) in files.iter().filter(|(_, file)| file.is_none()) {
            problems.push(Problem::new(
                *key,
                "is needed: TLS on the mesh takes a certificate, its key and the authorities",
            ));
        }
    }
}

/// Scheme, host and perhaps a port, and nothing else: what a browser sends.
fn is_origin(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else {
        return false;
    };
    let host = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-._:[]".contains(&b);
    matches!(scheme, "http" | "https") && !rest.is_empty() && rest.bytes().all(host)
}

fn admin(config: &mut Config, problems: &mut Vec<Problem>) {
    let Some(file) = config.admin.token_file.clone() else {
        return;
    };
    match read_trimmed(&file) {
        Ok(token) if token.is_empty() => {
            problems.push(Problem::new("admin.token_file", "the file is empty"))
        }
        Ok(token) => config.admin.token = Some(Token(token)),
        Err(error) => problems.push(Problem::new("admin.token_file", error)),
    }
}

fn mesh_secret(config: &mut Config, mesh: bool, discovery: bool, problems: &mut Vec<Problem>) {
    let given = config.mesh.secret.is_some() || config.mesh.secret_file.is_some();
    let alone =
        discovery && config.mesh.discovery.is_empty() && config.mesh.siblings.is_empty() && !given;
    config.mesh.clustered = mesh && !alone;
    if !config.mesh.clustered {
        return;
    }
    match (&config.mesh.secret, &config.mesh.secret_file) {
        (Some(_), Some(_)) => problems.push(Problem::new(
            "mesh.secret",
            "give either mesh.secret or mesh.secret_file, not both",
        )),
        (Some(secret), None) if secret.0.len() < SECRET_BYTES_MIN => problems.push(Problem::new(
            "mesh.secret",
            format!(
                "the secret has {} bytes, at least {SECRET_BYTES_MIN} are needed",
                secret.0.len()
            ),
        )),
        (Some(_), None) => {}
        (None, Some(file)) => match read_secret_file(file) {
            Ok((text, _)) => config.mesh.secret = Some(text),
            Err(problem) => problems.push(Problem::new("mesh.secret_file", problem)),
        },
        (None, None) => {
            problems.push(Problem::new(
                "mesh.secret_file",
                format!(
                    "a clustered node needs a secret of at least {SECRET_BYTES_MIN} bytes, the same on all nodes; \
                     without a [mesh] section the node runs alone"
                ),
            ));
        }
    }
}

/// Reads the file with the secrets: what is in it, and what it means. The error says what to do.
pub(crate) fn read_secret_file(file: &Path) -> Result<(Secret, Secrets), String> {
    let text = read_trimmed(file)?;
    let secrets = Secrets::from_lines(&text).map_err(|error| match error {
        InvalidSecrets::Short { line, problem } => format!(
            "the secret has {} bytes, at least {SECRET_BYTES_MIN} are needed (line {line}; there is one secret per line)",
            problem.0
        ),
        other => other.to_string(),
    })?;
    Ok((Secret(text), secrets))
}

fn mesh_relations(config: &mut Config, problems: &mut Vec<Problem>) {
    let mesh = &mut config.mesh;
    if !mesh.siblings.is_empty() && mesh.discovery.is_empty() {
        mesh.discovery.push(Discovery::Static);
    }
    if !mesh.siblings.is_empty() && !mesh.discovery.contains(&Discovery::Static) {
        problems.push(Problem::new(
            "mesh.siblings",
            "is set, but mesh.discovery does not name \"static\"",
        ));
    }
    for address in mesh.siblings.iter() {
        if !is_host_port(address) {
            problems.push(Problem::new(
                "mesh.siblings",
                format!("{address:?} is not host and port"),
            ));
        }
    }
    match (&mesh.dns.name, mesh.discovery.contains(&Discovery::Dns)) {
        (Some(_), false) => problems.push(Problem::new(
            "mesh.dns.name",
            "is set, but mesh.discovery does not name \"dns\"",
        )),
        (None, true) => problems.push(Problem::new(
            "mesh.dns.name",
            "is needed, since mesh.discovery names \"dns\"",
        )),
        _ => {}
    }
    match mesh.advertise {
        None if mesh.listen.ip().is_unspecified() => problems.push(Problem::new(
            "mesh.advertise",
            "is needed, since mesh.listen names no particular address that siblings could dial",
        )),
        Some(address) if address.ip().is_unspecified() || address.ip().is_multicast() => {
            problems.push(Problem::new(
                "mesh.advertise",
                format!("{address} cannot be dialled"),
            ));
        }
        _ => {}
    }
    if mesh.allow.is_empty() {
        problems.push(Problem::new(
            "mesh.allow",
            "no address is allowed, so no sibling could ever be reached",
        ));
    }
    if !mesh.multicast.group.is_multicast() {
        problems.push(Problem::new(
            "mesh.multicast.group",
            format!("{} is not a multicast group", mesh.multicast.group),
        ));
    }
    if mesh.detection_ms < mesh.heartbeat_ms.saturating_mul(2) {
        problems.push(Problem::new(
            "mesh.detection_ms",
            "must be at least twice mesh.heartbeat_ms",
        ));
    }
    for channel in mesh.channels.iter().flatten() {
        if channel.is_internal() || channel.kind() != halley_bayeux::ChannelKind::Broadcast {
            problems.push(Problem::new(
                "mesh.channels",
                format!("{} cannot be observed", channel.as_str()),
            ));
        }
    }
}

/// The section on Java nodes: its secret is read here.
fn mesh_oort(config: &mut Config, problems: &mut Vec<Problem>) {
    let mesh = &mut config.mesh;
    let oort = &mut mesh.oort;
    if !oort.enabled {
        if oort.secret.is_some() || oort.secret_file.is_some() || !oort.cloud.is_empty() {
            problems.push(Problem::new(
                "mesh.oort.enabled",
                "must be true, since mesh.oort is filled in",
            ));
        }
        return;
    }
    match (&oort.secret, &oort.secret_file) {
        (Some(_), Some(_)) => problems.push(Problem::new(
            "mesh.oort.secret_file",
            "give either this or mesh.oort.secret",
        )),
        (Some(_), None) => {}
        (None, Some(file)) => match read_trimmed(file) {
            Ok(text) => oort.secret = Some(Secret(text)),
            Err(problem) => problems.push(Problem::new("mesh.oort.secret_file", problem)),
        },
        (None, None) => problems.push(Problem::new(
            "mesh.oort.secret_file",
            format!("the secret of the Java nodes is needed, at least {SECRET_BYTES_MIN} bytes"),
        )),
    }
    if let Some(secret) = &oort.secret {
        if secret.bytes().len() < SECRET_BYTES_MIN {
            problems.push(Problem::new(
                "mesh.oort.secret",
                format!(
                    "the secret has {} bytes, at least {SECRET_BYTES_MIN} are needed",
                    secret.bytes().len()
                ),
            ));
        }
        let shared = mesh.secret.as_ref().map(Secret::bytes).unwrap_or_default();
        if shared
            .split(|byte| *byte == b'\n')
            .any(|line| line.trim_ascii() == secret.bytes())
        {
            problems.push(Problem::new(
                "mesh.oort.secret",
                "must not be that of the mesh: whoever sees the digest may guess at it",
            ));
        }
    }
    let urls = [
        ("mesh.oort.url", oort.url.as_slice()),
        ("mesh.oort.aliases", &oort.aliases),
        ("mesh.oort.cloud", &oort.cloud),
    ];
    for (key, urls) in urls {
        for url in urls {
            if let Err(error) = OortUrl::parse(url) {
                problems.push(Problem::new(key, format!("{url:?}: {error}")));
            }
        }
    }
    let Some(group) = oort.multicast else {
        return;
    };
    if !group.ip().is_multicast() || !group.is_ipv4() || group.port() == 0 {
        problems.push(Problem::new(
            "mesh.oort.multicast",
            format!("{group} is not an IPv4 multicast group and port"),
        ));
    }
    let native = &mesh.multicast;
    if mesh.discovery.contains(&Discovery::Multicast) && group == (native.group, native.port).into()
    {
        problems.push(Problem::new(
            "mesh.oort.multicast",
            "must not be the group of mesh.multicast: a Java node that receives an announcement of a Halley node \
             stops listening for good",
        ));
    }
}

fn is_host_port(text: &str) -> bool {
    text.parse::<std::net::SocketAddr>().is_ok()
        || text.rsplit_once(':').is_some_and(|(host, port)| {
            !host.is_empty()
                && host
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
                && port.parse::<u16>().is_ok()
        })
}

pub(super) fn read_trimmed(file: &Path) -> Result<Vec<u8>, String> {
    let bytes =
        std::fs::read(file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    Ok(bytes.trim_ascii().to_vec())
}
