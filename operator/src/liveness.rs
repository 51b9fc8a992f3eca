//! Which nodes live, from the Leases that they renew: judged by this process's own clock and by whether `renewTime`
//! changed, never by what a clock elsewhere says.
//!
//! Who can't read the Leases can't judge. After the start, and after any gap in the reading, every node gets a full
//! duration again, so that an outage of the API server promotes nobody.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::ListParams;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Client, ResourceExt};
use parking_lot::Mutex;
use quiver_crds::{COLLECTION_LABEL, VectorCollection};
use tokio::sync::{Notify, mpsc};
use tokio::time::MissedTickBehavior;

use crate::clock;

/// A node that hasn't renewed its Lease for so long is silent.
pub const SILENT_AFTER: Duration = Duration::from_secs(10);
/// It has missed a renewal: nobody waits long for its answers.
const LATE_AFTER: Duration = Duration::from_secs(4);
/// Longest time between a question and the answer to the next one that still counts as watching.
const GAP: Duration = Duration::from_secs(4);
/// How often the Leases are read, while anybody needs it.
const TICK: Duration = Duration::from_millis(500);
/// Longest wait for one answer.
const ANSWER: Duration = Duration::from_secs(3);

/// Time since this process began.
pub type Since = Duration;

/// What is known of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// The Leases aren't read, or not for long enough: no verdict.
    #[default]
    Unknown,
    Alive,
    /// Missed a renewal; still counted as alive.
    Late,
    /// For so long.
    Silent(Duration),
}

impl Standing {
    pub fn silent(self) -> bool {
        matches!(self, Self::Silent(_))
    }

    /// Silent for at least so long.
    pub fn silent_for(self, long: Duration) -> bool {
        matches!(self, Self::Silent(d) if d >= long)
    }
}

/// Judges the nodes of one collection.
#[derive(Debug, Default)]
pub struct Judge {
    /// Who reconciles the collection wants to know. Else this process stands by, and only so that it knows when its turn comes.
    wanted: bool,
    /// When the last question that was answered was asked, and when the answer came.
    last: Option<(Since, Since)>,
    /// When the present watch began, without a gap since.
    began: Since,
    /// By pod: the text of `renewTime`, and when it was seen to change.
    seen: HashMap<String, (String, Since)>,
    silent: BTreeSet<String>,
}

impl Judge {
    /// Takes what the API server answered: pod and `renewTime` of every Lease. Answers with whether another node turned
    /// silent or came back.
    pub fn saw(&mut self, asked: Since, answered: Since, leases: &[(String, String)]) -> bool {
        let gap = self.last.is_none_or(|(before, _)| answered.saturating_sub(before) > GAP);
        let all_silent = !self.seen.is_empty() && self.seen.keys().all(|pod| self.silent.contains(pod));
        let mut changed = false;
        for (pod, renewed) in leases {
            match self.seen.get_mut(pod) {
                Some((text, _)) if text == renewed => {}
                Some(seen) => {
                    changed = true;
                    *seen = (renewed.clone(), answered);
                }
                None => drop(self.seen.insert(pod.clone(), (renewed.clone(), answered))),
            }
        }
        // When nobody could renew, the store was at fault; the first that can again says nothing of the others.
        if gap || all_silent && changed {
            self.began = answered;
            self.seen.values_mut().for_each(|(_, at)| *at = answered);
        }
        self.last = Some((asked, answered));
        let silent = self.seen.iter().filter(|(_, (_, at))| asked.saturating_sub(*at) >= SILENT_AFTER);
        let silent: BTreeSet<String> = silent.map(|(pod, _)| pod.clone()).collect();
        let turned = silent != self.silent;
        self.silent = silent;
        turned
    }

    /// The verdict at `now`. A pod without a Lease is as good as one that doesn't renew it.
    pub fn standing(&self, pod: &str, now: Since) -> Standing {
        let Some((asked, answered)) = self.last else { return Standing::Unknown };
        if now.saturating_sub(answered) > GAP {
            return Standing::Unknown;
        }
        let changed = self.seen.get(pod).map_or(self.began, |(_, at)| *at);
        match asked.saturating_sub(changed) {
            quiet if quiet >= SILENT_AFTER => Standing::Silent(quiet),
            quiet if quiet >= LATE_AFTER => Standing::Late,
            _ => Standing::Alive,
        }
    }
}

/// Namespace and name of a collection.
type Of = (String, String);

/// The judges of all collections that need one.
pub struct Liveness {
    began: Instant,
    judges: Mutex<HashMap<Of, Judge>>,
    /// After each reading.
    read: Notify,
}

