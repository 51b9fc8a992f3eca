//! The rules that the API server checks, without an API server: a good object, one change, and the sentence it earns.

use kube::core::cel::{validate_cel, validate_cel_update};
use serde_json::{Value, json};

use crate::{VectorCollection, VectorShard, VectorSnapshot};

fn collection() -> Value {
    json!({
        "apiVersion": "quiver.dev/v1alpha1", "kind": "VectorCollection", "metadata": {"name": "docs"},
        "spec": {
            "vectors": [{"name": "text", "size": 384, "distance": "Cosine"}],
            "quantization": {"type": "Scalar", "scalar": {"quantilePermille": 990}},
            "payloadIndexes": [{"field": "tenant", "type": "Keyword", "isTenant": true}],
            "shards": 6, "nodes": 3,
            "storage": {"size": "20Gi", "storageClassName": "fast"},
            "snapshots": {
                "destination": {"s3": {"bucket": "backups", "prefix": "vectors/docs", "endpoint": "http://minio:9000",
                    "credentials": {"type": "Secret", "secretRef": {"name": "s3"}}}},
                "schedule": {"cron": "0 2 * * *"}
            }
        }
    })
}

fn shard() -> Value {
    json!({
        "apiVersion": "quiver.dev/v1alpha1", "kind": "VectorShard", "metadata": {"name": "docs-0"},
        "spec": {
            "collection": "docs", "collectionUid": "u", "shard": 0, "term": 3, "configVersion": 7,
            "range": {"first": "0000000000000000", "last": "ffffffffffffffff"},
            "primary": "a", "primaryBoot": "boot",
            "copies": [
                {"id": "a", "pod": "docs-0", "inSync": true},
                {"id": "b", "pod": "docs-1", "inSync": true},
                {"id": "c", "pod": "docs-2", "inSync": false, "purpose": "Recovering"}
            ]
        }
    })
}

/// `base` with the value at each JSON pointer replaced; null removes the key.
fn changed(base: &Value, changes: &[(&str, Value)]) -> Value {
    let mut value = base.clone();
    for (pointer, new) in changes {
        let (parent, key) = pointer.rsplit_once('/').expect("a pointer has a slash");
        match value.pointer_mut(parent).unwrap_or_else(|| panic!("{parent} is there")) {
            Value::Object(map) if new.is_null() => drop(map.remove(key)),
            Value::Object(map) => drop(map.insert(key.to_owned(), new.clone())),
            Value::Array(list) => match key.parse::<usize>() {
                Ok(i) => list[i] = new.clone(),
                Err(_) => list.push(new.clone()),
            },
            other => panic!("{parent} is {other}"),
        }
    }
    value
}

fn messages<T>(new: &Value, old: Option<&Value>) -> String
where
    T: kube::CustomResourceExt + serde::Serialize + serde::de::DeserializeOwned,
{
    let parse = |v: &Value| serde_json::from_value::<T>(v.clone()).expect("the object has the right shape");
    let result = match old {
        None => validate_cel(&parse(new)),
        Some(old) => validate_cel_update(&parse(new), &parse(old)),
    };
    result.err().map(|e| e.to_string()).unwrap_or_default()
}

/// Creates `base` with changes; `expected` is a part of the sentence, empty: accepted.
fn check_create(base: &Value, changes: &[(&str, Value)], expected: &str) {
    let new = changed(base, changes);
    let said = match base["kind"].as_str() {
        Some("VectorCollection") => messages::<VectorCollection>(&new, None),
        Some("VectorShard") => messages::<VectorShard>(&new, None),
        _ => messages::<VectorSnapshot>(&new, None),
    };
    compare(&said, expected, changes);
}

/// Changes `base`.
fn check_update(base: &Value, changes: &[(&str, Value)], expected: &str) {
    let new = changed(base, changes);
    let said = match base["kind"].as_str() {
        Some("VectorCollection") => messages::<VectorCollection>(&new, Some(base)),
        Some("VectorShard") => messages::<VectorShard>(&new, Some(base)),
        _ => messages::<VectorSnapshot>(&new, Some(base)),
    };
    compare(&said, expected, changes);
}

fn compare(said: &str, expected: &str, changes: &[(&str, Value)]) {
    if expected.is_empty() {
        assert_eq!(said, "", "{changes:?} is accepted");
    } else {
        assert!(said.contains(expected), "{changes:?} earns `{expected}`, not `{said}`");
    }
}

