//! Requests and runs that ended alike, counted: what metrics and statistics need of them, without one value each.

use std::collections::HashMap;
use std::sync::Arc;

use super::record::{OK, Record, Run, Told};
use crate::batch::Ns;
use crate::batch::shares::Id;
use crate::decide::Decision;

/// Inclusive upper bounds of buckets, in nanoseconds, as `instruments` has them.
#[derive(Clone, Debug, Default)]
pub struct Bounds {
    /// Of whole requests.
    pub request: Arc<[Ns]>,
    /// Of waits and of runs of a graph.
    pub run: Arc<[Ns]>,
}

/// Durations, counted into buckets.
#[derive(Clone, Debug)]
pub struct Histogram {
    bounds: Arc<[Ns]>,
    /// One more than there are bounds.
    pub counts: Vec<u64>,
    pub sum: Ns,
}

impl Histogram {
    fn new(bounds: &Arc<[Ns]>) -> Self {
        Self { bounds: bounds.clone(), counts: vec![0; bounds.len() + 1], sum: 0 }
    }

    fn add(&mut self, value: Ns) {
        self.counts[self.bounds.partition_point(|&bound| bound < value)] += 1;
        self.sum += value;
    }
}

/// Requests of one decision that came in by one method, and ended with one code.
#[derive(Clone, Debug)]
pub struct Requests {
    pub decision: Arc<Decision>,
    pub code: &'static str,
    pub call: Told,
    pub took: Histogram,
    /// How long those waited that ran.
    pub queue: Histogram,
    /// Rows that they brought.
    pub rows: u64,
    /// When the last of them ended, in nanoseconds since the epoch.
    pub last: u64,
    /// Of those that were answered, in nanoseconds in all.
    pub queue_ns: Ns,
    pub input_ns: Ns,
    pub infer_ns: Ns,
    pub output_ns: Ns,
}

/// Runs of one version with so many rows, of one size, that all gave something or all failed.
#[derive(Clone, Debug)]
pub struct Runs {
    pub infer: Histogram,
    pub best: Ns,
    pub input_ns: Ns,
    pub output_ns: Ns,
}

/// A version, rows, a size, and whether it failed.
pub type RunKey = (Id, u64, u64, bool);

/// What has ended since somebody last asked.
#[derive(Debug, Default)]
pub struct Tallies {
    requests: Vec<Requests>,
    /// Where those stand that are alike.
    places: HashMap<[usize; 4], usize>,
    runs: HashMap<RunKey, Runs>,
}

impl Tallies {
    /// Counts a request's end; returns its place among those that are not alike.
    pub fn ended(&mut self, record: &Record<'_>, bounds: &Bounds) -> usize {
        // By where they lie, since all of these are one object for what is alike.
        let texts = [record.code, record.call.method, record.call.code].map(|text| text.as_ptr() as usize);
        let key = [Arc::as_ptr(record.decision) as usize, texts[0], texts[1], texts[2]];
        let requests = &mut self.requests;
        let place = *self.places.entry(key).or_insert_with(|| {
            requests.push(Requests {
                decision: record.decision.clone(),
                code: record.code,
                call: record.call,
                took: Histogram::new(&bounds.request),
                queue: Histogram::new(&bounds.run),
                rows: 0,
                last: 0,
                queue_ns: 0,
                input_ns: 0,
                infer_ns: 0,
                output_ns: 0,
            });
            requests.len() - 1
        });
        let tally = &mut requests[place];
        tally.took.add(record.took);
        tally.rows += record.rows;
        tally.last = tally.last.max(record.arrived + record.took);
        let Some(timing) = record.timing else { return place };
        if timing.started > 0 {
            tally.queue.add(timing.queue);
        }
        if record.code == OK {
            tally.queue_ns += timing.queue;
            tally.input_ns += timing.input;
            tally.infer_ns += timing.infer;
            tally.output_ns += timing.output;
        }
        place
    }

    /// Counts a run.
    pub fn ran(&mut self, run: &Run, bounds: &Bounds) {
        let key = (run.servable, run.rows, run.size, run.failed);
        let tally = self.runs.entry(key).or_insert_with(|| Runs {
            infer: Histogram::new(&bounds.run),
            best: Ns::MAX,
            input_ns: 0,
            output_ns: 0,
        });
        tally.infer.add(run.infer);
        tally.best = tally.best.min(run.infer);
        tally.input_ns += run.input;
        tally.output_ns += run.output;
    }

    /// Yields the requests.
    pub fn requests(&self) -> impl Iterator<Item = &Requests> {
        self.requests.iter()
    }

    /// Yields the runs.
    pub fn runs(&self) -> impl Iterator<Item = (&RunKey, &Runs)> {
        self.runs.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_inclusive_and_the_last_bucket_is_open() {
        let mut histogram = Histogram::new(&Arc::from([10, 20]));
        [0, 10, 11, 20, 21, 1000].into_iter().for_each(|value| histogram.add(value));
        assert_eq!((histogram.counts, histogram.sum), (vec![2, 2, 2], 1062));
    }

    #[test]
    fn runs_that_are_alike_are_one_tally() {
        let bounds = Bounds { request: Arc::from([10]), run: Arc::from([10]) };
        let run = Run { servable: 1, rows: 2, size: 2, input: 1, infer: 8, output: 1, failed: false };
        let mut tallies = Tallies::default();
        for each in [run, Run { infer: 4, ..run }, Run { rows: 3, ..run }, Run { failed: true, ..run }] {
            tallies.ran(&each, &bounds);
        }
        let pair = tallies.runs().find(|(key, _)| **key == (1, 2, 2, false)).map(|(_, runs)| runs).unwrap();
        assert_eq!((tallies.runs().count(), pair.infer.sum, pair.best, pair.input_ns), (3, 12, 4, 2));
    }
}
