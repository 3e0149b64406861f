//! How much memory a run takes, learnt from the runs.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// What runs of one version take for each row, at the most that was seen. Shared by all threads that run it.
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
        if a_row > self.a_row.load(Relaxed) {
            self.a_row.fetch_max(a_row, Relaxed);
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
    fn the_most_that_was_seen_of_a_row_is_what_the_next_takes() {
        let need = Need::default();
        assert_eq!((need.of(1_000), need.rows_in(1)), (0, u64::MAX));
        need.observe(10, 1_001);
        need.observe(5, 10);
        need.observe(0, 50);
        assert_eq!((need.of(0), need.of(3), need.of(u64::MAX)), (101, 303, usize::MAX));
        assert_eq!((need.rows_in(1_000), need.rows_in(1)), (9, 1));
    }
}
