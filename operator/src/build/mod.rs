//! The objects that a collection consists of, from a valid spec and a plan. Pure: no client, no clock.

pub mod access;
pub mod network;
pub mod node_env;
pub mod schema;
pub mod stateful_set;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::ObjectMeta;
use quiver_crds::VectorShard;
use quiver_crds::collection::Managed;

use crate::names;
use crate::observe::Observed;
use crate::plan::Plan;
use crate::validate::Valid;

/// Everything that is applied, in this order.
pub struct Objects {
    pub service_account: ServiceAccount,
    pub role: Role,
    pub role_binding: RoleBinding,
    pub headless: Service,
    pub service: Service,
    pub disruption_budget: Option<PodDisruptionBudget>,
    pub network_policy: Option<NetworkPolicy>,
    pub stateful_set: StatefulSet,
}

/// Builds all of it.
pub fn build(valid: &Valid, plan: &Plan, observed: &Observed) -> Objects {
    let spec = &valid.spec;
    Objects {
        service_account: access::service_account(valid),
        role: access::role(valid, plan),
        role_binding: access::role_binding(valid),
        headless: network::headless(valid),
        service: network::service(valid),
        disruption_budget: (spec.disruption.pdb == Managed::Managed)
            .then(|| network::disruption_budget(valid, lacks_copies(valid, observed))),
        network_policy: (spec.security.network_policy == Managed::Managed)
            .then(|| network::network_policy(valid)),
        stateful_set: stateful_set::stateful_set(valid, plan, observed.stateful_set.as_ref()),
    }
}

/// Whether a shard has fewer copies in sync than it shall have: then one node less may be one too many.
fn lacks_copies(valid: &Valid, observed: &Observed) -> bool {
    let factor = valid.spec.replication.factor.min(valid.spec.nodes).max(1) as usize;
    let lacks = |shard: &VectorShard| {
        let in_sync = shard.spec.copies.iter().filter(|c| c.in_sync).count();
        !shard.spec.primary_boot.is_empty() && in_sync < factor
    };
    observed.shards.iter().any(lacks)
}

/// Metadata of an object that belongs to the collection and goes with it.
pub fn owned(valid: &Valid, name: impl Into<String>) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.into()),
        namespace: Some(valid.namespace.clone()),
        labels: Some(names::labels(&valid.name, &valid.uid)),
        owner_references: Some(vec![valid.owner.clone()]),
        ..ObjectMeta::default()
    }
}
