//! ServiceAccount, Role and RoleBinding of the pods, and how many of them a drain may take.

use quiver_crds::collection::Managed;
use serde_json::json;

use super::{Kind, Object, names, selector};
use crate::validate::Valid;

/// The pods' account, and its only right: to read the shard records and to take the lead in them.
pub fn account(v: &Valid) -> Vec<Object> {
    let name = names::account(&v.name);
    let annotations = json!({ "metadata": { "annotations": v.spec.service_account.annotations } });
    let rules = json!({ "rules": [{
        "apiGroups": ["quiver.dev"],
        "resources": ["vectorshards"],
        "verbs": ["get", "list", "watch", "update"],
    }] });
    let binding = json!({
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name },
        "subjects": [{ "kind": "ServiceAccount", "name": name, "namespace": v.namespace }],
    });
    vec![
        Object::owned(v, Kind::ServiceAccount, &name, annotations),
        Object::owned(v, Kind::Role, &name, rules),
        Object::owned(v, Kind::RoleBinding, &name, binding),
    ]
}

/// Drains take one pod after the other; one that isn't ready anyway never blocks them.
pub fn disruption_budget(v: &Valid) -> Option<Object> {
    if v.spec.disruption.pdb == Managed::None {
        return None;
    }
    let spec = json!({ "spec": {
        "maxUnavailable": v.spec.disruption.max_unavailable_nodes,
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
        "selector": { "matchLabels": selector(&v.name) },
    } });
    Some(Object::owned(v, Kind::PodDisruptionBudget, &v.name, spec))
}
