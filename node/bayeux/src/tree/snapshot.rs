use crate::Tap;
use crate::session::Session;
use std::fmt;
use std::sync::Arc;

/// Subscribers per chunk: what one subscription copies. With 100,000 subscribers the list of chunks is about as long.
const CHUNK_MAX: usize = 256;

/// Who receives publications.
#[derive(Clone)]
pub(crate) enum Receiver {
    Session(Arc<Session>),
    Tap(Arc<dyn Tap>),
}

/// One subscriber of a channel.
#[derive(Clone)]
pub(crate) struct Subscriber {
    /// The session's key, or a tap's from the same sequence.
    pub(crate) key: u64,
    pub(crate) receiver: Receiver,
}

impl Subscriber {
    pub(crate) fn session(session: &Arc<Session>) -> Self {
        Self {
            key: session.key(),
            receiver: Receiver::Session(session.clone()),
        }
    }

    pub(crate) fn is_session(&self) -> bool {
        matches!(self.receiver, Receiver::Session(_))
    }

    pub(crate) fn is_client(&self) -> bool {
        matches!(&self.receiver, Receiver::Session(session) if !session.is_local())
    }
}

impl fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Subscriber({})", self.key)
    }
}

/// The subscribers of a channel at one instant: immutable, sorted by key, in chunks of which a change copies one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    /// No chunk is empty; all keys of a chunk are below those of the next.
    chunks: Vec<Arc<Vec<Subscriber>>>,
}

impl Snapshot {
    pub(crate) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Subscriber> {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }

    /// The chunk that holds `key` or would hold it.
    fn chunk_of(&self, key: u64) -> usize {
        self.chunks
            .partition_point(|chunk| chunk.last().is_some_and(|last| last.key < key))
    }

    fn find(&self, key: u64) -> Option<(usize, usize)> {
        let at = self.chunk_of(key);
        let chunk = self.chunks.get(at)?;
        Some((at, chunk.binary_search_by_key(&key, |s| s.key).ok()?))
    }

    pub(crate) fn contains(&self, key: u64) -> bool {
        self.find(key).is_some()
    }

    /// The snapshot with one more subscriber; `None` when it is there already.
    pub(crate) fn with(&self, subscriber: &Subscriber) -> Option<Self> {
        let key = subscriber.key;
        let mut chunks = self.chunks.clone();
        let at = self.chunk_of(key).min(chunks.len().saturating_sub(1));
        let Some(chunk) = chunks.get(at) else {
            return Some(Self {
                chunks: vec![Arc::new(vec![subscriber.clone()])],
            });
        };
        let Err(position) = chunk.binary_search_by_key(&key, |s| s.key) else {
            return None;
        };
        if chunk.len() < CHUNK_MAX {
            let mut grown = Vec::with_capacity(chunk.len() + 1);
            grown.extend_from_slice(&chunk[..position]);
            grown.push(subscriber.clone());
            grown.extend_from_slice(&chunk[position..]);
            chunks[at] = Arc::new(grown);
        } else if position == chunk.len() {
            // Keys grow, so the usual subscriber comes last: full chunks stay full.
            chunks.insert(at + 1, Arc::new(vec![subscriber.clone()]));
        } else {
            let (left, right) = chunk.split_at(CHUNK_MAX / 2);
            let (mut left, mut right) = (left.to_vec(), right.to_vec());
            if position <= CHUNK_MAX / 2 {
                left.insert(position, subscriber.clone());
            } else {
                right.insert(position - CHUNK_MAX / 2, subscriber.clone());
            }
            chunks[at] = Arc::new(left);
            chunks.insert(at + 1, Arc::new(right));
        }
        Some(Self { chunks })
    }

    /// The snapshot without `key`, and who that was; `None` when it is not there.
    pub(crate) fn without(&self, key: u64) -> Option<(Self, Subscriber)> {
        let (at, position) = self.find(key)?;
        let mut chunks = self.chunks.clone();
        let mut chunk = (*chunks[at]).clone();
        let removed = chunk.remove(position);
        if chunk.is_empty() {
            chunks.remove(at);
        } else {
            // Two thin neighbours become one, so that churn does not leave a long list of tiny chunks.
            let thin = |n: usize| n + chunk.len() <= CHUNK_MAX / 2;
            if at > 0 && thin(chunks[at - 1].len()) {
                let mut merged = (*chunks[at - 1]).clone();
                merged.append(&mut chunk);
                chunks[at - 1] = Arc::new(merged);
                chunks.remove(at);
            } else {
                chunks[at] = Arc::new(chunk);
            }
        }
        Some((Self { chunks }, removed))
    }
}

#[cfg(test)]
impl Snapshot {
    pub(crate) fn chunks(&self) -> usize {
        self.chunks.len()
    }

    /// Chunks that both snapshots hold without a copy.
    pub(crate) fn shared_chunks(&self, other: &Self) -> usize {
        self.chunks
            .iter()
            .filter(|chunk| other.chunks.iter().any(|c| Arc::ptr_eq(c, chunk)))
            .count()
    }
}
