//! Callback-polling (JSONP): a script tag asks, and the answer is a script that calls the page's function.
//!
//! Off unless configured: whoever may load scripts may use it, so it is for pages that nothing else serves. What is done against its
//! misuse: only plain names as callback; `/**/` before it, so that no answer begins with bytes of the asker's choice; a type that is not
//! sniffed; the asking page is judged by its `Referer`; and the browser cookie is not sent across sites (`SameSite=Lax`).

use std::sync::Arc;

use axum::extract::Request;
use axum::response::Response;
use bytes::{BufMut as _, Bytes, BytesMut};
use halley_bayeux::Json;
use http::header::X_CONTENT_TYPE_OPTIONS;
use http::{HeaderValue, StatusCode};
use memchr::memmem;

use super::endpoint::Endpoint;
use super::long_polling::{self, Outcome};
use crate::http_server::Caller;
use crate::origin::Verdict;

/// CometD's `callbackParameter` and `callbackParameterMaxLength`.
const CALLBACK_PARAMETER: &str = "jsonp";
const CALLBACK_BYTES_MAX: usize = 64;

/// The parameter with messages; it may come several times.
const MESSAGE_PARAMETER: &str = "message";

/// Answers one GET.
pub(super) async fn answer(endpoint: Arc<Endpoint>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let query = parts.uri.query().unwrap_or("");
    let Some(callback) = callback(query) else {
        return endpoint.refusal(StatusCode::BAD_REQUEST, "Unknown Bayeux Transport");
    };
    let verdict = endpoint
        .origins
        .judge_script(&parts.headers, parts.uri.authority());
    if verdict == Verdict::Refused {
        return endpoint.refusal(StatusCode::FORBIDDEN, "Origin not allowed");
    }
    let depth_max = endpoint.engine.config().max_depth;
    let Some(body) = messages(query, depth_max) else {
        return endpoint.refusal(StatusCode::BAD_REQUEST, "No messages that are JSON");
    };
    let callback = callback.to_owned();
    let caller = parts.extensions.get::<Caller>().copied();
    let outcome =
        long_polling::exchange(&endpoint, parts, caller, body.into(), Some(&callback)).await;
    let mut answer = match outcome {
        Outcome::Answer(answer) => answer,
        Outcome::Held(held) => held.answer(&endpoint).await,
    };
    answer
        .headers_mut()
        .insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

/// The values of a parameter, still encoded.
fn values<'q>(query: &'q str, name: &'static str) -> impl Iterator<Item = &'q str> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .filter(move |(key, _)| *key == name)
        .map(|(_, value)| value)
}

/// The only callback, if it is a plain name.
fn callback(query: &str) -> Option<&str> {
    let mut names = values(query, CALLBACK_PARAMETER);
    let name = names.next()?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    (names.next().is_none()
        && (1..=CALLBACK_BYTES_MAX).contains(&name.len())
        && name.bytes().all(plain))
    .then_some(name)
}

/// All messages as one array; `None` when there are none, or one is not JSON.
fn messages(query: &str, depth_max: usize) -> Option<String> {
    let mut all = String::new();
    for value in values(query, MESSAGE_PARAMETER) {
        let text = decode(value)?;
        let text = Json::validate(&text, depth_max).ok()?.as_str();
        let inner = match text.strip_prefix('[') {
            Some(array) => array.strip_suffix(']')?.trim(),
            None => text,
        };
        if !inner.is_empty() {
            all.push(if all.is_empty() { '[' } else { ',' });
            all.push_str(inner);
        }
    }
    if all.is_empty() {
        return None;
    }
    all.push(']');
    Some(all)
}

/// Undoes percent encoding; `None` when it is broken or no UTF-8 comes out.
fn decode(value: &str) -> Option<String> {
    let mut out = Vec::with_capacity(value.len());
    let mut bytes = value.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                (digit()? * 16 + digit()?) as u8
            }
            other => other,
        });
    }
    String::from_utf8(out).ok()
}

/// The script that calls the function with the messages.
pub(super) fn script(callback: &str, messages: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(messages.len() + callback.len() + 8);
    out.put_slice(b"/**/");
    out.put_slice(callback.as_bytes());
    out.put_u8(b'(');
    // Two characters are allowed in a JSON string, but were not in a script before 2019: there they end the line.
    let mut rest = messages;
    while let Some(at) = memmem::find(rest, b"\xE2\x80") {
        let (before, found) = rest.split_at(at);
        out.put_slice(before);
        let escape: &[u8] = match found.get(2) {
            Some(0xA8) => b"\\u2028",
            Some(0xA9) => b"\\u2029",
            _ => &found[..found.len().min(3)],
        };
        out.put_slice(escape);
        rest = &found[found.len().min(3)..];
    }
    out.put_slice(rest);
    out.put_u8(b')');
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_are_callbacks() {
        assert_eq!(
            callback("jsonp=_cometd_jsonp_1&message=x"),
            Some("_cometd_jsonp_1")
        );
        assert_eq!(callback("a=b&jsonp=window.f-1"), Some("window.f-1"));
        let (longest, longer) = ("x".repeat(64), "x".repeat(65));
        assert!(callback(&format!("jsonp={longest}")).is_some());
        for query in [
            "",
            "jsonp",
            "jsonp=",
            "jsonp=a&jsonp=a",
            "jsonp=alert(1)",
            "jsonp=a%61",
            "jsonp=a%0a",
            "json=a",
            &format!("jsonp={longer}"),
        ] {
            assert_eq!(callback(query), None, "{query}");
        }
    }

    #[test]
    fn messages_are_joined() {
        for (query, joined) in [
            ("message=[]", None),
            ("", None),
            ("message=", None),
            (
                "message=%5B%7B%22a%22%3A%22%2B+%22%7D%5D",
                Some(r#"[{"a":"+ "}]"#),
            ),
            (
                "message={\"a\":1}&message=[{\"b\":2},3]&message=[]",
                Some(r#"[{"a":1},{"b":2},3]"#),
            ),
            ("message=[1&message=2]", None),
            ("message=%", None),
            ("message=%zz", None),
            ("message=%22%FF%22", None),
            ("message=%22%C3%A9%22", Some("[\"é\"]")),
        ] {
            assert_eq!(messages(query, 8).as_deref(), joined, "{query}");
        }
        assert_eq!(messages("message=[[[1]]]", 2), None);
    }

    #[test]
    fn the_script() {
        let text =
            |messages: &str| String::from_utf8(script("f", messages.as_bytes()).to_vec()).unwrap();
        assert_eq!(text("[{\"a\":1}]"), "/**/f([{\"a\":1}])");
        assert_eq!(
            text("[\"\u{2028}x\u{2029}…\u{2014}\"]"),
            "/**/f([\"\\u2028x\\u2029…\u{2014}\"])"
        );
    }
}
