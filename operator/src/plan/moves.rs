//! Where copies go: the best place for another one, which of too many goes, and what evens out the nodes when nothing
//! else is going on.

use std::cmp::{Ordering, Reverse};

use quiver_replica::record::{CopyId, Placed};

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

/// Whether a copy that is being filled though there are enough would stay.
pub(super) fn pays(of: &Shard<'_, '_>, copy: &Placed) -> bool {
    let held = held(of, |c| c.in_sync || c.id == copy.id);
    goes(&held, of.sites.weight(of.number())).is_some_and(|gone| gone.id != Some(copy.id))
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
    let gone = goes(&held(of, |c| c.in_sync), of.sites.weight(of.number()))?.id?;
    of.record.find(gone)
}

/// A copy of a shard, there or thought of, as far as it matters for which of too many goes.
struct Held<'a, 's> {
    /// None of one that is only thought of.
    id: Option<CopyId>,
    site: &'a Site<'s>,
    /// Of its pod, before the newest copy of the shard came.
    load: u64,
    newest: bool,
    leads: bool,
}

/// Some copies of a shard, the oldest first.
fn held<'a, 's>(of: &Shard<'a, 's>, which: impl Fn(&Placed) -> bool) -> Vec<Held<'a, 's>> {
    let copies = || of.record.copies.iter();
    let newest = copies().last().filter(|_| copies().count() > of.factor).map(|c| c.id);
    let weight = of.sites.weight(of.number());
    let one = |c: &Placed| {
        let (site, newest) = (of.sites.get(&c.pod)?, newest == Some(c.id));
        let load = site.load.saturating_sub(if newest { weight } else { 0 });
        Some(Held { id: Some(c.id), site, load, newest, leads: c.id == of.record.primary })
    };
    copies().filter(|c| which(c)).filter_map(one).collect()
}

/// Which of too many copies goes: one that shares a zone or machine, or else lies on the fullest pod. The newest only if its pod was
/// fuller before it came: what was moved there stays.
fn goes<'h, 'a, 's>(held: &'h [Held<'a, 's>], weight: u64) -> Option<&'h Held<'a, 's>> {
    let crowd = |h: &Held<'_, '_>| {
        crowded(h.site, held.iter().filter(|o| o.site.name != h.site.name).map(|o| o.site))
    };
    let fullness = |h: &&Held<'_, '_>| (crowd(h), h.load, !h.leads, !h.newest, h.site.ordinal);
    let fullest = held.iter().max_by_key(fullness)?;
    // A hand-over only to even out little isn't worth it.
    let others = held.iter().filter(|h| !h.leads && !h.newest);
    let next = others.max_by_key(fullness).filter(|_| fullest.leads);
    let little =
        |next: &&Held<'_, '_>| crowd(next) == crowd(fullest) && next.load + weight / 4 > fullest.load;
    Some(next.filter(little).unwrap_or(fullest))
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
    let step = |at: &Site<'_>, to: &Site<'_>| {
        let on = |s: &Shard<'_, '_>| s.record.copies.iter().any(|c| *c.pod == *to.name);
        shards.iter().find(|s| led_on(s, at) && on(s))
    };
    let ways = sites.iter().filter_map(|from| {
        let more = |to: &Site<'_>| from.primaries.checked_sub(to.primaries).filter(|more| *more >= 2);
        way(from, sites, |to| more(to).map(|more| more as u64), step)
    });
    let (shard, to) = shortest(ways)?;
    let copy = shard.record.copies.iter().find(|c| *c.pod == *to.name)?;
    let from = shard.record.find(shard.record.primary)?;
    Some(shard.asks(copy, &to.name, to.boot()?, &from.pod, "it leads more shards than others"))
}

fn led_on(of: &Shard<'_, '_>, site: &Site<'_>) -> bool {
    of.record.find(of.record.primary).is_some_and(|c| *c.pod == *site.name)
}

