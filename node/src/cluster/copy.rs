//! The folder of one copy of a shard.
//!
//! `<storage>/copies/<shard>-<copy id>/` holds `copy.json`, which says whose it is and where in it the engine's files are, and
//! `replica.json`, what the copy has promised and which record it has seen. The folder is made under another name and
//! renamed when it is whole, so a folder with this name always has data in it. One that is not listed any more goes to
//! `<storage>/trash` and is kept there for a day, or until the volume needs the room.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use quiver_api::internal::HashRange;
use quiver_engine::config::CollectionConfig;
use quiver_engine::file::{Disk, atomic};
use quiver_engine::shard::{Frozen, Hashes, Shard, ShardLimits, ShardOptions};
use quiver_engine::wal::WalIdentity;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Below the storage folder.
const COPIES: &str = "copies";
const TRASH: &str = "trash";
/// What the name of a copy's folder ends with until it is whole.
const MAKING: &str = "new";
/// The engine's files of a copy that was made here, below its folder.
const FILES: &str = "shard";
/// What was thrown away is kept for so long, in seconds.
const TRASH_KEPT: u64 = 24 * 3600;
/// And only while less of the volume is in use, in percent: well below where writes are refused.
const TRASH_FULL: f64 = 70.0;

/// What `copy.json` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    pub collection_uid: String,
    pub shard: u32,
    pub copy_id: String,
    pub range: HashRange,
    /// Folder of the engine's files; another one after they were fetched from another copy.
    pub files: String,
    /// When the folder was made, in Unix seconds; 0 before that was kept.
    #[serde(default)]
    pub made: u64,
    /// (seq, term) of the entry in the log of the shard that this one was split off; none of a shard that wasn't.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forked: Option<(u64, u64)>,
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
    limits: ShardLimits,
}

