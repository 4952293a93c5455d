//! Which pages may use the endpoint: the `Origin` check and the headers that go with it.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE, HOST, ORIGIN, REFERER, VARY,
};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue};

/// Judges the origin of requests.
#[derive(Debug, Clone)]
pub(crate) struct Origins {
    /// Exact origins; empty: the host of the request itself.
    allowed: Vec<String>,
}

/// What the check of one request said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// No browser is behind the request, or one that does not say: it passes, no headers are due.
    Absent,
    /// The page may; its origin is to be echoed.
    Allowed(HeaderValue),
    /// The page may not.
    Refused,
}

impl Origins {
    pub(crate) fn new(allowed: &[String]) -> Self {
        Self {
            allowed: allowed.to_vec(),
        }
    }

    /// Judges a request by a script tag, with which browsers send no `Origin`: by the page it names as `Referer`. Without that it passes
    /// only if the browser does not say that it comes from elsewhere, or no browser is behind it.
    pub(crate) fn judge_script(
        &self,
        headers: &HeaderMap,
        authority: Option<&Authority>,
    ) -> Verdict {
        if headers.contains_key(ORIGIN) {
            return self.judge(headers, authority);
        }
        if let Some(page) = headers.get(REFERER) {
            let origin = page.to_str().ok().and_then(|page| {
                let (scheme, rest) = page.split_once("://")?;
                let authority = rest.split(['/', '?', '#']).next()?;
                HeaderValue::from_str(&format!("{scheme}://{authority}")).ok()
            });
            return origin.map_or(Verdict::Refused, |origin| {
                self.judge_one(&origin, headers, authority)
            });
        }
        match headers.get("sec-fetch-site").map(HeaderValue::as_bytes) {
            None | Some(b"same-origin" | b"none") => Verdict::Absent,
            Some(_) => Verdict::Refused,
        }
    }

    /// `authority` is that of the request's target: over HTTP/2 it stands there instead of in a `Host` header.
    pub(crate) fn judge(&self, headers: &HeaderMap, authority: Option<&Authority>) -> Verdict {
        let mut origins = headers.get_all(ORIGIN).iter();
        let Some(origin) = origins.next() else {
            return Verdict::Absent;
        };
        if origins.next().is_some() {
            return Verdict::Refused;
        }
        self.judge_one(origin, headers, authority)
    }

    fn judge_one(
        &self,
        origin: &HeaderValue,
        headers: &HeaderMap,
        authority: Option<&Authority>,
    ) -> Verdict {
        let Ok(text) = origin.to_str() else {
            return Verdict::Refused;
        };
        let allowed = if self.allowed.is_empty() {
            let host = authority
                .map(Authority::as_str)
                .or_else(|| headers.get(HOST)?.to_str().ok());
            host.is_some_and(|host| same_host(text, host))
        } else {
            self.allowed.iter().any(|known| known == text)
        };
        if allowed {
            Verdict::Allowed(origin.clone())
        } else {
            Verdict::Refused
        }
    }
}

impl Verdict {
    /// Adds what a browser needs in order to hand the answer to the page.
    pub(crate) fn add_headers(&self, headers: &mut HeaderMap) {
        headers.append(VARY, HeaderValue::from_static("Origin"));
        if let Self::Allowed(origin) = self {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            headers.insert(
                ACCESS_CONTROL_ALLOW_CREDENTIALS,
                HeaderValue::from_static("true"),
            );
        }
    }

    /// Adds what a browser asks for before the request itself.
    pub(crate) fn add_preflight_headers(&self, headers: &mut HeaderMap) {
        self.add_headers(headers);
        if let Self::Allowed(_) = self {
            headers.insert(
                ACCESS_CONTROL_ALLOW_METHODS,
                HeaderValue::from_static("GET, POST"),
            );
            headers.insert(
                ACCESS_CONTROL_ALLOW_HEADERS,
                HeaderValue::from_static("Content-Type, Accept, X-Requested-With"),
            );
            headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("1800"));
        }
    }
}

/// Whether an origin names the host that the request was sent to, on whatever port: the nodes of one machine are
/// one site, as they are for cookies.
fn same_host(origin: &str, host: &str) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else {
        return false;
    };
    matches!(scheme, "http" | "https")
        && !without_port(host).is_empty()
        && without_port(authority).eq_ignore_ascii_case(without_port(host))
}

fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        // A colon within brackets belongs to the address.
        Some((host, port)) if !port.contains(']') => host,
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(allowed: &[&str], origin: Option<&str>, host: &str) -> Verdict {
        let mut headers = HeaderMap::new();
        if let Some(origin) = origin {
            headers.insert(ORIGIN, origin.parse().expect("a header value"));
        }
        headers.insert(HOST, host.parse().expect("a header value"));
        Origins::new(
            &allowed
                .iter()
                .map(|&text| text.to_owned())
                .collect::<Vec<_>>(),
        )
        .judge(&headers, None)
    }

    fn allowed(allowed: &[&str], origin: &str, host: &str) -> bool {
        matches!(judge(allowed, Some(origin), host), Verdict::Allowed(_))
    }

    #[test]
    fn requests_without_origin_pass() {
        assert_eq!(judge(&[], None, "h"), Verdict::Absent);
        assert_eq!(judge(&["http://a"], None, "h"), Verdict::Absent);
    }

    #[test]
    fn an_empty_list_means_the_same_host() {
        assert!(allowed(&[], "http://n1.example:8080", "n1.example:8080"));
        assert!(allowed(&[], "http://n1.example:8081", "N1.example:8080"));
        assert!(allowed(&[], "http://[::1]:8081", "[::1]:8080"));
        assert!(!allowed(&[], "http://n2.example:8080", "n1.example:8080"));
        assert!(!allowed(&[], "http://n1.example.evil", "n1.example"));
        assert!(!allowed(&[], "null", "n1.example"));
        assert!(!allowed(&[], "file://", ""));
    }

    #[test]
    fn a_list_is_exact() {
        assert!(allowed(&["https://a.example"], "https://a.example", "h"));
        assert!(!allowed(&["https://a.example"], "http://a.example", "h"));
        assert!(!allowed(
            &["https://a.example"],
            "https://a.example:8443",
            "h"
        ));
        assert!(!allowed(&["https://a.example"], "http://h", "h"));
    }
}
