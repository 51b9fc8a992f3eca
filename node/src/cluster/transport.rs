//! What one copy of this node reaches the world by: messages through [`super::mail`], the record through the store, files of
//! another copy through [`super::files`].

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use quiver_engine::wal;
use quiver_replica::log::Position;
use quiver_replica::message::Envelope;
use quiver_replica::record::{CopyId, Record};
use tokio::runtime::Handle;

use super::files;
use super::lead::Cluster;
use super::record::{RecordError, ShardRecord};
use crate::replica::{Asked, Inbox, Input, Outside, Standing, wire};

/// How often a swap is tried while the record itself is still the same.
const SWAPS: usize = 4;

/// The world around one copy.
pub struct Transport {
    /// A node that stops doesn't wait for its copies.
    pub cluster: Weak<Cluster>,
    pub shard: u32,
    pub id: CopyId,
    pub runtime: Handle,
    /// Where copies are; that never changes.
    pub pods: BTreeMap<CopyId, String>,
}

impl Transport {
    fn pod_of(&mut self, cluster: &Cluster, id: CopyId) -> Option<&str> {
        if !self.pods.contains_key(&id) {
            let copies = cluster.record(self.shard).map(|r| r.copies).unwrap_or_default();
            self.pods.extend(copies.into_iter().filter_map(|c| Some((c.number().ok()?, c.pod))));
        }
        self.pods.get(&id).map(String::as_str)
    }

    /// The node, and where answers for this copy go.
    fn home(&self) -> Option<(Arc<Cluster>, Inbox)> {
        let cluster = self.cluster.upgrade()?;
        let inbox = cluster.inbox(self.id)?;
        Some((cluster, inbox))
    }
}

impl Outside for Transport {
    fn send(&mut self, envelope: Envelope, entries: Vec<wal::Record>) {
        let Some(cluster) = self.cluster.upgrade() else { return };
        let message = wire::encode(&envelope, &entries);
        if let Some(pod) = self.pod_of(&cluster, envelope.to) {
            cluster.mail.post(pod, message);
        }
    }

    fn swap(&mut self, base: u64, next: Arc<Record>, asked: Asked) {
        let Some((cluster, inbox)) = self.home() else { return };
        let shard = self.shard;
        self.runtime.spawn(async move {
            let input = match replace(&cluster, shard, base, &next).await {
                Ok(Some(now)) => answer(shard, &now, asked),
                // Somebody was first, or it can't be: what is there now says more.
                Ok(None) | Err(RecordError::Conflict) => live(&cluster, shard, asked).await,
                Err(RecordError::Refused(why)) => {
                    tracing::warn!(shard, "a change of the shard's record was refused: {why}");
                    live(&cluster, shard, asked).await
                }
                Err(RecordError::Unknown(why)) => {
                    tracing::info!(shard, "{why}");
                    None
                }
            };
            inbox.put(input.unwrap_or(Input::Unanswered));
        });
    }

    fn fetch(&mut self, asked: Asked) {
        let Some((cluster, inbox)) = self.home() else { return };
        let shard = self.shard;
        self.runtime.spawn(async move {
            // Without an answer it is asked again at a later heartbeat, as long as something has to be settled.
            if let Some(input) = live(&cluster, shard, asked).await {
                inbox.put(input);
            }
        });
    }

    fn install(&mut self, from: CopyId, up_to: Position) {
        let Some((cluster, inbox)) = self.home() else { return };
        let (shard, me) = (self.shard, self.id);
        let from = self.pod_of(&cluster, from).map(str::to_owned);
        self.runtime.spawn(async move {
            let fetched = match from {
                Some(pod) => files::fetch(&cluster, shard, me, &pod, up_to).await,
                None => Err(anyhow::anyhow!("no record says where the copy that leads is")),
            };
            inbox.put(fetched.unwrap_or_else(|e| {
                tracing::warn!(shard, "the files of the shard could not be fetched: {e:#}");
                Input::NotInstalled
            }));
        });
    }

    fn stands(&mut self, standing: Standing) {
        if let Some(cluster) = self.cluster.upgrade() {
            cluster.stands(self.shard, self.id, standing);
        }
    }
}

/// Puts `next` in the place of the record of version `base`. `None`: there is another one. The object around the record may
/// change without it: its status, which the operator writes whenever it sees something.
async fn replace(
    cluster: &Cluster,
    shard: u32,
    base: u64,
    next: &Record,
) -> Result<Option<ShardRecord>, RecordError> {
    let is_base = |r: &ShardRecord| u64::try_from(r.config_version) == Ok(base);
    let mut known = cluster.record(shard).filter(is_base);
    for _ in 0..SWAPS {
        let before = match known.take() {
            Some(known) => known,
            None => match cluster.records.get(shard).await?.filter(is_base) {
                Some(live) => live,
                None => return Ok(None),
            },
        };
        match cluster.records.replace(before.changed(next)).await {
            Err(RecordError::Conflict) => {}
            done => return done.map(Some),
        }
    }
    Err(RecordError::Conflict)
}

/// The record as the store has it.
pub async fn live(cluster: &Cluster, shard: u32, asked: Asked) -> Option<Input> {
    match cluster.records.get(shard).await {
        Ok(found) => answer(shard, &found?, asked),
        Err(e) => {
            tracing::info!(shard, "the shard's record could not be read: {e}");
            None
        }
    }
}

fn answer(shard: u32, found: &ShardRecord, asked: Asked) -> Option<Input> {
    match found.replica() {
        Ok(record) => Some(Input::Record { record: Arc::new(record), asked: Some(asked) }),
        Err(why) => {
            tracing::error!(shard, "{why}");
            None
        }
    }
}
