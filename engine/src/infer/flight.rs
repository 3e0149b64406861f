//! One request under way: from the decision to its answer, and to the one record of its end.

use std::borrow::Cow;
use std::cell::Cell;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use super::copies::{self, Copy};
use super::plane::{Inside, Plane, View};
use super::question::{Answerer, Question};
use super::record::{CANCELLED, INTERNAL, OK, Problem, Record, Timing, Told};
use super::run::{Answer, Ended, Failure};
use super::servable::Hold;
use crate::batch::Ns;
use crate::call::{self, Outcome};
use crate::decide::Decision;
use crate::error::{Error, Kind};
use crate::oip::Output;
use crate::spans::{Context, End, Span, Start, TraceId, trace_id};
use crate::tensor::Tensor;

/// Digits of the longest number, and what stands before it.
const LONGEST_NUMBER: usize = 21;

/// One request under way: it ends in one record, also when it is dropped.
pub struct Flight {
    plane: Arc<Plane>,
    view: Arc<View>,
    decision: Arc<Decision>,
    came: Instant,
    deadline: Option<Ns>,
    pub rows: u64,
    /// The outputs wanted, as indexes into the signature's.
    pub wanted: Vec<usize>,
    draft: Cell<Option<Draft>>,
    /// Which mirrors get a copy once it is answered, and of what.
    pub mirrored: Option<Mirrored>,
    _hold: Hold,
    _inside: Inside,
}

/// What is needed to copy a request.
#[derive(Clone)]
pub struct Mirrored {
    /// The mirrors that get one, by their places.
    pub mirrors: Vec<usize>,
    pub message: Bytes,
    /// The caller's, cut off where it is longer than any that makes sense.
    pub traceparent: String,
}

/// What the record and the spans will say of the caller.
pub struct Draft {
    method: &'static str,
    unit: String,
    request_id: String,
    trace: TraceId,
    /// The request's span, if that is recorded, else the caller's.
    context: Option<Context>,
    span: Option<Arc<Span>>,
}

impl Draft {
    /// Takes down what the caller said; None where Python has to read what it says of its trace, which begins with
    /// `start`.
    pub fn of(method: &'static str, head: &call::Head, (unit, request_id): (&str, &str), start: Start) -> Option<Self> {
        let span = match start {
            Start::Odd => return None,
            Start::Quiet => None,
            Start::Recorded(span) => Some(span),
        };
        let traceparent = head.get("traceparent").unwrap_or_default();
        let caller = Context::parse(traceparent).filter(Context::is_valid);
        let trace = caller.map_or_else(|| trace_id(traceparent), |caller| caller.trace);
        let context = span.as_ref().map_or(caller, |span| Some(span.context));
        Some(Self { method, unit: unit.to_owned(), request_id: request_id.to_owned(), trace, context, span })
    }
}

/// How a request ended.
#[derive(Clone, Copy)]
struct Fate {
    /// The record's code.
    code: &'static str,
    /// What the caller was told; None for an answer.
    told: Option<(Kind, &'static str)>,
    timing: Option<Timing>,
}

/// A request's end, as it was recorded.
struct Settled {
    number: u64,
    method: &'static str,
    unit: String,
    /// The caller's; empty where it gave none.
    request_id: String,
    arrived: u64,
    span: Option<Arc<Span>>,
}

impl Flight {
    /// Begins.
    pub fn new(
        plane: Arc<Plane>,
        view: Arc<View>,
        decision: Arc<Decision>,
        (came, deadline): (Instant, Option<Ns>),
        draft: Draft,
        (hold, inside): (Hold, Inside),
    ) -> Self {
        let draft = Cell::new(Some(draft));
        Self {
            plane,
            view,
            decision,
            came,
            deadline,
            rows: 0,
            wanted: Vec::new(),
            draft,
            mirrored: None,
            _hold: hold,
            _inside: inside,
        }
    }

    /// Ends without a trace: Python does it all again.
    pub fn forget(&mut self) {
        self.draft.set(None);
    }

