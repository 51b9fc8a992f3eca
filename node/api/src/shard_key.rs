//! Keys of shards, as requests name them. No collection of this version has any.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "data did not match any variant of untagged enum ShardKey")]
pub enum ShardKey {
    Keyword(String),
    Number(u64),
}

impl fmt::Display for ShardKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ShardKey::Keyword(text) => write!(f, "\"{text}\""),
            ShardKey::Number(n) => n.fmt(f),
        }
    }
}

/// Which shards a request goes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "data did not match any variant of untagged enum ShardKeySelector")]
pub enum ShardKeySelector {
    One(ShardKey),
    Several(Vec<ShardKey>),
    WithFallback { target: ShardKey, fallback: ShardKey },
}

impl ShardKeySelector {
    /// The key that is looked for first; none if none is named.
    pub fn first(&self) -> Option<&ShardKey> {
        match self {
            ShardKeySelector::One(key) | ShardKeySelector::WithFallback { target: key, .. } => Some(key),
            ShardKeySelector::Several(keys) => keys.first(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str, expected: Result<Option<&str>, &str>) {
        match (serde_json::from_str::<ShardKeySelector>(json), expected) {
            (Ok(got), Ok(key)) => {
                assert_eq!(got.first().map(ToString::to_string).as_deref(), key, "{json}")
            }
            (Err(e), Err(text)) => assert!(e.to_string().starts_with(text), "{json}: {e}"),
            (got, _) => panic!("{json}: {got:?}"),
        }
    }

    #[test]
    fn every_form_of_selector() {
        check("\"eu\"", Ok(Some("\"eu\"")));
        check("7", Ok(Some("7")));
        check("[7, \"eu\"]", Ok(Some("7")));
        check("[]", Ok(None));
        check(r#"{"target":"eu","fallback":"us"}"#, Ok(Some("\"eu\"")));
        let none = "data did not match any variant of untagged enum ShardKeySelector";
        for wrong in ["true", "1.5", "-1", "{}", "[true]"] {
            check(wrong, Err(none));
        }
    }
}
