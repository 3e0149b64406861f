//! What is known of a connection while it lasts: what its task and its calls share.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Instant;

use tokio::sync::Semaphore;

use crate::memory::{Account, Held, Purse};
use crate::net::events::Claims;
use crate::net::lane::Lane;
use crate::net::tally::Tally;
use crate::net::unread::Unread;
use crate::net::wire::Watched;
use crate::net::{Settings, WINDOW};

/// How many of the largest messages may be on their way to us on one connection.
const ROOM: usize = 2;
/// Bytes of answers that the client has no window for; with more, new calls are refused.
const MOST_UNSENT: usize = 128 * 1024 * 1024;
/// What an answer takes of h2 and of the socket beyond its bytes.
const FRAMES: usize = 64;

/// What is known of a connection while it lasts.
pub struct State {
    pub peer: Arc<str>,
    pub room: Arc<Semaphore>,
    /// Calls of those that wait for their client to say more.
    waiting: Cell<usize>,
    /// Calls that still run in Python though their stream is gone (CVE-2023-44487).
    pub lingering: Cell<usize>,
    pub of_python: Claims,
    unsent: Cell<usize>,
    /// What the connection holds of the process's memory.
    pub account: Rc<Account>,
    pub unread: Unread,
    /// Answers that are h2's by now, and may wait there for the socket.
    left: RefCell<Held>,
    pub watched: Rc<Watched>,
    ended: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl State {
    pub fn new(
        peer: Arc<str>,
        settings: &Settings,
        tally: Arc<Tally>,
        lane: Rc<Lane>,
        of_python: Claims,
        purse: Rc<Purse>,
    ) -> Rc<Self> {
        let account = Account::new(purse);
        let room = (settings.max_message_bytes * ROOM).clamp(WINDOW, Semaphore::MAX_PERMITS);
        Rc::new(Self {
            peer,
            room: Arc::new(Semaphore::new(room)),
            waiting: Cell::new(0),
            lingering: Cell::new(0),
            of_python,
            unsent: Cell::new(0),
            unread: Unread::new(&account),
            left: account.nothing().into(),
            account,
            watched: Watched::new(lane, tally),
            ended: Cell::new(false),
            waker: RefCell::new(None),
        })
    }

    /// Says whether the client has said that it speaks HTTP/2.
    pub fn begun(&self) -> bool {
        self.watched.begun()
    }

    /// Returns how many calls are in progress.
    pub fn calls(&self) -> usize {
        self.watched.calls.get()
    }

    /// Says whether the client has no call in progress.
    pub fn idle(&self) -> bool {
        self.calls() == 0 && self.lingering.get() == 0
    }

    /// Says whether nothing is done for this client: all its calls wait for it to say more.
    pub fn waits(&self) -> bool {
        self.calls() == self.waiting.get() && self.lingering.get() == 0
    }

    /// Returns when the client was last heard of.
    pub fn heard_at(&self) -> Instant {
        self.watched.heard_at()
    }

    /// Says whether so much waits for this client's windows that it should not ask for more.
    pub fn crowded(&self) -> bool {
        self.unsent.get() + self.left.borrow().size() > MOST_UNSENT
    }

    /// A call has come that costs more than its head.
    pub fn spend(&self, cost: u64) {
        self.watched.spend(cost);
    }

    /// We had work with a call, and it is over.
    pub fn worked(&self) {
        self.watched.worked();
    }

    /// Counts a call as long as what is returned lives.
    pub fn enter(self: &Rc<Self>) -> Counted {
        Counted::new(self.clone(), 1, |state| &state.watched.calls)
    }

    /// Counts a call that waits for its client as long as what is returned lives.
    pub fn wait(self: &Rc<Self>) -> Waiting {
        self.waiting.set(self.waiting.get() + 1);
        Waiting(self.clone())
    }

    /// Counts bytes that wait to be sent as long as what is returned lives.
    pub fn unsent(self: &Rc<Self>, size: usize) -> Counted {
        Counted::new(self.clone(), size, |state| &state.unsent)
    }

    /// Counts an answer that waits to be sent, likewise; None where there is no memory for it.
    pub fn answer(self: &Rc<Self>, size: usize) -> Option<Counted> {
        let held = self.account.take(size + FRAMES)?;
        let mut counted = self.unsent(size);
        counted.held = Some(held);
        Some(counted)
    }

    /// What is held for an answer is held on as long as that may wait for the socket.
    pub fn leave(&self, held: Held) {
        self.left.borrow_mut().join(held);
    }

    /// Looks at what came. All streams of which some came have to be known: what small frames took is forgotten but for what
    /// lies there.
    pub fn look_at_unread(&self) {
        if let Some(overhead) = self.watched.came() {
            self.unread.look(overhead);
        }
    }

    /// Looks at what has gone.
    pub fn look_at_written(&self) {
        let written = self.watched.written();
        self.left.borrow_mut().shrink(written.unwrap_or(usize::MAX));
    }

    /// Says whether the connection is to end.
    pub fn ended(&self) -> bool {
        self.ended.get()
    }

    /// Has the connection's task woken when something of it changes.
    pub fn heed(&self, cx: &Context<'_>) {
        self.waker.replace(Some(cx.waker().clone()));
    }

    /// Ends the connection soon.
    pub fn end(&self) {
        self.ended.set(true);
        self.wake();
    }

    /// Makes the connection's task look at what has changed.
    pub fn wake(&self) {
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }
}

/// A call that waits for its client, which nobody has to hear of when it does no more.
pub struct Waiting(Rc<State>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.set(self.0.waiting.get() - 1);
    }
}

/// Something that is counted while this lives.
pub struct Counted {
    state: Rc<State>,
    size: usize,
    counter: fn(&State) -> &Cell<usize>,
    held: Option<Held>,
}

impl Counted {
    fn new(state: Rc<State>, size: usize, counter: fn(&State) -> &Cell<usize>) -> Self {
        counter(&state).set(counter(&state).get() + size);
        Self { state, size, counter, held: None }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let counter = (self.counter)(&self.state);
        counter.set(counter.get() - self.size);
        if let Some(held) = self.held.take() {
            self.state.leave(held);
        }
        if counter.get() == 0 {
            self.state.wake(); // it may have waited for the last
        }
    }
}

#[cfg(test)]
impl State {
    /// Of a connection that is nobody's in particular.
    pub fn anybody() -> Rc<Self> {
        Self::anybody_with(Rc::new(Purse::new(Arc::default())))
    }

    pub fn anybody_with(purse: Rc<Purse>) -> Rc<Self> {
        let of_python = crate::net::events::Events::new(Default::default()).unwrap().join();
        Self::new("p:1".into(), &Settings::least(), Arc::default(), Rc::default(), of_python, purse)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_waited_for_has_nothing_done_for_it() {
        let state = State::anybody();
        assert!(state.waits() && state.idle());
        let (_first, _second, waiting) = (state.enter(), state.enter(), state.wait());
        assert!(!state.waits());
        let other = state.wait();
        assert!(state.waits() && !state.idle());
        drop((waiting, other));
        assert!(!state.waits());
    }

    #[test]
    fn what_waits_to_be_read_is_counted_until_it_is_gone() {
        let state = State::anybody();
        let some = state.unsent(MOST_UNSENT);
        assert!(!state.crowded());
        let more = state.unsent(1);
        assert!(state.crowded());
        drop(some);
        assert!(!state.crowded());
        drop(more);
        assert_eq!(state.unsent.get(), 0);
    }
}
