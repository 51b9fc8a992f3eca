//! Where copies go: the best place for another one, which of too many goes, and what evens out the nodes when nothing
//! else is going on.

use std::cmp::{Ordering, Reverse};

use quiver_replica::record::Placed;

use super::copies::{Shard, Step, Work, hand_over_pod};
use super::sites::{Site, Sites, record};
use crate::liveness::Standing;
use crate::observe::Observed;
use crate::validate::Valid;

/// The best pod for another copy of a shard.
pub(super) fn target<'a, 's>(of: &Shard<'a, 's>) -> Option<&'a Site<'s>> {
    let (n, sites) = (of.shard.spec.shard, of.sites);
    let weight = sites.weight(n);
    let free = sites.iter().filter(|s| of.record.copies.iter().all(|c| *c.pod != *s.name) && s.takes(weight));
    free.min_by_key(|site| {
        let stay = of.record.copies.iter().filter_map(|c| sites.get(&c.pod)).filter(|s| !s.lost());
        let has = site.reports(n).any(|(id, s)| s.fit && of.record.find(id).is_none());
        (crowded(site, stay), !has, site.load, site.copies, site.primaries, site.ordinal)
    })
}

/// How many of the others share the zone, and how many the machine.
fn crowded<'a>(site: &Site<'_>, others: impl Iterator<Item = &'a Site<'a>>) -> (usize, usize) {
    let same = |a: &Option<String>, b: &Option<String>| usize::from(a.is_some() && a == b);
    let sum = |(z, m), o: &Site<'_>| (z + same(&site.zone, &o.zone), m + same(&site.machine, &o.machine));
    others.fold((0, 0), sum)
}

/// Whether a copy that is being filled though there are enough is on its way to an emptier pod than another copy's, or to one that
/// shares less.
pub(super) fn pays(of: &Shard<'_, '_>, copy: &Placed) -> bool {
    let Some(to) = of.sites.get(&copy.pod) else { return false };
    let others = of.record.copies.iter().filter(|c| c.id != copy.id);
    let mut from = others.filter_map(|c| of.sites.get(&c.pod));
    from.any(|from| to.load < from.load || sharing(of, from, to).is_lt())
}

/// What a copy on one pod shares with the others of its shard, compared with one on the other pod in its place: less is better.
fn sharing(of: &Shard<'_, '_>, from: &Site<'_>, to: &Site<'_>) -> Ordering {
    let stay = of.record.copies.iter().filter(|c| *c.pod != *from.name && *c.pod != *to.name);
    let others = || stay.clone().filter_map(|c| of.sites.get(&c.pod));
    crowded(to, others()).cmp(&crowded(from, others()))
}

/// Of too many copies, the one in sync that goes. None as long as one that pays isn't in sync.
pub(super) fn victim<'a>(of: &Shard<'a, '_>) -> Option<&'a Placed> {
    let primary = of.record.primary;
    let in_sync = || of.record.copies.iter().filter(|c| c.in_sync);
    let site = |c: &Placed| of.sites.get(&c.pod);
    let lost = in_sync().filter(|c| site(c).is_none_or(|s| s.lost()));
    if let Some(copy) = lost.min_by_key(|c| (c.id == primary, Reverse(site(c).map_or(0, |s| s.ordinal)))) {
        return Some(copy);
    }
    if of.record.copies.iter().any(|c| !c.in_sync || site(c).is_some_and(|s| s.lost())) {
        return None;
    }
    let fullness = |c: &&Placed| {
        let others = of.record.copies.iter().filter(|o| o.id != c.id).filter_map(site);
        let here = site(c);
        let crowd = here.map_or((0, 0), |s| crowded(s, others));
        (crowd, here.map_or(0, |s| s.load), c.id != primary, here.map_or(0, |s| s.ordinal))
    };
    let fullest = in_sync().max_by_key(fullness)?;
    if fullest.id != primary {
        return Some(fullest);
    }
    // A hand-over only to even out little isn't worth it.
    let next = in_sync().filter(|c| c.id != primary).max_by_key(fullness)?;
    let load = |c: &Placed| site(c).map_or(0, |s| s.load);
    let little = fullness(&next).0 == fullness(&fullest).0 && load(next) >= load(fullest) / 5 * 4;
    Some(if little { next } else { fullest })
}

