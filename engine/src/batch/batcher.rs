//! The queue of one version on one shard: what runs next, and who does not.

use std::sync::Arc;

use super::Ns;
use super::admission::Admission;
use super::cost::CostModel;
use super::waiting::{Item, LOWEST_PRIORITY, Ticket, Waiting};
use crate::error::{Error, Kind};

const NS: f64 = 1e9;
const SMOOTHING: f64 = 0.1;
const STRONGEST: f64 = 0.5;

/// How one version's requests are put together.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Rows of a batch; a request with more runs alone.
    pub max_rows: u64,
    /// How long a request may be kept waiting for company, though it could run.
    pub max_delay: Ns,
    /// What is expected to run for less, in nanoseconds, runs on the reactor.
    pub inline_below: f64,
    /// How many batches may run at once: for the first estimate of waits, before any is measured.
    pub parallel: u64,
}

/// Where a reactor is asked for nothing else, what is expected to run for so many times `Rules::inline_below` may run on it.
///
/// To hand a run on and its answer back wakes two threads: of a run of 230 us that is a fourth of all that its call takes.
const SOLE: f64 = 4.0;
/// No run is for that reason on the reactor that should take longer than this, whatever is cheap: what keeps one for 25 ms
/// is ended.
const LONGEST: f64 = 5e6;
/// What takes so many times as long as the longest that may be expected was too long for a reactor.
const TOO_LONG: f64 = 4.0;

/// What a reactor has time for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Whether it was lately asked for no other version.
    pub sole: bool,
    /// Whether it may run something itself before it has looked at what else there is.
    pub free: bool,
}

/// What becomes of a batch that may not start in a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Otherwise {
    /// It waits until it may.
    Wait,
    /// It runs on the reactor.
    Here,
}

/// Requests that run together.
#[derive(Debug)]
pub struct Batch<T> {
    pub items: Vec<Item<T>>,
    /// Whether it is to run on the reactor.
    pub inline: bool,
}

impl<T> Batch<T> {
    /// Returns the size of all its requests.
    pub fn size(&self) -> u64 {
        self.items.iter().map(|item| item.size).sum()
    }
}

/// What is to be done now.
#[derive(Debug)]
pub struct Choice<T> {
    /// To be run.
    pub batch: Option<Batch<T>>,
    /// To be told that their deadline has passed.
    pub dropped: Vec<Item<T>>,
    /// Whether there is a batch for which a thread has to be free first.
    pub blocked: bool,
    /// When to ask again even if nothing happens.
    pub wake_at: Option<Ns>,
}

/// The queue.
#[derive(Debug)]
pub struct Batcher<T> {
    admission: Arc<Admission>,
    pub costs: CostModel,
    rules: Rules,
    /// How large a batch may be; what is larger by itself runs alone.
    max_size: u64,
    waiting: Waiting<T>,
    /// Seconds that a waiting row has taken lately, from one batch's end to the next; 0 while unknown.
    pace_s: f64,
    /// When the last batch ended, or the queue began to form; None without a queue.
    pace_mark: Option<Ns>,
    running: usize,
}

impl<T> Batcher<T> {
    /// Makes an empty queue.
    pub fn new(admission: Arc<Admission>, costs: CostModel, rules: Rules) -> Self {
        let (max_size, waiting) = (u64::MAX, Waiting::default());
        Self { admission, costs, rules, max_size, waiting, pace_s: 0.0, pace_mark: None, running: 0 }
    }

    /// Sets how large a batch may be from now on, by the size that costs go by.
    pub fn bound_size(&mut self, most: u64) {
        self.max_size = most;
    }

    /// Says whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Says whether nothing waits and nothing runs.
    pub fn is_idle(&self) -> bool {
        self.running == 0 && self.waiting.is_empty()
    }

    fn is_cheap(&self, size: u64) -> bool {
        self.costs.is_below(size, self.rules.inline_below)
    }

