//! The `Cookie` header, read as tolerantly as stock clients need.
//!
//! Seen in the wild: an empty header on the first request, cookies joined by `;` without a space, quoted values.

use http::HeaderMap;
use http::header::COOKIE;

use crate::config::{BrowserCookieConfig, SameSite};

/// Longest value that is taken from a client; a longer one counts as absent.
const VALUE_BYTES_MAX: usize = 128;

/// The value of the browser cookie `cookie`, if the request carries a usable one.
pub(crate) fn browser<'a>(headers: &'a HeaderMap, cookie: &str) -> Option<&'a str> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|header| header.to_str().ok())
        .flat_map(|header| header.split(';'))
        .filter_map(|pair| pair.split_once('='))
        .find(|(name, _)| name.trim() == cookie)
        .map(|(_, value)| unquoted(value.trim()))
        .filter(|value| !value.is_empty() && value.len() <= VALUE_BYTES_MAX)
}

fn unquoted(value: &str) -> &str {
    value
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .unwrap_or(value)
}

/// Makes the `Set-Cookie` values for new browser ids.
#[derive(Debug, Clone)]
pub(crate) struct BrowserCookie {
    pub(crate) name: String,
    /// The attributes where the client's connection is not encrypted, and where it is.
    clear: String,
    encrypted: String,
}

impl BrowserCookie {
    pub(crate) fn new(config: &BrowserCookieConfig) -> Self {
        Self {
            name: config.name.clone(),
            clear: attributes(config, false),
            encrypted: attributes(config, config.secure),
        }
    }

    /// The value for a new id; `encrypted` says what the client's connection is.
    pub(crate) fn set(&self, id: &str, encrypted: bool) -> String {
        let attributes = if encrypted {
            &self.encrypted
        } else {
            &self.clear
        };
        format!("{}={id}{attributes}", self.name)
    }
}

/// In CometD's order.
fn attributes(config: &BrowserCookieConfig, secure: bool) -> String {
    let mut all = String::new();
    if let Some(domain) = &config.domain {
        all += &format!("; Domain={domain}");
    }
    all += &format!("; Path={}", config.path);
    if config.max_age_s >= 0 {
        all += &format!("; Max-Age={}", config.max_age_s);
    }
    if config.http_only {
        all += "; HttpOnly";
    }
    if secure {
        all += "; Secure";
    }
    all += match config.same_site {
        SameSite::Strict => "; SameSite=Strict",
        SameSite::Lax => "; SameSite=Lax",
        SameSite::None => "; SameSite=None",
        SameSite::Absent => "",
    };
    // Browsers drop a cookie that is partitioned and not secure.
    if config.partitioned && secure {
        all += "; Partitioned";
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(lines: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(COOKIE, line.parse().expect("a header value"));
        }
        browser(&headers, "BAYEUX_BROWSER").map(str::to_owned)
    }

    #[test]
    fn forms_seen_in_the_wild() {
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[""]), None);
        assert_eq!(of(&["BAYEUX_BROWSER=abc"]).as_deref(), Some("abc"));
        assert_eq!(of(&["a=b;BAYEUX_BROWSER=abc;c=d"]).as_deref(), Some("abc"));
        assert_eq!(of(&["a=b; BAYEUX_BROWSER=\"abc\""]).as_deref(), Some("abc"));
        assert_eq!(of(&["", "a", "BAYEUX_BROWSER=abc"]).as_deref(), Some("abc"));
        assert_eq!(of(&["XBAYEUX_BROWSER=abc; BAYEUX_BROWSERS=d"]), None);
        assert_eq!(of(&["BAYEUX_BROWSER="]), None);
        let long = format!("BAYEUX_BROWSER={}", "a".repeat(129));
        assert_eq!(of(&[&long]), None);
    }

    #[test]
    fn every_attribute_in_its_order() {
        let config = BrowserCookieConfig::default();
        let cookie = BrowserCookie::new(&config);
        assert_eq!(
            cookie.set("x", false),
            "BAYEUX_BROWSER=x; Path=/; HttpOnly; SameSite=Lax"
        );
        assert_eq!(
            cookie.set("x", true),
            "BAYEUX_BROWSER=x; Path=/; HttpOnly; Secure; SameSite=Lax"
        );
        let config = BrowserCookieConfig {
            name: "B".into(),
            domain: Some("example.com".into()),
            path: "/cometd".into(),
            max_age_s: 60,
            http_only: true,
            secure: true,
            same_site: SameSite::None,
            partitioned: true,
        };
        let cookie = BrowserCookie::new(&config);
        assert_eq!(
            cookie.set("x", true),
            "B=x; Domain=example.com; Path=/cometd; Max-Age=60; HttpOnly; Secure; SameSite=None; Partitioned"
        );
        assert_eq!(
            cookie.set("x", false),
            "B=x; Domain=example.com; Path=/cometd; Max-Age=60; HttpOnly; SameSite=None"
        );
        let bare = BrowserCookie::new(&BrowserCookieConfig {
            http_only: false,
            secure: false,
            same_site: SameSite::Absent,
            partitioned: true,
            ..BrowserCookieConfig::default()
        });
        assert_eq!(bare.set("x", true), "BAYEUX_BROWSER=x; Path=/");
    }
}
