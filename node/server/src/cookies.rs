//! The `Cookie` header, read as tolerantly as stock clients need.
//!
//! Seen in the wild: an empty header on the first request, cookies joined by `;` without a space, quoted values.

use http::HeaderMap;
use http::header::COOKIE;

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
}