impl Default for Liveness {
    fn default() -> Self {
        Self { began: clock::instant(), judges: Mutex::default(), read: Notify::new() }
    }
}

impl Liveness {
    fn now(&self) -> Since {
        clock::instant().duration_since(self.began)
    }

    /// From now on the Leases of this collection are read.
    pub fn watch(&self, namespace: &str, name: &str) {
        self.judges.lock().entry((namespace.to_owned(), name.to_owned())).or_default().wanted = true;
    }

    /// They aren't any more. Whoever watches again begins anew.
    pub fn forget(&self, namespace: &str, name: &str) {
        self.judges.lock().remove(&(namespace.to_owned(), name.to_owned()));
    }

    /// What is known of these pods.
    pub fn standing(&self, namespace: &str, name: &str, pods: &[String]) -> BTreeMap<String, Standing> {
        let now = self.now();
        let judges = self.judges.lock();
        let judge = judges.get(&(namespace.to_owned(), name.to_owned()));
        let of = |pod: &String| (pod.clone(), judge.map_or(Standing::Unknown, |j| j.standing(pod, now)));
        pods.iter().map(of).collect()
    }

    /// Pods that missed a renewal: a dead one must not hold up the reconcile that replaces it.
    pub fn late(&self, namespace: &str, name: &str) -> BTreeMap<String, Standing> {
        let now = self.now();
        let judges = self.judges.lock();
        let Some(judge) = judges.get(&(namespace.to_owned(), name.to_owned())) else {
            return BTreeMap::new();
        };
        let standings = judge.seen.keys().map(|pod| (pod.clone(), judge.standing(pod, now)));
        standings.filter(|(_, s)| matches!(s, Standing::Late | Standing::Silent(_))).collect()
    }

    /// Waits until a node is silent that isn't in what is `known`: what is being done for the collection was planned while it
    /// lived, and may be waiting for its answer.
    pub async fn another_silent(&self, namespace: &str, name: &str, known: &BTreeMap<String, Standing>) {
        let of = (namespace.to_owned(), name.to_owned());
        let is_new = |pod: &String| !known.get(pod).copied().unwrap_or_default().silent();
        loop {
            let mut read = std::pin::pin!(self.read.notified());
            // From here on no reading is missed.
            read.as_mut().enable();
            if self.judges.lock().get(&of).is_some_and(|judge| judge.silent.iter().any(is_new)) {
                return;
            }
            read.await;
        }
    }

    fn needed(&self, scope: Option<&String>) -> bool {
        self.judges.lock().keys().any(|(namespace, _)| scope.is_none_or(|s| s == namespace))
    }

    /// Takes one answer; the collections of which a node turned silent or came back. Who stands by judges the nodes of every
    /// collection that has Leases.
    fn saw(&self, scope: Option<&String>, asked: Since, leases: &[Lease], role: Role) -> Vec<Of> {
        let answered = self.now();
        let mut by: HashMap<Of, Vec<(String, String)>> = HashMap::new();
        for lease in leases {
            let Some(name) = lease.labels().get(COLLECTION_LABEL) else { continue };
            let renewed = lease.spec.as_ref().and_then(|s| s.renew_time.as_ref());
            let text = renewed.map(|t| t.0.to_string()).unwrap_or_default();
            let of = (lease.namespace().unwrap_or_default(), name.clone());
            by.entry(of).or_default().push((lease.name_any(), text));
        }
        let mut judges = self.judges.lock();
        let is_here = |of: &Of| scope.is_none_or(|s| *s == of.0);
        judges.retain(|of, judge| judge.wanted || !is_here(of) || by.contains_key(of));
        if role == Role::StandsBy {
            for of in by.keys() {
                judges.entry(of.clone()).or_default();
            }
        }
        let here = judges.iter_mut().filter(|(of, _)| is_here(of));
        let mut turned = Vec::new();
        for (of, judge) in here {
            if judge.saw(asked, answered, by.get(of).map_or(&[], |l| l)) {
                turned.push(of.clone());
            }
        }
        drop(judges);
        self.read.notify_waiters();
        turned
    }
}

/// What the one that reads the Leases is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Leads,
    StandsBy,
}

/// Reads the Leases of every collection in these namespaces (all if none is named) for ever: when the turn of this process
/// comes, it knows at once who has been silent for long.
pub async fn stand_by(client: &Client, liveness: &Liveness, namespaces: &[String]) {
    liveness.judges.lock().values_mut().for_each(|judge| judge.wanted = false);
    let (nobody, _) = mpsc::channel(1);
    let reads =
        scopes(namespaces).into_iter().map(|s| read(client, liveness, s, nobody.clone(), Role::StandsBy));
    futures::future::join_all(reads).await;
}

