//! What the operator wants a shard's record to become, from what it sees: a pure function, so that a simulation runs what
//! a cluster runs.
//!
//! It may be wrong about who lives, and late: every change is a compare-and-swap of the record that it was planned from,
//! and the protocol holds whatever is promoted, removed or listed. So this decides availability, never safety.

use std::sync::Arc;

use crate::record::{Boot, Change, CopyId, Record};
use crate::{Seq, Term};

/// The copy that a pod's volume has, as its node reported it last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reported {
    pub id: CopyId,
    /// The highest term it promised, and the end of its log on disk: who has more comes first when one has to lead.
    pub term: Term,
    pub durable: Seq,
    /// Neither damaged nor with a failed disk.
    pub fit: bool,
}

/// A pod as the operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    pub name: Arc<str>,
    /// Its node's lease was renewed lately.
    pub alive: bool,
    pub boot: Boot,
    /// What it has of this shard; none if it hasn't made a directory yet.
    pub copy: Option<Reported>,
}

/// The next change to try, if one is needed. One at a time: the next is planned from the record that comes of it.
pub fn plan(record: &Record, pods: &[Pod]) -> Option<Change> {
    promotion(record, pods).or_else(|| removal(record, pods)).or_else(|| listing(record, pods))
}

/// The pod that lives and has that copy.
fn holder(pods: &[Pod], id: CopyId) -> Option<(&Pod, Reported)> {
    let held = |p: &Pod| p.copy.filter(|c| c.id == id && p.alive);
    pods.iter().find_map(|p| held(p).map(|c| (p, c)))
}

/// Another primary, if the present one's pod is silent, or its data is gone or unfit.
fn promotion(record: &Record, pods: &[Pod]) -> Option<Change> {
    if record.primary_boot.is_none() || holder(pods, record.primary).is_some_and(|(_, c)| c.fit) {
        return None;
    }
    let others = record.copies.iter().filter(|c| c.in_sync && c.id != record.primary);
    let fit = others.filter_map(|c| holder(pods, c.id)).filter(|(_, c)| c.fit);
    let (pod, copy) = fit.max_by_key(|(_, c)| (c.term, c.durable, c.id))?;
    Some(Change::Promote { id: copy.id, boot: pod.boot })
}

/// A copy in sync whose pod lives and says that it has another one. Silence is no reason, only the primary knows whether
/// anything waits; nor is a failed disk, which may come back with a restart and be the last that has everything.
fn removal(record: &Record, pods: &[Pod]) -> Option<Change> {
    let broken = |pod: &&Pod, id| pod.alive && pod.copy.is_some_and(|c| c.id != id);
    let mut others = record.copies.iter().filter(|c| c.in_sync && c.id != record.primary);
    let found = others.find(|c| pods.iter().find(|p| p.name == c.pod).is_some_and(|p| broken(&p, c.id)))?;
    Some(Change::Remove(found.id))
}

/// A copy that a pod made and that the record doesn't know.
fn listing(record: &Record, pods: &[Pod]) -> Option<Change> {
    let holds = |p: &Pod| record.copies.iter().any(|c| c.pod == p.name && c.in_sync);
    let unknown = |p: &Pod| p.copy.filter(|c| c.fit && p.alive && record.find(c.id).is_none() && !holds(p));
    let (pod, copy) = pods.iter().find_map(|p| unknown(p).map(|c| (p, c)))?;
    (record.primary_boot.is_some()).then(|| Change::List { id: copy.id, pod: pod.name.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Placed;

    const NAMES: [&str; 3] = ["p0", "p1", "p2"];

    /// Copies 1, 2 and 3 on the pods p0, p1 and p2; 1 leads, 2 is in sync, 3 isn't.
    fn check(edit: impl FnOnce(&mut [Pod]), expected: Option<Change>) {
        let id = |i: usize| CopyId(i as u128 + 1);
        let placed = |i: usize| Placed::new(id(i), NAMES[i].into(), i < 2);
        let copies = (0..3).map(placed).collect();
        let record =
            Record { term: 2, config_version: 5, primary: id(0), primary_boot: Some(Boot(1)), copies };
        let copy = |i: usize| Some(Reported { id: id(i), term: 2, durable: 7, fit: true });
        let pod = |i: usize| Pod { name: NAMES[i].into(), alive: true, boot: Boot(i as u128), copy: copy(i) };
        let mut pods: Vec<Pod> = (0..3).map(pod).collect();
        edit(&mut pods);
        let planned = plan(&record, &pods);
        assert_eq!(planned, expected, "{pods:?}");
        assert!(planned.is_none_or(|c| record.with(&c).is_ok()), "what is planned is legal");
    }

    #[test]
    fn a_plan_promotes_removes_and_lists_what_is_needed() {
        let promote = Some(Change::Promote { id: CopyId(2), boot: Boot(1) });
        let unfit = |p: &mut Pod| p.copy.iter_mut().for_each(|c| c.fit = false);
        let made = |p: &mut Pod| p.copy.iter_mut().for_each(|c| c.id = CopyId(9));
        check(|_| {}, None);
        check(|p| p[0].alive = false, promote.clone());
        check(|p| unfit(&mut p[0]), promote.clone());
        check(|p| made(&mut p[0]), promote);
        check(|p| p[..2].iter_mut().for_each(|p| p.alive = false), None);
        check(|p| p[1].alive = false, None);
        check(|p| unfit(&mut p[1]), None);
        check(|p| made(&mut p[1]), Some(Change::Remove(CopyId(2))));
        check(|p| made(&mut p[2]), Some(Change::List { id: CopyId(9), pod: "p2".into() }));
        check(|p| unfit(&mut p[2]), None);
        check(|p| p[..2].iter_mut().for_each(unfit), None);
    }
}
