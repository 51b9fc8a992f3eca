//! What makes a collection besides its points: how it was created, payload indexes, shard keys, aliases.

use anyhow::{Context, Result, anyhow, bail};
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::progress::say;
use super::remote::{Refused, Remote, bytes};

/// Everything but the points. Kept as the JSON that the source showed, so that settings which this version doesn't know arrive.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Schema {
    /// The body of a create.
    pub create: Map<String, Value>,
    /// Settings that only an update takes: set when the points are there.
    #[serde(default)]
    pub update: Map<String, Value>,
    /// Payload indexes: field, schema.
    #[serde(default)]
    pub indexes: Map<String, Value>,
    #[serde(default)]
    pub shard_keys: Vec<Value>,
    #[serde(default)]
    pub aliases: Vec<String>,
}

/// How much two components of one vector may differ.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance(pub f64);

impl Schema {
    /// Asks a server for it.
    pub async fn of(remote: &Remote, collection: &str) -> Result<Self> {
        let path = ["collections", collection];
        let info: Value = remote.call(Method::GET, &path, "", None).await?;
        let mut schema = Self::from_info(&info)
            .with_context(|| format!("{} shows no configuration of `{collection}`", remote.name()))?;
        if schema.create.get("sharding_method") == Some(&json!("custom")) {
            let path = ["collections", collection, "cluster"];
            let cluster: Value = remote.call(Method::GET, &path, "", None).await?;
            for shard in
                ["local_shards", "remote_shards"].iter().filter_map(|k| cluster[k].as_array()).flatten()
            {
                let key = &shard["shard_key"];
                if !key.is_null() && !schema.shard_keys.contains(key) {
                    schema.shard_keys.push(key.clone());
                }
            }
        }
        let aliases: Value =
            remote.call(Method::GET, &["collections", collection, "aliases"], "", None).await?;
        let named = aliases["aliases"].as_array().into_iter().flatten();
        schema.aliases = named.filter_map(|a| a["alias_name"].as_str().map(str::to_owned)).collect();
        Ok(schema)
    }

    fn from_info(info: &Value) -> Option<Self> {
        let config = info["config"].as_object()?;
        let mut create = config["params"].as_object()?.clone();
        let mut update = Map::new();
        let later: Map<String, Value> = ["read_fan_out_factor", "read_fan_out_delay_ms"]
            .iter()
            .filter_map(|name| Some((name.to_string(), create.shift_remove(*name)?)))
            .filter(|(_, value)| !value.is_null())
            .collect();
        if !later.is_empty() {
            update.insert("params".into(), later.into());
        }
        for (name, value) in config {
            match name.as_str() {
                "params" => {}
                "optimizer_config" => drop(create.insert("optimizers_config".into(), value.clone())),
                // Its limits are for users: they would stop the copy.
                "strict_mode_config" => drop(update.insert(name.clone(), value.clone())),
                _ => drop(create.insert(name.clone(), value.clone())),
            }
        }
        drop_nulls(&mut create);
        drop_nulls(&mut update);
        let fields = info["payload_schema"].as_object().cloned().unwrap_or_default();
        let schema_of = |shown: &Value| match &shown["params"] {
            Value::Null => shown["data_type"].clone(),
            params => params.clone(),
        };
        let indexes = fields.iter().map(|(field, shown)| (field.clone(), schema_of(shown))).collect();
        Some(Self { create, update, indexes, shard_keys: Vec::new(), aliases: Vec::new() })
    }

    /// Most points that strict mode lets one scroll have.
    pub fn points_max(&self) -> Option<u64> {
        let strict = self.update.get("strict_mode_config")?;
        strict["max_query_limit"].as_u64().filter(|_| strict["enabled"] == true)
    }

