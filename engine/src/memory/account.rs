//! What one connection holds of the budget.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::contest::{Place, Seat, enough};
use super::{Loan, Purse};

/// One connection's part of the budget.
pub struct Account {
    purse: Rc<Purse>,
    held: Cell<usize>,
    /// Calls that may have to end, the youngest last.
    calls: RefCell<Vec<Rc<Place>>>,
    /// What those give back that have been told so.
    ending: Cell<usize>,
}

impl Account {
    /// Begins with nothing held.
    pub fn new(purse: Rc<Purse>) -> Rc<Self> {
        let (held, calls, ending) = Default::default();
        let account = Rc::new(Self { purse, held, calls, ending });
        account.purse.join(&account);
        account
    }

    /// Returns how many bytes it holds.
    pub fn held(&self) -> usize {
        self.held.get()
    }

    /// Returns how many bytes more it may hold: beyond its own, no more than are free then.
    pub fn allowance(&self) -> usize {
        let (own, held) = (self.purse.memory().own, self.held.get());
        own.saturating_sub(held) + self.purse.free().saturating_sub(held.saturating_sub(own)) / 2
    }

    /// Returns how much it holds beyond its own, but for what is about to be given back.
    pub(super) fn beyond(&self) -> usize {
        self.held.get().saturating_sub(self.purse.memory().own).saturating_sub(self.ending.get())
    }

    fn share(&self) -> usize {
        let memory = self.purse.memory();
        memory.share(self.held.get() > memory.own)
    }

    /// Returns a place for one more call, which may have to end.
    pub fn seat(self: &Rc<Self>) -> Seat {
        let seat = Seat::of(self);
        self.calls.borrow_mut().push(seat.place().clone());
        seat
    }

    pub(super) fn stand_up(&self, place: &Rc<Place>) {
        let mut calls = self.calls.borrow_mut();
        if let Some(index) = calls.iter().rposition(|one| Rc::ptr_eq(one, place)) {
            calls.remove(index);
        }
        self.ending.set(self.ending.get().saturating_sub(place.ended().unwrap_or(0)));
    }

    /// Ends calls, the youngest first, until that should give back so many bytes.
    ///
    /// Returns how many it should, as estimated: all of its calls may be fewer.
    pub(super) fn end_youngest(&self, size: usize) -> usize {
        let calls = self.calls.borrow();
        let living = || calls.iter().filter(|call| call.ended().is_none());
        let (count, held) = (living().count(), self.held.get().saturating_sub(self.ending.get()));
        let (ended, each) = (enough(count, held, size), held / count.max(1));
        living().rev().take(ended).for_each(|call| call.end(each));
        self.ending.set(self.ending.get() + ended * each);
        ended * each
    }

    /// Holds more, if those are there.
    fn hold(&self, more: usize) -> bool {
        let Some(held) = self.held.get().checked_add(more) else { return false };
        let beyond = held.saturating_sub(self.purse.memory().own);
        let taken = beyond == 0 || {
            let drawn = beyond.min(more);
            let before = beyond - drawn;
            let open = before.saturating_add(drawn.saturating_mul(2)) <= self.purse.free() && self.purse.take(drawn);
            open || beyond <= self.share() && self.purse.claim(drawn)
        };
        if taken {
            self.set(held);
        }
        taken
    }

    fn let_go(&self, less: usize) {
        let held = self.held.get();
        let beyond = held.saturating_sub(self.purse.memory().own).min(less);
        if beyond > 0 {
            self.purse.give_back(beyond);
        }
        self.set(held - less);
    }

    fn set(&self, held: usize) {
        let own = self.purse.memory().own;
        let (before, after) = (self.held.replace(held) > own, held > own);
        if before != after {
            self.purse.memory().hold(after);
        }
    }

    /// Takes so many bytes, if it may hold them.
    pub fn take(self: &Rc<Self>, size: usize) -> Option<Held> {
        let mut held = self.nothing();
        held.grow(size).then_some(held)
    }

    /// Returns something that holds nothing yet.
    pub fn nothing(self: &Rc<Self>) -> Held {
        Held { account: self.clone(), size: 0 }
    }

