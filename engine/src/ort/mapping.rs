//! What large blocks lie in: memory that the system gives for each, and of which some is kept when a block is freed.
//!
//! The C library keeps what was freed by thread, and in pieces: a batch's threads together had twice resident of what they had
//! taken. To map each block anew costs more than a run does with it, as the system clears every page. So what is freed is
//! kept for the next, by whatever thread, up to a bound; the rest goes back at once.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use memmap2::{MmapMut, MmapOptions};

/// Lengths are this many to a doubling, so that runs of about as many rows find each other's.
const STEPS: usize = 8;

/// What is kept where nobody says how much, in bytes.
const MOST: usize = 16 * 1024 * 1024;

static KEPT: Kept = Kept::up_to(MOST);

/// Memory that nobody uses, the longest kept first.
pub(super) struct Kept {
    most: AtomicUsize,
    free: Mutex<VecDeque<MmapMut>>,
}

impl Kept {
    const fn up_to(most: usize) -> Self {
        Self { most: AtomicUsize::new(most), free: Mutex::new(VecDeque::new()) }
    }

    fn take(&self, length: usize) -> Option<MmapMut> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let index = free.iter().rposition(|one| one.len() == length)?; // the last has been in a cache most lately
        free.remove(index)
    }

    fn give_back(&self, mapping: MmapMut) {
        let most = self.most.load(Relaxed);
        if mapping.len() > most {
            return;
        }
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.push_back(mapping);
        let (mut sum, mut gone) = (free.iter().map(|one| one.len()).sum::<usize>(), Vec::new());
        while sum > most
            && let Some(longest_kept) = free.pop_front()
        {
            sum -= longest_kept.len();
            gone.push(longest_kept);
        }
        drop(free);
        drop(gone); // the system takes its time
    }

    fn empty(&self) {
        let gone = std::mem::take(&mut *self.free.lock().unwrap_or_else(PoisonError::into_inner));
        drop(gone);
    }
}

/// Returns memory of at least `size` bytes, whatever is in it; None where the system has none.
pub(super) fn map(size: usize) -> Option<MmapMut> {
    let length = length_of(size)?;
    KEPT.take(length).or_else(|| MmapOptions::new().len(length).map_anon().ok())
}

/// Keeps memory for the next, or gives it back to the system.
pub(super) fn unmap(mapping: MmapMut) {
    KEPT.give_back(mapping);
}

/// Says how many bytes are kept at the most, from now on.
pub fn keep(most: usize) {
    KEPT.most.store(most, Relaxed);
    KEPT.empty();
}

/// Gives back to the system what is kept.
pub(super) fn release() {
    KEPT.empty();
}

fn length_of(size: usize) -> Option<usize> {
    size.checked_next_multiple_of((size.checked_next_power_of_two()? / 2 / STEPS).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn mapping(length: usize) -> MmapMut {
        MmapOptions::new().len(length).map_anon().unwrap()
    }

    #[test]
    fn a_length_is_no_less_than_asked_for_and_hardly_more() {
        assert_eq!(
            (length_of(MIB), length_of(MIB + 1), length_of(2 * MIB)),
            (Some(MIB), Some(MIB / 8 * 9), Some(2 * MIB))
        );
        for size in (1..5_000).map(|one| one * 4_099) {
            let length = length_of(size).unwrap();
            assert!((size..=size + size / STEPS).contains(&length), "{size} {length}");
        }
        assert_eq!((length_of(usize::MAX), map(usize::MAX / 2).is_none()), (None, true));
    }

    #[test]
    fn what_was_freed_last_is_taken_first_and_only_where_it_is_as_long() {
        let kept = Kept::up_to(10 * MIB);
        let (first, last) = (mapping(MIB), mapping(MIB));
        let found = last.as_ptr();
        [first, last, mapping(2 * MIB)].into_iter().for_each(|one| kept.give_back(one));
        assert!(kept.take(3 * MIB).is_none());
        assert_eq!(kept.take(MIB).unwrap().as_ptr(), found);
        assert!(kept.take(MIB).is_some() && kept.take(MIB).is_none() && kept.take(2 * MIB).is_some());
    }

    #[test]
    fn no_more_is_kept_than_may_be_and_the_longest_kept_goes() {
        let kept = Kept::up_to(4 * MIB);
        kept.give_back(mapping(5 * MIB));
        assert!(kept.take(5 * MIB).is_none());
        [MIB, 2 * MIB, MIB + 4096, 4096].into_iter().for_each(|length| kept.give_back(mapping(length)));
        assert!(kept.take(MIB).is_none());
        assert!(kept.take(2 * MIB).is_some() && kept.take(MIB + 4096).is_some() && kept.take(4096).is_some());
        kept.give_back(mapping(MIB));
        kept.empty();
        assert!(kept.take(MIB).is_none());
    }
}
