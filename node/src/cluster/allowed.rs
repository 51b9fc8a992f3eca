//! What REST may change of a managed collection. Everything that is refused is refused with the resource to edit.

use quiver_api::collections::CreateCollection;
use quiver_api::internal::{SchemaPolicy, SchemaRequest};
use serde_json::Value;

/// A change that a client asks for.
#[derive(Clone, Debug)]
pub enum Change<'a> {
    Create { name: &'a str, body: &'a CreateCollection },
    Update,
    ShardKeys,
    Delete,
    Aliases,
    CreateIndex,
    DropIndex(&'a str),
    CreateVector,
    DropVector(&'a str),
    Recover,
}

/// What becomes of an allowed change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// It is to be done.
    Do,
    /// It is done already.
    Already,
}

/// Whether a change is allowed; the error is a sentence for the client.
pub fn check(schema: &SchemaRequest, change: &Change<'_>) -> Result<Allowed, String> {
    let refuse = |what: &str, field: &str| {
        Err(format!(
            "{what} in the VectorCollection {}{field}, not here: it is managed by its resource",
            schema.resource
        ))
    };
    let additions = schema.schema_policy == SchemaPolicy::AllowAdditions;
    match change {
        Change::Create { name, body } => create(schema, name, body),
        Change::Update => refuse("change the configuration", ""),
        Change::ShardKeys => refuse("declare shards", " (spec.shards; they have no keys)"),
        Change::Delete => Err(format!(
            "delete the VectorCollection {} instead: kubectl delete vc does what its deletionPolicy says",
            schema.resource
        )),
        Change::Aliases => refuse("declare aliases", " (spec.aliases)"),
        Change::CreateIndex if additions => Ok(Allowed::Do),
        Change::CreateIndex => {
            refuse("declare payload indexes", " (spec.payloadIndexes; its schemaPolicy is Enforce)")
        }
        Change::DropIndex(field) => {
            if schema.payload_indexes.iter().any(|i| i.field_name == *field) {
                return refuse(&format!("remove the payload index on `{field}`"), " (spec.payloadIndexes)");
            }
            if additions {
                Ok(Allowed::Do)
            } else {
                refuse("change payload indexes", " (spec.payloadIndexes)")
            }
        }
        Change::CreateVector if additions => Ok(Allowed::Do),
        Change::CreateVector => refuse("declare vectors", " (spec.vectors; its schemaPolicy is Enforce)"),
        Change::DropVector(name) => {
            let declared = declared(schema);
            let sparse = declared.sparse_vectors.iter().flatten().any(|(n, _)| n == *name);
            if sparse || declared.vectors.iter().any(|(n, _)| n == *name) {
                return refuse(&format!("remove the vector `{name}`"), " (spec.vectors)");
            }
            if additions { Ok(Allowed::Do) } else { refuse("change vectors", " (spec.vectors)") }
        }
        Change::Recover => Err(format!(
            "snapshots are recovered into a new VectorCollection (spec.bootstrap), not into {}",
            schema.resource
        )),
    }
}

/// The collection as the resource declares it; nothing if it can't be read, which the operator is told elsewhere.
pub fn declared(schema: &SchemaRequest) -> CreateCollection {
    serde_json::from_value(schema.create.clone()).unwrap_or_default()
}

/// Creating the managed collection again is fine if the request asks for nothing that differs.
fn create(schema: &SchemaRequest, name: &str, body: &CreateCollection) -> Result<Allowed, String> {
    let resource = &schema.resource;
    if name != schema.collection_name {
        return Err(format!(
            "this node set serves the collection `{}` of the VectorCollection {resource} alone: make a VectorCollection \
             for `{name}`",
            schema.collection_name
        ));
    }
    let mut asked = body.clone();
    // How many copies there are is the resource's business, and no client depends on it.
    (asked.replication_factor, asked.write_consistency_factor) = (None, None);
    if asked.shard_number == Some(schema.shards) {
        asked.shard_number = None;
    }
    let (asked, has) = (serde_json::to_value(&asked), serde_json::to_value(declared(schema)));
    let (Ok(asked), Ok(has)) = (asked, has) else { return Ok(Allowed::Already) };
    match difference("", &asked, &has) {
        None => Ok(Allowed::Already),
        Some(path) => Err(format!(
            "the collection `{name}` exists, and the VectorCollection {resource} declares another `{path}`: edit the \
             resource, or create the collection as it declares it"
        )),
    }
}

