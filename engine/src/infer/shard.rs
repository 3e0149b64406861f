//! Inferring on one shard: decide, prepare, wait, run, answer, and record the end.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::audience::Audiences;
use super::flight::{Draft, Flight, Mirrored, crashed};
use super::plane::{Inside, Nudge, Plane};
use super::question::Question;
use super::record::{Run, Timing};
use super::run::{self, Ended, Failure, Runs};
use super::servable::{Hold, Servable, nbytes_of};
use super::watch::Watched;
use crate::batch::Ns;
use crate::batch::batcher::{Batch, Batcher, deadline_expired};
use crate::batch::shares::Id;
use crate::batch::waiting::{Item, Ticket};
use crate::call::{self, Outcome, Unary};
use crate::decide::{Decision, decide};
use crate::error::Error;
use crate::oip::{InferRequest, Prepared};
use crate::ort::RunOptions;
use crate::spans::Span;
use crate::turnout_v1::{PredictPriceRequest, RankRequest, RecommendRequest};

/// The methods that are answered here. Records and tallies name them by these very texts.
const MODEL_INFER: &str = "inference.GRPCInferenceService/ModelInfer";
pub const RANK: &str = "turnout.v1.RankingService/Rank";
pub const PREDICT_PRICE: &str = "turnout.v1.PricingService/PredictPrice";
pub const RECOMMEND: &str = "turnout.v1.RecommendationService/Recommend";
/// Characters of a caller's `traceparent` that are kept for copies' records; the W3C's has 55.
const TRACEPARENT_LIMIT: usize = 64;
/// How long one version's runs may keep the reactor from all else in one turn.
const INLINE_TURN: Ns = 5_000_000;

/// One shard's part of the data plane. It lives on the shard's thread.
pub struct Shard {
    inner: Rc<Inner>,
}

struct Inner {
    index: usize,
    plane: Arc<Plane>,
    queues: RefCell<HashMap<Id, Rc<Queue>>>,
    /// Requests under way here.
    here: Rc<Cell<usize>>,
    random: Cell<u64>,
    /// Requests that have waited here.
    numbers: Cell<u64>,
    audiences: Audiences,
    /// This shard's runs; None where they cannot be watched over.
    watched: OnceCell<Option<Arc<Watched>>>,
}

/// One version's queue on this shard.
struct Queue {
    id: Id,
    batcher: RefCell<Batcher<Load>>,
    pump_due: Cell<bool>,
    timer_due: Cell<bool>,
}

/// What waits: enough to run it, and to say how that went.
struct Load {
    /// Which of this shard's requests it is.
    number: u64,
    servable: Hold,
    prepared: Prepared,
    input_ns: Ns,
    span: Option<Arc<Span>>,
    done: oneshot::Sender<Ended>,
}

impl Runs for Load {
    fn prepared(&self) -> &Prepared {
        &self.prepared
    }
}

/// A batch that is due.
struct Due {
    /// By `Item::room`.
    rows: u64,
    /// When each came.
    offered: Vec<Ns>,
    loads: Vec<Load>,
}

impl From<Batch<Load>> for Due {
    fn from(batch: Batch<Load>) -> Self {
        let rows = batch.items.iter().map(Item::room).sum();
        let (offered, loads) = batch.items.into_iter().map(|item| (item.offered, item.load)).unzip();
        Self { rows, offered, loads }
    }
}

impl Due {
    /// Returns whose it is; None for one of nothing.
    fn servable(&self) -> Option<Hold> {
        self.loads.first().map(|first| first.servable.clone())
    }
}

/// What came of a run on a reactor.
enum Tried<T> {
    Done(T),
    /// It was ended, after so many nanoseconds.
    TooLong(Ns),
    Crashed,
}

impl Unary for Shard {
    fn takes(&self, path: &str) -> bool {
        matches!(path, MODEL_INFER | RANK | PREDICT_PRICE | RECOMMEND)
    }