    /// Vectors by name, the unnamed one's being empty: what the configuration says of each.
    pub fn vectors(&self) -> Vec<(String, Value)> {
        match self.create.get("vectors") {
            Some(Value::Object(one)) if one.contains_key("size") && one.contains_key("distance") => {
                vec![(String::new(), one.clone().into())]
            }
            Some(Value::Object(named)) => named.iter().map(|(n, p)| (n.clone(), p.clone())).collect(),
            _ => Vec::new(),
        }
    }

    /// Names of sparse vectors.
    pub fn sparse(&self) -> Vec<String> {
        let named = self.create.get("sparse_vectors").and_then(Value::as_object);
        named.map(|n| n.keys().cloned().collect()).unwrap_or_default()
    }

    /// Cosine vectors are stored at length one, and are divided once more when they are written again.
    pub fn tolerance(&self, vector: &str) -> Tolerance {
        let vectors = self.vectors();
        let params = vectors.iter().find(|(name, _)| name == vector).map(|(_, p)| p);
        match params {
            Some(p) if p["distance"] == "Cosine" && p["datatype"] == "float16" => Tolerance(2e-3),
            Some(p) if p["distance"] == "Cosine" => Tolerance(2e-6),
            _ => Tolerance(0.0),
        }
    }

    /// Creates the collection with its shard keys and payload indexes. What the target refuses of indexes is said, and given
    /// back as a number of findings.
    ///
    /// # Errors
    /// If it does not take the collection itself.
    pub async fn create(&self, to: &Remote, collection: &str) -> Result<u64> {
        let path = ["collections", collection];
        let made: Result<bool> = to.call(Method::PUT, &path, "", Some(bytes(&self.create)?)).await;
        made.map_err(|e| explained(e, &format!("the target does not take the schema of `{collection}`")))?;
        for key in &self.shard_keys {
            let path = ["collections", collection, "shards"];
            let made: Result<bool> =
                to.call(Method::PUT, &path, "", Some(bytes(&json!({ "shard_key": key }))?)).await;
            made.map_err(|e| explained(e, &format!("the target does not take the shard key {key}")))?;
        }
        self.create_indexes(to, collection).await
    }

    /// Creates the payload indexes; gives the number of those that were refused.
    pub async fn create_indexes(&self, to: &Remote, collection: &str) -> Result<u64> {
        let mut refused = 0;
        for (field, schema) in &self.indexes {
            let body = bytes(&json!({ "field_name": field, "field_schema": schema }))?;
            let path = ["collections", collection, "index"];
            let made: Result<Value> = to.call(Method::PUT, &path, "wait=true", Some(body)).await;
            if let Err(e) = made {
                let e = explained(e, &format!("the target does not take the index of `{field}`"));
                say(collection, &format!("{e:#}"));
                refused += 1;
            }
        }
        Ok(refused)
    }

    /// Sets what is set last, and the aliases; gives the number of findings.
    pub async fn complete(&self, to: &Remote, collection: &str) -> Result<u64> {
        let mut findings = 0;
        if !self.update.is_empty() {
            let path = ["collections", collection];
            let set: Result<bool> = to.call(Method::PATCH, &path, "", Some(bytes(&self.update)?)).await;
            if let Err(e) = set {
                say(collection, &format!("{:#}", explained(e, "the target does not take its last settings")));
                findings += 1;
            }
        }
        let all: Value = to.call(Method::GET, &["aliases"], "", None).await?;
        let owner = |alias: &str| {
            let known = all["aliases"].as_array()?.iter().find(|a| a["alias_name"] == alias)?;
            known["collection_name"].as_str().map(str::to_owned)
        };
        // A collection that was asked for by an alias has that as its name here.
        for alias in self.aliases.iter().filter(|alias| alias.as_str() != collection) {
            match owner(alias) {
                Some(other) if other == collection => continue,
                Some(other) => {
                    say(
                        collection,
                        &format!("the alias `{alias}` stays with `{other}`, which has it on the target"),
                    );
                    findings += 1;
                    continue;
                }
                None => {}
            }
            let action = json!({"create_alias": {"collection_name": collection, "alias_name": alias}});
            let body = bytes(&json!({ "actions": [action] }))?;
            let made: Result<bool> = to.call(Method::POST, &["collections", "aliases"], "", Some(body)).await;
            if let Err(e) = made {
                let e = explained(e, &format!("the target does not take the alias `{alias}`"));
                say(collection, &format!("{e:#}"));
                findings += 1;
            }
        }
        Ok(findings)
    }

