//! The keys that tokens are verified with: read from files, and read again when those change; fetched from an address, and fetched
//! again after a time, or sooner when a token names a key that is not there.
//!
//! Each key is tied to one algorithm when it is read. A token can only choose among those keys, never how one is used.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::Value;
use tokio::sync::Notify;
use tracing::{debug, info, warn};

use super::key_address::KeyAddress;
use crate::config::{JwtConfig, TokenAlgorithm};

/// The least number of bytes of a secret: as many as the hash has.
const SECRET_BYTES_MIN: usize = 32;

/// A key file larger than this is not one.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// An uncompressed point on P-256.
const P256_POINT_BYTES: usize = 65;

/// The least time between two fetches, however many tokens name unknown keys, and the time until the next after one that failed.
const FETCH_PAUSE: Duration = Duration::from_secs(5);

/// Keys of a set; a token without a key id is tried against all of its algorithm.
const KEYS_MAX: usize = 32;

/// What is wrong with a key file. Never shows what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyFault {
    /// The option that names the file.
    pub(crate) key: &'static str,
    /// What is wrong.
    pub(crate) what: String,
}

/// One key and the one way it is used.
pub(crate) struct VerifyingKey {
    pub(crate) algorithm: Algorithm,
    id: Option<String>,
    pub(crate) key: DecodingKey,
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifyingKey")
            .field("algorithm", &self.algorithm)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// The keys of one moment.
#[derive(Debug, Default)]
pub(crate) struct KeySet {
    keys: Vec<VerifyingKey>,
    /// What they were read from, to see whether it changes.
    sources: Vec<Vec<u8>>,
}

impl KeySet {
    /// The keys that a token with this header may be verified with.
    pub(crate) fn candidates<'a>(
        &'a self,
        algorithm: Algorithm,
        id: Option<&'a str>,
    ) -> impl Iterator<Item = &'a VerifyingKey> {
        self.keys.iter().filter(move |key| {
            key.algorithm == algorithm
                && match (id, &key.id) {
                    (Some(wanted), Some(id)) => wanted == id,
                    _ => true,
                }
        })
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }
}

const fn algorithm_of(algorithm: TokenAlgorithm) -> Algorithm {
    match algorithm {
        TokenAlgorithm::Hs256 => Algorithm::HS256,
        TokenAlgorithm::Rs256 => Algorithm::RS256,
        TokenAlgorithm::Es256 => Algorithm::ES256,
        TokenAlgorithm::EdDsa => Algorithm::EdDSA,
    }
}

/// Reads all key files.
///
/// # Errors
/// Every file that cannot be used.
pub(crate) fn load(config: &JwtConfig) -> Result<KeySet, Vec<KeyFault>> {
    let allowed: Vec<Algorithm> = config
        .algorithms
        .iter()
        .copied()
        .map(algorithm_of)
        .collect();
    type Parse = fn(&[u8], &[Algorithm]) -> Result<Vec<VerifyingKey>, String>;
    let files: [(&'static str, Option<&Path>, Parse); 3] = [
        (
            "security.jwt.secret_file",
            config.secret_file.as_deref(),
            secret,
        ),
        (
            "security.jwt.public_key_file",
            config.public_key_file.as_deref(),
            pem,
        ),
        ("security.jwt.jwks_file", config.jwks_file.as_deref(), jwks),
    ];
    let mut set = KeySet::default();
    let mut faults = Vec::new();
    for (key, file, parse) in files {
        let Some(file) = file else { continue };
        let read = read(file).and_then(|bytes| Ok((parse(&bytes, &allowed)?, bytes)));
        match read {
            Ok((keys, bytes)) => {
                set.keys.extend(keys);
                set.sources.push(bytes);
            }
            Err(what) => faults.push(KeyFault { key, what }),
        }
    }
    if faults.is_empty() {
        Ok(set)
    } else {
        Err(faults)
    }
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    let fault = |error| format!("cannot read {}: {error}", file.display());
    let bytes = std::fs::metadata(file).map_err(fault)?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(format!(
            "{} is larger than {FILE_BYTES_MAX} bytes",
            file.display()
        ));
    }
    std::fs::read(file).map_err(fault)
}

