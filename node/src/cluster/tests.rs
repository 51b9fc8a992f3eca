//! Several nodes in one process, on records in memory: who leads, who is asked, and what is said when one is gone.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use quiver_api::internal::{
    CopyState, HashRange, InternalError, NodeStatus, PROTOCOL_HEADER, PROTOCOL_VERSION, PayloadIndex,
    SchemaPolicy, SchemaRequest, SnapshotScheduleState,
};
use quiver_api::shard_call::{ShardAnswer, ShardCall, ShardError, ShardRead};
use quiver_engine::config::{CollectionConfig, Distance, FieldSchema, FieldType, VectorParams};
use quiver_engine::file::{Disk, RealDisk};
use quiver_engine::json_path::JsonPath;
use serde_json::{Value, json};

use super::Place;
use super::internal::Internal;
use super::lead::{Addresses, Cluster, Convert};
use super::local_records::MemoryRecords;
use super::peer::{NOT_LEADING, Peers};
use super::record::{CopyRecord, ShardRecord, ShardRecords};
use super::tls::PeerClient;
use crate::config::Settings;
use crate::node::Node;
use crate::pool::Deadline;
use crate::server;
use crate::shutdown::Shutdown;

pub(super) const UID: &str = "6f9619ff-8b86-4d01-b42d-00c04fc964ff";

pub(super) fn copy_id(shard: u32) -> String {
    format!("00000000-0000-4000-8000-00000000000{shard}")
}

/// `shards` shards, one on each of as many pods.
pub(super) fn records(shards: u32) -> MemoryRecords {
    MemoryRecords::new((0..shards).map(|shard| ShardRecord {
        name: format!("docs-{shard}"),
        version: "1".into(),
        shard,
        range: HashRange::part(shard, shards),
        term: 1,
        config_version: 1,
        primary: copy_id(shard),
        primary_boot: String::new(),
        copies: vec![CopyRecord::new(copy_id(shard), format!("docs-{shard}"), true)],
        restore: None,
        split: None,
    }))
}

pub(super) fn schema() -> SchemaRequest {
    SchemaRequest {
        collection_name: "docs".into(),
        collection_uid: UID.into(),
        resource: "search/docs".into(),
        generation: 1,
        shards: 3,
        min_in_sync: 1,
        create: json!({"vectors": {"size": 2, "distance": "Dot"}}),
        payload_indexes: vec![PayloadIndex { field_name: "city".into(), field_schema: json!("keyword") }],
        aliases: Vec::new(),
        schema_policy: SchemaPolicy::AllowAdditions,
        snapshot_schedule: SnapshotScheduleState::default(),
    }
}

fn convert() -> Convert {
    Convert {
        config: Arc::new(|_: &Value| {
            let params = VectorParams::new(2, Distance::Dot);
            Ok(CollectionConfig {
                vectors: BTreeMap::from([(String::new(), params)]),
                ..CollectionConfig::default()
            })
        }),
        index: Arc::new(|field: &str, _: &Value| {
            Ok((JsonPath::parse(field)?, FieldSchema::plain(FieldType::Keyword)))
        }),
    }
}

pub(super) struct TestNode {
    pub(super) cluster: Arc<Cluster>,
    shutdown: Shutdown,
    running: Vec<tokio::task::JoinHandle<()>>,
    /// Calls on shards aren't answered, nor what is asked of other nodes.
    pub(super) hangs: Arc<AtomicBool>,
}

impl TestNode {
    pub(super) async fn start(
        folder: &Path,
        pod: &str,
        records: &MemoryRecords,
        addresses: &BTreeMap<String, String>,
    ) -> Self {
        let mut settings = Settings::default();
        settings.storage.storage_path = folder.join(pod);
        settings.cluster.enabled = true;
        settings.cluster.pod = pod.into();
        settings.cluster.collection_uid = UID.into();
        settings.cluster.p2p_host = "127.0.0.1".into();
        RealDisk.create_dir_all(&settings.storage.storage_path).expect("made");
        let shutdown = Shutdown::default();
        let node = Node::new(settings, shutdown.clone()).expect("a node");
        let records: Arc<dyn ShardRecords> = Arc::new(records.clone());
        let client = PeerClient::start(&node.settings.cluster).expect("a client");
        let addresses = Addresses::Fixed(addresses.clone());
        let cluster = Cluster::new(node, Arc::new(RealDisk), records, addresses, client, convert())
            .expect("an own volume");
        let running = vec![tokio::spawn(cluster.clone().run())];
        Self { running, cluster, shutdown, hangs: Arc::default() }
    }

