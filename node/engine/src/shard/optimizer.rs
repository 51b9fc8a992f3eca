//! What the optimizer should do next: a pure function of sizes and settings.

use crate::config::OptimizerConfig;

/// The mutable part is sealed from here on, whatever the load.
const SEAL_POINTS: usize = 20_000;
const SEAL_BYTES: usize = 32 << 20;
/// Even if segments are to be small, less is not worth one: each costs files and a part of every search.
const SEAL_BYTES_MIN: usize = 1 << 20;
/// Operations in the log that are in no segment, after which it is sealed even if few points are left of them.
const SEAL_OPERATIONS: u64 = 200_000;
/// Under a calm load so many points are worth a segment.
const CALM_SEAL_POINTS: usize = 1_000;
/// While writes pour in, graphs wait until so many segments lack one: they would be merged right away.
const BUSY_SEGMENTS: usize = 8;
/// Segments of about the same size that are merged.
const TIER_SEGMENTS: usize = 4;
/// A segment joins a tier if it is at most so many times the average of the smaller ones.
const TIER_RATIO: u64 = 4;
/// The largest segment is merged too once the others are together at least this part of it: written again for each
/// such part that is new, it costs the disk so many times what was written.
const LARGEST_SHARE: u64 = 16;
/// The part for one that is written in seconds. A second segment costs each search nearly as much as the first.
const LARGEST_SHARE_QUICK: u64 = 64;
const LARGEST_QUICK_BYTES: u64 = 2 << 30;
/// Up to here the largest segment is merged whatever the others amount to.
const LARGEST_SMALL_BYTES: u64 = 8 << 20;

/// What the plan looks at.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    pub mutable_points: usize,
    pub mutable_bytes: usize,
    /// Operations behind the sealed ones.
    pub unsealed_operations: u64,
    /// Points that are hidden until they are indexed.
    pub deferred: u64,
    pub segments: Vec<SegmentFacts>,
}

/// A sealed segment.
#[derive(Clone, Copy, Debug, Default)]
pub struct SegmentFacts {
    pub id: u64,
    pub points: u32,
    /// Deleted now, and of these those that the manifest knows of.
    pub deleted: u32,
    pub deleted_durable: u32,
    /// Of raw vectors, deleted points included.
    pub bytes: u64,
    /// Built with other parameters than the configuration asks for.
    pub outdated: bool,
    /// Large enough for a graph that it doesn't have.
    pub lacks_graph: bool,
    /// Lacks a payload index.
    pub lacks_index: bool,
}

/// One step of the optimizer.
#[derive(Clone, Debug, PartialEq)]
pub enum Task {
    /// Seal the mutable part and note deletions.
    Seal,
    /// Build the payload indexes that are missing.
    Index,
    /// Write one segment from the live points of these.
    Rewrite(Vec<u64>),
}

/// The next step; `calm`: hardly anything was written since the last look.
pub fn plan(facts: &Facts, settings: &OptimizerConfig, calm: bool) -> Option<Task> {
    if facts.segments.iter().any(|s| s.lacks_index) {
        return Some(Task::Index);
    }
    if must_seal(facts, settings, calm) {
        return Some(Task::Seal);
    }
    if settings.max_optimization_threads == Some(0) {
        return None;
    }
    let wasteful = |s: &&SegmentFacts| is_wasteful(s, s.deleted_durable, settings);
    // The smallest first: on a volume that is nearly full it is the one that fits, and it frees room for the next.
    if let Some(s) = facts.segments.iter().filter(wasteful).min_by_key(|s| live_bytes(s)) {
        return Some(Task::Rewrite(vec![s.id]));
    }
    if let Some(merge) = merge(facts, settings, calm) {
        return Some(Task::Rewrite(merge));
    }
    let rebuild = |s: &&SegmentFacts| (s.lacks_graph && calm) || s.outdated;
    facts.segments.iter().find(rebuild).map(|s| Task::Rewrite(vec![s.id]))
}

