//! Fixed files that an application serves beside its Bayeux endpoint.

use std::collections::BTreeSet;
use std::future::ready;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use axum::routing::{MethodRouter, get};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderName, HeaderValue};

use crate::config::ClientConfig;

/// Where a file may not stand, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// The path is not one.
    #[error(
        "{0:?} is not a path of a file: it begins with a slash, has no blanks, braces, question marks or hashes, and no part that begins with a colon or an asterisk"
    )]
    Path(String),
    /// Something is there already.
    #[error("{0} is taken: by another file, the Bayeux endpoint or the demonstration page")]
    Taken(String),
    /// The media type cannot be said.
    #[error("{0:?} is not a media type")]
    MediaType(String),
}

/// A page and its scripts belong together: a browser that keeps old ones would mix two versions of them.
pub(crate) const COMMON_HEADERS: [(HeaderName, HeaderValue); 3] = [
    (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
];

/// One file.
#[derive(Debug, Clone)]
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) media_type: String,
    pub(crate) content: Bytes,
}

impl File {
    /// The routes to files, when all of them can be served.
    ///
    /// # Errors
    /// The first that cannot.
    pub(crate) fn check(files: Vec<Self>, client: &ClientConfig) -> Result<Router, FileError> {
        let mut taken = BTreeSet::new();
        if client.demo {
            taken.extend(crate::pages::paths().map(str::to_owned));
        }
        let mut router = Router::new();
        for file in files {
            if !is_path(&file.path) {
                return Err(FileError::Path(file.path));
            }
            let bayeux = |endpoint: &str| {
                let rest = file.path.strip_prefix(endpoint.trim_end_matches('/'));
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            };
            if client.paths().any(bayeux) || !taken.insert(file.path.clone()) {
                return Err(FileError::Taken(file.path));
            }
            let Ok(media_type) = HeaderValue::from_str(&file.media_type) else {
                return Err(FileError::MediaType(file.media_type));
            };
            router = router.route(&file.path, route(media_type, file.content));
        }
        Ok(router)
    }
}

/// The router would panic at what stands for a parameter in it.
fn is_path(path: &str) -> bool {
    let forbidden = |c: char| c.is_whitespace() || c.is_control() || "{}?#".contains(c);
    path.starts_with('/')
        && !path.contains(forbidden)
        && !path.split('/').any(|part| part.starts_with([':', '*']))
}

/// Answers with a file.
pub(crate) fn route(media_type: HeaderValue, content: Bytes) -> MethodRouter {
    get(move || {
        let mut response = Response::new(Body::from(content.clone()));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, media_type.clone());
        headers.extend(COMMON_HEADERS.map(|(name, value)| (Some(name), value)));
        ready(response)
    })
}
