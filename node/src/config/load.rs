//! Where settings come from, and how a wrong one is refused: by its name, with the nearest known one.

use std::path::PathBuf;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Map, Value};

use super::sections::{Secret, Settings};

/// Keys of the protocol's own configuration that mean nothing here. A file that has them still works.
const WITHOUT_EFFECT: &[&str] = &[
    "audit",
    "cluster.consensus",
    "cluster.grpc_timeout_ms",
    "cluster.p2p",
    "cluster.peer_id",
    "cluster.resharding_enabled",
    "feature_flags",
    "gpu",
    "inference",
    "logger",
    "quotas",
    "service.enable_static_content",
    "service.grpc_port",
    "service.hide_jwt_dashboard",
    "service.http_client_disconnect_timeout_sec",
    "service.http_client_request_timeout_sec",
    "service.http_keep_alive_timeout_sec",
    "service.metrics_port",
    "service.static_content_dir",
    "storage.collection.quantization",
    "storage.collection.replication_factor",
    "storage.collection.shard_number_per_node",
    "storage.collection.strict_mode",
    "storage.collection.write_consistency_factor",
    "storage.handle_collection_load_errors",
    "storage.hnsw_global_config",
    "storage.low_memory_mode",
    "storage.mmap_advice",
    "storage.node_type",
    "storage.optimizers_overwrite",
    "storage.payload",
    "storage.performance.async_scorer",
    "storage.performance.incoming_shard_transfers_limit",
    "storage.performance.max_concurrent_collection_loads",
    "storage.performance.max_concurrent_segment_loads",
    "storage.performance.max_concurrent_shard_loads",
    "storage.performance.outgoing_shard_transfers_limit",
    "storage.performance.update_rate_limit",
    "storage.recovery_mode",
    "storage.shard_transfer_method",
    "storage.snapshots_config",
    "storage.temp_path",
    "storage.update_concurrency",
    "storage.update_queue_size",
    "storage.wal.wal_retain_closed",
    "storage.wal.wal_segments_ahead",
    "telemetry_disabled",
];

/// What the command line says.
#[derive(Clone, Debug, Default, clap::Parser)]
#[command(name = "quiver-node", version, about = "A vector search node that speaks the Qdrant REST protocol")]
pub struct Flags {
    /// YAML file with settings; `quiver.yaml` in the current folder is read if it exists
    #[arg(long, env = "QUIVER_CONFIG_PATH", value_name = "FILE")]
    pub config_path: Option<PathBuf>,
    /// Address to listen on [default: 127.0.0.1]
    #[arg(long)]
    pub host: Option<String>,
    /// Port to listen on [default: 6333]
    #[arg(long)]
    pub http_port: Option<u16>,
    /// Folder of the data [default: ./quiver-data]
    #[arg(long, value_name = "DIR")]
    pub storage_path: Option<PathBuf>,
    /// Folder of the snapshots [default: snapshots inside the data folder]
    #[arg(long, value_name = "DIR")]
    pub snapshots_path: Option<PathBuf>,
    /// Level of the log, e.g. INFO or info,quiver_node=debug
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
}

/// Settings and what is to be said about them once logging works.
#[derive(Debug)]
pub struct Loaded {
    pub settings: Settings,
    /// Keys that were accepted and mean nothing here.
    pub without_effect: Vec<String>,
    /// The file that was read.
    pub file: Option<PathBuf>,
}

/// Reads the file if there is one, and puts environment and flags over it.
pub fn load(flags: &Flags, environment: impl Iterator<Item = (String, String)>) -> Result<Loaded> {
    let file =
        flags.config_path.clone().or_else(|| Some(PathBuf::from("quiver.yaml")).filter(|p| p.exists()));
    let yaml = match &file {
        #[allow(clippy::disallowed_methods)] // The settings are read before there is a file layer.
        Some(path) => {
            String::from_utf8(std::fs::read(path).with_context(|| format!("reading {}", path.display()))?)
                .map_err(|_| anyhow!("{} is not UTF-8", path.display()))?
        }
        None => String::new(),
    };
    let name = file.as_ref().map_or_else(|| "settings".into(), |p| p.display().to_string());
    let (settings, without_effect) = merge(&name, &yaml, environment, flags)?;
    Ok(Loaded { settings, without_effect, file })
}

