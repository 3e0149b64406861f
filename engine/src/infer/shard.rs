//! Inferring on one shard: read, decide, prepare, and have it run; the methods are named here.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use super::driver::{Driver, Ready};
use super::flight::{Draft, Flight, Mirrored};
use super::plane::Plane;
use super::question::Question;
use super::servable::Hold;
use crate::batch::Ns;
use crate::call::{self, Company, Outcome, Unary};
use crate::decide::{Decision, decide};
use crate::error::Error;
use crate::oip::{InferRequest, StreamRequest};
use crate::spans::{Parent, Start};
use crate::turnout_v1::{AnyRequest, PredictPriceRequest, RankRequest, RecommendRequest};

/// The methods that are answered here. Records and tallies name them by these very texts.
const MODEL_INFER: &str = "inference.GRPCInferenceService/ModelInfer";
const MODEL_STREAM_INFER: &str = "inference.GRPCInferenceService/ModelStreamInfer";
pub const INFER: &str = "turnout.v1.InferenceService/Infer";
pub const RANK: &str = "turnout.v1.RankingService/Rank";
pub const PREDICT_PRICE: &str = "turnout.v1.PricingService/PredictPrice";
pub const RECOMMEND: &str = "turnout.v1.RecommendationService/Recommend";
/// Characters of a caller's `traceparent` that are kept for copies' records; the W3C's has 55.
const TRACEPARENT_LIMIT: usize = 64;

/// One shard's part of the data plane. It lives on the shard's thread.
pub struct Shard {
    plane: Arc<Plane>,
    driver: Rc<Driver>,
    company: Company,
    random: Cell<u64>,
}

/// A message with its call.
#[derive(Clone, Copy)]
struct Call<'a> {
    method: &'static str,
    head: &'a call::Head,
    message: &'a Bytes,
    came: Instant,
    origin: Origin<'a>,
}

/// What a message came as.
#[derive(Clone, Copy)]
enum Origin<'a> {
    /// A call's only one.
    Call,
    /// One of a stream's, whose call Python has counted and let in; with its span, if that is recorded.
    Stream(Option<&'a Parent>),
}

impl Unary for Shard {
    fn company(&self) -> &Company {
        &self.company
    }

    fn takes(&self, path: &str) -> bool {
        matches!(path, MODEL_INFER | INFER | RANK | PREDICT_PRICE | RECOMMEND)
    }

    async fn answer(&self, head: &call::Head, message: &Bytes) -> Outcome {
        let call = |method| Call { method, head, message, came: Instant::now(), origin: Origin::Call };
        match &*head.path {
            MODEL_INFER => {
                let call = call(MODEL_INFER);
                self.answer_as(call, self.tensors(head, message).as_ref()).await
            }
            INFER => self.answer_as(call(INFER), AnyRequest::parse(message, head).as_ref()).await,
            RANK => self.answer_as(call(RANK), RankRequest::parse(message, head).as_ref()).await,
            PREDICT_PRICE => {
                self.answer_as(call(PREDICT_PRICE), PredictPriceRequest::parse(message, head).as_ref()).await
            }
            RECOMMEND => self.answer_as(call(RECOMMEND), RecommendRequest::parse(message, head).as_ref()).await,
            _ => Outcome::Declined,
        }
    }

    /// Where errors are to be the call's own status, Python answers the whole stream.
    fn takes_messages(&self, head: &call::Head) -> bool {
        let errors_end_it = || head.get("triton_grpc_error").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        &*head.path == MODEL_STREAM_INFER && !errors_end_it()
    }

    async fn answer_one(&self, head: &call::Head, parent: Option<&Parent>, message: &Bytes) -> Outcome {
        let origin = Origin::Stream(parent);
        let call = Call { method: MODEL_STREAM_INFER, head, message, came: Instant::now(), origin };
        let request = self.tensors(head, message).map(StreamRequest);
        match self.answer_as(call, request.as_ref()).await {
            // An error is an answer too, and the stream goes on.
            Outcome::Refused(error) => {
                request.map_or(Outcome::Declined, |request| Outcome::Answer(request.failed(&error)))
            }
            outcome => outcome,
        }
    }
}

