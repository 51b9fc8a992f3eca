//! What the pods may do: read the shard records of their namespace, change those of their collection, and keep a Lease each.

use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{PolicyRule, Role, RoleBinding, RoleRef, Subject};

use super::owned;
use crate::names;
use crate::plan::Plan;
use crate::validate::Valid;

pub fn service_account(valid: &Valid) -> ServiceAccount {
    let mut metadata = owned(valid, names::node_account(&valid.name));
    let annotations = &valid.spec.service_account.annotations;
    metadata.annotations = (!annotations.is_empty()).then(|| annotations.clone());
    ServiceAccount { metadata, automount_service_account_token: Some(true), ..ServiceAccount::default() }
}

pub fn role(valid: &Valid, plan: &Plan) -> Role {
    let rule = |group: &str, resource: &str, names: Option<Vec<String>>, verbs: &[&str]| PolicyRule {
        api_groups: Some(vec![group.into()]),
        resources: Some(vec![resource.into()]),
        resource_names: names,
        verbs: verbs.iter().map(|v| (*v).to_owned()).collect(),
        non_resource_urls: None,
    };
    let records = |names, verbs: &[&str]| rule(quiver_crds::GROUP, "vectorshards", names, verbs);
    let leases = |names, verbs: &[&str]| rule("coordination.k8s.io", "leases", names, verbs);
    // Reading can't be narrowed to names when objects are listed; writing is, to this collection's own records.
    let own = (0..valid.spec.shards).map(|n| names::shard(&valid.name, n)).collect();
    // All pods share one account, also those that are about to go.
    let pods = (0..plan.replicas.max(valid.spec.nodes)).map(|n| names::pod(&valid.name, n)).collect();
    Role {
        metadata: owned(valid, names::node_account(&valid.name)),
        rules: Some(vec![
            records(None, &["get", "list", "watch"]),
            records(Some(own), &["update"]),
            // The name of what doesn't exist yet can't be checked.
            leases(None, &["create"]),
            leases(Some(pods), &["get", "update", "patch"]),
        ]),
    }
}

pub fn role_binding(valid: &Valid) -> RoleBinding {
    let account = names::node_account(&valid.name);
    RoleBinding {
        metadata: owned(valid, account.clone()),
        role_ref: RoleRef {
            api_group: "rbac.authorization.k8s.io".into(),
            kind: "Role".into(),
            name: account.clone(),
        },
        subjects: Some(vec![Subject {
            kind: "ServiceAccount".into(),
            name: account,
            namespace: Some(valid.namespace.clone()),
            api_group: None,
        }]),
    }
}
