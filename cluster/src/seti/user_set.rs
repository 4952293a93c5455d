//! One node's part of the directory: the users with a session there.
//!
//! ```text
//! snapshot  (length u16, UTF-8)*
//! delta     1 present or 0 absent, UTF-8
//! ```

use std::collections::HashSet;

use ahash::RandomState;
use bytes::{BufMut, Bytes, BytesMut};
use halley_bayeux::UserId;

use crate::parts::{Malformed, PartState};

const LENGTH_BYTES: usize = 2;

/// The users of one node.
#[derive(Debug, Clone, Default)]
pub(crate) struct UserSet {
    users: HashSet<UserId, RandomState>,
    /// What the users take in a snapshot, counted along.
    bytes: usize,
}

/// A user came to a node or left it; at once what travels and what listeners are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UserChange {
    pub(crate) user: UserId,
    pub(crate) present: bool,
}

impl UserSet {
    pub(crate) fn contains(&self, user: &UserId) -> bool {
        self.users.contains(user)
    }

    pub(super) fn len(&self) -> usize {
        self.users.len()
    }

    pub(super) fn users(&self) -> impl Iterator<Item = &UserId> {
        self.users.iter()
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.users.capacity()
    }

    fn insert(&mut self, user: UserId) -> bool {
        let len = user_bytes(&user);
        let new = self.users.insert(user);
        self.bytes += if new { len } else { 0 };
        new
    }
}

impl PartState for UserSet {
    type Delta = UserChange;
    type Change = UserChange;

    fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(self.bytes);
        for user in &self.users {
            // A user id has at most 256 bytes.
            out.put_u16_le(user.as_str().len() as u16);
            out.put_slice(user.as_str().as_bytes());
        }
        out.freeze()
    }

    fn decode(mut bytes: &[u8]) -> Result<Self, Malformed> {
        let mut set = Self::default();
        while let Some((length, rest)) = bytes.split_first_chunk::<LENGTH_BYTES>() {
            let length = usize::from(u16::from_le_bytes(*length));
            let Some((user, rest)) = rest.split_at_checked(length) else {
                return Err(MALFORMED);
            };
            set.insert(user_id(user)?);
            bytes = rest;
        }
        if bytes.is_empty() {
            Ok(set)
        } else {
            Err(MALFORMED)
        }
    }

    fn encode_delta(delta: &UserChange) -> Bytes {
        let user = delta.user.as_str();
        let mut out = BytesMut::with_capacity(1 + user.len());
        out.put_u8(u8::from(delta.present));
        out.put_slice(user.as_bytes());
        out.freeze()
    }

    fn decode_delta(bytes: &[u8]) -> Result<UserChange, Malformed> {
        match bytes.split_first() {
            Some((present @ (0 | 1), user)) => Ok(UserChange {
                user: user_id(user)?,
                present: *present == 1,
            }),
            _ => Err(MALFORMED),
        }
    }

    fn encoded_len(&self) -> usize {
        self.bytes
    }

    fn encoded_len_after(&self, delta: &UserChange) -> usize {
        match (self.contains(&delta.user), delta.present) {
            (false, true) => self.bytes + user_bytes(&delta.user),
            (true, false) => self.bytes - user_bytes(&delta.user),
            _ => self.bytes,
        }
    }

    fn apply(&mut self, delta: UserChange, changes: &mut Vec<UserChange>) {
        let changed = if delta.present {
            self.insert(delta.user.clone())
        } else {
            let was = self.users.remove(&delta.user);
            self.bytes -= if was { user_bytes(&delta.user) } else { 0 };
            was
        };
        if changed {
            changes.push(delta);
        }
    }

    fn differences(before: Option<&Self>, after: Option<&Self>, changes: &mut Vec<UserChange>) {
        let missing_in =
            |set: Option<&Self>, user: &UserId| !set.is_some_and(|set| set.contains(user));
        let mut add = |from: Option<&Self>, other: Option<&Self>, present| {
            let users = from
                .into_iter()
                .flat_map(|set| &set.users)
                .filter(|user| missing_in(other, user));
            changes.extend(users.map(|user| UserChange {
                user: user.clone(),
                present,
            }));
        };
        add(before, after, false);
        add(after, before, true);
    }
}

const MALFORMED: Malformed = Malformed("user set");

fn user_bytes(user: &UserId) -> usize {
    LENGTH_BYTES + user.as_str().len()
}

fn user_id(bytes: &[u8]) -> Result<UserId, Malformed> {
    let text = std::str::from_utf8(bytes).map_err(|_| MALFORMED)?;
    UserId::new(text).map_err(|_| MALFORMED)
}
