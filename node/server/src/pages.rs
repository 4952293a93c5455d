//! What `/` on the client address answers when `client.demo` is on.

use axum::Router;

/// The routes of the demonstration page.
pub fn router() -> Router {
    Router::new()
}
