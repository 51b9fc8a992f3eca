//! What the managed collection is to be, as the operator put it last. Kept on disk, so that a node that starts
//! without the operator serves what it served before.

use std::path::PathBuf;
use std::sync::Arc;

use quiver_api::internal::SchemaRequest;
use quiver_engine::file::{Disk, atomic};
use tokio::sync::watch;

/// The schema now in force.
pub struct Schema {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    collection_uid: String,
    current: watch::Sender<Option<Arc<SchemaRequest>>>,
}

/// Why a schema was not taken.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Engine(#[from] quiver_engine::Error),
}

impl Schema {
    /// Reads what was put before, if there is something.
    pub fn open(
        disk: Arc<dyn Disk>,
        storage: &std::path::Path,
        collection_uid: &str,
    ) -> Result<Self, SchemaError> {
        let path = storage.join("schema.json");
        let current: Option<SchemaRequest> =
            if disk.exists(&path) { Some(atomic::read_json(&*disk, &path)?) } else { None };
        if let Some(schema) = &current
            && schema.collection_uid != collection_uid
        {
            return Err(SchemaError::Refused(format!(
                "this volume belongs to the collection with uid {}, not {collection_uid}: it was not emptied before \
                 it was used again",
                schema.collection_uid
            )));
        }
        let (current, _) = watch::channel(current.map(Arc::new));
        Ok(Self { disk, path, collection_uid: collection_uid.into(), current })
    }

    /// What is in force, and how to hear of changes.
    pub fn watch(&self) -> watch::Receiver<Option<Arc<SchemaRequest>>> {
        self.current.subscribe()
    }

    /// What is in force.
    pub fn current(&self) -> Option<Arc<SchemaRequest>> {
        self.current.borrow().clone()
    }

    /// Takes a schema over. Durable when this returns.
    pub fn put(&self, schema: SchemaRequest) -> Result<Arc<SchemaRequest>, SchemaError> {
        if schema.collection_uid != self.collection_uid {
            return Err(SchemaError::Refused(format!(
                "this node belongs to the collection with uid {}, not {}",
                self.collection_uid, schema.collection_uid
            )));
        }
        if let Some(before) = self.current()
            && schema.generation < before.generation
        {
            return Err(SchemaError::Refused(format!(
                "generation {} is older than {}, which is in force",
                schema.generation, before.generation
            )));
        }
        atomic::write_json(&*self.disk, &self.path, &schema)?;
        let schema = Arc::new(schema);
        self.current.send_replace(Some(schema.clone()));
        Ok(schema)
    }
}
