//! Shard records as Kubernetes keeps them: a watch of the collection's VectorShards, and PUT with the version that was
//! read. The API server compares and swaps, and its rules refuse what would lose a write.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use futures::StreamExt;
use futures::future::BoxFuture;
use kube::api::PostParams;
use kube::runtime::utils::Backoff;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, ResourceExt};
use quiver_api::internal::{HashRange, S3Destination};
use quiver_crds::VectorShard;
use quiver_crds::shard::Purpose;
use tokio::sync::watch;

use super::record::{CopyRecord, Known, RecordError, RestoreSource, ShardRecord, ShardRecords, SplitRecord};
use crate::config::Cluster as Settings;

/// Longest time for one call of the API server.
const CALL_TIME: Duration = Duration::from_secs(15);

/// The VectorShards of one VectorCollection.
pub struct KubeRecords {
    api: Api<VectorShard>,
    collection_uid: String,
    heard: watch::Sender<Known>,
}

impl KubeRecords {
    /// Connects with the pod's own account and begins to watch.
    pub async fn start(settings: &Settings, boot: &str) -> Result<Arc<Self>> {
        let client = quiver_kube_client::connect().await.context(
            "connecting to Kubernetes: a managed node runs in a pod whose service account may read and update VectorShards",
        )?;
        let api: Api<VectorShard> = Api::namespaced(client.clone(), &settings.namespace);
        let (heard, _) = watch::channel(None);
        let records =
            Arc::new(Self { api: api.clone(), collection_uid: settings.collection_uid.clone(), heard });
        let selected = watcher::Config::default().fields(&format!("spec.collection={}", settings.collection));
        let watching = Arc::downgrade(&records);
        tokio::spawn(async move {
            let mut events = watcher(api, selected).backoff(EverySecond).boxed();
            let mut filling = BTreeMap::new();
            while let Some(event) = events.next().await {
                let Some(records) = watching.upgrade() else { return };
                match event {
                    Ok(event) => records.hear(event, &mut filling),
                    Err(e) => tracing::warn!("the watch of VectorShards broke and is begun again: {e}"),
                }
            }
        });
        tokio::spawn(super::heartbeat::run(client, settings.clone(), boot.to_owned()));
        Ok(records)
    }