    /// Returns its span, if that is recorded.
    pub fn span(&self) -> Option<Arc<Span>> {
        let draft = self.draft.take();
        let span = draft.as_ref().and_then(|draft| draft.span.clone());
        self.draft.set(draft);
        span
    }

    /// Ends with an answer, or with what kept it from being answered.
    pub fn land<Q: Question>(self, question: &Q, ended: Result<Ended, Error>) -> Outcome {
        let (answer, timing) = match ended {
            Ok(Ended { answer, timing }) => (answer, Some(timing)),
            Err(error) => (Err(Failure { error, problem: String::new() }), None),
        };
        match answer {
            Ok(answer) => self.answer(question, &answer, timing),
            Err(Failure { error, problem }) => self.refuse(error, timing, problem),
        }
    }

    fn answer<Q: Question>(&self, question: &Q, answer: &Answer, timing: Option<Timing>) -> Outcome {
        let by = Answerer { view: &self.view, decision: &self.decision };
        let Some(servable) = self.view.answerer(&self.decision) else {
            return self.refuse(crashed(), timing, String::new());
        };
        let specs = &servable.signature.outputs;
        let shapes: Vec<Vec<i64>> = answer.outputs.iter().map(|output| answer.shape_of(output)).collect();
        let pieces = self.wanted.iter().zip(&*answer.outputs).zip(&shapes);
        let outputs: Vec<Output<'_>> = pieces
            .map(|((&index, output), dims)| Output {
                name: &specs[index].name,
                dtype: specs[index].dtype,
                dims,
                data: answer.rows_of(output),
            })
            .collect();
        // Before it counts as answered, and with the longest name that it may get.
        let longest = question.request_id().len().max(self.plane.settings.boot.len() + LONGEST_NUMBER);
        if !question.fits(by, longest, &outputs) {
            return self.refuse(crashed(), timing, String::new());
        }
        // The model has answered: that is what the record says, whatever the caller is told.
        let fault = question.fault(&outputs);
        let told = fault.as_ref().map(|error| (error.kind, error.reason));
        let fate = Fate { code: OK, told, timing };
        let settled = self.settle(fate, String::new());
        if let (Some(mirrored), Some(settled)) = (&self.mirrored, &settled) {
            self.copy(mirrored, settled, timing, &outputs);
        }
        let outcome = match fault {
            Some(error) => Outcome::Refused(error),
            None => {
                let name = settled.as_ref().map(|settled| self.name_of(settled)).unwrap_or_default();
                let message = question.answer(by, &name, &outputs);
                message.map_or_else(|| Outcome::Refused(crashed()), Outcome::Answer)
            }
        };
        self.trace(settled, fate);
        outcome
    }

    /// Hands an answered request to those who send copies of it, if they have room.
    fn copy(&self, mirrored: &Mirrored, settled: &Settled, timing: Option<Timing>, outputs: &[Output<'_>]) {
        let Mirrored { mut mirrors, message, traceparent } = mirrored.clone();
        let nbytes = message.len() + outputs.iter().map(|output| output.data.nbytes()).sum::<usize>();
        let Some(reserved) = self.plane.copies.reserve(&self.decision, &mut mirrors, nbytes) else { return };
        let end = copies::End {
            number: settled.number,
            arrived: settled.arrived,
            took: self.came.elapsed().as_nanos() as Ns,
            decision: self.decision.clone(),
            unit: settled.unit.clone(),
            request_id: self.name_of(settled).into_owned(),
            rows: self.rows,
            timing,
            traceparent,
        };
        let of_one = |output: &Output<'_>| {
            let (dtype, shape) = (output.dtype, output.dims.to_vec());
            (output.name.to_owned(), Tensor { dtype, shape, data: output.data.copied() })
        };
        let outputs = outputs.iter().map(of_one).collect();
        self.plane.copies.keep(reserved, Copy { mirrors, method: settled.method, message, outputs, end });
    }

