//! The only bridge from async to sync: bounded pools of threads that run the engine.
//!
//! A caller that goes away or runs out of time sets the work's [`Cancel`] flag; a full queue refuses at once.
//! Nothing else in the node may block a thread of the async runtime.

use std::num::NonZeroUsize;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use quiver_engine::Cancel;
use tokio::sync::oneshot;

use crate::clock;
use crate::config::Performance;

/// Why work was not done, or not waited for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// The queue is full: the request was not begun.
    #[error(
        "the node is busy: {0} requests are waiting already; try again in a moment or send fewer at a time"
    )]
    Busy(usize),
    /// The deadline passed. Work that was begun stops at its next check; a write may still take effect.
    #[error("Timeout error: Operation '{operation}' timed out after {seconds}s")]
    Timeout {
        /// What was asked for, in the protocol's word: `Search`, `Upsert` ….
        operation: &'static str,
        seconds: u64,
    },
    /// A defect: the work panicked. The message is in the log.
    #[error("the operation failed unexpectedly; the node's log has the details")]
    Panicked,
}

/// What a request demands of its answer: until when it is there, and how new what it says has to be.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    at: Instant,
    allowed: Duration,
    strong: bool,
}

impl Deadline {
    /// So long from now.
    pub fn after(allowed: Duration) -> Self {
        // A request may name a time limit of ages; a century is as good and can be added to the clock.
        let allowed = allowed.min(Duration::from_secs(3_000_000_000));
        Self { at: clock::now() + allowed, allowed, strong: false }
    }

    /// The same, for reads that have to see all that was acknowledged before they began (`consistency`).
    pub fn strongly(self, strong: bool) -> Self {
        Self { strong, ..self }
    }

    /// Whether an answer has to contain all that was acknowledged before.
    pub fn is_strong(&self) -> bool {
        self.strong
    }

    /// What is left of it.
    pub fn left(&self) -> Duration {
        self.at.saturating_duration_since(clock::now())
    }

    /// The error of a request that took longer.
    pub fn error(&self, operation: &'static str) -> PoolError {
        PoolError::Timeout { operation, seconds: self.allowed.as_secs().max(1) }
    }
}

/// A thread with it gets a tenth of the processor beside one without.
const BACKGROUND_NICENESS: i32 = 10;

/// Threads for one kind of work, with a bounded queue.
#[derive(Clone)]
pub struct Pool {
    threads: Arc<rayon::ThreadPool>,
    unfinished: Arc<AtomicUsize>,
    unfinished_max: usize,
}

impl Pool {
    /// `threads` threads, and at most `waiting_max` pieces of work beside those that are running.
    pub fn new(name: &'static str, threads: usize, waiting_max: usize) -> anyhow::Result<Self> {
        Self::with(name, threads, waiting_max, |_| {})
    }

    /// The same for work that nobody waits for: where processors are short, its threads leave them to those who answer requests.
    pub fn in_background(name: &'static str, threads: usize, waiting_max: usize) -> anyhow::Result<Self> {
        Self::with(name, threads, waiting_max, |_| {
            // On Linux the call is about the thread alone. Threads that can't be made nicer work all the same.
            if let Err(e) = rustix::process::nice(BACKGROUND_NICENESS) {
                tracing::debug!("a thread keeps its priority: {e}");
            }
        })
    }

