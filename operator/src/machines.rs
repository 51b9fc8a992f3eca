//! On which machine and in which zone pods run, for spreading copies. Unknown is fine: then nothing is spread by it.

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::core::metadata::PartialObjectMeta;
use kube::{Api, Client, ResourceExt};
use parking_lot::Mutex;

const ZONE: &str = "topology.kubernetes.io/zone";

/// Zones of machines by name, as they were read: a machine stays where it is.
#[derive(Default)]
pub struct Machines {
    zones: Mutex<HashMap<String, Option<String>>>,
}

impl Machines {
    /// Zone and machine of each pod.
    pub async fn of(
        &self,
        client: &Client,
        pods: &[Pod],
    ) -> BTreeMap<String, (Option<String>, Option<String>)> {
        let mut found = BTreeMap::new();
        for pod in pods {
            let machine = pod.spec.as_ref().and_then(|s| s.node_name.clone());
            let zone = match (pod.labels().get(ZONE), &machine) {
                // Newer clusters copy the label to the pod.
                (Some(zone), _) => Some(zone.clone()),
                (None, Some(machine)) => self.zone(client, machine).await,
                (None, None) => None,
            };
            found.insert(pod.name_any(), (zone, machine));
        }
        found
    }

    async fn zone(&self, client: &Client, machine: &str) -> Option<String> {
        if let Some(known) = self.zones.lock().get(machine) {
            return known.clone();
        }
        let api: Api<Node> = Api::all(client.clone());
        let found: Result<PartialObjectMeta<Node>, _> = api.get_metadata(machine).await;
        let zone = match found {
            Ok(node) => node.labels().get(ZONE).cloned(),
            // An operator of some namespaces may not read machines: then zones aren't known.
            Err(kube::Error::Api(status)) if status.code == 403 || status.code == 404 => None,
            Err(_) => return None,
        };
        self.zones.lock().insert(machine.to_owned(), zone.clone());
        zone
    }
}
