//! Who was heard when: the reason for which a leader has a copy taken out that something waits for.

use std::collections::BTreeMap;

use crate::Time;
use crate::record::CopyId;

/// When each of the others was last heard, by the clock of the one that heard. Times are in milliseconds.
#[derive(Clone, Debug)]
pub struct Heard {
    /// None of one that said it leaves.
    at: BTreeMap<CopyId, Option<Time>>,
    /// Since when this copy leads: whoever says nothing says it from then on.
    since: Time,
    /// A copy is silent that says nothing for longer.
    silence: Time,
    /// Who couldn't be heard gets so long for an answer.
    grace: Time,
    /// When this copy last looked for silence.
    looked: Time,
    /// Silence counts from here on.
    spared: Time,
}

impl Heard {
    pub fn new(silence: Time, grace: Time) -> Self {
        Self { at: BTreeMap::new(), since: 0, silence, grace, looked: 0, spared: 0 }
    }

    pub fn hear(&mut self, id: CopyId, now: Time) {
        self.at.insert(id, Some(now));
    }

    /// A copy says that it says nothing more: it is silent until it is heard again.
    pub fn leaves(&mut self, id: CopyId) {
        self.at.insert(id, None);
    }

    /// Copies that said so and weren't heard again.
    pub fn left(&self) -> Vec<CopyId> {
        self.at.iter().filter_map(|(id, at)| at.is_none().then_some(*id)).collect()
    }

    /// This copy leads from now on. A copy that follows hears of nobody but the one that leads, so the last that it heard is
    /// the one before it: if that one died, its silence has lasted as long as it took to find that out, and writers have waited
    /// long enough. The others had no reason to say anything.
    pub fn lead(&mut self, now: Time) {
        let last = self.at.iter().max_by_key(|(_, at)| **at).map(|(id, at)| (*id, *at));
        self.at = last.into_iter().collect();
        self.since = now;
        self.spare(now);
    }

    /// To be called once in `grace`, before [`Heard::silent`]. If this process stood still itself, the others couldn't be heard.
    pub fn look(&mut self, now: Time) {
        if now.saturating_sub(self.looked) > 2 * self.grace {
            self.spare(now);
        }
        self.looked = now;
    }

    /// Nobody is silent before `grace` has passed.
    fn spare(&mut self, now: Time) {
        self.spared = (now + self.grace).saturating_sub(self.silence);
    }

    /// Whether a leader heard nothing of a copy for too long.
    pub fn silent(&self, id: CopyId, now: Time) -> bool {
        let at = self.at.get(&id).copied().unwrap_or(Some(self.since));
        at.is_none_or(|at| now.saturating_sub(at.max(self.spared)) > self.silence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: CopyId = CopyId(1);
    const OTHER: CopyId = CopyId(2);

    /// A copy heard OTHER at 0 and BEFORE at `heard`, and leads from 20,000 on: when is each of them silent, at the earliest?
    fn check(heard: Time, then: impl FnOnce(&mut Heard), expected: (Time, Time)) {
        let mut found = Heard::new(5_000, 1_000);
        found.hear(OTHER, 0);
        found.hear(BEFORE, heard);
        found.look(19_500);
        found.lead(20_000);
        then(&mut found);
        let first = |id| (20_000..).find(|now| found.silent(id, *now));
        assert_eq!((first(BEFORE), first(OTHER)), (Some(expected.0), Some(expected.1)), "heard at {heard}");
    }

    #[test]
    fn who_stood_still_listens_before_it_judges() {
        let looks = |h: &mut Heard, at: &[Time]| at.iter().for_each(|now| h.look(*now));
        check(19_900, |h| looks(h, &[21_000, 22_000, 23_000]), (24_901, 25_001));
        check(19_900, |h| looks(h, &[21_000, 24_500]), (25_501, 25_501));
        check(19_900, |h| looks(h, &[21_000, 40_000]), (41_001, 41_001));
    }

    #[test]
    fn a_leader_that_died_is_not_waited_for_twice() {
        check(19_900, |_| {}, (24_901, 25_001));
        check(16_500, |_| {}, (21_501, 25_001));
        check(10_000, |_| {}, (21_001, 25_001));
        check(10_000, |h| h.hear(BEFORE, 20_100), (25_101, 25_001));
        check(19_900, |h| h.leaves(BEFORE), (20_000, 25_001));
    }
}