    /// Serves the internal port: every call on a shard answers with a count of its number.
    pub(super) async fn serve(&mut self, listener: tokio::net::TcpListener) {
        let pod = self.cluster.node.settings.cluster.pod.clone();
        let number: u64 = pod.trim_start_matches("docs-").parse().expect("a pod has a number");
        let (hangs, ask_others) = (self.hangs.clone(), self.hangs.clone());
        let execute = move |_, _, _: ShardCall, _: Deadline| {
            let answer = Ok(ShardAnswer::Counted { count: number, unindexed: Vec::new() });
            match hangs.load(Ordering::SeqCst) {
                true => Box::pin(std::future::pending()) as _,
                false => Box::pin(std::future::ready(answer)) as _,
            }
        };
        let internal = Internal::new(
            self.cluster.clone(),
            Arc::new(execute),
            Arc::new(move || match ask_others.load(Ordering::SeqCst) {
                true => Box::pin(std::future::pending()),
                false => Box::pin(std::future::ready(Vec::new())),
            }),
        );
        let options = server::Options {
            connections_max: 100,
            first_request: Duration::from_secs(10),
            drain: Duration::from_secs(1),
            tls: None,
        };
        let shutdown = self.shutdown.clone();
        let router = internal.router();
        self.running.push(tokio::spawn(async move {
            server::serve(listener, router, options, shutdown).await.expect("served");
        }));
    }

    pub(super) async fn stop(self) {
        self.shutdown.begin();
        for task in self.running {
            task.await.expect("joined");
        }
        self.cluster.close().await;
    }

    fn state(&self) -> (CopyState, String) {
        let status = self.cluster.statuses().into_iter().next();
        status.map_or((CopyState::Starting, String::new()), |s| (s.state, s.message.unwrap_or_default()))
    }
}

