//! Files of a shard for a copy that the log doesn't reach any more: lent by the copy that leads, as links that stay as they
//! are, and fetched one by one. A transfer that breaks goes on at the byte where it broke.

use std::collections::BTreeMap;
use std::io::SeekFrom;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use parking_lot::Mutex;
use quiver_engine::shard::{Shard, SnapshotFiles};
use quiver_replica::log::Position;
use quiver_replica::record::CopyId;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};
use uuid::Uuid;

use super::lead::Cluster;
use crate::clock;
use crate::pool::Deadline;
use crate::replica::Input;
use crate::snapshot::catalog::Scratch;
use crate::snapshot::{SnapshotError, io};

/// Links that nobody has read from for so long are removed.
const LENT_FOR: Duration = Duration::from_secs(300);
/// Sets of links at a time; one more takes the place of the one that was used the longest ago.
const LENT_MAX: usize = 64;
/// Longest time for linking, and for checking what was fetched.
const WORK_TIME: Duration = Duration::from_secs(3600);
/// Longest time without a byte.
const SILENCE: Duration = Duration::from_secs(10);
/// How often a file is tried without getting a byte further.
const TRIES: u32 = 5;

/// What is lent: a snapshot as of `seq`, written in `term`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Loan {
    pub id: String,
    pub seq: u64,
    pub term: u64,
    pub files: Vec<Lent>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Lent {
    /// Relative to the snapshot's folder.
    pub path: String,
    pub bytes: u64,
}

/// Which part of which file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Wanted {
    pub path: String,
    #[serde(default)]
    pub offset: u64,
}

/// All that this node lends.
#[derive(Default)]
pub struct Loans(Mutex<BTreeMap<String, Held>>);

struct Held {
    links: Scratch,
    loan: Loan,
    used: Instant,
}

/// Links the files of a shard as they are now.
///
/// # Errors
/// They can't be made.
pub async fn link(
    cluster: &Cluster,
    shard: Arc<Shard>,
    what: &'static str,
) -> Result<(Scratch, SnapshotFiles), SnapshotError> {
    let links = scratch(cluster);
    let (disk, dir) = (cluster.disk.clone(), links.path().to_owned());
    let linking = cluster.node.pools.update.run(what, Deadline::after(WORK_TIME), move |_| {
        if let Some(parent) = dir.parent() {
            disk.create_dir_all(parent).map_err(io(format!("making {}", parent.display())))?;
        }
        Ok::<_, SnapshotError>(shard.snapshot_to(&dir)?)
    });
    Ok((links, linking.await??))
}

/// A folder of this node's volume that isn't there yet.
fn scratch(cluster: &Cluster) -> Scratch {
    let path = cluster.storage().join("tmp").join(Uuid::new_v4().simple().to_string());
    Scratch::at(cluster.disk.clone(), path)
}

impl Loans {
    /// Links the files of a shard of this node.
    ///
    /// # Errors
    /// No copy of it is open here, or the links can't be made.
    pub async fn lend(&self, cluster: &Arc<Cluster>, number: u32) -> Result<Loan, SnapshotError> {
        let shard =
            cluster
                .open_shards()
                .into_iter()
                .find_map(|(n, shard)| (n == number).then_some(shard))
                .ok_or_else(|| SnapshotError::NotFound(format!("no copy of shard {number} is open here")))?;
        let (links, taken) = link(cluster, shard, "Lend").await?;
        let (seq, term) = (taken.seq, taken.term);
        let (disk, dir) = (cluster.disk.clone(), links.path().to_owned());
        let measuring = cluster.node.pools.update.run("Lend", Deadline::after(WORK_TIME), move |_| {
            let lent = |file: &PathBuf| {
                let bytes =
                    disk.size(&dir.join(file)).map_err(io(format!("looking at {}", file.display())))?;
                Ok::<_, SnapshotError>(Lent { path: file.to_string_lossy().into_owned(), bytes })
            };
            taken.files.iter().map(lent).collect::<Result<Vec<_>, _>>()
        });
        let id = Uuid::new_v4().simple().to_string();
        let loan = Loan { id, seq, term, files: measuring.await?? };
        let mut all = self.0.lock();
        if all.len() >= LENT_MAX
            && let Some(oldest) = all.iter().min_by_key(|(_, h)| h.used).map(|(id, _)| id.clone())
        {
            all.remove(&oldest);
        }
        all.insert(loan.id.clone(), Held { links, loan: loan.clone(), used: clock::now() });
        Ok(loan)
    }

    /// Where a lent file lies; `None` if it isn't lent, or not any more.
    pub fn find(&self, id: &str, path: &str) -> Option<PathBuf> {
        let mut all = self.0.lock();
        let held = all.get_mut(id)?;
        held.used = clock::now();
        held.loan.files.iter().any(|f| f.path == path).then(|| held.links.path().join(path))
    }

    pub fn give_back(&self, id: &str) {
        let returned = self.0.lock().remove(id);
        drop(returned);
    }

    /// Removes what nobody reads.
    pub fn sweep(&self) {
        let mut all = self.0.lock();
        let old = all.extract_if(.., |_, held| held.used.elapsed() > LENT_FOR).collect::<Vec<_>>();
        drop(all);
        drop(old);
    }
}

