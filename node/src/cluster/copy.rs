//! The folder of one copy of a shard, and what it remembers of its record.
//!
//! `<storage>/copies/<shard>-<copy id>/` holds `copy.json` and, below `shard`, the engine's files. The folder is made
//! under another name and renamed when it is whole, so a folder with this name always has data in it. It is never
//! removed from here.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use quiver_api::internal::HashRange;
use quiver_engine::config::CollectionConfig;
use quiver_engine::file::{Disk, atomic};
use quiver_engine::shard::{Shard, ShardOptions};
use quiver_engine::wal::WalIdentity;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::record::ShardRecord;

/// What a copy remembers. A record that is older than this is refused: it has gone back in time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Remembered {
    pub collection_uid: String,
    pub shard: u32,
    pub copy_id: String,
    pub range: HashRange,
    pub term: i64,
    pub config_version: i64,
    /// Copies that were in sync when the record was last seen; needed to rebuild a lost record.
    pub in_sync: Vec<String>,
}

/// Why a copy can't be used.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The record and the disk contradict each other. No retry helps; nothing is served or changed.
    #[error("{0}")]
    ConfigLost(String),
    #[error(transparent)]
    Engine(#[from] quiver_engine::Error),
    #[error("{what}: {source}")]
    Io {
        what: String,
        #[source]
        source: std::io::Error,
    },
}

/// A copy's folder.
#[derive(Clone)]
pub struct CopyFolder {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    collection_uid: String,
    shard: u32,
    copy_id: String,
}

fn io(what: String) -> impl FnOnce(std::io::Error) -> CopyError {
    move |source| CopyError::Io { what, source }
}

impl CopyFolder {
    /// Where the copy of this id is or would be. Ids come from a record: only UUIDs are accepted.
    pub fn new(
        disk: Arc<dyn Disk>,
        storage: &Path,
        collection_uid: &str,
        shard: u32,
        copy_id: &str,
    ) -> Result<Self, CopyError> {
        for (what, id) in [("collection uid", collection_uid), ("copy id", copy_id)] {
            if Uuid::parse_str(id).is_err() {
                return Err(CopyError::ConfigLost(format!(
                    "the {what} `{}` is not a UUID",
                    id.escape_debug()
                )));
            }
        }
        let path = storage.join("copies").join(format!("{shard}-{copy_id}"));
        Ok(Self { disk, path, collection_uid: collection_uid.into(), shard, copy_id: copy_id.into() })
    }

    pub fn exists(&self) -> bool {
        self.disk.exists(&self.path)
    }

    fn options(&self) -> ShardOptions {
        let bytes = |id: &str| Uuid::parse_str(id).map(Uuid::into_bytes).unwrap_or_default();
        let identity =
            WalIdentity { collection_uid: bytes(&self.collection_uid), copy_id: bytes(&self.copy_id) };
        ShardOptions { identity, ..ShardOptions::default() }
    }

    /// Makes the folder whole or not at all. With `snapshot`, the engine's files come from there. The caller has
    /// made sure that the record allows it (reliability rule: only at the genesis of the shard).
    pub fn create(
        &self,
        record: &ShardRecord,
        config: CollectionConfig,
        snapshot: Option<&Path>,
    ) -> Result<Shard, CopyError> {
        let making = self.path.with_extension("new");
        if self.disk.exists(&making) {
            self.disk.remove_dir_all(&making).map_err(io(format!("clearing {}", making.display())))?;
        }
        self.disk.create_dir_all(&making).map_err(io(format!("making {}", making.display())))?;
        let shard = match snapshot {
            None => Shard::create(self.disk.clone(), &making.join("shard"), self.options(), config)?,
            Some(files) => {
                let shard =
                    Shard::restore_from(self.disk.clone(), files, &making.join("shard"), self.options())?;
                shard.update_config(config)?;
                shard
            }
        };
        drop(shard);
        atomic::write_json(&*self.disk, &making.join("copy.json"), &self.remembered(record))?;
        let what = || format!("naming {}", self.path.display());
        self.disk.sync_dir(&making).map_err(io(what()))?;
        self.disk.rename(&making, &self.path).map_err(io(what()))?;
        let parent = self.path.parent().expect("the folder was joined to another");
        self.disk.sync_dir(parent).map_err(io(what()))?;
        // Opened again by its name: the engine keeps paths.
        self.open()
    }

    /// Opens what is there. Every acknowledged write is visible in the result.
    pub fn open(&self) -> Result<Shard, CopyError> {
        Ok(Shard::open(self.disk.clone(), &self.path.join("shard"), self.options())?)
    }

    fn remembered(&self, record: &ShardRecord) -> Remembered {
        Remembered {
            collection_uid: self.collection_uid.clone(),
            shard: self.shard,
            copy_id: self.copy_id.clone(),
            range: record.range,
            term: record.term,
            config_version: record.config_version,
            in_sync: record.copies.iter().filter(|c| c.in_sync).map(|c| c.id.clone()).collect(),
        }
    }

    /// What the copy remembers.
    pub fn recall(&self) -> Result<Remembered, CopyError> {
        let remembered: Remembered = atomic::read_json(&*self.disk, &self.path.join("copy.json"))?;
        let mine = remembered.collection_uid == self.collection_uid
            && remembered.shard == self.shard
            && remembered.copy_id == self.copy_id;
        if !mine {
            return Err(CopyError::ConfigLost(format!("{} holds another copy", self.path.display())));
        }
        Ok(remembered)
    }

    /// Accepts a record: durable before anything is done in its name. An older one than was seen is refused.
    pub fn accept(&self, record: &ShardRecord) -> Result<(), CopyError> {
        let before = self.recall()?;
        if record.term < before.term || record.config_version < before.config_version {
            return Err(CopyError::ConfigLost(format!(
                "the record {} has gone back in time: it says term {}, configVersion {}; this copy has seen term {}, \
                 configVersion {}. Was etcd restored from a backup, or the VectorShard deleted? Put it back, or \
                 restore a snapshot into a new VectorCollection",
                record.name, record.term, record.config_version, before.term, before.config_version
            )));
        }
        if record.range != before.range {
            return Err(CopyError::ConfigLost(format!(
                "the record {} has another range of hashes than the data of this copy",
                record.name
            )));
        }
        let now = self.remembered(record);
        if now != before {
            atomic::write_json(&*self.disk, &self.path.join("copy.json"), &now)?;
        }
        Ok(())
    }
}
