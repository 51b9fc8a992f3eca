//! Changes of payloads, and the parts of them that an answer shows. All of it is about one parsed payload;
//! which points are changed is the shard's.

use serde_json::Value;

use crate::json_path::{JsonPath, Step};
use crate::payload::PayloadMap;

/// Sets the keys of `patch`; a null removes the key.
///
/// With `key`, the patch is merged into the object found there. What is missing on the way is created, what
/// is in the way is replaced: a key makes an object, `[n]` and `[]` an empty array. `[]` means every element,
/// an index past the end nothing.
pub fn merge(payload: &mut PayloadMap, patch: &PayloadMap, key: Option<&JsonPath>) {
    match key.map(JsonPath::steps) {
        Some([Step::Key(first), rest @ ..]) => {
            merge_at(payload.entry(first).or_insert(Value::Null), rest, patch)
        }
        _ => merge_keys(payload, patch),
    }
}

fn merge_at(value: &mut Value, steps: &[Step], patch: &PayloadMap) {
    match steps {
        [] => merge_keys(as_object(value), patch),
        [Step::Key(key), rest @ ..] => {
            merge_at(as_object(value).entry(key).or_insert(Value::Null), rest, patch)
        }
        [Step::Index(n), rest @ ..] => {
            if let Some(element) = as_array(value).get_mut(*n) {
                merge_at(element, rest, patch);
            }
        }
        [Step::Each, rest @ ..] => {
            as_array(value).iter_mut().for_each(|element| merge_at(element, rest, patch))
        }
    }
}

fn merge_keys(object: &mut PayloadMap, patch: &PayloadMap) {
    for (key, value) in patch {
        if value.is_null() {
            object.shift_remove(key);
        } else {
            object.insert(key.clone(), value.clone());
        }
    }
}

fn as_object(value: &mut Value) -> &mut PayloadMap {
    if !value.is_object() {
        *value = Value::Object(PayloadMap::new());
    }
    value.as_object_mut().expect("it is one now")
}

fn as_array(value: &mut Value) -> &mut Vec<Value> {
    if !value.is_array() {
        *value = Value::Array(Vec::new());
    }
    value.as_array_mut().expect("it is one now")
}

/// Removes what is at the paths. `[]` at the end empties an array; `[n]` at the end removes nothing, because
/// doing it twice would remove two elements.
pub fn delete_keys(payload: &mut PayloadMap, keys: &[JsonPath]) {
    for key in keys {
        delete_in_object(payload, key.steps());
    }
}

fn delete_in_object(object: &mut PayloadMap, steps: &[Step]) {
    match steps {
        [Step::Key(key)] => {
            object.shift_remove(key);
        }
        [Step::Key(key), rest @ ..] => {
            if let Some(value) = object.get_mut(key) {
                delete_at(value, rest);
            }
        }
        _ => {}
    }
}

fn delete_at(value: &mut Value, steps: &[Step]) {
    match (value, steps) {
        (Value::Object(object), steps) => delete_in_object(object, steps),
        (Value::Array(list), [Step::Each]) => list.clear(),
        (Value::Array(list), [Step::Each, rest @ ..]) => {
            list.iter_mut().for_each(|element| delete_at(element, rest))
        }
        (Value::Array(list), [Step::Index(n), rest @ ..]) if !rest.is_empty() => {
            if let Some(element) = list.get_mut(*n) {
                delete_at(element, rest);
            }
        }
        _ => {}
    }
}

/// Which parts of a payload an answer shows.
#[derive(Clone, Debug, PartialEq)]
pub enum PayloadSelector {
    All,
    Include(Vec<JsonPath>),
    Exclude(Vec<JsonPath>),
}

