//! What one run takes of the budget: what it is thought to need at first, and more as it does.

use std::sync::Arc;

use super::Memory;

/// What a run may take without a word: there are as many runs at once as threads, and no more.
const FREELY: usize = 64 * 1024;
/// It asks for more than it needs by a part of what it has, so that it seldom asks.
const AHEAD: usize = 4;

/// What a run takes, as long as this lives.
#[derive(Debug)]
pub struct Running {
    memory: Arc<Memory>,
    /// What its inputs take, which were there before it.
    inputs: usize,
    /// What of all that was taken.
    size: usize,
    large: bool,
}

impl Running {
    /// Takes what a run needs, as estimated, beside its inputs; None where not even those are there now.
    ///
    /// An estimate refuses nobody: one run whose values wanted much makes that of all later ones. Where as much is not
    /// there the run begins with less, and shows.
    pub fn new(memory: &Arc<Memory>, inputs: usize, need: usize) -> Option<Self> {
        let mut running = Self { memory: memory.clone(), inputs, size: 0, large: false };
        let all = inputs.saturating_add(need).min(memory.limit());
        let begun = all <= FREELY || running.share(all) || inputs <= FREELY || running.share(inputs);
        (begun || running.be_large(inputs)).then_some(running)
    }

    /// Returns how many bytes it may take beside its inputs.
    pub fn granted(&self) -> usize {
        self.size.max(FREELY).saturating_sub(self.inputs)
    }

    /// Makes it so many bytes beside its inputs, or somewhat more.
    ///
    /// Returns how many there are then; None where so many are not there.
    pub fn grow_to(&mut self, size: usize) -> Option<usize> {
        let least = self.inputs.checked_add(size)?;
        let ample = least.checked_add(least / AHEAD)?;
        let grown = self.share(ample) || self.share(least) || self.be_large(ample) || self.be_large(least);
        grown.then(|| self.granted())
    }

    /// Takes so many bytes in all of what runs share.
    fn share(&mut self, size: usize) -> bool {
        let shared = !self.large && self.memory.take_for_run(self.size, size.saturating_sub(self.size));
        if shared {
            self.size = size.max(self.size);
        }
        shared
    }

    /// Becomes, or stays, the one that takes more.
    fn be_large(&mut self, size: usize) -> bool {
        let own = if self.large { self.size } else { 0 };
        if size == 0 || !self.memory.take_for_large_run(own, size) {
            return false;
        }
        let before = std::mem::replace(&mut self.size, size);
        if !std::mem::replace(&mut self.large, true) {
            self.memory.give_back_of_run(before);
        }
        true
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.large {
            self.memory.give_back_of_large_run();
        } else {
            self.memory.give_back_of_run(self.size);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn memory() -> Arc<Memory> {
        Arc::new(Memory::new(64 * MIB, 0))
    }

    #[test]
    fn what_is_little_is_not_counted_and_what_is_more_is() {
        let memory = memory();
        let mut run = Running::new(&memory, 1_000, 2_000).unwrap();
        assert_eq!((run.granted(), memory.taken()), (FREELY - 1_000, 0));
        assert_eq!(run.grow_to(99_000), Some(124_000));
        assert_eq!(memory.taken(), 125_000);
        drop(run);
        assert_eq!(memory.taken(), 0);
    }

    #[test]
    fn many_share_their_part_and_only_one_is_larger_than_half_of_it() {
        let memory = memory();
        let (one, mut other) = (Running::new(&memory, 0, 8 * MIB).unwrap(), Running::new(&memory, 0, 7 * MIB).unwrap());
        assert_eq!(other.grow_to(8 * MIB), Some(8 * MIB)); // no more ahead than there is
        assert_eq!(other.grow_to(10 * MIB), Some(10 * MIB + 10 * MIB / 4));
        assert_eq!(Running::new(&memory, 0, 9 * MIB).unwrap().grow_to(9 * MIB), None);
        assert!(Running::new(&memory, 9 * MIB, 0).is_none() && Running::new(&memory, 8 * MIB, 0).is_some());
        assert_eq!(other.grow_to(64 * MIB), Some(64 * MIB));
        assert_eq!(other.grow_to(64 * MIB + 1), None);
        assert_eq!(memory.taken(), 72 * MIB);
        drop(other);
        assert!(Running::new(&memory, 9 * MIB, 0).is_some());
        drop(one);
        assert_eq!(memory.taken(), 0);
    }

    #[test]
    fn an_estimate_beyond_all_that_there_is_refuses_nobody_and_takes_no_place() {
        let memory = memory();
        let mut runs = [(); 3].map(|()| Running::new(&memory, MIB, usize::MAX).unwrap());
        assert_eq!(memory.taken(), 3 * MIB);
        assert_eq!(runs[0].grow_to(40 * MIB), Some(40 * MIB + 41 * MIB / 4));
        assert_eq!((runs[1].grow_to(40 * MIB), runs[1].grow_to(MIB)), (None, Some(3 * MIB / 2)));
    }
}