    /// Says whether a run may take place on the reactor, of which nothing else was asked lately if this is the `sole` version.
    fn may_be_here(&self, size: u64, sole: bool) -> bool {
        self.is_cheap(size) || sole && self.costs.is_below(size, self.longest())
    }

    fn longest(&self) -> f64 {
        (SOLE * self.rules.inline_below).min(LONGEST)
    }

    /// Says whether a run of `size` that took `ns` was too long for a reactor.
    pub fn overran(&self, size: u64, ns: Ns) -> bool {
        let longest = if self.is_cheap(size) { self.rules.inline_below } else { self.longest() };
        ns as f64 > TOO_LONG * longest
    }

    /// Returns how long a request of priority `level` would have to wait if it came `now`, in seconds, as estimated.
    ///
    /// That is by the pace so far, which is believed as far as whoever is next has waited already, or the runs alone
    /// take: at a burst's beginning it is the pace of small batches, between which many requests are read.
    pub fn wait_s(&mut self, level: u8, now: Ns) -> f64 {
        let rows = self.waiting.rows_ahead(level);
        let head = if rows > 0 { self.waiting.head() } else { None };
        let Some(head) = head.and_then(|ticket| self.waiting.get(ticket)) else { return 0.0 };
        let by_pace_s = if self.pace_s > 0.0 { rows as f64 * self.pace_s } else { f64::INFINITY };
        let stood_s = now.saturating_sub(head.offered) as f64 / NS;
        if by_pace_s <= stood_s {
            return by_pace_s;
        }
        let runs_s = self.runs_s(rows, head);
        if self.pace_s > 0.0 { by_pace_s.min(runs_s.max(stood_s)) } else { runs_s }
    }

    /// Returns how long all that waits would run, in seconds.
    fn burst_s(&mut self) -> f64 {
        let ticket = self.waiting.head();
        let rows = self.waiting.rows_ahead(LOWEST_PRIORITY);
        ticket.and_then(|ticket| self.waiting.get(ticket)).map_or(0.0, |head| self.runs_s(rows, head))
    }

    /// Returns how long so many rows would run in batches like the next one, in seconds.
    fn runs_s(&self, rows: u64, head: &Item<T>) -> f64 {
        let (mut together, mut size) = self.waiting.group_of(head);
        let most = self.rules.max_rows.max(head.room());
        if together > most {
            size = (size.saturating_mul(most) / together).max(head.size);
            together = most;
        }
        let (together, size) = self.within_size(together, size, head);
        let batches = (rows as f64 / together.max(1) as f64).max(1.0);
        self.costs.estimate(size) * batches / NS / self.rules.parallel.max(1) as f64
    }

    /// Returns rows and size of a batch with `head` in it, where so many rows of such a size wait.
    fn within_size(&self, rows: u64, size: u64, head: &Item<T>) -> (u64, u64) {
        let most = self.max_size.max(head.size);
        if size <= most { (rows, size) } else { ((rows.saturating_mul(most) / size).max(head.room()), most) }
    }

    /// Refuses a request of which only its priority `level` is known, if there is certainly no room for it.
    ///
    /// # Errors
    /// `QUEUE_FULL`.
    pub fn check_wait(&mut self, level: u8, now: Ns) -> Result<(), Error> {
        if self.waiting.is_empty() && !self.admission.is_waited_for() {
            return Ok(());
        }
        let wait_s = self.wait_s(level, now);
        let runs_s = self.burst_s();
        self.admission.check(1, 0, wait_s, runs_s)
    }

    /// Says whether a lone request is to run on the reactor at once; if so it counts as running until `finish`. `sole`: see
    /// `Turn`.
    ///
    /// # Errors
    /// `DEADLINE_EXPIRED`, `DEADLINE_UNREACHABLE`: as `offer`.
    pub fn at_once(&mut self, size: u64, deadline: Option<Ns>, now: Ns, sole: bool) -> Result<bool, Error> {
        if self.running > 0 || !self.waiting.is_empty() || self.rules.max_delay > 0 {
            return Ok(false);
        }
        if !self.may_be_here(size, sole) {
            return Ok(false);
        }
        self.check_deadline(size, deadline, now, 0.0)?;
        self.running += 1;
        Ok(true)
    }

