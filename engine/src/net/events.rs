//! What Python's event loop has not heard yet of calls.
//!
//! It takes a hundred times as long over a call as a shard does. So whose calls it hears of next matters: those of the
//! connection that has had the least of it. What is over before it was heard of is never told; and where many calls wait,
//! connections that have some of them can have no more.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::bell::Bell;
use crate::call::Head;
use crate::net::fair::{Fair, Rank, Share};

/// What happens to a call that Python answers.
#[derive(Debug)]
pub enum Event {
    /// It begins; with its message, or None where the client streams.
    Call(u64, Head, Option<Bytes>),
    /// The message that was asked for.
    Message(u64, Bytes),
    /// There is no message any more.
    HalfClosed(u64),
    /// So many bytes of messages that were to be sent have been.
    Sent(u64, usize),
    /// It is over: the client has gone, the deadline has passed, or the server ends.
    Gone(u64),
    /// Of the server: the last connection has ended.
    Closed,
}

impl Event {
    /// What Python takes over it, by and large, in nanoseconds.
    fn cost(&self) -> u64 {
        match self {
            Self::Call(..) | Self::Message(..) => 100_000,
            Self::HalfClosed(_) | Self::Sent(..) | Self::Gone(_) | Self::Closed => 20_000,
        }
    }
}

/// What a connection may be owed of Python's time: a few calls. What it owes is bounded by the calls that it may have.
const OWED: u64 = 1_000_000;
const OWING: u64 = u64::MAX / 2;

/// Calls that may wait to be heard of, and as many urgent ones: Python takes half a second over so many. Beyond it, so
/// many of each connection.
const CALLS: usize = 4_096;
const CALLS_OF_ONE: usize = 8;

/// What a connection has of Python: its shares, and its calls that wait to be heard of.
pub struct Claims {
    urgent: Share,
    others: Share,
    /// Its calls that wait, and its urgent ones.
    calls: [Arc<AtomicUsize>; 2],
}

/// A call that waits to be heard of.
struct Unheard {
    urgent: bool,
    rank: Rank,
    of_connection: Arc<AtomicUsize>,
}

impl Drop for Unheard {
    fn drop(&mut self) {
        self.of_connection.fetch_sub(1, Relaxed);
    }
}

/// The events of all shards that wait to be taken.
pub struct Events {
    urgent: HashSet<Box<str>>,
    waiting: Mutex<Waiting>,
    bell: Bell,
}

struct Waiting {
    /// Ends make room.
    gone: VecDeque<Event>,
    urgent: Fair<Event>,
    others: Fair<Event>,
    calls: HashMap<u64, Unheard>,
    /// How many of them are not urgent, and are.
    counts: [usize; 2],
    closed: bool,
    /// Whether it is an urgent one's turn, where others wait as well.
    urgent_next: bool,
    rung: bool,
}

impl Events {
    /// Begins with none. Calls of methods with these paths are urgent: every other event is one of theirs, if there are any.
    pub fn new(urgent: HashSet<Box<str>>) -> io::Result<Self> {
        let waiting = Waiting {
            gone: VecDeque::new(),
            urgent: Fair::new(OWED, OWING),
            others: Fair::new(OWED, OWING),
            calls: HashMap::new(),
            counts: [0; 2],
            closed: false,
            urgent_next: false,
            rung: false,
        };
        Ok(Self { urgent, waiting: waiting.into(), bell: Bell::new()? })
    }

    /// Adds a connection.
    pub fn join(&self) -> Claims {
        let waiting = self.lock();
        Claims { urgent: waiting.urgent.join(0), others: waiting.others.join(0), calls: Default::default() }
    }

    /// Adds a call of a connection that has these claims, and returns true; or false where too many wait.
    pub fn begin(&self, id: u64, head: Head, message: Option<Bytes>, claims: &Claims) -> bool {
        let urgent = self.urgent.contains(&*head.path);
        let of_connection = &claims.calls[usize::from(urgent)];
        let mut waiting = self.lock();
        if waiting.counts[usize::from(urgent)] >= CALLS && of_connection.load(Relaxed) >= CALLS_OF_ONE {
            return false;
        }
        of_connection.fetch_add(1, Relaxed);
        let rank = waiting.add(Event::Call(id, head, message), claims, urgent);
        waiting.counts[usize::from(urgent)] += 1;
        waiting.calls.insert(id, Unheard { urgent, rank, of_connection: of_connection.clone() });
        self.ring(waiting);
        true
    }

