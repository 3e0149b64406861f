//! One budget in bytes for all that callers make the process hold: calls, requests, what is made of them, runs, answers.
//!
//! A fourth of it is for connections themselves, of which there are no more than fit. A fourth is theirs for what calls hold: each
//! has its part of that whatever the others do, so that who holds little is never refused. For a fourth they compete: a
//! connection may hold only as much of it as is then still free, and those that hold the most are refused first; an eighth of it
//! is kept for those that hold less than an equal share, for whom the greatest holder's calls are ended. What such calls hold until
//! their tasks have run is held twice for a moment: an eighth is set aside for that, and no part of any share. A fourth is for runs, of which none has more than half; one run at a time may take more, up to as much as the whole budget. Nothing has
//! to be set by connection.

mod account;
mod contest;
mod loan;
mod need;
mod purse;
mod running;

pub use account::{Account, Held};
pub use contest::Seat;
pub use loan::Loan;
pub use need::Need;
pub use purse::Purse;
pub use running::Running;

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// What connections and runs have for themselves: one part each of so many.
const PARTS: usize = 4;

/// What of that which connections compete for is kept for those with less than a share: one part of so many.
const KEPT: usize = 8;

/// What of that which connections compete for is set aside for what is about to be given back: one part of so many.
///
/// Shares are of the rest: if each of those that hold some holds no more than an equal share, there is as much for one more.
const AHEAD: usize = 8;

/// The budget: how much there is, and how much of it is taken. Shared by all threads.
#[derive(Debug)]
pub struct Memory {
    limit: usize,
    /// What each connection may hold whatever the others do.
    own: usize,
    /// By calls, and by runs.
    calls: AtomicUsize,
    runs: AtomicUsize,
    /// Connections that hold more than their own.
    holders: AtomicUsize,
    /// By the one run that takes more than those may; 0 without one.
    large: AtomicUsize,
}

impl Memory {
    /// Begins with `limit` bytes, all free, for so many connections at the most.
    pub fn new(limit: usize, connections: usize) -> Self {
        let own = (limit / PARTS).checked_div(connections).unwrap_or(0);
        Self { limit, own, ..Self::empty() }
    }

    fn empty() -> Self {
        let [calls, runs, holders, large] = Default::default();
        Self { limit: 0, own: 0, calls, runs, holders, large }
    }

    /// Returns how many connections there may be, if each takes so many bytes before anything is held for its calls.
    pub fn connections(limit: usize, each: usize) -> usize {
        limit / PARTS / each
    }

    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Returns how many bytes are taken beyond what is each connection's own, those that shards keep at hand among them.
    pub fn taken(&self) -> usize {
        self.calls.load(Relaxed) + self.runs.load(Relaxed) + self.large.load(Relaxed)
    }

    /// Returns the same, of calls alone.
    fn taken_by_calls(&self) -> usize {
        self.calls.load(Relaxed)
    }

    /// Returns how many bytes all that calls hold beyond that may come to.
    fn for_calls(&self) -> usize {
        self.limit / PARTS
    }

    /// Returns how many bytes one batch's run may take: what runs have for themselves is for several.
    pub fn for_a_batch(&self) -> usize {
        self.limit / PARTS / PARTS
    }

    /// Returns how much of that they share: all but what is set aside.
    fn shared(&self) -> usize {
        self.for_calls() - self.for_calls() / AHEAD
    }

    /// Returns how much of that they may hold, but for what is kept.
    fn open(&self) -> usize {
        self.shared() - self.shared() / KEPT
    }

    /// Returns an equal share of that for each connection that holds more than its own, for one that asks, whether it `holds`
    /// more or not, and for one that may come.
    fn share(&self, holds: bool) -> usize {
        self.shared() / (self.holders.load(Relaxed) + 2 - usize::from(holds))
    }

    /// Notes that a connection holds more than its own, or no longer.
    fn hold(&self, holds: bool) {
        if holds {
            self.holders.fetch_add(1, Relaxed)
        } else {
            self.holders.fetch_sub(1, Relaxed)
        };
    }