fn secret(bytes: &[u8], allowed: &[Algorithm]) -> Result<Vec<VerifyingKey>, String> {
    let secret = bytes.trim_ascii();
    if secret.len() < SECRET_BYTES_MIN {
        return Err(format!(
            "the secret has {} bytes, at least {SECRET_BYTES_MIN} are needed",
            secret.len()
        ));
    }
    // The other half of key confusion: whoever signs with what everybody knows.
    if secret.starts_with(b"-----BEGIN") {
        return Err("the file holds a PEM key, not a secret".into());
    }
    debug_assert!(allowed.contains(&Algorithm::HS256), "checked before");
    Ok(vec![VerifyingKey {
        algorithm: Algorithm::HS256,
        id: None,
        key: DecodingKey::from_secret(secret),
    }])
}

fn pem(bytes: &[u8], allowed: &[Algorithm]) -> Result<Vec<VerifyingKey>, String> {
    if bytes.windows(11).any(|window| window == b"PRIVATE KEY") {
        return Err(
            "the file holds a private key: the node needs, and should see, only the public one"
                .into(),
        );
    }
    let (algorithm, key) = DecodingKey::from_rsa_pem(bytes)
        .map(|key| (Algorithm::RS256, key))
        .or_else(|_| DecodingKey::from_ec_pem(bytes).map(|key| (Algorithm::ES256, key)))
        .or_else(|_| DecodingKey::from_ed_pem(bytes).map(|key| (Algorithm::EdDSA, key)))
        .map_err(|_| {
            "the file does not hold a public key in PEM (RSA, P-256 or Ed25519)".to_owned()
        })?;
    let point = key.try_get_as_bytes().map_or(0, <[u8]>::len);
    if algorithm == Algorithm::ES256 && point != P256_POINT_BYTES {
        return Err("the key is not on the curve P-256".into());
    }
    if !allowed.contains(&algorithm) {
        return Err(format!(
            "the key is for {algorithm:?}, which security.jwt.algorithms does not name"
        ));
    }
    Ok(vec![VerifyingKey {
        algorithm,
        id: None,
        key,
    }])
}

fn jwks(bytes: &[u8], allowed: &[Algorithm]) -> Result<Vec<VerifyingKey>, String> {
    let mut set: Value = serde_json::from_slice(bytes).map_err(|_| "is not JSON".to_owned())?;
    let Some(Value::Array(entries)) = set.get_mut("keys").map(Value::take) else {
        return Err("has no list \"keys\"".into());
    };
    if entries.len() > KEYS_MAX {
        return Err(format!("has more than {KEYS_MAX} keys"));
    }
    // A set may hold keys for others: what cannot be used here is passed over.
    let keys: Vec<_> = entries
        .into_iter()
        .filter_map(|entry| jwk(entry, allowed))
        .collect();
    if keys.is_empty() {
        return Err(
            "no key in it can be used with the algorithms of security.jwt.algorithms".into(),
        );
    }
    Ok(keys)
}

fn jwk(entry: Value, allowed: &[Algorithm]) -> Option<VerifyingKey> {
    let named = entry.get("alg").cloned();
    let jwk: Jwk = serde_json::from_value(entry).ok()?;
    let algorithm = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => Algorithm::RS256,
        AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P256 => {
            Algorithm::ES256
        }
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => {
            Algorithm::EdDSA
        }
        AlgorithmParameters::OctetKey(_) => Algorithm::HS256,
        _ => return None,
    };
    let signs = matches!(
        jwk.common.public_key_use,
        None | Some(PublicKeyUse::Signature)
    );
    let agrees = named.is_none_or(|named| {
        named == format!("{algorithm:?}") || (algorithm == Algorithm::EdDSA && named == "Ed25519")
    });
    if !signs || !agrees || !allowed.contains(&algorithm) {
        debug!(id = jwk.common.key_id, "a key of the set is not used");
        return None;
    }
    let key = DecodingKey::from_jwk(&jwk).ok()?;
    let short = algorithm == Algorithm::HS256
        && key
            .try_get_as_bytes()
            .is_ok_and(|bytes| bytes.len() < SECRET_BYTES_MIN);
    (!short).then_some(VerifyingKey {
        algorithm,
        id: jwk.common.key_id,
        key,
    })
}

/// The keys as they are now.
#[derive(Debug)]
pub(crate) struct KeyStore {
    config: JwtConfig,
    current: ArcSwap<KeySet>,
    address: Option<KeyAddress>,
    fetched: ArcSwap<KeySet>,
    /// Told when a token names a key that is not there.
    wanted: Notify,
}

