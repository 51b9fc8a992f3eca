//! One reconcile of a VectorCollection: observe, validate, plan, build, apply, drive, status.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::runtime::controller::Action;
use kube::{Api, ResourceExt};
use quiver_crds::VectorCollection;

use crate::apply::Applier;
use crate::build::build;
use crate::certificates::{PeerCertificates, Subject};
use crate::controller::Context;
use crate::drive;
use crate::error::{Error, Result};
use crate::names;
use crate::node_client::NodeClient;
use crate::observe::{Observed, observe};
use crate::plan::{Plan, plan};
use crate::replicate::Replicator;
use crate::status::{Outcome, collection_status, shard_status, shards};
use crate::validate::{Invalid, Valid, validate};

/// Nothing changed: look again after this, for what no watch shows (points, red lines, a node that hangs).
const IDLE: Duration = Duration::from_secs(30);
/// Records were changed, or nodes asked for something.
const QUICK: Duration = Duration::from_secs(1);
/// Something is going on.
const BUSY: Duration = Duration::from_secs(3);

/// Reconciles one collection.
///
/// Guarantees: idempotent; a second run on an unchanged world writes nothing. What belongs to a collection that is
/// being deleted is left to the garbage collector.
pub async fn collection(collection: Arc<VectorCollection>, ctx: Arc<Context>) -> Result<Action> {
    let _measured = ctx.metrics.reconcile("VectorCollection");
    let namespace = collection.namespace().ok_or(Error::Malformed("namespace"))?;
    let uid = collection.uid().ok_or(Error::Malformed("uid"))?;
    if collection.metadata.deletion_timestamp.is_some() {
        ctx.forget(&uid, &namespace, &collection.name_any());
        return Ok(Action::await_change());
    }
    // The cache may be behind our own last write of the status.
    let api: Api<VectorCollection> = Api::namespaced(ctx.client.clone(), &namespace);
    let Some(fresh) = api.get_opt(&collection.name_any()).await? else {
        ctx.forget(&uid, &namespace, &collection.name_any());
        return Ok(Action::await_change());
    };
    let name = fresh.name_any();
    let apply = Applier { client: &ctx.client, namespace: &namespace };
    let secret = peer_secret(&ctx, &namespace, &name).await?;
    let read = secret.as_ref().and_then(PeerCertificates::read);
    let nodes = match &read {
        Some(certificates) => Some(ctx.nodes.of(&uid, &name, &namespace, certificates)?),
        None => None,
    };
    let late = ctx.liveness.late(&namespace, &name);
    let mut observed = observe(&ctx.client, fresh, read, nodes.as_deref(), &late).await?;
    judge(&ctx, &namespace, &mut observed).await;
    match validate(&observed, &ctx.defaults) {
        Err(invalid) => reject(&ctx, &apply, &observed, &invalid).await,
        Ok(valid) => {
            let plan = plan(&valid, &observed, &mut || uuid::Uuid::new_v4().simple().to_string());
            let turn = Turn { ctx: &ctx, apply: &apply, valid: &valid, observed: &observed, plan: &plan };
            turn.act(secret, nodes.as_deref()).await
        }
    }
}

/// Adds what is known of nodes beside their answers.
async fn judge(ctx: &Context, namespace: &str, observed: &mut Observed) {
    let name = observed.name();
    let spec = &observed.collection.spec;
    // While nobody runs, silence means nothing; and a single node has nobody to hand anything to.
    if spec.hibernate || spec.nodes.max(observed.pods.len() as i32) < 2 {
        return ctx.liveness.forget(namespace, &name);
    }
    ctx.liveness.watch(namespace, &name);
    let named = observed.shards.iter().flat_map(|s| s.spec.copies.iter().map(|c| c.pod.clone()));
    let mut pods: Vec<String> = observed.pods.iter().map(|p| p.name_any()).chain(named).collect();
    pods.sort();
    pods.dedup();
    observed.standing = ctx.liveness.standing(namespace, &name, &pods);
    observed.machines = ctx.machines.of(&ctx.client, &observed.pods).await;
}

async fn peer_secret(ctx: &Context, namespace: &str, name: &str) -> Result<Option<Secret>> {
    let api: Api<Secret> = Api::namespaced(ctx.client.clone(), namespace);
    Ok(api.get_opt(&names::peer_secret(name)).await?)
}

