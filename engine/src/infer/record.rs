//! The ends of requests and of runs, kept in order until Python takes them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::outlasting::Outlasting;
use super::tally::{Bounds, Tallies};
use crate::batch::Ns;
use crate::decide::Decision;
use crate::journal::{Page, Row};
use crate::spans::{Context, TraceId};

/// The code of a request that was answered.
pub const OK: &str = "OK";
/// The code of a request whose caller went before it was answered.
pub const CANCELLED: &str = "CANCELLED";

/// The code of a request that came upon a fault of ours.
pub const INTERNAL: &str = "INTERNAL";

/// How many records may wait for Python at once, however many a journal has room for.
const MOST_RECORDS: usize = 1 << 18;
/// How many models' failures may wait to be logged: one that fails always must not fill the memory, nor the log.
const MOST_PROBLEMS: usize = 256;

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
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Nanoseconds since the epoch.
    pub arrived: u64,
    pub took: Ns,
    pub code: &'static str,
    pub call: Told,
    pub decision: &'a Arc<Decision>,
    pub unit: &'a str,
    /// The caller's; where it is empty, one is made of the boot and the number.
    pub request_id: &'a str,
    pub rows: u64,
    pub timing: Option<Timing>,
    /// The caller's trace; zeros for none.
    pub trace: TraceId,
}

/// What a model that failed said of it, for the log.
#[derive(Clone, Debug)]
pub struct Problem {
    pub method: &'static str,
    pub code: &'static str,
    pub text: String,
    /// Whose it is.
    pub model: String,
    pub version: i64,
    /// The call's span, or its caller's.
    pub context: Option<Context>,
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
#[derive(Debug)]
pub struct Ended {
    pub tallies: Tallies,
    pub problems: Vec<Problem>,
    /// The records themselves; empty where nobody keeps them.
    pub page: Page,
}

struct State {
    next: u64,
    ended: Ended,
    /// Where `next` is to be found by others when this process has died.
    outlasting: Option<Outlasting>,
}

impl State {
    /// Gives a number. What a caller knows of, the count has: nobody is told before this.
    fn number(&mut self) -> u64 {
        let number = self.next;
        self.next += 1;
        if let Some(outlasting) = &mut self.outlasting {
            outlasting.store(self.next);
        }
        number
    }
}

/// Numbers the ends of this process's requests, whichever plane served them, and counts and keeps the native ones.
///
/// A number is given and its record kept in one step, so that readers who take them in order get them in order.
pub struct Ledger {
    bounds: Bounds,
    boot: Arc<str>,
    /// How many records may wait for Python. 0: nobody wants the records themselves, only what they come to.
    most: usize,
    state: Mutex<State>,
}

impl Ledger {
    /// Makes an empty ledger of the boot called so, which keeps at most so many records.
    pub fn new(bounds: Bounds, boot: &str, most: usize) -> Self {
        let boot: Arc<str> = boot.into();
        let state = Mutex::new(State { next: 0, ended: empty(&boot), outlasting: None });
        Self { bounds, boot, most: most.min(MOST_RECORDS), state }
    }

    /// Keeps the number of the next end there too from now on.
    pub fn outlast_in(&self, mut outlasting: Outlasting) {
        let mut state = self.lock();
        outlasting.store(state.next);
        state.outlasting = Some(outlasting);
    }

    /// Takes a request's end; returns its number.
    pub fn record(&self, record: &Record<'_>) -> u64 {
        let mut state = self.lock();
        let seq = state.number();
        let ended = &mut state.ended;
        let place = ended.tallies.ended(record, &self.bounds);
        if self.most == 0 {
            return seq;
        }
        if ended.page.len() == self.most {
            ended.page.lose(record.decision, record.unit);
            return seq;
        }
        let row = Row {
            seq,
            arrived: record.arrived,
            took: record.took,
            queue: record.timing.map(|timing| timing.queue),
            rows: record.rows,
            unit: record.unit,
            request_id: record.request_id,
            trace: record.trace,
        };
        ended.page.push(row, place, || (record.decision.clone(), record.code));
        seq
    }

    /// Takes what a model that failed said.
    pub fn failed(&self, problem: Problem) {
        let problems = &mut self.lock().ended.problems;
        if problems.len() < MOST_PROBLEMS {
            problems.push(problem);
        }
    }

