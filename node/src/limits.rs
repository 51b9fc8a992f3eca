//! How much memory the node may use, and who is refused before it runs out.
//!
//! The budget is the container's (cgroup v1 or v2), or the machine's, or what the settings say. Pages of mapped
//! files don't count: the system takes them back when it needs to.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};

use crate::clock;

/// Share of the limit that requests may fill.
const USABLE_PERCENT: u64 = 90;
/// Requests below this are never refused: stopping them would not help.
const SMALL_BYTES: u64 = 1 << 20;

/// Lets the process open as many files as it is allowed: each shard keeps some, and systems begin with a thousand.
pub fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let allowed = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: allowed.maximum, maximum: allowed.maximum };
    if let Err(e) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(current = allowed.current, "the limit of open files can't be raised: {e}");
    }
}

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
    /// The least that was measured: an idle node uses no less.
    least: AtomicU64,
    measure: Box<dyn Fn() -> u64 + Send + Sync>,
    patience: Patience,
    /// One for each request that may wait.
    places: Semaphore,
    /// Told when a reservation is given back.
    freed: Notify,
}

/// How requests wait for memory.
#[derive(Clone, Copy, Debug)]
struct Patience {
    /// So many at a time; more are refused at once.
    waiting: usize,
    longest: Duration,
    /// The use is looked at so often: what the optimizer frees tells nobody.
    every: Duration,
}

impl Patience {
    const REQUESTS: Self =
        Self { waiting: 64, longest: Duration::from_secs(5), every: Duration::from_millis(50) };
}

/// Memory that a running request was admitted with; given back when dropped.
pub struct Reservation(Arc<Inner>, u64);

impl Drop for Reservation {
    fn drop(&mut self) {
        self.0.reserved.fetch_sub(self.1, Ordering::Relaxed);
        if self.1 > SMALL_BYTES {
            self.0.freed.notify_waiters();
        }
    }
}

impl Memory {
    /// The budget of this process.
    pub fn new(set_mb: Option<u64>) -> Self {
        let limit = set_mb.map(|mb| mb << 20).or_else(system_limit).unwrap_or(0);
        let memory = Self::with(limit, anonymous_bytes, Patience::REQUESTS);
        // As long as it is idle.
        memory.used_bytes();
        memory
    }

    fn with(limit: u64, measure: impl Fn() -> u64 + Send + Sync + 'static, patience: Patience) -> Self {
        let measure = Box::new(measure);
        let (reserved, used) = (AtomicU64::new(0), Mutex::new((None, 0)));
        let (least, places) = (AtomicU64::new(u64::MAX), Semaphore::new(patience.waiting));
        Self(Arc::new(Inner {
            limit,
            reserved,
            used,
            least,
            measure,
            patience,
            places,
            freed: Notify::new(),
        }))
    }

    /// Bytes that the process may use; 0 if nobody knows.
    pub fn limit_bytes(&self) -> u64 {
        self.0.limit
    }

    /// Bytes in use that the system can't take back.
    pub fn used_bytes(&self) -> u64 {
        let mut used = self.0.used.lock();
        let now = clock::now();
        if used.0.is_none_or(|at| now.saturating_duration_since(at) >= self.0.patience.every) {
            *used = (Some(now), (self.0.measure)());
            self.0.least.fetch_min(used.1, Ordering::Relaxed);
        }
        used.1
    }

    /// Use in percent of the limit; 0 if there is no limit.
    pub fn percent(&self) -> u64 {
        (self.used_bytes() * 100).checked_div(self.0.limit).unwrap_or(0)
    }

    /// Lets a request in that will need about so many bytes. One for which there will be room once others are done, or
    /// the optimizer with its step, waits for that: a few seconds, but not longer than the request has.
    pub async fn admit(&self, bytes: u64, left: Duration) -> Result<Reservation, NoMemory> {
        let refused = match self.try_admit(bytes) {
            Ok(reservation) => return Ok(reservation),
            Err(refused) => refused,
        };
        let inner = &*self.0;
        let (true, Ok(_place)) = (refused.worth_retrying, inner.places.try_acquire()) else {
            return Err(refused);
        };
        let mut last = refused;
        let waiting = async {
            loop {
                // Registered before the look, so that what is given back in between is not missed.
                let mut freed = pin!(inner.freed.notified());
                freed.as_mut().enable();
                match self.try_admit(bytes) {
                    Ok(reservation) => return reservation,
                    Err(refused) => last = refused,
                }
                // Either is a reason to look again.
                let _ = tokio::time::timeout(inner.patience.every, freed).await;
            }
        };
        let admitted = tokio::time::timeout(inner.patience.longest.min(left), waiting).await;
        admitted.map_err(|_| last)
    }

    /// Lets a request in if there is room for it now.
    fn try_admit(&self, bytes: u64) -> Result<Reservation, NoMemory> {
        let inner = &*self.0;
        if bytes <= SMALL_BYTES || inner.limit == 0 {
            inner.reserved.fetch_add(bytes, Ordering::Relaxed);
            return Ok(Reservation(self.0.clone(), bytes));
        }
        let usable = inner.limit / 100 * USABLE_PERCENT;
        let used = self.used_bytes();
        // What is reserved may be in use already; counting it once is what can be known.
        let fits = |reserved: u64| used.max(reserved).saturating_add(bytes) <= usable;
        let add = |reserved: u64| fits(reserved).then(|| reserved + bytes);
        match inner.reserved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add) {
            Ok(_) => Ok(Reservation(self.0.clone(), bytes)),
            Err(reserved) => Err(NoMemory {
                needs: Bytes(bytes),
                used: Bytes(used.max(reserved)),
                limit: Bytes(inner.limit),
                worth_retrying: inner.least.load(Ordering::Relaxed).saturating_add(bytes) <= usable,
            }),
        }
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

