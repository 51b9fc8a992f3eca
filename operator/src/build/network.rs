//! Services, the disruption budget and the network policy.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::owned;
use crate::names::{self, P2P_PORT, REST_PORT};
use crate::validate::Valid;

fn port(name: &str, number: i32) -> ServicePort {
    ServicePort {
        name: Some(name.into()),
        port: number,
        target_port: Some(IntOrString::String(name.into())),
        protocol: Some("TCP".into()),
        ..ServicePort::default()
    }
}

/// Gives each pod its name, also before it is ready: peers find each other while they start.
pub fn headless(valid: &Valid) -> Service {
    Service {
        metadata: owned(valid, names::headless(&valid.name)),
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".into()),
            publish_not_ready_addresses: Some(true),
            selector: Some(names::selector(&valid.name)),
            ports: Some(vec![port("rest", REST_PORT), port("p2p", P2P_PORT)]),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

/// What clients use: every ready pod takes every request.
pub fn service(valid: &Valid) -> Service {
    Service {
        metadata: owned(valid, valid.name.clone()),
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".into()),
            selector: Some(names::selector(&valid.name)),
            ports: Some(vec![port("rest", REST_PORT)]),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

/// How many nodes an eviction may take: none while shards lack copies, so that a drain waits until those of the node before
/// have caught up.
pub fn disruption_budget(valid: &Valid, lacks_copies: bool) -> PodDisruptionBudget {
    let unavailable = if lacks_copies { 0 } else { valid.spec.disruption.max_unavailable_nodes };
    PodDisruptionBudget {
        metadata: owned(valid, valid.name.clone()),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(unavailable)),
            selector: Some(selector(valid)),
            // A pod that isn't ready protects nothing, and a drain must not wait for it.
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".into()),
            ..PodDisruptionBudgetSpec::default()
        }),
        status: None,
    }
}

fn selector(valid: &Valid) -> LabelSelector {
    LabelSelector { match_labels: Some(names::selector(&valid.name)), ..LabelSelector::default() }
}

/// REST for everybody; the internal port only for pods of the collection and for the operator.
pub fn network_policy(valid: &Valid) -> NetworkPolicy {
    let open = |number| NetworkPolicyPort {
        port: Some(IntOrString::Int(number)),
        protocol: Some("TCP".into()),
        ..NetworkPolicyPort::default()
    };
    let operator = LabelSelector {
        match_labels: Some([("app.kubernetes.io/name".to_owned(), "quiver-operator".to_owned())].into()),
        ..LabelSelector::default()
    };
    let peers = vec![
        NetworkPolicyPeer { pod_selector: Some(selector(valid)), ..NetworkPolicyPeer::default() },
        NetworkPolicyPeer {
            pod_selector: Some(operator),
            namespace_selector: Some(LabelSelector::default()),
            ..NetworkPolicyPeer::default()
        },
    ];
    NetworkPolicy {
        metadata: owned(valid, valid.name.clone()),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(selector(valid)),
            policy_types: Some(vec!["Ingress".into()]),
            ingress: Some(vec![
                NetworkPolicyIngressRule { ports: Some(vec![open(REST_PORT)]), from: None },
                NetworkPolicyIngressRule { ports: Some(vec![open(P2P_PORT)]), from: Some(peers) },
            ]),
            egress: None,
        }),
    }
}