    /// Adds another event, of such a connection.
    pub fn push(&self, event: Event, claims: &Claims) {
        let mut waiting = self.lock();
        match event {
            Event::Gone(_) => waiting.gone.push_back(event),
            event => drop(waiting.add(event, claims, false)),
        }
        self.ring(waiting);
    }

    /// Says that the last connection has ended, after all else.
    pub fn close(&self) {
        let mut waiting = self.lock();
        waiting.closed = true;
        self.ring(waiting);
    }

    fn ring(&self, mut waiting: MutexGuard<'_, Waiting>) {
        let first = !std::mem::replace(&mut waiting.rung, true);
        drop(waiting);
        if first {
            self.bell.ring();
        }
    }

    /// Takes a call of such a connection back, and returns true; or false where Python has heard of it.
    pub fn withdraw(&self, id: u64, claims: &Claims) -> bool {
        let mut waiting = self.lock();
        let Some(call) = waiting.heard_of(id) else { return false };
        let (queue, share) = waiting.queue(claims, call.urgent);
        let event = queue.remove(call.rank);
        if let Some(event) = &event {
            queue.refund(share, event.cost());
        }
        drop(waiting); // what it has may be large
        event.is_some()
    }

    /// Takes the next ones, `most` at the most.
    pub fn take(&self, most: usize) -> Vec<Event> {
        let mut waiting = self.lock();
        let mut taken = Vec::new();
        while taken.len() < most {
            let Some(event) = waiting.next() else {
                waiting.rung = false;
                self.bell.hush();
                break;
            };
            if let Event::Call(id, ..) = event {
                waiting.heard_of(id);
            }
            taken.push(event);
        }
        taken
    }

    /// Returns what is readable while there may be some.
    pub fn fileno(&self) -> RawFd {
        self.bell.fileno()
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn queue<'a>(&mut self, claims: &'a Claims, urgent: bool) -> (&mut Fair<Event>, &'a Share) {
        if urgent { (&mut self.urgent, &claims.urgent) } else { (&mut self.others, &claims.others) }
    }

    fn add(&mut self, event: Event, claims: &Claims, urgent: bool) -> Rank {
        let (queue, share) = self.queue(claims, urgent);
        let cost = event.cost();
        let rank = queue.push(share, cost, event);
        queue.charge(share, cost);
        rank
    }

    /// Forgets that a call waits.
    fn heard_of(&mut self, id: u64) -> Option<Unheard> {
        let call = self.calls.remove(&id)?;
        self.counts[usize::from(call.urgent)] -= 1;
        Some(call)
    }

