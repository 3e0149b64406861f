//! What one connection holds of the budget.

use std::cell::Cell;
use std::rc::Rc;

use super::{Loan, Purse};

/// One connection's part of the budget.
#[derive(Debug)]
pub struct Account {
    purse: Rc<Purse>,
    held: Cell<usize>,
}

impl Account {
    /// Begins with nothing held.
    pub fn new(purse: Rc<Purse>) -> Rc<Self> {
        Rc::new(Self { purse, held: Cell::new(0) })
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

    /// Holds more, if those are there.
    fn hold(&self, more: usize) -> bool {
        let Some(held) = self.held.get().checked_add(more) else { return false };
        let beyond = held.saturating_sub(self.purse.memory().own);
        let taken = beyond == 0 || {
            let drawn = beyond.min(more);
            let before = beyond - drawn;
            before + 2 * drawn <= self.purse.free() && self.purse.take(drawn)
        };
        if taken {
            self.held.set(held);
        }
        taken
    }

    fn let_go(&self, less: usize) {
        let held = self.held.get();
        let beyond = held.saturating_sub(self.purse.memory().own).min(less);
        if beyond > 0 {
            self.purse.give_back(beyond);
        }
        self.held.set(held - less);
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
        Loan::open(self.purse.memory().clone(), self.allowance())
    }
}

/// Bytes that are held as long as this lives.
#[derive(Debug)]
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
        account.held.set(before + size);
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
        assert!((all.len() as i64 - 150).abs() <= 1, "{}", all.len());
        assert!(accounts[0].take(1_000).is_none());
        assert!(accounts[1].take(50_000).is_some());
        drop(all);
        assert_eq!(accounts[0].held(), 0);
        drop(accounts);
        assert_eq!(memory.taken(), 0);
    }

    #[test]
    fn who_holds_most_is_refused_first() {
        let (_memory, accounts) = accounts(12);
        let (hogs, neighbour) = accounts.split_at(11);
        let _all: Vec<Vec<Held>> = hogs.iter().map(|hog| taken_in(hog, 100)).collect();
        for hog in hogs.iter().take(5) {
            assert!(hog.take(100).is_none());
        }
        for _ in 0..1_000 {
            assert!(neighbour[0].take(20).is_some());
        }
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
