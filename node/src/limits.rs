//! How much memory the node may use, and who is refused before it runs out.
//!
//! The budget is the container's (cgroup v1 or v2), or the machine's, or what the settings say. Pages of mapped
//! files don't count: the system takes them back when it needs to.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::clock;

/// Share of the limit that requests may fill.
const USABLE_PERCENT: u64 = 90;
/// Requests below this are never refused: stopping them would not help.
const SMALL_BYTES: u64 = 1 << 20;
/// The system is asked at most so often.
const FRESH_FOR: Duration = Duration::from_millis(100);

/// A request that doesn't fit in memory.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not enough memory: this request needs about {needs} and the node uses {used} of {limit} already. \
     Send smaller requests or fewer at a time; or give the node more memory, keep vectors on disk \
     (`on_disk: true`) or quantize them (`quantization_config`)"
)]
pub struct NoMemory {
    needs: Bytes,
    used: Bytes,
    limit: Bytes,
    /// Whether it would fit if nothing else were running.
    pub worth_retrying: bool,
}

/// Bytes, printed for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(pub u64);

impl std::fmt::Display for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
        let mut value = self.0 as f64;
        let mut unit = 0;
        while value >= 1024.0 && unit + 1 < UNITS.len() {
            value /= 1024.0;
            unit += 1;
        }
        if unit == 0 { write!(f, "{} B", self.0) } else { write!(f, "{value:.1} {}", UNITS[unit]) }
    }
}

/// The node's memory.
#[derive(Clone)]
pub struct Memory(Arc<Inner>);

struct Inner {
    /// 0: unknown, nothing is refused.
    limit: u64,
    reserved: AtomicU64,
    used: Mutex<(Option<Instant>, u64)>,
    measure: fn() -> u64,
}

/// Memory that a running request was admitted with; given back when dropped.
pub struct Reservation(Arc<Inner>, u64);

impl Drop for Reservation {
    fn drop(&mut self) {
        self.0.reserved.fetch_sub(self.1, Ordering::Relaxed);
    }
}

impl Memory {
    /// The budget of this process.
    pub fn new(set_mb: Option<u64>) -> Self {
        let limit = set_mb.map(|mb| mb << 20).or_else(system_limit).unwrap_or(0);
        Self::with(limit, anonymous_bytes)
    }

    fn with(limit: u64, measure: fn() -> u64) -> Self {
        Self(Arc::new(Inner { limit, reserved: AtomicU64::new(0), used: Mutex::new((None, 0)), measure }))
    }

    /// Bytes that the process may use; 0 if nobody knows.
    pub fn limit_bytes(&self) -> u64 {
        self.0.limit
    }

    /// Bytes in use that the system can't take back.
    pub fn used_bytes(&self) -> u64 {
        let mut used = self.0.used.lock();
        let now = clock::now();
        if used.0.is_none_or(|at| now.saturating_duration_since(at) >= FRESH_FOR) {
            *used = (Some(now), (self.0.measure)());
        }
        used.1
    }

    /// Use in percent of the limit; 0 if there is no limit.
    pub fn percent(&self) -> u64 {
        (self.used_bytes() * 100).checked_div(self.0.limit).unwrap_or(0)
    }

    /// Lets a request in that will need about so many bytes, or says why not.
    pub fn admit(&self, bytes: u64) -> Result<Reservation, NoMemory> {
        let before = self.0.reserved.fetch_add(bytes, Ordering::Relaxed);
        let reservation = Reservation(self.0.clone(), bytes);
        if bytes <= SMALL_BYTES || self.0.limit == 0 {
            return Ok(reservation);
        }
        let usable = self.0.limit / 100 * USABLE_PERCENT;
        let used = self.used_bytes();
        // What is reserved may be in use already; counting it once is what can be known.
        if used.max(before).saturating_add(bytes) <= usable {
            return Ok(reservation);
        }
        Err(NoMemory {
            needs: Bytes(bytes),
            used: Bytes(used.max(before)),
            limit: Bytes(self.0.limit),
            worth_retrying: before > 0 && bytes <= usable / 2,
        })
    }
}

