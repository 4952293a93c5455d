//! Why an object or a value is refused.

use halley_cluster::parts::PartTooLarge;

/// Why a value was not taken. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum SetError {
    /// The value cannot be written as JSON.
    #[error("the value cannot be written as JSON")]
    NotJson(#[source] serde_json::Error),
    /// What siblings would read is not equal to the value: its JSON loses something, such as a float that is not a
    /// number, or a skipped field without a default.
    #[error("the value read back from its JSON is not equal to it")]
    NotFaithful,
    /// Entries of maps and elements of lists are not null: nodes in Java could not hold them.
    #[error("an entry or element is not null")]
    Null,
    /// The part would have more entries than it may.
    #[error("the part would have more than {max} entries")]
    TooManyEntries {
        /// The bound.
        max: usize,
    },
    /// The value is longer than a part may be.
    #[error(transparent)]
    TooLarge(#[from] PartTooLarge),
}

/// Why an object was not created.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// A name has 1 to 255 bytes.
    #[error("the name of an object has 1 to 255 bytes")]
    InvalidName,
    /// There is an object of this name on this node.
    #[error("there is an object of this name on this node")]
    NameTaken,
    /// The initial value was refused.
    #[error("the initial value was refused")]
    Initial(#[from] SetError),
}
