//! The ends of requests and of runs, kept in order until Python takes them.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::tally::{Bounds, Tallies};
use crate::batch::Ns;
use crate::decide::Decision;

/// The code of a request that was answered.
pub const OK: &str = "OK";
/// The code of a request whose caller went before it was answered.
pub const CANCELLED: &str = "CANCELLED";

/// How many records may wait for Python before it has to serve by itself: it must not fall behind without end.
const MOST_WAITING: usize = 1 << 18;

/// Where one request's time went, in nanoseconds; `vocabulary.record.Timing`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timing {
    pub queue: Ns,
    pub input: Ns,
    pub infer: Ns,
    pub output: Ns,
    /// Rows in the batch that the request ran in; 0 when it did not run.
    pub rows: u64,
    /// When the run began, on the plane's clock; 0 when it did not.
    pub started: Ns,
}

/// The call that a request came in by, and what its caller was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    pub method: &'static str,
    /// A reason, or `OK`. Other than the record's code where a model's answer was none to the call.
    pub code: &'static str,
}

/// One request's end; see `vocabulary.record.Record`.
#[derive(Clone, Debug)]
pub struct Record {
    /// Nanoseconds since the epoch.
    pub arrived: u64,
    pub took: Ns,
    pub code: &'static str,
    pub call: Told,
    pub decision: Arc<Decision>,
    pub unit: String,
    /// The caller's; where it is empty, one is made of the boot and the number.
    pub request_id: String,
    pub rows: u64,
    pub timing: Option<Timing>,
    pub traceparent: String,
    /// For the log, of a model that failed; empty for all others.
    pub problem: String,
}

/// One run of a graph.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// The servable's number.
    pub servable: u64,
    pub rows: u64,
    /// What its run time grows with.
    pub size: u64,
    pub input: Ns,
    pub infer: Ns,
    pub output: Ns,
    pub failed: bool,
}

/// What has ended since somebody last asked.
#[derive(Debug, Default)]
pub struct Ended {
    pub tallies: Tallies,
    /// With their numbers, ascending; none where nobody keeps records.
    pub records: Vec<(u64, Record)>,
}

#[derive(Default)]
struct State {
    next: u64,
    ended: Ended,
}

/// Numbers the ends of this process's requests, whichever plane served them, and counts and keeps the native ones.
///
/// A number is given and its record kept in one step, so that readers who take them in order get them in order.
pub struct Ledger {
    bounds: Bounds,
    /// Whether somebody wants the records themselves, and not only what they come to.
    keeps: bool,
    state: Mutex<State>,
    full: AtomicBool,
}

impl Ledger {
    /// Makes an empty ledger.
    pub fn new(bounds: Bounds, keeps: bool) -> Self {
        Self { bounds, keeps, state: Mutex::default(), full: AtomicBool::new(false) }
    }

    /// Takes a request's end; returns its number.
    pub fn record(&self, record: Record) -> u64 {
        let mut state = self.lock();
        let number = state.next;
        state.next += 1;
        state.ended.tallies.ended(&record, &self.bounds);
        if self.keeps || !record.problem.is_empty() {
            state.ended.records.push((number, record));
            if state.ended.records.len() >= MOST_WAITING {
                self.full.store(true, Relaxed);
            }
        }
        number
    }

    /// Takes a run.
    pub fn ran(&self, run: &Run) {
        self.lock().ended.tallies.ran(run, &self.bounds);
    }

    /// Returns what has ended since this or `number` was asked, in order.
    pub fn take(&self) -> Ended {
        self.empty(&mut self.lock())
    }

    /// Returns likewise, and the number of the next end, for a request that the other plane served.
    pub fn number(&self) -> (Ended, u64) {
        let mut state = self.lock();
        let number = state.next;
        state.next += 1;
        (self.empty(&mut state), number)
    }

    /// Says whether so many records wait that no more should come.
    pub fn is_full(&self) -> bool {
        self.full.load(Relaxed)
    }

    fn empty(&self, state: &mut State) -> Ended {
        self.full.store(false, Relaxed);
        std::mem::take(&mut state.ended)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