/// Evens out what lies on the nodes, to about a fifth: the first step of a shortest way from a fuller pod to an emptier one. A way
/// of several moves is needed where copies of a shard would come to lie together otherwise.
fn copy(shards: &[Shard<'_, '_>], sites: &Sites<'_>) -> Option<Step> {
    let mean = sites.iter().map(|s| s.load).sum::<u64>() / sites.iter().count().max(1) as u64;
    let ways = sites.iter().filter_map(|from| {
        let more = |to: &Site<'_>| from.load.checked_sub(to.load).filter(|more| *more > mean / 5);
        let most = sites.iter().filter_map(more).max()?;
        // The end has to be worth it; what is on the way keeps what it has.
        way(from, sites, more, |at, to| best_move(at, to, more(to).unwrap_or(most), shards))
    });
    let (shard, to) = shortest(ways)?;
    shard.place(&to.name, true)
}

/// A way from one pod to another, of one shard handed over or moved at each step.
struct Way<'a, 's> {
    steps: usize,
    /// By how much more the first pod has than the last one.
    more: u64,
    /// The first step: this shard, to this pod.
    shard: &'a Shard<'a, 's>,
    to: &'a Site<'s>,
}

fn shortest<'a, 's>(ways: impl Iterator<Item = Way<'a, 's>>) -> Option<(&'a Shard<'a, 's>, &'a Site<'s>)> {
    let best = ways.min_by_key(|w| (w.steps, Reverse(w.more), w.shard.number(), w.to.ordinal))?;
    Some((best.shard, best.to))
}

/// A shortest way from a pod to one than which it has `more`; `step` is the shard that can go from one pod to another.
fn way<'a, 's>(
    from: &'a Site<'s>,
    sites: &'a Sites<'s>,
    more: impl Fn(&Site<'_>) -> Option<u64>,
    step: impl Fn(&Site<'s>, &Site<'s>) -> Option<&'a Shard<'a, 's>>,
) -> Option<Way<'a, 's>> {
    let mut free: Vec<&'a Site<'s>> = sites.iter().filter(|s| s.name != from.name).collect();
    // Pods that so many steps reach, each with the first of them.
    let mut edge: Vec<(&Site<'s>, Option<(&Shard<'a, 's>, &Site<'s>)>)> = vec![(from, None)];
    for steps in 1.. {
        let mut next = Vec::new();
        for (at, first) in edge {
            free.retain(|to| {
                let taken = step(at, to);
                next.extend(taken.map(|shard| (*to, Some(first.unwrap_or((shard, *to))))));
                taken.is_none()
            });
        }
        let ends = next.iter().filter_map(|(end, first)| Some((more(end)?, Reverse(end.ordinal), *first)));
        if let Some((more, _, Some((shard, to)))) = ends.max_by_key(|(more, ordinal, _)| (*more, *ordinal)) {
            return Some(Way { steps, more, shard, to });
        }
        if next.is_empty() {
            return None;
        }
        edge = next;
    }
    None
}

/// The shard whose copy is best moved from one pod to the other: what weighs half of the difference evens it out; more than three
/// quarters of it isn't worth the way. Only if it is that copy which then goes.
fn best_move<'a, 's>(
    from: &Site<'s>,
    to: &Site<'s>,
    gap: u64,
    shards: &'a [Shard<'a, 's>],
) -> Option<&'a Shard<'a, 's>> {
    let fits = |s: &&Shard<'_, '_>| {
        let weight = s.sites.weight(s.number());
        let on = |pod: &str| s.record.copies.iter().any(|c| *c.pod == *pod);
        if weight > gap / 4 * 3 || !to.takes(weight) || !on(&from.name) || on(&to.name) {
            return false;
        }
        let mut all = held(s, |_| true);
        all.push(Held { id: None, site: to, load: to.load, newest: true, leads: false });
        goes(&all, weight).is_some_and(|gone| gone.site.name == from.name)
    };
    shards
        .iter()
        .filter(fits)
        .min_by_key(|s| (led_on(s, from), (s.sites.weight(s.number()) * 2).abs_diff(gap), s.number()))
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