/// The selected parts, in the structure they are stored in.
///
/// What is on the way to an included path is kept, all that lies below it too. Array elements are reached by
/// `[]`; `[n]` selects nothing.
pub fn project(payload: &PayloadMap, selector: &PayloadSelector) -> PayloadMap {
    match selector {
        PayloadSelector::All => payload.clone(),
        PayloadSelector::Include(paths) => {
            let steps: Vec<&[Step]> = paths.iter().map(JsonPath::steps).collect();
            include_object(payload, &steps)
        }
        PayloadSelector::Exclude(paths) => {
            let steps: Vec<&[Step]> = paths.iter().map(JsonPath::steps).collect();
            exclude_object(payload, &steps)
        }
    }
}

/// What remains of the paths that take this step.
fn after<'a>(paths: &[&'a [Step]], takes: impl Fn(&Step) -> bool) -> Vec<&'a [Step]> {
    paths
        .iter()
        .filter_map(|path| path.split_first())
        .filter(|(first, _)| takes(first))
        .map(|(_, rest)| rest)
        .collect()
}

fn include(value: &Value, paths: &[&[Step]]) -> Value {
    if paths.iter().any(|path| path.is_empty()) {
        return value.clone();
    }
    match value {
        Value::Object(object) => Value::Object(include_object(object, paths)),
        Value::Array(list) => {
            let rest = after(paths, |step| *step == Step::Each);
            let kept = if rest.is_empty() { &[][..] } else { &list[..] };
            Value::Array(kept.iter().map(|element| include(element, &rest)).collect())
        }
        scalar => scalar.clone(),
    }
}

fn include_object(object: &PayloadMap, paths: &[&[Step]]) -> PayloadMap {
    let mut kept = PayloadMap::new();
    for (key, value) in object {
        let rest = after(paths, |step| matches!(step, Step::Key(wanted) if wanted == key));
        if !rest.is_empty() {
            kept.insert(key.clone(), include(value, &rest));
        }
    }
    kept
}

fn exclude(value: &Value, paths: &[&[Step]]) -> Value {
    if paths.is_empty() {
        return value.clone();
    }
    match value {
        Value::Object(object) => Value::Object(exclude_object(object, paths)),
        Value::Array(list) => {
            let rest = after(paths, |step| *step == Step::Each);
            let dropped = rest.iter().any(|path| path.is_empty());
            let kept = if dropped { &[][..] } else { &list[..] };
            Value::Array(kept.iter().map(|element| exclude(element, &rest)).collect())
        }
        scalar => scalar.clone(),
    }
}

