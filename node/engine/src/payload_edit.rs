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