/// One step that takes copies apart, or evens out leads or copies. Only when every copy is in sync and confirmed and every node is ready.
pub fn balance(valid: &Valid, observed: &Observed, sites: &Sites<'_>, work: &Work) -> Option<Step> {
    let factor = valid.spec.replication.factor.max(1) as usize;
    let nodes = valid.spec.nodes.max(1) as usize;
    let calm = sites.iter().count() == nodes && sites.iter().all(|s| s.takes(0));
    if !work.settled() || !work.waits.is_empty() || !calm || observed.pods.len() != nodes {
        return None;
    }
    let records: Vec<_> = observed.shards.iter().map(|s| Some((s, record(s)?))).collect::<Option<_>>()?;
    let shards: Vec<_> =
        records.iter().map(|(shard, record)| Shard { shard, record, sites, factor }).collect();
    let still = |s: &Shard<'_, '_>| {
        let n = s.shard.spec.shard;
        sites.led(n, s.record) && s.record.copies.iter().all(|c| sites.confirmed(n, c))
    };
    if shards.len() as i32 != valid.spec.shards || !shards.iter().all(still) {
        return None;
    }
    apart(&shards, sites).or_else(|| lead(&shards, sites)).or_else(|| copy(&shards, sites))
}

/// Takes a copy away from the machine or zone of another one of its shard, which would be lost with it: pods may have come to lie
/// together, after a drain for instance.
fn apart(shards: &[Shard<'_, '_>], sites: &Sites<'_>) -> Option<Step> {
    shards.iter().find_map(|shard| {
        let weight = sites.weight(shard.shard.spec.shard);
        let held = || shard.record.copies.iter().filter_map(|c| sites.get(&c.pod));
        let free = sites.iter().filter(|to| held().all(|s| s.name != to.name) && to.takes(weight));
        let better = free.filter(|to| held().any(|from| sharing(shard, from, to).is_lt()));
        shard.place(&better.min_by_key(|to| (to.load, to.ordinal))?.name, true)
    })
}

/// Evens out who leads: the first step of a shortest way from a pod that leads two shards more than another one to that, where each
/// hand-over of the way is to a pod with a copy. What is left of the way is shorter, so it ends.
fn lead(shards: &[Shard<'_, '_>], sites: &Sites<'_>) -> Option<Step> {
    let ways = sites.iter().filter_map(|from| way(from, shards, sites));
    let (.., shard, copy, from) =
        ways.min_by_key(|(far, gap, shard, ..)| (*far, Reverse(*gap), shard.number()))?;
    let site = sites.get(&copy.pod)?;
    Some(shard.asks(copy, &site.name, site.boot()?, &from.name, "it leads more shards than others"))
}

/// The hand-overs that lead from a pod to the nearest one that leads two shards less, how many fewer those are, and the first of them.
type Way<'a, 's> = (usize, usize, &'a Shard<'a, 's>, &'a Placed, &'a Site<'s>);

