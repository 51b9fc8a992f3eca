//! The pods of a collection as places for copies: who lives, what each holds, how full it is.

use std::collections::BTreeMap;
use std::time::Duration;

use kube::ResourceExt;
use quiver_api::internal::{CopyState, NodeStatus, ShardStatus};
use quiver_crds::VectorShard;
use quiver_crds::shard::Purpose;
use quiver_replica::plan::{Pod, Reported};
use quiver_replica::record::{Boot, CopyId, Placed, Record};
use uuid::Uuid;

use crate::liveness::Standing;
use crate::names;
use crate::observe::Observed;
use crate::validate::{Valid, ready};

/// A copy whose pod is silent for so long is made anew elsewhere.
pub const GONE_AFTER: Duration = Duration::from_secs(600);
/// What a copy weighs beside its bytes, so that empty ones are spread too.
const COPY_WEIGHT: u64 = 16 << 20;

/// One pod.
#[derive(Debug)]
pub struct Site<'a> {
    pub name: String,
    pub ordinal: i32,
    pub standing: Standing,
    /// What its node answered, just now.
    pub node: Option<&'a NodeStatus>,
    pub ready: bool,
    /// It has to be empty: `nodes` doesn't reach so far.
    pub leaving: bool,
    pub zone: Option<String>,
    pub machine: Option<String>,
    /// Weight of the copies that records list here.
    pub load: u64,
    pub copies: usize,
    pub primaries: usize,
}

impl Site<'_> {
    /// Answers, and isn't silent.
    pub fn alive(&self) -> bool {
        self.node.is_some() && !self.standing.silent()
    }

    /// Whether what is here counts as lost for the number of copies.
    pub fn lost(&self) -> bool {
        self.leaving || self.standing.silent_for(GONE_AFTER)
    }

    /// Whether a copy may be made here. Only with a verdict: a node that keeps no Lease can't hold one.
    pub fn takes(&self, weight: u64) -> bool {
        self.ready && self.has_room(weight)
    }

    /// The same of a node that may be unready for the lack of that copy.
    pub fn has_room(&self, weight: u64) -> bool {
        let known = matches!(self.standing, Standing::Alive | Standing::Late);
        let room =
            self.node.is_some_and(|n| n.disk_total_bytes == 0 || n.disk_free_bytes > weight + weight / 4);
        known && self.alive() && !self.leaving && room
    }

    /// What the node says of its copies of a shard.
    pub fn reports(&self, shard: i32) -> impl Iterator<Item = (CopyId, &ShardStatus)> {
        let all = self.node.map_or(&[][..], |n| &n.shards);
        let of = all.iter().filter(move |s| i32::try_from(s.shard) == Ok(shard));
        of.filter_map(|s| Some((copy_id(&s.copy_id)?, s)))
    }

    pub fn report(&self, shard: i32, id: CopyId) -> Option<&ShardStatus> {
        self.reports(shard).find(|(i, _)| *i == id).map(|(_, s)| s)
    }

    pub fn boot(&self) -> Option<Boot> {
        self.node.and_then(|n| number(&n.boot)).map(Boot)
    }
}

/// A UUID in simple form.
fn number(text: &str) -> Option<u128> {
    (text.len() == 32).then(|| Uuid::try_parse(text).ok()).flatten().map(|u| u.as_u128())
}

pub fn copy_id(text: &str) -> Option<CopyId> {
    number(text).map(CopyId)
}

/// As the record has it.
pub fn text(number: u128) -> String {
    Uuid::from_u128(number).simple().to_string()
}

/// The record that a VectorShard is; none if its ids are none.
pub fn record(shard: &VectorShard) -> Option<Record> {
    let spec = &shard.spec;
    let copies = spec.copies.iter().map(|c| {
        let leaving = c.purpose == Some(Purpose::Leaving);
        Some(Placed { leaving, ..Placed::new(copy_id(&c.id)?, c.pod.as_str().into(), c.in_sync) })
    });
    let boot = &spec.primary_boot;
    Some(Record {
        term: u64::try_from(spec.term).ok()?,
        config_version: u64::try_from(spec.config_version).ok()?,
        primary: copy_id(&spec.primary)?,
        primary_boot: if boot.is_empty() { None } else { Some(Boot(number(boot)?)) },
        copies: copies.collect::<Option<Vec<_>>>()?,
    })
}

/// All pods, also those that only records name.
pub struct Sites<'a> {
    by_name: BTreeMap<String, Site<'a>>,
    weights: BTreeMap<i32, u64>,
}