    fn refuse(&self, error: Error, timing: Option<Timing>, problem: String) -> Outcome {
        let fate = Fate { code: error.reason, told: Some((error.kind, error.reason)), timing };
        let settled = self.settle(fate, problem);
        self.trace(settled, fate);
        Outcome::Refused(error)
    }

    /// Makes the record; None where there is one. `problem` is what a model that failed said, or empty.
    fn settle(&self, fate: Fate, problem: String) -> Option<Settled> {
        let Draft { method, unit, request_id, trace, context, span } = self.draft.take()?;
        let Fate { code, told, timing } = fate;
        let took = self.came.elapsed().as_nanos() as Ns;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
        let arrived = now.saturating_sub(took);
        if !problem.is_empty() {
            let Decision { model, version, .. } = &*self.decision;
            let (model, version) = (model.clone(), *version);
            self.plane.ledger.failed(Problem { method, code, text: problem, model, version, context });
        }
        let number = self.plane.ledger.record(&Record {
            arrived,
            took,
            code,
            call: Told { method, code: told.map_or(OK, |(_, reason)| reason) },
            decision: &self.decision,
            unit: &unit,
            request_id: &request_id,
            rows: self.rows,
            timing,
            trace,
        });
        Some(Settled { number, method, unit, request_id, arrived, span })
    }

    /// Ends its span, if that is recorded.
    fn trace(&self, settled: Option<Settled>, fate: Fate) {
        let Some(settled) = settled else { return };
        if let (Some(spans), Some(span)) = (&self.plane.spans, &settled.span) {
            let (code, reason) = fate.told.map_or((OK, ""), |(kind, reason)| (kind.code(), reason));
            let (decision, started, request_id) = (&*self.decision, settled.arrived, &*self.name_of(&settled));
            let ended = started + self.came.elapsed().as_nanos() as u64;
            let (timing, offset) = (fate.timing, self.plane.epoch_offset());
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
}

impl Drop for Flight {
    fn drop(&mut self) {
        let (kind, code) = abandoned(self.deadline.is_some_and(|deadline| deadline <= self.plane.now()));
        let fate = Fate { code, told: Some((kind, code)), timing: None };
        let settled = self.settle(fate, String::new());
        self.trace(settled, fate);
    }
}

/// Returns how a request ended that is dropped unsettled: the caller has gone, or the deadline has passed, since
/// transports drop calls for both; or there was a panic, and this is what it has left.
fn abandoned(expired: bool) -> (Kind, &'static str) {
    if std::thread::panicking() {
        (Kind::Internal, INTERNAL)
    } else if expired {
        (Kind::Expired, "DEADLINE_EXPIRED")
    } else {
        (Kind::Cancelled, CANCELLED)
    }
}

/// Returns the error of a request whose run ended without a word, as when it panicked.
pub fn crashed() -> Error {
    Error::new(Kind::Internal, INTERNAL, "internal error; the server's log has the details")
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::rc::Rc;
    use std::task::{Context, Waker};

    use super::*;

    struct Dropped(Rc<Cell<&'static str>>, bool);

    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.set(abandoned(self.1).1);
        }
    }

    #[test]
    fn what_a_panic_leaves_is_nobodys_going() {
        let seen = Rc::new(Cell::new(""));
        let held = Dropped(seen.clone(), true);
        let mut call = Box::pin(async move {
            let _held = held;
            panic!("of a test");
        });
        let poll = AssertUnwindSafe(|| call.as_mut().poll(&mut Context::from_waker(Waker::noop())));
        assert!(catch_unwind(poll).is_err());
        assert_eq!(seen.get(), INTERNAL);
    }

    #[test]
    fn who_is_dropped_has_gone_or_had_no_time_left() {
        let seen = Rc::new(Cell::new(""));
        for (expired, code) in [(false, CANCELLED), (true, "DEADLINE_EXPIRED")] {
            drop(Dropped(seen.clone(), expired));
            assert_eq!(seen.get(), code);
        }
    }
}
