//! How connections share a reactor: what there is to do is divided fairly, and who wants little of it never waits for more
//! than one other.
//!
//! What a client sends is priced by its frames as they come (`scanner`), not by its bytes: a kilobyte may be one message or a
//! hundred calls. As long as all of them together want no more than a reactor can do, nobody waits. Beyond that, all wait
//! here, and each time that the reactor has looked at everybody some have a turn: those that have had the least, as many
//! as fit into one turn of somebody who wants much.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::net::fair::{self, Fair, Share};

/// What a turn may cost, in nanoseconds as estimated. Beyond it, the connection is read no more until its next turn.
pub const A_TURN: u64 = 200_000;
/// What part of the time all connections may cost before anybody waits, in hundredths; and what at once.
const TOGETHER: i64 = 60;
const AT_ONCE: i64 = 2_000_000;
/// What they can owe at most: so soon it is forgiven.
const DEBT: i64 = 20_000_000;
/// What one may be owed or owe, likewise: a few turns.
const MOST: u64 = 2_000_000;
/// Who has taken less than this part of the time that passed is owed some when others want more than there is.
const LITTLE: u64 = 20;
/// How far short turns go before long ones: many that never wanted anything may begin to want much in one moment.
const SHORT_FIRST: u64 = MOST / A_TURN;
/// Turns that begin at once, at most, however short they were before.
const BEGUN: u64 = 16;
/// What it costs to begin one, as a turn.
const BEGINNING: u64 = 150_000;

/// What all connections may cost: a credit that fills steadily.
struct Credit {
    left: i64,
    filled_at: Option<Instant>,
}

impl Credit {
    /// Fills it, and returns the nanoseconds that have passed since the last time.
    fn fill(&mut self, now: Instant) -> u64 {
        let passed = self.filled_at.replace(now).map_or(Duration::ZERO, |before| now.saturating_duration_since(before));
        let passed = passed.min(Duration::from_secs(1));
        self.left = (self.left + passed.as_nanos() as i64 * TOGETHER / 100).min(AT_ONCE);
        passed.as_nanos() as u64
    }

    fn spend(&mut self, cost: u64) {
        self.left = self.left.saturating_sub_unsigned(cost).max(-DEBT);
    }
}

/// The connections of one shard, and those of them that wait for a turn.
pub struct Lane {
    together: RefCell<Credit>,
    waiting: RefCell<Fair<Rc<Turns>>>,
    came: Notify,
}

impl Default for Lane {
    fn default() -> Self {
        let together = Credit { left: AT_ONCE, filled_at: None };
        Self { together: together.into(), waiting: Fair::new(MOST, MOST).into(), came: Notify::new() }
    }
}

impl Lane {
    /// Gives those that wait their turns, some each time all tasks have been looked at.
    pub async fn run(&self) {
        loop {
            if self.waiting.borrow().is_empty() {
                self.came.notified().await;
            }
            self.begin_some();
            tokio::task::yield_now().await;
        }
    }

    /// Gives turns to those that are next.
    fn begin_some(&self) {
        let mut cost = 0;
        while cost < A_TURN
            && let Some(turns) = self.pop()
        {
            cost += turns.usual.get().max(A_TURN / BEGUN);
            turns.begin();
        }
    }

    fn pop(&self) -> Option<Rc<Turns>> {
        self.waiting.borrow_mut().pop()
    }

    /// Says whether there is enough for all.
    fn is_free(&self, now: Instant) -> bool {
        let (mut waiting, mut together) = (self.waiting.borrow_mut(), self.together.borrow_mut());
        let passed = together.fill(now);
        if waiting.is_empty() {
            waiting.rest(passed / LITTLE);
        }
        waiting.is_empty() && together.left > 0
    }