    fn with(
        name: &'static str,
        threads: usize,
        waiting_max: usize,
        start: impl Fn(usize) + Send + Sync + 'static,
    ) -> anyhow::Result<Self> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .start_handler(start)
            .thread_name(move |i| format!("{name}-{i}"))
            .panic_handler(|_| tracing::error!("a task of a pool panicked"))
            .build()?;
        let unfinished_max = pool.current_num_threads() + waiting_max;
        Ok(Self { threads: Arc::new(pool), unfinished: Arc::default(), unfinished_max })
    }

    /// The rayon pool itself, for engine calls that take one.
    pub fn threads(&self) -> &rayon::ThreadPool {
        &self.threads
    }

    /// Pieces of work that are waiting or running.
    pub fn unfinished(&self) -> usize {
        self.unfinished.load(Ordering::Relaxed)
    }

    /// Runs `work` on a thread of the pool and waits for it.
    ///
    /// Dropping the future, or the deadline, sets the work's flag. Work whose flag is set before it begins is
    /// not begun.
    pub async fn run<T, F>(
        &self,
        operation: &'static str,
        deadline: Deadline,
        work: F,
    ) -> Result<T, PoolError>
    where
        T: Send + 'static,
        F: FnOnce(&Cancel) -> T + Send + 'static,
    {
        let slot = self.slot()?;
        let cancel = Cancel::new();
        let on_drop = CancelOnDrop(cancel.clone());
        let (done, answer) = oneshot::channel();
        self.threads.spawn_fifo(move || {
            let _slot = slot;
            if cancel.is_cancelled() {
                return;
            }
            // A panic must not take the pool down; the sender is dropped and the waiting side says so.
            if let Ok(value) = std::panic::catch_unwind(AssertUnwindSafe(|| work(&cancel))) {
                let _ = done.send(value);
            }
        });
        let result = match tokio::time::timeout(deadline.left(), answer).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(_)) => Err(PoolError::Panicked),
            Err(_) => Err(deadline.error(operation)),
        };
        drop(on_drop);
        result
    }

    /// Runs short work at once, on the thread of the caller: a hop to another thread and back takes longer than most
    /// searches. Only for work that waits for nothing and is over in about a millisecond, because everything else on this
    /// thread waits for it; nobody can cancel it meanwhile. The deadline holds as it does for [`Self::run`].
    pub fn inline<T>(
        &self,
        operation: &'static str,
        deadline: Deadline,
        work: impl FnOnce(&Cancel) -> T,
    ) -> Result<T, PoolError> {
        if deadline.left().is_zero() {
            return Err(deadline.error(operation));
        }
        let done = std::panic::catch_unwind(AssertUnwindSafe(|| work(&Cancel::new())));
        let value = done.map_err(|_| PoolError::Panicked)?;
        if deadline.left().is_zero() { Err(deadline.error(operation)) } else { Ok(value) }
    }

    /// How many threads it has.
    pub fn width(&self) -> usize {
        self.threads.current_num_threads()
    }

    /// Runs `work` some time; nobody waits. Not refused when the queue is full: it is for finishing what was
    /// begun, such as draining a shard's queue of writes.
    pub fn spawn(&self, work: impl FnOnce() + Send + 'static) {
        self.unfinished.fetch_add(1, Ordering::Relaxed);
        let slot = Slot(self.unfinished.clone());
        self.threads.spawn_fifo(move || {
            let _slot = slot;
            if std::panic::catch_unwind(AssertUnwindSafe(work)).is_err() {
                tracing::error!("a task in the background panicked");
            }
        });
    }

    /// Runs a step of what was begun, such as the next piece of an answer, and waits for it. Not refused when the queue is
    /// full.
    pub async fn step<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, PoolError> {
        let (done, answer) = oneshot::channel();
        self.spawn(move || {
            let _ = done.send(work());
        });
        answer.await.map_err(|_| PoolError::Panicked)
    }

    fn slot(&self) -> Result<Slot, PoolError> {
        let before = self.unfinished.fetch_add(1, Ordering::Relaxed);
        let slot = Slot(self.unfinished.clone());
        if before >= self.unfinished_max { Err(PoolError::Busy(before)) } else { Ok(slot) }
    }
}

