//! The bounds of parts.

/// Bounds in bytes and time, the same on every node of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartLimits {
    /// The largest encoded part. The owner is refused the change that would pass it; a replica drops a longer
    /// snapshot.
    pub part_bytes_max: usize,
    /// The most entries of a part, which cost more memory than their bytes. The owner of the state refuses the change
    /// that would pass it; a replica drops a delta or a snapshot beyond, and stays behind.
    pub entries_max: usize,
    /// Deltas that a replica keeps while it waits for a snapshot. When they pass this bound they are all dropped, and
    /// the snapshot that comes is followed by another pull.
    pub held_bytes_max: usize,
    /// A snapshot travels in pieces of this size, and a longer delta does not travel at all: siblings are told its
    /// version and pull. So no frame is longer, and nothing else on the link waits long behind one.
    pub piece_bytes: usize,
    /// How many pieces an owner sends per pull; with `piece_bytes`, what one part can add to a link's queue at once.
    pub window_pieces: u32,
    /// Milliseconds after which a pull without an answer is repeated.
    pub pull_interval_ms: u64,
    /// The longest pause between two pulls to an owner that has never answered: it may not have the object at all.
    pub pull_interval_max_ms: u64,
    /// Every so many milliseconds an owner tells its version, so that the loss of its last delta is noticed.
    pub announce_interval_ms: u64,
}

impl Default for PartLimits {
    fn default() -> Self {
        Self {
            part_bytes_max: 16 << 20,
            entries_max: 1_000_000,
            held_bytes_max: 4 << 20,
            piece_bytes: 64 << 10,
            window_pieces: 16,
            pull_interval_ms: 1_000,
            pull_interval_max_ms: 30_000,
            announce_interval_ms: 2_500,
        }
    }
}