    async fn answer(&self, head: &call::Head, message: &Bytes) -> Outcome {
        let call = |method| Call { method, head, message, came: Instant::now() };
        match &*head.path {
            MODEL_INFER => {
                let call = call(MODEL_INFER);
                let as_sent = self.inner.plane.settings.answers_as_sent;
                let request = InferRequest::parse(message, head).filter(|request| !as_sent || request.is_raw());
                self.inner.answer(call, request).await
            }
            RANK => self.inner.answer(call(RANK), RankRequest::parse(message, head)).await,
            PREDICT_PRICE => self.inner.answer(call(PREDICT_PRICE), PredictPriceRequest::parse(message, head)).await,
            RECOMMEND => self.inner.answer(call(RECOMMEND), RecommendRequest::parse(message, head)).await,
            _ => Outcome::Declined,
        }
    }
}

impl Shard {
    /// Makes shard number `index` of `plane`; on the thread that it is to live on, inside its `LocalSet`.
    pub fn new(plane: Arc<Plane>, index: usize) -> Self {
        let seed = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_nanos() as u64);
        let random = Cell::new((seed ^ (index as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15)) | 1);
        let (nudges, nudged) = mpsc::unbounded_channel();
        plane.join(index, nudges);
        let inner = Rc::new(Inner {
            index,
            plane,
            queues: RefCell::default(),
            here: Rc::default(),
            random,
            numbers: Cell::new(0),
            audiences: Audiences::default(),
            watched: OnceCell::new(),
        });
        let weak = Rc::downgrade(&inner);
        tokio::task::spawn_local(heed(nudged, move |nudge| {
            if let Some(inner) = weak.upgrade() {
                inner.nudged(nudge);
            }
        }));
        Self { inner }
    }
}

/// A call.
#[derive(Clone, Copy)]
struct Call<'a> {
    method: &'static str,
    head: &'a call::Head,
    message: &'a Bytes,
    came: Instant,
}

/// A request that is ready to run.
struct Ready {
    servable: Hold,
    prepared: Prepared,
    /// Of the message: inputs are parts of it, and all of it is kept as long as they are.
    nbytes: u64,
    input_ns: Ns,
    level: u8,
    deadline: Option<Ns>,
    span: Option<Arc<Span>>,
}

impl Inner {
    /// Answers what was read of a call's message, if it could be.
    async fn answer<Q: Question>(self: &Rc<Self>, call: Call<'_>, question: Option<Q>) -> Outcome {
        let departed = question.and_then(|question| {
            let (flight, load) = self.depart(call, &question, self.plane.enter()?)?;
            Some((question, flight, load))
        });
        let Some((question, flight, load)) = departed else {
            self.plane.decline();
            return Outcome::Declined;
        };
        let ended = match load {
            Ok(ready) => self.run(ready).await,
            Err(error) => Err(error),
        };
        flight.land(&question, ended)
    }

