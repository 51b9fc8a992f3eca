//! The CustomResourceDefinitions as YAML: for `kubectl apply` in `crds/yaml`, and as templates of the chart.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

use crate::{VectorCollection, VectorShard, VectorSnapshot};

/// All kinds, in the order in which they are installed.
pub fn all() -> Vec<CustomResourceDefinition> {
    vec![VectorCollection::crd(), VectorShard::crd(), VectorSnapshot::crd()]
}

/// One object as YAML.
pub fn to_yaml<T: serde::Serialize>(object: &T) -> String {
    // Through a JSON value: it sorts nothing but leaves out what serde's flattening would repeat.
    let value = serde_json::to_value(object).expect("a definition is plain data");
    serde_saphyr::to_string(&value).expect("a definition is plain data")
}

/// File name below the repository's root, and content, of every generated file.
pub fn manifests() -> Vec<(String, String)> {
    let mut files = Vec::new();
    for crd in all() {
        let plural = &crd.spec.names.plural;
        let plain = to_yaml(&crd);
        files.push((format!("charts/quiver/templates/crds/{plural}.yaml"), chart_template(&plain)));
        files.push((
            format!("crds/yaml/{plural}.yaml"),
            format!("# Made by crdgen; change crds/src instead.\n{plain}"),
        ));
    }
    files
}

/// The definition inside the chart's switch; what looks like a template action is escaped, and Helm never deletes it.
fn chart_template(plain: &str) -> String {
    let escaped = plain.replace("{{", "{{ \"{{\" }}");
    let kept =
        escaped.replacen("metadata:\n", "metadata:\n  annotations:\n    helm.sh/resource-policy: keep\n", 1);
    format!(
        "{{{{- /* Made by crdgen; change crds/src instead. */ -}}}}\n{{{{- if .Values.crds.install }}}}\n{}\n{{{{- end }}}}\n",
        kept.trim_end()
    )
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// The committed files are read with the standard library: this crate has no file layer to go through.
    #[allow(clippy::disallowed_methods)]
    #[test]
    fn committed_yaml_is_what_the_types_say() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for (name, content) in super::manifests() {
            let committed = std::fs::read(root.join(&name)).unwrap_or_default();
            assert!(
                String::from_utf8_lossy(&committed) == content,
                "{name} is not up to date: run `cargo run -p quiver-crds --bin crdgen -- --write`"
            );
        }
    }

    #[test]
    fn a_definition_fits_into_an_annotation() {
        // `kubectl apply` keeps the whole object in an annotation of at most 256 KiB.
        for crd in super::all() {
            let size = serde_json::to_string(&crd).expect("plain data").len();
            assert!(size < 200_000, "{} has {size} bytes", crd.spec.names.kind);
        }
    }
}
