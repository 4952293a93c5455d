//! An Oort URL: the name of a node in the Oort dialect, and where its Bayeux endpoint is.

use std::fmt;

use crate::NodeName;

/// Longest URL that is taken from another node.
pub(super) const URL_BYTES_MAX: usize = 1024;

/// Why a text is no Oort URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an Oort URL is http://host:port/path, in clear text, of at most 1024 characters")]
pub struct InvalidOortUrl;

/// A checked Oort URL. Two are the same node only when their texts are equal: nothing is normalised.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct OortUrl {
    text: String,
    /// Where host and port end.
    path_at: usize,
    port: bool,
}

const SCHEME: &str = "http://";

impl OortUrl {
    /// Checks a text.
    ///
    /// # Errors
    /// When it has another scheme than `http`, no host, or characters that a URL cannot have.
    pub fn parse(text: &str) -> Result<Self, InvalidOortUrl> {
        let rest = text.strip_prefix(SCHEME).ok_or(InvalidOortUrl)?;
        let length = rest.find('/').unwrap_or(rest.len());
        let authority = &rest[..length];
        let after_host = match authority.strip_prefix('[') {
            Some(v6) => v6.split_once(']').ok_or(InvalidOortUrl)?.1,
            None => authority
                .split_once(':')
                .map_or("", |(host, _)| &authority[host.len()..]),
        };
        let port = match after_host.strip_prefix(':') {
            Some(port) => {
                port.parse::<u16>()
                    .ok()
                    .filter(|port| *port > 0)
                    .ok_or(InvalidOortUrl)?;
                true
            }
            None if after_host.is_empty() => false,
            None => return Err(InvalidOortUrl),
        };
        let host_ok = |c: char| c.is_ascii_alphanumeric() || "-_.:[]".contains(c);
        let path_ok = |c: char| c.is_ascii_graphic() && !"?#\"\\".contains(c);
        if authority.is_empty()
            || authority.starts_with(':')
            || text.len() > URL_BYTES_MAX
            || !authority.chars().all(host_ok)
            || !rest[length..].chars().all(path_ok)
        {
            return Err(InvalidOortUrl);
        }
        Ok(Self {
            text: text.to_owned(),
            path_at: SCHEME.len() + length,
            port,
        })
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// `host:port`.
    pub(super) fn host_and_port(&self) -> String {
        let authority = &self.text[SCHEME.len()..self.path_at];
        if self.port {
            authority.to_owned()
        } else {
            format!("{authority}:80")
        }
    }

    /// The path, at least `/`.
    pub(crate) fn path(&self) -> &str {
        let path = &self.text[self.path_at..];
        if path.is_empty() { "/" } else { path }
    }

    /// The name of the node's own Seti channel: every run of other characters than letters and digits is one `_`.
    pub(super) fn seti_id(&self) -> String {
        let mut id = String::with_capacity(self.text.len());
        for c in self.text.chars() {
            if c.is_ascii_alphanumeric() {
                id.push(c);
            } else if !id.ends_with('_') {
                id.push('_');
            }
        }
        id
    }

    /// What the node is called among Halley nodes: the URL without its scheme, in the characters of a name.
    pub(super) fn node_name(&self) -> Option<NodeName> {
        let rest = &self.text[SCHEME.len()..];
        let keep = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
        let name: String = rest
            .trim_end_matches('/')
            .chars()
            .map(|c| if keep(c) { c } else { '_' })
            .collect();
        NodeName::new(&name).ok()
    }
}

impl fmt::Display for OortUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_checked_and_taken_apart() {
        let url = OortUrl::parse("http://a.example:8080/cometd").unwrap();
        assert_eq!(url.host_and_port(), "a.example:8080");
        assert_eq!(url.path(), "/cometd");
        assert_eq!(url.seti_id(), "http_a_example_8080_cometd");
        assert_eq!(url.node_name().unwrap().as_str(), "a.example:8080_cometd");
        let url = OortUrl::parse("http://[::1]:8080/x/").unwrap();
        assert_eq!(
            (url.host_and_port().as_str(), url.path()),
            ("[::1]:8080", "/x/")
        );
        assert_eq!(url.seti_id(), "http_1_8080_x_");
        let url = OortUrl::parse("http://a").unwrap();
        assert_eq!((url.host_and_port().as_str(), url.path()), ("a:80", "/"));
        for bad in [
            "",
            "ftp://a/b",
            "https://a/b",
            "http://",
            "http://:80/x",
            "http://a:0/x",
            "http://a:b/x",
            "http://a b/x",
            "http://a/x?y",
            "http://[::1/x",
            "http://[::1]x/",
            &format!("http://a/{}", "x".repeat(URL_BYTES_MAX)),
        ] {
            assert_eq!(OortUrl::parse(bad), Err(InvalidOortUrl), "{bad}");
        }
    }
}