fn merge(
    name: &str,
    yaml: &str,
    environment: impl Iterator<Item = (String, String)>,
    flags: &Flags,
) -> Result<(Settings, Vec<String>)> {
    let mut without_effect = Vec::new();
    let mut tree = if yaml.trim().is_empty() {
        Value::Null
    } else {
        serde_saphyr::from_str::<Value>(yaml).map_err(|e| anyhow!("{name}: {e}"))?
    };
    if tree.is_null() {
        tree = Value::Object(Map::new());
    }
    let known = known_keys();
    check_keys(name, "", &mut tree, &known, &mut without_effect)?;
    drop_nulls(&mut tree);
    parse(&tree).map_err(|e| anyhow!("{name}: {e}"))?;
    let mut variables: Vec<_> = environment.filter(|(key, _)| key.starts_with("QUIVER__")).collect();
    variables.sort();
    for (key, text) in variables {
        let path: Vec<String> = key.split("__").skip(1).map(str::to_ascii_lowercase).collect();
        if is_without_effect(&path.join(".")) {
            without_effect.push(key);
            continue;
        }
        let mut branch = Value::String(text.clone());
        for part in path.iter().rev() {
            branch = Value::Object(Map::from_iter([(part.clone(), branch)]));
        }
        check_keys(&key, "", &mut branch, &known, &mut without_effect)?;
        tree = place(&tree, &path, &text).with_context(|| format!("the environment variable {key}"))?;
    }
    let mut settings = parse(&tree)?;
    over(&mut settings, flags);
    check_values(&settings)?;
    Ok((settings, without_effect))
}

/// `tree` with `text` at `path`, as the first of number or truth value, list, text that fits there.
fn place(tree: &Value, path: &[String], text: &str) -> Result<Value> {
    let mut candidates = Vec::new();
    if let Ok(value) = serde_json::from_str::<Value>(text) {
        candidates.push(value);
    }
    candidates.push(Value::String(text.into()));
    candidates.push(Value::Array(text.split(',').map(|t| Value::String(t.trim().into())).collect()));
    let mut first_error = None;
    for candidate in candidates {
        let mut tried = tree.clone();
        let mut at = &mut tried;
        for part in path {
            if !at.is_object() {
                *at = Value::Object(Map::new());
            }
            at = at.as_object_mut().expect("made an object above").entry(part.clone()).or_insert(Value::Null);
        }
        *at = candidate;
        match parse(&tried) {
            Ok(_) => return Ok(tried),
            Err(e) => first_error = first_error.or(Some(e)),
        }
    }
    Err(first_error.expect("at least one candidate was tried"))
}

fn parse(tree: &Value) -> Result<Settings> {
    serde_path_to_error::deserialize(tree).map_err(|e| {
        let path = e.path().to_string();
        anyhow!("{path}: {}", e.into_inner())
    })
}

/// Every key that can be set: the defaults, printed.
fn known_keys() -> Value {
    serde_json::to_value(Settings::default()).expect("settings print as JSON")
}

fn is_without_effect(path: &str) -> bool {
    WITHOUT_EFFECT
        .iter()
        .any(|p| path == *p || path.strip_prefix(p).is_some_and(|rest| rest.starts_with('.')))
}

/// Refuses the first key that is not known, and takes those out that mean nothing here.
fn check_keys(
    source: &str,
    at: &str,
    given: &mut Value,
    known: &Value,
    ignored: &mut Vec<String>,
) -> Result<()> {
    let Value::Object(known_map) = known else { return Ok(()) };
    let Value::Object(given_map) = given else {
        if given.is_null() {
            return Ok(());
        }
        bail!("{source}: `{at}` is a section, its keys are {}", list(known_map.keys()));
    };
    let mut taken_out = Vec::new();
    for (key, value) in given_map.iter_mut() {
        let path = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
        if is_without_effect(&path) {
            taken_out.push(key.clone());
            ignored.push(path);
        } else if let Some(below) = known_map.get(key) {
            check_keys(source, &path, value, below, ignored)?;
        } else {
            match nearest(key, known_map.keys()) {
                Some(near) => bail!("{source}: unknown key `{path}`; did you mean `{}`?", join(at, near)),
                None => bail!("{source}: unknown key `{path}`; known here are {}", list(known_map.keys())),
            }
        }
    }
    for key in taken_out {
        given_map.remove(&key);
    }
    Ok(())
}