    fn next(&mut self) -> Option<Event> {
        if let Some(event) = self.gone.pop_front() {
            return Some(event);
        }
        self.urgent_next = !self.urgent_next && !self.urgent.is_empty() || self.others.is_empty();
        let queue = if self.urgent_next { &mut self.urgent } else { &mut self.others };
        let next = queue.pop();
        if let Some(event) = &next {
            queue.pass(event.cost());
        }
        next.or_else(|| std::mem::take(&mut self.closed).then_some(Event::Closed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::Metadata;

    fn events() -> Events {
        Events::new(HashSet::from(["Check".into()])).unwrap()
    }

    fn begin(events: &Events, id: u64, path: &str, claims: &Claims) -> bool {
        let head =
            Head { path: path.into(), metadata: Metadata::with_capacity(0, 0), peer: "p:1".into(), deadline: None };
        events.begin(id, head, None, claims)
    }

    fn ids(events: Vec<Event>) -> Vec<u64> {
        events
            .into_iter()
            .map(|event| match event {
                Event::Call(id, ..) | Event::Message(id, _) | Event::HalfClosed(id) | Event::Sent(id, _) => id,
                Event::Gone(id) => id + 1_000,
                Event::Closed => u64::MAX,
            })
            .collect()
    }

    #[test]
    fn connections_take_turns_whatever_each_has_waiting() {
        let events = events();
        let (many, few) = (events.join(), events.join());
        (0..100).for_each(|id| _ = begin(&events, id, "Do", &many));
        (100..103).for_each(|id| _ = begin(&events, id, "Do", &few));
        assert_eq!(ids(events.take(7)), [0, 100, 1, 101, 2, 102, 3]);
    }

    #[test]
    fn every_other_event_is_urgent_where_there_are_both() {
        let events = events();
        let (many, few) = (events.join(), events.join());
        (0..4).for_each(|id| _ = begin(&events, id, "Do", &many));
        (10..16).for_each(|id| _ = begin(&events, id, "Check", &many));
        begin(&events, 20, "Check", &few);
        assert_eq!(ids(events.take(100)), [10, 0, 20, 1, 11, 2, 12, 3, 13, 14, 15]);
    }

    #[test]
    fn ends_come_first_and_the_servers_last() {
        let events = events();
        let claims = events.join();
        events.close();
        begin(&events, 1, "Do", &claims);
        events.push(Event::Gone(0), &claims);
        assert_eq!(ids(events.take(100)), [1_000, 1, u64::MAX]);
        assert!(events.take(100).is_empty());
    }

    #[test]
    fn what_was_not_heard_of_can_be_taken_back_once() {
        let events = events();
        let claims = events.join();
        (0..3).for_each(|id| _ = begin(&events, id, "Do", &claims));
        begin(&events, 3, "Check", &claims);
        assert_eq!(
            [
                events.withdraw(1, &claims),
                events.withdraw(1, &claims),
                events.withdraw(3, &claims),
                events.withdraw(9, &claims)
            ],
            [true, false, true, false]
        );
        assert_eq!(ids(events.take(1)), [0]);
        assert!(!events.withdraw(0, &claims));
        assert_eq!(ids(events.take(9)), [2]);
    }

    #[test]
    fn what_is_taken_back_is_not_paid_for() {
        let events = events();
        let (claims, new) = (events.join(), events.join());
        for id in 0..100 {
            begin(&events, id, "Do", &claims);
            assert!(events.withdraw(id, &claims));
        }
        begin(&events, 100, "Do", &claims);
        (101..103).for_each(|id| _ = begin(&events, id, "Do", &new));
        assert_eq!(ids(events.take(9)), [100, 101, 102]);
    }

    #[test]
    fn where_many_wait_those_that_have_some_can_have_no_more() {
        let events = events();
        let all: Vec<_> = (0..CALLS / 100 + 1).map(|_| events.join()).collect();
        let taken = (0..).take(CALLS).filter(|&id| begin(&events, id, "Do", &all[id as usize / 100])).count();
        assert_eq!(taken, CALLS);
        let (first, new) = (CALLS as u64, events.join());
        assert!(!begin(&events, first, "Do", &all[0]));
        let more = (0..20).filter(|number| begin(&events, first + number, "Do", &new)).count();
        assert_eq!(more, CALLS_OF_ONE);
        events.withdraw(first, &new);
        assert!(begin(&events, first + 100, "Do", &new) && !begin(&events, first + 101, "Do", &new));
        assert!(begin(&events, first + 200, "Check", &new)); // of which few wait
        events.take(100); // the new one's are among the first
        assert!(begin(&events, first + 102, "Do", &new));
    }

    #[test]
    fn the_bell_is_heard_as_long_as_something_waits() {
        let events = events();
        let claims = events.join();
        let heard = || events.bell.is_rung();
        assert!(!heard());
        (0..3).for_each(|id| _ = begin(&events, id, "Do", &claims));
        assert!(heard());
        events.take(3);
        assert!(heard()); // nobody has seen yet that there is no more
        events.take(1);
        assert!(!heard());
        begin(&events, 4, "Do", &claims);
        assert!(heard());
    }
}
