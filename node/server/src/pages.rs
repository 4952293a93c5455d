//! The demonstration page and the files it needs, embedded in the binary.
//!
//! The page is a chat room whose client is the stock CometD JavaScript client: the files of the npm package, unchanged,
//! under `/assets/cometd/` with their licence. Nothing here is dynamic but the Bayeux path that the page is told, and
//! nothing is loaded from elsewhere; the content security policy says so to the browser.

use axum::Router;
use axum::http::{HeaderValue, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;

use crate::files::{self, COMMON_HEADERS, File};

const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

/// What the page may do: its own scripts and styles, and connections to any node (the page follows the cluster to nodes
/// whose addresses it learns at run time). No inline script, no frame, no form target, nothing from third parties.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     connect-src 'self' http: https: ws: wss:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Where the Bayeux path stands in the page's text.
const PATH_MARK: &str = "{{bayeux-path}}";

const INDEX: &str = include_str!("../pages/index.html");

macro_rules! files {
    ($($route:literal: $kind:expr, $file:literal;)*) => {
        &[$(($route, $kind, include_str!(concat!("../pages/", $file)))),*]
    };
}

/// Path, media type, content.
const FILES: &[(&str, &str, &str)] = files! {
    "/assets/app.js": JAVASCRIPT, "app.js";
    "/assets/cluster.js": JAVASCRIPT, "cluster.js";
    "/assets/connection.js": JAVASCRIPT, "connection.js";
    "/assets/latency.js": JAVASCRIPT, "latency.js";
    "/assets/look.js": JAVASCRIPT, "look.js";
    "/assets/outbox.js": JAVASCRIPT, "outbox.js";
    "/assets/people.js": JAVASCRIPT, "people.js";
    "/assets/room.js": JAVASCRIPT, "room.js";
    "/assets/page.css": "text/css; charset=utf-8", "page.css";
    "/assets/halley.svg": "image/svg+xml", "halley.svg";
    "/assets/cometd/LICENSE": TEXT, "cometd/LICENSE";
    "/assets/cometd/README.md": TEXT, "cometd/README.md";
    "/assets/cometd/AckExtension.js": JAVASCRIPT, "cometd/AckExtension.js";
    "/assets/cometd/BinaryExtension.js": JAVASCRIPT, "cometd/BinaryExtension.js";
    "/assets/cometd/CallbackPollingTransport.js": JAVASCRIPT, "cometd/CallbackPollingTransport.js";
    "/assets/cometd/Client.js": JAVASCRIPT, "cometd/Client.js";
    "/assets/cometd/Extension.js": JAVASCRIPT, "cometd/Extension.js";
    "/assets/cometd/LongPollingTransport.js": JAVASCRIPT, "cometd/LongPollingTransport.js";
    "/assets/cometd/ReloadExtension.js": JAVASCRIPT, "cometd/ReloadExtension.js";
    "/assets/cometd/RequestTransport.js": JAVASCRIPT, "cometd/RequestTransport.js";
    "/assets/cometd/TimeStampExtension.js": JAVASCRIPT, "cometd/TimeStampExtension.js";
    "/assets/cometd/TimeSyncExtension.js": JAVASCRIPT, "cometd/TimeSyncExtension.js";
    "/assets/cometd/Transport.js": JAVASCRIPT, "cometd/Transport.js";
    "/assets/cometd/TransportRegistry.js": JAVASCRIPT, "cometd/TransportRegistry.js";
    "/assets/cometd/WebSocketTransport.js": JAVASCRIPT, "cometd/WebSocketTransport.js";
    "/assets/cometd/Z85.js": JAVASCRIPT, "cometd/Z85.js";
    "/assets/cometd/cometd.js": JAVASCRIPT, "cometd/cometd.js";
};

/// The routes of the demonstration page. `bayeux_path` is the path on which this node's client listener speaks Bayeux.
pub fn router(bayeux_path: &str) -> Router {
    let index = INDEX.replace(PATH_MARK, &attribute(bayeux_path));
    let mut router = Router::new().route("/", get(move || std::future::ready(page(index.clone()))));
    for &(path, kind, content) in FILES {
        let content = Bytes::from_static(content.as_bytes());
        let route = files::route(HeaderValue::from_static(kind), content);
        router = router.route(path, route);
    }
    router
}

/// Every path that [`router`] serves.
pub(crate) fn paths() -> impl Iterator<Item = &'static str> {
    std::iter::once("/").chain(FILES.iter().map(|&(path, ..)| path))
}

/// The stock JavaScript client, for pages of others.
pub(crate) fn javascript_client() -> impl Iterator<Item = File> {
    let client = FILES
        .iter()
        .filter(|(path, ..)| path.starts_with("/assets/cometd/"));
    client.map(|&(path, kind, content)| File {
        path: path.to_owned(),
        media_type: kind.to_owned(),
        content: Bytes::from_static(content.as_bytes()),
    })
}

fn page(index: String) -> Response {
    let mut response = Html(index).into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(CONTENT_SECURITY_POLICY),
    );
    headers.extend(COMMON_HEADERS.map(|(name, value)| (Some(name), value)));
    response
}

/// Text as it stands inside a double-quoted HTML attribute.
fn attribute(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('"', "&quot;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use axum::http::Request;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    async fn body(router: &Router, path: &str) -> (Response, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let mut response = router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        let bytes = std::mem::take(response.body_mut())
            .collect()
            .await
            .unwrap()
            .to_bytes();
        (response, String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn the_page_knows_the_bayeux_path_and_allows_no_inline_script() {
        let router = router("/bay\"eux");
        let (response, text) = body(&router, "/").await;
        assert!(text.contains(r#"content="/bay&quot;eux""#));
        assert!(!text.contains(PATH_MARK));
        let policy = response.headers()[header::CONTENT_SECURITY_POLICY]
            .to_str()
            .unwrap();
        assert!(policy.contains("script-src 'self'") && !policy.contains("unsafe"));
        assert!(
            !text.contains("<script>") && !text.contains(" style=") && !text.contains(" onclick=")
        );
    }

    /// Everything that the page or one of its modules refers to is served.
    #[tokio::test]
    async fn every_file_that_is_referred_to_is_there() {
        let router = router("/cometd");
        let mut waiting = vec!["/".to_owned()];
        let mut seen = std::collections::BTreeSet::new();
        while let Some(path) = waiting.pop() {
            if !seen.insert(path.clone()) {
                continue;
            }
            let (response, text) = body(&router, &path).await;
            let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
            let is_script = response.headers()[header::CONTENT_TYPE] == JAVASCRIPT;
            for quoted in text.split('"').skip(1).step_by(2) {
                match quoted.strip_prefix("./") {
                    Some(module) if is_script => waiting.push(format!("{folder}/{module}")),
                    None if quoted.starts_with("/assets/") => waiting.push(quoted.to_owned()),
                    _ => {}
                }
            }
        }
        assert!(
            seen.contains("/assets/cometd/WebSocketTransport.js"),
            "{seen:?}"
        );
        let unused: Vec<_> = FILES
            .iter()
            .map(|(path, ..)| *path)
            .filter(|path| !seen.contains(*path))
            .collect();
        // Extensions that the page does not load are there for whoever wants to try them, the licence for whoever reads.
        assert!(
            unused
                .iter()
                .all(|path| path.starts_with("/assets/cometd/")),
            "{unused:?}"
        );
    }
}
