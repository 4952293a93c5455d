//! The native dialect between Halley nodes: binary WebSocket messages, one frame each.
//!
//! ```text
//! frame = version byte, kind byte, body
//! ```
//!
//! | frame | sent by | answered by | when lost |
//! |---|---|---|---|
//! | `Hello` | dialler | `Challenge`, or a close | the handshake times out |
//! | `Challenge` | acceptor | `Proof` | the handshake times out |
//! | `Proof` | dialler | `Welcome`, `Refused`, or a close | the handshake times out |
//! | `Welcome`, `Refused` | acceptor | – | the handshake times out |
//! | `Ping` | dialler | `Pong` | the link ends after the detection time |
//! | `Pong` | acceptor, also unasked while it is busy | – | the link ends after the detection time |
//! | `Interest`, `State`, `Publications`, `Leaving` | dialler | the next `Pong` | sent again on the next connection of the link; in version 1 the link ends, and both sides start over |
//! | `Known` | dialler | the next `Pong` | likewise, and repeated |
//!
//! From version 2 on all frames after the handshake but `Ping` are counted on both sides. `Proof` names the link and says
//! whether it is to go on, `Welcome` how many of its frames have come in, and every `Pong` acknowledges. What is not
//! acknowledged is kept, so that a link whose connection breaks goes on over the next one: nothing is lost, doubled or
//! out of order. Publications carry a number besides, and a gap ends the link.
//!
//! No checksum: TCP carries the frames, and a frame that was damaged in spite of it does not decode or breaks the
//! sequence. `Hello` has version byte 0 and a frozen layout, so that every release can read every other's; all later
//! frames carry the version that the acceptor chose. An acceptor that finds no common one closes with [`CLOSE_VERSION`] and
//! names its own, so that both logs say why.

mod codec;
mod frame;
mod publications;
mod versions;

pub(crate) use codec::{decode as decode_body, encode as encode_body};
pub use frame::Refusal;
pub(crate) use frame::{
    Challenge, Frame, FrameError, Hello, Interest, LinkClaim, MAC_BYTES, NONCE_BYTES, Ping, Pong,
    Proof, Reached, Received, Refused, State, Welcome,
};
pub(crate) use publications::Batch;
pub use versions::Versions;

/// Oldest and newest version of the dialect that this release speaks.
pub(crate) const VERSION_MIN: u8 = 1;
/// See [`VERSION_MIN`].
pub(crate) const VERSION_MAX: u8 = 2;
/// From this version on a link that has lost its connection goes on over another one.
pub(crate) const VERSION_RESUME: u8 = 2;
/// The close code of an acceptor that speaks no version of the dialler's; the reason names its own. Frozen, as `Hello` is.
pub(crate) const CLOSE_VERSION: u16 = 4001;
/// The close code of either side when the link shall not go on over another connection.
pub(crate) const CLOSE_OVER: u16 = 4002;
/// The version byte of frames that precede the choice of a version.
const VERSION_UNDECIDED: u8 = 0;
/// The pong of an acceptor that was not asked: it is too busy to read, but it lives.
pub(crate) const PONG_BUSY: u64 = u64::MAX;
/// Greatest frame before the sibling has proved that it knows the secret.
pub(crate) const HANDSHAKE_FRAME_BYTES_MAX: usize = 4096;
/// Longest client address that a node may announce; it must fit into a handshake frame.
pub(crate) const CLIENT_URL_BYTES_MAX: usize = 2048;
/// Most addresses in one `Known` frame.
pub(crate) const KNOWN_ADDRESSES_MAX: usize = 1024;
