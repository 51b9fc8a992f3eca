//! Shard records without Kubernetes: in memory for tests, in a file for several processes on one machine.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::record::{Known, RecordError, ShardRecord, ShardRecords};

/// Records in memory. Clones share them.
#[derive(Clone)]
pub struct MemoryRecords(Arc<Memory>);

struct Memory {
    records: Mutex<BTreeMap<u32, ShardRecord>>,
    heard: watch::Sender<Known>,
}

impl MemoryRecords {
    pub fn new(records: impl IntoIterator<Item = ShardRecord>) -> Self {
        let records: BTreeMap<u32, ShardRecord> = records.into_iter().map(|r| (r.shard, r)).collect();
        let (heard, _) = watch::channel(Some(Arc::new(records.clone())));
        Self(Arc::new(Memory { records: Mutex::new(records), heard }))
    }

    /// Adds a record as the operator would.
    pub fn add(&self, record: ShardRecord) {
        let mut records = self.0.records.lock();
        records.entry(record.shard).or_insert(record);
        self.0.heard.send_replace(Some(Arc::new(records.clone())));
    }

    /// Changes a record as the operator would.
    pub fn change(&self, shard: u32, change: impl FnOnce(&mut ShardRecord)) {
        let mut records = self.0.records.lock();
        if let Some(record) = records.get_mut(&shard) {
            change(record);
            record.config_version += 1;
            record.version = next_version(record);
        }
        self.0.heard.send_replace(Some(Arc::new(records.clone())));
    }
}

fn next_version(record: &ShardRecord) -> String {
    record.version.parse::<u64>().map_or(1, |v| v + 1).to_string()
}

/// The rules that Kubernetes checks for the real ones, as far as a node's own changes go.
fn swap(records: &mut BTreeMap<u32, ShardRecord>, mut new: ShardRecord) -> Result<ShardRecord, RecordError> {
    let old =
        records.get_mut(&new.shard).ok_or_else(|| RecordError::Refused("there is no such record".into()))?;
    if old.version != new.version {
        return Err(RecordError::Conflict);
    }
    let (before, after) =
        old.replica().and_then(|o| Ok((o, new.replica()?))).map_err(RecordError::Refused)?;
    before
        .accepts(&after, quiver_replica::Rules::default())
        .map_err(|e| RecordError::Refused(e.to_string()))?;
    new.version = next_version(old);
    *old = new.clone();
    Ok(new)
}

impl ShardRecords for MemoryRecords {
    fn watch(&self) -> watch::Receiver<Known> {
        self.0.heard.subscribe()
    }

    fn replace(&self, record: ShardRecord) -> BoxFuture<'_, Result<ShardRecord, RecordError>> {
        let mut records = self.0.records.lock();
        let swapped = swap(&mut records, record);
        if swapped.is_ok() {
            self.0.heard.send_replace(Some(Arc::new(records.clone())));
        }
        Box::pin(std::future::ready(swapped))
    }

    fn get(&self, shard: u32) -> BoxFuture<'_, Result<Option<ShardRecord>, RecordError>> {
        Box::pin(std::future::ready(Ok(self.0.records.lock().get(&shard).cloned())))
    }
}

/// What the file holds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct RecordsFile {
    /// Pod → `host:port` of its internal port.
    pub addresses: BTreeMap<String, String>,
    pub records: Vec<ShardRecord>,
}

/// Records in a JSON file that several processes share.
pub struct FileRecords {
    path: PathBuf,
    heard: watch::Sender<Known>,
}

impl FileRecords {
    /// Reads the file and goes on looking at it for as long as the result lives.
    pub fn open(path: &Path) -> anyhow::Result<(Arc<Self>, BTreeMap<String, String>)> {
        let file = read(path).with_context(|| format!("reading the records file {}", path.display()))?;
        let (heard, _) = watch::channel(Some(Arc::new(by_shard(&file))));
        let records = Arc::new(Self { path: path.into(), heard });
        let looking = Arc::downgrade(&records);
        tokio::spawn(async move {
            let mut tick = tokio::time::interval(Duration::from_millis(200));
            while let Some(records) = looking.upgrade() {
                records.look();
                drop(records);
                tick.tick().await;
            }
        });
        Ok((records, file.addresses))
    }