fn join(at: &str, key: &str) -> String {
    if at.is_empty() { key.into() } else { format!("{at}.{key}") }
}

fn list<'a>(keys: impl Iterator<Item = &'a String>) -> String {
    keys.map(|k| format!("`{k}`")).collect::<Vec<_>>().join(", ")
}

/// The known key that differs in the fewest letters, if that is less than half of them.
fn nearest<'a>(key: &str, known: impl Iterator<Item = &'a String>) -> Option<&'a String> {
    known
        .map(|k| (distance(key, k), k))
        .min()
        .filter(|(d, k)| *d * 2 < k.len().max(key.len()))
        .map(|(_, k)| k)
}

/// Letters to insert, remove or replace (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// An empty key in YAML means: as the default says.
fn drop_nulls(tree: &mut Value) {
    if let Value::Object(map) = tree {
        map.retain(|_, v| !v.is_null());
        map.values_mut().for_each(drop_nulls);
    }
}

fn over(settings: &mut Settings, flags: &Flags) {
    if let Some(host) = &flags.host {
        settings.service.host.clone_from(host);
    }
    if let Some(port) = flags.http_port {
        settings.service.http_port = port;
    }
    if let Some(path) = &flags.storage_path {
        settings.storage.storage_path.clone_from(path);
    }
    if let Some(path) = &flags.snapshots_path {
        settings.storage.snapshots_path = Some(path.clone());
    }
    if let Some(level) = &flags.log_level {
        settings.log_level.clone_from(level);
    }
}

