//! What every part of the node shares. Made once by `main`, or by a test.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use jiff::Timestamp;
use parking_lot::Mutex;
use quiver_engine::shard::ShardLimits;
use uuid::Uuid;

use crate::auth::Keys;
use crate::clock;
use crate::config::Settings;
use crate::guardrails::Guardrails;
use crate::limits::Memory;
use crate::metrics::{Requests, Snapshots};
use crate::pool::Pools;
use crate::quotas::Quotas;
use crate::shutdown::Shutdown;

/// The process and its means. Knows nothing of collections.
pub struct Node {
    pub settings: Settings,
    /// Id of this life of the process; another after each start.
    pub boot: String,
    pub started: Timestamp,
    pub pools: Pools,
    pub memory: Memory,
    pub quotas: Quotas,
    pub keys: Arc<Keys>,
    pub requests: Arc<Requests>,
    /// Answers that may be older than promised, and say so.
    pub stale_answers: AtomicU64,
    pub snapshots: Arc<Snapshots>,
    pub guardrails: Guardrails,
    pub shutdown: Shutdown,
    pub readiness: Readiness,
}

impl Node {
    /// What each shard may take of the memory.
    pub fn shard_limits(&self) -> ShardLimits {
        ShardLimits::within(self.memory.limit_bytes())
    }

    pub fn new(settings: Settings, shutdown: Shutdown) -> anyhow::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            boot: Uuid::new_v4().simple().to_string(),
            started: clock::timestamp(),
            pools: Pools::new(&settings.storage.performance, settings.cluster.enabled)?,
            memory: Memory::new(settings.storage.memory_limit_mb),
            quotas: Quotas::new(&settings.storage.storage_path),
            keys: Arc::new(Keys::new(&settings.service)),
            requests: Arc::default(),
            stale_answers: AtomicU64::new(0),
            snapshots: Arc::default(),
            guardrails: Guardrails::new(settings.guardrails.clone()),
            shutdown,
            readiness: Readiness::default(),
            settings,
        }))
    }
}

/// Whether `/readyz` answers 200: recovery is over and every acknowledged write is visible.
#[derive(Debug)]
pub struct Readiness {
    ready: AtomicBool,
    because: Mutex<String>,
}

impl Default for Readiness {
    fn default() -> Self {
        Self { ready: AtomicBool::new(false), because: Mutex::new("collections are being opened".into()) }
    }
}

impl Readiness {
    /// Everything that was acknowledged can be read.
    pub fn set_ready(&self) {
        self.ready.store(true, Ordering::Release);
    }

    /// Not ready, or no longer.
    pub fn set_not_ready(&self, because: impl Into<String>) {
        *self.because.lock() = because.into();
        self.ready.store(false, Ordering::Release);
    }

    /// `None` if ready, else why not.
    pub fn missing(&self) -> Option<String> {
        if self.ready.load(Ordering::Acquire) { None } else { Some(self.because.lock().clone()) }
    }
}
