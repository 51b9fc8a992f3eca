//! JSON paths of payload keys: `key(.key|[n]|[])*`, keys outside `[A-Za-z0-9_-]` and other letters in double
//! quotes. Only finds values; changing payloads is `payload_edit`'s.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::payload::PayloadMap;

/// A parsed path. Prints as it was written; two paths are equal if they mean the same, quoted or not.
#[derive(Clone, Debug)]
pub struct JsonPath {
    text: String,
    /// Never empty; the first is a key.
    steps: Vec<Step>,
}

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// `key` or `"key"`: the value of an object's key.
    Key(String),
    /// `[n]`: one element of an array.
    Index(usize),
    /// `[]`: every element of an array.
    Each,
}

impl JsonPath {
    /// Parses a path.
    ///
    /// # Errors
    /// `Invalid json path: 'a b'`.
    pub fn parse(text: &str) -> Result<Self, String> {
        match parse_steps(text) {
            Some(steps) => Ok(Self { text: text.to_owned(), steps }),
            None => Err(format!("Invalid json path: '{text}'")),
        }
    }

    /// A path of one key, quoted if it has to be.
    pub fn key(key: &str) -> Self {
        Self::from_steps(vec![Step::Key(key.to_owned())])
    }

    /// The path that has these steps.
    fn from_steps(steps: Vec<Step>) -> Self {
        let mut text = String::new();
        for (i, step) in steps.iter().enumerate() {
            match step {
                Step::Key(key) => {
                    if i > 0 {
                        text.push('.');
                    }
                    if !key.is_empty() && key.chars().all(is_bare) {
                        text.push_str(key);
                    } else {
                        text.push('"');
                        text.push_str(key);
                        text.push('"');
                    }
                }
                Step::Index(n) => text.push_str(&format!("[{n}]")),
                Step::Each => text.push_str("[]"),
            }
        }
        Self { text, steps }
    }

    /// The text it was parsed from.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The steps; the first is a key.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The path of the elements of the array found here: `[]` appended unless it is there.
    pub fn each(&self) -> JsonPath {
        if self.steps.last() == Some(&Step::Each) {
            return self.clone();
        }
        let mut steps = self.steps.clone();
        steps.push(Step::Each);
        Self::from_steps(steps)
    }

    /// The path that `inner` has when it starts at this path's values.
    pub fn join(&self, inner: &JsonPath) -> JsonPath {
        Self::from_steps(self.steps.iter().chain(&inner.steps).cloned().collect())
    }

    /// Whether any value at the path passes. If the path ends in a key and there is an array, its elements
    /// are the values; arrays inside arrays are values themselves.
    pub fn any_value<'a>(&self, payload: &'a PayloadMap, mut passes: impl FnMut(&'a Value) -> bool) -> bool {
        let flatten = matches!(self.steps.last(), Some(Step::Key(_)));
        self.any_raw(payload, |value| match value {
            Value::Array(elements) if flatten => elements.iter().any(&mut passes),
            value => passes(value),
        })
    }

    /// Whether any value at the path passes, a last array being one value.
    pub fn any_raw<'a>(&self, payload: &'a PayloadMap, mut passes: impl FnMut(&'a Value) -> bool) -> bool {
        match &self.steps[..] {
            [Step::Key(first), rest @ ..] => {
                payload.get(first).is_some_and(|value| walk(rest, value, &mut passes))
            }
            _ => false,
        }
    }

    /// The values at the path, a last array given by its elements.
    pub fn values<'a>(&self, payload: &'a PayloadMap) -> Vec<&'a Value> {
        let mut found = Vec::new();
        self.any_value(payload, |value| {
            found.push(value);
            false
        });
        found
    }

    /// The values at the path, a last array given as one value.
    pub fn raw_values<'a>(&self, payload: &'a PayloadMap) -> Vec<&'a Value> {
        let mut found = Vec::new();
        self.any_raw(payload, |value| {
            found.push(value);
            false
        });
        found
    }
}

fn walk<'a>(steps: &[Step], value: &'a Value, passes: &mut impl FnMut(&'a Value) -> bool) -> bool {
    match (steps, value) {
        ([], value) => passes(value),
        ([Step::Key(key), rest @ ..], Value::Object(map)) => {
            map.get(key).is_some_and(|v| walk(rest, v, passes))
        }
        ([Step::Index(n), rest @ ..], Value::Array(list)) => {
            list.get(*n).is_some_and(|v| walk(rest, v, passes))
        }
        ([Step::Each, rest @ ..], Value::Array(list)) => list.iter().any(|v| walk(rest, v, passes)),
        _ => false,
    }
}