    /// Returns what can grow in another thread, and no further than this connection may now.
    pub fn loan(&self) -> Loan {
        let (own, memory) = (self.purse.memory().own, self.purse.memory());
        let share = (own + self.share()).saturating_sub(self.held.get().max(own));
        Loan::open(memory.clone(), self.allowance(), share)
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.purse.leave(self);
    }
}

/// Bytes that are held as long as this lives.
pub struct Held {
    account: Rc<Account>,
    size: usize,
}

impl Held {
    pub fn size(&self) -> usize {
        self.size
    }

    /// Takes more; says no where the connection may not hold that.
    pub fn grow(&mut self, more: usize) -> bool {
        let grown = self.account.hold(more);
        if grown {
            self.size += more;
        }
        grown
    }

    /// Gives back so many bytes, or all that there are.
    pub fn shrink(&mut self, less: usize) {
        let less = less.min(self.size);
        self.size -= less;
        self.account.let_go(less);
    }

    /// Makes it so many bytes; says no, and leaves it as it is, where they are more than the connection may hold.
    pub fn resize(&mut self, size: usize) -> bool {
        if size > self.size {
            return self.grow(size - self.size);
        }
        self.shrink(self.size - size);
        true
    }

    /// Takes over what another holds, of the same connection.
    pub fn join(&mut self, mut other: Self) {
        self.size += std::mem::take(&mut other.size);
    }

