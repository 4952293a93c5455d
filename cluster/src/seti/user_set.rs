//! One node's part of a directory: the users with a session there, or whatever else sessions stand for.
//!
//! ```text
//! snapshot  (length u16, key)*
//! delta     1 present or 0 absent, key
//! key       UTF-8 of a user; see `Key` for others
//! ```

use std::collections::HashSet;
use std::fmt;
use std::hash::Hash;

use ahash::RandomState;
use bytes::{BufMut, Bytes, BytesMut};
use halley_bayeux::UserId;

use crate::parts::{Malformed, PartState};

const LENGTH_BYTES: usize = 2;

/// What sessions stand for, and how it travels.
pub(crate) trait Key: Clone + Eq + Hash + fmt::Debug {
    /// How many bytes it takes, at most `u16::MAX`.
    fn len(&self) -> usize;
    /// Appends these bytes.
    fn put(&self, out: &mut BytesMut);
    /// What `put` wrote.
    fn read(bytes: &[u8]) -> Result<Self, Malformed>;
}

impl Key for UserId {
    // A user id has at most 256 bytes.
    fn len(&self) -> usize {
        self.as_str().len()
    }

    fn put(&self, out: &mut BytesMut) {
        out.put_slice(self.as_str().as_bytes());
    }

    fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let text = std::str::from_utf8(bytes).map_err(|_| MALFORMED)?;
        Self::new(text).map_err(|_| MALFORMED)
    }
}

/// The users of one node.
pub(crate) type UserSet = KeySet<UserId>;

/// A user came to a node or left it.
pub(crate) type UserChange = KeyChange<UserId>;

/// The keys of one node.
#[derive(Debug, Clone)]
pub(crate) struct KeySet<K> {
    users: HashSet<K, RandomState>,
    /// What the keys take in a snapshot, counted along.
    bytes: usize,
}

impl<K> Default for KeySet<K> {
    fn default() -> Self {
        Self {
            users: HashSet::default(),
            bytes: 0,
        }
    }
}

/// A key came to a node or left it; at once what travels and what listeners are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyChange<K> {
    pub(crate) user: K,
    pub(crate) present: bool,
}

impl<K: Key> KeySet<K> {
    pub(crate) fn contains(&self, user: &K) -> bool {
        self.users.contains(user)
    }

    pub(crate) fn len(&self) -> usize {
        self.users.len()
    }

    pub(crate) fn users(&self) -> impl Iterator<Item = &K> {
        self.users.iter()
    }

    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.users.capacity()
    }

    fn insert(&mut self, user: K) -> bool {
        let len = key_bytes(&user);
        let new = self.users.insert(user);
        self.bytes += if new { len } else { 0 };
        new
    }
}

impl<K: Key> PartState for KeySet<K> {
    type Delta = KeyChange<K>;
    type Change = KeyChange<K>;

    fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(self.bytes);
        for user in &self.users {
            // No key has more bytes than that.
            out.put_u16_le(user.len() as u16);
            user.put(&mut out);
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
            set.insert(K::read(user)?);
            bytes = rest;
        }
        if bytes.is_empty() {
            Ok(set)
        } else {
            Err(MALFORMED)
        }
    }

    fn encode_delta(delta: &KeyChange<K>) -> Bytes {
        let mut out = BytesMut::with_capacity(1 + delta.user.len());
        out.put_u8(u8::from(delta.present));
        delta.user.put(&mut out);
        out.freeze()
    }

    fn decode_delta(bytes: &[u8]) -> Result<KeyChange<K>, Malformed> {
        match bytes.split_first() {
            Some((present @ (0 | 1), user)) => Ok(KeyChange {
                user: K::read(user)?,
                present: *present == 1,
            }),
            _ => Err(MALFORMED),
        }
    }

    fn encoded_len(&self) -> usize {
        self.bytes
    }

    fn encoded_len_after(&self, delta: &KeyChange<K>) -> usize {
        match (self.contains(&delta.user), delta.present) {
            (false, true) => self.bytes + key_bytes(&delta.user),
            (true, false) => self.bytes - key_bytes(&delta.user),
            _ => self.bytes,
        }
    }

    fn apply(&mut self, delta: KeyChange<K>, changes: &mut Vec<KeyChange<K>>) {
        let changed = if delta.present {
            self.insert(delta.user.clone())
        } else {
            let was = self.users.remove(&delta.user);
            self.bytes -= if was { key_bytes(&delta.user) } else { 0 };
            was
        };
        if changed {
            changes.push(delta);
        }
    }

    fn differences(before: Option<&Self>, after: Option<&Self>, changes: &mut Vec<KeyChange<K>>) {
        let missing_in = |set: Option<&Self>, user: &K| !set.is_some_and(|set| set.contains(user));
        let mut add = |from: Option<&Self>, other: Option<&Self>, present| {
            let users = from
                .into_iter()
                .flat_map(|set| &set.users)
                .filter(|user| missing_in(other, user));
            changes.extend(users.map(|user| KeyChange {
                user: user.clone(),
                present,
            }));
        };
        add(before, after, false);
        add(after, before, true);
    }
}

const MALFORMED: Malformed = Malformed("user set");

fn key_bytes(user: &impl Key) -> usize {
    LENGTH_BYTES + user.len()
}
