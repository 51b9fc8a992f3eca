//! This node's Lease: by its renewals the operator knows that the node lives. Nothing that keeps a write rests on it.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, OwnerReference};
use kube::api::{ObjectMeta, Patch, PatchParams};
use kube::{Api, Client, Resource};

use crate::clock;
use crate::config::Cluster as Settings;

/// How often it is renewed, and for how long one renewal counts. The operator waits for the latter.
const EVERY: Duration = Duration::from_secs(3);
const SECONDS: i32 = 10;
/// Longest time for one renewal: the next one is as good.
const CALL_TIME: Duration = Duration::from_secs(3);

/// Renews the Lease named as the pod for as long as the process lives. It isn't given back: a pod that goes in an orderly way
/// has handed over before.
pub async fn run(client: Client, settings: Settings, boot: String) {
    let api: Api<Lease> = Api::namespaced(client, &settings.namespace);
    let params = PatchParams::apply("quiver-node").force();
    let mut tick = tokio::time::interval(EVERY);
    let mut renewed = true;
    loop {
        tick.tick().await;
        let lease = lease(&settings, &boot);
        let patch = Patch::Apply(&lease);
        let renewal = api.patch(&settings.pod, &params, &patch);
        let failed = match tokio::time::timeout(CALL_TIME, renewal).await {
            Ok(Ok(_)) => None,
            Ok(Err(e)) => Some(e.to_string()),
            Err(_) => Some("the API server does not answer".into()),
        };
        let before = std::mem::replace(&mut renewed, failed.is_none());
        if let Some(why) = failed.filter(|_| before) {
            tracing::warn!("the Lease {} can't be renewed: {why}", settings.pod);
        }
    }
}

fn lease(settings: &Settings, boot: &str) -> Lease {
    // It goes with the collection.
    let owner = OwnerReference {
        api_version: quiver_crds::VectorCollection::api_version(&()).into_owned(),
        kind: quiver_crds::VectorCollection::kind(&()).into_owned(),
        name: settings.collection.clone(),
        uid: settings.collection_uid.clone(),
        ..OwnerReference::default()
    };
    Lease {
        metadata: ObjectMeta {
            name: Some(settings.pod.clone()),
            labels: Some([(quiver_crds::COLLECTION_LABEL.to_owned(), settings.collection.clone())].into()),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(boot.to_owned()),
            lease_duration_seconds: Some(SECONDS),
            renew_time: Some(MicroTime(clock::timestamp())),
            ..LeaseSpec::default()
        }),
    }
}