impl KeyStore {
    /// Reads the files.
    ///
    /// # Errors
    /// Every file that cannot be used.
    pub(crate) fn open(config: &JwtConfig) -> Result<Arc<Self>, Vec<KeyFault>> {
        let uri = config.jwks_url.as_deref().map(super::hook_address);
        let uri = uri.transpose().map_err(|what| {
            vec![KeyFault {
                key: "security.jwt.jwks_url",
                what,
            }]
        })?;
        Ok(Arc::new(Self {
            current: ArcSwap::from_pointee(load(config)?),
            config: config.clone(),
            address: uri.map(KeyAddress::new),
            fetched: ArcSwap::default(),
            wanted: Notify::new(),
        }))
    }

    /// The keys of the files, and those of the address.
    pub(crate) fn current(&self) -> [Arc<KeySet>; 2] {
        [self.current.load_full(), self.fetched.load_full()]
    }

    /// A token is signed by a key that is not there. True when it may come: the address is asked soon.
    pub(crate) fn want(&self, algorithm: Algorithm) -> bool {
        let may_come = self.address.is_some()
            && algorithm != Algorithm::HS256
            && self
                .config
                .algorithms
                .iter()
                .any(|allowed| algorithm_of(*allowed) == algorithm);
        if may_come {
            self.wanted.notify_one();
        }
        may_come
    }

    /// Fetches once. What cannot be used changes nothing.
    async fn fetch(&self, address: &KeyAddress) -> Result<(), String> {
        // Never a secret: what comes over the network in clear is none.
        let public: Vec<Algorithm> = self
            .config
            .algorithms
            .iter()
            .copied()
            .map(algorithm_of)
            .filter(|algorithm| *algorithm != Algorithm::HS256)
            .collect();
        let bytes = address.fetch().await?.to_vec();
        let keys = jwks(&bytes, &public)?;
        if self.fetched.load().sources.first() != Some(&bytes) {
            info!(keys = keys.len(), "keys for tokens were fetched");
            self.fetched.store(Arc::new(KeySet {
                keys,
                sources: vec![bytes],
            }));
        }
        Ok(())
    }

    async fn watch_address(&self) {
        let Some(address) = &self.address else { return };
        let refresh = Duration::from_millis(self.config.jwks_refresh_ms);
        let pause = FETCH_PAUSE.min(refresh);
        let mut told = None;
        loop {
            match self.fetch(address).await {
                Ok(()) => {
                    told = None;
                    tokio::time::sleep(pause).await;
                    let rest = refresh.saturating_sub(pause);
                    // Either way it is time.
                    let _ = tokio::time::timeout(rest, self.wanted.notified()).await;
                }
                Err(error) => {
                    if told.as_ref() != Some(&error) {
                        warn!(
                            key = "security.jwt.jwks_url",
                            error, "keys cannot be fetched, those that are there stay"
                        );
                        told = Some(error);
                    }
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    /// Reads the files again. What cannot be used changes nothing: the keys that were there stay.
    fn reload(&self, told: &mut Option<Vec<KeyFault>>) {
        match load(&self.config) {
            Ok(set) => {
                *told = None;
                if set.sources != self.current.load().sources {
                    info!(keys = set.keys.len(), "the keys for tokens were read again");
                    self.current.store(Arc::new(set));
                }
            }
            Err(faults) => {
                if told.as_ref() != Some(&faults) {
                    for fault in &faults {
                        warn!(
                            key = fault.key,
                            error = fault.what,
                            "a key file cannot be used, the keys read before stay"
                        );
                    }
                    *told = Some(faults);
                }
            }
        }
    }

    /// Looks at the files and the address for ever.
    pub(crate) async fn watch(self: Arc<Self>) {
        tokio::join!(Arc::clone(&self).watch_files(), self.watch_address());
    }

    async fn watch_files(self: Arc<Self>) {
        let period = Duration::from_millis(self.config.reload_ms);
        let mut told = None;
        loop {
            tokio::time::sleep(period).await;
            let store = Arc::clone(&self);
            let look = tokio::task::spawn_blocking(move || {
                store.reload(&mut told);
                told
            });
            told = look.await.unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests;
