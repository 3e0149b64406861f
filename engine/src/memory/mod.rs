//! One budget in bytes for all that callers make the process hold: calls, requests, what is made of them, runs, answers.
//!
//! A fourth of it is for connections themselves, of which there are no more than fit. A fourth is theirs for what calls hold: each
//! has its part of that whatever the others do, so that who holds little is never refused. For a fourth they compete: a
//! connection may hold only as much of it as is then still free, and those that hold the most are refused first. A fourth is
//! for runs. Nothing has to be set by connection.

mod account;
mod loan;
mod need;
mod purse;

pub use account::{Account, Held};
pub use loan::{Loan, Running};
pub use need::Need;
pub use purse::Purse;

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// What connections and runs have for themselves: one part each of so many.
const PARTS: usize = 4;

/// The budget: how much there is, and how much of it is taken. Shared by all threads.
#[derive(Debug)]
pub struct Memory {
    limit: usize,
    /// What each connection may hold whatever the others do.
    own: usize,
    /// By calls, and by runs.
    calls: AtomicUsize,
    runs: AtomicUsize,
}

impl Memory {
    /// Begins with `limit` bytes, all free, for so many connections at the most.
    pub fn new(limit: usize, connections: usize) -> Self {
        let own = (limit / PARTS).checked_div(connections).unwrap_or(0);
        Self { limit, own, calls: AtomicUsize::new(0), runs: AtomicUsize::new(0) }
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
        self.calls.load(Relaxed) + self.runs.load(Relaxed)
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

    /// Takes bytes for calls, if they are there.
    fn take(&self, size: usize) -> bool {
        let most = self.for_calls();
        let more = |taken: usize| taken.checked_add(size).filter(|&sum| sum <= most);
        self.calls.fetch_update(Relaxed, Relaxed, more).is_ok()
    }

    fn give_back(&self, size: usize) {
        self.calls.fetch_sub(size, Relaxed);
    }

    /// Takes bytes for a run, if they are there, or if no other run has any: how much one takes is an estimate, and what is
    /// alone is not refused by that.
    fn take_for_run(&self, size: usize) -> bool {
        let most = self.limit / PARTS;
        let more = |taken: usize| taken.checked_add(size).filter(|&sum| taken == 0 || sum <= most);
        self.runs.fetch_update(Relaxed, Relaxed, more).is_ok()
    }

    fn give_back_of_run(&self, size: usize) {
        self.runs.fetch_sub(size, Relaxed);
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
                            assert!(memory.taken() <= 1_000);
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
        assert!(memory.take_for_run(10) && !memory.take_for_run(usize::MAX));
    }

    #[test]
    fn runs_and_calls_take_nothing_of_each_others() {
        let memory = Memory::new(4_000, 0);
        assert!(memory.take_for_run(1_000) && !memory.take_for_run(1) && memory.take(1_000) && !memory.take(1));
        memory.give_back_of_run(1_000);
        assert!(!memory.take(1) && memory.take_for_run(500) && memory.taken() == 1_500);
    }

    #[test]
    fn a_run_alone_is_not_refused_whatever_it_is_thought_to_take() {
        let memory = Memory::new(4_000, 0);
        assert!(memory.take_for_run(9_000) && !memory.take_for_run(1));
        memory.give_back_of_run(9_000);
        assert!(memory.take_for_run(1) && !memory.take_for_run(1_000));
    }
}
