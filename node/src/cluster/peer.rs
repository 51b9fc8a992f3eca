//! Calls to the internal port of another node.
//!
//! A write is sent again only if the other side certainly did not begin it; whoever got no answer says so.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use quiver_api::internal::HashRange;
use quiver_api::shard_call::{ShardAnswer, ShardCall, ShardError};
use quiver_engine::shard::Shard;
use serde::{Deserialize, Serialize};

use super::Place;
use super::copy::hashes;
use super::internal::Execute;
use super::lead::Cluster;
use super::tls::PeerClient;
use crate::pool::Deadline;
use crate::stale;

/// Sent with an answer of a node that does not lead the shard: nothing was begun.
pub const NOT_LEADING: StatusCode = StatusCode::MISDIRECTED_REQUEST;
/// A call gets this much more than the request has left, so that the other side's answer about a time-out arrives.
const MARGIN: Duration = Duration::from_millis(500);
/// An ordinary read that isn't answered after this is asked of another copy too.
const HEDGE: Duration = Duration::from_millis(500);
/// Largest answer that is believed.
const ANSWER_MAX_BYTES: usize = 512 << 20;

/// What travels.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CallRequest {
    /// What is left of the request's time.
    pub timeout_ms: u64,
    pub call: ShardCall,
    /// A read that has to see all that was acknowledged before.
    #[serde(default)]
    pub strong: bool,
    /// Who may answer an ordinary read.
    #[serde(default)]
    pub among: Among,
    /// Hashes of the points that it is about: a shard that owns others by now does nothing.
    #[serde(default)]
    pub range: Option<HashRange>,
}

/// Which copies of a shard may answer an ordinary read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Among {
    #[default]
    Leading,
    /// Those too that follow and have heard from the one that leads just now: they have what was acknowledged before.
    Fresh,
    /// All that follow: what they have may be older than promised.
    All,
}

/// An answer, and whether it may be older than promised.
struct Answered {
    answer: ShardAnswer,
    old: bool,
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
    execute: Execute,
}

impl Peers {
    pub fn new(cluster: Arc<Cluster>, client: Arc<PeerClient>, execute: Execute) -> Self {
        Self { cluster, client, execute }
    }

    /// Calls a shard on another node. An ordinary read that isn't answered soon is asked of another copy as well; one that only
    /// copies answer that may be too old is answered all the same, and marked.
    pub async fn call(
        &self,
        (shard, range): (u32, HashRange),
        (pod, address): (&str, &str),
        call: ShardCall,
        deadline: Deadline,
    ) -> Result<ShardAnswer, ShardError> {
        let strong = deadline.is_strong();
        let ordinary = matches!(call, ShardCall::Read(_)) && !strong;
        let request = CallRequest {
            timeout_ms: millis(deadline),
            call,
            strong,
            among: Among::Leading,
            range: Some(range),
        };
        let leading = self.call_leader(shard, (pod, address), &request, deadline);
        let others = if ordinary { self.others(shard, pod) } else { Vec::new() };
        let answered = match others.is_empty() {
            true => leading.await?,
            false => self.read(shard, leading, &others, &request, deadline).await?,
        };
        if answered.old {
            stale::mark();
        }
        Ok(answered.answer)
    }

    /// An ordinary read of the copy that leads, and of others if that one fails, is slow, or may have been replaced.
    async fn read(
        &self,
        shard: u32,
        leading: impl Future<Output = Result<Answered, ShardError>>,
        others: &[String],
        request: &CallRequest,
        deadline: Deadline,
    ) -> Result<Answered, ShardError> {
        tokio::pin!(leading);
        let asked = |among| CallRequest { among, timeout_ms: millis(deadline), ..request.clone() };
        let first = match tokio::time::timeout(HEDGE, &mut leading).await {
            Ok(first) => first,
            Err(_) => tokio::select! {
                first = &mut leading => first,
                Ok(answered) = self.call_others(shard, others, asked(Among::Fresh), deadline) => return Ok(answered),
            },
        };
        if settled(&first) {
            return first;
        }
        // No answer that is as young as promised by the one that leads.
        match self.call_others(shard, others, asked(Among::Fresh), deadline).await {
            Ok(answered) => Ok(answered),
            Err(_) if first.is_ok() => first,
            Err(_) => self.call_others(shard, others, asked(Among::All), deadline).await.or(first),
        }
    }

    /// If the node certainly did nothing, the record is looked at again and the call sent once more to whoever leads then.
    async fn call_leader(
        &self,
        shard: u32,
        (pod, address): (&str, &str),
        request: &CallRequest,
        deadline: Deadline,
    ) -> Result<Answered, ShardError> {
        let why = match self.send(shard, pod, address, request, deadline).await {
            Ok(answered) => return Ok(answered),
            Err(CallError::Shard(e) | CallError::Unknown(e)) => return Err(e),
            Err(CallError::NotBegun(why)) => why,
        };
        self.cluster.refresh();
        match self.place(shard) {
            Some(Place::Remote { pod: now, address }) if now != pod => {
                match self.send(shard, &now, &address, request, deadline).await {
                    Ok(answered) => Ok(answered),
                    Err(CallError::Shard(e) | CallError::Unknown(e)) => Err(e),
                    Err(CallError::NotBegun(why)) => Err(unavailable(shard, &why)),
                }
            }
            Some(Place::Local(local, fresh)) => {
                let old = !fresh.is_now();
                self.execute(local, request, deadline).await.map(|answer| Answered { answer, old })
            }
            _ => Err(unavailable(shard, &why)),
        }
    }

    async fn execute(
        &self,
        local: Arc<Shard>,
        request: &CallRequest,
        deadline: Deadline,
    ) -> Result<ShardAnswer, ShardError> {
        (self.execute)(local, request.range.map(hashes), request.call.clone(), deadline).await
    }

    /// Pods that have a copy in sync, but for the one that leads.
    fn others(&self, shard: u32, leader: &str) -> Vec<String> {
        let record = self.cluster.record(shard);
        let copies = record.into_iter().flat_map(|r| r.copies);
        copies.filter(|c| c.in_sync && c.pod != leader).map(|c| c.pod).collect()
    }

    /// Asks copies that follow, this node's own first.
    async fn call_others(
        &self,
        shard: u32,
        pods: &[String],
        request: CallRequest,
        deadline: Deadline,
    ) -> Result<Answered, ShardError> {
        if let Some((own, old)) = self.cluster.readable(shard, request.among) {
            return self.execute(own, &request, deadline).await.map(|answer| Answered { answer, old });
        }
        for pod in pods.iter().filter(|p| *p != self.cluster.pod()) {
            let Some(address) = self.cluster.addresses.of(pod) else { continue };
            if let Ok(answered) = self.send(shard, pod, &address, &request, deadline).await {
                return Ok(answered);
            }
        }
        Err(unavailable(shard, "no copy of it that is up to date answers"))
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
    ) -> Result<Answered, CallError> {
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
        let old = response.headers().contains_key(stale::HEADER);
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
            let answer = serde_json::from_slice(&body).map_err(unreadable)?;
            return Ok(Answered { answer, old });
        }
        let error: ShardError = serde_json::from_slice(&body).map_err(unreadable)?;
        if status.as_u16() == NOT_LEADING.as_u16() {
            return Err(CallError::NotBegun(error.error));
        }
        Err(CallError::Shard(error))
    }
}

/// Whether nobody else needs to be asked: a young answer, or an error that others would give too.
fn settled(first: &Result<Answered, ShardError>) -> bool {
    match first {
        Ok(answered) => !answered.old,
        Err(e) => e.code != 503,
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