    /// Takes `item` in.
    ///
    /// # Errors
    /// `DEADLINE_EXPIRED`: its deadline has passed. `DEADLINE_UNREACHABLE`: it will have passed before its run is
    /// over, by the current estimate. `QUEUE_FULL`: there is no room.
    pub fn offer(&mut self, item: Item<T>, now: Ns) -> Result<Ticket, Error> {
        // What can run at once does not wait, so the bounds on waiting are not for it.
        let busy = self.running > 0 || !self.waiting.is_empty();
        let wait_s = if busy { self.wait_s(item.priority, now) } else { 0.0 };
        self.check_deadline(item.size, item.deadline, now, wait_s)?;
        if busy || self.admission.is_waited_for() {
            let runs_s = self.burst_s();
            self.admission.admit(item.room(), item.nbytes, wait_s, runs_s)?;
        } else {
            self.admission.enter(item.room(), item.nbytes);
        }
        if busy {
            self.pace_mark.get_or_insert(now);
        }
        Ok(self.waiting.add(item, now))
    }

    /// Decides what to run now; a batch that is returned counts as running until `finish`.
    ///
    /// Args:
    ///     turn: the reactor's. A batch that is to run on it waits where it is not free.
    ///     may_start: whether a batch that should take so many nanoseconds may start in a thread. It is not asked of a cheap
    ///         one, nor of one that may run on the reactor and leaves nobody waiting.
    pub fn next_batch(&mut self, now: Ns, turn: Turn, may_start: impl FnOnce(f64, Otherwise) -> bool) -> Choice<T> {
        let mut choice = Choice { batch: None, dropped: Vec::new(), blocked: false, wake_at: None };
        let (head, size, last) = loop {
            let Some(ticket) = self.waiting.head() else { return choice };
            let Some(head) = self.waiting.get(ticket) else { return choice };
            if self.is_too_late(head, now) {
                self.drop_late(ticket, &mut choice.dropped);
                continue;
            }
            let (rows, mut size) = self.waiting.group_of(head);
            let fits = rows <= self.rules.max_rows.max(head.room()) && size <= self.max_size.max(head.size);
            let last = fits && rows == self.waiting.rows_ahead(LOWEST_PRIORITY);
            if size > self.max_size || rows > self.rules.max_rows {
                size = self.within_size(rows, size, head).1;
                size = size.min((size.saturating_mul(self.rules.max_rows) / rows.max(1)).max(head.size));
            } else if self.rules.max_delay > 0 && head.key.is_some() && rows < self.rules.max_rows {
                let due = head.offered + self.rules.max_delay;
                if now < due {
                    choice.wake_at = Some(due);
                    return choice;
                }
            }
            break (ticket, size, last);
        };
        let cost = self.costs.estimate(size);
        let inline = if self.may_be_here(size, turn.sole) {
            self.is_cheap(size) || last || !may_start(cost, Otherwise::Here)
        } else if may_start(cost, Otherwise::Wait) {
            false
        } else {
            choice.blocked = true;
            return choice;
        };
        if inline && !turn.free {
            return choice;
        }
        let items = self.take(head, now, &mut choice.dropped);
        if !items.is_empty() {
            self.running += 1;
            choice.batch = Some(Batch { items, inline });
        }
        choice
    }

    /// Notes that a batch of so many rows, as `room` counts them, has run.
    pub fn finish(&mut self, rows: u64, now: Ns) {
        self.running -= 1;
        if let Some(mark) = self.pace_mark {
            let rows = rows.max(1) as f64;
            let pace = now.saturating_sub(mark) as f64 / NS / rows;
            // What is to be known is the pace of the batches to come, which are as large as the queue makes them.
            let weight = if self.pace_s > 0.0 { (SMOOTHING * rows).min(STRONGEST) } else { 1.0 };
            self.pace_s += (pace - self.pace_s) * weight;
            self.pace_mark = if self.waiting.is_empty() { None } else { Some(now) };
        }
    }

