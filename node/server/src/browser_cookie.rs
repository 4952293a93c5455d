//! The `Set-Cookie` header that gives a browser its id.

use crate::config::{BrowserCookieConfig, SameSite};

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