    const MB: u64 = 1 << 20;
    const AGES: Duration = Duration::from_secs(3600);

    /// 1000 MiB, of which the process uses what it says, measured anew whenever it is asked for.
    fn memory(measure: impl Fn() -> u64 + Send + Sync + 'static, patience: Patience) -> Memory {
        Memory::with(1000 * MB, measure, patience)
    }

    /// Those who wait are told by reservations only.
    fn told() -> Patience {
        Patience { waiting: 2, longest: AGES, every: AGES }
    }

    /// Nobody waits.
    fn hasty() -> Patience {
        Patience { waiting: 0, longest: AGES, every: Duration::ZERO }
    }

    #[tokio::test]
    async fn a_request_that_does_not_fit_is_refused_and_told_what_to_do() {
        let memory = memory(|| 500 * MB, hasty());
        let held = memory.admit(300 * MB, AGES).await.expect("fits");
        let refused = memory.admit(500 * MB, AGES).await.err().expect("does not fit");
        assert!(refused.to_string().starts_with(
            "not enough memory: this request needs about 500.0 MiB and the node uses 500.0 MiB of 1000.0 MiB already. Send smaller requests"
        ));
        drop(held);
        memory.admit(SMALL_BYTES, AGES).await.expect("small ones always fit");
        memory.admit(400 * MB, AGES).await.expect("fits again: nothing leaked");
    }

    #[tokio::test]
    async fn it_is_worth_retrying_if_an_idle_node_has_room() {
        // As the node starts, then while it works.
        let uses = Mutex::new(vec![600 * MB, 300 * MB]);
        let memory = memory(move || uses.lock().pop().unwrap_or(600 * MB), hasty());
        assert_eq!(memory.used_bytes(), 300 * MB);
        let check = async |bytes: u64, expected: bool| {
            let refused = memory.admit(bytes, AGES).await.err().expect("does not fit");
            assert_eq!(refused.worth_retrying, expected, "{bytes}");
        };
        check(301 * MB, true).await;
        check(600 * MB, true).await;
        check(601 * MB, false).await;
    }

    #[tokio::test]
    async fn a_request_waits_until_another_gives_its_memory_back() {
        let memory = memory(|| 0, told());
        let held = memory.admit(800 * MB, AGES).await.expect("fits");
        let mut waiting = pin!(memory.admit(500 * MB, AGES));
        assert!(futures::poll!(&mut waiting).is_pending());
        drop(held);
        let held = waiting.await.expect("there is room now");
        assert_eq!(memory.0.reserved.load(Ordering::Relaxed), 500 * MB);
        drop(held);
        assert_eq!(memory.0.places.available_permits(), 2, "it waits no longer");
    }

    #[tokio::test]
    async fn a_request_waits_until_the_process_uses_less() {
        // Little while it is idle, then 900 MiB, and 100 less at each look.
        let looks = AtomicU64::new(0);
        let falling = move || match looks.fetch_add(1, Ordering::Relaxed) {
            0 => 100 * MB,
            look => (1000 * MB).saturating_sub(look * 100 * MB),
        };
        let memory = memory(falling, Patience { every: Duration::ZERO, ..told() });
        memory.used_bytes();
        memory.admit(400 * MB, AGES).await.expect("after some looks");
        assert_eq!(memory.used_bytes(), 400 * MB, "it was let in when 500 were in use");
    }

    #[tokio::test]
    async fn no_more_wait_than_there_are_places() {
        let memory = memory(|| 0, told());
        let held = memory.admit(800 * MB, AGES).await.expect("fits");
        let (mut one, mut two) = (pin!(memory.admit(200 * MB, AGES)), Box::pin(memory.admit(200 * MB, AGES)));
        assert!(futures::poll!(&mut one).is_pending() && futures::poll!(&mut two).is_pending());
        let refused = memory.admit(200 * MB, AGES).await.err().expect("two wait already");
        assert!(refused.worth_retrying);
        drop(two);
        let mut three = pin!(memory.admit(200 * MB, AGES));
        assert!(futures::poll!(&mut three).is_pending(), "whoever went away left a place");
        drop(held);
        assert!(one.await.is_ok() && three.await.is_ok());
    }

    #[tokio::test]
    async fn nobody_waits_longer_than_the_request_has() {
        let memory = memory(|| 0, told());
        let _held = memory.admit(800 * MB, AGES).await.expect("fits");
        let refused = memory.admit(500 * MB, Duration::ZERO).await.err().expect("no time");
        assert!(refused.worth_retrying);
        assert_eq!(memory.0.reserved.load(Ordering::Relaxed), 800 * MB, "nothing leaked");
    }

    #[test]
    fn the_process_is_measured() {
        assert!(anonymous_bytes() > 0);
        assert!(system_limit().is_some_and(|l| l > 1 << 20));
    }
}
