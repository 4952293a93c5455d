//! A message to a user, as it travels to a node where the user is.
//!
//! ```text
//! length u16, user; length u16, channel; the event's object as JSON
//! ```

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use halley_bayeux::{ChannelName, Publication, UserId};

use crate::parts::Malformed;

const MALFORMED: Malformed = Malformed("message to a user");

/// The message as bytes.
pub(crate) fn encode(user: &UserId, publication: &Publication) -> Bytes {
    let (user, channel, object) = (
        user.as_str(),
        publication.channel().as_str(),
        publication.object(),
    );
    let mut out = BytesMut::with_capacity(4 + user.len() + channel.len() + object.len());
    for text in [user, channel] {
        // A user has at most 256 bytes, a channel at most 1024.
        out.put_u16_le(text.len() as u16);
        out.put_slice(text.as_bytes());
    }
    out.put_slice(&object);
    out.freeze()
}

/// The message that [`encode`] wrote.
pub(crate) fn decode(bytes: &[u8]) -> Result<(UserId, Arc<Publication>), Malformed> {
    let (user, rest) = text(bytes)?;
    let (channel, object) = text(rest)?;
    let user = UserId::new(user).map_err(|_| MALFORMED)?;
    let channel = ChannelName::parse(channel).map_err(|_| MALFORMED)?;
    let publication = Publication::from_object(channel, object).map_err(|_| MALFORMED)?;
    Ok((user, publication))
}

fn text(bytes: &[u8]) -> Result<(&str, &[u8]), Malformed> {
    let (length, rest) = bytes.split_first_chunk::<2>().ok_or(MALFORMED)?;
    let (text, rest) = rest
        .split_at_checked(usize::from(u16::from_le_bytes(*length)))
        .ok_or(MALFORMED)?;
    Ok((std::str::from_utf8(text).map_err(|_| MALFORMED)?, rest))
}
