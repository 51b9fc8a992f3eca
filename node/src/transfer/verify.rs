//! Whether the copy is what it was made from: exact counts, and the whole content of a sample.

use std::collections::HashMap;

use anyhow::{Result, bail};
use quiver_api::point::PointId;
use serde_json::{Map, Value};

use super::point::Point;
use super::remote::Remote;
use super::schema::Schema;

/// Points that are compared at once: two answers of full points stay in memory.
pub const TOGETHER: usize = 50;
/// Differences that are told one by one.
const TOLD_MAX: usize = 5;

/// What was compared, and what was found.
#[derive(Default)]
pub struct Findings {
    compared: u64,
    differing: u64,
    told: Vec<String>,
}

impl Findings {
    /// Compares points as they should be with what a collection has.
    pub async fn compare(
        &mut self,
        expected: &[Point],
        to: &Remote,
        collection: &str,
        schema: &Schema,
    ) -> Result<()> {
        let ids: Vec<PointId> = expected.iter().map(|p| p.id).collect();
        let there = to.retrieve(collection, &ids).await?;
        let there: HashMap<PointId, Point> = there.into_iter().map(|p| (p.id, p)).collect();
        for point in expected {
            self.compared += 1;
            let Some(difference) = difference(point, there.get(&point.id), schema)? else { continue };
            self.differing += 1;
            if self.told.len() < TOLD_MAX {
                self.told.push(format!("point {}: {difference}", point.id));
            }
        }
        Ok(())
    }

    /// How many points were compared.
    ///
    /// # Errors
    /// With a sentence if counts or contents differ.
    pub fn done(self, (ours, theirs): (u64, u64)) -> Result<u64> {
        let mut sentences = Vec::new();
        if ours != theirs {
            sentences.push(format!("the source has {ours} points, the copy {theirs}"));
        }
        if self.differing > 0 {
            let (differing, compared) = (self.differing, self.compared);
            sentences
                .push(format!("{differing} of {compared} compared points differ: {}", self.told.join("; ")));
        }
        match sentences.is_empty() {
            true => Ok(self.compared),
            false => bail!("{} (was one of them written to meanwhile?)", sentences.join("; ")),
        }
    }
}

/// In what a point is not what it should be.
fn difference(expected: &Point, found: Option<&Point>, schema: &Schema) -> Result<Option<String>> {
    let Some(found) = found else { return Ok(Some("is missing".into())) };
    let parsed = |raw: &Option<Box<serde_json::value::RawValue>>| -> Result<Value> {
        Ok(raw.as_ref().map(|r| serde_json::from_str(r.get())).transpose()?.unwrap_or_default())
    };
    if parsed(&expected.shard_key)? != parsed(&found.shard_key)? {
        return Ok(Some("the shard key differs".into()));
    }
    let fields = |value: Value| match value {
        Value::Object(map) => map,
        _ => Map::new(),
    };
    let (ours, theirs) = (fields(parsed(&expected.payload)?), fields(parsed(&found.payload)?));
    let keys = ours.keys().chain(theirs.keys());
    if let Some(key) = keys.into_iter().find(|k| ours.get(*k) != theirs.get(*k)) {
        return Ok(Some(format!("`{key}` of the payload differs")));
    }
    let (ours, theirs) = (named(parsed(&expected.vector)?), named(parsed(&found.vector)?));
    let names = ours.keys().chain(theirs.keys());
    let same = |name: &str| match (ours.get(name), theirs.get(name)) {
        (Some(a), Some(b)) => alike(&in_order(a), &in_order(b), schema.tolerance(name).0),
        _ => false,
    };
    Ok(names.into_iter().find(|n| !same(n)).map(|name| match name.as_str() {
        "" => "the vector differs".into(),
        name => format!("the vector `{name}` differs"),
    }))
}

/// Vectors by name, however they were written.
fn named(vectors: Value) -> Map<String, Value> {
    match vectors {
        Value::Object(map) => map,
        Value::Null => Map::new(),
        unnamed => Map::from_iter([(String::new(), unnamed)]),
    }
}

/// A sparse vector in the order of its indices; any other as it is.
fn in_order(vector: &Value) -> Value {
    let (Some(indices), Some(values)) = (vector["indices"].as_array(), vector["values"].as_array()) else {
        return vector.clone();
    };
    let mut pairs: Vec<(Option<u64>, &Value)> = indices.iter().map(Value::as_u64).zip(values).collect();
    pairs.sort_by_key(|p| p.0);
    pairs.into_iter().map(|(i, v)| Value::from(vec![i.into(), v.clone()])).collect()
}

/// Numbers as 32-bit floats, which is what vectors are made of.
fn alike(a: &Value, b: &Value, tolerance: f64) -> bool {
    match (a, b) {
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| alike(a, b, tolerance))
        }
        (Value::Number(a), Value::Number(b)) => {
            let (a, b) = (a.as_f64().unwrap_or(f64::NAN), b.as_f64().unwrap_or(f64::NAN));
            f64::from(a as f32) == f64::from(b as f32) || (a - b).abs() <= tolerance
        }
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(a: &str, b: &str, expected: Option<&str>) {
        let schema: Schema = serde_json::from_str(
            r#"{"create":{"vectors":{"":{"size":2,"distance":"Dot"},"c":{"size":2,"distance":"Cosine"}}}}"#,
        )
        .expect("a schema");
        let point =
            |rest: &str| -> Point { serde_json::from_str(&format!(r#"{{"id":1{rest}}}"#)).expect("a point") };
        let found = difference(&point(a), Some(&point(b)), &schema).expect("JSON");
        assert_eq!(found.as_deref(), expected, "{a} {b}");
    }

    #[test]
    fn every_difference_is_found_and_nothing_else() {
        check("", "", None);
        check(r#","payload":{}"#, r#","payload":null"#, None);
        check(r#","payload":{"a":null,"b":[1]}"#, r#","payload":{"b":[1],"a":null}"#, None);
        check(r#","payload":{"a":null}"#, r#","payload":{}"#, Some("`a` of the payload differs"));
        check(r#","payload":{"a":1}"#, r#","payload":{"a":1.5}"#, Some("`a` of the payload differs"));
        check(r#","vector":[0.1,2]"#, r#","vector":{"":[0.10000000149,2.0]}"#, None);
        check(r#","vector":[0.1,2]"#, r#","vector":[0.1000001,2]"#, Some("the vector differs"));
        check(r#","vector":{"c":[0.1,2]}"#, r#","vector":{"c":[0.1000001,2]}"#, None);
        check(r#","vector":{"c":[0.1,2]}"#, r#","vector":{"c":[0.11,2]}"#, Some("the vector `c` differs"));
        check(r#","vector":{"c":[1,2]}"#, r#","vector":{}"#, Some("the vector `c` differs"));
        let (a, b) = (r#"{"indices":[3,1],"values":[0.5,2]}"#, r#"{"indices":[1,3],"values":[2.0,0.5]}"#);
        check(&format!(r#","vector":{{"s":{a}}}"#), &format!(r#","vector":{{"s":{b}}}"#), None);
        check(r#","shard_key":"x""#, "", Some("the shard key differs"));
    }
}