    fn look(&self) {
        match read(&self.path) {
            Ok(file) => {
                let new = by_shard(&file);
                self.heard.send_if_modified(|known| {
                    let changed = known.as_deref() != Some(&new);
                    *known = Some(Arc::new(new));
                    changed
                });
            }
            Err(e) => tracing::warn!("{} can't be read: {e:#}", self.path.display()),
        }
    }

    fn swap(&self, record: ShardRecord) -> anyhow::Result<Result<ShardRecord, RecordError>> {
        let lock = std::fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(self.path.with_extension("lock"))?;
        lock.lock()?;
        let mut file = read(&self.path)?;
        let mut records = by_shard(&file);
        let swapped = swap(&mut records, record);
        if swapped.is_ok() {
            file.records = records.into_values().collect();
            write(&self.path, &file)?;
        }
        Ok(swapped)
    }
}

fn by_shard(file: &RecordsFile) -> BTreeMap<u32, ShardRecord> {
    file.records.iter().map(|r| (r.shard, r.clone())).collect()
}

#[allow(clippy::disallowed_methods)] // Not data: records for trying a node set, written by hand or by a test.
fn read(path: &Path) -> anyhow::Result<RecordsFile> {
    Ok(serde_json::from_slice(&std::fs::read(path)?)?)
}

/// Replaces the file as a whole, so that readers never see half of it.
#[allow(clippy::disallowed_methods)] // Not data, as above.
pub fn write(path: &Path, file: &RecordsFile) -> anyhow::Result<()> {
    let temporary = path.with_extension("new");
    std::fs::write(&temporary, serde_json::to_vec_pretty(file)?)?;
    std::fs::rename(&temporary, path)?;
    Ok(())
}

impl ShardRecords for FileRecords {
    fn watch(&self) -> watch::Receiver<Known> {
        self.heard.subscribe()
    }

    fn replace(&self, record: ShardRecord) -> BoxFuture<'_, Result<ShardRecord, RecordError>> {
        let swapped = self.swap(record).unwrap_or_else(|e| Err(RecordError::Unknown(format!("{e:#}"))));
        self.look();
        Box::pin(std::future::ready(swapped))
    }

    fn get(&self, shard: u32) -> BoxFuture<'_, Result<Option<ShardRecord>, RecordError>> {
        let found = read(&self.path).map(|f| by_shard(&f).remove(&shard));
        Box::pin(std::future::ready(found.map_err(|e| RecordError::Unknown(format!("{e:#}")))))
    }
}

#[cfg(test)]
mod tests {
    use quiver_api::internal::HashRange;
    use quiver_replica::record::{Boot, Change};

    use super::super::record::CopyRecord;
    use super::*;

    const ID: &str = "0a000000000040008000000000000000";

    fn record() -> ShardRecord {
        ShardRecord {
            name: "docs-0".into(),
            version: "1".into(),
            shard: 0,
            range: HashRange::ALL,
            term: 1,
            config_version: 1,
            primary: ID.into(),
            primary_boot: String::new(),
            copies: vec![CopyRecord::new(ID, "docs-0", true)],
            restore: None,
            split: None,
        }
    }

    fn led_by(boot: u128) -> ShardRecord {
        let led = record()
            .replica()
            .and_then(|r| r.with(&Change::SelfTerm { boot: Boot(boot) }).map_err(|e| e.to_string()));
        record().changed(&led.expect("a legal change"))
    }

    async fn check_only_one_wins(records: &dyn ShardRecords) {
        let heard = records.watch();
        let first = records.replace(led_by(11)).await.expect("nobody was faster");
        let boot = format!("{:032x}", 11);
        assert_eq!((first.term, first.config_version, first.primary_boot.as_str()), (2, 2, boot.as_str()));
        assert_eq!(records.replace(led_by(12)).await, Err(RecordError::Conflict));
        assert_eq!(records.get(0).await, Ok(Some(first.clone())));
        assert_eq!(heard.borrow().as_ref().map(|k| k[&0].clone()), Some(first.clone()));
        let skips = ShardRecord { config_version: first.config_version + 2, ..first };
        assert!(matches!(records.replace(skips).await, Err(RecordError::Refused(_))));
    }

    #[tokio::test]
    async fn of_two_who_swap_one_wins() {
        check_only_one_wins(&MemoryRecords::new([record()])).await;
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("records.json");
        write(&path, &RecordsFile { records: vec![record()], ..RecordsFile::default() }).expect("written");
        check_only_one_wins(&*FileRecords::open(&path).expect("opened").0).await;
    }
}
