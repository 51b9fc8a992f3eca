//! Validation: what parses and still can't be meant. The protocol answers 422 and lists path and text.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error};
use serde_json::Value;

/// One or more fields whose values are out of range.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Invalid(Vec<(String, String)>);

impl Invalid {
    /// Nothing found yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A single finding.
    pub fn one(path: impl Into<String>, text: impl Into<String>) -> Self {
        Self(vec![(path.into(), text.into())])
    }

    /// A finding whose text names the part itself (`batch: number of …`), below `path`.
    pub fn text(path: impl Into<String>, text: impl Into<String>) -> Self {
        let (path, text) = (path.into(), text.into());
        match text.strip_prefix(&format!("{path}: ")) {
            Some(rest) => Self::one(format!("{path}.{path}"), rest),
            None => Self::one(path, text),
        }
    }

    /// Adds a finding.
    pub fn add(&mut self, path: impl Into<String>, text: impl Into<String>) {
        self.0.push((path.into(), text.into()));
    }

    /// Adds a finding unless the value is absent or at least `min`.
    pub fn at_least(&mut self, path: &str, value: Option<usize>, min: usize) {
        if let Some(v) = value.filter(|v| *v < min) {
            self.add(path, format!("value {v} invalid, must be {min} or larger"));
        }
    }

    /// Adds a finding unless the value lies within both bounds.
    pub fn within(&mut self, path: &str, value: usize, min: usize, max: usize) {
        if value < min || value > max {
            self.add(path, format!("value {value} invalid, must be from {min} to {max}"));
        }
    }

    /// The same, found in what stands at `path`, which ends in a point.
    pub fn under(mut self, path: &str) -> Self {
        self.0.iter_mut().for_each(|(inner, _)| inner.insert_str(0, path));
        self
    }

    /// `Err` if anything was found.
    pub fn done(self) -> Result<(), Self> {
        if self.0.is_empty() { Ok(()) } else { Err(self) }
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (i, (path, text)) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{path}: {text}")?;
        }
        f.write_str("]")
    }
}

impl std::error::Error for Invalid {}

/// A number of threads, `"auto"`, or null.
pub(crate) fn number_or_auto<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Value>, D::Error> {
    match Value::deserialize(d)? {
        Value::Null => Ok(None),
        value if value.is_u64() || value == "auto" => Ok(Some(value)),
        _ => Err(D::Error::custom("data did not match any variant of untagged enum MaxOptimizationThreads")),
    }
}