/// The smallest of the container's limit and the machine's memory.
fn system_limit() -> Option<u64> {
    let cgroup = cgroup_limit(&read("/proc/self/cgroup"), read);
    let machine = field_kb(&read("/proc/meminfo"), "MemTotal:");
    [cgroup, machine].into_iter().flatten().min()
}

/// The lowest limit on the way from this process's group to the root, in either version of cgroups.
fn cgroup_limit(groups: &str, read: impl Fn(&str) -> String) -> Option<u64> {
    let mut lowest = None;
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        let (root, file) = if controllers.is_empty() {
            ("/sys/fs/cgroup", "memory.max")
        } else if controllers.split(',').any(|c| c == "memory") {
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
        } else {
            continue;
        };
        let mut path = path.trim_end_matches('/');
        loop {
            let limit = read(&format!("{root}{path}/{file}")).trim().parse::<u64>().ok();
            // Version 1 shows "no limit" as the highest number of whole pages.
            let limit = limit.filter(|l| *l > 0 && *l < 1 << 60);
            lowest = [lowest, limit].into_iter().flatten().min();
            match path.rfind('/') {
                Some(at) => path = &path[..at],
                None => break,
            }
        }
    }
    lowest
}

fn anonymous_bytes() -> u64 {
    let status = read("/proc/self/status");
    field_kb(&status, "RssAnon:").unwrap_or(0) + field_kb(&status, "RssShmem:").unwrap_or(0)
}

/// A line such as `RssAnon:   123 kB`.
fn field_kb(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|l| l.strip_prefix(name))?;
    rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kb| kb << 10)
}

/// A file of the kernel, or nothing.
#[allow(clippy::disallowed_methods)] // Not data: the kernel's own numbers.
pub(crate) fn read(path: &str) -> String {
    std::fs::read(path).ok().and_then(|b| String::from_utf8(b).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_limit(groups: &str, files: &[(&str, &str)], expected: Option<u64>) {
        let read =
            |path: &str| files.iter().find(|(p, _)| *p == path).map_or(String::new(), |(_, t)| t.to_string());
        assert_eq!(cgroup_limit(groups, read), expected, "{groups} {files:?}");
    }

    #[test]
    fn the_lowest_limit_of_the_container_counts() {
        check_limit("0::/\n", &[("/sys/fs/cgroup/memory.max", "1073741824\n")], Some(1 << 30));
        check_limit(
            "0::/a/b\n",
            &[("/sys/fs/cgroup/a/memory.max", "4096"), ("/sys/fs/cgroup/a/b/memory.max", "max")],
            Some(4096),
        );
        check_limit(
            "3:cpu:/x\n5:memory:/x\n",
            &[
                ("/sys/fs/cgroup/memory/x/memory.limit_in_bytes", "2048"),
                ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712"),
            ],
            Some(2048),
        );
        check_limit("0::/\n", &[], None);
    }

    #[test]
    fn a_request_that_does_not_fit_is_refused_and_told_what_to_do() {
        let memory = Memory::with(1 << 30, || 512 << 20);
        let held = memory.admit(300 << 20).expect("fits");
        let refused = memory.admit(500 << 20).err().expect("does not fit");
        assert!(refused.to_string().starts_with(
            "not enough memory: this request needs about 500.0 MiB and the node uses 512.0 MiB of 1.0 GiB already. Send smaller requests"
        ));
        drop(held);
        memory.admit(SMALL_BYTES).expect("small ones always fit");
        memory.admit(400 << 20).expect("fits again: nothing leaked");
    }

    #[test]
    fn the_process_is_measured() {
        assert!(anonymous_bytes() > 0);
        assert!(system_limit().is_some_and(|l| l > 1 << 20));
    }
}
