//! One request under way: from the decision to its answer, and to the one record of its end.

use std::borrow::Cow;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::plane::{Inside, Plane, View};
use super::record::{CANCELLED, INTERNAL, OK, Problem, Record, Timing};
use super::run::{Answer, Ended, Failure};
use crate::batch::Ns;
use crate::call::{self, Outcome};
use crate::decide::Decision;
use crate::error::{Error, Kind};
use crate::oip::{self, InferRequest, Output};
use crate::spans::{Context, End, Span, Spans, Start, TraceId, trace_id};

/// Digits of the longest number, and what stands before it.
const LONGEST_NUMBER: usize = 21;

/// One request under way: it ends in one record, also when it is dropped.
pub struct Flight {
    plane: Arc<Plane>,
    /// How many are under way on this shard.
    here: Rc<Cell<usize>>,
    view: Arc<View>,
    decision: Arc<Decision>,
    came: Instant,
    deadline: Option<Ns>,
    pub rows: u64,
    /// The outputs wanted, as indexes into the signature's.
    pub wanted: Vec<usize>,
    draft: Cell<Option<Draft>>,
    _inside: Inside,
}

/// What the record and the spans will say of the caller.
pub struct Draft {
    unit: String,
    request_id: String,
    trace: TraceId,
    /// The call's span, if that is recorded, else the caller's.
    context: Option<Context>,
    span: Option<Arc<Span>>,
}

impl Draft {
    /// Takes down what the caller said; None where Python has to read what it says of its trace.
    pub fn of(head: &call::Head, request: &InferRequest<'_>, spans: Option<&Spans>) -> Option<Self> {
        let span = match spans.map_or(Start::Quiet, |spans| spans.start(head)) {
            Start::Odd => return None,
            Start::Quiet => None,
            Start::Recorded(span) => Some(span),
        };
        let traceparent = head.get("traceparent").unwrap_or_default();
        let caller = Context::parse(traceparent).filter(Context::is_valid);
        let trace = caller.map_or_else(|| trace_id(traceparent), |caller| caller.trace);
        let context = span.as_ref().map_or(caller, |span| Some(span.context));
        let (unit, request_id) = (request.unit.to_string(), request.request_id.to_string());
        Some(Self { unit, request_id, trace, context, span })
    }
}

/// A request's end, as it was recorded.
struct Settled {
    number: u64,
    /// The caller's; empty where it gave none.
    request_id: String,
    arrived: u64,
    span: Option<Arc<Span>>,
}

impl Flight {
    /// Begins, as one of those that are under way `here`.
    pub fn new(
        (plane, here): (Arc<Plane>, Rc<Cell<usize>>),
        view: Arc<View>,
        decision: Arc<Decision>,
        (came, deadline): (Instant, Option<Ns>),
        draft: Draft,
        inside: Inside,
    ) -> Self {
        here.set(here.get() + 1);
        let draft = Cell::new(Some(draft));
        Self { plane, here, view, decision, came, deadline, rows: 0, wanted: Vec::new(), draft, _inside: inside }
    }

    /// Ends without a trace: Python does it all again.
    pub fn forget(&mut self) {
        self.draft.set(None);
    }

    /// Returns the span of its call, if that is recorded.
    pub fn span(&self) -> Option<Arc<Span>> {
        let draft = self.draft.take();
        let span = draft.as_ref().and_then(|draft| draft.span.clone());
        self.draft.set(draft);
        span
    }

    /// Ends with an answer, or with what kept it from being answered.
    pub fn land(self, request: &InferRequest<'_>, ended: Result<Ended, Error>) -> Outcome {
        let (answer, timing) = match ended {
            Ok(Ended { answer, timing }) => (answer, Some(timing)),
            Err(error) => (Err(Failure { error, problem: String::new() }), None),
        };
        match answer {
            Ok(answer) => self.answer(request, &answer, timing),
            Err(failure) => self.refuse(failure, timing),
        }
    }

