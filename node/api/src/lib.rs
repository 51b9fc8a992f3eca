//! Wire types: serde and validation, no logic.
pub mod internal;