/// Says why nothing is done, and leaves what runs alone.
async fn reject(
    ctx: &Context,
    apply: &Applier<'_>,
    observed: &Observed,
    invalid: &Invalid,
) -> Result<Action> {
    let outcome = Outcome::of(Err(invalid));
    report(ctx, apply, observed, &outcome).await?;
    Ok(Action::requeue(IDLE))
}

/// What one reconcile works with once the spec is valid.
struct Turn<'a> {
    ctx: &'a Context,
    apply: &'a Applier<'a>,
    valid: &'a Valid,
    observed: &'a Observed,
    plan: &'a Plan,
}

impl Turn<'_> {
    async fn act(&self, secret: Option<Secret>, nodes: Option<&NodeClient>) -> Result<Action> {
        let mut outcome = Outcome::of(Ok(self.plan));
        let replicator = Replicator { ctx: self.ctx, collection: &self.observed.collection, nodes };
        let mut told = false;
        if !self.observed.collection.spec.paused {
            outcome.copy_problems = replicator.records(&self.plan.work).await;
            self.certificates(secret).await?;
            let objects = build(self.valid, self.plan, self.observed);
            self.apply.objects(&objects).await?;
            self.apply.actions(self.plan, self.observed).await?;
            outcome.resize_refused = self.apply.grow(&self.plan.grow).await?;
            let calls = async {
                outcome.copy_problems.extend(replicator.calls(&self.plan.work).await);
                if let Some(nodes) = nodes {
                    (outcome.schema_differences, told) =
                        drive::schema(nodes, self.valid, self.observed, &self.ctx.told).await;
                }
            };
            let (namespace, name) = (&self.valid.namespace, &self.valid.name);
            // A node that dies while it is called must not keep its own shards from another leader.
            tokio::select! {
                biased;
                () = calls => {}
                () = self.ctx.liveness.another_silent(namespace, name, &self.observed.standing) => {
                    tracing::info!(namespace, collection = name, "calls of nodes are given up: one turned silent");
                    return Ok(Action::requeue(Duration::ZERO));
                }
            }
        }
        report(self.ctx, self.apply, self.observed, &outcome).await?;
        self.ctx.metrics.observed(self.observed);
        Ok(Action::requeue(self.again(told)))
    }

    /// Makes the certificates, or new ones of the same authority before the old ones end.
    async fn certificates(&self, secret: Option<Secret>) -> Result<()> {
        let subject = Subject { collection: &self.valid.name, namespace: &self.valid.namespace };
        let now = self.observed.now;
        let made = match &self.observed.certificates {
            Some(current) if !current.due(now) => return Ok(()),
            Some(current) => current.renew(&subject, now)?,
            None => PeerCertificates::generate(&subject, now)?,
        };
        let mut metadata = crate::build::owned(self.valid, names::peer_secret(&self.valid.name));
        metadata.resource_version = secret.and_then(|s| s.metadata.resource_version);
        self.apply.secret(&made.secret(metadata)).await
    }

    /// Writes of a part of the points wait until it is done.
    fn splits(&self) -> bool {
        self.observed.shards.iter().any(|s| s.spec.split.is_some())
    }

    fn again(&self, told: bool) -> Duration {
        let busy = told
            || !self.plan.is_idle()
            || self.plan.progress.going_on
            || self.observed.certificates.is_none()
            || shards(self.observed).iter().any(|s| !s.reason.is_empty());
        let wait = match busy && !self.valid.spec.hibernate {
            true if !self.plan.work.steps.is_empty() || self.splits() => QUICK,
            true => BUSY,
            false => IDLE,
        };
        let due = self.plan.next_snapshot.map(|at| at.duration_since(self.observed.now));
        let due = due.and_then(|d| Duration::try_from(d).ok()).map(|d| d + Duration::from_secs(1));
        due.map_or(wait, |d| d.min(wait))
    }
}

/// Writes the statuses that changed and tells of transitions.
async fn report(
    ctx: &Context,
    apply: &Applier<'_>,
    observed: &Observed,
    outcome: &Outcome<'_>,
) -> Result<()> {
    for view in shards(observed) {
        let status = shard_status(observed, &view);
        if view.shard.status.as_ref() != Some(&status) {
            let name = view.shard.name_any();
            let written = apply.status::<quiver_crds::VectorShard, _>(&name, &status).await;
            // A record that just went has no status to write.
            if let Err(e) = written
                && e.reason() != "api"
            {
                return Err(e);
            }
        }
    }
    let status = collection_status(observed, outcome);
    if apply.collection_status(&observed.collection, &status).await? {
        ctx.tell(&observed.collection, &status.conditions).await;
    }
    Ok(())
}