    fn hear(&self, event: watcher::Event<VectorShard>, filling: &mut BTreeMap<u32, ShardRecord>) {
        use watcher::Event;
        match event {
            Event::Init => filling.clear(),
            Event::InitApply(shard) => {
                if let Some(record) = self.record(&shard) {
                    filling.insert(record.shard, record);
                }
            }
            Event::InitDone => {
                self.heard.send_replace(Some(Arc::new(std::mem::take(filling))));
            }
            Event::Apply(shard) => {
                if let Some(record) = self.record(&shard) {
                    self.change(|all| insert_newer(all, record));
                }
            }
            // A record that is gone is kept as it was: its data stays, and so do reads. The watch's next beginning
            // drops it.
            Event::Delete(shard) => tracing::warn!(name = shard.name_any(), "a VectorShard was deleted"),
        }
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<u32, ShardRecord>)) {
        let mut all = self.heard.borrow().as_deref().cloned().unwrap_or_default();
        change(&mut all);
        self.heard.send_replace(Some(Arc::new(all)));
    }

    /// A record of this collection; others of the same name, from an earlier life, are none.
    fn record(&self, shard: &VectorShard) -> Option<ShardRecord> {
        let spec = &shard.spec;
        if spec.collection_uid != self.collection_uid {
            return None;
        }
        let Some((first, last)) = spec.range.bounds().filter(|(first, last)| first <= last) else {
            tracing::error!(name = shard.name_any(), "the range of a VectorShard can't be read");
            return None;
        };
        Some(ShardRecord {
            name: shard.name_any(),
            version: shard.resource_version().unwrap_or_default(),
            shard: u32::try_from(spec.shard).ok()?,
            range: HashRange { first, last },
            term: spec.term,
            config_version: spec.config_version,
            primary: spec.primary.clone(),
            primary_boot: spec.primary_boot.clone(),
            copies: spec
                .copies
                .iter()
                .map(|c| {
                    let leaving = c.purpose == Some(Purpose::Leaving);
                    CopyRecord { leaving, ..CopyRecord::new(&c.id, &c.pod, c.in_sync) }
                })
                .collect(),
            split: spec.split.as_ref().and_then(split),
            restore: spec.restore.as_ref().map(|r| RestoreSource {
                destination: S3Destination {
                    bucket: r.s3.bucket.clone(),
                    prefix: r.s3.prefix.clone(),
                    region: r.s3.region.clone(),
                    endpoint: r.s3.endpoint.clone(),
                    force_path_style: r.s3.force_path_style,
                },
                manifest_key: r.manifest_key.clone(),
            }),
        })
    }

    async fn live(&self, name: &str) -> Result<Option<VectorShard>, RecordError> {
        match tokio::time::timeout(CALL_TIME, self.api.get_opt(name)).await {
            Ok(Ok(found)) => Ok(found),
            // Reading changes nothing, so nothing is unknown; but neither is it known.
            Ok(Err(e)) => Err(RecordError::Unknown(e.to_string())),
            Err(_) => Err(RecordError::Unknown("the API server does not answer".into())),
        }
    }

    async fn swap(&self, record: ShardRecord) -> Result<ShardRecord, RecordError> {
        let found = self.live(&record.name).await?;
        let mut shard = found.ok_or_else(|| RecordError::Refused(format!("{} is not there", record.name)))?;
        if shard.resource_version().as_deref() != Some(record.version.as_str()) {
            if let Some(now) = self.record(&shard) {
                self.change(|all| insert_newer(all, now));
            }
            return Err(RecordError::Conflict);
        }
        // Only what a node may change; everything else stays as it was read.
        shard.spec.term = record.term;
        shard.spec.config_version = record.config_version;
        shard.spec.primary.clone_from(&record.primary);
        shard.spec.primary_boot.clone_from(&record.primary_boot);
        let (first, last) = (record.range.first, record.range.last);
        if shard.spec.range.bounds() != Some((first, last)) {
            shard.spec.range = quiver_crds::shard::HashRange::new(first, last);
        }
        if record.split.is_none() {
            shard.spec.split = None;
        }
        for copy in &mut shard.spec.copies {
            if let Some(changed) = record.copies.iter().find(|c| c.id == copy.id) {
                copy.in_sync = changed.in_sync;
            }
        }
        let params = PostParams::default();
        let put = self.api.replace(&record.name, &params, &shard);
        match tokio::time::timeout(CALL_TIME, put).await {
            Ok(Ok(now)) => {
                let now = self
                    .record(&now)
                    .ok_or_else(|| RecordError::Unknown("the answer can't be read".into()))?;
                self.change(|all| insert_newer(all, now.clone()));
                Ok(now)
            }
            Ok(Err(kube::Error::Api(status))) => match status.code {
                409 => Err(RecordError::Conflict),
                400..=499 => Err(RecordError::Refused(status.message.clone())),
                _ => Err(RecordError::Unknown(status.message.clone())),
            },
            Ok(Err(e)) => Err(RecordError::Unknown(e.to_string())),
            Err(_) => Err(RecordError::Unknown("the API server does not answer".into())),
        }
    }
}

fn split(split: &quiver_crds::shard::Split) -> Option<SplitRecord> {
    let range = |r: &quiver_crds::shard::HashRange| {
        let (first, last) = r.bounds()?;
        Some(HashRange { first, last })
    };
    let child = u32::try_from(split.child).ok()?;
    Some(SplitRecord { child, keep: range(&split.keep)?, give: range(&split.give)? })
}

/// How soon a watch that broke is begun again: who leads may have changed meanwhile.
struct EverySecond;

impl Iterator for EverySecond {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(Duration::from_secs(1))
    }
}

impl Backoff for EverySecond {
    fn reset(&mut self) {}
}

/// A watch lags behind the answers that this node gets itself.
fn insert_newer(all: &mut BTreeMap<u32, ShardRecord>, record: ShardRecord) {
    let known = all.get(&record.shard).map_or(0, |r| r.config_version);
    if record.config_version >= known {
        all.insert(record.shard, record);
    }
}

impl ShardRecords for KubeRecords {
    fn watch(&self) -> watch::Receiver<Known> {
        self.heard.subscribe()
    }

    fn replace(&self, record: ShardRecord) -> BoxFuture<'_, Result<ShardRecord, RecordError>> {
        Box::pin(self.swap(record))
    }

    fn get(&self, shard: u32) -> BoxFuture<'_, Result<Option<ShardRecord>, RecordError>> {
        Box::pin(async move {
            let name = self.heard.borrow().as_ref().and_then(|all| all.get(&shard)).map(|r| r.name.clone());
            let Some(name) = name else { return Ok(None) };
            Ok(self.live(&name).await?.and_then(|s| self.record(&s)))
        })
    }
}
