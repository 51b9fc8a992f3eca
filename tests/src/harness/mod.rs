//! Processes under test, and the little it takes to talk to them. It never asserts anything.

mod commands;
mod http;
mod node;
mod random;

use std::time::{Duration, Instant};

pub use commands::answer_commands;
pub use http::{Answer, request};
pub use node::Node;
pub use random::Random;

/// Asks again and again until `condition` gives something; an error names `what` after the deadline.
pub fn wait_until<T>(
    seconds: u64,
    what: &str,
    mut condition: impl FnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    loop {
        if let Some(answer) = condition()? {
            return Ok(answer);
        }
        anyhow::ensure!(Instant::now() < deadline, "after {seconds} s still not: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