/// What is asked for at once: each of these namespaces, or all if none is named.
pub fn scopes(namespaces: &[String]) -> Vec<Option<&String>> {
    if namespaces.is_empty() { vec![None] } else { namespaces.iter().map(Some).collect() }
}

/// Reads the Leases of a scope for ever, and names the collections to look at.
pub async fn watch(
    client: &Client,
    liveness: &Liveness,
    scope: Option<&String>,
    turned: mpsc::Sender<ObjectRef<VectorCollection>>,
) {
    read(client, liveness, scope, turned, Role::Leads).await;
}

async fn read(
    client: &Client,
    liveness: &Liveness,
    scope: Option<&String>,
    turned: mpsc::Sender<ObjectRef<VectorCollection>>,
    role: Role,
) {
    let api: Api<Lease> = match scope {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    // Without a resourceVersion: from the store itself, never from a cache that it may have left behind.
    let ours = ListParams::default().labels(COLLECTION_LABEL);
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = None;
    loop {
        tick.tick().await;
        if role == Role::Leads && !liveness.needed(scope) {
            last = None;
            continue;
        }
        let asked = liveness.now();
        let leases = match tokio::time::timeout(ANSWER, api.list(&ours)).await {
            Ok(Ok(leases)) => leases.items,
            Ok(Err(e)) => {
                tracing::warn!("the Leases of nodes can't be read, so nobody is judged by them: {e}");
                continue;
            }
            Err(_) => continue,
        };
        let before = last.replace(liveness.now());
        if let Some(gap) = before.map(|b| liveness.now().saturating_sub(b)).filter(|gap| *gap > GAP) {
            tracing::warn!(
                "the Leases of nodes were not read for {gap:?}: each node gets its full time again"
            );
        }
        for (namespace, name) in liveness.saw(scope, asked, &leases, role) {
            tracing::info!(namespace, collection = name, "a node turned silent, or came back");
            // With so many waiting, the collection is looked at soon anyway.
            turned.try_send(ObjectRef::<VectorCollection>::new(&name).within(&namespace)).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads at these seconds, each with what a and b had renewed by then; then what is known of both at the last one.
    fn check(reads: &[(f64, &str, &str)], expected: [&str; 2]) {
        let mut judge = Judge::default();
        let mut now = Duration::ZERO;
        for (second, a, b) in reads {
            now = Duration::from_secs_f64(*second);
            let leases = [("a", a), ("b", b)].map(|(pod, renewed)| (pod.to_owned(), (*renewed).to_owned()));
            judge.saw(now, now, &leases);
        }
        let word = |pod| match judge.standing(pod, now) {
            Standing::Silent(_) => "silent",
            Standing::Late => "late",
            Standing::Alive => "alive",
            Standing::Unknown => "unknown",
        };
        assert_eq!([word("a"), word("b")], expected, "{reads:?}");
    }

    /// A read in every second: `a` is renewed until second `until`, `b` always, and seconds in `missed` have no answer.
    fn reads(until: u32, seconds: u32, missed: std::ops::Range<u32>) -> Vec<(f64, String, String)> {
        let asked = (0..=seconds).filter(|s| !missed.contains(s));
        asked.map(|s| (f64::from(s), s.min(until).to_string(), s.to_string())).collect()
    }

    fn check_run(until: u32, seconds: u32, missed: std::ops::Range<u32>, expected: [&str; 2]) {
        let reads = reads(until, seconds, missed);
        let reads: Vec<_> = reads.iter().map(|(s, a, b)| (*s, a.as_str(), b.as_str())).collect();
        check(&reads, expected);
    }

    #[test]
    fn a_node_is_silent_when_its_lease_did_not_change_for_ten_seconds() {
        check_run(20, 20, 0..0, ["alive", "alive"]);
        check_run(20, 24, 0..0, ["late", "alive"]);
        check_run(20, 29, 0..0, ["late", "alive"]);
        check_run(20, 30, 0..0, ["silent", "alive"]);
    }

    #[test]
    fn after_a_start_every_node_gets_a_full_duration() {
        check_run(0, 9, 0..0, ["late", "alive"]);
        check_run(0, 10, 0..0, ["silent", "alive"]);
    }

    #[test]
    fn after_a_gap_in_the_reading_every_node_gets_a_full_duration_again() {
        // Nine seconds of silence, then nothing can be read: the first answers judge nobody.
        check_run(20, 36, 29..35, ["alive", "alive"]);
        check_run(20, 44, 29..35, ["late", "alive"]);
        check_run(20, 45, 29..35, ["silent", "alive"]);
        // A question or two without an answer is no gap.
        check_run(20, 30, 25..27, ["silent", "alive"]);
    }

    #[test]
    fn when_nobody_renews_the_first_that_does_again_promotes_nobody() {
        let mut reads: Vec<(f64, &str, &str)> = (0..20).map(|s| (f64::from(s), "1", "1")).collect();
        check(&reads, ["silent", "silent"]);
        reads.push((20.0, "1", "2"));
        check(&reads, ["alive", "alive"]);
        reads.extend((21..30).map(|s| (f64::from(s), "1", if s % 2 == 0 { "3" } else { "4" })));
        check(&reads, ["late", "alive"]);
        reads.push((30.0, "1", "5"));
        check(&reads, ["silent", "alive"]);
    }

    #[test]
    fn a_clock_elsewhere_decides_nothing() {
        // Only that the text changes counts, not what it says.
        check(
            &[(0.0, "9", "9"), (3.0, "1", "9"), (6.0, "9", "9"), (9.0, "1", "9"), (12.0, "1", "8")],
            ["alive", "alive"],
        );
    }

    #[test]
    fn who_stands_by_knows_the_nodes_of_every_collection_when_its_turn_comes() {
        let lease = |pod: &str, collection: &str| {
            let labels = [(COLLECTION_LABEL.to_owned(), collection.to_owned())].into();
            let metadata = kube::api::ObjectMeta {
                name: Some(pod.into()),
                namespace: Some("search".into()),
                labels: Some(labels),
                ..Default::default()
            };
            Lease { metadata, ..Default::default() }
        };
        let liveness = Liveness::default();
        let known = |collection| liveness.standing("search", collection, &["docs-0".into()])["docs-0"];
        let both = [lease("docs-0", "docs"), lease("books-0", "books")];
        liveness.saw(None, liveness.now(), &both, Role::Leads);
        assert_eq!(known("docs"), Standing::Unknown, "nobody asked for it");
        liveness.saw(None, liveness.now(), &both, Role::StandsBy);
        liveness.watch("search", "docs");
        assert_eq!([known("docs"), known("books")], [Standing::Alive; 2], "known from before its turn came");
        liveness.saw(Some(&"elsewhere".to_owned()), liveness.now(), &[], Role::StandsBy);
        assert_eq!(known("books"), Standing::Alive, "what was read of another namespace is nothing to it");
        liveness.saw(None, liveness.now(), &[], Role::StandsBy);
        assert_eq!(
            [known("docs"), known("books")],
            [Standing::Alive, Standing::Unknown],
            "gone with its Leases"
        );
    }

    #[tokio::test]
    async fn who_acts_for_a_collection_hears_when_another_of_its_nodes_turns_silent() {
        let liveness = Liveness::default();
        liveness.watch("search", "docs");
        let heard = |known: &[(&str, Standing)]| {
            let known = known.iter().map(|(pod, s)| ((*pod).to_owned(), *s)).collect();
            let liveness = &liveness;
            async move { liveness.another_silent("search", "docs", &known).await }
        };
        let silent = Standing::Silent(SILENT_AFTER);
        let mut first = std::pin::pin!(heard(&[("docs-0", Standing::Alive)]));
        let mut second = std::pin::pin!(heard(&[("docs-0", silent)]));
        assert!(futures::poll!(first.as_mut()).is_pending(), "nobody is silent");
        assert!(futures::poll!(second.as_mut()).is_pending());
        let turn = |pod: &str| {
            let mut judges = liveness.judges.lock();
            for judge in judges.values_mut() {
                judge.silent.insert(pod.into());
            }
            drop(judges);
            liveness.read.notify_waiters();
        };
        turn("docs-0");
        assert!(futures::poll!(first.as_mut()).is_ready());
        assert!(futures::poll!(second.as_mut()).is_pending(), "that was known");
        turn("docs-1");
        assert!(futures::poll!(second.as_mut()).is_ready(), "a second one");
    }

    #[test]
    fn nobody_is_judged_by_what_was_read_long_ago_or_before_anything_was_read() {
        let mut judge = Judge::default();
        assert_eq!(judge.standing("a", Duration::ZERO), Standing::Unknown);
        let second = Duration::from_secs;
        for s in 0..=20 {
            judge.saw(second(s), second(s), &[("a".into(), "1".into())]);
        }
        assert!(judge.standing("a", second(20)).silent());
        assert!(judge.standing("without a lease", second(20)).silent());
        assert_eq!(judge.standing("a", second(25)), Standing::Unknown);
        // An answer that took long is a gap too: this process may have stood still.
        judge.saw(second(21), second(27), &[("a".into(), "1".into())]);
        assert_eq!(judge.standing("a", second(27)), Standing::Alive);
    }
}
