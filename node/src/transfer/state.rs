//! How far a copy has come: a small file for each collection, replaced as a whole, so that what it says was written.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use quiver_api::point::PointId;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::files;
use super::point::Sample;

const FORMAT: u32 = 1;
const NAME_CHARS_MAX: usize = 60;

/// What the file says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct State {
    format: u32,
    pub from: String,
    pub to: String,
    pub collection: String,
    /// Points that the target has acknowledged.
    pub done: u64,
    /// Where the next scroll starts; meaningless in a load, which counts points.
    pub offset: Option<PointId>,
    /// Whether no more points come.
    pub complete: bool,
    pub sample: Sample,
}

impl State {
    pub fn new(from: &str, to: &str, collection: &str) -> Self {
        Self {
            format: FORMAT,
            from: from.to_owned(),
            to: to.to_owned(),
            collection: collection.to_owned(),
            done: 0,
            offset: None,
            complete: false,
            sample: Sample::default(),
        }
    }
}

/// Where it is kept.
pub struct StateFile(PathBuf);

impl StateFile {
    /// The file of one collection. Names of collections may hold what names of files may not, so a digest tells them apart.
    pub fn new(folder: &Path, kind: &str, collection: &str) -> Self {
        let readable = |c: char| if c.is_ascii_alphanumeric() || "-_".contains(c) { c } else { '_' };
        let name: String = collection.chars().take(NAME_CHARS_MAX).map(readable).collect();
        let digest = Sha256::digest(collection);
        let tail: String = digest.iter().take(4).map(|b| format!("{b:02x}")).collect();
        Self(folder.join(format!("{kind}-{name}-{tail}.json")))
    }

    /// What is remembered of this very copy.
    ///
    /// # Errors
    /// If the file belongs to a copy from or to somewhere else, or can't be read.
    pub async fn load(&self, from: &str, to: &str) -> Result<Option<State>> {
        let raw = match tokio::fs::read(&self.0).await {
            Ok(raw) => raw,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e).with_context(|| format!("reading {}", self.0.display())),
        };
        let unusable =
            || format!("{} is not a state of this version; remove it to start over", self.0.display());
        let state: State = serde_json::from_slice(&raw).with_context(unusable)?;
        if state.format != FORMAT {
            bail!(unusable());
        }
        if (state.from.as_str(), state.to.as_str()) != (from, to) {
            bail!(
                "{} remembers a copy from {} to {}; remove it, or name another folder with --state",
                self.0.display(),
                state.from,
                state.to
            );
        }
        Ok(Some(state))
    }

    /// Durable when it returns.
    pub async fn save(&self, state: &State) -> Result<()> {
        let raw = serde_json::to_vec(state).context("writing the state")?;
        files::replace(&self.0, &raw).await
    }
}