#[test]
fn a_wrong_collection_is_refused_with_a_sentence() {
    let c = collection();
    check_create(&c, &[], "");
    check_create(&c, &[("/metadata/name", json!("a".repeat(41)))], "at most 40 characters");
    check_create(&c, &[("/metadata/name", json!("my.docs"))], "lower case letters, digits and dashes");
    check_create(&c, &[("/metadata/name", json!("1docs"))], "starts with a letter");
    check_create(&c, &[("/spec/replication", json!({"factor": 2, "minInSync": 2}))], "");
    check_create(&c, &[("/spec/replication", json!({"factor": 3, "minInSync": 0}))], "");
    check_create(&c, &[("/spec/replication", json!({"factor": 4}))], "nodes must be at least");
    check_create(
        &c,
        &[("/spec/replication", json!({"factor": 1, "minInSync": 2}))],
        "minInSync can't be above",
    );
    check_create(
        &c,
        &[("/spec/vectors/-", json!({"size": 4, "distance": "Dot"}))],
        "a vector without a name must be the only one",
    );
    check_create(&c, &[("/spec/vectors", json!([{"size": 4, "distance": "Dot"}]))], "");
    check_create(&c, &[("/spec/sparseVectors", json!([{"name": "words", "modifier": "Idf"}]))], "");
    check_create(
        &c,
        &[("/spec/sparseVectors", json!([{"name": "text"}]))],
        "a dense and a sparse vector have the same name",
    );
    check_create(
        &c,
        &[("/spec/payloadIndexes/0/type", json!("Integer"))],
        "isTenant needs an index of type Keyword or Uuid",
    );
    check_create(
        &c,
        &[("/spec/storage/size", json!("plenty"))],
        "storage.size must be an amount such as 20Gi",
    );
    check_create(&c, &[("/spec/snapshots/destination/s3/prefix", json!("/x"))], "without a slash");
    check_create(&c, &[("/spec/snapshots/destination/s3/endpoint", json!("minio:9000"))], "must be a URL");
    check_create(
        &c,
        &[("/spec/snapshots/destination/s3/credentials/secretRef", Value::Null)],
        "need secretRef",
    );
    check_create(
        &c,
        &[("/spec/snapshots/schedule/cron", json!("nightly"))],
        "schedule.cron needs five fields",
    );
    check_create(&c, &[("/spec/paused", json!(true)), ("/spec/hibernate", json!(true))], "not both");
    check_create(&c, &[("/spec/bootstrap", json!({"type": "Snapshot"}))], "needs bootstrap.snapshot");
    check_create(
        &c,
        &[("/spec/bootstrap", json!({"type": "Snapshot", "snapshot": {}}))],
        "either ref, the name of a VectorSnapshot, or manifest",
    );
    check_create(
        &c,
        &[("/spec/settings", json!([{"name": "PATH_TO_X", "value": "1"}]))],
        "QUIVER__SECTION__KEY",
    );
    check_create(
        &c,
        &[("/spec/settings", json!([{"name": "QUIVER__SERVICE__API_KEY", "value": "1"}]))],
        "the operator sets this itself",
    );
}

#[test]
fn the_options_of_a_quantization_belong_to_its_type() {
    let c = collection();
    check_create(
        &c,
        &[("/spec/quantization/type", json!("None"))],
        "quantization.scalar belongs to type Scalar",
    );
    for (quantization, text) in [
        (json!({"type": "Product", "product": {"compression": "X16"}}), ""),
        (json!({"type": "Product"}), "type Product, which needs it"),
        (
            json!({"type": "None", "product": {"compression": "X16"}}),
            "quantization.product belongs to type Product",
        ),
        (json!({"type": "Binary"}), ""),
        (json!({"type": "Turbo", "binary": {}}), "quantization.binary belongs to type Binary"),
        (json!({"type": "Turbo", "turbo": {"bits": "Bits1_5"}}), ""),
        (json!({"type": "Binary", "turbo": {}}), "quantization.turbo belongs to type Turbo"),
    ] {
        check_create(&c, &[("/spec/quantization", quantization)], text);
    }
}