    /// Takes over what was taken in another thread.
    pub fn keep(&mut self, loan: Loan) {
        let size = loan.into_size();
        let account = &self.account;
        let (own, before) = (account.purse.memory().own, account.held.get());
        account.set(before + size);
        self.size += size;
        account.purse.give_back(own.saturating_sub(before).min(size)); // that much is its own
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.shrink(self.size);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::Ordering::Relaxed;
    use std::task::{Context, Waker};

    use super::super::Memory;
    use super::*;

    const LIMIT: usize = 1_200_000;

    fn accounts(count: usize) -> (Arc<Memory>, Vec<Rc<Account>>) {
        let memory = Arc::new(Memory::new(LIMIT, 0));
        let purse = Rc::new(Purse::new(memory.clone()));
        let accounts = (0..count).map(|_| Account::new(purse.clone())).collect();
        (memory, accounts)
    }

    fn taken_in(account: &Rc<Account>, size: usize) -> Vec<Held> {
        std::iter::from_fn(|| account.take(size)).collect()
    }

    #[test]
    fn one_alone_may_hold_half_and_leaves_as_much() {
        let (memory, accounts) = accounts(2);
        let all = taken_in(&accounts[0], 1_000);
        assert!((all.len() as i64 - 131).abs() <= 1, "{}", all.len()); // half, as it is a share for one more
        assert!(accounts[0].take(1_000).is_none());
        assert!(accounts[1].take(50_000).is_some());
        drop(all);
        assert_eq!(accounts[0].held(), 0);
        drop(accounts);
        assert_eq!(memory.taken(), 0);
    }

    /// A connection that takes what it gets, in calls that end when they are told to.
    struct Hog {
        account: Rc<Account>,
        calls: Vec<(Seat, Held)>,
    }

    impl Hog {
        fn call(&mut self, size: usize) -> bool {
            let held = self.account.take(size);
            let gets = held.is_some();
            self.calls.extend(held.map(|held| (self.account.seat(), held)));
            gets
        }

        fn end_those_told(&mut self) {
            let context = Context::from_waker(Waker::noop());
            self.calls.retain(|(seat, _)| seat.poll_over(&context).is_pending());
        }
    }

    #[test]
    fn who_holds_less_than_a_share_gets_in_and_the_greatest_makes_room() {
        let (memory, accounts) = accounts(13);
        let mut all: Vec<Hog> = accounts.into_iter().map(|account| Hog { account, calls: Vec::new() }).collect();
        let (neighbour, hogs) = all.split_last_mut().unwrap();
        for hog in hogs.iter_mut() {
            while hog.call(100) {} // and nothing ends in between
        }
        assert!(memory.taken() > memory.open() && memory.taken() <= memory.for_calls());
        let ended: usize = hogs.iter().map(|hog| hog.calls.len()).sum();
        for _ in 0..20 {
            hogs.iter_mut().for_each(Hog::end_those_told);
            assert!(neighbour.call(1_000), "{} of {}", neighbour.account.held(), memory.share(true));
            assert!(memory.taken() <= memory.for_calls());
        }
        hogs.iter_mut().for_each(Hog::end_those_told);
        assert!(hogs.iter().map(|hog| hog.calls.len()).sum::<usize>() < ended);
        assert!(!hogs[0].call(5_000) && neighbour.account.ending.get() == 0);
        drop(all);
        assert_eq!((memory.taken(), memory.holders.load(Relaxed)), (0, 0));
    }

    #[test]
    fn the_youngest_calls_end_and_only_as_many_as_give_back_enough() {
        let (_memory, accounts) = accounts(1);
        let mut hog = Hog { account: accounts[0].clone(), calls: Vec::new() };
        assert!((0..10).all(|_| hog.call(1_000)));
        assert_eq!((accounts[0].end_youngest(2_500), accounts[0].beyond()), (3_000, 7_000));
        assert_eq!(accounts[0].end_youngest(500), 1_000);
        assert_eq!(accounts[0].beyond(), 6_000);
        let oldest: Vec<*const Place> = hog.calls[..6].iter().map(|(seat, _)| Rc::as_ptr(seat.place())).collect();
        hog.end_those_told();
        assert_eq!(hog.calls.iter().map(|(seat, _)| Rc::as_ptr(seat.place())).collect::<Vec<_>>(), oldest);
        assert_eq!((accounts[0].held(), accounts[0].beyond()), (6_000, 6_000));
        assert_eq!(accounts[0].end_youngest(7_000), 6_000);
    }

    #[test]
    fn what_is_its_own_each_may_hold_whatever_the_others_do() {
        let memory = Arc::new(Memory::new(LIMIT, 30));
        let purse = Rc::new(Purse::new(memory.clone()));
        let accounts: Vec<Rc<Account>> = (0..30).map(|_| Account::new(purse.clone())).collect();
        // One after the other, so that each finds half of what the one before did.
        let all: Vec<Vec<Held>> = accounts.iter().map(|account| taken_in(account, 500)).collect();
        assert!(all.iter().all(|some| some.len() >= 20));
        assert!(memory.taken() <= LIMIT / 4);
        drop((all, purse, accounts));
        assert_eq!(memory.taken(), 0);
    }

    #[test]
    fn all_is_given_back_whatever_was_done_with_it() {
        for connections in [0, 3, 30] {
            all_is_given_back(connections);
        }
    }

    fn all_is_given_back(connections: usize) {
        let memory = Arc::new(Memory::new(LIMIT, connections));
        let purse = Rc::new(Purse::new(memory.clone()));
        let accounts: Vec<Rc<Account>> = (0..3).map(|_| Account::new(purse.clone())).collect();
        drop(purse);
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let mut draw = |most: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % most) as usize
        };
        let mut all: Vec<Vec<Held>> = vec![Vec::new(), Vec::new(), Vec::new()];
        for _ in 0..50_000 {
            let (index, size) = (draw(3), draw(30_000));
            let (account, held) = (&accounts[index], &mut all[index]);
            match draw(8) {
                0..=2 => held.extend(account.take(size)),
                3 => drop(held.pop()),
                4 => drop(held.last_mut().map(|one| one.resize(size))),
                5 => drop(held.last_mut().map(|one| one.shrink(size))),
                6 if held.len() > 1 => {
                    let last = held.pop().unwrap();
                    held[0].join(last);
                }
                _ => {
                    let mut loan = account.loan();
                    if loan.grow_to(size)
                        && let Some(one) = held.last_mut()
                    {
                        one.keep(loan);
                    }
                }
            }
            let sums: Vec<usize> = all.iter().map(|some| some.iter().map(Held::size).sum()).collect();
            assert_eq!(sums, accounts.iter().map(|account| account.held()).collect::<Vec<_>>());
            let beyond: usize = sums.iter().map(|sum| sum.saturating_sub(memory.own)).sum();
            assert!(beyond <= memory.taken() && memory.taken() <= memory.for_calls());
        }
        drop((all, accounts));
        assert_eq!(memory.taken(), 0);
    }
}