/// The first thing that is asked for and isn't so. What isn't asked for doesn't differ.
fn difference(path: &str, asked: &Value, has: &Value) -> Option<String> {
    match (asked, has) {
        (Value::Object(asked), has) => asked.iter().find_map(|(key, value)| {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            match has.get(key) {
                Some(there) => difference(&path, value, there),
                None if is_nothing(value) => None,
                None => Some(path),
            }
        }),
        (asked, has) if asked == has => None,
        _ => Some(path.to_string()),
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use quiver_api::internal::{PayloadIndex, SnapshotScheduleState};
    use serde_json::json;

    use super::*;

    fn schema(schema_policy: SchemaPolicy) -> SchemaRequest {
        SchemaRequest {
            collection_name: "docs".into(),
            collection_uid: String::new(),
            resource: "search/docs".into(),
            generation: 1,
            shards: 6,
            min_in_sync: 1,
            create: json!({
                "vectors": {"size": 4, "distance": "Cosine", "on_disk": true},
                "hnsw_config": {"m": 16},
                "quantization_config": {"scalar": {"type": "int8", "quantile": 0.99, "always_ram": true}},
                "shard_number": 6,
            }),
            payload_indexes: vec![PayloadIndex { field_name: "city".into(), field_schema: json!("keyword") }],
            aliases: Vec::new(),
            schema_policy,
            snapshot_schedule: SnapshotScheduleState::default(),
        }
    }

    fn check_create(name: &str, body: Value, expected: Result<Allowed, &str>) {
        let body = serde_json::from_value(body).expect("a body");
        let result = check(&schema(SchemaPolicy::AllowAdditions), &Change::Create { name, body: &body });
        match (result, expected) {
            (Ok(allowed), Ok(expected)) => assert_eq!(allowed, expected),
            (Err(text), Err(part)) => assert!(text.contains(part), "{text} does not contain {part}"),
            (result, _) => panic!("{body:?}: {result:?}"),
        }
    }

    #[test]
    fn creating_again_is_fine_unless_something_differs() {
        check_create("docs", json!({"vectors": {"size": 4, "distance": "Cosine"}}), Ok(Allowed::Already));
        check_create(
            "docs",
            json!({"vectors": {"size": 4, "distance": "Cosine", "on_disk": true}, "hnsw_config": {"m": 16},
                "quantization_config": {"scalar": {"type": "int8", "quantile": 0.99, "always_ram": true}},
                "shard_number": 6, "replication_factor": 3}),
            Ok(Allowed::Already),
        );
        check_create(
            "docs",
            json!({"vectors": {"size": 5, "distance": "Cosine"}}),
            Err("another `vectors.size`"),
        );
        check_create(
            "docs",
            json!({"vectors": {"size": 4, "distance": "Cosine"}, "shard_number": 2}),
            Err("another `shard_number`"),
        );
        check_create(
            "docs",
            json!({"vectors": {"size": 4, "distance": "Cosine"}, "hnsw_config": {"ef_construct": 200}}),
            Err("another `hnsw_config.ef_construct`"),
        );
        check_create(
            "other",
            json!({"vectors": {"size": 4, "distance": "Cosine"}}),
            Err("make a VectorCollection for `other`"),
        );
    }

    #[test]
    fn additions_are_allowed_unless_the_policy_says_enforce() {
        let (open, closed) = (schema(SchemaPolicy::AllowAdditions), schema(SchemaPolicy::Enforce));
        for change in
            [Change::CreateIndex, Change::DropIndex("mine"), Change::CreateVector, Change::DropVector("mine")]
        {
            assert_eq!(check(&open, &change), Ok(Allowed::Do), "{change:?}");
            assert!(check(&closed, &change).expect_err("refused").contains("search/docs"), "{change:?}");
        }
        let declared = [Change::DropIndex("city"), Change::DropVector("")];
        for change in
            declared.into_iter().chain([Change::Update, Change::Delete, Change::Aliases, Change::Recover])
        {
            assert!(check(&open, &change).expect_err("refused").contains("search/docs"), "{change:?}");
        }
    }
}
