//! Carries out what was planned for copies: swaps records, asks nodes. A conflict means that somebody was faster, and the
//! next reconcile plans from what came of it.

use kube::api::PostParams;
use kube::{Api, Client, Resource, ResourceExt};
use quiver_api::internal::{HandOverRequest, PlaceCopyRequest};
use quiver_crds::{VectorCollection, VectorShard};

use crate::controller::Context;
use crate::node_client::NodeClient;
use crate::plan::copies::{Say, Step, Work, dropped, listed};

/// Where steps are carried out.
pub struct Replicator<'a> {
    pub ctx: &'a Context,
    pub collection: &'a VectorCollection,
    pub nodes: Option<&'a NodeClient>,
}

impl Replicator<'_> {
    /// Changes records. First of all that a reconcile does: a shard may be without a leader.
    pub async fn records(&self, work: &Work) -> Vec<String> {
        let mut problems = Vec::new();
        for step in &work.steps {
            let Step::Record { next, say, then_drop } = step else { continue };
            let written = self.swap(next, say.as_ref(), &mut problems).await;
            let without = written.zip(*then_drop).and_then(|(now, id)| dropped(&now, id));
            if let Some((next, say)) = without {
                self.swap(&next, Some(&say), &mut problems).await;
            }
        }
        problems
    }

    /// Asks nodes for copies and for hand-overs. Answers with what can't be done, in sentences.
    pub async fn calls(&self, work: &Work) -> Vec<String> {
        let Some(nodes) = self.nodes else { return Vec::new() };
        let uid = self.collection.metadata.uid.clone().unwrap_or_default();
        let mut problems = Vec::new();
        for step in &work.steps {
            match step {
                Step::Record { .. } => {}
                Step::Place { pod, shard, range, list } => {
                    let request = PlaceCopyRequest { collection_uid: uid.clone(), range: *range };
                    match nodes.place(pod, shard.spec.shard, &request).await {
                        // The copy that takes the place of a lost one is listed once that one is out of sync.
                        Ok(answer) if *list => {
                            let Some((next, say)) = listed(shard, &answer.copy_id, pod) else { continue };
                            self.swap(&next, Some(&say), &mut problems).await;
                        }
                        Ok(_) => {}
                        Err(e) => problems.push(format!("shard {}: {e}", shard.spec.shard)),
                    }
                }
                Step::HandOver { pod, shard, to, boot, say } => {
                    let request =
                        HandOverRequest { collection_uid: uid.clone(), to: to.clone(), boot: boot.clone() };
                    match nodes.hand_over(pod, *shard, &request).await {
                        Ok(answer) if answer.begun => self.tell(say).await,
                        Ok(_) => {}
                        Err(e) => problems.push(format!("shard {shard}: {e}")),
                    }
                }
            }
        }
        problems
    }

    async fn tell(&self, say: &Say) {
        tracing::info!(collection = self.collection.name_any(), reason = say.reason, "{}", say.note);
        self.ctx.event(&self.collection.object_ref(&()), say.warning, say.reason, &say.note).await;
    }

    /// The record as it is now, if this was written.
    async fn swap(
        &self,
        next: &VectorShard,
        say: Option<&Say>,
        problems: &mut Vec<String>,
    ) -> Option<VectorShard> {
        match put(&self.ctx.client, next).await {
            Ok(now) => {
                if let Some(say) = say {
                    self.tell(say).await;
                }
                now
            }
            Err(kube::Error::Api(status)) if status.code == 409 => {
                tracing::debug!(shard = next.name_any(), "somebody else changed the record first");
                None
            }
            Err(e) => {
                tracing::warn!(shard = next.name_any(), "the record could not be changed: {e}");
                problems.push(format!("{} could not be changed: {e}", next.name_any()));
                None
            }
        }
    }
}

/// A compare-and-swap: the object carries the resourceVersion that it was planned from, and never goes without one.
async fn put(client: &Client, next: &VectorShard) -> Result<Option<VectorShard>, kube::Error> {
    let namespace = next.namespace().unwrap_or_default();
    let api: Api<VectorShard> = Api::namespaced(client.clone(), &namespace);
    if next.resource_version().is_none() {
        return Ok(None);
    }
    api.replace(&next.name_any(), &PostParams::default(), next).await.map(Some)
}
