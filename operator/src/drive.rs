//! What nodes are told: the schema. Each node is told again after it started anew or when something changed.

use std::collections::HashMap;

use futures::future::join_all;
use parking_lot::Mutex;
use quiver_api::internal::{SchemaRequest, SnapshotScheduleState};

use crate::build::schema;
use crate::node_client::NodeClient;
use crate::observe::Observed;
use crate::status::last_snapshot;
use crate::validate::Valid;

/// What each pod was told last: its life and the request. Lost with the process; then all are told again.
#[derive(Default)]
pub struct Told {
    by_pod: Mutex<HashMap<(String, String), (String, String)>>,
}

impl Told {
    /// Forgets a collection that is gone.
    pub fn forget(&self, uid: &str) {
        self.by_pod.lock().retain(|(u, _), _| u != uid);
    }
}

/// Puts the schema to every node that doesn't have it. Answers with what could not be done, and whether a node was
/// told anything.
pub async fn schema(
    nodes: &NodeClient,
    valid: &Valid,
    observed: &Observed,
    told: &Told,
) -> (Vec<String>, bool) {
    let schedule = valid.spec.snapshots.as_ref().and_then(|s| s.schedule.as_ref());
    let request = schema::request(
        valid,
        SnapshotScheduleState {
            scheduled: schedule.is_some_and(|s| !s.suspend),
            last_success_unix: last_snapshot(observed).map(|l| l.completed_at.0.as_second()),
        },
    );
    let text = serde_json::to_string(&request).unwrap_or_default();
    let mut due = Vec::new();
    for (pod, answer) in &observed.nodes {
        let Ok(node) = answer else { continue };
        let key = (valid.uid.clone(), pod.clone());
        let same = told.by_pod.lock().get(&key).is_some_and(|(boot, t)| *boot == node.boot && *t == text);
        let behind = node.schema_generation < valid.generation || !node.schema_differences.is_empty();
        if !same || behind {
            due.push((key, pod.clone(), node.boot.clone()));
        }
    }
    let any = !due.is_empty();
    let calls = due.into_iter().map(|(key, pod, boot)| put(nodes, &request, key, pod, boot));
    let mut differences = Vec::new();
    for (key, boot, result) in join_all(calls).await {
        match result {
            Ok(problems) => {
                if problems.is_empty() {
                    told.by_pod.lock().insert(key, (boot, text.clone()));
                }
                differences.extend(problems);
            }
            Err(problem) => differences.push(problem),
        }
    }
    (differences, any)
}

type Key = (String, String);

async fn put(
    nodes: &NodeClient,
    request: &SchemaRequest,
    key: Key,
    pod: String,
    boot: String,
) -> (Key, String, Result<Vec<String>, String>) {
    let result = match nodes.put_schema(&pod, request).await {
        Ok(answer) => Ok(answer.differences.into_iter().map(|d| format!("{pod}: {d}")).collect()),
        Err(e) => Err(e.to_string()),
    };
    (key, boot, result)
}