#[test]
fn what_would_lose_data_can_not_be_changed() {
    let c = collection();
    check_update(&c, &[("/spec/nodes", json!(5))], "");
    check_update(&c, &[("/spec/nodes", json!(2))], "");
    check_update(&c, &[("/spec/replication", json!({"factor": 3}))], "");
    let three = changed(&c, &[("/spec/replication", json!({"factor": 3, "minInSync": 1}))]);
    check_update(&three, &[("/spec/replication", json!({"factor": 1, "minInSync": 1}))], "");
    check_update(&three, &[("/spec/nodes", json!(2))], "nodes must be at least");
    check_update(&c, &[("/spec/shards", json!(12))], "");
    check_update(&c, &[("/spec/shards", json!(48))], "");
    check_update(&c, &[("/spec/shards", json!(18))], "shards grow by halving each of them");
    check_update(&c, &[("/spec/shards", json!(7))], "shards grow by halving each of them");
    check_update(&c, &[("/spec/shards", json!(3))], "shards can't become fewer");
    check_update(&c, &[("/spec/collectionName", json!("other"))], "collectionName can't change");
    check_update(
        &c,
        &[("/spec/vectors/0/size", json!(768))],
        "size, distance and datatype of a vector can't change",
    );
    check_update(&c, &[("/spec/vectors/0/name", json!("words"))], "a vector can't be removed");
    check_update(&c, &[("/spec/vectors/-", json!({"name": "image", "size": 512, "distance": "Dot"}))], "");
    check_update(&c, &[("/spec/vectors/0/onDisk", json!(true))], "");
    check_update(&c, &[("/spec/sparseVectors", json!([{"name": "words"}]))], "");
    check_update(
        &c,
        &[("/spec/payloadIndexes/0", json!({"field": "tenant", "type": "Uuid"}))],
        "type of a payload index can't change",
    );
    check_update(&c, &[("/spec/payloadIndexes", json!([]))], "");
    check_update(&c, &[("/spec/storage/size", json!("40Gi"))], "");
    check_update(&c, &[("/spec/storage/size", json!("10Gi"))], "storage.size can only grow");
    check_update(&c, &[("/spec/storage/storageClassName", Value::Null)], "storageClassName can't change");
    check_update(
        &c,
        &[("/spec/bootstrap", json!({"type": "Snapshot", "snapshot": {"ref": {"name": "x"}}}))],
        "bootstrap can't change",
    );
    check_update(&c, &[("/spec/deletionPolicy", json!("Delete"))], "");
}

