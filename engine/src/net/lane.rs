//! How connections share a reactor: those that cost much take turns, and the others never wait for more than one of them.
//!
//! What a client sends is priced by its frames as they come (`wire`), not by its bytes: a kilobyte may be one message or a
//! hundred calls. Each connection has a credit that fills steadily. One with credit is read whenever there is something
//! to be read. One without waits here, and one of those that wait has a turn each time the reactor has looked at everybody.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::Waker;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// What a turn may cost, in nanoseconds as estimated. Beyond it, the connection is read no more until its next turn.
pub const A_TURN: u64 = 200_000;
/// What a connection may cost at once, likewise, before it has to wait for its turns.
const BURST: i64 = 400_000;
/// What it may cost in a second and never wait.
const A_SECOND: i64 = 2_000_000;
/// The same of all together that have no credit of their own, while none of them waits: who is alone has all of it.
const TOGETHER: i64 = 300_000_000;
/// What a connection can owe, at most: so soon it is forgiven.
const DEBT: i64 = 20_000_000;

/// A credit that fills steadily.
struct Credit {
    rate: i64,
    left: i64,
    filled_at: Option<Instant>,
}

impl Credit {
    fn new(rate: i64) -> Self {
        Self { rate, left: BURST, filled_at: None }
    }

    /// Says whether there is any.
    fn is_there(&mut self, now: Instant) -> bool {
        let passed = self.filled_at.replace(now).map_or(Duration::ZERO, |before| now.saturating_duration_since(before));
        let microseconds = i64::try_from(passed.as_micros()).unwrap_or(i64::MAX).min(1_000_000);
        self.left = (self.left + microseconds * (self.rate / 1_000_000)).min(BURST);
        self.left > 0
    }

    fn spend(&mut self, cost: u64) {
        self.left = self.left.saturating_sub_unsigned(cost).max(-DEBT);
    }
}

/// The connections of one shard that wait for a turn, the first come first.
pub struct Lane {
    together: RefCell<Credit>,
    waiting: RefCell<VecDeque<Rc<Turns>>>,
    came: Notify,
}

impl Default for Lane {
    fn default() -> Self {
        Self { together: Credit::new(TOGETHER).into(), waiting: RefCell::default(), came: Notify::new() }
    }
}

impl Lane {
    /// Says whether one without a credit of its own need not wait.
    fn is_free(&self, now: Instant) -> bool {
        self.waiting.borrow().is_empty() && self.together.borrow_mut().is_there(now)
    }

