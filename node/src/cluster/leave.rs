//! A node that stops in an orderly way lets nobody wait for it: it hands over the shards that it leads, and has its copies
//! taken out of those that writes wait for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use quiver_api::internal::{CopyState, HandOverRequest, NodeStatus};

use super::lead::Cluster;
use super::record::ShardRecord;
use crate::replica::{Input, Part};

/// What hasn't been handed over by then is left as it is: the others find out by themselves.
const HAND_OVER: Duration = Duration::from_secs(5);
const TAKE_OUT: Duration = Duration::from_secs(3);
/// One request to another node.
const ASK: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(20);
const AGAIN: Duration = Duration::from_millis(100);

impl Cluster {
    /// Hands over and steps back, as far as others can take it on. From here on no copy is opened any more.
    pub async fn leave(self: &Arc<Self>) {
        self.leaving.store(true, Ordering::SeqCst);
        // A round that has begun may open a copy yet; one that takes long isn't waited for.
        drop(tokio::time::timeout(ASK, self.looking.lock()).await);
        if tokio::time::timeout(HAND_OVER, self.hand_over_all()).await.is_err() {
            tracing::warn!("not all shards were handed over in time");
        }
        let following = self.shared(|c| c.state() == CopyState::Following);
        let departing = following.iter().map(|(shard, record)| self.depart(*shard, record));
        futures::future::join_all(departing).await;
    }

    /// Asks as long as a copy here leads, or is about to, that another one could: one that takes the lead can only hand it
    /// over when it has it, and one that was to lead may have gone since.
    async fn hand_over_all(&self) {
        let leading =
            || self.shared(|c| matches!(c.standing.map(|s| s.part), Some(Part::Leads | Part::Takes)));
        loop {
            let leads = leading();
            if leads.is_empty() {
                return;
            }
            let mut nodes = BTreeMap::new();
            for (shard, record) in leads {
                if let Some(request) = self.successor(&record, &mut nodes).await
                    && let Err(e) = self.hand_over(shard, &request)
                {
                    tracing::debug!(shard, "not handed over yet: {e}");
                }
            }
            wait(AGAIN, || leading().is_empty()).await;
        }
    }

    /// Copies of this node that have another one in sync elsewhere.
    fn shared(&self, which: impl Fn(&super::lead::Copy) -> bool) -> Vec<(u32, ShardRecord)> {
        let known = self.records.watch().borrow().clone().unwrap_or_default();
        let copies = self.copies.lock();
        let mine = copies.iter().filter(|(_, c)| which(c)).filter_map(|(n, _)| known.get(n));
        let elsewhere = |r: &&ShardRecord| r.copies.iter().any(|c| c.in_sync && c.pod != self.pod());
        mine.filter(elsewhere).map(|r| (r.shard, r.clone())).collect()
    }

    /// A copy in sync whose node answers, and the life of its process.
    async fn successor(
        &self,
        record: &ShardRecord,
        nodes: &mut BTreeMap<String, Option<NodeStatus>>,
    ) -> Option<HandOverRequest> {
        for copy in record.copies.iter().filter(|c| c.in_sync && c.pod != self.pod()) {
            if !nodes.contains_key(&copy.pod) {
                nodes.insert(copy.pod.clone(), self.status_of(&copy.pod).await);
            }
            let status = nodes.get(&copy.pod).and_then(Option::as_ref);
            let has = |s: &&NodeStatus| {
                s.shards.iter().any(|c| c.copy_id == copy.id && c.state == CopyState::Following)
            };
            if let Some(status) = status.filter(has) {
                let collection_uid = self.uid().to_owned();
                return Some(HandOverRequest {
                    collection_uid,
                    to: copy.id.clone(),
                    boot: status.boot.clone(),
                });
            }
        }
        None
    }

    async fn status_of(&self, pod: &str) -> Option<NodeStatus> {
        let url = self.client.url(&self.addresses.of(pod)?, "/internal/status");
        let answer = self.client.client().get(url).timeout(ASK).send().await.ok()?;
        answer.error_for_status().ok()?.json().await.ok()
    }

    /// Ends a copy that follows, and says so to the one that leads. In this order: one that is taken out and still answers is
    /// taken in again. And only when the other one does lead: it has to hear what this copy has before it can.
    async fn depart(&self, shard: u32, record: &ShardRecord) {
        let led = async {
            while !self.is_led(shard, record).await {
                tokio::time::sleep(LOOK).await;
            }
        };
        if tokio::time::timeout(TAKE_OUT, led).await.is_err() {
            tracing::info!(shard, "no copy leads yet, and this one ends");
        }
        self.stop_copy(shard).await;
        self.say_goodbye(shard, record).await;
    }

    /// The record as it is known now, or as it was seen before.
    fn newest(&self, shard: u32, seen: &ShardRecord) -> ShardRecord {
        self.record(shard).unwrap_or_else(|| seen.clone())
    }

    /// Whether the copy leads that the newest record names, as its node says.
    async fn is_led(&self, shard: u32, record: &ShardRecord) -> bool {
        let newest = self.newest(shard, record);
        let Some(leader) = newest.leader() else { return false };
        let leads =
            |s: &NodeStatus| s.shards.iter().any(|c| c.copy_id == leader.id && c.state == CopyState::Leading);
        self.status_of(&leader.pod).await.is_some_and(|status| leads(&status))
    }

    /// Says it again until no write waits for this copy any more. The one that leads may hand over to another one meanwhile,
    /// or hear an older message of this copy behind the goodbye; and writers would wait for seconds for a copy that is
    /// silent without a word.
    async fn say_goodbye(&self, shard: u32, record: &ShardRecord) {
        let counts = || self.newest(shard, record).copy_of(self.pod()).is_some_and(|c| c.in_sync);
        let said = async {
            while counts() {
                if let Err(why) = self.goodbye(shard, record).await {
                    tracing::debug!(shard, "the copy that leads could not be told yet: {why}");
                }
                wait(AGAIN, || !counts()).await;
            }
        };
        if tokio::time::timeout(TAKE_OUT, said).await.is_err() {
            tracing::info!(shard, "a copy of this node still counts: writes wait for it a little");
        }
    }

    async fn goodbye(&self, shard: u32, record: &ShardRecord) -> Result<(), String> {
        let newest = self.newest(shard, record);
        let leads = newest.leader().ok_or("no copy leads")?;
        let own = newest.copy_of(self.pod()).ok_or("this copy isn't listed any more")?;
        let address = self.addresses.of(&leads.pod).ok_or("its address isn't known")?;
        let url = self.client.url(&address, &format!("/internal/shards/{shard}/leaves/{}", own.id));
        let said = self.client.client().post(url).timeout(ASK).send().await;
        said.and_then(reqwest::Response::error_for_status).map(drop).map_err(|e| e.to_string())
    }

    /// A copy that follows the one here says that its process ends.
    ///
    /// # Errors
    /// No copy of the shard leads here, or there is no such copy.
    pub fn leaves(&self, shard: u32, copy: &str) -> Result<(), String> {
        let leading = self.leading_inbox(shard)?;
        let id = super::record::number(copy).map(quiver_replica::record::CopyId)?;
        leading.put(Input::Leaves(id));
        Ok(())
    }
}

async fn wait(most: Duration, holds: impl Fn() -> bool) {
    let mut look = tokio::time::interval(LOOK);
    let waiting = async {
        while !holds() {
            look.tick().await;
        }
    };
    drop(tokio::time::timeout(most, waiting).await);
}
