//! Files that are there whole or not at all.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tokio::fs::{self, File};
use tokio::io::AsyncWriteExt;

/// Under which name a file is made.
pub fn making(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    name.into()
}

/// Gives a file that was made under [`making`]'s name its own one. The file and its name are durable when this returns.
pub async fn finish(file: File, path: &Path) -> Result<()> {
    let named = async {
        file.sync_all().await?;
        drop(file);
        fs::rename(making(path), path).await?;
        let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(parent).await?.sync_all().await
    };
    named.await.with_context(|| format!("writing {}", path.display()))
}

/// Replaces a small file, and makes its folder.
pub async fn replace(path: &Path, content: &[u8]) -> Result<()> {
    let written = async {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).await?;
        }
        let mut file = File::create(making(path)).await?;
        file.write_all(content).await?;
        file.flush().await?;
        Ok::<_, std::io::Error>(file)
    };
    let file = written.await.with_context(|| format!("writing {}", making(path).display()))?;
    finish(file, path).await
}