fn is_bare(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '-'
}

fn parse_steps(text: &str) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    let mut rest = text;
    loop {
        let key;
        (key, rest) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => {
                let end = rest.find(|c| !is_bare(c)).unwrap_or(rest.len());
                if end == 0 {
                    return None;
                }
                rest.split_at(end)
            }
        };
        steps.push(Step::Key(key.to_owned()));
        while let Some(bracket) = rest.strip_prefix('[') {
            let index;
            (index, rest) = bracket.split_once(']')?;
            steps.push(match index {
                "" => Step::Each,
                digits if digits.bytes().all(|b| b.is_ascii_digit()) => Step::Index(digits.parse().ok()?),
                _ => return None,
            });
        }
        match rest.strip_prefix('.') {
            Some(next) => rest = next,
            None if rest.is_empty() => return Some(steps),
            None => return None,
        }
    }
}

impl PartialEq for JsonPath {
    fn eq(&self, other: &Self) -> bool {
        self.steps == other.steps
    }
}

impl Eq for JsonPath {}

impl Hash for JsonPath {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.steps.hash(state);
    }
}

impl PartialOrd for JsonPath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for JsonPath {
    fn cmp(&self, other: &Self) -> Ordering {
        self.steps.cmp(&other.steps)
    }
}

impl fmt::Display for JsonPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for JsonPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for JsonPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        JsonPath::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// `expected`: the values in order, or the error text.
    fn check(path: &str, payload: Value, expected: Result<Value, &str>) {
        let Value::Object(map) = payload else { panic!("a payload is an object") };
        let found =
            JsonPath::parse(path).map(|p| Value::Array(p.values(&map).into_iter().cloned().collect()));
        assert_eq!(found, expected.map_err(str::to_owned), "{path}");
    }

    #[test]
    fn paths_find_values() {
        let payload = json!({
            "a": 1, "list": [1, [2], null], "o": {"x": {"y": 2}}, "a.b": {"c": 3}, "größe": 4, "k-1_": 5,
            "nested": [{"x": 1, "l": [1, 2]}, {"x": 2, "l": [3]}, 7, {"y": 0}], "deep": [[{"x": 1}], [{"x": 2}]], "": 9,
        });
        for (path, expected) in [
            ("a", json!([1])),
            ("missing", json!([])),
            ("list", json!([1, [2], null])),
            ("list[]", json!([1, [2], null])),
            ("list[0]", json!([1])),
            ("list[1]", json!([[2]])),
            ("list[9]", json!([])),
            ("list[1][0]", json!([2])),
            ("o.x.y", json!([2])),
            ("o.x", json!([{"y": 2}])),
            ("\"a.b\".c", json!([3])),
            ("größe", json!([4])),
            ("k-1_", json!([5])),
            ("\"\"", json!([9])),
            ("nested.x", json!([])),
            ("nested[].x", json!([1, 2])),
            ("nested[1].x", json!([2])),
            ("nested[].l", json!([1, 2, 3])),
            ("nested[].l[]", json!([1, 2, 3])),
            ("deep[].x", json!([])),
            ("deep[][].x", json!([1, 2])),
            ("a[]", json!([])),
            ("a.b", json!([])),
        ] {
            check(path, payload.clone(), Ok(expected));
        }
    }

    #[test]
    fn a_wrong_path_is_quoted_in_the_error() {
        for path in [
            "a b", "", ".", "a.", "a..b", ".a", "[0]", "[]", "a[", "a[x]", "a[-1]", "a]", "\"a", "a[0]b",
            "\"a\"b",
        ] {
            check(path, json!({}), Err(&format!("Invalid json path: '{path}'")));
        }
        check("a[99999999999999999999]", json!({}), Err("Invalid json path: 'a[99999999999999999999]'"));
    }

    #[test]
    fn quotes_don_t_make_another_path() {
        let (bare, quoted) = (JsonPath::parse("a.b[]"), JsonPath::parse("\"a\".\"b\"[]"));
        assert_eq!(bare, quoted);
        let nested = JsonPath::parse("a").expect("a path").each().join(&JsonPath::key("x y"));
        assert_eq!(nested.as_str(), "a[].\"x y\"");
        assert_eq!(JsonPath::parse(nested.as_str()), Ok(nested));
    }
}