struct Slot(Arc<AtomicUsize>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

struct CancelOnDrop(Cancel);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// The node's pools. Apart, so that writes that wait for the disk don't hold up searches, and building graphs
/// holds up neither.
#[derive(Clone)]
pub struct Pools {
    pub search: Pool,
    /// Writes, opening of shards, snapshots: work that waits for the disk.
    pub update: Pool,
    /// Sealing, merging, building graphs.
    pub optimize: Pool,
}

impl Pools {
    /// As many threads as the settings and the machine say. `elsewhere`: writes wait for copies on other machines as well,
    /// and one that is gone must not hold up the shards that don't need it.
    pub fn new(settings: &Performance, elsewhere: bool) -> anyhow::Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let or = |set: usize, default: usize| if set == 0 { default } else { set };
        let optimizers = match settings.optimizer_cpu_budget {
            0 => cores,
            n if n < 0 => cores.saturating_sub(n.unsigned_abs() as usize).max(1),
            n => usize::try_from(n).unwrap_or(cores),
        };
        let update = if elsewhere { cores.max(4) * 8 } else { cores.max(4) };
        Ok(Self {
            search: Pool::new("search", or(settings.max_search_threads, cores), settings.search_queue_size)?,
            update: Pool::new("update", or(settings.max_update_threads, update), settings.update_queue_size)?,
            optimize: Pool::in_background("optimize", optimizers, 1024)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn soon() -> Deadline {
        Deadline::after(Duration::from_secs(30))
    }

    #[tokio::test]
    async fn work_gives_its_answer() {
        let pool = Pool::new("t", 2, 8).expect("threads start");
        assert_eq!(pool.run("Search", soon(), |_| 6 * 7).await, Ok(42));
        assert_eq!(
            pool.run("Search", soon(), |_| panic!("a defect")).await,
            Err::<(), _>(PoolError::Panicked)
        );
        assert_eq!(pool.run("Search", soon(), |_| 1).await, Ok(1), "the pool survives a panic");
    }

    #[tokio::test]
    async fn work_in_the_background_leaves_processors_to_others() {
        let niceness = |_: &Cancel| rustix::process::getpriority_process(None).ok();
        let pools = Pools::new(&Performance::default(), false).expect("threads start");
        let mine = pools.search.run("Search", soon(), niceness).await.expect("done").expect("a number");
        let behind = pools.optimize.run("Optimize", soon(), niceness).await;
        assert_eq!(behind, Ok(Some((mine + BACKGROUND_NICENESS).min(19))));
    }

    #[tokio::test]
    async fn short_work_is_done_at_once() {
        let pool = Pool::new("t", 1, 0).expect("threads start");
        let here = std::thread::current().id();
        assert_eq!(pool.inline("Search", soon(), |_| std::thread::current().id()), Ok(here));
        assert_eq!(pool.inline("Search", soon(), |_| panic!("a defect")), Err::<(), _>(PoolError::Panicked));
        let over = PoolError::Timeout { operation: "Search", seconds: 1 };
        let late = Deadline::after(Duration::ZERO);
        assert_eq!(pool.inline("Search", late, |_| panic!("not begun")), Err::<(), _>(over.clone()));
        let short = Deadline::after(Duration::from_millis(5));
        let slow = |_: &Cancel| while !short.left().is_zero() {};
        assert_eq!(pool.inline("Search", short, slow), Err(over));
    }

    #[tokio::test]
    async fn a_deadline_stops_the_work() {
        let pool = Pool::new("t", 1, 8).expect("threads start");
        let (stopped, seen) = mpsc::channel();
        let answer = pool
            .run("Search", Deadline::after(Duration::from_millis(20)), move |cancel| {
                while !cancel.is_cancelled() {
                    std::thread::yield_now();
                }
                let _ = stopped.send(());
            })
            .await;
        assert_eq!(answer, Err(PoolError::Timeout { operation: "Search", seconds: 1 }));
        seen.recv_timeout(Duration::from_secs(30)).expect("the work saw its flag");
    }

    #[tokio::test]
    async fn a_full_queue_refuses_at_once() {
        let pool = Pool::new("t", 1, 1).expect("threads start");
        let (release, wait) = mpsc::channel::<()>();
        let (begun, started) = mpsc::channel();
        let blocker = pool.clone();
        let running = tokio::spawn(async move {
            blocker
                .run("Search", soon(), move |_| {
                    let _ = begun.send(());
                    let _ = wait.recv();
                })
                .await
        });
        while started.try_recv().is_err() {
            tokio::task::yield_now().await;
        }
        let queued_pool = pool.clone();
        let queued = tokio::spawn(async move { queued_pool.run("Search", soon(), |_| ()).await });
        while pool.unfinished() < 2 {
            tokio::task::yield_now().await;
        }
        assert_eq!(pool.run("Search", soon(), |_| ()).await, Err(PoolError::Busy(2)));
        release.send(()).expect("the blocker is waiting");
        assert_eq!(running.await.expect("joined"), Ok(()));
        assert_eq!(queued.await.expect("joined"), Ok(()));
    }
}