    /// Takes bytes for calls, if they are there.
    fn take(&self, size: usize) -> bool {
        self.take_of(self.open(), size)
    }

    /// Takes bytes for calls, of what is kept as well.
    fn take_kept(&self, size: usize) -> bool {
        self.take_of(self.shared(), size)
    }

    /// Takes bytes for calls that others are about to give back: until they have, both hold them.
    fn take_ahead(&self, size: usize) -> bool {
        self.take_of(self.for_calls(), size)
    }

    fn take_of(&self, most: usize, size: usize) -> bool {
        let more = |taken: usize| taken.checked_add(size).filter(|&sum| sum <= most);
        self.calls.fetch_update(Relaxed, Relaxed, more).is_ok()
    }

    fn give_back(&self, size: usize) {
        self.calls.fetch_sub(size, Relaxed);
    }

    /// Takes `size` more bytes for a run that has `own` of them, if they are there.
    fn take_for_run(&self, own: usize, size: usize) -> bool {
        let most = self.limit / PARTS;
        let more = |taken: usize| taken.checked_add(size).filter(|&sum| sum <= most);
        own.saturating_add(size) <= most / 2 && self.runs.fetch_update(Relaxed, Relaxed, more).is_ok()
    }

    fn give_back_of_run(&self, size: usize) {
        self.runs.fetch_sub(size, Relaxed);
    }

    /// Makes the large run one of `size` bytes, which was one of `own`; there is none where that is 0.
    fn take_for_large_run(&self, own: usize, size: usize) -> bool {
        size <= self.limit && self.large.compare_exchange(own, size, Relaxed, Relaxed).is_ok()
    }

    fn give_back_of_large_run(&self) {
        self.large.store(0, Relaxed);
    }
}

impl Default for Memory {
    /// Returns one without a bound.
    fn default() -> Self {
        Self::new(usize::MAX / 2, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_taken_than_there_is_however_many_take_at_once() {
        let memory = Memory::new(4_000, 0);
        std::thread::scope(|scope| {
            for size in [1, 7, 300, 501] {
                let memory = &memory;
                scope.spawn(move || {
                    for _ in 0..20_000 {
                        if memory.take(size) {
                            assert!(memory.taken() <= 766);
                            memory.give_back(size);
                        }
                    }
                });
            }
        });
        assert_eq!(memory.taken(), 0);
    }

    #[test]
    fn sums_that_are_too_large_for_a_number_are_refused() {
        let memory = Memory::new(usize::MAX, 0);
        assert!(memory.take(10) && !memory.take(usize::MAX));
        assert!(memory.take_for_run(0, 10) && !memory.take_for_run(10, usize::MAX));
        assert!(memory.take_for_run(0, usize::MAX / 8) && !memory.take_for_run(0, usize::MAX / 4));
    }

    #[test]
    fn runs_and_calls_take_nothing_of_each_others() {
        let memory = Memory::new(4_000, 0);
        assert!(memory.take_for_run(0, 500) && memory.take_for_run(0, 500) && !memory.take_for_run(0, 1));
        assert!(memory.take(766) && !memory.take(1));
        memory.give_back_of_run(500);
        assert!(!memory.take(1) && memory.take_for_run(0, 100) && memory.taken() == 1_366);
    }

    #[test]
    fn one_run_at_a_time_may_be_as_large_as_the_budget_and_leaves_the_others_theirs() {
        let memory = Memory::new(4_000, 0);
        assert!(
            !memory.take_for_run(0, 501) && memory.take_for_large_run(0, 501) && memory.take_for_large_run(501, 4_000)
        );
        assert!(!memory.take_for_large_run(0, 501) && !memory.take_for_large_run(4_000, 4_001));
        assert!(memory.take_for_run(0, 500) && memory.take_for_run(0, 500));
        memory.give_back_of_large_run();
        assert!(memory.take_for_large_run(0, 501));
    }
}
