//! Prints the CustomResourceDefinitions; with `--write` puts them where the repository keeps them.

use std::path::Path;

fn main() -> std::io::Result<()> {
    if std::env::args().any(|a| a == "--write") {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for (name, content) in quiver_crds::manifests() {
            let path = root.join(name);
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder)?;
            }
            // Generated sources of the repository, not data: the engine's file layer has no part in it.
            #[allow(clippy::disallowed_methods)]
            std::fs::write(path, content)?;
        }
        return Ok(());
    }
    for crd in quiver_crds::all() {
        println!("---\n{}", quiver_crds::to_yaml(&crd));
    }
    Ok(())
}
