//! Who has to make room, where all that connections compete for is taken.
//!
//! One that holds less than an equal share is let in at once, and the greatest holder's youngest calls are ended for it. Where
//! nobody holds more than a share there is still what is kept for them.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

use super::Account;

/// Returns which of these has to make room: the one that holds the most, if that is more than the share.
pub fn greatest(holdings: impl Iterator<Item = usize>, share: usize) -> Option<usize> {
    let most = holdings.enumerate().max_by_key(|&(_, held)| held);
    most.filter(|&(_, held)| held > share).map(|(index, _)| index)
}

/// Returns how many of so many calls have to end, that hold so much together, to give back `size` bytes.
pub fn enough(calls: usize, held: usize, size: usize) -> usize {
    let each = (held / calls.max(1)).max(1);
    size.div_ceil(each).min(calls)
}

/// A call that may have to end for the memory that its connection holds, as long as this lives.
pub struct Seat {
    account: Weak<Account>,
    place: Rc<Place>,
}

impl Seat {
    pub(super) fn of(account: &Rc<Account>) -> Self {
        Self { account: Rc::downgrade(account), place: Rc::default() }
    }

    pub(super) fn place(&self) -> &Rc<Place> {
        &self.place
    }

    /// Is ready when the call has to end.
    pub fn poll_over(&self, cx: &Context<'_>) -> Poll<()> {
        if self.place.ended.get().is_some() {
            return Poll::Ready(());
        }
        let mut waker = self.place.waker.borrow_mut();
        match &mut *waker {
            Some(known) => known.clone_from(cx.waker()),
            None => *waker = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(account) = self.account.upgrade() {
            account.stand_up(&self.place);
        }
    }
}

/// Where a connection finds one of its calls.
#[derive(Default)]
pub(super) struct Place {
    /// What its end should give back, in bytes.
    ended: Cell<Option<usize>>,
    waker: RefCell<Option<Waker>>,
}

impl Place {
    /// Ends the call soon.
    pub fn end(&self, size: usize) {
        self.ended.set(Some(size));
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    pub fn ended(&self) -> Option<usize> {
        self.ended.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_holds_the_most_makes_room_and_nobody_who_has_no_more_than_a_share() {
        assert_eq!(greatest([5, 70, 8, 60].into_iter(), 50), Some(1));
        assert_eq!(greatest([5, 50, 8].into_iter(), 50), None);
        assert_eq!(greatest(std::iter::empty(), 0), None);
    }

    #[test]
    fn as_many_calls_end_as_give_back_enough() {
        assert_eq!((enough(10, 1_000, 1), enough(10, 1_000, 101), enough(10, 1_000, 5_000)), (1, 2, 10));
        assert_eq!((enough(0, 1_000, 5), enough(3, 0, 5)), (0, 3));
    }
}