impl<'a> Sites<'a> {
    pub fn of(valid: &Valid, observed: &'a Observed) -> Self {
        let mut sites = Self { by_name: BTreeMap::new(), weights: BTreeMap::new() };
        let pods = observed.pods.iter().map(|p| p.name_any());
        let named = observed.shards.iter().flat_map(|s| s.spec.copies.iter().map(|c| c.pod.clone()));
        for name in pods.chain(named) {
            let known = site(valid, observed, &name);
            sites.by_name.entry(name).or_insert(known);
        }
        for shard in &observed.shards {
            let number = shard.spec.shard;
            let primary = copy_id(&shard.spec.primary);
            let lead = shard.spec.copies.iter().find(|c| c.id == shard.spec.primary);
            let site = lead.and_then(|c| sites.by_name.get(&c.pod));
            let bytes = site.zip(primary).and_then(|(s, id)| s.report(number, id)).map(|r| r.bytes_disk);
            let known = shard.status.as_ref().map_or(0, |s| s.bytes.unsigned_abs());
            sites.weights.insert(number, bytes.unwrap_or(known) + COPY_WEIGHT);
            for copy in &shard.spec.copies {
                sites.add(&copy.pod, number, copy.id == shard.spec.primary);
            }
        }
        sites
    }

    fn add(&mut self, pod: &str, shard: i32, primary: bool) {
        let weight = self.weight(shard);
        if let Some(site) = self.by_name.get_mut(pod) {
            site.load += weight;
            site.copies += 1;
            site.primaries += usize::from(primary);
        }
    }

    /// Counts a copy that is about to be made.
    pub fn expect(&mut self, pod: &str, shard: i32) {
        self.add(pod, shard, false);
    }

    /// Counts a hand-over that is about to begin.
    pub fn hand_over(&mut self, from: &str, to: &str) {
        if let Some(site) = self.by_name.get_mut(from) {
            site.primaries = site.primaries.saturating_sub(1);
        }
        if let Some(site) = self.by_name.get_mut(to) {
            site.primaries += 1;
        }
    }

    pub fn get(&self, pod: &str) -> Option<&Site<'a>> {
        self.by_name.get(pod)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Site<'a>> {
        self.by_name.values()
    }

    /// Bytes of a copy of that shard, and something for being one.
    pub fn weight(&self, shard: i32) -> u64 {
        self.weights.get(&shard).copied().unwrap_or(COPY_WEIGHT)
    }

    /// In sync by the record, and its node says just now that it has it and that nothing is wrong with it.
    pub fn confirmed(&self, shard: i32, copy: &Placed) -> bool {
        let site = self.get(&copy.pod).filter(|s| s.alive());
        copy.in_sync && site.and_then(|s| s.report(shard, copy.id)).is_some_and(|r| r.fit)
    }

    /// Whether the copy that leads is there and leads.
    pub fn led(&self, shard: i32, record: &Record) -> bool {
        let site = record.find(record.primary).and_then(|c| self.get(&c.pod)).filter(|s| s.alive());
        let report = site.and_then(|s| s.report(shard, record.primary));
        report.is_some_and(|r| r.fit && r.state == CopyState::Leading)
    }

    /// The pods as the protocol's plan takes them. What isn't known is shown so that nothing follows from it: a primary that
    /// may well live leads on, and nobody else is promoted, removed or listed.
    pub fn pods(&self, shard: i32, record: &Record) -> Vec<Pod> {
        self.iter().map(|site| pod(site, shard, record)).collect()
    }
}

fn pod(site: &Site<'_>, shard: i32, record: &Record) -> Pod {
    let listed = record.copies.iter().find(|c| *c.pod == *site.name).map(|c| c.id);
    let name = site.name.as_str().into();
    let shown = |alive, boot, copy| Pod { name, alive, boot, copy };
    if site.standing.silent() {
        return shown(false, Boot(0), None);
    }
    let Some(boot) = site.boot().filter(|_| site.node.is_some()) else {
        let kept = listed.filter(|id| *id == record.primary);
        let copy = kept.map(|id| Reported { id, term: 0, durable: 0, fit: true });
        return shown(copy.is_some(), Boot(0), copy);
    };
    let reported =
        |(id, s): (CopyId, &ShardStatus)| Reported { id, term: s.promised, durable: s.seq, fit: s.fit };
    // What a pod that isn't listed has is an earlier copy, or one for which this plan finds a use elsewhere.
    let Some(listed) = listed else { return shown(true, boot, None) };
    let held = site.report(shard, listed).map(|s| reported((listed, s)));
    let other =
        site.reports(shard).filter(|(id, s)| s.fit && record.find(*id).is_none()).map(reported).next();
    let copy = match (held, other) {
        (Some(held), _) if held.fit => Some(held),
        (held, other) => other.or(held),
    };
    shown(true, boot, copy)
}

fn site<'a>(valid: &Valid, observed: &'a Observed, name: &str) -> Site<'a> {
    let ordinal = names::ordinal(&valid.name, name).unwrap_or(i32::MAX);
    let pod = observed.pods.iter().find(|p| p.name_any() == name);
    let uid = observed.uid();
    let answer = observed.nodes.get(name).and_then(|n| n.as_ref().ok());
    let node = answer.filter(|n| n.collection_uid == uid && n.pod == name);
    let (zone, machine) = observed.machines.get(name).cloned().unwrap_or_default();
    Site {
        name: name.to_owned(),
        ordinal,
        standing: observed.standing.get(name).copied().unwrap_or_default(),
        node,
        ready: pod.is_some_and(ready) && node.is_some_and(|n| n.ready),
        leaving: ordinal >= valid.spec.nodes,
        zone,
        machine,
        load: 0,
        copies: 0,
        primaries: 0,
    }
}
