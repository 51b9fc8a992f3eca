//! JSON paths of payload keys: `key(.key|[n]|[])*`, keys outside `[A-Za-z0-9_-]` in double quotes.

use std::fmt;

/// A parsed path. Prints as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JsonPath {
    text: String,
}

impl JsonPath {
    /// The text it was parsed from.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for JsonPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
