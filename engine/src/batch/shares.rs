//! Which version may start a run in a thread next.
//!
//! Each version may always have one run under way, so nobody waits for another's long run: there are more threads than
//! cores, and the system divides the cores among them. Further runs start only while there are fewer than a limit, and
//! go to the version that has had the least time so far (start-time fair queueing: P. Goyal, H. Vin, H. Cheng,
//! "Start-Time Fair Queuing", SIGCOMM 1996, with equal weights).

use std::collections::HashMap;

const TAGS_KEPT: usize = 8;

/// A version's number in this process.
pub type Id = u64;

/// Who wants a run: a version on one shard, or in Python.
pub type Place = (Id, usize);

/// Divides run threads among versions. Shared by all shards, and by Python.
#[derive(Debug)]
pub struct Shares {
    limit: usize,
    threads: usize,
    running: HashMap<Id, usize>,
    total: usize,
    now: f64,
    tags: HashMap<Id, f64>,
    /// With the nanoseconds that the run should take.
    wanting: Vec<(Place, f64)>,
}

impl Shares {
    /// Begins with no runs.
    ///
    /// `limit` is runs at once if one version alone has work, `threads` runs at once whatever happens.
    pub fn new(limit: usize, threads: usize) -> Self {
        let (running, tags) = (HashMap::new(), HashMap::new());
        Self { limit, threads: threads.max(limit), running, total: 0, now: 0.0, tags, wanting: Vec::new() }
    }

    /// Returns how many runs there are.
    pub fn runs(&self) -> usize {
        self.total
    }

    /// Starts a run of `place`'s that should take `cost` nanoseconds, if it may start one now; else notes that it wants
    /// one, and says no. Nobody who has waited is passed over.
    pub fn start_or_want(&mut self, place: Place, cost: f64) -> bool {
        let may = self.may_start(place);
        if may {
            self.start(place.0, cost);
        } else {
            self.want(place, cost);
        }
        may
    }

    /// Does the same, but that it wants none where it may not start one.
    pub fn start_if_may(&mut self, place: Place, cost: f64) -> bool {
        self.forgo(place);
        let may = self.may_start(place);
        if may {
            self.start(place.0, cost);
        }
        may
    }

    fn may_start(&self, place: Place) -> bool {
        if self.total >= self.threads {
            return false;
        }
        let mut others = self.wanting.iter().map(|(other, _)| other).filter(|&&other| other != place);
        if !self.has_run(place.0) {
            // Those without any run wait for the very thread that has come free.
            return others.all(|other| self.has_run(other.0));
        }
        self.total < self.limit && others.next().is_none()
    }

    fn want(&mut self, place: Place, cost: f64) {
        if !self.wanting.iter().any(|(other, _)| *other == place) {
            self.wanting.push((place, cost));
        }
    }

    /// Notes that it has none any more.
    pub fn forgo(&mut self, place: Place) {
        self.wanting.retain(|(other, _)| *other != place);
    }

    /// Returns which of those that want it may start a run now. It counts as started, until `finish`.
    pub fn start_next(&mut self) -> Option<Place> {
        if self.total >= self.threads {
            return None;
        }
        let able = self.wanting.iter().filter(|(place, _)| self.total < self.limit || !self.has_run(place.0));
        let rank = |place: &Place| (self.has_run(place.0), self.tags.get(&place.0).copied().unwrap_or(0.0));
        let (chosen, cost) = able
            .min_by(|(a, _), (b, _)| rank(a).partial_cmp(&rank(b)).unwrap_or(std::cmp::Ordering::Equal))
            .copied()?;
        self.forgo(chosen);
        self.start(chosen.0, cost);
        Some(chosen)
    }

    /// Starts a run whoever else wants one: it is under way already.
    pub fn start(&mut self, version: Id, cost: f64) {
        self.total += 1;
        *self.running.entry(version).or_insert(0) += 1;
        let start = self.now.max(self.tags.get(&version).copied().unwrap_or(0.0));
        self.now = start;
        if self.tags.len() > 2 * self.running.len() + TAGS_KEPT {
            // A version that has gone must not be kept in memory by what it has used.
            self.tags.retain(|_, tag| *tag > start);
        }
        self.tags.insert(version, start + cost);
    }

    /// Notes that a run of a version has ended.
    pub fn finish(&mut self, version: Id) {
        self.total -= 1;
        let left = self.running.get(&version).copied().unwrap_or(1) - 1;
        if left > 0 {
            self.running.insert(version, left);
            return;
        }
        self.running.remove(&version);
        if self.tags.get(&version).is_some_and(|tag| *tag <= self.now) {
            self.tags.remove(&version);
        }
        if self.total == 0 && self.wanting.is_empty() {
            self.tags.clear();
            self.now = 0.0;
        }
    }

    fn has_run(&self, version: Id) -> bool {
        self.running.contains_key(&version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_may_have_one_run_and_more_only_below_the_limit() {
        let mut shares = Shares::new(2, 8);
        for version in 0..4 {
            assert!(shares.start_or_want((version, 0), 1.0));
        }
        assert!(!shares.start_or_want((0, 0), 1.0));
        assert!(shares.start_or_want((9, 0), 1.0), "who waits has a run under way already");
    }

    #[test]
    fn who_has_had_the_least_time_is_next() {
        let mut shares = Shares::new(1, 8);
        assert!(shares.start_or_want((1, 0), 100.0));
        assert!(shares.start_or_want((2, 0), 1.0));
        assert!(!shares.start_or_want((1, 0), 100.0));
        assert!(!shares.start_or_want((2, 0), 1.0));
        assert_eq!(shares.start_next(), None);
        shares.finish(1);
        shares.finish(2);
        assert_eq!(shares.start_next(), Some((2, 0)));
        assert_eq!(shares.start_next(), Some((1, 0)), "it has no run under way");
        assert_eq!(shares.total, 2);
    }

    #[test]
    fn who_need_not_have_a_run_is_not_waited_for() {
        let mut shares = Shares::new(1, 1);
        assert!(shares.start_if_may((1, 0), 1.0) && !shares.start_if_may((2, 0), 1.0));
        shares.finish(1);
        assert_eq!(shares.start_next(), None);
    }

    #[test]
    fn nobody_who_waits_is_passed_over() {
        let mut shares = Shares::new(2, 2);
        assert!(shares.start_or_want((1, 0), 1.0));
        shares.want((2, 0), 1.0);
        assert!(!shares.may_start((1, 0)));
        assert!(!shares.may_start((3, 1)));
        assert_eq!(shares.start_next(), Some((2, 0)));
    }
}