fn way<'a, 's>(from: &'a Site<'s>, shards: &'a [Shard<'a, 's>], sites: &'a Sites<'s>) -> Option<Way<'a, 's>> {
    let mut seen: Vec<&str> = vec![&from.name];
    // Pods that so many hand-overs reach, each with the first of them.
    let mut edge: Vec<(&Site<'s>, Option<(&Shard<'a, 's>, &Placed)>)> = vec![(from, None)];
    for far in 1.. {
        let mut next = Vec::new();
        for (at, first) in edge {
            let led =
                |s: &&Shard<'_, '_>| s.record.find(s.record.primary).is_some_and(|c| *c.pod == *at.name);
            for shard in shards.iter().filter(led) {
                for copy in shard.record.copies.iter().filter(|c| c.id != shard.record.primary) {
                    let Some(to) = sites.get(&copy.pod).filter(|to| !seen.contains(&to.name.as_str())) else {
                        continue;
                    };
                    seen.push(&to.name);
                    next.push((to, Some(first.unwrap_or((shard, copy)))));
                }
            }
        }
        let ends = next.iter().filter(|(to, _)| from.primaries >= to.primaries + 2);
        if let Some((to, Some((shard, copy)))) = ends.min_by_key(|(to, _)| (to.primaries, to.ordinal)) {
            return Some((far, from.primaries - to.primaries, shard, copy, from));
        }
        if next.is_empty() {
            return None;
        }
        edge = next;
    }
    None
}

/// Evens out what lies on the nodes, to about a fifth.
fn copy(shards: &[Shard<'_, '_>], sites: &Sites<'_>) -> Option<Step> {
    let full = sites.iter().max_by_key(|s| (s.load, s.ordinal))?;
    let mean = sites.iter().map(|s| s.load).sum::<u64>() / sites.iter().count().max(1) as u64;
    let mut empty: Vec<&Site<'_>> = sites.iter().filter(|s| s.name != full.name).collect();
    empty.sort_by_key(|s| (s.load, s.ordinal));
    for site in empty {
        let gap = full.load - site.load;
        if gap <= mean / 5 {
            return None;
        }
        // What weighs half of the difference evens it out; more than three quarters of it isn't worth the way.
        let fits = |s: &&Shard<'_, '_>| {
            let weight = sites.weight(s.shard.spec.shard);
            weight <= gap / 4 * 3 && site.takes(weight) && movable(s, full, site)
        };
        let best = shards.iter().filter(fits).min_by_key(|s| {
            let n = s.shard.spec.shard;
            let leads = s.record.find(s.record.primary).is_some_and(|c| *c.pod == *full.name);
            (leads, (sites.weight(n) * 2).abs_diff(gap), n)
        });
        if let Some(shard) = best {
            return shard.place(&site.name, true);
        }
    }
    None
}

/// Whether a copy can go from one pod to the other without sharing a zone or machine that it didn't share before.
fn movable(of: &Shard<'_, '_>, from: &Site<'_>, to: &Site<'_>) -> bool {
    let on = |pod: &str| of.record.copies.iter().any(|c| *c.pod == *pod);
    if !on(&from.name) || on(&to.name) {
        return false;
    }
    sharing(of, from, to).is_le()
}

/// Hand-overs of everything that a pod leads and another copy in sync could, before that pod is restarted.
pub fn empty_of_leads(valid: &Valid, observed: &Observed, sites: &mut Sites<'_>, pod: &str) -> Vec<Step> {
    let factor = valid.spec.replication.factor.max(1) as usize;
    let mut steps = Vec::new();
    for shard in &observed.shards {
        let Some(record) = record(shard).filter(|r| r.primary_boot.is_some()) else { continue };
        if record.find(record.primary).is_none_or(|c| *c.pod != *pod) {
            continue;
        }
        let of = Shard { shard, record: &record, sites, factor };
        let Ok(step) = of.hand_over("it is to be restarted") else { continue };
        let to = hand_over_pod(&record, &step);
        sites.hand_over(pod, &to);
        steps.push(step);
    }
    steps
}

/// Why a pod can't be restarted now without taking more than it may, in words; none: it can.
pub fn needs(valid: &Valid, observed: &Observed, sites: &Sites<'_>, pod: &str) -> Option<String> {
    let min = valid.spec.replication.min_in_sync().max(1) as usize;
    // Nodes that keep no Lease yet are of a version that can't take copies: it is the restart that brings the other one.
    let able = sites.iter().any(|s| matches!(s.standing, Standing::Alive | Standing::Late));
    for shard in &observed.shards {
        let Some(record) = record(shard).filter(|r| r.primary_boot.is_some()) else { continue };
        let n = shard.spec.shard;
        if let Some(behind) = record.copies.iter().find(|c| !c.in_sync) {
            return Some(format!("the copy of shard {n} on {} must be in sync", behind.pod));
        }
        let here = record.copies.iter().find(|c| *c.pod == *pod).map(|c| c.id);
        let Some(here) = here else { continue };
        let other = |c: &&Placed| c.id != here && sites.confirmed(n, c);
        let others = record.copies.iter().filter(other).count();
        if valid.spec.replication.factor > 1 && able && others < min {
            return Some(format!("shard {n} has {others} other copies in sync and needs {min}"));
        }
    }
    None
}