pub(super) async fn until(what: &str, holds: impl Fn() -> bool) {
    let mut look = tokio::time::interval(Duration::from_millis(5));
    let waiting = async {
        while !holds() {
            look.tick().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}

fn count() -> ShardCall {
    ShardCall::Read(ShardRead::Count { filter: None })
}

pub(super) async fn ask(node: &TestNode, shard: u32) -> Result<u64, (u16, String)> {
    let client = PeerClient::start(&node.cluster.node.settings.cluster).expect("a client");
    let execute = Arc::new(|_, _, _: ShardCall, _: Deadline| {
        let answer = Ok(ShardAnswer::Counted { count: u64::MAX, unindexed: Vec::new() });
        Box::pin(std::future::ready(answer)) as _
    });
    let peers = Peers::new(node.cluster.clone(), client, execute);
    let places = node.cluster.places();
    let places = places.as_ref().as_ref().expect("known");
    let place = &places[shard as usize];
    let Place::Remote { pod, address } = &place.place else { panic!("shard {shard} is elsewhere") };
    let deadline = Deadline::after(Duration::from_secs(10));
    let answer = peers.call((shard, place.range), (pod, address), count(), deadline).await;
    match answer.map_err(|e| (e.code, e.error))? {
        ShardAnswer::Counted { count, .. } => Ok(count),
        other => panic!("not a count: {other:?}"),
    }
}

async fn three_nodes(folder: &Path, records: &MemoryRecords) -> Vec<TestNode> {
    let mut addresses = BTreeMap::new();
    let mut listeners = Vec::new();
    for i in 0..3 {
        let listener = server::listen("127.0.0.1", 0).await.expect("a port");
        addresses.insert(format!("docs-{i}"), listener.local_addr().expect("bound").to_string());
        listeners.push(listener);
    }
    let mut nodes = Vec::new();
    for (i, listener) in listeners.into_iter().enumerate() {
        let mut node = TestNode::start(folder, &format!("docs-{i}"), records, &addresses).await;
        node.serve(listener).await;
        node.cluster.schema.put(schema()).expect("the first schema");
        nodes.push(node);
    }
    for node in &nodes {
        until("ready", || node.cluster.node.readiness.missing().is_none()).await;
    }
    nodes
}

#[tokio::test]
async fn every_node_reaches_every_shard_and_says_which_one_is_gone() {
    let folder = tempfile::tempdir().expect("a folder");
    let records = records(3);
    let mut nodes = three_nodes(folder.path(), &records).await;
    assert_eq!(ask(&nodes[0], 1).await, Ok(1));
    assert_eq!(ask(&nodes[0], 2).await, Ok(2));
    assert_eq!(ask(&nodes[2], 0).await, Ok(0));
    for shard in 0..3 {
        let record = records.get(shard).await.expect("kept").expect("there");
        assert_eq!((record.term, record.config_version), (2, 2), "the first leader took one term");
        assert_eq!(record.primary_boot, nodes[shard as usize].cluster.node.boot);
    }
    nodes.remove(1).stop().await;
    let (code, text) = ask(&nodes[0], 1).await.expect_err("that node is gone");
    assert_eq!(code, 503);
    assert!(
        text.starts_with("Shard temporarily unavailable: shard 1: node docs-1 can't be reached"),
        "{text}"
    );
    assert_eq!(ask(&nodes[0], 2).await, Ok(2));
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test]
async fn a_call_of_another_version_begins_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut node = TestNode::start(folder.path(), "docs-0", &records(1), &BTreeMap::new()).await;
    let listener = server::listen("127.0.0.1", 0).await.expect("a port");
    let url = format!("http://{}/internal/schema", listener.local_addr().expect("bound"));
    node.serve(listener).await;
    let put = async |version: Option<&str>| {
        let request = reqwest::Client::new().put(&url).json(&schema());
        let request = version.into_iter().fold(request, |r, v| r.header(PROTOCOL_HEADER, v));
        let answer = request.send().await.expect("an answer");
        (answer.status(), answer.text().await.expect("text"))
    };
    for (version, named) in [(None, "unknown"), (Some("2"), "2")] {
        let (status, text) = put(version).await;
        assert_eq!(status, NOT_LEADING);
        assert!(
            text.contains(&format!("version 1 of the internal port, the caller version {named}")),
            "{text}"
        );
        let error: ShardError = serde_json::from_str(&text).expect("as nodes read it");
        let refused: InternalError = serde_json::from_str(&text).expect("as the operator reads it");
        assert_eq!((error.code, refused.retryable), (503, true));
        assert!(node.cluster.schema.current().is_none());
    }
    assert_eq!(put(Some(PROTOCOL_VERSION)).await.0, 200);
    assert!(node.cluster.schema.current().is_some());
    node.stop().await;
}

#[tokio::test]
async fn a_node_says_how_it_is_although_others_hang() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut node = TestNode::start(folder.path(), "docs-0", &records(1), &BTreeMap::new()).await;
    let listener = server::listen("127.0.0.1", 0).await.expect("a port");
    let url = format!("http://{}/internal/status", listener.local_addr().expect("bound"));
    node.hangs.store(true, Ordering::SeqCst);
    node.serve(listener).await;
    let request = reqwest::Client::new().get(&url).header(PROTOCOL_HEADER, PROTOCOL_VERSION);
    let answer = request.timeout(Duration::from_secs(10)).send().await.expect("an answer");
    let status: NodeStatus = answer.json().await.expect("a status");
    assert_eq!(status.pod, "docs-0");
    node.stop().await;
}

