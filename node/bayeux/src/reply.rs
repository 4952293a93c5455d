use crate::advice::Advice;
use crate::{EngineConfig, Millis, SessionId, json};
use std::borrow::Cow;
use std::io::Write as _;

/// The reply to one message while it is being made. Extensions and policies may look at it and add to it.
#[derive(Clone, Debug, Default)]
pub struct Reply<'m> {
    /// Raw JSON, echoed.
    pub(crate) channel: Option<&'m str>,
    /// Raw JSON, echoed as a string.
    pub(crate) id: Option<&'m str>,
    /// Raw JSON, echoed.
    pub(crate) subscription: Option<&'m str>,
    pub(crate) successful: bool,
    pub(crate) error: Option<Cow<'static, str>>,
    pub(crate) advice: Option<Advice>,
    pub(crate) ext: Vec<ExtField>,
    /// Set on a successful handshake, which has more fields than other replies.
    pub(crate) session_id: Option<SessionId>,
    /// Messages that follow a handshake reply at once; 0 is not said.
    pub(crate) x_messages: usize,
    pub(crate) received: Millis,
}

/// One member of a reply's `ext`: name and raw JSON.
pub(crate) type ExtField = (Box<str>, Box<str>);

impl Reply<'_> {
    /// Whether the message has been accepted so far.
    #[must_use]
    pub fn is_successful(&self) -> bool {
        self.successful
    }

    /// The error string, once refused.
    #[must_use]
    pub fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    /// When the message arrived; for a held connect that is long before the reply leaves.
    #[must_use]
    pub fn received(&self) -> Millis {
        self.received
    }

    /// The advice the reply will carry.
    #[must_use]
    pub fn advice(&self) -> Option<&Advice> {
        self.advice.as_ref()
    }

    /// Sets the advice.
    pub fn set_advice(&mut self, advice: Advice) {
        self.advice = Some(advice);
    }

    /// The raw JSON of member `name` of the reply's `ext`.
    #[must_use]
    pub fn ext(&self, name: &str) -> Option<&str> {
        let mut fields = self.ext.iter();
        fields.find_map(|(known, value)| (&**known == name).then_some(&**value))
    }

    /// Sets member `name` of the reply's `ext`.
    pub fn set_ext(&mut self, name: &str, value: json::Json<'_>) {
        self.set_ext_raw(name, value.as_str());
    }

    /// Likewise, with text known to be JSON.
    pub(crate) fn set_ext_raw(&mut self, name: &str, value: impl Into<Box<str>>) {
        self.ext.retain(|(known, _)| &**known != name);
        self.ext.push((name.into(), value.into()));
    }

    pub(crate) fn succeed(&mut self) {
        self.successful = true;
        self.error = None;
    }

    pub(crate) fn refuse(&mut self, error: impl Into<Cow<'static, str>>) {
        self.successful = false;
        self.error = Some(error.into());
    }

    /// Appends the reply's object.
    pub(crate) fn encode(&self, config: &EngineConfig, out: &mut Vec<u8>) {
        out.push(b'{');
        if let Some(channel) = self.channel {
            out.extend_from_slice(b"\"channel\":");
            out.extend_from_slice(channel.as_bytes());
            out.push(b',');
        }
        if let Some(id) = self.id {
            out.extend_from_slice(b"\"id\":");
            if id.starts_with('"') {
                out.extend_from_slice(id.as_bytes());
            } else {
                json::write_string(out, id);
            }
            out.push(b',');
        }
        if let Some(subscription) = self.subscription {
            out.extend_from_slice(b"\"subscription\":");
            out.extend_from_slice(subscription.as_bytes());
            out.push(b',');
        }
        out.extend_from_slice(if self.successful {
            b"\"successful\":true".as_slice()
        } else {
            b"\"successful\":false"
        });
        if let Some(id) = &self.session_id {
            out.extend_from_slice(b",\"clientId\":\"");
            out.extend_from_slice(id.as_str().as_bytes());
            out.extend_from_slice(
                b"\",\"version\":\"1.0\",\"minimumVersion\":\"1.0\",\"supportedConnectionTypes\":[",
            );
            for (n, transport) in config.supported_connection_types.iter().enumerate() {
                if n > 0 {
                    out.push(b',');
                }
                json::write_string(out, transport);
            }
            out.push(b']');
        }
        if self.x_messages > 0 {
            // Writing to a Vec does not fail.
            let _ = write!(out, ",\"x-messages\":{}", self.x_messages);
        }
        if let Some(error) = &self.error {
            out.extend_from_slice(b",\"error\":");
            json::write_string(out, error);
        }
        if let Some(advice) = &self.advice {
            out.extend_from_slice(b",\"advice\":");
            advice.encode(out);
        }
        if !self.ext.is_empty() {
            out.extend_from_slice(b",\"ext\":{");
            for (n, (name, value)) in self.ext.iter().enumerate() {
                if n > 0 {
                    out.push(b',');
                }
                json::write_string(out, name);
                out.push(b':');
                out.extend_from_slice(value.as_bytes());
            }
            out.push(b'}');
        }
        out.push(b'}');
    }
}
