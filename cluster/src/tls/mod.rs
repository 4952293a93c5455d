//! TLS on the connections between nodes, over whatever the net gives.
//!
//! ```text
//!  net ──stream──▶ Peeked (first byte) ──▶ Transport::Clear ────────────────┐
//!                                     └──▶ TLS handshake ▶ Transport::Tls ──┴─▶ WebSocket, handshake of the link
//!                                                │ exporter                              ▲
//!                                                └────────── Binding: part of every MAC ─┘
//! ```
//!
//! TLS does not replace the proof of the secret, it goes below it. Every MAC of the handshake covers the exporter of
//! the TLS session (RFC 9266, `tls-exporter`), so whoever ends TLS in between cannot pass proofs on, not even with a
//! certificate of the mesh. Nothing is negotiated: whether a node dials over TLS, and whether it takes connections in
//! clear text, stands in its configuration, and each side computes its MACs by what it has itself. Only TLS 1.3, and no
//! resumption: every connection verifies the certificates anew.

mod handshake;
mod settings;
mod stream;

pub(crate) use handshake::{accept, connect, failure_of};
pub use settings::{MeshTls, MeshTlsError, MeshTlsPem, MeshTlsRules, TlsMode};
pub(crate) use stream::Transport;

/// Bytes of the exporter.
const EXPORTER_BYTES: usize = 32;

/// What the proof of the secret is bound to: the TLS session below it, or that there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Binding(Option<[u8; EXPORTER_BYTES]>);

impl Binding {
    /// There is no TLS.
    pub(crate) const NONE: Self = Self(None);
    /// Goes before the exporter in a MAC. No member's encoding, which follows where there is no TLS, begins with it: it
    /// would be that of a name of 2^62 bytes.
    const LABEL: &'static [u8] = b"tls-exporter";

    #[cfg(test)]
    pub(crate) fn to(exporter: [u8; EXPORTER_BYTES]) -> Self {
        Self(Some(exporter))
    }

    /// The part of a MAC; none without TLS.
    pub(crate) fn part(&self) -> Option<Vec<u8>> {
        self.0
            .map(|exporter| [Self::LABEL, exporter.as_slice()].concat())
    }
}
