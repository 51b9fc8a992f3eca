//! Puts the parts of a managed node together, and keeps its one collection in the registry as schema and records say.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use quiver_api::collections::{self as api, CreateCollection};
use quiver_api::shard_call::ShardError;
use quiver_api::sparse::Datatype as WireDatatype;
use quiver_engine::config::{Datatype, Distance, QuantizationDiff, VectorParams};
use tokio::net::TcpListener;
use uuid::Uuid;

use super::allowed::declared;
use super::internal::{Execute, Internal};
use super::kube_records::KubeRecords;
use super::lead::{Addresses, Cluster, Convert};
use super::local_records::FileRecords;
use super::peer::Peers;
use super::record::ShardRecords;
use super::tls::{self, PeerClient};
use super::{Place as Where, ShardPlace};
use crate::clock;
use crate::collection::registry::Registry;
use crate::collection::route::HashRange;
use crate::collection::{Definition, Place, Route, call_local, convert, quantization};
use crate::error::ApiError;
use crate::guardrails::Issue;
use crate::pool::Deadline;
use crate::server::{self, Options};

/// A managed node, ready to run.
pub struct Managed {
    pub cluster: Arc<Cluster>,
    registry: Arc<Registry>,
    peers: Arc<Peers>,
    internal: Internal,
    listener: TcpListener,
}

/// Connects to where the records are and opens the internal port.
pub async fn start(
    registry: Arc<Registry>,
    issues: Arc<dyn Fn() -> futures::future::BoxFuture<'static, Vec<Issue>> + Send + Sync>,
) -> Result<Managed> {
    let node = registry.node.clone();
    let settings = &node.settings.cluster;
    let (records, addresses): (Arc<dyn ShardRecords>, Addresses) = match &settings.records_file {
        Some(path) => {
            let (records, addresses) = FileRecords::open(path)?;
            (records, Addresses::Fixed(addresses))
        }
        None => {
            let addresses = Addresses::Dns {
                service: settings.service.clone(),
                namespace: settings.namespace.clone(),
                port: settings.p2p_port,
            };
            (KubeRecords::start(settings, &node.boot).await?, addresses)
        }
    };
    let client = PeerClient::start(settings)?;
    let (disk, convert) = (registry.disk.clone(), converter(&registry));
    let cluster = Cluster::new(node.clone(), disk, records, addresses, client.clone(), convert)?;
    let executing = node.clone();
    let execute: Execute = Arc::new(move |shard, asked, call, deadline| {
        let node = executing.clone();
        let answer = async move {
            call_local(&node, shard, asked, call, deadline).await.map_err(|e| e.to_shard_error())
        };
        Box::pin(answer) as futures::future::BoxFuture<'static, _>
    });
    let peers = Arc::new(Peers::new(cluster.clone(), client, execute.clone()));
    let internal = Internal::new(cluster.clone(), execute, issues);
    let listener =
        server::listen(&settings.p2p_host, settings.p2p_port).await.context("the internal port")?;
    Ok(Managed { cluster, registry, peers, internal, listener })
}

fn converter(registry: &Arc<Registry>) -> Convert {
    let defaults = registry.clone();
    Convert {
        config: Arc::new(move |body| {
            let settings: CreateCollection =
                serde_json::from_value(body.clone()).map_err(|e| e.to_string())?;
            settings.validate().map_err(|e| e.to_string())?;
            convert::collection_config(&settings, &defaults.defaults()).map_err(|e| e.text)
        }),
        index: Arc::new(|field, schema| {
            let schema: api::FieldSchema =
                serde_json::from_value(schema.clone()).map_err(|e| e.to_string())?;
            let path = convert::path(field).map_err(|e| e.text)?;
            Ok((path, convert::field_schema(&schema)))
        }),
    }
}

impl Managed {
    /// Runs until the node stops; comes back early only with an error.
    pub async fn run(self) -> Result<()> {
        let node = self.registry.node.clone();
        let settings = &node.settings;
        let options = Options {
            connections_max: settings.service.max_connections,
            first_request: Duration::from_secs(settings.service.header_timeout_sec),
            drain: Duration::from_secs(settings.service.shutdown_timeout_sec),
            tls: tls::files(&settings.cluster)?,
        };
        node.shutdown.hold();
        let (leaving, stopping) = (self.cluster.clone(), node.shutdown.clone());
        tokio::spawn(async move {
            stopping.asked().await;
            leaving.leave().await;
            stopping.begin();
        });
        tracing::info!(address = %self.listener.local_addr()?, "the internal port is open");
        let served = server::serve(self.listener, self.internal.router(), options, node.shutdown.clone());
        let looking = self.cluster.clone().run();
        let keeping = keep(self.registry, self.cluster, self.peers);
        tokio::select! {
            served = served => served,
            () = async { tokio::join!(looking, keeping); std::future::pending::<()>().await } => Ok(()),
        }
    }
}

/// Follows schema and places.
async fn keep(registry: Arc<Registry>, cluster: Arc<Cluster>, peers: Arc<Peers>) {
    let mut changed = cluster.changed();
    while !registry.node.shutdown.has_begun() {
        changed.mark_unchanged();
        if let Err(e) = refresh(&registry, &cluster, &peers).await {
            tracing::warn!("the collection can't be served as its resource says: {}", e.text);
        }
        tokio::select! {
            _ = changed.changed() => {}
            () = registry.node.shutdown.begun() => {}
        }
    }
}