/// As the engine has it.
pub fn hashes(range: HashRange) -> Hashes {
    Hashes { first: range.first, last: range.last }
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
        limits: ShardLimits,
    ) -> Result<Self, CopyError> {
        for (what, id) in [("collection uid", collection_uid), ("copy id", copy_id)] {
            if Uuid::parse_str(id).is_err() {
                return Err(CopyError::ConfigLost(format!(
                    "the {what} `{}` is not a UUID",
                    id.escape_debug()
                )));
            }
        }
        let path = storage.join(COPIES).join(format!("{shard}-{copy_id}"));
        Ok(Self { disk, path, collection_uid: collection_uid.into(), shard, copy_id: copy_id.into(), limits })
    }

    pub fn exists(&self) -> bool {
        self.disk.exists(&self.path)
    }

    fn options(&self, range: HashRange) -> ShardOptions {
        let bytes = |id: &str| Uuid::parse_str(id).map(Uuid::into_bytes).unwrap_or_default();
        let identity =
            WalIdentity { collection_uid: bytes(&self.collection_uid), copy_id: bytes(&self.copy_id) };
        let range = Some(hashes(range));
        ShardOptions { identity, replicated: true, limits: self.limits, range, ..ShardOptions::default() }
    }

    /// Makes the folder whole or not at all; `made` in Unix seconds. With `snapshot`, the engine's files come from there. The caller has
    /// made sure that it may: only the genesis of a shard, or a copy that no record lists, starts without data.
    pub fn create(
        &self,
        range: HashRange,
        config: CollectionConfig,
        snapshot: Option<&Path>,
        made: u64,
    ) -> Result<Shard, CopyError> {
        let (making, options) = (self.making()?, self.options(range));
        let shard = match snapshot {
            None => Shard::create(self.disk.clone(), &making.join(FILES), options, config)?,
            Some(from) => {
                let shard = Shard::restore_from(self.disk.clone(), from, &making.join(FILES), options)?;
                shard.update_config(config)?;
                shard
            }
        };
        drop(shard);
        self.finish(&making, &self.identity(range, made))?;
        // Opened again by its name: the engine keeps paths.
        self.open()
    }

    /// Makes the folder of a shard that gets what another one has frozen, of a snapshot of that one; whole or not at all.
    pub fn fork(&self, frozen: &Frozen, snapshot: &Path, made: u64) -> Result<(), CopyError> {
        let range = HashRange { first: frozen.give.first, last: frozen.give.last };
        let making = self.making()?;
        drop(Shard::fork_from(self.disk.clone(), snapshot, &making.join(FILES), self.options(range))?);
        let forked = Some((frozen.seq, frozen.term));
        self.finish(&making, &Identity { forked, ..self.identity(range, made) })
    }

    /// An empty folder that isn't the copy's yet.
    fn making(&self) -> Result<PathBuf, CopyError> {
        let making = self.path.with_extension(MAKING);
        if self.disk.exists(&making) {
            self.disk.remove_dir_all(&making).map_err(io(format!("clearing {}", making.display())))?;
        }
        self.disk.create_dir_all(&making).map_err(io(format!("making {}", making.display())))?;
        Ok(making)
    }

    fn finish(&self, making: &Path, identity: &Identity) -> Result<(), CopyError> {
        atomic::write_json(&*self.disk, &making.join("copy.json"), identity)?;
        self.rename(making, &self.path)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), CopyError> {
        let what = || format!("naming {}", to.display());
        self.disk.sync_dir(from).map_err(io(what()))?;
        self.disk.rename(from, to).map_err(io(what()))?;
        let parents = [from.parent(), to.parent()].into_iter().flatten();
        parents.into_iter().try_for_each(|p| self.disk.sync_dir(p).map_err(io(what())))
    }

    /// Opens what is there. Every acknowledged write is visible in the result, or comes back when the copy learns that it is
    /// committed.
    pub fn open(&self) -> Result<Shard, CopyError> {
        let identity = self.recall()?;
        let others = self.disk.list(&self.path).map_err(io(format!("listing {}", self.path.display())))?;
        for name in others.iter().filter(|n| n.starts_with("shard") && **n != identity.files) {
            // Fetched, and not adopted before the process ended; or what that took the place of.
            let left = self.path.join(name);
            self.disk.remove_dir_all(&left).map_err(io(format!("removing {}", left.display())))?;
        }
        let options = self.options(identity.range);
        Ok(Shard::open(self.disk.clone(), &self.path.join(&identity.files), options)?)
    }

    /// Makes a shard of fetched files, beside the present one. It isn't opened by the next start before [`Self::adopt`].
    pub fn receive(&self, fetched: &Path) -> Result<(String, Shard), CopyError> {
        let name = format!("shard-{}", Uuid::new_v4().simple());
        let options = self.options(self.recall()?.range);
        let shard = Shard::install_from(self.disk.clone(), fetched, &self.path.join(&name), options)?;
        self.disk.sync_dir(&self.path).map_err(io(format!("syncing {}", self.path.display())))?;
        Ok((name, shard))
    }

    /// The received files are the copy's from here on, durably. Gives the folder of those that were before.
    pub fn adopt(&self, name: &str) -> Result<PathBuf, CopyError> {
        let before = self.recall()?;
        let left = self.path.join(&before.files);
        let now = Identity { files: name.into(), ..before };
        atomic::write_json(&*self.disk, &self.path.join("copy.json"), &now)?;
        Ok(left)
    }

    fn identity(&self, range: HashRange, made: u64) -> Identity {
        Identity {
            collection_uid: self.collection_uid.clone(),
            shard: self.shard,
            copy_id: self.copy_id.clone(),
            range,
            files: FILES.into(),
            made,
            forked: None,
        }
    }

    /// What the folder says of itself.
    pub fn recall(&self) -> Result<Identity, CopyError> {
        let identity: Identity = atomic::read_json(&*self.disk, &self.path.join("copy.json"))?;
        let mine = identity.collection_uid == self.collection_uid
            && identity.shard == self.shard
            && identity.copy_id == self.copy_id;
        if !mine {
            return Err(CopyError::ConfigLost(format!("{} holds another copy", self.path.display())));
        }
        Ok(identity)
    }

    /// When the folder was made, in Unix seconds; long ago, if what says so is damaged.
    pub fn made(&self) -> Result<u64, CopyError> {
        match self.recall() {
            Err(CopyError::Engine(quiver_engine::Error::Corrupt { .. })) => Ok(0),
            recalled => Ok(recalled?.made),
        }
    }

    /// The folder, for what a copy keeps beside its data.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether a record has ever listed the copy: it has promised something.
    pub fn was_listed(&self) -> bool {
        self.disk.exists(&self.path.join(crate::replica::STORED))
    }

    /// Puts the folder away; `now` in Unix seconds. The copy must not be open.
    pub fn discard(&self, now: u64) -> Result<(), CopyError> {
        let storage = self.path.parent().and_then(Path::parent).unwrap_or(&self.path);
        let trash = storage.join(TRASH);
        self.disk.create_dir_all(&trash).map_err(io(format!("making {}", trash.display())))?;
        self.rename(&self.path, &trash.join(format!("{}-{}-{now}", self.shard, self.copy_id)))
    }
}

