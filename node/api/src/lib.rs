//! Wire types: serde and validation, no logic.