impl Shard {
    /// Makes shard number `index` of `plane`; on the thread that it is to live on, inside its `LocalSet`.
    pub fn new(plane: Arc<Plane>, index: usize) -> Self {
        let seed = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_nanos() as u64);
        let random = Cell::new((seed ^ (index as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15)) | 1);
        let company = Company::default();
        let driver = Driver::new(plane.clone(), index, company.clone());
        Self { plane, driver, company, random }
    }

    /// Reads a `ModelInferRequest` whose answer is to be raw.
    fn tensors<'a>(&self, head: &'a call::Head, message: &'a Bytes) -> Option<InferRequest<'a>> {
        let as_sent = self.plane.settings.answers_as_sent;
        InferRequest::parse(message, head).filter(|request| !as_sent || request.is_raw())
    }

    /// Answers what was read of a message, if it could be.
    async fn answer_as<Q: Question>(&self, call: Call<'_>, question: Option<&Q>) -> Outcome {
        let departing = |question| Some((question, self.depart(call, question)?));
        let Some((question, (flight, load))) = question.and_then(departing) else {
            self.plane.decline();
            return Outcome::Declined;
        };
        let ended = match load.map(|ready| self.driver.run(ready)) {
            Ok(run) => run.await,
            Err(error) => Err(error),
        };
        flight.land(question, ended)
    }

    /// Decides, and makes the inputs. None where Python has to answer; then nothing has been counted.
    fn depart<Q: Question>(&self, call: Call<'_>, question: &Q) -> Option<(Flight, Result<Ready, Error>)> {
        let inside = match call.origin {
            Origin::Call => self.plane.enter()?,
            Origin::Stream(_) => self.plane.enter_message()?,
        };
        let view = self.plane.view()?;
        let ask = question.ask(call.head)?;
        let decision = decide(&view.snapshot, &ask, self.draw())?;
        let mirrors = self.drawn(&decision);
        let servable = Hold::of(view.answerer(&decision)?);
        if question.task().is_some_and(|task| decision.task.unwrap_or(servable.settings.task) != task) {
            return None;
        }
        let deadline = question.deadline(call.head.deadline, call.came).map(|deadline| self.plane.at(deadline));
        let level = question.level();
        let draft = Draft::of(call.method, call.head, (ask.unit(), question.request_id()), self.start(call))?;
        let mut flight =
            Flight::new(self.plane.clone(), view, decision, (call.came, deadline), draft, (servable.clone(), inside));
        // Before anything is spent on the tensors of a request for which there is no room.
        if let Some(error) = self.driver.refusal(&servable, level, call.came) {
            if !question.is_sound() {
                flight.forget();
                return None;
            }
            return Some((flight, Err(error)));
        }
        let began = Instant::now();
        let Some(prepared) = question.prepare(&servable.signature) else {
            flight.forget();
            return None;
        };
        if !mirrors.is_empty() {
            let traceparent = call.head.get("traceparent").unwrap_or_default();
            let traceparent = traceparent.chars().take(TRACEPARENT_LIMIT).collect();
            flight.mirrored = Some(Mirrored { mirrors, message: call.message.clone(), traceparent });
        }
        flight.rows = prepared.rows;
        flight.wanted.clone_from(&prepared.outputs);
        let input_ns = began.elapsed().as_nanos() as Ns;
        let span = self.plane.spans.as_ref().and_then(|_| flight.span());
        let nbytes = call.message.len() as u64;
        Some((flight, Ok(Ready { servable, prepared, nbytes, input_ns, level, deadline, span })))
    }

    /// Returns what tracing says of a message.
    fn start(&self, call: Call<'_>) -> Start {
        match (&self.plane.spans, call.origin) {
            (None, _) | (_, Origin::Stream(None)) => Start::Quiet,
            (Some(spans), Origin::Call) => spans.start(call.method, call.head),
            (Some(spans), Origin::Stream(Some(parent))) => spans.start_message(parent),
        }
    }

    /// Returns the mirrors that are to get a copy of a request, if it is answered.
    fn drawn(&self, decision: &Decision) -> Vec<usize> {
        let fractions = decision.mirrors.iter().enumerate();
        fractions.filter(|&(_, &fraction)| fraction >= 1.0 || self.draw() < fraction).map(|(place, _)| place).collect()
    }

    /// Returns a number uniform in [0, 1): xorshift64*, which is good enough for a draw that nobody has to repeat.
    /// (S. Vigna, "An experimental exploration of Marsaglia's xorshift generators, scrambled", 2016.)
    fn draw(&self) -> f64 {
        let mut state = self.random.get();
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        self.random.set(state);
        (state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 * 2f64.powi(-53)
    }
}