/// Changes that are made from the record as it is.
fn next(rest: &[(&'static str, Value)]) -> Vec<(&'static str, Value)> {
    let mut all = vec![("/spec/configVersion", json!(8))];
    all.extend_from_slice(rest);
    all
}

#[test]
fn a_shard_record_changes_only_by_compare_and_swap() {
    let s = shard();
    check_create(&s, &[], "");
    check_create(&s, &[("/spec/primary", json!("c"))], "must be one of the copies that are in sync");
    check_create(&s, &[("/spec/copies/1/pod", json!("docs-0"))], "two copies of a shard can't be on one pod");
    check_create(&s, &[("/spec/primaryBoot", json!(""))], "exactly one copy in sync");
    check_create(
        &s,
        &[("/spec/range", json!({"first": "2000000000000000", "last": "1000000000000000"}))],
        "range.first must not be above",
    );
    check_update(&s, &[("/spec/copies/1/inSync", json!(false))], "somebody else changed this record first");
    check_update(&s, &next(&[("/spec/configVersion", json!(9))]), "somebody else changed this record first");
    check_update(&s, &next(&[("/spec/copies/1/inSync", json!(false))]), "");
    check_update(&s, &next(&[("/spec/copies/2/inSync", json!(true))]), "");
    check_update(&s, &next(&[("/spec/primary", json!("b"))]), "a new primary raises the term");
    check_update(&s, &next(&[("/spec/primary", json!("b")), ("/spec/term", json!(4))]), "");
    check_update(&s, &next(&[("/spec/primaryBoot", json!("later")), ("/spec/term", json!(4))]), "");
    check_update(&s, &next(&[("/spec/primaryBoot", json!("later"))]), "only in another term");
    check_update(
        &s,
        &next(&[("/spec/primaryBoot", json!("")), ("/spec/term", json!(4))]),
        "can't become empty again",
    );
    check_update(
        &s,
        &next(&[("/spec/copies/-", json!({"id": "d", "pod": "docs-3", "inSync": true}))]),
        "a copy is listed first and becomes in sync later",
    );
    let stale =
        [("/spec/primary", json!("c")), ("/spec/term", json!(4)), ("/spec/copies/2/inSync", json!(true))];
    check_update(&s, &next(&stale), "only a copy that was in sync may become primary");
    let mut accepted = next(&stale);
    accepted.push(("/spec/acceptDataLossAtTerm", json!(4)));
    check_update(&s, &accepted, "");
    check_update(
        &s,
        &next(&[("/spec/term", json!(4)), ("/spec/copies/2/inSync", json!(true))]),
        "no copy becomes in sync in the write that changes the term",
    );
    check_update(&s, &next(&[("/spec/shard", json!(1))]), "belongs to one collection for ever");
    check_update(
        &s,
        &next(&[("/spec/range/last", json!("0fffffffffffffff"))]),
        "range of a shard can only become the part that its split keeps",
    );
}

#[test]
fn copies_are_listed_promoted_and_dropped_and_none_in_sync_vanishes() {
    let s = shard();
    let listed = json!({"id": "d", "pod": "docs-3", "inSync": false});
    check_update(&s, &next(&[("/spec/copies/-", listed.clone())]), "");
    let on_the_same_pod = json!({"id": "d", "pod": "docs-2", "inSync": false});
    check_update(&s, &next(&[("/spec/copies/2", on_the_same_pod)]), "");
    check_update(&s, &next(&[("/spec/term", json!(4))]), "");
    check_update(&s, &next(&[]), "");
    let promoted =
        [("/spec/primary", json!("b")), ("/spec/primaryBoot", json!("other")), ("/spec/term", json!(4))];
    check_update(&s, &next(&promoted), "");
    let [a, b] = [&s["spec"]["copies"][0], &s["spec"]["copies"][1]];
    check_update(&s, &next(&[("/spec/copies", json!([a, b]))]), "");
    check_update(&s, &next(&[("/spec/copies", json!([a]))]), "a copy that is in sync can't vanish");
    check_update(&s, &next(&[("/spec/copies/1", listed)]), "a copy that is in sync can't vanish");
    check_update(
        &s,
        &next(&[
            ("/spec/copies", json!([a])),
            ("/spec/term", json!(4)),
            ("/spec/acceptDataLossAtTerm", json!(4)),
        ]),
        "",
    );
}

#[test]
fn a_snapshot_can_not_be_changed() {
    let s = json!({
        "apiVersion": "quiver.dev/v1alpha1", "kind": "VectorSnapshot", "metadata": {"name": "docs-1"},
        "spec": {"collectionRef": {"name": "docs"}}
    });
    check_create(&s, &[], "");
    check_update(&s, &[("/spec/collectionRef/name", json!("other"))], "create another one");
    check_update(&s, &[("/spec/deletionPolicy", json!("Retain"))], "");
    check_create(&s, &[("/metadata/name", json!("a".repeat(101)))], "at most 100 characters");
}

#[test]
fn a_split_is_asked_for_once_and_ends_with_the_half_that_is_kept() {
    let range = |first: &str, last: &str| json!({"first": first, "last": last});
    let low = range("0000000000000000", "7fffffffffffffff");
    let split = |child: i32, keep: &Value, give: &Value| json!({"child": child, "keep": keep, "give": give});
    let high = range("8000000000000000", "ffffffffffffffff");
    let plain = shard();
    let asked = changed(&plain, &[("/spec/split", split(1, &low, &high)), ("/spec/configVersion", json!(8))]);
    let version = |n: i32| ("/spec/configVersion", json!(n));
    check_update(&plain, &[("/spec/split", split(1, &low, &high)), version(8)], "");
    for wrong in [split(0, &low, &high), split(1, &high, &low), split(1, &low, &low)] {
        check_update(&plain, &[("/spec/split", wrong), version(8)], "parts of a split");
    }
    check_update(&asked, &[("/spec/range", low.clone()), ("/spec/split", Value::Null), version(9)], "");
    check_update(&asked, &[("/spec/split", Value::Null), version(9)], "not changed or called off");
    check_update(&asked, &[("/spec/split", split(2, &low, &high)), version(9)], "not changed or called off");
    check_update(
        &asked,
        &[("/spec/range", high), ("/spec/split", Value::Null), version(9)],
        "can only become the part that its split keeps",
    );
    // What nodes do with it meanwhile.
    check_update(&asked, &[("/spec/copies/2/inSync", json!(true)), version(9)], "");
}
