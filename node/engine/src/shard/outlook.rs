//! What the optimizer would do next, and what it leaves alone: for those who wait for it.

use super::Shard;
use super::optimizer::{Facts, SegmentFacts, Task, plan};

/// A segment and its points that exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentPoints {
    /// 0: the mutable part.
    pub id: u64,
    pub points: u64,
}

/// One step of the optimizer: its kind, and the segments that it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub kind: &'static str,
    pub segments: Vec<SegmentPoints>,
}

/// The optimizer's view of a shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outlook {
    pub next: Option<Step>,
    /// Segments that the next step does not take.
    pub idle: Vec<SegmentPoints>,
}

impl Shard {
    /// What is to be done next, as far as sizes and settings say it. Waits for a write that is being made durable.
    pub fn outlook(&self) -> Outlook {
        let (facts, config) = self.facts();
        outlook(&facts, plan(&facts, &config.optimizers, true))
    }
}

fn points(s: &SegmentFacts) -> SegmentPoints {
    SegmentPoints { id: s.id, points: u64::from(s.points.saturating_sub(s.deleted)) }
}

fn outlook(facts: &Facts, task: Option<Task>) -> Outlook {
    let mutable = SegmentPoints { id: 0, points: facts.mutable_points as u64 };
    let only = |takes: &dyn Fn(&SegmentFacts) -> bool| -> Vec<SegmentPoints> {
        facts.segments.iter().filter(|s| takes(s)).map(points).collect()
    };
    let next = task.map(|task| match task {
        Task::Seal => Step { kind: "seal", segments: vec![mutable] },
        Task::Index => Step { kind: "payload_index", segments: only(&|s| s.lacks_index) },
        Task::Rewrite(ids) => {
            let first = facts.segments.iter().find(|s| ids.contains(&s.id));
            let kind = match first {
                _ if ids.len() > 1 => "merge",
                Some(s) if s.lacks_graph => "indexing",
                Some(s) if s.outdated => "config_mismatch",
                _ => "vacuum",
            };
            Step { kind, segments: only(&|s| ids.contains(&s.id)) }
        }
    });
    let taken = |s: &SegmentPoints| next.as_ref().is_some_and(|step| step.segments.contains(s));
    let has_mutable = facts.mutable_points > 0;
    let all = facts.segments.iter().map(points).chain(has_mutable.then_some(mutable));
    let idle = all.filter(|s| !taken(s)).collect();
    Outlook { next, idle }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(task: Option<Task>, expected: Option<(&str, &[u64])>, idle: &[u64]) {
        let segment = |id, deleted| SegmentFacts { id, points: 10, deleted, ..SegmentFacts::default() };
        let graph = SegmentFacts { lacks_graph: true, ..segment(3, 0) };
        let facts = Facts {
            mutable_points: 5,
            segments: vec![segment(1, 4), segment(2, 0), graph],
            ..Facts::default()
        };
        let found = outlook(&facts, task);
        let ids = |all: &[SegmentPoints]| all.iter().map(|s| s.id).collect::<Vec<_>>();
        let next = found.next.as_ref().map(|step| (step.kind, ids(&step.segments)));
        assert_eq!(next, expected.map(|(kind, segments)| (kind, segments.to_vec())));
        assert_eq!(ids(&found.idle), idle);
    }

    #[test]
    fn every_segment_is_either_taken_or_idle() {
        check(None, None, &[1, 2, 3, 0]);
        check(Some(Task::Seal), Some(("seal", &[0])), &[1, 2, 3]);
        check(Some(Task::Rewrite(vec![1])), Some(("vacuum", &[1])), &[2, 3, 0]);
        check(Some(Task::Rewrite(vec![3])), Some(("indexing", &[3])), &[1, 2, 0]);
        check(Some(Task::Rewrite(vec![1, 2])), Some(("merge", &[1, 2])), &[3, 0]);
    }
}
