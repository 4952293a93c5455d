//! What an application is told when something cannot be done: `application/problem+json` (RFC 9457), one shape for all.

use std::borrow::Cow;

use axum::response::Response;
use http::header::{HeaderName, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use super::answer;
use super::tokens::App;
use crate::config::ApiRole;

/// Why, in words for a program and for a person.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    /// One word for programs; stable.
    pub(super) code: &'static str,
    /// A sentence that says what to do.
    pub(super) detail: Cow<'static, str>,
    /// More members of the object, as raw JSON: name and value.
    more: Option<(&'static str, String)>,
    /// One more header. Boxed, as few problems have one.
    header: Option<Box<(HeaderName, HeaderValue)>>,
}

impl Problem {
    pub(super) fn new(
        status: StatusCode,
        code: &'static str,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            status,
            code,
            detail: detail.into(),
            more: None,
            header: None,
        }
    }

    /// Something in the request that is not as the description says.
    pub(super) fn invalid(code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail)
    }

    pub(super) fn no_token() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "token_needed",
            "send the token of your application: Authorization: Bearer <token>",
        )
        .with(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
    }

    pub(super) fn role(app: &App, role: ApiRole) -> Self {
        let role = match role {
            ApiRole::Read => "read",
            ApiRole::Publish => "publish",
            ApiRole::Call => "call",
            ApiRole::Manage => "manage",
        };
        Self::new(
            StatusCode::FORBIDDEN,
            "role_needed",
            format!(
                "{} does not have the role \"{role}\" in api.tokens",
                app.name()
            ),
        )
    }

    pub(super) fn busy() -> Self {
        Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too_many_requests",
            "as many requests as may (api.max_requests) are being answered: try again later",
        )
        .with(RETRY_AFTER, HeaderValue::from_static("1"))
    }

    pub(super) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.header = Some(Box::new((name, value)));
        self
    }

    /// Adds a member with raw JSON.
    pub(super) fn member(mut self, name: &'static str, json: String) -> Self {
        self.more = Some((name, json));
        self
    }

    /// The object.
    pub(super) fn json(&self) -> Value {
        json!({
            "type": "about:blank",
            "title": self.status.canonical_reason().unwrap_or_default(),
            "status": self.status.as_u16(),
            "code": self.code,
            "detail": self.detail,
        })
    }

    pub(super) fn response(self) -> Response {
        let mut text = self.json().to_string();
        if let Some((name, json)) = &self.more {
            text.pop();
            text += &format!(",\"{name}\":{json}}}");
        }
        let mut response = answer::raw(self.status, text);
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if let Some(header) = self.header {
            headers.insert(header.0, header.1);
        }
        response
    }
}
