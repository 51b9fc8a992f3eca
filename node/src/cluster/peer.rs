//! Calls to the internal port of another node.
//!
//! A write is sent again only if the other side certainly did not begin it; whoever got no answer says so.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use quiver_api::shard_call::{ShardAnswer, ShardCall, ShardError};
use serde::{Deserialize, Serialize};

use super::Place;
use super::lead::Cluster;
use super::tls::PeerClient;
use crate::pool::Deadline;

/// Sent with an answer of a node that does not lead the shard: nothing was begun.
pub const NOT_LEADING: StatusCode = StatusCode::MISDIRECTED_REQUEST;
/// A call gets this much more than the request has left, so that the other side's answer about a time-out arrives.
const MARGIN: Duration = Duration::from_millis(500);
/// Largest answer that is believed.
const ANSWER_MAX_BYTES: usize = 512 << 20;

/// What travels.
#[derive(Debug, Serialize, Deserialize)]
pub struct CallRequest {
    /// What is left of the request's time.
    pub timeout_ms: u64,
    pub call: ShardCall,
}

/// How a call can go wrong.
#[derive(Debug)]
enum CallError {
    /// Certainly not begun.
    NotBegun(String),
    /// The shard's own answer.
    Shard(ShardError),
    /// Perhaps begun, perhaps done.
    Unknown(ShardError),
}

/// Calls shards wherever they are.
pub struct Peers {
    cluster: Arc<Cluster>,
    client: Arc<PeerClient>,
}

impl Peers {
    pub fn new(cluster: Arc<Cluster>, client: Arc<PeerClient>) -> Self {
        Self { cluster, client }
    }

    /// Calls a shard on another node. If that node certainly did nothing, the record is looked at again and the call
    /// sent once more to whoever leads then.
    pub async fn call(
        &self,
        shard: u32,
        (pod, address): (&str, &str),
        call: ShardCall,
        deadline: Deadline,
    ) -> Result<ShardAnswer, ShardError> {
        let request = CallRequest { timeout_ms: millis(deadline), call };
        let why = match self.send(shard, pod, address, &request, deadline).await {
            Ok(answer) => return Ok(answer),
            Err(CallError::Shard(e) | CallError::Unknown(e)) => return Err(e),
            Err(CallError::NotBegun(why)) => why,
        };
        self.cluster.look().await;
        match self.place(shard) {
            Some(Place::Remote { pod: now, address }) if now != pod => {
                match self.send(shard, &now, &address, &request, deadline).await {
                    Ok(answer) => Ok(answer),
                    Err(CallError::Shard(e) | CallError::Unknown(e)) => Err(e),
                    Err(CallError::NotBegun(why)) => Err(unavailable(shard, &why)),
                }
            }
            _ => Err(unavailable(shard, &why)),
        }
    }

    fn place(&self, shard: u32) -> Option<Place> {
        let places = self.cluster.places();
        let places = places.as_ref().as_ref().ok()?;
        places.iter().find(|p| p.shard == shard).map(|p| p.place.clone())
    }

    async fn send(
        &self,
        shard: u32,
        pod: &str,
        address: &str,
        request: &CallRequest,
        deadline: Deadline,
    ) -> Result<ShardAnswer, CallError> {
        let url = self.client.url(address, &format!("/internal/shards/{shard}/call"));
        let sent =
            self.client.client().post(url).timeout(deadline.left() + MARGIN).json(request).send().await;
        let mut response = match sent {
            Ok(response) => response,
            Err(e) if e.is_connect() => {
                return Err(CallError::NotBegun(format!("node {pod} can't be reached: {}", root_cause(&e))));
            }
            Err(e) if e.is_timeout() => return Err(CallError::Unknown(timed_out(shard, pod))),
            Err(e) => return Err(CallError::Unknown(lost(shard, pod, &e))),
        };
        let status = response.status();
        let mut body = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(piece)) if body.len() + piece.len() <= ANSWER_MAX_BYTES => {
                    body.extend_from_slice(&piece)
                }
                Ok(Some(_)) => {
                    let error = format!("Service internal error: the answer of node {pod} is too large");
                    return Err(CallError::Shard(ShardError { code: 500, error }));
                }
                Ok(None) => break,
                Err(e) => return Err(CallError::Unknown(lost(shard, pod, &e))),
            }
        }
        let unreadable = |e: serde_json::Error| {
            let error =
                format!("Service internal error: node {pod} answered {status} with something else: {e}");
            CallError::Unknown(ShardError { code: 500, error })
        };
        if status.as_u16() == 200 {
            return serde_json::from_slice(&body).map_err(unreadable);
        }
        let error: ShardError = serde_json::from_slice(&body).map_err(unreadable)?;
        if status.as_u16() == NOT_LEADING.as_u16() {
            return Err(CallError::NotBegun(error.error));
        }
        Err(CallError::Shard(error))
    }
}

fn millis(deadline: Deadline) -> u64 {
    u64::try_from(deadline.left().as_millis()).unwrap_or(u64::MAX).max(1)
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut at = error;
    while let Some(source) = at.source() {
        at = source;
    }
    at.to_string()
}

fn timed_out(shard: u32, pod: &str) -> ShardError {
    let error = format!(
        "Timeout: Timeout error: shard {shard} on node {pod} did not answer in time; outcome unknown"
    );
    ShardError { code: 408, error }
}

fn lost(shard: u32, pod: &str, error: &reqwest::Error) -> ShardError {
    let cause = root_cause(error);
    let error = format!(
        "Shard temporarily unavailable: the connection to shard {shard} on node {pod} broke ({cause}); outcome unknown"
    );
    ShardError { code: 503, error }
}

/// A shard that nobody serves now.
pub fn unavailable(shard: u32, why: &str) -> ShardError {
    ShardError { code: 503, error: format!("Shard temporarily unavailable: shard {shard}: {why}") }
}