/// What is in a folder; nothing, if it isn't there.
fn names_in(disk: &dyn Disk, dir: &Path) -> Result<Vec<String>, CopyError> {
    if !disk.exists(dir) {
        return Ok(Vec::new());
    }
    disk.list(dir).map_err(io(format!("listing {}", dir.display())))
}

/// The copies that a volume has: shard and id.
pub fn held(disk: &dyn Disk, storage: &Path) -> Result<Vec<(u32, String)>, CopyError> {
    let names = names_in(disk, &storage.join(COPIES))?;
    let parsed = names.iter().filter_map(|name| {
        let (shard, id) = name.split_once('-')?;
        Uuid::parse_str(id).ok()?;
        Some((shard.parse().ok()?, id.to_owned()))
    });
    Ok(parsed.collect())
}

/// Removes what was being made when the process ended last. Only before anything is made again.
pub fn clear_unfinished(disk: &dyn Disk, storage: &Path) -> Result<(), CopyError> {
    let dir = storage.join(COPIES);
    let paths = names_in(disk, &dir)?.into_iter().map(|name| dir.join(name));
    for unfinished in paths.filter(|p| p.extension().is_some_and(|e| e == MAKING)) {
        disk.remove_dir_all(&unfinished).map_err(io(format!("removing {}", unfinished.display())))?;
    }
    Ok(())
}

/// Removes what was thrown away more than a day ago, and the oldest of what was thrown away since while the volume is rather
/// full; `now` in Unix seconds.
pub fn empty_trash(disk: &dyn Disk, storage: &Path, now: u64) -> Result<(), CopyError> {
    let trash = storage.join(TRASH);
    let thrown_at = |name: String| Some((name.rsplit_once('-')?.1.parse::<u64>().ok()?, name));
    let mut thrown: Vec<_> = names_in(disk, &trash)?.into_iter().filter_map(thrown_at).collect();
    thrown.sort_unstable();
    for (at, name) in thrown {
        if now.saturating_sub(at) <= TRASH_KEPT && !is_rather_full(disk, storage)? {
            break;
        }
        let old = trash.join(&name);
        disk.remove_dir_all(&old).map_err(io(format!("removing {}", old.display())))?;
    }
    Ok(())
}

fn is_rather_full(disk: &dyn Disk, storage: &Path) -> Result<bool, CopyError> {
    let (free, total) = disk.space(storage).map_err(io(format!("looking at {}", storage.display())))?;
    Ok((total - free) as f64 >= TRASH_FULL / 100.0 * total as f64)
}

#[cfg(test)]
mod tests {
    use quiver_engine::file::SimDisk;

    use super::*;

    #[test]
    fn trash_is_kept_for_a_day_or_until_the_volume_needs_the_room() {
        const DAY: u64 = TRASH_KEPT;
        // (bytes of the volume, now, what is left of three folders of 100 bytes each)
        for (capacity, now, left) in [
            (1000, DAY, vec!["1-c-7", "2-b-5", "3-a-6"]),
            (1000, DAY + 6, vec!["1-c-7", "3-a-6"]),
            (400, DAY, vec!["1-c-7", "3-a-6"]),
            (250, DAY, vec!["1-c-7"]),
            (120, DAY, vec![]),
        ] {
            let (disk, storage) = (SimDisk::new(), Path::new("storage"));
            for name in ["2-b-5", "3-a-6", "1-c-7"] {
                let dir = storage.join(TRASH).join(name);
                disk.create_dir_all(&dir).expect("a folder");
                disk.create(&dir.join("file")).and_then(|f| f.write_all_at(&[1; 100], 0)).expect("a file");
            }
            disk.set_capacity(Some(capacity));
            empty_trash(&disk, storage, now).expect("emptied");
            let mut names = disk.list(&storage.join(TRASH)).expect("listed");
            names.sort_unstable();
            assert_eq!(names, left, "{capacity} bytes, {now} s");
        }
    }
}