    /// Gives those that wait their turns, one each time all tasks have been looked at.
    pub async fn run(&self) {
        loop {
            let first = self.waiting.borrow_mut().pop_front();
            match first {
                Some(turns) => {
                    turns.begin();
                    tokio::task::yield_now().await;
                }
                None => self.came.notified().await,
            }
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Place {
    /// It does not wait.
    #[default]
    Outside,
    Waiting,
    /// It has been given a turn.
    Inside,
}

/// One connection's turns.
pub struct Turns {
    lane: Rc<Lane>,
    place: Cell<Place>,
    waker: RefCell<Option<Waker>>,
    /// What this turn has cost.
    cost: Cell<u64>,
    credit: RefCell<Credit>,
    /// Whether it lives on what all may spend together.
    on_trust: Cell<bool>,
    /// How often it had to wait.
    waited: Cell<u64>,
}

impl Turns {
    pub fn new(lane: Rc<Lane>) -> Rc<Self> {
        Rc::new(Self {
            lane,
            place: Cell::default(),
            waker: RefCell::default(),
            cost: Cell::new(0),
            credit: Credit::new(A_SECOND).into(),
            on_trust: Cell::new(false),
            waited: Cell::new(0),
        })
    }

    /// Says whether the connection may be read now. If not, the waker is woken when it may.
    pub fn may_read(self: &Rc<Self>, now: Instant, waker: &Waker) -> bool {
        if self.place.get() == Place::Waiting {
            self.waker.replace(Some(waker.clone()));
            return false;
        }
        if self.cost.get() < A_TURN {
            if self.place.get() == Place::Inside || self.credit.borrow_mut().is_there(now) {
                return true;
            }
            if self.lane.is_free(now) {
                self.on_trust.set(true);
                return true;
            }
        }
        self.place.set(Place::Waiting);
        self.waited.set(self.waited.get() + 1);
        self.waker.replace(Some(waker.clone()));
        self.lane.waiting.borrow_mut().push_back(self.clone());
        self.lane.came.notify_one();
        false
    }

    /// Notes what was read has cost.
    pub fn spend(&self, cost: u64) {
        self.cost.set(self.cost.get() + cost);
        self.credit.borrow_mut().spend(cost);
        if self.on_trust.take() {
            self.lane.together.borrow_mut().spend(cost);
        }
    }

    /// All that there was has been read: what comes next is another turn.
    pub fn end(&self) {
        if self.place.get() != Place::Waiting {
            self.place.set(Place::Outside);
            self.cost.set(0);
        }
    }

    fn begin(&self) {
        self.place.set(Place::Inside);
        self.cost.set(0);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn may_read(turns: &Rc<Turns>, now: Instant) -> bool {
        turns.may_read(now, Waker::noop())
    }

    #[test]
    fn who_costs_little_never_waits() {
        let (lane, mut now) = (Rc::new(Lane::default()), Instant::now());
        lane.together.borrow_mut().left = i64::MIN / 2;
        let turns = Turns::new(lane);
        for _ in 0..10_000 {
            assert!(may_read(&turns, now));
            turns.spend(1_500);
            turns.end();
            now += Duration::from_millis(1);
        }
        assert_eq!(turns.waited.get(), 0);
    }

    #[test]
    fn a_turn_ends_when_it_has_cost_enough() {
        let now = Instant::now();
        let turns = Turns::new(Rc::default());
        assert!(may_read(&turns, now));
        turns.spend(A_TURN);
        assert!(!may_read(&turns, now) && !may_read(&turns, now));
        assert_eq!((turns.lane.waiting.borrow().len(), turns.waited.get()), (1, 1));
        turns.end(); // it waits all the same
        assert!(!may_read(&turns, now));
        turns.begin();
        assert!(may_read(&turns, now));
    }

    #[tokio::test]
    async fn who_costs_much_waits_for_everybody_to_be_looked_at() {
        let local = tokio::task::LocalSet::new();
        let (lane, now) = (Rc::new(Lane::default()), Instant::now());
        let log = Rc::new(RefCell::new(Vec::new()));
        let costly = |name: &'static str| {
            let (turns, log) = (Turns::new(lane.clone()), log.clone());
            std::future::poll_fn(move |cx| {
                while turns.may_read(now, cx.waker()) {
                    log.borrow_mut().push(name);
                    turns.spend(A_TURN);
                    if log.borrow().iter().filter(|&&one| one == name).count() == 30 {
                        return std::task::Poll::Ready(());
                    }
                }
                std::task::Poll::Pending
            })
        };
        local
            .run_until(async {
                let driver = lane.clone();
                tokio::task::spawn_local(async move { driver.run().await });
                let all = [tokio::task::spawn_local(costly("a")), tokio::task::spawn_local(costly("b"))];
                for _ in 0..200 {
                    log.borrow_mut().push("neighbour");
                    tokio::task::yield_now().await;
                }
                for one in all {
                    one.await.unwrap();
                }
            })
            .await;
        let log = log.borrow();
        let between: Vec<usize> = log.split(|&one| one == "neighbour").map(|turns| turns.len()).collect();
        // Both have their first turn at once, and then it is one of them and the neighbour.
        assert!(between.iter().all(|&turns| turns <= 3), "{between:?}");
        assert!(between[3..].iter().all(|&turns| turns <= 1), "{between:?}");
        assert_eq!(between.iter().sum::<usize>(), 60);
    }
}
