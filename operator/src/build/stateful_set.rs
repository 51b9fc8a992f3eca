//! The StatefulSet: pods under the restricted security standard, one volume each, replaced only by the operator.

use k8s_openapi::api::apps::v1::{
    StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec, StatefulSetUpdateStrategy,
};
use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, EmptyDirVolumeSource, HTTPGetAction, KeyToPath,
    LocalObjectReference, PersistentVolumeClaim, PersistentVolumeClaimSpec, PodSecurityContext, PodSpec,
    PodTemplateSpec, Probe, SeccompProfile, SecretVolumeSource, SecurityContext, TopologySpreadConstraint,
    Volume, VolumeMount, VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::ObjectMeta;
use quiver_crds::collection::{DeletionPolicy, TopologySpread};

use super::node_env::{DATA_DIR, REST_TLS_DIR, env};
use super::owned;
use crate::names::{self, CONTAINER, P2P_PORT, PEER_TLS_DIR, REST_PORT, VOLUME};
use crate::plan::Plan;
use crate::validate::Valid;

const USER: i64 = 65_532;
/// Longer than a node needs to finish its requests and flush.
const GRACE_SECONDS: i64 = 60;

/// The StatefulSet; of one that exists, the claim templates are kept as they are, for they can't change.
pub fn stateful_set(valid: &Valid, plan: &Plan, existing: Option<&StatefulSet>) -> StatefulSet {
    let kept = existing.and_then(|s| s.spec.as_ref()).and_then(|s| s.volume_claim_templates.as_ref());
    let size =
        kept.and_then(|t| requested(t.first()?)).unwrap_or_else(|| Quantity(valid.spec.storage.size.clone()));
    let when_deleted = match valid.spec.deletion_policy {
        DeletionPolicy::Retain => "Retain",
        DeletionPolicy::Delete => "Delete",
    };
    StatefulSet {
        metadata: owned(valid, valid.name.clone()),
        spec: Some(StatefulSetSpec {
            replicas: Some(plan.replicas),
            service_name: Some(names::headless(&valid.name)),
            selector: selector(valid),
            // Pods wait for each other's shards: one after the other would never begin.
            pod_management_policy: Some("Parallel".into()),
            update_strategy: Some(StatefulSetUpdateStrategy {
                type_: Some("OnDelete".into()),
                rolling_update: None,
            }),
            persistent_volume_claim_retention_policy: Some(StatefulSetPersistentVolumeClaimRetentionPolicy {
                when_deleted: Some(when_deleted.into()),
                // Hibernation scales to none: volumes must outlive that.
                when_scaled: Some("Retain".into()),
            }),
            volume_claim_templates: Some(vec![claim(valid, size)]),
            template: template(valid),
            ..StatefulSetSpec::default()
        }),
        status: None,
    }
}

/// The size that a claim asks for.
pub fn requested(claim: &PersistentVolumeClaim) -> Option<Quantity> {
    claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?.get("storage").cloned()
}

fn selector(valid: &Valid) -> LabelSelector {
    LabelSelector { match_labels: Some(names::selector(&valid.name)), ..LabelSelector::default() }
}

fn claim(valid: &Valid, size: Quantity) -> PersistentVolumeClaim {
    let storage = &valid.spec.storage;
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(VOLUME.into()),
            labels: Some(names::labels(&valid.name, &valid.uid)),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec![format!("{:?}", storage.access_mode)]),
            storage_class_name: storage.storage_class_name.clone(),
            resources: Some(VolumeResourceRequirements {
                requests: Some([("storage".to_owned(), size)].into()),
                limits: None,
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    }
}

fn template(valid: &Valid) -> PodTemplateSpec {
    let spec = &valid.spec;
    let scheduling = &spec.scheduling;
    let secrets: Vec<_> =
        spec.image.pull_secrets.iter().map(|s| LocalObjectReference { name: s.name.clone() }).collect();
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(names::labels(&valid.name, &valid.uid)),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            service_account_name: Some(names::node_account(&valid.name)),
            termination_grace_period_seconds: Some(GRACE_SECONDS),
            image_pull_secrets: (!secrets.is_empty()).then_some(secrets),
            security_context: Some(PodSecurityContext {
                run_as_non_root: Some(true),
                run_as_user: Some(USER),
                run_as_group: Some(USER),
                fs_group: Some(USER),
                fs_group_change_policy: Some("OnRootMismatch".into()),
                seccomp_profile: Some(SeccompProfile {
                    type_: "RuntimeDefault".into(),
                    localhost_profile: None,
                }),
                ..PodSecurityContext::default()
            }),
            node_selector: (!scheduling.node_selector.is_empty()).then(|| scheduling.node_selector.clone()),
            tolerations: (!scheduling.tolerations.is_empty()).then(|| scheduling.tolerations.clone()),
            affinity: scheduling.affinity.clone(),
            priority_class_name: scheduling.priority_class_name.clone(),
            topology_spread_constraints: spread(valid),
            containers: vec![container(valid)],
            volumes: Some(volumes(valid)),
            // The environment variables of every Service of the namespace are of no use here.
            enable_service_links: Some(false),
            ..PodSpec::default()
        }),
    }
}