    fn answer(&self, request: &InferRequest<'_>, answer: &Answer, timing: Option<Timing>) -> Outcome {
        let shapes: Vec<Vec<i64>> = answer.outputs.iter().map(|output| answer.shape_of(output)).collect();
        // Looked at before it counts as answered, with the longest name that it may get.
        let longest = request.request_id.len().max(self.plane.settings.boot.len() + LONGEST_NUMBER);
        let parts = self.parts(answer, &shapes).filter(|(head, outputs)| oip::fits(head, request.id, longest, outputs));
        let Some((head, outputs)) = parts else {
            return self.refuse(Failure { error: crashed(), problem: String::new() }, timing);
        };
        let settled = self.settle(OK, timing, None);
        let request_id = settled.as_ref().map(|settled| self.name_of(settled)).unwrap_or_default();
        let message = oip::encode(head, request.id, &request_id, &outputs);
        self.trace(settled, OK, "", timing);
        message.map_or_else(|| Outcome::Refused(crashed()), Outcome::Answer)
    }

    fn refuse(&self, failure: Failure, timing: Option<Timing>) -> Outcome {
        let Failure { error, problem } = failure;
        let settled = self.settle(error.reason, timing, Some(problem).filter(|problem| !problem.is_empty()));
        self.trace(settled, error.kind.code(), error.reason, timing);
        Outcome::Refused(error)
    }

    /// Makes the record; None where there is one.
    fn settle(&self, code: &'static str, timing: Option<Timing>, problem: Option<String>) -> Option<Settled> {
        let Draft { unit, request_id, trace, context, span } = self.draft.take()?;
        let took = self.came.elapsed().as_nanos() as Ns;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
        let arrived = now.saturating_sub(took);
        if let Some(text) = problem {
            self.plane.ledger.failed(Problem { code, text, context });
        }
        let (decision, unit, rows) = (&self.decision, &*unit, self.rows);
        let number = self.plane.ledger.record(&Record {
            arrived,
            took,
            code,
            decision,
            unit,
            request_id: &request_id,
            rows,
            timing,
            trace,
        });
        Some(Settled { number, request_id, arrived, span })
    }

    /// Ends the call's span, if it is recorded.
    fn trace(&self, settled: Option<Settled>, code: &'static str, reason: &'static str, timing: Option<Timing>) {
        let Some(settled) = settled else { return };
        if let (Some(spans), Some(span)) = (&self.plane.spans, &settled.span) {
            let (decision, started, request_id) = (&*self.decision, settled.arrived, &*self.name_of(&settled));
            let ended = started + self.came.elapsed().as_nanos() as u64;
            let offset = self.plane.epoch_offset();
            spans.ended(span, &End { code, reason, decision, request_id, timing, started, ended, offset });
        }
    }

    /// Returns what the request is called in records, answers and spans.
    fn name_of<'a>(&self, settled: &'a Settled) -> Cow<'a, str> {
        if settled.request_id.is_empty() {
            format!("{}-{}", self.plane.settings.boot, settled.number).into()
        } else {
            Cow::Borrowed(&settled.request_id)
        }
    }

    fn parts<'a>(&'a self, answer: &'a Answer, shapes: &'a [Vec<i64>]) -> Option<(&'a oip::Head, Vec<Output<'a>>)> {
        let specs = &self.view.answerer(&self.decision)?.signature.outputs;
        let pieces = self.wanted.iter().zip(&*answer.outputs).zip(shapes);
        let outputs = pieces.map(|((&index, output), dims)| Output {
            name: &specs[index].name,
            dtype: specs[index].dtype,
            dims,
            data: answer.rows_of(output),
        });
        Some((self.view.head(&self.decision)?, outputs.collect()))
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.here.set(self.here.get() - 1);
        // Still unsettled: the caller has gone, or the deadline has passed. Transports drop calls for both. Or what is
        // being dropped is all that a panic has left.
        let (reason, code) = if std::thread::panicking() {
            (INTERNAL, Kind::Internal)
        } else if self.deadline.is_some_and(|deadline| deadline <= self.plane.now()) {
            ("DEADLINE_EXPIRED", Kind::Expired)
        } else {
            (CANCELLED, Kind::Cancelled)
        };
        let settled = self.settle(reason, None, None);
        self.trace(settled, code.code(), reason, None);
    }
}

/// Returns the error of a request whose run ended without a word, as when it panicked.
pub fn crashed() -> Error {
    Error::new(Kind::Internal, INTERNAL, "internal error; the server's log has the details")
}
