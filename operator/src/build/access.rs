//! What the pods may do: read the shard records of their namespace and change them, nothing else.

use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{PolicyRule, Role, RoleBinding, RoleRef, Subject};

use super::owned;
use crate::names;
use crate::validate::Valid;

pub fn service_account(valid: &Valid) -> ServiceAccount {
    let mut metadata = owned(valid, names::node_account(&valid.name));
    let annotations = &valid.spec.service_account.annotations;
    metadata.annotations = (!annotations.is_empty()).then(|| annotations.clone());
    ServiceAccount { metadata, automount_service_account_token: Some(true), ..ServiceAccount::default() }
}

pub fn role(valid: &Valid) -> Role {
    let rule = |names: Option<Vec<String>>, verbs: &[&str]| PolicyRule {
        api_groups: Some(vec![quiver_crds::GROUP.into()]),
        resources: Some(vec!["vectorshards".into()]),
        resource_names: names,
        verbs: verbs.iter().map(|v| (*v).to_owned()).collect(),
        non_resource_urls: None,
    };
    // Reading can't be narrowed to names when objects are listed; writing is, to this collection's own records.
    let own = (0..valid.spec.shards).map(|n| names::shard(&valid.name, n)).collect();
    Role {
        metadata: owned(valid, names::node_account(&valid.name)),
        rules: Some(vec![rule(None, &["get", "list", "watch"]), rule(Some(own), &["update"])]),
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
