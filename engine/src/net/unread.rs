//! What a client has sent on streams that nobody reads yet, of one connection.
//!
//! It is in h2 by then: a stream's window lets it come unasked. When there is no memory for it, the streams of which the
//! most lies there are ended.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::memory::{Account, Held};
use crate::net::state::State;

/// Bytes that may come before what lies there is looked at.
pub const LOOK: usize = 16 * 1024;
/// What a small frame takes that lies in h2, however few bytes it has.
pub const SMALL_FRAME: usize = 256;

/// What lies there of one stream.
pub struct Pile {
    size: Box<dyn Fn() -> usize>,
    over: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Pile {
    /// Is ready when the stream has to end for it.
    pub fn poll_over(&self, cx: &Context<'_>) -> Poll<()> {
        if self.over.get() {
            return Poll::Ready(());
        }
        self.waker.replace(Some(cx.waker().clone()));
        Poll::Pending
    }

    fn end(&self) {
        self.over.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// What lies there of all streams.
pub struct Unread {
    piles: RefCell<Vec<Rc<Pile>>>,
    held: RefCell<Held>,
    /// What small frames took beyond their bytes, of those that may lie there.
    overhead: Cell<usize>,
    /// Bytes that were read since it was looked at, or that had come before their stream was watched.
    moved: Cell<usize>,
}

impl Unread {
    pub fn new(account: &Rc<Account>) -> Self {
        Self { piles: RefCell::default(), held: account.nothing().into(), overhead: Cell::new(0), moved: Cell::new(0) }
    }

    /// Looks at it, after small frames have come that took so many bytes more than were in them.
    pub fn look(&self, overhead: usize) {
        self.moved.set(0);
        let piles = self.piles.borrow();
        let mut sizes: Vec<(usize, &Rc<Pile>)> =
            piles.iter().filter(|pile| !pile.over.get()).map(|pile| ((pile.size)(), pile)).collect();
        sizes.sort_unstable_by_key(|&(size, _)| size);
        let mut sum: usize = sizes.iter().map(|&(size, _)| size).sum();
        loop {
            // Of what lies there, each byte may be a frame.
            let overhead = (self.overhead.get() + overhead).min(sum * SMALL_FRAME);
            if self.held.borrow_mut().resize(sum + overhead) {
                return self.overhead.set(overhead);
            }
            let Some((size, pile)) = sizes.pop() else { return };
            pile.end();
            sum -= size;
        }
    }

    /// Looks at it when enough has changed: to look at all streams is too dear for a few bytes.
    fn note(&self, moved: usize) {
        self.moved.set(self.moved.get() + moved);
        if self.moved.get() >= LOOK {
            self.look(0);
        }
    }

    /// Looks at it, if any is known of: some was read.
    fn look_again(&self) {
        if self.held.borrow().size() > 0 {
            self.look(0);
        }
    }
}

/// A stream that is looked at as long as this lives.
pub struct Watching {
    connection: Rc<State>,
    pile: Rc<Pile>,
}

impl Watching {
    /// Begins; `size` says how much there is of the stream. What came with its head was not seen by any look before, and there
    /// may be none after it.
    pub fn new(connection: Rc<State>, size: impl Fn() -> usize + 'static) -> Self {
        let pile = Rc::new(Pile { size: Box::new(size), over: Cell::new(false), waker: RefCell::default() });
        connection.unread.piles.borrow_mut().push(pile.clone());
        connection.unread.note((pile.size)());
        Self { connection, pile }
    }

    pub fn pile(&self) -> &Rc<Pile> {
        &self.pile
    }

    /// So many bytes of the stream were read.
    pub fn read(&self, size: usize) {
        self.connection.unread.note(size);
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let unread = &self.connection.unread;
        unread.piles.borrow_mut().retain(|pile| !Rc::ptr_eq(pile, &self.pile));
        unread.look_again();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::memory::{Memory, Purse};

    fn connection(limit: usize) -> Rc<State> {
        let purse = Rc::new(Purse::new(Arc::new(Memory::new(limit, 0))));
        State::anybody_with(purse)
    }

    fn stream(connection: &Rc<State>) -> (Watching, Rc<Cell<usize>>) {
        let size = Rc::new(Cell::new(0));
        let shown = size.clone();
        (Watching::new(connection.clone(), move || shown.get()), size)
    }

    fn is_over(stream: &(Watching, Rc<Cell<usize>>)) -> bool {
        stream.0.pile().poll_over(&Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn the_streams_with_most_unread_end_when_there_is_no_memory_for_it() {
        let connection = connection(3_000_000);
        let before = connection.account.held();
        let streams: Vec<_> = (0..4).map(|_| stream(&connection)).collect();
        for (index, (_, size)) in streams.iter().enumerate() {
            size.set(100_000 * (index + 1));
        }
        connection.unread.look(0);
        assert_eq!(streams.iter().map(is_over).collect::<Vec<_>>(), [false, false, true, true]);
        assert_eq!(connection.account.held(), before + 300_000);
        streams[0].1.set(5);
        streams[0].0.read(LOOK - 1); // too little to look for
        assert_eq!(connection.account.held(), before + 300_000);
        streams[0].0.read(1);
        assert_eq!(connection.account.held(), before + 200_005);
        drop(streams);
        assert_eq!(connection.account.held(), before);
    }

    #[test]
    fn what_came_before_a_stream_was_watched_counts_whether_more_comes_or_not() {
        let connection = connection(3_000_000);
        let before = connection.account.held();
        let begun: Vec<_> = (0..5).map(|_| Watching::new(connection.clone(), || LOOK / 4)).collect();
        assert_eq!(connection.account.held(), before + LOOK);
        let large = Watching::new(connection.clone(), || 3_000_000);
        assert!(large.pile().poll_over(&Context::from_waker(Waker::noop())).is_ready());
        assert_eq!(connection.account.held(), before + 5 * LOOK / 4);
        drop((begun, large));
        assert_eq!(connection.account.held(), before);
    }

    #[test]
    fn small_frames_count_for_what_they_take_as_long_as_they_may_lie_there() {
        let connection = connection(3_000_000);
        let before = connection.account.held();
        let (watching, size) = stream(&connection);
        size.set(100);
        connection.unread.look(20_000);
        assert_eq!(connection.account.held(), before + 20_100);
        size.set(10);
        watching.read(LOOK);
        assert_eq!(connection.account.held(), before + 10 + 10 * SMALL_FRAME);
        size.set(0);
        watching.read(LOOK);
        assert_eq!(connection.account.held(), before);
    }
}