    /// Decides, and makes the inputs. None where Python has to answer; then nothing has been counted.
    fn depart<Q: Question>(
        self: &Rc<Self>,
        call: Call<'_>,
        question: &Q,
        inside: Inside,
    ) -> Option<(Flight, Result<Ready, Error>)> {
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
        let place = (self.plane.clone(), self.here.clone());
        let spans = self.plane.spans.as_ref();
        let draft = Draft::of(call.method, call.head, (ask.unit(), question.request_id()), spans)?;
        let mut flight = Flight::new(place, view, decision, (call.came, deadline), draft, (servable.clone(), inside));
        // Before anything is spent on the tensors of a request for which there is no room.
        let full = self.queue_of(&servable).batcher.borrow_mut().check_wait(level, self.plane.at(call.came)).err();
        if let Some(error) = full {
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

    /// Returns the mirrors that are to get a copy of a request, if it is answered.
    fn drawn(&self, decision: &Decision) -> Vec<usize> {
        let fractions = decision.mirrors.iter().enumerate();
        fractions.filter(|&(_, &fraction)| fraction >= 1.0 || self.draw() < fraction).map(|(place, _)| place).collect()
    }

    /// Runs a request now, or when it is its turn.
    async fn run(self: &Rc<Self>, ready: Ready) -> Result<Ended, Error> {
        let Ready { servable, prepared, nbytes, input_ns, level, deadline, span } = ready;
        let queue = self.queue_of(&servable);
        let now = self.plane.now();
        let alone = self.here.get() <= 1;
        let mut too_long = None;
        if alone && queue.batcher.borrow_mut().at_once(prepared.size, deadline, now)? {
            let rows = prepared.rows.max(1);
            let work = |options: Option<&RunOptions>| run::alone(&servable, &prepared, options, |at| self.plane.at(at));
            match self.try_here(&servable, work) {
                Tried::Done((mut ended, run)) => {
                    trace(&self.plane, span.iter(), &ended.timing);
                    ended.timing.input += input_ns;
                    self.ran(&queue, rows, &[run], true);
                    return Ok(ended);
                }
                Tried::Crashed => {
                    self.ran(&queue, rows, &[], true);
                    return Err(crashed());
                }
                Tried::TooLong(took) => too_long = Some(took),
            }
        }
        let (done, outcome) = oneshot::channel();
        let (rows, size) = (prepared.rows, prepared.size);
        let number = self.numbers.get();
        self.numbers.set(number + 1);
        let mut waits = Waits { inner: self, queue: &queue, number, ticket: None, abandoned: true };
        if let Some(took) = too_long {
            let load = Load { number, servable, prepared, input_ns, span, done };
            self.run_anew(&queue, Due { rows: rows.max(1), offered: vec![now], loads: vec![load] }, took);
        } else {
            let nbytes = nbytes.max(nbytes_of(&prepared));
            let key = servable.key_of(&prepared);
            let load = Load { number, servable, prepared, input_ns, span, done };
            let item = Item { load, rows, nbytes, size, deadline, key, priority: level, offered: now };
            waits.ticket = Some(queue.batcher.borrow_mut().offer(item, now)?);
            if alone {
                self.pump(&queue, false);
            } else {
                // At the end of this turn: what else the turn brings is company.
                self.pump_soon(&queue);
            }
        }
        let ended = outcome.await;
        waits.abandoned = false;
        ended.map_err(|_| crashed())
    }

    fn queue_of(self: &Rc<Self>, servable: &Servable) -> Rc<Queue> {
        let id = servable.settings.id;
        if let Some(queue) = self.queues.borrow().get(&id) {
            return queue.clone();
        }
        let view = self.plane.view();
        let mut queues = self.queues.borrow_mut();
        // Versions that are gone have left their queues here; those whose runs are still under way go another time.
        queues.retain(|&id, queue| view.as_ref().is_some_and(|view| view.has(id)) || !queue.batcher.borrow().is_idle());
        let batcher = RefCell::new(servable.batcher());
        let queue = Rc::new(Queue { id, batcher, pump_due: Cell::default(), timer_due: Cell::default() });
        queues.insert(id, queue.clone());
        queue
    }

    // ------------------------------------------------------------ driving

    fn pump_soon(self: &Rc<Self>, queue: &Rc<Queue>) {
        if !queue.pump_due.replace(true) {
            let (inner, queue) = (self.clone(), queue.clone());
            tokio::task::spawn_local(async move {
                queue.pump_due.set(false);
                inner.pump(&queue, false);
            });
        }
    }

    /// Runs what can run now; where a run counts as started already (`chosen`), a dear one uses that.
    fn pump(self: &Rc<Self>, queue: &Rc<Queue>, chosen: bool) {
        let place = (queue.id, self.index);
        let turn_ends = self.plane.now() + INLINE_TURN;
        let mut reserved = chosen;
        loop {
            // In one step with the wish: a thread that came free between the two would be nobody's.
            let may_start = |cost| std::mem::take(&mut reserved) || self.plane.shares().start_or_want(place, cost);
            let choice = queue.batcher.borrow_mut().next_batch(self.plane.now(), may_start);
            for item in choice.dropped {
                let timing = Timing { queue: self.plane.now().saturating_sub(item.offered), ..Timing::default() };
                let answer = Err(Failure { error: deadline_expired(), problem: String::new() });
                let _ = item.load.done.send(Ended { answer, timing });
            }
            let Some(batch) = choice.batch else {
                if !choice.blocked {
                    self.forgo(place);
                }
                if let Some(due) = choice.wake_at {
                    self.wake_at(queue, due);
                }
                break;
            };
            if !batch.inline {
                self.run_in_thread(batch.into());
                continue;
            }
            self.run_here(queue, batch.into());
            if self.plane.now() >= turn_ends {
                if !queue.batcher.borrow().is_empty() {
                    // What has piled up must not hold up the reactor: the other calls get their turn in between.
                    self.pump_soon(queue);
                }
                break;
            }
        }
        if reserved {
            self.plane.thread_freed(queue.id);
        }
    }

    fn forgo(&self, place: (Id, usize)) {
        self.plane.shares().forgo(place);
    }

    fn wake_at(self: &Rc<Self>, queue: &Rc<Queue>, due: Ns) {
        if queue.timer_due.replace(true) {
            return;
        }
        let wait = std::time::Duration::from_nanos(due.saturating_sub(self.plane.now()));
        let (inner, queue) = (self.clone(), queue.clone());
        tokio::task::spawn_local(async move {
            tokio::time::sleep(wait).await;
            queue.timer_due.set(false);
            inner.pump(&queue, false);
        });
    }

    fn run_here(&self, queue: &Queue, due: Due) {
        let Some(servable) = due.servable() else { return };
        let loads = &due.loads;
        let work = |options: Option<&RunOptions>| run::execute(&servable, loads, options, |at| self.plane.at(at));
        let (ended, runs) = match self.try_here(&servable, work) {
            Tried::Done(done) => done,
            Tried::TooLong(took) => return self.run_anew(queue, due, took),
            // Those who wait are told so as their loads go.
            Tried::Crashed => Default::default(),
        };
        self.ran(queue, due.rows, &runs, true);
        trace_runs(&self.plane, &due.loads, &ended, runs.len());
        tell(due, ended);
    }

    /// Runs something on this thread, watched over.
    fn try_here<T>(&self, servable: &Servable, work: impl FnOnce(Option<&RunOptions>) -> T) -> Tried<T> {
        let watch = || servable.session.run_options().ok().and_then(|options| self.plane.watch.over(options));
        let began = Instant::now();
        let done = unpanicked(|| match self.watched.get_or_init(watch) {
            Some(watched) => watched.run(|options| work(Some(options))),
            None => Some(work(None)),
        });
        match done {
            Some(Some(done)) => Tried::Done(done),
            Some(None) => Tried::TooLong(began.elapsed().as_nanos() as Ns),
            None => Tried::Crashed,
        }
    }

    /// Runs in a thread what kept this one for too long, `took` nanoseconds, and was ended.
    fn run_anew(&self, queue: &Queue, due: Due, took: Ns) {
        let size = due.loads.iter().map(|load| load.prepared.size).sum();
        queue.batcher.borrow_mut().costs.observe(size, took, true);
        self.plane.shares().start(queue.id, took as f64);
        self.run_in_thread(due);
    }

    fn run_in_thread(&self, due: Due) {
        let Some(servable) = due.servable() else { return };
        let options = servable.session.run_options().ok().map(Arc::new);
        if let Some(options) = &options {
            self.audiences.gather(options, due.loads.iter().map(|load| load.number));
        }
        let (plane, shard, rows) = (self.plane.clone(), self.index, due.rows);
        self.plane.threads.submit(move || {
            let hold = Some(servable.clone());
            let freed = Freed { plane: plane.clone(), shard, hold, rows, runs: RefCell::default() };
            let (ended, runs) = run::execute(&servable, &due.loads, options.as_deref(), |instant| plane.at(instant));
            let count = runs.len();
            freed.runs.replace(runs);
            // The thread first, the answers then: it need not be idle while they are written.
            drop(freed);
            trace_runs(&plane, &due.loads, &ended, count);
            tell(due, ended);
        });
    }

    fn ran(&self, queue: &Queue, rows: u64, runs: &[Run], here: bool) {
        let mut batcher = queue.batcher.borrow_mut();
        for run in runs {
            if !run.failed {
                let overran = here && batcher.overran(run.infer);
                batcher.costs.observe(run.size, run.infer, overran);
            }
            self.plane.ledger.ran(run);
        }
        batcher.finish(rows, self.plane.now());
    }

    fn nudged(self: &Rc<Self>, nudge: Nudge) {
        match nudge {
            Nudge::Chosen(id) => {
                let queue = self.queues.borrow().get(&id).cloned();
                match queue {
                    Some(queue) => self.pump(&queue, true),
                    None => self.plane.thread_freed(id),
                }
            }
            Nudge::Finished(hold, rows, runs) => {
                let queue = self.queues.borrow().get(&hold.settings.id).cloned();
                if let Some(queue) = queue {
                    self.ran(&queue, rows, &runs, false);
                    self.pump(&queue, false);
                }
            }
        }
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

/// Has `hear` told of what comes. Where it panics over one, it is still told of the next.
async fn heed<T>(mut coming: mpsc::UnboundedReceiver<T>, mut hear: impl FnMut(T)) {
    while let Some(one) = coming.recv().await {
        unpanicked(|| hear(one));
    }
}

/// Returns what `work` does, or None where it panics: the default hook has said what it was.
fn unpanicked<T>(work: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work)).ok()
}

/// Gives a run thread back when the run is over, however it ended.
struct Freed {
    plane: Arc<Plane>,
    shard: usize,
    hold: Option<Hold>,
    rows: u64,
    runs: RefCell<Vec<Run>>,
}

impl Drop for Freed {
    fn drop(&mut self) {
        if let Some(hold) = self.hold.take() {
            let id = hold.settings.id;
            self.plane.nudge(self.shard, Nudge::Finished(hold, self.rows, self.runs.take()));
            self.plane.thread_freed(id);
        }
    }
}

/// Takes a request out of its queue, or away from those who wait for its run, when nobody waits for it any more.
struct Waits<'a> {
    inner: &'a Rc<Inner>,
    queue: &'a Rc<Queue>,
    number: u64,
    /// None for one that did not wait.
    ticket: Option<Ticket>,
    /// Whether its caller has gone before it was answered.
    abandoned: bool,
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        let left = self.ticket.is_some_and(|ticket| self.queue.batcher.borrow_mut().cancel(ticket).is_some());
        if !left {
            self.inner.audiences.leave(self.number, self.abandoned);
        } else if self.queue.batcher.borrow().is_empty() {
            self.inner.forgo((self.queue.id, self.inner.index));
        }
    }
}