fn exclude_object(object: &PayloadMap, paths: &[&[Step]]) -> PayloadMap {
    let mut kept = PayloadMap::new();
    for (key, value) in object {
        let rest = after(paths, |step| matches!(step, Step::Key(unwanted) if unwanted == key));
        if !rest.iter().any(|path| path.is_empty()) {
            kept.insert(key.clone(), exclude(value, &rest));
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> PayloadMap {
        match value {
            Value::Object(map) => map,
            _ => panic!("a payload is an object"),
        }
    }

    fn path(text: &str) -> JsonPath {
        JsonPath::parse(text).expect("a path")
    }

    /// Compares as text, so that the order of keys counts too.
    fn check(found: PayloadMap, expected: Value) {
        assert_eq!(Value::Object(found).to_string(), expected.to_string());
    }

    fn check_merge(payload: Value, patch: Value, key: Option<&str>, expected: Value) {
        let mut payload = object(payload);
        merge(&mut payload, &object(patch), key.map(path).as_ref());
        check(payload, expected);
    }

    #[test]
    fn keys_are_merged_and_null_removes() {
        check_merge(json!({"a": 1, "b": {"x": 1}}), json!({"b": {"y": 2}, "c": 3}), None, {
            json!({"a": 1, "b": {"y": 2}, "c": 3})
        });
        check_merge(
            json!({"a": 1, "b": 2, "c": 3}),
            json!({"a": null, "missing": null}),
            None,
            json!({"b": 2, "c": 3}),
        );
    }

    #[test]
    fn a_patch_lands_at_its_path() {
        for (payload, key, expected) in [
            (json!({}), "a", json!({"a": {"p": 1}})),
            (json!({"a": {"p": 0, "q": 2}}), "a", json!({"a": {"p": 1, "q": 2}})),
            (json!({"a": 5}), "a.b", json!({"a": {"b": {"p": 1}}})),
            (json!({"a": [{"q": 2}, 7]}), "a[]", json!({"a": [{"q": 2, "p": 1}, {"p": 1}]})),
            (json!({"a": [{"q": 2}, 7]}), "a[1]", json!({"a": [{"q": 2}, {"p": 1}]})),
            (json!({"a": [{"q": 2}, 7]}), "a[2]", json!({"a": [{"q": 2}, 7]})),
            (json!({"a": 5}), "a[]", json!({"a": []})),
            (json!({}), "a[0].b", json!({"a": []})),
            (json!({"a": [{"b": [{}]}, {}]}), "a[].b[]", json!({"a": [{"b": [{"p": 1}]}, {"b": []}]})),
            (json!({"a b": 1}), "\"a b\"", json!({"a b": {"p": 1}})),
        ] {
            check_merge(payload, json!({"p": 1}), Some(key), expected);
        }
        check_merge(json!({"a": {"p": 1, "q": 2}}), json!({"p": null}), Some("a"), json!({"a": {"q": 2}}));
    }

    #[test]
    fn paths_are_deleted_and_neighbours_stay_in_order() {
        let payload = json!({"a": {"x": 1, "y": 2}, "b": 1, "n": [{"x": 1, "y": 1}, {"x": 2}, 3], "c": 2});
        for (keys, expected) in [
            (&["a.x", "n"][..], json!({"a": {"y": 2}, "b": 1, "c": 2})),
            (&["n[].x", "b"], json!({"a": {"x": 1, "y": 2}, "n": [{"y": 1}, {}, 3], "c": 2})),
            (&["n[1].x", "n[9].x", "missing.x", "b.x"], {
                json!({"a": {"x": 1, "y": 2}, "b": 1, "n": [{"x": 1, "y": 1}, {}, 3], "c": 2})
            }),
            (&["n[]", "a"], json!({"b": 1, "n": [], "c": 2})),
            (&["n[0]", "n.x"], payload.clone()),
        ] {
            let mut map = object(payload.clone());
            delete_keys(&mut map, &keys.iter().map(|key| path(key)).collect::<Vec<_>>());
            check(map, expected);
        }
    }

    #[test]
    fn selected_parts_keep_their_structure() {
        let payload =
            json!({"a": 1, "o": {"x": {"y": 1, "z": 2}, "w": 3}, "n": [{"x": 1, "y": 2}, {"y": 3}, 4]});
        let include = |keys: &[&str]| PayloadSelector::Include(keys.iter().map(|key| path(key)).collect());
        let exclude = |keys: &[&str]| PayloadSelector::Exclude(keys.iter().map(|key| path(key)).collect());
        for (selector, expected) in [
            (PayloadSelector::All, payload.clone()),
            (include(&[]), json!({})),
            (include(&["missing", "a"]), json!({"a": 1})),
            (include(&["o.x.y", "o.w"]), json!({"o": {"x": {"y": 1}, "w": 3}})),
            (include(&["n[].x"]), json!({"n": [{"x": 1}, {}, 4]})),
            (include(&["n"]), json!({"n": payload["n"]})),
            (include(&["n.x"]), json!({"n": []})),
            (exclude(&[]), payload.clone()),
            (
                exclude(&["a", "o.x.y", "n[].y"]),
                json!({"o": {"x": {"z": 2}, "w": 3}, "n": [{"x": 1}, {}, 4]}),
            ),
            (exclude(&["n.x", "o.missing", "n[0]"]), payload.clone()),
            (exclude(&["n[]", "o"]), json!({"a": 1, "n": []})),
        ] {
            check(project(&object(payload.clone()), &selector), expected);
        }
    }
}
