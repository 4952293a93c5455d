//! The Cookie headers of a request: each line is one.

#![no_main]

use http::{HeaderMap, HeaderValue, header};
use libfuzzer_sys::fuzz_target;

// The file itself: it stands alone, and the crate around it would bring a whole HTTP server into the build.
#[allow(dead_code)]
#[path = "../../../node/server/src/cookies.rs"]
mod cookies;

fuzz_target!(|bytes: &[u8]| {
    let mut headers = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n').take(8) {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append(header::COOKIE, value);
        }
    }
    if let Some(value) = cookies::browser(&headers, "BAYEUX_BROWSER") {
        assert!(!value.is_empty() && value.len() <= 128);
        assert!(!value.contains(';'));
    }
});