    /// Takes a run.
    pub fn ran(&self, run: &Run) {
        self.lock().ended.tallies.ran(run, &self.bounds);
    }

    /// Returns what has ended since this or `number` was asked, in order.
    pub fn take(&self) -> Ended {
        self.emptied(&mut self.lock())
    }

    /// Returns likewise, and the number of the next end, for a request that the other plane served.
    pub fn number(&self) -> (Ended, u64) {
        let mut state = self.lock();
        let number = state.number();
        (self.emptied(&mut state), number)
    }

    fn emptied(&self, state: &mut State) -> Ended {
        std::mem::replace(&mut state.ended, empty(&self.boot))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn empty(boot: &Arc<str>) -> Ended {
    Ended { tallies: Tallies::default(), problems: Vec::new(), page: Page::new(boot.clone()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::Reason;

    fn ledger(most: usize) -> Ledger {
        Ledger::new(Bounds { request: Arc::from([10]), run: Arc::from([10]) }, "b", most)
    }

    fn end(ledger: &Ledger, codes: &[&'static str]) -> Vec<u64> {
        let decision = Arc::new(Decision::outright("m", 1, Reason::Named));
        let end = |&code| {
            let (decision, trace) = (&decision, [0; 16]);
            let (timing, call) = (None, Told { method: "m", code });
            ledger.record(&Record {
                arrived: 5,
                took: 1,
                code,
                call,
                decision,
                unit: "u",
                request_id: "",
                rows: 1,
                timing,
                trace,
            })
        };
        codes.iter().map(end).collect()
    }

    #[test]
    fn records_are_numbered_whoever_serves_and_kept_in_order() {
        let ledger = ledger(10);
        assert_eq!(end(&ledger, &["OK", "QUEUE_FULL", "OK"]), [0, 1, 2]);
        let (told, number) = ledger.number();
        assert_eq!((&*told.page.seqs, &*told.page.places, number), (&[0, 1, 2][..], &[0, 1, 0][..], 3));
        assert_eq!(told.page.ends.iter().map(|(_, code)| *code).collect::<Vec<_>>(), ["OK", "QUEUE_FULL"]);
        assert_eq!(end(&ledger, &["QUEUE_FULL"]), [4]);
        let told = ledger.take();
        assert_eq!((&*told.page.seqs, told.page.ends[0].1), (&[4][..], "QUEUE_FULL"));
    }

    #[test]
    fn what_there_is_no_room_for_is_lost_and_counted() {
        let ledger = ledger(2);
        end(&ledger, &["OK"; 5]);
        let told = ledger.take();
        assert_eq!((told.page.len(), told.page.lost), (2, 3));
        assert_eq!(told.tallies.requests().next().map(|tally| tally.rows), Some(5), "metrics lose none");
    }

    #[test]
    fn how_many_there_were_is_to_be_found_when_nobody_is_left_to_ask() {
        let place = std::env::temp_dir().join(format!("turnout-ledger-{}", std::process::id()));
        std::fs::write(&place, [7; 24]).unwrap();
        let found = || std::fs::read(&place).unwrap();
        let ledger = ledger(1);
        end(&ledger, &["OK"]);
        ledger.outlast_in(Outlasting::at(&place, 8).unwrap());
        let before = found();
        end(&ledger, &["OK", "QUEUE_FULL"]);
        ledger.number();
        let after = found();
        std::fs::remove_file(&place).unwrap();
        assert_eq!(&before[8..16], &1u64.to_le_bytes());
        assert_eq!((&after[..8], &after[8..16], &after[16..]), (&[7; 8][..], &4u64.to_le_bytes()[..], &[7; 8][..]));
    }

    #[test]
    fn where_nobody_keeps_records_none_are_kept_and_none_lost() {
        let ledger = ledger(0);
        assert_eq!(end(&ledger, &["OK"; 3]), [0, 1, 2]);
        assert!(ledger.take().page.is_empty());
    }

    #[test]
    fn of_a_model_that_always_fails_not_everything_is_logged() {
        let ledger = ledger(0);
        for _ in 0..MOST_PROBLEMS + 1 {
            let (text, model) = (String::new(), "price".to_owned());
            ledger.failed(Problem { method: "m", code: "MODEL_FAILED", text, model, version: 1, context: None });
        }
        assert_eq!(ledger.take().problems.len(), MOST_PROBLEMS);
    }
}
