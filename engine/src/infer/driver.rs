//! Drives the queues of one shard: what waits, what runs here and what in a thread, and what comes of it.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::audience::Audiences;
use super::due::{Due, Load, trace};
use super::flight::crashed;
use super::handover;
use super::plane::{Finished, Nudge, Outcome, Plane};
use super::record::{Run, Timing};
use super::run::{self, Ended, Failure};
use super::servable::{Hold, Servable, nbytes_of};
use super::sole::Sole;
use super::watch::Watched;
use crate::batch::Ns;
use crate::batch::batcher::{Batcher, Otherwise, Turn, deadline_expired};
use crate::batch::shares::Id;
use crate::batch::waiting::{Item, Ticket};
use crate::call::Company;
use crate::error::Error;
use crate::oip::Prepared;
use crate::ort::RunOptions;
use crate::spans::Span;

/// How long one version's runs may keep the reactor from all else in one turn, before the last of them.
const INLINE_TURN: Ns = 2_000_000;

/// One shard's queues. It lives on the shard's thread.
pub struct Driver {
    index: usize,
    plane: Arc<Plane>,
    company: Company,
    sole: Sole,
    queues: RefCell<HashMap<Id, Rc<Queue>>>,
    /// Requests that have waited.
    numbers: Cell<u64>,
    audiences: Audiences,
    /// The shard's runs; None where they cannot be watched over.
    watched: OnceCell<Option<Arc<Watched>>>,
}

/// One version's queue on this shard.
struct Queue {
    id: Id,
    batcher: RefCell<Batcher<Load>>,
    pump_due: Cell<bool>,
    timer_due: Cell<bool>,
}

/// A request that is ready to run.
pub struct Ready {
    pub servable: Hold,
    pub prepared: Prepared,
    /// Of the message: inputs are parts of it, and all of it is kept as long as they are.
    pub nbytes: u64,
    pub input_ns: Ns,
    pub level: u8,
    pub deadline: Option<Ns>,
    pub span: Option<Arc<Span>>,
}

/// What came of a run on a reactor.
enum Tried<T> {
    Done(T),
    /// It was ended, after so many nanoseconds.
    TooLong(Ns),
    Crashed,
}

impl Driver {
    /// Drives the queues of shard number `index`, from within its `LocalSet`; `company` are its calls.
    pub fn new(plane: Arc<Plane>, index: usize, company: Company) -> Rc<Self> {
        let (nudges, nudged) = mpsc::unbounded_channel();
        plane.join(index, nudges);
        let driver = Rc::new(Self {
            index,
            plane,
            company,
            sole: Sole::default(),
            queues: RefCell::default(),
            numbers: Cell::new(0),
            audiences: Audiences::default(),
            watched: OnceCell::new(),
        });
        let weak = Rc::downgrade(&driver);
        tokio::task::spawn_local(heed(nudged, move |nudge| {
            if let Some(driver) = weak.upgrade() {
                driver.nudged(nudge);
            }
        }));
        driver
    }

    /// Runs a request now, or when it is its turn.
    pub async fn run(self: &Rc<Self>, ready: Ready) -> Result<Ended, Error> {
        let Ready { servable, prepared, nbytes, input_ns, level, deadline, span } = ready;
        let queue = self.queue_of(&servable);
        let now = self.plane.now();
        self.sole.comes(queue.id, now);
        let alone = self.company.is_one();
        let mut too_long = None;
        if alone && queue.batcher.borrow_mut().at_once(prepared.size, deadline, now, self.sole.is_one(now))? {
            let rows = prepared.rows.max(1);
            let work = |options: Option<&RunOptions>| run::alone(&servable, &prepared, options, |at| self.plane.at(at));
            match self.try_here(&servable, work) {
                Tried::Done((mut ended, run)) => {
                    trace(&self.plane, span.iter(), &ended.timing);
                    ended.timing.input += input_ns;
                    self.ran(&queue, &servable, rows, &[run], true);
                    return Ok(ended);
                }
                Tried::Crashed => {
                    self.ran(&queue, &servable, rows, &[], true);
                    return Err(crashed());
                }
                Tried::TooLong(took) => too_long = Some(took),
            }
        }
        let (done, outcome) = oneshot::channel();
        let (rows, size) = (prepared.rows, prepared.size);
        let number = self.numbers.get();
        self.numbers.set(number + 1);
        let mut waits = Waits { driver: self, queue: &queue, number, ticket: None, abandoned: true };
        if let Some(took) = too_long {
            let load = Load { number, servable, prepared, input_ns, span, done };
            self.run_anew(&queue, Due { rows: rows.max(1), offered: vec![now], loads: vec![load] }, took);
        } else {
            let nbytes = nbytes.max(nbytes_of(&prepared));
            let key = servable.key_of(&prepared);
            let most_size = servable.most_size();
            let load = Load { number, servable, prepared, input_ns, span, done };
            let item = Item { load, rows, nbytes, size, deadline, key, priority: level, offered: now };
            let mut batcher = queue.batcher.borrow_mut();
            batcher.bound_size(most_size);
            waits.ticket = Some(batcher.offer(item, now)?);
            drop(batcher);
            if alone {
                self.pump(&queue, false);
            } else {
                // At the end of this turn: what else the turn brings is company.
                self.pump_after(&queue, std::future::ready(()));
            }
        }
        let ended = outcome.await;
        waits.abandoned = false;
        ended.map_err(|_| crashed())
    }

