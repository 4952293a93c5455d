//! Direct messages between users, on `/service/user`.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use halley_bayeux::{
    ChannelName, Json, Message, Millis, Publication, Service, ServiceReply, Session, UserId,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::directory::Directory;

/// The channel of direct messages.
pub(crate) const CHANNEL: &str = "/service/user";

/// Hands what one user sends to the sessions of another, wherever they are.
pub struct Direct {
    channel: ChannelName,
    directory: Arc<dyn Directory>,
    depth_max: usize,
}

impl fmt::Debug for Direct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Direct").finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Sent<'a> {
    #[serde(borrow)]
    to: Cow<'a, str>,
    #[serde(borrow)]
    data: &'a RawValue,
}

#[derive(Serialize)]
struct Received<'a> {
    from: &'a str,
    to: &'a str,
    data: &'a RawValue,
}

impl Direct {
    /// A service on `channel` over a directory; messages nest at most `depth_max`.
    #[must_use]
    pub fn new(channel: ChannelName, directory: Arc<dyn Directory>, depth_max: usize) -> Self {
        Self {
            channel,
            directory,
            depth_max,
        }
    }

    fn handle(&self, from: Option<&UserId>, data: Option<&str>, now: Millis) -> Result<(), String> {
        let from = from.ok_or("403::user_required")?;
        let sent: Sent<'_> = data
            .and_then(|data| serde_json::from_str(data).ok())
            .ok_or("400::data_invalid")?;
        let to = UserId::new(&sent.to).map_err(|_| "400::data_invalid")?;
        let received = Received {
            from: from.as_str(),
            to: to.as_str(),
            data: sent.data,
        };
        let text = serde_json::to_string(&received).map_err(|_| "400::data_invalid")?;
        let json = Json::validate(&text, self.depth_max).map_err(|_| "400::data_invalid")?;
        let publication = Publication::new(&self.channel, json);
        if self.directory.send(&to, &publication, now).anybody() {
            Ok(())
        } else {
            Err(format!("404:{}:user_unknown", to.as_str()))
        }
    }
}

impl Service for Direct {
    fn message(&self, session: &Arc<Session>, message: &Message<'_>, now: Millis) -> ServiceReply {
        match self.handle(session.user(), message.data(), now) {
            Ok(()) => ServiceReply::Accepted,
            Err(error) => ServiceReply::Refused(error),
        }
    }
}
