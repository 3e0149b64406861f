//! Durations in buckets that are at most 1 % wide, so that percentiles are that exact and a run takes no memory.

use std::time::Duration;

/// Below this, each nanosecond would have a bucket; above it, each doubling has half as many.
const LINEAR: u64 = 256;
const HALF: usize = (LINEAR / 2) as usize;
/// For durations up to 2^63 ns.
const BUCKETS: usize = LINEAR as usize + HALF * 56;

#[derive(Debug, Clone)]
pub struct Histogram {
    counts: Vec<u64>,
    count: u64,
    sum_ns: u128,
    most_ns: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram { counts: vec![0; BUCKETS], count: 0, sum_ns: 0, most_ns: 0 }
    }
}

impl Histogram {
    pub fn add(&mut self, duration: Duration) {
        let ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX).min(i64::MAX as u64);
        self.counts[place(ns)] += 1;
        self.count += 1;
        self.sum_ns += u128::from(ns);
        self.most_ns = self.most_ns.max(ns);
    }

    pub fn merge(&mut self, other: &Histogram) {
        for (own, more) in self.counts.iter_mut().zip(&other.counts) {
            *own += more;
        }
        self.count += other.count;
        self.sum_ns += other.sum_ns;
        self.most_ns = self.most_ns.max(other.most_ns);
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    /// The mean in microseconds; 0 without any.
    pub fn mean_us(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.sum_ns as f64 / self.count as f64 / 1e3 }
    }

    pub fn most_us(&self) -> f64 {
        self.most_ns as f64 / 1e3
    }

    /// The duration in microseconds that `percent` of all do not exceed: its bucket's upper end; 0 without any.
    pub fn percentile_us(&self, percent: f64) -> f64 {
        let wanted = ((percent / 100.0 * self.count as f64).ceil() as u64).max(1);
        let mut seen = 0;
        for (place, count) in self.counts.iter().enumerate() {
            seen += count;
            if *count > 0 && seen >= wanted {
                return end(place).min(self.most_ns) as f64 / 1e3;
            }
        }
        0.0
    }
}

fn place(ns: u64) -> usize {
    if ns < LINEAR {
        return ns as usize;
    }
    let shift = 64 - ns.leading_zeros() as usize - LINEAR.trailing_zeros() as usize;
    LINEAR as usize + (shift - 1) * HALF + (ns >> shift) as usize - HALF
}

/// The greatest duration in a bucket.
fn end(place: usize) -> u64 {
    if place < LINEAR as usize {
        return place as u64;
    }
    let shift = (place - LINEAR as usize) / HALF + 1;
    let step = (place - LINEAR as usize) % HALF + HALF;
    ((step as u64 + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_duration_is_in_a_bucket_that_ends_at_most_1_percent_later() {
        let mut ns = 1_u64;
        let mut last = 0;
        while ns < 1 << 62 {
            for near in [ns - 1, ns, ns + 1] {
                let found = place(near);
                assert!(found >= last, "{near}");
                assert!(end(found) >= near && end(found) - near <= near / 100 + 1, "{near}: {}", end(found));
                last = found;
            }
            ns = ns / 13 * 17 + ns % 13 + 3;
        }
        assert!(place(i64::MAX as u64) < BUCKETS);
    }

    #[test]
    fn percentiles_are_of_all_that_were_added() {
        let (mut one, mut other) = (Histogram::default(), Histogram::default());
        for us in 1..=1000 {
            if us % 2 == 0 { &mut one } else { &mut other }.add(Duration::from_micros(us));
        }
        one.merge(&other);
        assert_eq!((one.count(), one.most_us()), (1000, 1000.0));
        for (percent, us) in [(50.0, 500.0), (99.0, 990.0), (100.0, 1000.0), (0.0, 1.0)] {
            let found = one.percentile_us(percent);
            assert!((us..=us * 1.01).contains(&found), "{percent}: {found}");
        }
        assert!((one.mean_us() - 500.5).abs() < 1e-9);
        assert_eq!(Histogram::default().percentile_us(99.0), 0.0);
    }
}
