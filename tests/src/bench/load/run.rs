//! Many connections at once, each a thread; what they took, and what the server took for them.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::http::Client;

/// Requests and how they are sent.
pub struct Load<'a> {
    pub server: SocketAddr,
    pub requests: &'a [Vec<u8>],
    pub connections: usize,
    pub keep_alive: bool,
    /// Requests in all; the list is gone through again and again.
    pub count: usize,
    /// Not longer than this, whatever the count.
    pub seconds: f64,
    /// The server's process, if its CPU is to be measured.
    pub pid: Option<u64>,
    /// Whether the first answer to each request is kept.
    pub keep: bool,
}

/// What came of it.
pub struct Outcome {
    pub summary: Value,
    /// The answer to each request that was sent, in the order of the list.
    pub answers: Vec<Option<Vec<u8>>>,
}

/// Sends everything. A status other than 2xx is an error: a load that is refused measures nothing.
pub fn run(load: &Load) -> Result<Outcome> {
    ensure!(!load.requests.is_empty() && load.connections > 0, "nothing to send");
    let (next, answers) = (AtomicUsize::new(0), Mutex::new(vec![None; load.requests.len()]));
    let cpu = load.pid.map(cpu_seconds).transpose()?;
    let begun = Instant::now();
    let until = begun + Duration::from_secs_f64(load.seconds);
    let each = |_: usize| -> Result<Vec<u32>> {
        let mut client = Client::new(load.server, load.keep_alive);
        let mut took = Vec::new();
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            let sent = Instant::now();
            if i >= load.count || sent >= until {
                return Ok(took);
            }
            let at = i % load.requests.len();
            let (status, body) = client.send(&load.requests[at])?;
            took.push(u32::try_from(sent.elapsed().as_micros()).unwrap_or(u32::MAX));
            ensure!((200..300).contains(&status), "status {status}: {}", String::from_utf8_lossy(body));
            if load.keep && i < load.requests.len() {
                answers.lock().expect("no thread panicked")[at] = Some(body.to_vec());
            }
        }
    };
    let results: Vec<Result<Vec<u32>>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..load.connections).map(|i| scope.spawn(move || each(i))).collect();
        threads.into_iter().map(|t| t.join().expect("a connection's thread ends with a result")).collect()
    });
    let wall = begun.elapsed().as_secs_f64();
    let used = match (load.pid, cpu) {
        (Some(pid), Some(before)) => Some(cpu_seconds(pid)? - before),
        _ => None,
    };
    let mut took = Vec::new();
    for result in results {
        took.extend(result?);
    }
    Ok(Outcome {
        summary: summary(&mut took, wall, used),
        answers: answers.into_inner().expect("no thread panicked"),
    })
}

fn summary(took: &mut [u32], wall: f64, cpu: Option<f64>) -> Value {
    took.sort_unstable();
    let n = took.len();
    let at = |share: f64| took.get(((n as f64 * share) as usize).min(n.saturating_sub(1))).copied();
    json!({
        "requests": n,
        "wall_s": wall,
        "rps": n as f64 / wall,
        "p50_us": at(0.5),
        "p95_us": at(0.95),
        "p99_us": at(0.99),
        "max_us": took.last(),
        "cpu_s": cpu,
        "cpu_us": cpu.map(|s| s * 1e6 / n.max(1) as f64),
    })
}

/// CPU seconds of all threads of a process so far.
pub fn cpu_seconds(pid: u64) -> Result<f64> {
    let mut nanoseconds = 0u64;
    for thread in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread that ends between the two calls is missing, which is a little of what it used.
        let Ok(text) = std::fs::read_to_string(thread?.path().join("schedstat")) else { continue };
        nanoseconds += text.split(' ').next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(nanoseconds as f64 * 1e-9)
}
