//! Numbers and lists as people read them.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

/// A number with so many digits that matter: a status that ticks with every write would be written all the time.
pub fn digits(n: u64, digits: u32) -> i64 {
    let mut step = 1u64;
    while n / step >= 10u64.pow(digits) {
        step *= 10;
    }
    i64::try_from(n / step * step).unwrap_or(i64::MAX)
}

/// The first few of a list.
pub fn list(all: &[&str]) -> String {
    const SHOWN: usize = 5;
    match all {
        [] => "no pod yet".into(),
        few if few.len() <= SHOWN => few.join(", "),
        many => format!("{} and {} more", many[..SHOWN].join(", "), many.len() - SHOWN),
    }
}

/// At most so many characters.
pub fn shorten(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        text.into()
    } else {
        text.chars().take(max - 1).chain(['…']).collect()
    }
}

/// Bytes for people.
pub fn bytes(n: u64) -> String {
    let mut amount = n as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if amount < 1024.0 {
            return if unit == "B" { format!("{n} B") } else { format!("{amount:.1} {unit}") };
        }
        amount /= 1024.0;
    }
    format!("{amount:.1} TiB")
}

/// Kubernetes keeps times in whole seconds.
pub fn whole_seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).expect("a time without its fraction is a time")
}

/// What Kubernetes says of a pod that isn't ready.
pub fn why_not_ready(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let containers = status.container_statuses.iter().flatten();
    let waiting = containers.filter_map(|c| {
        let state = c.state.as_ref()?;
        if let Some(waiting) = &state.waiting {
            let message = waiting.message.as_deref().unwrap_or_default();
            return Some(format!("{} {message}", waiting.reason.as_deref().unwrap_or("Waiting")));
        }
        let ended = state.terminated.as_ref()?;
        Some(format!("its process ended with code {}", ended.exit_code))
    });
    let unscheduled =
        status.conditions.iter().flatten().find(|c| c.type_ == "PodScheduled" && c.status == "False");
    waiting.map(|w| w.trim().to_owned()).next().or_else(|| {
        unscheduled.map(|c| format!("it can't be scheduled: {}", c.message.as_deref().unwrap_or_default()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_the_digits_that_matter() {
        let check = |n, expected| assert_eq!(digits(n, 3), expected, "{n}");
        check(0, 0);
        check(999, 999);
        check(1234, 1230);
        check(117_659, 117_000);
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(3 << 30), "3.0 GiB");
    }
}
