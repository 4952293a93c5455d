//! JSON as the engine needs it: one non-recursive pass that validates the whole grammar and finds the top-level fields of each message.
//!
//! Nothing here builds a tree. Values stay slices of the text they were read from; what is relayed is copied, never re-serialised.
//!
//! ```text
//! text -> scan (grammar, depth) -> frame (array of message objects, fields as slices)
//! ```

mod frame;
mod scan;
mod text;

pub(crate) use frame::{RawMessage, elements, members, scan_frame};
pub use scan::ScanError;
pub(crate) use scan::Scanner;
pub(crate) use text::{decode_string, write_string};

/// A JSON text that has been validated: exactly one value, optionally surrounded by white space that is not part of the slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Json<'a>(&'a str);

impl<'a> Json<'a> {
    /// Validates `text` as one JSON value nested at most `max_depth` deep.
    ///
    /// Linear in the length of the text and independent of its nesting: no recursion.
    ///
    /// # Errors
    /// [`ScanError::Syntax`] where the grammar is violated, [`ScanError::TooDeep`] beyond `max_depth` open arrays and objects.
    pub fn validate(text: &'a str, max_depth: usize) -> Result<Self, ScanError> {
        let mut scanner = Scanner::new(text, max_depth);
        scanner.skip_whitespace();
        let start = scanner.position();
        scanner.skip_value(0)?;
        let end = scanner.position();
        scanner.expect_end()?;
        Ok(Self(&text[start..end]))
    }

    /// The text of the value.
    #[must_use]
    pub const fn as_str(&self) -> &'a str {
        self.0
    }
}

#[cfg(test)]
mod tests;