/// A lent file from a byte on.
///
/// # Errors
/// It can't be read.
pub async fn read(path: &Path, offset: u64) -> std::io::Result<tokio::fs::File> {
    let mut file = tokio::fs::File::open(path).await?;
    file.seek(SeekFrom::Start(offset)).await?;
    Ok(file)
}

/// Fetches a shard's files from the copy on another pod and makes a shard of them.
///
/// # Errors
/// They can't be had or don't hold what they should. It may be tried again.
pub async fn fetch(
    cluster: &Arc<Cluster>,
    shard: u32,
    copy: CopyId,
    pod: &str,
    up_to: Position,
) -> Result<Input> {
    let address = cluster.addresses.of(pod).with_context(|| format!("nobody knows the address of {pod}"))?;
    let base = cluster.client.url(&address, &format!("/internal/shards/{shard}/files"));
    let http = cluster.client.client();
    let response = http.post(&base).timeout(WORK_TIME).send().await?.error_for_status()?;
    let loan: Loan = response.json().await.context("reading what is lent")?;
    ensure!(loan.seq >= up_to.seq, "{pod} lends files as of {}, older than {}", loan.seq, up_to.seq);
    let bytes: u64 = loan.files.iter().map(|f| f.bytes).sum();
    tracing::info!(shard, from = pod, files = loan.files.len(), bytes, "fetching");
    let links = scratch(cluster);
    for file in &loan.files {
        file_of(cluster, &format!("{base}/{}", loan.id), file, links.path()).await?;
    }
    // It goes by itself if this is lost.
    let _ = http.delete(format!("{base}/{}", loan.id)).timeout(SILENCE).send().await;
    let folder = cluster.folder(shard, copy)?;
    let (receiving, from) = (folder.clone(), links.path().to_owned());
    let made = cluster
        .node
        .pools
        .update
        .run("Receive", Deadline::after(WORK_TIME), move |_| receiving.receive(&from));
    let (name, made) = made.await??;
    drop(links);
    let made = Arc::new(made);
    let (adopting, adopted) = (Arc::downgrade(cluster), made.clone());
    let adopt = Box::new(move || {
        let left = folder.adopt(&name)?;
        if let Some(cluster) = adopting.upgrade() {
            cluster.adopted(shard, copy, adopted, left);
        }
        Ok(())
    });
    Ok(Input::Installed { shard: made, up_to: Position { seq: loan.seq, term: loan.term }, adopt })
}

/// One file, in as many parts as it takes.
async fn file_of(cluster: &Cluster, url: &str, file: &Lent, into: &Path) -> Result<()> {
    let relative = Path::new(&file.path);
    let plain = relative.components().all(|c| matches!(c, std::path::Component::Normal(_)));
    ensure!(plain && !file.path.is_empty(), "a file can't be named `{}`", file.path.escape_debug());
    let path = into.join(relative);
    let parent = path.parent().context("a file lies in a folder")?;
    tokio::fs::create_dir_all(parent).await?;
    let mut out = tokio::fs::File::create_new(&path).await?;
    let (mut done, mut tries) = (0, 0);
    while done < file.bytes {
        let before = done;
        let part = part_of(cluster, url, &file.path, &mut done, file.bytes, &mut out).await;
        tries = if done > before { 0 } else { tries + 1 };
        if let Err(e) = part
            && tries >= TRIES
        {
            return Err(e.context(format!("fetching {}", file.path)));
        }
    }
    out.sync_all().await?;
    Ok(())
}

/// From where it stands, as far as it goes.
async fn part_of(
    cluster: &Cluster,
    url: &str,
    path: &str,
    done: &mut u64,
    bytes: u64,
    out: &mut tokio::fs::File,
) -> Result<()> {
    let wanted = Wanted { path: path.into(), offset: *done };
    let sending = cluster.client.client().get(url).query(&wanted).send();
    let mut response = tokio::time::timeout(SILENCE, sending).await??.error_for_status()?;
    while let Some(piece) = tokio::time::timeout(SILENCE, response.chunk()).await?? {
        if *done + piece.len() as u64 > bytes {
            bail!("more came than the file has");
        }
        out.write_all(&piece).await?;
        *done += piece.len() as u64;
        cluster.throttle.pass(piece.len()).await;
    }
    ensure!(*done == bytes, "the connection ended after {done} of {bytes} bytes");
    Ok(())
}

/// Holds back what is fetched from other nodes, so that it doesn't take the whole network and disk.
pub struct Throttle {
    /// 0: as fast as it goes.
    bytes_per_second: u64,
    free_at: Mutex<Instant>,
}

impl Throttle {
    pub fn new(mib_per_second: u64) -> Self {
        Self { bytes_per_second: mib_per_second << 20, free_at: Mutex::new(clock::now()) }
    }

    async fn pass(&self, bytes: usize) {
        let Some(nanoseconds) = (bytes as u64 * 1_000_000_000).checked_div(self.bytes_per_second) else {
            return;
        };
        let now = clock::now();
        let until = {
            let mut free_at = self.free_at.lock();
            *free_at = now.max(*free_at) + Duration::from_nanos(nanoseconds);
            *free_at
        };
        tokio::time::sleep(until.saturating_duration_since(now)).await;
    }
}

/// So that a lent file is streamed, not read at once.
pub fn stream(file: tokio::fs::File) -> axum::body::Body {
    axum::body::Body::from_stream(tokio_util::io::ReaderStream::with_capacity(file.take(u64::MAX), 256 << 10))
}