/// What serde can't see.
fn check_values(settings: &Settings) -> Result<()> {
    let service = &settings.service;
    if service.jwt_rbac && service.api_key.is_none() {
        bail!("service.jwt_rbac needs service.api_key, which signs the tokens");
    }
    if service.enable_tls
        && (settings.tls.cert.as_os_str().is_empty() || settings.tls.key.as_os_str().is_empty())
    {
        bail!("service.enable_tls needs tls.cert and tls.key");
    }
    if service.verify_https_client_certificate && settings.tls.ca_cert.is_none() {
        bail!("service.verify_https_client_certificate needs tls.ca_cert");
    }
    for (name, key) in [
        ("api_key", &service.api_key),
        ("alt_api_key", &service.alt_api_key),
        ("read_only_api_key", &service.read_only_api_key),
    ] {
        if key.as_ref().map(Secret::expose) == Some("") {
            bail!("service.{name} is empty; leave it out to have no key");
        }
    }
    if service.alt_api_key.is_some() && service.api_key.is_none() {
        bail!("service.alt_api_key is for changing service.api_key, which is not set");
    }
    if service.max_request_size_mb == 0 {
        bail!("service.max_request_size_mb must be at least 1");
    }
    let cluster = &settings.cluster;
    if cluster.enabled {
        for (name, value) in [
            ("collection", &cluster.collection),
            ("collection_uid", &cluster.collection_uid),
            ("pod", &cluster.pod),
        ] {
            if value.is_empty() {
                bail!("cluster.enabled needs cluster.{name}");
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load_with(yaml: &str, env: &[(&str, &str)], flags: &Flags) -> Result<(Settings, Vec<String>), String> {
        let env = env.iter().map(|(k, v)| (k.to_string(), v.to_string()));
        merge("q.yaml", yaml, env, flags).map_err(|e| format!("{e:#}"))
    }

    fn check(yaml: &str, env: &[(&str, &str)], seen: impl Fn(&Settings) -> String, expected: &str) {
        let (settings, _) = load_with(yaml, env, &Flags::default()).expect("these settings are right");
        assert_eq!(seen(&settings), expected, "yaml: {yaml}, environment: {env:?}");
    }

    fn check_refused(yaml: &str, env: &[(&str, &str)], expected: &str) {
        let text = load_with(yaml, env, &Flags::default()).expect_err("these settings are wrong");
        assert_eq!(text, expected);
    }

    #[test]
    fn the_environment_wins_over_the_file_and_flags_win_over_both() {
        let port = |s: &Settings| s.service.http_port.to_string();
        check("", &[], port, "6333");
        check("service: {http_port: 7000}", &[], port, "7000");
        check("service: {http_port: 7000}", &[("QUIVER__SERVICE__HTTP_PORT", "7001")], port, "7001");
        let flags = Flags { http_port: Some(7002), ..Flags::default() };
        let (settings, _) =
            load_with("service: {http_port: 7000}", &[("QUIVER__SERVICE__HTTP_PORT", "7001")], &flags)
                .expect("these settings are right");
        assert_eq!(settings.service.http_port, 7002);
    }

    #[test]
    fn a_variable_takes_the_type_of_its_key() {
        let key = |s: &Settings| s.service.api_key.as_ref().map_or(String::new(), |k| k.expose().to_string());
        check("", &[("QUIVER__SERVICE__API_KEY", "12345")], key, "12345");
        check("", &[("QUIVER__SERVICE__API_KEY", "true")], key, "true");
        check(
            "",
            &[("QUIVER__SERVICE__ENABLE_CORS", "false")],
            |s| s.service.enable_cors.to_string(),
            "false",
        );
        check(
            "",
            &[("QUIVER__STORAGE__STORAGE_PATH", "/data")],
            |s| s.storage.storage_path.display().to_string(),
            "/data",
        );
        check(
            "",
            &[("QUIVER__SERVICE__SNAPSHOT_URL_HOSTS", "a.example, b.example")],
            |s| s.service.snapshot_url_hosts.join("+"),
            "a.example+b.example",
        );
    }

    #[test]
    fn an_unknown_key_is_refused_by_its_name() {
        check_refused(
            "service: {htp_port: 1}",
            &[],
            "q.yaml: unknown key `service.htp_port`; did you mean `service.http_port`?",
        );
        check_refused("sirvice: {}", &[], "q.yaml: unknown key `sirvice`; did you mean `service`?");
        check_refused(
            "",
            &[("QUIVER__STORAGE__STORAGEPATH", "x")],
            "QUIVER__STORAGE__STORAGEPATH: unknown key `storage.storagepath`; did you mean `storage.storage_path`?",
        );
        check_refused(
            "tls: {something_else: 1}",
            &[],
            "q.yaml: unknown key `tls.something_else`; known here are `cert`, `key`, `ca_cert`, `cert_ttl`",
        );
    }

    #[test]
    fn a_wrong_value_is_refused_with_its_path() {
        check_refused(
            "service: {http_port: many}",
            &[],
            "q.yaml: service.http_port: invalid type: string \"many\", expected u16",
        );
        check_refused(
            "",
            &[("QUIVER__SERVICE__HTTP_PORT", "99999")],
            "the environment variable QUIVER__SERVICE__HTTP_PORT: service.http_port: invalid value: integer `99999`, expected u16",
        );
        check_refused(
            "service: {jwt_rbac: true}",
            &[],
            "service.jwt_rbac needs service.api_key, which signs the tokens",
        );
        check_refused("service: {api_key: ''}", &[], "service.api_key is empty; leave it out to have no key");
    }

    #[test]
    fn keys_of_the_protocol_without_effect_are_accepted_and_named() {
        let yaml = "storage: {wal: {wal_segments_ahead: 1}, snapshots_config: {snapshots_storage: local}}";
        let (_, ignored) =
            load_with(yaml, &[("QUIVER__SERVICE__GRPC_PORT", "6334")], &Flags::default()).expect("accepted");
        assert_eq!(
            ignored,
            ["storage.wal.wal_segments_ahead", "storage.snapshots_config", "QUIVER__SERVICE__GRPC_PORT"]
        );
    }

    #[test]
    fn keys_are_never_printed() {
        let (settings, _) =
            load_with("service: {api_key: hush}", &[], &Flags::default()).expect("these settings are right");
        assert!(!format!("{settings:?}").contains("hush"));
    }
}