#[tokio::test]
async fn a_node_that_starts_again_takes_a_new_term_and_finds_its_data() {
    let folder = tempfile::tempdir().expect("a folder");
    let records = records(1);
    let node = TestNode::start(folder.path(), "docs-0", &records, &BTreeMap::new()).await;
    until("waiting", || node.state().1.contains("the operator has not said yet")).await;
    assert!(node.cluster.node.readiness.missing().is_some());
    node.cluster.schema.put(schema()).expect("the first schema");
    until("leading", || node.cluster.leading(0).is_some()).await;
    node.stop().await;
    let again = TestNode::start(folder.path(), "docs-0", &records, &BTreeMap::new()).await;
    until("leading again", || again.cluster.leading(0).is_some()).await;
    let record = records.get(0).await.expect("kept").expect("there");
    assert_eq!((record.term, record.primary_boot.as_str()), (3, again.cluster.node.boot.as_str()));
    again.stop().await;
}

#[tokio::test]
async fn two_who_look_at_once_make_a_copy_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let records = records(1);
    let node = TestNode::start(folder.path(), "docs-0", &records, &BTreeMap::new()).await;
    node.cluster.schema.put(schema()).expect("the first schema");
    tokio::join!(node.cluster.look(), node.cluster.look(), node.cluster.look());
    until("leading", || node.state() == (CopyState::Leading, String::new())).await;
    assert_eq!(RealDisk.list(&folder.path().join("docs-0/copies")).expect("listed").len(), 1);
    node.stop().await;
}

#[tokio::test]
async fn an_emptied_volume_never_starts_as_an_empty_shard() {
    let folder = tempfile::tempdir().expect("a folder");
    let records = records(1);
    let node = TestNode::start(folder.path(), "docs-0", &records, &BTreeMap::new()).await;
    node.cluster.schema.put(schema()).expect("the first schema");
    until("leading", || node.cluster.leading(0).is_some()).await;
    node.stop().await;
    RealDisk.remove_dir_all(&folder.path().join("docs-0")).expect("emptied");
    let again = TestNode::start(folder.path(), "docs-0", &records, &BTreeMap::new()).await;
    again.cluster.schema.put(schema()).expect("the first schema");
    until("refused", || again.state().0 == CopyState::ConfigLost).await;
    assert!(again.state().1.contains("Was the volume of docs-0 emptied or replaced?"), "{}", again.state().1);
    assert!(again.cluster.leading(0).is_none());
    assert!(again.cluster.node.readiness.missing().is_some());
    again.stop().await;
}

#[tokio::test]
async fn a_record_that_went_back_in_time_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = records(1);
    let node = TestNode::start(folder.path(), "docs-0", &first, &BTreeMap::new()).await;
    node.cluster.schema.put(schema()).expect("the first schema");
    until("leading", || node.cluster.leading(0).is_some()).await;
    node.stop().await;
    let again = TestNode::start(folder.path(), "docs-0", &records(1), &BTreeMap::new()).await;
    until("refused", || again.state().0 == CopyState::ConfigLost).await;
    assert!(again.state().1.contains("has gone back in time"), "{}", again.state().1);
    again.stop().await;
}

#[tokio::test]
async fn a_copy_steps_down_when_the_record_names_another() {
    let folder = tempfile::tempdir().expect("a folder");
    let records = records(1);
    let node = TestNode::start(folder.path(), "docs-0", &records, &BTreeMap::new()).await;
    node.cluster.schema.put(schema()).expect("the first schema");
    until("leading", || node.cluster.leading(0).is_some()).await;
    records.change(0, |record| {
        record.copies.push(CopyRecord::new(copy_id(9), "docs-9", true));
        record.primary = copy_id(9);
        record.term += 1;
    });
    until("following", || node.state().0 == CopyState::Following).await;
    assert!(node.cluster.leading(0).is_none());
    node.stop().await;
}

#[tokio::test]
async fn schemas_of_others_and_older_ones_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let node = TestNode::start(folder.path(), "docs-0", &records(1), &BTreeMap::new()).await;
    node.cluster.schema.put(SchemaRequest { generation: 5, ..schema() }).expect("taken");
    node.cluster.schema.put(SchemaRequest { generation: 4, ..schema() }).expect_err("older");
    let other = SchemaRequest { collection_uid: "other".into(), generation: 6, ..schema() };
    node.cluster.schema.put(other).expect_err("of another collection");
    assert_eq!(node.cluster.schema.current().map(|s| s.generation), Some(5));
    node.stop().await;
}
