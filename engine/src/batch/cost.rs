//! How long a run of a given size takes, learnt from the runs. A size is a number of rows, or what stands for it.

use super::Ns;

const CLASSES: usize = 65;
const SMOOTHING: f64 = 0.1;
const DOUBT: f64 = 0.9;
/// After a run that was expected to be cheap and was not, its size class counts as dear for so many runs.
const BARRED_RUNS: u32 = 64;

/// Run times by size class: 1, 2-3, 4-7, 8-15 ... rows, each an exponentially weighted mean.
#[derive(Clone, Debug)]
pub struct CostModel {
    means: [Option<f64>; CLASSES],
    best: [Option<f64>; CLASSES],
    trust: [f64; CLASSES],
    barred: [u32; CLASSES],
}

impl CostModel {
    /// Starts from `measured`: (rows, nanoseconds). Where there is nothing, a run is taken to be dear.
    pub fn new(measured: &[(u64, Ns)]) -> Self {
        let mut means = [None; CLASSES];
        for &(rows, ns) in measured {
            means[class_of(rows)] = Some(ns as f64);
        }
        if measured.is_empty() {
            means[1] = Some(1e9);
        }
        Self { means, best: means, trust: [1.0; CLASSES], barred: [0; CLASSES] }
    }

    /// Returns the expected run time in nanoseconds.
    ///
    /// A size never seen takes what the nearest one does, and in proportion more where it is larger.
    pub fn estimate(&self, size: u64) -> f64 {
        let class = class_of(size);
        if let Some(known) = self.means[class] {
            return known;
        }
        let known = (0..CLASSES).filter(|&other| self.means[other].is_some());
        // Of two that are as near, the larger. Never in proportion less where the size is smaller: what a run costs
        // whatever its size would be left out.
        let nearest = known.min_by_key(|&other| (other.abs_diff(class), CLASSES - other)).unwrap_or(class);
        self.means[nearest].unwrap_or(1e9) * 2f64.powi(class.saturating_sub(nearest) as i32)
    }

    /// Says whether a run of `size` should take less than `below` nanoseconds, and none has lately kept a reactor too long.
    pub fn is_below(&self, size: u64, below: f64) -> bool {
        self.barred[class_of(size)] == 0 && self.estimate(size) < below
    }

    /// Returns what a run takes at the least, in nanoseconds; 0 where nothing is known.
    ///
    /// That is the shortest run so far of its size class or, where there was none, what any smaller class takes.
    pub fn least(&self, size: u64) -> f64 {
        let class = class_of(size);
        let best = self.best[class].unwrap_or_else(|| self.best[..class].iter().flatten().fold(0.0, |a, &b| a.max(b)));
        best * self.trust[class]
    }

    /// Relies less on `least`, by which a request was refused: it may be of one slow run, and only another shows.
    pub fn doubt(&mut self, size: u64) {
        self.trust[class_of(size)] *= DOUBT;
    }

    /// Learns from one run; `overran` says that it ran on a reactor and kept it for too long.
    ///
    /// Values count as well as shapes: a loop's number of turns is an input. So one such run bars its size class from
    /// the reactors for a while.
    pub fn observe(&mut self, size: u64, ns: Ns, overran: bool) {
        let class = class_of(size);
        let ns = ns as f64;
        self.means[class] = Some(self.estimate(size) * (1.0 - SMOOTHING) + ns * SMOOTHING);
        if self.best[class].is_none_or(|best| ns < best) {
            self.best[class] = Some(ns);
        }
        self.trust[class] = 1.0;
        self.barred[class] = if overran { BARRED_RUNS } else { self.barred[class].saturating_sub(1) };
    }
}

fn class_of(size: u64) -> usize {
    (u64::BITS - size.leading_zeros()) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_never_seen_takes_what_the_nearest_does_and_more_where_it_is_larger() {
        let costs = CostModel::new(&[(1, 100), (64, 1000)]);
        assert_eq!(costs.estimate(1), 100.0);
        assert_eq!(costs.estimate(2), 100.0 * 2.0);
        assert_eq!(costs.estimate(32), 1000.0);
        assert_eq!(costs.estimate(256), 4000.0);
    }

    #[test]
    fn runs_are_learnt_from_and_the_best_is_kept() {
        let mut costs = CostModel::new(&[(1, 100)]);
        costs.observe(1, 200, false);
        assert_eq!(costs.estimate(1), 110.0);
        assert_eq!(costs.least(1), 100.0);
        costs.observe(1, 50, false);
        assert_eq!(costs.least(1), 50.0);
        assert_eq!(costs.least(8), 50.0);
    }

    #[test]
    fn doubt_is_gone_after_the_next_run() {
        let mut costs = CostModel::new(&[(1, 100)]);
        costs.doubt(1);
        assert_eq!(costs.least(1), 90.0);
        costs.observe(1, 100, false);
        assert_eq!(costs.least(1), 100.0);
    }

    #[test]
    fn one_overrun_bars_a_size_from_the_reactor_for_a_while() {
        let mut costs = CostModel::new(&[(1, 100)]);
        assert!(costs.is_below(1, 1000.0));
        costs.observe(1, 5_000, true);
        for _ in 0..BARRED_RUNS {
            assert!(!costs.is_below(1, 1000.0));
            costs.observe(1, 100, false);
        }
        assert!(costs.is_below(1, 1000.0));
        assert!(costs.is_below(64, 1e9));
    }

    #[test]
    fn a_version_that_was_not_measured_is_dear() {
        assert!(!CostModel::new(&[]).is_below(1, 200_000.0));
    }
}
