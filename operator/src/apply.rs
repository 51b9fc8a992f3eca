//! Writes what was planned and built: server-side apply under one field manager, the whole intent each time.
//! Nothing here decides.

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Secret};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource, ResourceExt};
use quiver_crds::{VectorCollection, VectorShard, VectorSnapshot};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::build::Objects;
use crate::error::Result;
use crate::names::FIELD_MANAGER;
use crate::observe::Observed;
use crate::plan::Plan;

/// One namespace's objects.
pub struct Applier<'a> {
    pub client: &'a Client,
    pub namespace: &'a str,
}

fn ours() -> PatchParams {
    PatchParams::apply(FIELD_MANAGER).force()
}

/// Not finding what shall go is success.
fn gone<T>(result: std::result::Result<T, kube::Error>) -> Result<()> {
    match result {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// Finding what shall be made is success: somebody's answer was lost.
fn there<T>(result: std::result::Result<T, kube::Error>) -> Result<()> {
    match result {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => Ok(()),
        Err(e) => Err(e.into()),
    }
}

impl Applier<'_> {
    fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), self.namespace)
    }

    async fn put<K>(&self, object: &K) -> Result<()>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Serialize
            + DeserializeOwned
            + Clone
            + std::fmt::Debug,
    {
        self.api::<K>().patch(&object.name_any(), &ours(), &Patch::Apply(object)).await?;
        Ok(())
    }

    /// Applies all objects; those that pods need before the StatefulSet.
    pub async fn objects(&self, objects: &Objects) -> Result<()> {
        self.put(&objects.service_account).await?;
        self.put(&objects.role).await?;
        self.put(&objects.role_binding).await?;
        self.put(&objects.headless).await?;
        self.put(&objects.service).await?;
        if let Some(budget) = &objects.disruption_budget {
            self.put(budget).await?;
        }
        if let Some(policy) = &objects.network_policy {
            self.put(policy).await?;
        }
        self.put(&objects.stateful_set).await
    }

    /// Does what the plan asks for beside the objects.
    pub async fn actions(&self, plan: &Plan, observed: &Observed) -> Result<()> {
        for shard in &plan.create_shards {
            // Created, never applied: a record that is there belongs to the nodes.
            there(self.api::<VectorShard>().create(&PostParams::default(), shard).await)?;
        }
        let name = observed.name();
        if plan.remove_disruption_budget {
            gone(self.api::<PodDisruptionBudget>().delete(&name, &DeleteParams::default()).await)?;
        }
        if plan.remove_network_policy {
            gone(self.api::<NetworkPolicy>().delete(&name, &DeleteParams::default()).await)?;
        }
        if let Some(pod) = &plan.restart {
            let seen = observed.pods.iter().find(|p| p.name_any() == *pod).and_then(|p| p.uid());
            // Only the pod that was looked at, not its successor.
            let only = Preconditions { uid: seen, resource_version: None };
            gone(self.api::<Pod>().delete(pod, &DeleteParams::default().preconditions(only)).await)?;
        }
        if let Some(snapshot) = &plan.take_snapshot {
            there(self.api::<VectorSnapshot>().create(&PostParams::default(), snapshot).await)?;
        }
        for snapshot in &plan.forget_snapshots {
            gone(self.api::<VectorSnapshot>().delete(snapshot, &DeleteParams::default()).await)?;
        }
        Ok(())
    }

    /// Grows volumes; the answer is why one can't be, which no retry cures.
    pub async fn grow(&self, claims: &[(String, String)]) -> Result<Option<String>> {
        for (claim, size) in claims {
            let patch = json!({ "spec": { "resources": { "requests": { "storage": size } } } });
            let api = self.api::<PersistentVolumeClaim>();
            match api.patch(claim, &PatchParams::default(), &Patch::Merge(&patch)).await {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if status.code == 403 || status.code == 422 => {
                    return Ok(Some(status.message.clone()));
                }
                Err(e) => return Err(e.into()),
            }
        }
        Ok(None)
    }

    /// Writes the Secret with the certificates, over the version that was read.
    pub async fn secret(&self, secret: &Secret) -> Result<()> {
        let api = self.api::<Secret>();
        let name = secret.name_any();
        if secret.metadata.resource_version.is_some() {
            api.replace(&name, &PostParams::default(), secret).await?;
        } else {
            api.create(&PostParams::default(), secret).await?;
        }
        Ok(())
    }

    /// Writes the status of a collection if it differs.
    pub async fn collection_status(
        &self,
        collection: &VectorCollection,
        status: &quiver_crds::VectorCollectionStatus,
    ) -> Result<bool> {
        if collection.status.as_ref() == Some(status) {
            return Ok(false);
        }
        self.status::<VectorCollection, _>(&collection.name_any(), status).await?;
        Ok(true)
    }

    /// Writes a status whole.
    pub async fn status<K, S>(&self, name: &str, status: &S) -> Result<()>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + DeserializeOwned
            + Clone
            + std::fmt::Debug,
        S: Serialize,
    {
        let body = json!({
            "apiVersion": K::api_version(&()), "kind": K::kind(&()), "metadata": {"name": name}, "status": status,
        });
        self.api::<K>().patch_status(name, &ours(), &Patch::Apply(&body)).await?;
        Ok(())
    }
}