    /// Returns why there is certainly no room for one more request of a priority's `level`.
    pub fn refusal(&self, servable: &Servable, level: u8, came: Instant) -> Option<Error> {
        self.queue_of(servable).batcher.borrow_mut().check_wait(level, self.plane.at(came)).err()
    }

    fn queue_of(&self, servable: &Servable) -> Rc<Queue> {
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

    fn pump_after(self: &Rc<Self>, queue: &Rc<Queue>, other: impl Future<Output = ()> + 'static) {
        if !queue.pump_due.replace(true) {
            let (driver, queue) = (self.clone(), queue.clone());
            tokio::task::spawn_local(async move {
                other.await;
                queue.pump_due.set(false);
                driver.pump(&queue, false);
            });
        }
    }

    /// Runs what can run now; where a run counts as started already (`chosen`), a dear one uses that.
    fn pump(self: &Rc<Self>, queue: &Rc<Queue>, chosen: bool) {
        let place = (queue.id, self.index);
        // Where more is due after a look at everybody, threads get theirs, and nothing runs here.
        let free = !queue.pump_due.get();
        let turn_ends = self.plane.now() + INLINE_TURN;
        let mut reserved = chosen;
        loop {
            let may_start = |cost, otherwise| match otherwise {
                // In one step with the wish: a thread that came free between the two would be nobody's.
                Otherwise::Wait => std::mem::take(&mut reserved) || self.plane.shares().start_or_want(place, cost),
                // On a core that is at work already it would be no quicker.
                Otherwise::Here => {
                    self.plane.cores.any_idle()
                        && (std::mem::take(&mut reserved) || self.plane.shares().start_if_may(place, cost))
                }
            };
            let now = self.plane.now();
            let choice =
                queue.batcher.borrow_mut().next_batch(now, Turn { sole: self.sole.is_one(now), free }, may_start);
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
                    // What has piled up must not hold up the reactor: the other calls get their turn in between, those
                    // that have come meanwhile among them.
                    self.pump_after(queue, tokio::task::yield_now());
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
        let wait = Duration::from_nanos(due.saturating_sub(self.plane.now()));
        let (driver, queue) = (self.clone(), queue.clone());
        tokio::task::spawn_local(async move {
            tokio::time::sleep(wait).await;
            queue.timer_due.set(false);
            driver.pump(&queue, false);
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
        self.ran(queue, &servable, due.rows, &runs, true);
        due.trace(&self.plane, &ended);
        due.tell(ended);
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
        handover::hand_over(&self.plane, self.index, due, &self.audiences);
    }

    fn ran(&self, queue: &Queue, servable: &Servable, rows: u64, runs: &[Run], here: bool) {
        let mut batcher = queue.batcher.borrow_mut();
        batcher.bound_size(servable.most_size()); // what waits is to be put together by what was learnt just now
        for run in runs {
            if !run.failed {
                let overran = here && batcher.overran(run.size, run.infer);
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
            Nudge::Finished(finished) => self.finished(*finished),
        }
    }

    fn finished(self: &Rc<Self>, finished: Finished) {
        let Finished { hold, rows, outcome, under_way } = finished;
        drop(under_way);
        let runs = outcome.as_ref().map_or(&[][..], |outcome| &outcome.runs);
        let queue = self.queues.borrow().get(&hold.settings.id).cloned();
        if let Some(queue) = &queue {
            self.ran(queue, &hold, rows, runs, false);
        }
        if let Some(Outcome { due, ended, .. }) = outcome {
            due.trace(&self.plane, &ended);
            due.tell(ended);
        }
        if let Some(queue) = queue {
            self.pump(&queue, false);
        }
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

/// Takes a request out of its queue, or away from those who wait for its run, when nobody waits for it any more.
struct Waits<'a> {
    driver: &'a Driver,
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
            self.driver.audiences.leave(self.number, self.abandoned);
        } else if self.queue.batcher.borrow().is_empty() {
            self.driver.forgo((self.queue.id, self.driver.index));
        }
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
