//! Limits of the node's memory and disk, which hold for all collections: `PUT /quotas` sets them, writes that add data are refused
//! above them.

use std::path::{Path, PathBuf};

use axum::http::StatusCode;
use parking_lot::Mutex;
use quiver_api::quotas::{QuotaConfig, QuotaUsage};
use quiver_api::shard_call::ShardWrite;
use quiver_engine::file::{Disk, RealDisk, atomic};

use crate::error::{ApiError, Result};
use crate::limits::Memory;

const FILE: &str = "quotas.json";
/// How far below its limit a resource has to fall, unless the configuration says.
const MARGIN_PERCENT: u8 = 5;

/// The limits, and which of them were reached.
pub struct Quotas {
    /// The folder of the storage.
    root: PathBuf,
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    config: QuotaConfig,
    memory: Gate,
    disk: Gate,
}

/// Whether a resource is used up. Closed at its limit, it opens only a margin below: a resource that rests at its limit should not
/// refuse every other write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Gate {
    closed: bool,
}

impl Gate {
    fn look(&mut self, used: Option<u8>, limit: Option<u8>, margin: u8) {
        let (Some(used), Some(limit)) = (used, limit) else {
            self.closed = false;
            return;
        };
        self.closed = used >= limit || (self.closed && used >= limit.saturating_sub(margin));
    }
}

impl Quotas {
    /// No limits yet; `root` is the folder of the storage.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), state: Mutex::default() }
    }

    /// Takes over what was set before the last stop.
    ///
    /// # Errors
    /// A file that can't be read, or is no configuration.
    pub fn load(&self, disk: &dyn Disk) -> quiver_engine::Result<()> {
        let path = self.root.join(FILE);
        if disk.exists(&path) {
            self.state.lock().config = atomic::read_json(disk, &path)?;
        }
        Ok(())
    }

    /// Sets the limits, once they are durable.
    ///
    /// # Errors
    /// They can't be written; the old ones then hold.
    pub fn set(&self, disk: &dyn Disk, config: QuotaConfig) -> quiver_engine::Result<()> {
        // Held while it is written, so that the file has what was set last.
        let mut state = self.state.lock();
        atomic::write_json(disk, &self.root.join(FILE), &config)?;
        *state = State { config, ..State::default() };
        Ok(())
    }

    pub fn config(&self) -> QuotaConfig {
        self.state.lock().config
    }

    /// What is used now, in percent.
    pub fn usage(&self, memory: &Memory) -> QuotaUsage {
        let (free, total) = RealDisk.space(&self.root).unwrap_or_default();
        let percent =
            |used: u64, of: u64| (of > 0).then(|| (u128::from(used) * 100 / u128::from(of)).min(255) as u8);
        QuotaUsage {
            resident_memory_percent: percent(memory.used_bytes(), memory.limit_bytes()),
            disk_usage_percent: percent(total.saturating_sub(free), total),
        }
    }

    /// Refuses a write that adds data while a limit is reached.
    ///
    /// # Errors
    /// 507, with the resource that is used up.
    pub fn check(&self, memory: &Memory, write: &ShardWrite) -> Result<()> {
        let adds = !matches!(
            write,
            ShardWrite::Delete(_)
                | ShardWrite::DeleteVectors { .. }
                | ShardWrite::DeletePayload { .. }
                | ShardWrite::ClearPayload(_)
                | ShardWrite::DropIndex { .. }
                | ShardWrite::DropVector { .. }
        );
        let config = self.config();
        if !adds || !config.enabled {
            return Ok(());
        }
        let usage = self.usage(memory);
        let margin = config.release_margin_percent.unwrap_or(MARGIN_PERCENT);
        let mut state = self.state.lock();
        state.memory.look(usage.resident_memory_percent, config.max_resident_memory_percent, margin);
        state.disk.look(usage.disk_usage_percent, config.max_disk_usage_percent, margin);
        let reached = [
            (
                state.memory,
                "resident memory",
                usage.resident_memory_percent,
                config.max_resident_memory_percent,
            ),
            (state.disk, "disk", usage.disk_usage_percent, config.max_disk_usage_percent),
        ];
        match reached.into_iter().find(|(gate, ..)| gate.closed) {
            None => Ok(()),
            Some((_, what, used, limit)) => Err(ApiError::new(
                StatusCode::INSUFFICIENT_STORAGE,
                format!(
                    "Service internal error: {what} usage is {}%, and the quota of this node is {}%",
                    used.unwrap_or_default(),
                    limit.unwrap_or_default()
                ),
            )
            .hint(
                "Deletes and reads go on. Delete points or collections, or raise the limits with PUT /quotas",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_that_closed_opens_a_margin_below_its_limit() {
        let mut gate = Gate::default();
        let mut check = |used, closed| {
            gate.look(used, Some(80), 5);
            assert_eq!(gate.closed, closed, "{used:?}");
        };
        check(Some(79), false);
        check(Some(80), true);
        check(Some(75), true);
        check(Some(74), false);
        check(Some(79), false);
        check(None, false);
    }
}
