//! What travels in the lane of messages: publications, and what is for the sessions of a user. They keep one order.

use std::sync::Arc;

use bytes::Bytes;
use halley_bayeux::Publication;

use crate::StateChannel;
use crate::wire::{Batch, Frame, State};

/// What a publication holds beside its text: its own allocation and that of its channel's name with their counters, the
/// slot in the queue (which may be twice as long as it is full), and what the allocator adds to three allocations.
const PUBLICATION_BYTES: usize =
    2 * 16 + size_of::<Publication>() + 2 * size_of::<Message>() + 3 * 16;
/// What an entry for a user holds beside its bytes: the same, with one allocation for the entry and one for its bytes.
const FOR_USER_BYTES: usize =
    size_of::<(StateChannel, Bytes)>() + 2 * size_of::<Message>() + 3 * 16;

/// An entry of the lane.
#[derive(Clone, Debug)]
pub(super) enum Message {
    Publication(Arc<Publication>),
    /// A state message that addresses a user; boxed, so that the slots of publications stay small.
    ForUser(Box<(StateChannel, Bytes)>),
}

impl Message {
    /// The memory that it holds while it waits. A publication that waits for several siblings counts for each.
    pub(super) fn cost(&self) -> usize {
        match self {
            Self::Publication(publication) => {
                publication.len() + publication.channel().as_str().len() + PUBLICATION_BYTES
            }
            Self::ForUser(entry) => entry.1.len() + FOR_USER_BYTES,
        }
    }

    /// What it takes in a frame.
    pub(super) fn frame_bytes(&self) -> usize {
        match self {
            Self::Publication(publication) => item_bytes(publication),
            Self::ForUser(entry) => entry.1.len(),
        }
    }

    pub(super) fn is_publication(&self) -> bool {
        matches!(self, Self::Publication(_))
    }

    fn publication(&self) -> Option<&Arc<Publication>> {
        match self {
            Self::Publication(publication) => Some(publication),
            Self::ForUser(_) => None,
        }
    }
}

fn item_bytes(publication: &Arc<Publication>) -> usize {
    Batch::item_bytes(publication.channel().as_str(), publication.len())
}

/// Appends the frames of messages in their order: publications that follow each other share one, and what is for a user
/// has its own and is not divided, as a publication is not. The first publication has the number `sequence`.
pub(super) fn encode(
    version: u8,
    mut sequence: u64,
    messages: &[Message],
    frames: &mut Vec<Bytes>,
) {
    for run in messages.chunk_by(|a, b| a.is_publication() && b.is_publication()) {
        if let [Message::ForUser(entry)] = run {
            let state = State {
                channel: entry.0.0,
                last: true,
                body: entry.1.clone(),
            };
            frames.push(Frame::State(state).encode(version));
            continue;
        }
        let capacity = run.iter().map(Message::frame_bytes).sum();
        let mut batch = Batch::new(version, sequence, capacity);
        for publication in run.iter().filter_map(Message::publication) {
            batch.push(publication.channel().as_str(), &publication.object());
        }
        sequence += run.len() as u64;
        frames.push(batch.into_bytes());
    }
}