    fn spend(&self, share: &Share, cost: u64) {
        let mut waiting = self.waiting.borrow_mut();
        if waiting.is_empty() {
            waiting.serve(share);
        } else {
            waiting.pass(cost);
        }
        waiting.charge(share, cost);
        self.together.borrow_mut().spend(cost);
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Standing {
    /// It does not wait.
    #[default]
    Outside,
    Waiting(fair::Rank),
    /// It has been given a turn.
    Inside,
}

/// One connection's turns.
pub struct Turns {
    lane: Rc<Lane>,
    standing: Cell<Standing>,
    waker: RefCell<Option<Waker>>,
    /// What this turn has cost.
    cost: Cell<u64>,
    /// What one is expected to cost: as much as the dearest of late.
    usual: Cell<u64>,
    /// What all have.
    share: Share,
}

impl Turns {
    pub fn new(lane: Rc<Lane>) -> Rc<Self> {
        // Whoever comes late waits for nobody who was early, but for those that are there and wanted little; and who
        // begins anew all the time pays for that.
        let share = lane.waiting.borrow().join(MOST / 2);
        let (cost, usual) = (Cell::new(0), Cell::new(BEGINNING));
        Rc::new(Self { lane, standing: Cell::default(), waker: RefCell::default(), cost, usual, share })
    }

    /// Waits until the connection may begin.
    pub async fn first(self: &Rc<Self>) {
        poll_fn(|cx| if self.may_read(Instant::now(), cx.waker()) { Poll::Ready(()) } else { Poll::Pending }).await;
        self.spend(BEGINNING);
    }

    /// Says whether the connection may be read now. If not, the waker is woken when it may.
    pub fn may_read(self: &Rc<Self>, now: Instant, waker: &Waker) -> bool {
        if matches!(self.standing.get(), Standing::Waiting(_)) {
            self.waker.replace(Some(waker.clone()));
            return false;
        }
        if self.may_cost() > 0 && (self.standing.get() == Standing::Inside || self.lane.is_free(now)) {
            return true;
        }
        self.learn();
        self.waker.replace(Some(waker.clone()));
        let rank = self.lane.waiting.borrow_mut().push(&self.share, SHORT_FIRST * self.usual.get(), self.clone());
        self.standing.set(Standing::Waiting(rank));
        self.lane.came.notify_one();
        false
    }

    /// Returns what the turn may cost yet. Whoever was let in for little does not do much.
    pub fn may_cost(&self) -> u64 {
        let most = if self.standing.get() == Standing::Inside { A_TURN.min(2 * self.usual.get()) } else { A_TURN };
        most.saturating_sub(self.cost.get())
    }

    /// The connection is over: it waits no more.
    pub fn leave(&self) {
        if let Standing::Waiting(rank) = self.standing.take() {
            self.lane.waiting.borrow_mut().remove(rank);
        }
    }

    /// Notes what was read has cost.
    pub fn spend(&self, cost: u64) {
        self.cost.set(self.cost.get() + cost);
        self.lane.spend(&self.share, cost);
    }

    /// All that there was has been read: what comes next is another turn.
    pub fn end(&self) {
        if !matches!(self.standing.get(), Standing::Waiting(_)) {
            self.learn();
            self.standing.set(Standing::Outside);
            self.cost.set(0);
        }
    }

    fn learn(&self) {
        if self.cost.get() > 0 {
            let usual = self.usual.get();
            self.usual.set(self.cost.get().max(usual - usual / 8).min(A_TURN));
        }
    }

    fn begin(&self) {
        self.standing.set(Standing::Inside);
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
    fn nobody_waits_as_long_as_all_together_want_no_more_than_there_is() {
        let (lane, mut now) = (Rc::new(Lane::default()), Instant::now());
        let all: Vec<_> = (0..100).map(|_| Turns::new(lane.clone())).collect();
        lane.together.borrow_mut().left = AT_ONCE;
        for _ in 0..1_000 {
            for turns in &all {
                assert!(may_read(turns, now));
                turns.spend(5_000);
                turns.end();
            }
            now += Duration::from_millis(1);
        }
    }

    /// How often the others have turns before the one that wants little may read, each time that it wants to.
    fn waits_of_one_that_wants_little(others: usize) -> Vec<usize> {
        let (lane, mut now) = (Rc::new(Lane::default()), Instant::now());
        let turns = || Turns::new(lane.clone());
        let (little, others): (_, Vec<_>) = (turns(), (0..others).map(|_| turns()).collect());
        let all_read = |now| {
            for other in &others {
                while may_read(other, now) {
                    other.spend(A_TURN / 4);
                }
            }
        };
        let mut waits = Vec::new();
        for turn in 0..20_000 {
            if turn > 2_000 {
                all_read(now);
            }
            if turn % 50 == 0 {
                let mut passed = 0;
                while !may_read(&little, now) {
                    lane.begin_some();
                    passed += 1;
                    if !may_read(&little, now) {
                        all_read(now);
                    }
                }
                waits.push(passed);
                little.spend(5_000);
                little.end();
            }
            lane.begin_some();
            now += Duration::from_micros(200);
        }
        waits
    }

    #[test]
    fn who_wants_little_is_next_whatever_the_others_want() {
        for others in [1, 40, 400] {
            let waits = waits_of_one_that_wants_little(others);
            assert!(waits.iter().all(|&waited| waited <= 1), "{others}: {waits:?}");
        }
    }

    #[test]
    fn short_turns_are_short_and_few_begin_at_once() {
        let (lane, now) = (Rc::new(Lane::default()), Instant::now());
        let all: Vec<_> = (0..100).map(|_| Turns::new(lane.clone())).collect();
        for turns in &all {
            for _ in 0..60 {
                turns.spend(600);
                turns.end();
            }
            assert!(turns.usual.get() < 1_000);
        }
        lane.together.borrow_mut().left = 0;
        assert!(all.iter().all(|turns| !may_read(turns, now)));
        lane.begin_some();
        let begun: Vec<_> = all.iter().filter(|turns| may_read(turns, now)).collect();
        assert_eq!(begun.len() as u64, BEGUN);
        assert!(begun.iter().all(|turns| turns.may_cost() < 2_000));
    }

    #[test]
    fn who_has_gone_does_not_wait() {
        let (lane, now) = (Rc::new(Lane::default()), Instant::now());
        lane.together.borrow_mut().left = 0;
        let turns = Turns::new(lane.clone());
        assert!(!may_read(&turns, now));
        turns.leave();
        assert!(lane.waiting.borrow().is_empty());
        assert_eq!(Rc::strong_count(&turns), 1);
    }

    #[test]
    fn a_turn_ends_when_it_has_cost_enough() {
        let now = Instant::now();
        let turns = Turns::new(Rc::default());
        assert!(may_read(&turns, now));
        turns.spend(A_TURN);
        assert!(!may_read(&turns, now) && !may_read(&turns, now));
        assert_eq!(turns.lane.waiting.borrow().len(), 1);
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
