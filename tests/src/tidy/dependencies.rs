//! Edges between our packages, and crates that must stay out of some of them.

use std::collections::BTreeSet;

use anyhow::Context;
use serde_json::Value;

use crate::{output, report};

/// Which of our packages each of them may use.
const EDGES: [(&str, &[&str]); 8] = [
    ("quiver-crds", &[]),
    ("quiver-kube-client", &[]),
    ("quiver-engine", &[]),
    ("quiver-api", &[]),
    // Itself, for its tests only: with the feature that lets them leave out a rule.
    ("quiver-replica", &["quiver-replica"]),
    ("quiver-node", &["quiver-api", "quiver-crds", "quiver-engine", "quiver-kube-client", "quiver-replica"]),
    ("quiver-operator", &["quiver-api", "quiver-crds", "quiver-kube-client", "quiver-replica"]),
    ("system-tests", &["quiver-api", "quiver-crds", "quiver-engine", "quiver-node", "quiver-operator"]),
];
/// Async and HTTP stay out of what is bytes and CPU, and out of the kinds.
const SYNCHRONOUS: [&str; 3] = ["quiver-engine", "quiver-crds", "quiver-replica"];
const ASYNCHRONOUS: [&str; 4] = ["tokio", "hyper", "axum", "reqwest"];

#[test]
fn packages_use_only_whom_they_may() -> anyhow::Result<()> {
    let metadata: Value =
        serde_json::from_str(&output("cargo", &["metadata", "--format-version=1", "--no-deps"])?)?;
    let mut findings = Vec::new();
    let packages = metadata["packages"].as_array().context("packages")?;
    for package in packages {
        let name = package["name"].as_str().context("a name")?;
        let allowed = EDGES.iter().find(|(n, _)| *n == name).map(|(_, to)| *to);
        let Some(allowed) = allowed else {
            findings.push(format!("{name} is a package that tests/src/tidy/dependencies.rs doesn't know"));
            continue;
        };
        for dependency in package["dependencies"].as_array().context("dependencies")? {
            let to = dependency["name"].as_str().context("a name")?;
            if EDGES.iter().any(|(n, _)| *n == to) && !allowed.contains(&to) {
                findings.push(format!("{name} may not use {to}"));
            }
        }
    }
    if packages.len() != EDGES.len() {
        findings.push(format!("{} packages in the workspace, {} in the table", packages.len(), EDGES.len()));
    }
    report(findings)
}

#[test]
fn engine_and_kinds_are_free_of_async_and_http() -> anyhow::Result<()> {
    let mut findings = Vec::new();
    for package in SYNCHRONOUS {
        let tree =
            output("cargo", &["tree", "-p", package, "-e", "normal", "--prefix", "none", "--format", "{p}"])?;
        let names: BTreeSet<&str> = tree.lines().filter_map(|l| l.split(' ').next()).collect();
        findings.extend(
            ASYNCHRONOUS.iter().filter(|n| names.contains(*n)).map(|n| format!("{package} brings {n}")),
        );
    }
    report(findings)
}