/// Puts the collection into the registry as it is to be now.
pub async fn refresh(
    registry: &Arc<Registry>,
    cluster: &Arc<Cluster>,
    peers: &Arc<Peers>,
) -> Result<(), ApiError> {
    let Some(schema) = cluster.schema.current() else { return Ok(()) };
    let places = cluster.places();
    let mut settings = declared(&schema);
    settings.shard_number = Some(schema.shards);
    add_known_vectors(&mut settings, cluster);
    let routes = match places.as_ref() {
        Ok(places) => places.iter().map(|p| route(p, peers)).collect(),
        Err(why) => {
            vec![Route {
                shard: 0,
                range: HashRange::equal(0, 1),
                key: None,
                place: Place::Missing(why.clone()),
                fresh: None,
                copy: None,
            }]
        }
    };
    let uid = Uuid::parse_str(&schema.collection_uid).unwrap_or_default();
    let known = registry.find(&schema.collection_name);
    if let Some(collection) = known.filter(|c| c.definition.load().uid == uid) {
        let before = collection.definition.load_full();
        if before.settings != settings {
            collection.definition.store(Arc::new(Definition { settings, ..Definition::clone(&before) }));
            collection.optimized.lock().clear();
        }
        collection.routes.store(Arc::new(routes));
    } else {
        let dir = registry.node.settings.storage.storage_path.join("managed");
        registry
            .disk
            .create_dir_all(&dir)
            .map_err(|e| ApiError::internal(format!("making {}: {e}", dir.display())))?;
        let definition = Definition {
            name: schema.collection_name.clone(),
            uid,
            replaces: None,
            recovered: Default::default(),
            created_unix: clock::unix().as_secs(),
            copies: std::collections::BTreeMap::new(),
            settings,
        };
        registry.insert(&schema.collection_name, registry.collection(dir, definition, routes));
    }
    let aliases: std::collections::BTreeMap<String, String> =
        schema.aliases.iter().map(|a| (a.clone(), schema.collection_name.clone())).collect();
    if registry.names().aliases != aliases {
        let deadline = Deadline::after(Duration::from_secs(60));
        registry
            .change_aliases(
                |names| {
                    names.aliases = aliases;
                    Ok(())
                },
                deadline,
            )
            .await?;
    }
    registry.set_open();
    Ok(())
}

/// Adds the vectors that a client created: they are in every shard, wherever the request came in.
fn add_known_vectors(settings: &mut CreateCollection, cluster: &Cluster) {
    for (_, shard) in cluster.open_shards() {
        for (name, params) in &shard.view().config().vectors {
            if !settings.vectors.iter().any(|(known, _)| known == name) {
                settings.vectors.as_map_mut().insert(name.clone(), wire_vector(params));
            }
        }
        for (name, params) in &shard.view().config().sparse_vectors {
            let known = settings.sparse_vectors.get_or_insert_default();
            known.entry(name.clone()).or_insert_with(|| convert::wire_sparse_params(params));
        }
    }
}

fn route(place: &ShardPlace, peers: &Arc<Peers>) -> Route {
    let range = HashRange { from: place.range.first, to: place.range.last };
    let copy = place.copy.clone();
    let fresh = match &place.place {
        Where::Local(_, fresh) => Some(fresh.clone()),
        Where::Remote { .. } | Where::Missing(_) => None,
    };
    let place_now = match &place.place {
        Where::Local(shard, _) => Place::Local(shard.clone()),
        Where::Missing(why) => Place::Missing(why.clone()),
        Where::Remote { pod, address } => {
            let (peers, to, address) = (peers.clone(), pod.clone(), address.clone());
            let range = place.range;
            let call = Arc::new(move |shard, call, deadline| {
                let (peers, to, address) = (peers.clone(), to.clone(), address.clone());
                let answer = async move {
                    let answer = peers.call((shard, range), (&to, &address), call, deadline).await;
                    answer.map_err(|e: ShardError| ApiError::from(e))
                };
                Box::pin(answer) as futures::future::BoxFuture<'static, _>
            });
            Place::Remote { pod: pod.clone(), call }
        }
    };
    Route { shard: place.shard, range, key: None, place: place_now, fresh, copy }
}

/// A vector as REST shows it. Only for those that a client added; declared ones are shown as they were declared.
fn wire_vector(p: &VectorParams) -> api::VectorParams {
    api::VectorParams {
        size: p.size,
        distance: match p.distance {
            Distance::Cosine | Distance::CosineAsSent => api::Distance::Cosine,
            Distance::Dot => api::Distance::Dot,
            Distance::Euclid => api::Distance::Euclid,
            Distance::Manhattan => api::Distance::Manhattan,
        },
        hnsw_config: p.hnsw.map(|h| api::HnswDiff {
            m: h.m,
            ef_construct: h.ef_construct,
            full_scan_threshold: h.full_scan_threshold_kb,
            max_indexing_threads: h.max_indexing_threads,
            on_disk: h.on_disk,
            payload_m: h.payload_m,
            inline_storage: h.inline_storage,
            memory: None,
        }),
        quantization_config: match p.quantization {
            Some(QuantizationDiff::Set(q)) => Some(quantization::to_wire(q)),
            Some(QuantizationDiff::Disabled) | None => None,
        },
        on_disk: p.on_disk,
        memory: None,
        datatype: match p.datatype {
            Datatype::Float32 => None,
            Datatype::Float16 => Some(WireDatatype::Float16),
            Datatype::Uint8 => Some(WireDatatype::Uint8),
        },
        multivector_config: p
            .multivector
            .then_some(api::MultiVectorConfig { comparator: api::MultiVectorComparator::MaxSim }),
    }
}

/// A number for a pod, where the protocol has its peers' ids.
pub fn peer_id(pod: &str) -> u64 {
    use sha2::{Digest, Sha256};
    let digest: [u8; 32] = Sha256::digest(pod).into();
    let high = u64::from_be_bytes(digest[..8].try_into().expect("8 of 32 bytes"));
    // 53 bits, so that every client reads it exactly.
    high >> 11
}
