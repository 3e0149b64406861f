//! One request under way: from the decision to its answer, and to the one record of its end.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use super::copies::{Copy, End};
use super::plane::{Inside, Plane, View};
use super::question::{Answerer, Question};
use super::record::{CANCELLED, OK, Record, Timing, Told};
use super::run::{Answer, Ended, Failure};
use super::servable::Hold;
use crate::batch::Ns;
use crate::call::{self, Outcome};
use crate::decide::Decision;
use crate::error::{Error, Kind};
use crate::oip::Output;
use crate::tensor::Tensor;

/// Characters of a caller's `traceparent` that are kept; the W3C's has 55.
const TRACEPARENT_LIMIT: usize = 64;

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
    /// Which mirrors get a copy once it is answered, and of what.
    pub mirrored: Option<(Vec<usize>, Bytes)>,
    _hold: Hold,
    _inside: Inside,
}

/// What the record will say of the caller.
#[derive(Clone)]
pub struct Draft {
    method: &'static str,
    unit: String,
    request_id: String,
    traceparent: String,
}

impl Draft {
    /// Takes down what the caller said.
    pub fn of(method: &'static str, head: &call::Head, unit: &str, request_id: &str) -> Self {
        let traceparent = head.get("traceparent").unwrap_or_default().chars().take(TRACEPARENT_LIMIT).collect();
        Self { method, unit: unit.to_owned(), request_id: request_id.to_owned(), traceparent }
    }
}

impl Flight {
    /// Begins, as one of those that are under way `here`.
    pub fn new(
        (plane, here): (Arc<Plane>, Rc<Cell<usize>>),
        view: Arc<View>,
        decision: Arc<Decision>,
        (came, deadline): (Instant, Option<Ns>),
        draft: Draft,
        (hold, inside): (Hold, Inside),
    ) -> Self {
        here.set(here.get() + 1);
        let draft = Cell::new(Some(draft));
        Self {
            plane,
            here,
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

    /// Ends with an answer, or with what kept it from being answered.
    pub fn land<Q: Question>(self, question: &Q, ended: Result<Ended, Error>) -> Outcome {
        match ended {
            Ok(Ended { answer: Ok(answer), timing }) => {
                self.answer(question, &answer, timing).map_or_else(Outcome::Refused, Outcome::Answer)
            }
            Ok(Ended { answer: Err(Failure { error, problem }), timing }) => {
                self.settle(Settled { code: error.reason, told: error.reason, timing: Some(timing), problem });
                Outcome::Refused(error)
            }
            Err(error) => {
                self.settle(Settled { code: error.reason, told: error.reason, timing: None, problem: String::new() });
                Outcome::Refused(error)
            }
        }
    }

    fn answer<Q: Question>(&self, question: &Q, answer: &Answer, timing: Timing) -> Result<Bytes, Error> {
        let by = Answerer { view: &self.view, decision: &self.decision };
        let specs = &self.view.answerer(&self.decision).ok_or_else(crashed)?.signature.outputs;
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
        // The model has answered: that is what the record says, whatever the caller is told.
        let fault = question.fault(&outputs);
        let told = fault.as_ref().map_or(OK, |error| error.reason);
        let settled = Settled { code: OK, told, timing: Some(timing), problem: String::new() };
        let draft = self.mirrored.as_ref().and_then(|_| self.draft_again());
        let number = self.settle(settled).unwrap_or_default();
        if let (Some((mirrors, message)), Some(draft)) = (&self.mirrored, draft) {
            self.copy(mirrors.clone(), message, draft, number, timing, &outputs);
        }
        if let Some(error) = fault {
            return Err(error);
        }
        let made;
        let request_id = if question.request_id().is_empty() {
            made = format!("{}-{number}", self.plane.settings.boot);
            &made
        } else {
            question.request_id()
        };
        question.answer(by, request_id, &outputs).ok_or_else(crashed)
    }

    fn draft_again(&self) -> Option<Draft> {
        let draft = self.draft.take();
        self.draft.set(draft.clone());
        draft
    }

    /// Hands an answered request to those who send copies of it, if they have room.
    fn copy(
        &self,
        mut mirrors: Vec<usize>,
        message: &Bytes,
        draft: Draft,
        number: u64,
        timing: Timing,
        outputs: &[Output<'_>],
    ) {
        let nbytes = message.len() + outputs.iter().map(|output| output.data.nbytes()).sum::<usize>();
        let Some(reserved) = self.plane.copies.reserve(&self.decision, &mut mirrors, nbytes) else { return };
        let Draft { method, unit, mut request_id, traceparent } = draft;
        if request_id.is_empty() {
            request_id = format!("{}-{number}", self.plane.settings.boot);
        }
        let took = self.came.elapsed().as_nanos() as Ns;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
        let (arrived, decision, rows) = (now.saturating_sub(took), self.decision.clone(), self.rows);
        let end = End { number, arrived, took, decision, unit, request_id, rows, timing, traceparent };
        let of_one = |output: &Output<'_>| {
            let (dtype, shape) = (output.dtype, output.dims.to_vec());
            (output.name.to_owned(), Tensor { dtype, shape, data: output.data.copied() })
        };
        let outputs = outputs.iter().map(of_one).collect();
        self.plane.copies.keep(reserved, Copy { mirrors, method, message: message.clone(), outputs, end });
    }

    fn settle(&self, settled: Settled) -> Option<u64> {
        let Draft { method, unit, request_id, traceparent } = self.draft.take()?;
        let Settled { code, told, timing, problem } = settled;
        let took = self.came.elapsed().as_nanos() as Ns;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
        let (decision, rows) = (self.decision.clone(), self.rows);
        let arrived = now.saturating_sub(took);
        let call = Told { method, code: told };
        let record =
            Record { arrived, took, code, call, decision, unit, request_id, rows, timing, traceparent, problem };
        Some(self.plane.ledger.record(record))
    }
}

/// How a request ended.
struct Settled {
    /// The record's.
    code: &'static str,
    /// What the caller was told.
    told: &'static str,
    timing: Option<Timing>,
    problem: String,
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.here.set(self.here.get() - 1);
        // Still unsettled: the caller has gone, or the deadline has passed. Transports drop calls for both.
        let expired = self.deadline.is_some_and(|deadline| deadline <= self.plane.now());
        let code = if expired { "DEADLINE_EXPIRED" } else { CANCELLED };
        self.settle(Settled { code, told: code, timing: None, problem: String::new() });
    }
}

/// Returns the error of a request whose run ended without a word, as when it panicked.
pub fn crashed() -> Error {
    Error::new(Kind::Internal, "INTERNAL", "internal error; the server's log has the details")
}
