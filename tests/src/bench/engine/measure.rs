//! Clocks and memory of this process.

use std::time::Instant;

use anyhow::{Context, Result};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

fn seconds(clock: ClockId) -> f64 {
    let time = clock_gettime(clock);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// CPU seconds of the calling thread.
pub fn thread_cpu() -> f64 {
    seconds(ClockId::ThreadCPUTime)
}

/// Wall and CPU seconds of the process since it was made.
pub struct Watch {
    wall: Instant,
    cpu: f64,
}

impl Watch {
    pub fn start() -> Self {
        Self { wall: Instant::now(), cpu: seconds(ClockId::ProcessCPUTime) }
    }

    /// (wall, CPU) seconds.
    pub fn read(&self) -> (f64, f64) {
        (self.wall.elapsed().as_secs_f64(), seconds(ClockId::ProcessCPUTime) - self.cpu)
    }
}

/// Memory of the process as the kernel counts it, in bytes.
pub fn memory() -> Result<Value> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let of = |name: &str| -> Result<u64> {
        let line = status.lines().find(|l| l.starts_with(name)).with_context(|| format!("no {name}"))?;
        let kilobytes = line.split_whitespace().nth(1).context("a number")?;
        Ok(kilobytes.parse::<u64>()? * 1024)
    };
    Ok(json!({"anon_bytes": of("RssAnon:")?, "file_bytes": of("RssFile:")?, "rss_bytes": of("VmRSS:")?}))
}
