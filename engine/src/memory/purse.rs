//! What a thread has at hand of the budget, so that it seldom has to reach for what all threads share.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;

use super::{Account, Memory, contest};

/// Bytes that are fetched beyond what is needed, at most.
const STEP: usize = 64 * 1024;
/// What all purses have at hand is a small part of the budget.
const PART: usize = 64;

/// One thread's bytes of the budget that nobody holds.
pub struct Purse {
    memory: Arc<Memory>,
    step: usize,
    credit: Cell<usize>,
    /// Of this thread's connections.
    accounts: RefCell<Vec<Weak<Account>>>,
}

impl Purse {
    /// Begins empty.
    pub fn new(memory: Arc<Memory>) -> Self {
        let step = STEP.min(memory.limit() / PART);
        Self { memory, step, credit: Cell::new(0), accounts: RefCell::default() }
    }

    pub fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    /// Returns how many bytes nobody holds, as far as this thread can tell, of those that connections may hold.
    pub fn free(&self) -> usize {
        self.memory.open().saturating_sub(self.memory.taken_by_calls()) + self.credit.get()
    }

    /// Takes so many bytes; says no where they are not there.
    pub fn take(&self, size: usize) -> bool {
        let credit = self.credit.get();
        if size <= credit {
            self.credit.set(credit - size);
            return true;
        }
        let need = size - credit;
        let fetched = [need.saturating_add(self.step), need].into_iter().find(|&some| self.memory.take(some));
        if let Some(fetched) = fetched {
            self.credit.set(fetched - need);
        }
        fetched.is_some()
    }

    /// Takes so many bytes for who holds less than a share: as many as are about to be given back by who holds the most,
    /// whose calls are ended for it, or else of what is kept. What is at hand comes first: to it they are given back.
    pub fn claim(&self, size: usize) -> bool {
        let accounts: Vec<Rc<Account>> = self.accounts.borrow().iter().filter_map(Weak::upgrade).collect();
        let greatest = contest::greatest(accounts.iter().map(|account| account.beyond()), self.memory.share(true));
        let comes_back = greatest.is_some_and(|index| accounts[index].end_youngest(size) >= size);
        let at_hand = self.credit.get().min(size);
        let rest = size - at_hand;
        let claimed = if comes_back { self.memory.take_ahead(rest) } else { self.memory.take_kept(rest) };
        if claimed {
            self.credit.set(self.credit.get() - at_hand);
        }
        claimed
    }

    pub(super) fn join(&self, account: &Rc<Account>) {
        self.accounts.borrow_mut().push(Rc::downgrade(account));
    }

    pub(super) fn leave(&self, account: *const Account) {
        self.accounts.borrow_mut().retain(|one| one.as_ptr() != account);
    }

    /// Puts so many bytes back.
    pub fn give_back(&self, size: usize) {
        let credit = self.credit.get() + size;
        let beyond = if credit > 2 * self.step { credit - self.step } else { 0 };
        if beyond > 0 {
            self.memory.give_back(beyond);
        }
        self.credit.set(credit - beyond);
    }
}

impl Drop for Purse {
    fn drop(&mut self) {
        self.memory.give_back(self.credit.get());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_sums_seldom_reach_the_budget() {
        let memory = Arc::new(Memory::new(1 << 30, 0));
        let purse = Purse::new(memory.clone());
        assert!(purse.take(100));
        let fetched = memory.taken();
        for _ in 0..100 {
            assert!(purse.take(500));
        }
        (0..100).for_each(|_| purse.give_back(500));
        assert_eq!(memory.taken(), fetched);
        purse.give_back(100);
        drop(purse);
        assert_eq!(memory.taken(), 0);
    }

    #[test]
    fn the_last_byte_can_be_taken_and_no_more() {
        let memory = Arc::new(Memory::new(13_800, 0)); // 2,642 in the open
        let (one, other) = (Purse::new(memory.clone()), Purse::new(memory.clone()));
        assert!(one.take(2_000) && other.take(400));
        assert!(!one.take(1_000));
        let free = one.free();
        assert!(one.take(free) && !one.take(1));
        assert!(memory.taken() <= memory.open());
        one.give_back(2_000 + free);
        other.give_back(400);
        drop((one, other));
        assert_eq!(memory.taken(), 0);
    }

    #[test]
    fn a_claim_takes_what_is_at_hand_before_what_is_kept() {
        let memory = Arc::new(Memory::new(1 << 20, 0));
        let purse = Purse::new(memory.clone());
        assert!(purse.take(1_000));
        let (taken, at_hand) = (memory.taken(), purse.credit.get());
        assert!(at_hand > 0 && purse.claim(at_hand));
        assert_eq!((memory.taken(), purse.credit.get()), (taken, 0));
        assert!(purse.claim(10) && !purse.claim(memory.for_calls()));
        assert_eq!((memory.taken(), purse.credit.get()), (taken + 10, 0));
        purse.give_back(1_000 + at_hand + 10);
        drop(purse);
        assert_eq!(memory.taken(), 0);
    }
}