fn spread(valid: &Valid) -> Option<Vec<TopologySpreadConstraint>> {
    let over = |key: &str| TopologySpreadConstraint {
        max_skew: 1,
        topology_key: key.into(),
        // A cluster with fewer machines than nodes still runs all of them.
        when_unsatisfiable: "ScheduleAnyway".into(),
        label_selector: Some(selector(valid)),
        ..TopologySpreadConstraint::default()
    };
    match valid.spec.scheduling.topology_spread {
        TopologySpread::None => None,
        TopologySpread::Host => Some(vec![over("kubernetes.io/hostname")]),
        TopologySpread::Zone => {
            Some(vec![over("topology.kubernetes.io/zone"), over("kubernetes.io/hostname")])
        }
    }
}

fn container(valid: &Valid) -> Container {
    let port = |name: &str, number| ContainerPort {
        name: Some(name.into()),
        container_port: number,
        protocol: Some("TCP".into()),
        ..ContainerPort::default()
    };
    let mount = |name: &str, path: &str, read_only: bool| VolumeMount {
        name: name.into(),
        mount_path: path.into(),
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    };
    let mut mounts = vec![
        mount(VOLUME, DATA_DIR, false),
        mount("peer-tls", PEER_TLS_DIR, true),
        mount("tmp", "/tmp", false),
    ];
    if valid.spec.security.tls.is_some() {
        mounts.push(mount("tls", REST_TLS_DIR, true));
    }
    Container {
        name: CONTAINER.into(),
        image: Some(valid.image.clone()),
        image_pull_policy: valid.pull_policy.clone(),
        ports: Some(vec![port("rest", REST_PORT), port("p2p", P2P_PORT)]),
        env: Some(env(valid)),
        resources: Some(valid.spec.resources.clone()),
        volume_mounts: Some(mounts),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            capabilities: Some(Capabilities { drop: Some(vec!["ALL".into()]), add: None }),
            ..SecurityContext::default()
        }),
        // The last lines of a node that could not start end up in the status, where people look first.
        termination_message_policy: Some("FallbackToLogsOnError".into()),
        // A node that replays a long log is alive and not ready; only one that answers nothing is restarted.
        liveness_probe: Some(probe(valid, "/livez", 10, 6)),
        readiness_probe: Some(probe(valid, "/readyz", 5, 2)),
        ..Container::default()
    }
}

fn probe(valid: &Valid, path: &str, period: i32, failures: i32) -> Probe {
    let scheme = if valid.spec.security.tls.is_some() { "HTTPS" } else { "HTTP" };
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.into()),
            port: IntOrString::String("rest".into()),
            scheme: Some(scheme.into()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period),
        timeout_seconds: Some(5),
        failure_threshold: Some(failures),
        ..Probe::default()
    }
}

fn volumes(valid: &Valid) -> Vec<Volume> {
    let secret = |name: &str, secret: String, items: Option<Vec<KeyToPath>>| Volume {
        name: name.into(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(secret),
            items,
            default_mode: Some(0o440),
            ..SecretVolumeSource::default()
        }),
        ..Volume::default()
    };
    let item = |key: &str| KeyToPath { key: key.into(), path: key.into(), mode: None };
    // The authority's key and the operator's stay out of the pods.
    let own = ["ca.crt", "tls.crt", "tls.key"].map(item).to_vec();
    let mut volumes = vec![
        secret("peer-tls", names::peer_secret(&valid.name), Some(own)),
        Volume { name: "tmp".into(), empty_dir: Some(EmptyDirVolumeSource::default()), ..Volume::default() },
    ];
    if let Some(tls) = &valid.spec.security.tls {
        volumes.push(secret("tls", tls.secret_name.clone(), None));
    }
    volumes
}
