//! One request under way: from the decision to its answer, and to the one record of its end.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use super::plane::{Inside, Plane, View};
use super::record::{CANCELLED, OK, Record, Timing};
use super::run::{Answer, Ended, Failure};
use super::servable::Hold;
use crate::batch::Ns;
use crate::call::{self, Outcome};
use crate::decide::Decision;
use crate::error::{Error, Kind};
use crate::oip::{self, InferRequest, Output};

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
    _hold: Hold,
    _inside: Inside,
}

/// What the record will say of the caller.
pub struct Draft {
    unit: String,
    request_id: String,
    traceparent: String,
}

impl Draft {
    /// Takes down what the caller said.
    pub fn of(head: &call::Head, request: &InferRequest<'_>) -> Self {
        let traceparent = head.get("traceparent").unwrap_or_default().chars().take(TRACEPARENT_LIMIT).collect();
        Self { unit: request.unit.to_string(), request_id: request.request_id.to_string(), traceparent }
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
            _hold: hold,
            _inside: inside,
        }
    }

    /// Ends without a trace: Python does it all again.
    pub fn forget(&mut self) {
        self.draft.set(None);
    }

    /// Ends with an answer, or with what kept it from being answered.
    pub fn land(self, request: &InferRequest<'_>, ended: Result<Ended, Error>) -> Outcome {
        match ended {
            Ok(Ended { answer: Ok(answer), timing }) => {
                let number = self.settle(OK, Some(timing), String::new()).unwrap_or_default();
                self.encode(request, &answer, number).map_or_else(|| Outcome::Refused(crashed()), Outcome::Answer)
            }
            Ok(Ended { answer: Err(Failure { error, problem }), timing }) => {
                self.settle(error.reason, Some(timing), problem);
                Outcome::Refused(error)
            }
            Err(error) => {
                self.settle(error.reason, None, String::new());
                Outcome::Refused(error)
            }
        }
    }

    fn settle(&self, code: &'static str, timing: Option<Timing>, problem: String) -> Option<u64> {
        let Draft { unit, request_id, traceparent } = self.draft.take()?;
        let took = self.came.elapsed().as_nanos() as Ns;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
        let (decision, rows) = (self.decision.clone(), self.rows);
        let arrived = now.saturating_sub(took);
        let record = Record { arrived, took, code, decision, unit, request_id, rows, timing, traceparent, problem };
        Some(self.plane.ledger.record(record))
    }

    fn encode(&self, request: &InferRequest<'_>, answer: &Answer, number: u64) -> Option<Bytes> {
        let made;
        let request_id = if request.request_id.is_empty() {
            made = format!("{}-{number}", self.plane.settings.boot);
            &made
        } else {
            request.request_id
        };
        let specs = &self.view.answerer(&self.decision)?.signature.outputs;
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
        oip::encode(self.view.head(&self.decision)?, request.id, request_id, &outputs)
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.here.set(self.here.get() - 1);
        // Still unsettled: the caller has gone, or the deadline has passed. Transports drop calls for both.
        let expired = self.deadline.is_some_and(|deadline| deadline <= self.plane.now());
        self.settle(if expired { "DEADLINE_EXPIRED" } else { CANCELLED }, None, String::new());
    }
}

/// Returns the error of a request whose run ended without a word, as when it panicked.
pub fn crashed() -> Error {
    Error::new(Kind::Internal, "INTERNAL", "internal error; the server's log has the details")
}
