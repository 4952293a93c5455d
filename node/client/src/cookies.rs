//! The cookies that a server has set: its browser id, and what a load balancer keeps a client by.

use std::{collections::BTreeMap, sync::Arc};

use http::{HeaderMap, HeaderValue, header};
use parking_lot::Mutex;

/// Most cookies of one endpoint; further ones are not kept.
const COOKIES_MAX: usize = 64;

/// Longest cookie that is kept, name and value together.
const COOKIE_BYTES_MAX: usize = 4096;

/// The cookies of one endpoint, which its connections share. All of them go with every request to that endpoint and
/// nowhere else, so their paths and domains do not matter.
#[derive(Debug, Clone, Default)]
pub(crate) struct Jar(Arc<Mutex<BTreeMap<String, String>>>);

impl Jar {
    /// Takes the `Set-Cookie` headers of a response. Cookies marked `Secure` are kept only when it came over TLS.
    pub(crate) fn store(&self, headers: &HeaderMap, over_tls: bool) {
        for line in headers.get_all(header::SET_COOKIE) {
            if let Ok(line) = line.to_str() {
                self.store_one(line, over_tls);
            }
        }
    }

    fn store_one(&self, line: &str, over_tls: bool) {
        let mut parts = line.split(';').map(str::trim);
        let Some((name, value)) = parts.next().and_then(|pair| pair.split_once('=')) else {
            return;
        };
        let (name, value) = (name.trim(), value.trim());
        if name.is_empty() || name.len() + value.len() > COOKIE_BYTES_MAX {
            return;
        }
        let (mut gone, mut secure) = (value.is_empty(), false);
        for attribute in parts {
            let (key, setting) = attribute.split_once('=').unwrap_or((attribute, ""));
            secure |= key.eq_ignore_ascii_case("secure");
            gone |= key.eq_ignore_ascii_case("max-age")
                && setting.parse::<i64>().is_ok_and(|seconds| seconds <= 0);
        }
        let mut cookies = self.0.lock();
        if gone {
            cookies.remove(name);
        } else if (over_tls || !secure)
            && (cookies.len() < COOKIES_MAX || cookies.contains_key(name))
        {
            cookies.insert(name.to_owned(), value.to_owned());
        }
    }

    /// Adds the cookies to the headers of a request, behind those that the user set there.
    pub(crate) fn add_to(&self, headers: &mut HeaderMap) {
        let cookies = self.0.lock();
        if cookies.is_empty() {
            return;
        }
        let own = headers
            .get_all(header::COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok().map(str::to_owned));
        let all: Vec<String> = own
            .chain(
                cookies
                    .iter()
                    .map(|(name, value)| format!("{name}={value}")),
            )
            .collect();
        if let Ok(value) = HeaderValue::try_from(all.join("; ")) {
            headers.insert(header::COOKIE, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(jar: &Jar, own: Option<&str>) -> Option<String> {
        let mut headers = HeaderMap::new();
        if let Some(own) = own {
            headers.insert(header::COOKIE, own.parse().unwrap());
        }
        jar.add_to(&mut headers);
        headers
            .get(header::COOKIE)
            .map(|value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn keeps_replaces_and_forgets() {
        let jar = Jar::default();
        assert_eq!(sent(&jar, None), None);
        jar.store_one("BAYEUX_BROWSER=abc=; Path=/; HttpOnly", false);
        jar.store_one("route=1; Max-Age=60", false);
        jar.store_one("route=2", false);
        jar.store_one("s=1; Secure", false);
        assert_eq!(
            sent(&jar, None).as_deref(),
            Some("BAYEUX_BROWSER=abc=; route=2")
        );
        assert_eq!(
            sent(&jar, Some("me=1")).as_deref(),
            Some("me=1; BAYEUX_BROWSER=abc=; route=2")
        );
        jar.store_one("s=1; Secure", true);
        jar.store_one("BAYEUX_BROWSER=x; max-age=0", false);
        jar.store_one("route=", false);
        assert_eq!(sent(&jar, None).as_deref(), Some("s=1"));
    }

    #[test]
    fn is_bounded() {
        let jar = Jar::default();
        for n in 0..1000 {
            jar.store_one(&format!("c{n}=1"), false);
        }
        jar.store_one(&format!("c1={}", "x".repeat(5000)), false);
        jar.store_one("nonsense", false);
        let cookies = jar.0.lock();
        assert_eq!((cookies.len(), cookies["c1"].as_str()), (COOKIES_MAX, "1"));
    }
}