    /// Makes the target ready for points, and gives the number of findings. `begun` says that an earlier run of this copy made
    /// it.
    ///
    /// # Errors
    /// If a collection of this name is there that has points from elsewhere.
    pub async fn prepare(&self, to: &Remote, collection: &str, begun: bool) -> Result<u64> {
        match (to.exists(collection).await?, begun) {
            (false, false) => self.create(to, collection).await,
            (false, true) => bail!("`{collection}` is gone from {} since the copy began", to.name()),
            (true, true) => self.create_indexes(to, collection).await,
            (true, false) if to.count(collection).await? == 0 => {
                say(collection, "is there already and empty: its own settings are kept");
                self.create_indexes(to, collection).await
            }
            (true, false) => bail!(
                "`{collection}` is on {} already and has points; delete it there, or give it another name",
                to.name()
            ),
        }
    }
}

/// A refusal as a sentence that begins with what it is about.
fn explained(error: anyhow::Error, what: &str) -> anyhow::Error {
    match error.downcast_ref::<Refused>() {
        Some(refused) => anyhow!("{what}: {}", refused.text),
        None => error.context(what.to_owned()),
    }
}

/// Answers show unset fields as null where requests leave them out.
fn drop_nulls(map: &mut Map<String, Value>) {
    map.retain(|_, value| !value.is_null());
    for (name, value) in map.iter_mut() {
        // The user's own.
        if let (Value::Object(inner), true) = (value, name != "metadata") {
            drop_nulls(inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_create_body_has_all_that_the_configuration_shows() {
        let info = json!({
            "config": {
                "params": {
                    "vectors": {"a": {"size": 4, "distance": "Cosine", "on_disk": null}},
                    "shard_number": 3, "read_fan_out_factor": 2, "on_disk_payload": true, "from_later": {"x": 1},
                },
                "hnsw_config": {"m": 24, "max_indexing_threads": 0},
                "optimizer_config": {"indexing_threshold": 5},
                "quantization_config": null,
                "strict_mode_config": {"enabled": true, "max_query_limit": 50},
                "metadata": {"owner": null},
            },
            "payload_schema": {
                "city": {"data_type": "keyword", "points": 3},
                "text": {"data_type": "text", "params": {"type": "text", "tokenizer": "word"}, "points": 3},
            },
        });
        let schema = Schema::from_info(&info).expect("a schema");
        let expected = json!({
            "vectors": {"a": {"size": 4, "distance": "Cosine"}},
            "shard_number": 3, "on_disk_payload": true, "from_later": {"x": 1},
            "hnsw_config": {"m": 24, "max_indexing_threads": 0},
            "optimizers_config": {"indexing_threshold": 5},
            "metadata": {"owner": null},
        });
        assert_eq!(Value::from(schema.create.clone()), expected);
        let later = json!({"params": {"read_fan_out_factor": 2}, "strict_mode_config": {"enabled": true, "max_query_limit": 50}});
        assert_eq!(Value::from(schema.update.clone()), later);
        assert_eq!(
            Value::from(schema.indexes.clone()),
            json!({"city": "keyword", "text": {"type": "text", "tokenizer": "word"}})
        );
        assert_eq!(schema.points_max(), Some(50));
        assert_eq!(schema.tolerance("a"), Tolerance(2e-6));
        assert_eq!(schema.tolerance("b"), Tolerance(0.0));
    }
}
