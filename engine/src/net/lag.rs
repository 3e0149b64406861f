//! How late a reactor is: what a client waits before anything of its is looked at.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// How often it is measured.
const EVERY: Duration = Duration::from_millis(50);
/// Upper bounds of all buckets but the last, in milliseconds. The twin is in `turnout_server/instruments/transport.py`.
const BOUNDS: [u64; 9] = [1, 2, 5, 10, 20, 50, 100, 200, 500];
const NAMES: [&str; BOUNDS.len() + 1] =
    ["lag.0", "lag.1", "lag.2", "lag.3", "lag.4", "lag.5", "lag.6", "lag.7", "lag.8", "lag.9"];

/// How late all reactors were, in buckets.
#[derive(Debug, Default)]
pub struct Lag {
    counts: [AtomicU64; NAMES.len()],
    nanoseconds: AtomicU64,
}

impl Lag {
    /// Measures how late this thread's reactor is, for ever. Timers go by whole milliseconds, upwards: up to one is in the
    /// figures.
    pub async fn watch(self: Arc<Self>) {
        loop {
            let due = Instant::now() + EVERY;
            sleep_until(due).await;
            self.add(due.elapsed());
        }
    }

    fn add(&self, late: Duration) {
        let bucket = BOUNDS.partition_point(|&bound| Duration::from_millis(bound) < late);
        self.counts[bucket].fetch_add(1, Relaxed);
        self.nanoseconds.fetch_add(late.as_nanos() as u64, Relaxed);
    }

    /// Returns each bucket's number by its name, and the sum of all in nanoseconds.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let counts = NAMES.iter().zip(&self.counts).map(|(&name, count)| (name, count.load(Relaxed)));
        counts.chain([("lag.sum", self.nanoseconds.load(Relaxed))])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        let lag = Lag::default();
        for late in [0, 1_000, 1_001, 20_000, 20_001, 500_000, 500_001] {
            lag.add(Duration::from_micros(late));
        }
        let counted: Vec<_> = lag.all().filter(|&(_, count)| count > 0).collect();
        let buckets = [("lag.0", 2), ("lag.1", 1), ("lag.4", 1), ("lag.5", 1), ("lag.8", 1), ("lag.9", 1)];
        assert_eq!(counted, [&buckets[..], &[("lag.sum", 1_042_003_000)]].concat());
    }

    #[tokio::test(start_paused = true)]
    async fn a_reactor_that_does_nothing_else_is_not_late() {
        let lag = Arc::new(Lag::default());
        tokio::select! {
            () = lag.clone().watch() => {},
            () = tokio::time::sleep(EVERY * 100) => {},
        }
        assert!(lag.all().next().is_some_and(|(_, count)| count >= 50));
    }
}