fn must_seal(facts: &Facts, settings: &OptimizerConfig, calm: bool) -> bool {
    let threshold = settings.indexing_threshold_kb.saturating_mul(1024);
    let limit = usize::try_from(size_limit(settings)).unwrap_or(usize::MAX);
    let above_threshold = threshold > 0 && facts.mutable_points > 0 && facts.mutable_bytes > threshold;
    facts.mutable_points >= SEAL_POINTS
        || facts.mutable_bytes >= SEAL_BYTES.min(limit.max(SEAL_BYTES_MIN))
        || facts.unsealed_operations >= SEAL_OPERATIONS
        // What is to become one large segment should take the last writes along, not leave them as a small second one.
        || (facts.mutable_points >= CALM_SEAL_POINTS && merge(facts, settings, calm).is_some())
        || (calm && (facts.mutable_points >= CALM_SEAL_POINTS || above_threshold))
        // Nothing else would ever show them.
        || (calm && facts.deferred > 0 && facts.mutable_points > 0 && !facts.segments.iter().any(|s| s.lacks_graph))
        // Deletions have to be durable before a segment can be rewritten without them.
        || facts.segments.iter().any(|s| {
            is_wasteful(s, s.deleted, settings) && !is_wasteful(s, s.deleted_durable, settings)
        })
}

fn is_wasteful(s: &SegmentFacts, deleted: u32, settings: &OptimizerConfig) -> bool {
    s.points as usize >= settings.vacuum_min_vector_number
        && f64::from(deleted) > f64::from(s.points) * settings.deleted_threshold
}

fn merge(facts: &Facts, settings: &OptimizerConfig, calm: bool) -> Option<Vec<u64>> {
    let limit = size_limit(settings);
    let mut by_size: Vec<(u64, u64)> = facts.segments.iter().map(|s| (live_bytes(s), s.id)).collect();
    by_size.sort_unstable();
    if !calm {
        // As they come: all that have no graph yet, once they are many.
        let waiting: Vec<u64> = facts.segments.iter().filter(|s| s.lacks_graph).map(|s| s.id).collect();
        let bytes: u64 = facts.segments.iter().filter(|s| s.lacks_graph).map(live_bytes).sum();
        return (waiting.len() >= BUSY_SEGMENTS && bytes <= limit).then_some(waiting);
    }
    let target = settings.default_segment_number.max(1);
    if by_size.len() <= target {
        return None;
    }
    // Towards the target: the smallest ones, and the largest only if it is worth it.
    let surplus = &by_size[..by_size.len() - target + 1];
    let total: u64 = surplus.iter().map(|(bytes, _)| bytes).sum();
    let largest = surplus.last().map_or(0, |(bytes, _)| *bytes);
    let share = if largest <= LARGEST_QUICK_BYTES { LARGEST_SHARE_QUICK } else { LARGEST_SHARE };
    if total <= limit
        && (largest <= LARGEST_SMALL_BYTES || (total - largest).saturating_mul(share) >= largest)
    {
        return Some(surplus.iter().map(|(_, id)| *id).collect());
    }
    tier(&by_size, limit)
}

/// The smallest segments that are about as large as each other.
fn tier(by_size: &[(u64, u64)], limit: u64) -> Option<Vec<u64>> {
    let mut ids = Vec::new();
    let mut total = 0u64;
    for (bytes, id) in by_size {
        let fits = ids.is_empty() || *bytes <= (total / ids.len() as u64).max(1 << 20) * TIER_RATIO;
        if !fits || total + bytes > limit {
            break;
        }
        total += bytes;
        ids.push(*id);
    }
    (ids.len() >= TIER_SEGMENTS).then_some(ids)
}

/// Bytes of vectors that a segment may have.
fn size_limit(settings: &OptimizerConfig) -> u64 {
    settings.max_segment_size_kb.map_or(u64::MAX, |kb| (kb as u64).saturating_mul(1024))
}

