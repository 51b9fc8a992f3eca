//! What clients saw, and whether that can be.

use std::collections::BTreeMap;

/// What became of one operation on one register. Values are written once; 0 is there from the beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Op {
    pub register: usize,
    pub value: u64,
    pub write: bool,
    /// Number of the event at which it began; no two events have one number.
    pub began: u64,
    /// `None`: nobody knows whether it was done, and it may still be.
    pub ended: Option<u64>,
}

/// One value's operations: all of them have to lie behind its write and before the next one.
struct Zone {
    value: u64,
    /// The first end of an operation, and the last beginning of one.
    first_end: u64,
    last_begin: u64,
}

/// Whether one register's operations can be put in an order that agrees with time and with what was read: exact for
/// values that are written once, in O(n log n) (Gibbons and Korach, 1997).
pub fn linearizable(ops: &[Op]) -> Result<(), String> {
    let mut by_value: BTreeMap<u64, (Option<Op>, Vec<Op>)> = BTreeMap::new();
    for op in ops {
        let of = by_value.entry(op.value).or_default();
        if op.write {
            of.0 = Some(*op);
        } else if op.ended.is_some() {
            of.1.push(*op);
        }
    }
    let first = Op { register: 0, value: 0, write: true, began: 0, ended: Some(0) };
    by_value.entry(0).or_default().0 = Some(first);
    let (mut forward, mut backward) = (Vec::new(), Vec::new());
    for (value, (write, reads)) in by_value {
        let Some(write) = write else { return Err(format!("{value} was read and never written")) };
        if let Some(read) = reads.iter().find(|r| r.ended.is_some_and(|e| e < write.began)) {
            return Err(format!("{value} was read before it was written: {read:?}"));
        }
        if write.ended.is_none() && reads.is_empty() {
            continue;
        }
        let all = || reads.iter().chain([&write]);
        let first_end = all().filter_map(|o| o.ended).min().unwrap_or(u64::MAX);
        let last_begin = all().map(|o| o.began).max().unwrap_or(0);
        let zone = Zone { value, first_end, last_begin };
        if first_end < last_begin { forward.push(zone) } else { backward.push(zone) }
    }
    forward.sort_by_key(|z| z.first_end);
    for pair in forward.windows(2) {
        if pair[1].first_end < pair[0].last_begin {
            return Err(format!("{} and {} were both there at one time", pair[0].value, pair[1].value));
        }
    }
    for inner in &backward {
        let before = forward.partition_point(|z| z.first_end < inner.last_begin);
        if let Some(outer) = before.checked_sub(1).map(|i| &forward[i])
            && inner.first_end < outer.last_begin
        {
            return Err(format!("{} was there before and after {} was written", outer.value, inner.value));
        }
    }
    Ok(())
}

/// All registers.
pub fn all_linearizable(ops: &[Op], registers: usize) -> Result<(), String> {
    (0..registers).try_for_each(|register| {
        let of: Vec<Op> = ops.iter().filter(|o| o.register == register).copied().collect();
        linearizable(&of).map_err(|why| format!("register {register}: {why}"))
    })
}

/// The same by trying every order: for small histories, to check the other one.
pub fn linearizable_by_search(ops: &[Op]) -> bool {
    fn search(ops: &[Op], done: &mut Vec<bool>, value: u64) -> bool {
        let open = |done: &[bool]| (0..ops.len()).filter(|i| !done[*i]).collect::<Vec<_>>();
        let left = open(done);
        if left.iter().all(|i| ops[*i].ended.is_none()) {
            return true;
        }
        let first_end = left.iter().filter_map(|i| ops[*i].ended).min().unwrap_or(u64::MAX);
        for i in left {
            let op = ops[i];
            if op.began > first_end || (!op.write && op.value != value) {
                continue;
            }
            done[i] = true;
            if search(ops, done, op.value) {
                return true;
            }
            done[i] = false;
        }
        false
    }
    search(ops, &mut vec![false; ops.len()], 0)
}