    /// Drops a request; None if it no longer waits.
    pub fn cancel(&mut self, ticket: Ticket) -> Option<Item<T>> {
        let item = self.leave(ticket)?;
        self.forget_pace();
        Some(item)
    }

    /// Takes the head, and whoever waits and fits, out of the queue.
    fn take(&mut self, head: Ticket, now: Ns, dropped: &mut Vec<Item<T>>) -> Vec<Item<T>> {
        let Some(first) = self.leave(head) else { return Vec::new() };
        let (key, mut rows, mut size) = (first.key.clone(), first.rows, first.size);
        let mut taken = vec![first];
        let Some(key) = key else { return taken };
        while let Some(ticket) = self.waiting.first_of(&key) {
            let Some(mate) = self.waiting.get(ticket) else { break };
            if rows + mate.rows > self.rules.max_rows || size.saturating_add(mate.size) > self.max_size {
                break;
            }
            if self.is_too_late(mate, now) {
                self.drop_late(ticket, dropped);
                continue;
            }
            rows += mate.rows;
            size += mate.size;
            taken.extend(self.leave(ticket));
        }
        taken
    }

    fn leave(&mut self, ticket: Ticket) -> Option<Item<T>> {
        let item = self.waiting.remove(ticket)?;
        self.admission.leave(item.room(), item.nbytes);
        Some(item)
    }

    fn drop_late(&mut self, ticket: Ticket, dropped: &mut Vec<Item<T>>) {
        dropped.extend(self.leave(ticket));
        self.forget_pace();
    }

    /// Else the idle time that follows would count as the next batch's.
    fn forget_pace(&mut self) {
        if self.running == 0 && self.waiting.is_empty() {
            self.pace_mark = None;
        }
    }

    /// Says whether even a run as fast as any so far would end after the deadline.
    fn is_too_late(&self, item: &Item<T>, now: Ns) -> bool {
        item.deadline.is_some_and(|deadline| deadline as f64 <= now as f64 + self.costs.least(item.size))
    }

    fn check_deadline(&mut self, size: u64, deadline: Option<Ns>, now: Ns, wait_s: f64) -> Result<(), Error> {
        let Some(deadline) = deadline else { return Ok(()) };
        if deadline <= now {
            return Err(deadline_expired());
        }
        let left_s = (deadline - now) as f64 / NS;
        // With nobody ahead the best time counts: an estimate may be out of date, and only a run can put it right.
        let run_ns = if wait_s > 0.0 { self.costs.estimate(size) } else { self.costs.least(size) };
        let needed_s = wait_s + run_ns / NS;
        if left_s > needed_s {
            return Ok(());
        }
        if wait_s == 0.0 {
            self.costs.doubt(size);
        }
        Err(deadline_unreachable(left_s, needed_s))
    }
}

impl<T> Drop for Batcher<T> {
    fn drop(&mut self) {
        while let Some(ticket) = self.waiting.head() {
            self.leave(ticket);
        }
    }
}

/// Returns the error of a request whose deadline passed before it ran.
pub fn deadline_expired() -> Error {
    Error::new(Kind::Expired, "DEADLINE_EXPIRED", "the deadline passed before the model ran")
}

fn deadline_unreachable(left_s: f64, needed_s: f64) -> Error {
    let (left, needed) = (left_s * 1000.0, needed_s * 1000.0);
    let text = format!("{left:.0} ms are left, and the wait and the run should take {needed:.0} ms");
    Error {
        details: vec![("left_ms", format!("{left:.1}")), ("needed_ms", format!("{needed:.1}"))],
        ..Error::new(Kind::Expired, "DEADLINE_UNREACHABLE", text)
    }
}

#[cfg(test)]
mod tests;