/// Records so many runs: one of all loads, or one of each.
fn trace_runs(plane: &Plane, loads: &[Load], ended: &[Ended], runs: usize) {
    if plane.spans.is_none() {
        return;
    }
    let each = if runs == 1 { loads.len() } else { 1 };
    for (loads, ended) in loads.chunks(each.max(1)).zip(ended.chunks(each.max(1))) {
        trace(plane, loads.iter().filter_map(|load| load.span.as_ref()), &ended[0].timing);
    }
}

/// Records a run of requests, as far as those are recorded.
fn trace<'a>(plane: &Plane, requests: impl Iterator<Item = &'a Arc<Span>> + Clone, timing: &Timing) {
    if let Some(spans) = &plane.spans
        && requests.clone().next().is_some()
    {
        spans.ran(requests.map(|span| &**span), timing, plane.epoch_offset());
    }
}

fn tell(due: Due, ended: Vec<Ended>) {
    for ((load, offered), mut ended) in due.loads.into_iter().zip(due.offered).zip(ended) {
        ended.timing.queue = ended.timing.started.saturating_sub(offered);
        ended.timing.input += load.input_ns;
        let _ = load.done.send(ended); // its caller may have gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_shard_that_panics_over_a_nudge_hears_the_next() {
        let (nudges, coming) = mpsc::unbounded_channel();
        (0..3).for_each(|number| nudges.send(number).unwrap());
        drop(nudges);
        let mut heard = Vec::new();
        heed(coming, |number| {
            assert_ne!(number, 1, "of a test");
            heard.push(number);
        })
        .await;
        assert_eq!(heard, [0, 2]);
    }
}
