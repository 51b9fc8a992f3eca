//! Names of snapshots in the making: none is given twice.

use std::path::PathBuf;
use std::sync::Arc;

use super::catalog::Catalog;
use super::checksums::Shared;

/// Numbers that are tried behind a name.
const NUMBERS_MAX: u32 = 1000;

/// A name that nothing has, and that nothing else is given until this is dropped.
pub struct Reserved {
    name: String,
    path: PathBuf,
    shared: Arc<Shared>,
}

impl Catalog {
    /// Names are by the second; a second snapshot in one, or one that is begun while another is made, gets a number.
    pub fn reserve(&self, owner: &str, name: &str) -> Reserved {
        let stem = name.trim_end_matches(".snapshot");
        let numbered = (1..NUMBERS_MAX).map(|i| format!("{stem}-{i}.snapshot"));
        let mut taken = self.shared.reserved.lock();
        let free =
            |name: &String| self.find(owner, name).is_err() && !taken.contains(&self.place(owner, name));
        let name = std::iter::once(name.to_owned()).chain(numbered).find(free).unwrap_or(name.to_owned());
        let path = self.place(owner, &name);
        taken.insert(path.clone());
        Reserved { name, path, shared: self.shared.clone() }
    }
}

impl Reserved {
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.shared.reserved.lock().remove(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use quiver_engine::file::RealDisk;

    use super::*;

    #[test]
    fn no_name_is_given_twice_while_a_snapshot_is_made() {
        let folder = tempfile::tempdir().expect("a folder");
        let catalog = Catalog::open(Arc::new(RealDisk), folder.path().to_owned()).expect("a catalog");
        let reserve = |owner| catalog.reserve(owner, "docs-1.snapshot");
        let (first, second, elsewhere) = (reserve("docs"), reserve("docs"), reserve("books"));
        let names = [&first, &second, &elsewhere].map(|r| r.name().to_owned());
        assert_eq!(names, ["docs-1.snapshot", "docs-1-1.snapshot", "docs-1.snapshot"]);
        drop(first);
        assert_eq!(reserve("docs").name(), "docs-1.snapshot", "nothing came of it");
        std::fs::create_dir_all(catalog.place("docs", "docs-1.snapshot")).expect("a snapshot");
        assert_eq!(reserve("docs").name(), "docs-1-2.snapshot");
    }
}
