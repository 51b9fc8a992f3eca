//! What is generated from the code is in step with it.

use std::collections::BTreeMap;

use crate::{files, report};

/// The documents below a folder by file name.
fn documents(folder: &str) -> anyhow::Result<BTreeMap<String, String>> {
    let below = |(path, text): (String, String)| Some((path.strip_prefix(folder)?.to_owned(), text));
    Ok(files()?.into_iter().filter_map(below).collect())
}

#[test]
fn kinds_of_the_chart_are_those_for_kubectl() -> anyhow::Result<()> {
    let (plain, chart) = (documents("crds/yaml/")?, documents("charts/quiver/templates/crds/")?);
    let mut findings = Vec::new();
    if plain.is_empty() {
        findings.push("crds/yaml is empty".to_owned());
    }
    for (name, text) in &plain {
        // The chart wraps each kind in a condition and an annotation; the schema itself is the same, line for line.
        let Some(wrapped) = chart.get(name) else {
            findings.push(format!("charts/quiver/templates/crds/{name} is missing"));
            continue;
        };
        let known: std::collections::BTreeSet<&str> = wrapped.lines().map(str::trim).collect();
        let lacking = text.lines().map(str::trim).find(|line| {
            // The first line says in the file's own way of commenting where it comes from.
            !known.contains(line) && *line != "---" && !line.starts_with('#')
        });
        findings.extend(lacking.map(|line| format!("charts/quiver/templates/crds/{name} lacks: {line}")));
    }
    report(findings)
}
