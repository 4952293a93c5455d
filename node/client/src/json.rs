//! JSON text, exactly as it came.

use std::fmt;

use serde::{Serialize, Serializer, de::DeserializeOwned};
use serde_json::value::RawValue;

/// A JSON value that has not been taken apart.
#[derive(Clone)]
pub struct Json(pub(crate) Box<RawValue>);

impl Json {
    /// The text.
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    /// Reads it.
    ///
    /// # Errors
    /// When it has another shape than `T`.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.as_str())
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}
