//! How much memory a run takes, learnt from the runs.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// What a dear run is forgotten by with each that takes less.
const FORGOTTEN: usize = 64;

/// What runs of one version take: something whatever their size and, at the most that was seen of late, so much for each of
/// it. A size is a number of rows, or what stands for it. Shared by all threads that run it. Values count as well as sizes, so
/// that one run says little of the next: by this, batches are bounded, and nobody is refused.
#[derive(Debug, Default)]
pub struct Need {
    fixed: usize,
    each: AtomicUsize,
}

impl Need {
    /// Begins with runs that were measured: (size, bytes).
    pub fn new(measured: &[(u64, usize)]) -> Self {
        let ends = || Some((measured.iter().min_by_key(|run| run.0)?, measured.iter().max_by_key(|run| run.0)?));
        let Some((least, most)) = ends() else { return Self::default() };
        let more = if most.0 > least.0 { most.1.saturating_sub(least.1) / length(most.0 - least.0) } else { least.1 };
        let fixed = least.1.saturating_sub(more.saturating_mul(length(least.0)));
        let need = Self { fixed, each: AtomicUsize::new(0) };
        measured.iter().for_each(|&(size, nbytes)| need.observe(size, nbytes));
        need
    }

    /// Returns what a run of so large a size should take, in bytes.
    pub fn of(&self, size: u64) -> usize {
        self.fixed.saturating_add(length(size).saturating_mul(self.each.load(Relaxed)))
    }

    /// Learns what one took.
    pub fn observe(&self, size: u64, nbytes: usize) {
        let each = nbytes.saturating_sub(self.fixed).div_ceil(length(size));
        let known = self.each.load(Relaxed);
        if each > known {
            self.each.fetch_max(each, Relaxed);
        } else if known - each >= FORGOTTEN {
            self.each.store(known - (known - each) / FORGOTTEN, Relaxed); // of two at once one is enough
        }
    }

    /// Returns what size fits so many bytes, at least one.
    pub fn size_in(&self, nbytes: usize) -> u64 {
        let size = nbytes.saturating_sub(self.fixed).checked_div(self.each.load(Relaxed));
        size.map_or(u64::MAX, |size| size.max(1) as u64)
    }
}

fn length(size: u64) -> usize {
    usize::try_from(size.max(1)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_that_was_seen_of_late_is_what_the_next_takes_and_is_forgotten_in_time() {
        let need = Need::default();
        assert_eq!((need.of(1_000), need.size_in(1)), (0, u64::MAX));
        need.observe(10, 100_001);
        assert_eq!((need.of(0), need.of(3), need.of(u64::MAX)), (10_001, 30_003, usize::MAX));
        assert_eq!((need.size_in(100_000), need.size_in(1)), (9, 1));
        (0..1_000).for_each(|_| need.observe(5, 50));
        assert!(need.of(1) < 10 + FORGOTTEN);
    }

    #[test]
    fn what_a_run_takes_whatever_its_size_is_no_rows_own() {
        let need = Need::new(&[(64, 1_006_400), (1, 1_000_100)]);
        assert_eq!((need.of(1), need.of(64), need.of(1_000)), (1_000_100, 1_006_400, 1_100_000));
        assert_eq!(need.size_in(2_000_000), 10_000);
        need.observe(1, 1_000_200);
        assert_eq!(need.of(10), 1_002_000);
        let lone = Need::new(&[(1, 500)]);
        assert_eq!((lone.of(1), lone.of(3)), (500, 1_500));
        let odd = Need::new(&[(1, 500), (64, 400)]);
        assert_eq!((odd.of(1), odd.of(64)), (500, 500));
    }
}