fn live_bytes(s: &SegmentFacts) -> u64 {
    if s.points == 0 { 0 } else { s.bytes * u64::from(s.points - s.deleted) / u64::from(s.points) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: u64 = 1 << 20;

    fn sealed(id: u64, mb: u64) -> SegmentFacts {
        SegmentFacts { id, points: (mb * 700) as u32, bytes: mb * MB, ..SegmentFacts::default() }
    }

    fn check(segments: &[SegmentFacts], calm: bool, expected: Option<Task>) {
        let facts = Facts { segments: segments.to_vec(), ..Facts::default() };
        assert_eq!(plan(&facts, &OptimizerConfig::default(), calm), expected);
    }

    #[test]
    fn small_segments_become_one_when_it_is_calm() {
        check(&[sealed(1, 30), sealed(2, 30)], true, Some(Task::Rewrite(vec![1, 2])));
        check(&[sealed(1, 5), sealed(2, 0)], true, Some(Task::Rewrite(vec![2, 1])));
        check(&[sealed(1, 30), sealed(2, 30)], false, None);
        check(&[sealed(1, 30)], true, None);
    }

    #[test]
    fn a_large_segment_waits_until_the_others_are_worth_it() {
        check(&[sealed(1, 1600), sealed(2, 20)], true, None);
        check(&[sealed(1, 1600), sealed(2, 30)], true, Some(Task::Rewrite(vec![2, 1])));
        check(&[sealed(1, 3200), sealed(2, 60)], true, None);
        check(&[sealed(1, 1600), sealed(2, 60), sealed(3, 60)], true, Some(Task::Rewrite(vec![2, 3, 1])));
        let few = [sealed(1, 6400), sealed(2, 20), sealed(3, 20), sealed(4, 20), sealed(5, 20)];
        check(&few, true, Some(Task::Rewrite(vec![2, 3, 4, 5])));
    }

    #[test]
    fn graphs_wait_while_writes_pour_in() {
        let bare = |id| SegmentFacts { lacks_graph: true, ..sealed(id, 30) };
        check(&[bare(1)], false, None);
        check(&[bare(1)], true, Some(Task::Rewrite(vec![1])));
        let many: Vec<_> = (1..=8).map(bare).collect();
        check(&many, false, Some(Task::Rewrite((1..=8).collect())));
    }

    #[test]
    fn the_last_writes_join_a_merge_that_is_due() {
        let sealed_first = |segments: u64| {
            let segments =
                (1..=segments).map(|id| SegmentFacts { lacks_graph: true, ..sealed(id, 30) }).collect();
            let facts = Facts { mutable_points: CALM_SEAL_POINTS, segments, ..Facts::default() };
            plan(&facts, &OptimizerConfig::default(), false) == Some(Task::Seal)
        };
        assert!(sealed_first(BUSY_SEGMENTS as u64) && !sealed_first(BUSY_SEGMENTS as u64 - 1));
    }

    #[test]
    fn deletions_are_sealed_before_they_are_vacuumed() {
        let noted = SegmentFacts { deleted: 9000, ..sealed(1, 30) };
        check(&[noted], false, Some(Task::Seal));
        let durable = SegmentFacts { deleted_durable: 9000, ..noted };
        check(&[durable], false, Some(Task::Rewrite(vec![1])));
    }

    #[test]
    fn switched_off_it_only_seals_and_indexes() {
        let off = OptimizerConfig { max_optimization_threads: Some(0), ..OptimizerConfig::default() };
        let facts = Facts { segments: vec![sealed(1, 30), sealed(2, 30)], ..Facts::default() };
        assert_eq!(plan(&facts, &off, true), None);
        let full = Facts { mutable_points: SEAL_POINTS, ..facts };
        assert_eq!(plan(&full, &off, false), Some(Task::Seal));
    }

    #[test]
    fn segments_stay_below_the_size_that_was_set() {
        let small = OptimizerConfig { max_segment_size_kb: Some(50 * 1024), ..OptimizerConfig::default() };
        let facts = Facts { segments: vec![sealed(1, 30), sealed(2, 30)], ..Facts::default() };
        assert_eq!(plan(&facts, &small, true), None);
        let sealed_at = |max_kb: usize, bytes: usize| {
            let settings =
                OptimizerConfig { max_segment_size_kb: Some(max_kb), ..OptimizerConfig::default() };
            let facts = Facts { mutable_points: 10, mutable_bytes: bytes, ..Facts::default() };
            plan(&facts, &settings, false) == Some(Task::Seal)
        };
        assert!(sealed_at(4096, 4 << 20) && !sealed_at(4096, 3 << 20));
        assert!(sealed_at(1 << 20, SEAL_BYTES) && !sealed_at(1 << 20, SEAL_BYTES - 1));
        assert!(!sealed_at(1, SEAL_BYTES_MIN - 1), "as small as is useful");
    }

    #[test]
    fn the_smallest_wasteful_segment_is_rewritten_first() {
        let wasteful = |id, mb| {
            let whole = sealed(id, mb);
            let deleted = whole.points / 2;
            SegmentFacts { deleted, deleted_durable: deleted, ..whole }
        };
        check(&[wasteful(1, 800), wasteful(2, 30), wasteful(3, 90)], false, Some(Task::Rewrite(vec![2])));
    }
}
