//! How much memory a run takes, learnt from the runs.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// What a dear run is forgotten by with each that takes less.
const FORGOTTEN: usize = 64;

/// What runs of one version take for each row, at the most that was seen of late. Shared by all threads that run it. Rows
/// may be of any length, so that one says little of the next: with this, batches are bounded, and nobody is refused.
#[derive(Debug, Default)]
pub struct Need {
    a_row: AtomicUsize,
}

impl Need {
    /// Returns what a run of so many rows should take beside its inputs, in bytes.
    pub fn of(&self, rows: u64) -> usize {
        usize::try_from(rows.max(1)).unwrap_or(usize::MAX).saturating_mul(self.a_row.load(Relaxed))
    }

    /// Learns what one took.
    pub fn observe(&self, rows: u64, nbytes: usize) {
        let a_row = nbytes.div_ceil(usize::try_from(rows.max(1)).unwrap_or(usize::MAX));
        let known = self.a_row.load(Relaxed);
        if a_row > known {
            self.a_row.fetch_max(a_row, Relaxed);
        } else if known - a_row >= FORGOTTEN {
            self.a_row.store(known - (known - a_row) / FORGOTTEN, Relaxed); // of two at once one is enough
        }
    }

    /// Returns how many rows fit so many bytes, at least one.
    pub fn rows_in(&self, nbytes: usize) -> u64 {
        let rows = nbytes.checked_div(self.a_row.load(Relaxed));
        rows.map_or(u64::MAX, |rows| rows.max(1) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_that_was_seen_of_a_row_is_what_the_next_takes_and_is_forgotten_in_time() {
        let need = Need::default();
        assert_eq!((need.of(1_000), need.rows_in(1)), (0, u64::MAX));
        need.observe(10, 100_001);
        assert_eq!((need.of(0), need.of(3), need.of(u64::MAX)), (10_001, 30_003, usize::MAX));
        assert_eq!((need.rows_in(100_000), need.rows_in(1)), (9, 1));
        (0..1_000).for_each(|_| need.observe(5, 50));
        assert!(need.of(1) < 10 + FORGOTTEN);
    }
}
