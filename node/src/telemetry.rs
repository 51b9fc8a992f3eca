//! Log lines, and the answer of `GET /telemetry`.

use std::io::IsTerminal;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};
use tracing_subscriber::EnvFilter;

use crate::config::{LogFormat, Settings};
use crate::metrics::{RequestStat, Requests};

/// Starts logging to standard error. Called once, by `main`.
pub fn start_logging(settings: &Settings) -> Result<()> {
    let filter = EnvFilter::try_new(&settings.log_level).with_context(|| {
        format!("log_level `{}` is neither a level nor a list of them", settings.log_level)
    })?;
    let colours = std::io::stderr().is_terminal();
    let lines =
        tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr);
    match settings.log_format {
        LogFormat::Json => lines.json().init(),
        LogFormat::Text => lines.with_target(false).init(),
    }
    Ok(())
}

/// What `/telemetry` needs to know beside the requests.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Id of this life of the process.
    pub boot: String,
    /// RFC 3339.
    pub startup: String,
    pub cluster_enabled: bool,
    pub collections: usize,
    /// One entry for each collection, only shown from level 1 on.
    pub collection_details: Vec<Value>,
    pub memory_used_bytes: u64,
    pub memory_limit_bytes: u64,
}

/// The `result` of `GET /telemetry`.
pub fn report(facts: &Facts, requests: &Requests, details_level: u64) -> Value {
    let mut responses = Map::new();
    for ((method, endpoint, status), stat) in requests.all() {
        let route =
            responses.entry(format!("{method} {endpoint}")).or_insert_with(|| Value::Object(Map::new()));
        let by_status = route.as_object_mut().expect("made an object above");
        by_status.insert(status.to_string(), request_stat(&stat));
    }
    let mut collections = json!({ "number_of_collections": facts.collections });
    let mut answer = json!({
        "id": facts.boot,
        "app": {
            "name": "qdrant",
            "version": crate::PROTOCOL_VERSION,
            "quiver_version": crate::VERSION,
            "features": {
                "debug": cfg!(debug_assertions),
                "service_debug_feature": false,
                "recovery_mode": false,
                "gpu": false,
                "rocksdb": false,
                "staging": false,
            },
            "startup": facts.startup,
        },
        "cluster": { "enabled": facts.cluster_enabled },
        "requests": { "rest": { "responses": responses }, "grpc": { "responses": {} } },
    });
    if details_level >= 1 {
        collections["collections"] = Value::Array(facts.collection_details.clone());
        let (used, limit) = (facts.memory_used_bytes, facts.memory_limit_bytes);
        // What the allocator holds beyond that is not known here.
        answer["memory"] = json!({
            "active_bytes": used,
            "allocated_bytes": used,
            "metadata_bytes": 0,
            "resident_bytes": used,
            "retained_bytes": 0,
            "limit_bytes": limit,
        });
        // Only with `service.hardware_reporting`, which is not offered.
        answer["hardware"] = json!({"collection_data": {}});
        answer["app"]["system"] = json!({
            "cores": std::thread::available_parallelism().map_or(1, usize::from),
            "is_docker": false,
        });
    }
    answer["collections"] = collections;
    answer
}

fn request_stat(stat: &RequestStat) -> Value {
    let micros = |seconds: f64| seconds * 1e6;
    json!({
        "count": stat.count,
        "avg_duration_micros": micros(stat.avg_seconds()),
        "min_duration_micros": micros(stat.min_seconds),
        "max_duration_micros": micros(stat.max_seconds),
        "total_duration_micros": micros(stat.sum_seconds).round() as u64,
        "last_responded": stat.last.map(|at| at.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn requests_are_listed_by_route_and_status() {
        let requests = Requests::default();
        requests.add("PUT", "/collections/{collection_name}/points", 200, Duration::from_micros(250));
        let report = report(&Facts::default(), &requests, 0);
        let stat =
            &report["requests"]["rest"]["responses"]["PUT /collections/{collection_name}/points"]["200"];
        assert_eq!(stat["count"], 1);
        assert_eq!(stat["total_duration_micros"], 250);
        assert_eq!(report["app"]["name"], "qdrant");
        assert_eq!(report["collections"], json!({"number_of_collections": 0}));
    }
}
