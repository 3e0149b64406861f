//! Length-prefixed messages, out of pieces of any size and back.

use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use h2::RecvStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};

use crate::memory::{Account, Held, Loan};
use crate::net::WINDOW;
use crate::net::connection::State;
use crate::net::status::{self, INTERNAL, Status};
use crate::net::unread::{Pile, Watching};

/// A flag that says whether the message is compressed, and its length in four bytes.
pub const PREFIX_SIZE: usize = 5;
/// Bytes of a message that memory is taken for before they have come.
const AHEAD: usize = 64 * 1024;
/// Bytes of a message that have to come in each second beyond the time that every message has.
const SLOWEST: usize = 1024;
/// The same of one that has room which others of its connection may wait for.
const SLOWEST_WITH_ROOM: usize = 64 * 1024;

/// A whole message.
#[derive(Debug, PartialEq)]
pub struct Message {
    pub compressed: bool,
    pub payload: Bytes,
}

/// Why there is no message.
#[derive(Debug, PartialEq)]
pub enum Broken {
    /// The client has gone, or only this call of its.
    Gone,
    /// It cannot be taken, and the call ends.
    Refused(Status),
}

impl From<Status> for Broken {
    fn from(status: Status) -> Self {
        Self::Refused(status)
    }
}

/// Returns `message` as it is sent.
pub fn framed(message: &[u8]) -> Bytes {
    let mut data = BytesMut::with_capacity(PREFIX_SIZE + message.len());
    data.put_slice(&prefix(message.len()));
    data.put_slice(message);
    data.freeze()
}

/// Returns what stands before a message of `size` bytes. Longer ones than the prefix can tell of are not made.
pub fn prefix(size: usize) -> [u8; PREFIX_SIZE] {
    let [a, b, c, d] = u32::try_from(size).unwrap_or(u32::MAX).to_be_bytes();
    [0, a, b, c, d]
}

/// Cuts messages out of pieces. Knows of no stream.
pub struct Cutter {
    limit: usize,
    piece: Bytes,
    prefix: [u8; PREFIX_SIZE],
    prefix_size: usize,
    need: usize,
    body: BytesMut,
}

impl Cutter {
    /// Begins before messages of at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { limit, piece: Bytes::new(), prefix: [0; PREFIX_SIZE], prefix_size: 0, need: 0, body: BytesMut::new() }
    }

    /// Takes the next piece; the one before has been cut up.
    pub fn feed(&mut self, piece: Bytes) {
        debug_assert!(self.piece.is_empty());
        self.piece = piece;
    }

    /// Says whether no message has begun.
    pub fn between(&self) -> bool {
        self.prefix_size == 0 && self.piece.is_empty()
    }

    /// Returns how long the message is that has begun; 0 where that is not known.
    pub fn announced(&self) -> usize {
        if self.prefix_size == PREFIX_SIZE { self.need } else { 0 }
    }

    /// Returns the next message; None where it takes another piece.
    pub fn cut(&mut self) -> Result<Option<Message>, Status> {
        if self.prefix_size < PREFIX_SIZE && !self.begin()? {
            return Ok(None);
        }
        let taken = self.need - self.body.len();
        if self.body.is_empty() && self.piece.len() >= taken {
            let payload = self.piece.split_to(taken);
            return Ok(Some(self.whole(payload)));
        }
        let some = self.piece.split_to(taken.min(self.piece.len()));
        if self.body.is_empty() {
            self.body.reserve(self.need.min(AHEAD.max(some.len())));
        }
        self.body.extend_from_slice(&some);
        if self.body.len() < self.need {
            return Ok(None);
        }
        let payload = std::mem::take(&mut self.body).freeze();
        Ok(Some(self.whole(payload)))
    }

    /// Takes the prefix, or as much as there is; returns whether it is whole.
    fn begin(&mut self) -> Result<bool, Status> {
        let taken = (PREFIX_SIZE - self.prefix_size).min(self.piece.len());
        let some = self.piece.split_to(taken);
        self.prefix[self.prefix_size..self.prefix_size + taken].copy_from_slice(&some);
        self.prefix_size += taken;
        if self.prefix_size < PREFIX_SIZE {
            return Ok(false);
        }
        let [flag, a, b, c, d] = self.prefix;
        if flag > 1 {
            return Err(Status::new(INTERNAL, format!("a message begins with {flag}; expected 0 or 1")));
        }
        self.need = u32::from_be_bytes([a, b, c, d]) as usize;
        if self.need > self.limit {
            return Err(status::too_large(self.need, self.limit));
        }
        Ok(true)
    }

    fn whole(&mut self, payload: Bytes) -> Message {
        self.prefix_size = 0;
        self.need = 0;
        Message { compressed: self.prefix[0] == 1, payload }
    }
}

/// Reads a client's messages from a stream.
///
/// What a client may send unasked is a window for each stream. For a message that is longer than that, it is given room
/// only as far as all such messages of its connection fit `room`; who comes too late waits, which costs the client
/// nothing but time. Announcing a message fills no memory, but it takes its part of the process's budget: what would not fit
/// is refused before it has come.
pub struct Reader {
    /// Of a stream that may lie unread. Looks at it, and is dropped first.
    watching: Option<Watching>,
    stream: RecvStream,
    cutter: Cutter,
    /// Bytes that were taken from the stream, and whose window the client has not got back.
    owed: usize,
    room: Arc<Semaphore>,
    reserved: Option<OwnedSemaphorePermit>,
    account: Rc<Account>,
    /// What is held for the message that comes or has come, and for what is made of it.
    held: Held,
    /// How much of it is for the message that comes.
    charged: usize,
    /// How long a message may take, beyond what its bytes may.
    time: Duration,
    /// When the first message was whole.
    whole_at: Option<Instant>,
}

impl Reader {
    /// Begins with nothing read.
    pub fn new(stream: RecvStream, limit: usize, connection: &State, time: Duration) -> Self {
        let (room, account) = (connection.room.clone(), connection.account.clone());
        Self {
            watching: None,
            stream,
            cutter: Cutter::new(limit),
            owed: 0,
            room,
            reserved: None,
            held: account.nothing(),
            account,
            charged: 0,
            time,
            whole_at: None,
        }
    }

    /// Has what lies unread looked at, as of a stream that is not always read; returns what may end it.
    pub fn watch(&mut self, connection: &Rc<State>) -> &Rc<Pile> {
        let flow = self.stream.flow_control().clone();
        let watching = Watching::new(connection.clone(), move || flow.used_capacity());
        self.watching.insert(watching).pile()
    }

    /// Holds more for what is made of the message.
    pub fn hold(&mut self, more: usize) -> Result<(), Status> {
        if self.held.grow(more) { Ok(()) } else { Err(status::memory_full()) }
    }

    /// Returns how much is held for it.
    pub fn held(&self) -> usize {
        self.held.size()
    }

    /// Holds so much, if it may.
    pub fn hold_in_all(&mut self, size: usize) -> bool {
        self.held.resize(size)
    }

    /// Returns what can be held for it from another thread.
    pub fn loan(&self) -> Loan {
        self.account.loan()
    }

    /// Holds what was.
    pub fn keep(&mut self, loan: Loan) {
        self.held.keep(loan);
    }

    /// Returns what is held for the message that has come, for whoever has it now.
    pub fn take_held(&mut self) -> Held {
        let mut rest = self.account.nothing();
        std::mem::swap(&mut rest, &mut self.held);
        rest
    }

    /// Holds what was held for a message that is to be dealt with only now.
    pub fn take_back(&mut self, held: Held) {
        self.held.join(held);
    }

    /// Holds so much for the message that comes, at the least.
    fn charge(&mut self, size: usize) -> Result<(), Status> {
        if size > self.charged {
            self.hold(size - self.charged)?;
            self.charged = size;
        }
        Ok(())
    }

    /// Returns how long ago the first message was whole, if one ever was.
    pub fn whole_for(&self) -> Option<Duration> {
        self.whole_at.map(|at| at.elapsed())
    }

    /// Returns the next message, or None after the last. May be dropped and called again without losing anything.
    pub async fn next(&mut self) -> Result<Option<Message>, Broken> {
        if self.charged == 0 {
            self.held.shrink(usize::MAX); // the one before has been dealt with
        }
        let message = self.whole(true, false).await?;
        self.reserved = None;
        Ok(message)
    }

    /// Returns the next message, whose room is still taken. Where there should be none, a long one is not waited for.
    /// `hurried`: it may not even be waited for to begin for longer than a message may take.
    async fn whole(&mut self, expected: bool, hurried: bool) -> Result<Option<Message>, Broken> {
        let mut pace = Pace::new(self.time);
        loop {
            if let Some(message) = self.cutter.cut()? {
                self.charge(message.payload.len())?;
                self.charged = 0;
                self.whole_at.get_or_insert_with(Instant::now);
                return Ok(Some(message));
            }
            let announced = self.cutter.announced();
            if announced > WINDOW && !expected {
                return Err(status::not_one_message().into());
            }
            self.charge(announced.min(WINDOW))?; // it may come unasked
            if announced > WINDOW && self.reserved.is_none() {
                let size = u32::try_from(announced).unwrap_or(u32::MAX);
                self.reserved = self.room.clone().acquire_many_owned(size).await.ok();
                pace.have_room();
                self.charge(announced)?;
            }
            self.give_back();
            let patient = !hurried && self.cutter.between();
            let data = pin!(self.stream.data());
            let data = if patient { data.await } else { pace.keep(data).await? };
            match data {
                Some(Ok(piece)) => {
                    self.owed += piece.len();
                    pace.received += piece.len();
                    self.cutter.feed(piece);
                }
                Some(Err(_)) => return Err(Broken::Gone),
                None if self.cutter.between() => return Ok(None),
                None => return Err(status::truncated().into()),
            }
        }
    }

    /// Returns the message of a client that has to send exactly one.
    pub async fn only(&mut self) -> Result<Message, Broken> {
        let Some(message) = self.whole(true, true).await? else {
            return Err(status::not_one_message().into());
        };
        // It is held until the client has ended its side, and so is its room: who never does so must not fill memory.
        let _held = self.reserved.take();
        match self.whole(false, true).await? {
            None => Ok(message),
            Some(_) => Err(status::not_one_message().into()),
        }
    }

    /// Gives back the window of what was taken.
    fn give_back(&mut self) {
        if self.owed > 0 {
            let _ = self.stream.flow_control().release_capacity(self.owed); // it fails where the stream has ended
            if let Some(watching) = &self.watching {
                watching.read(self.owed);
            }
            self.owed = 0;
        }
    }
}

/// How fast a message has to come.
struct Pace {
    time: Duration,
    slowest: usize,
    received: usize,
    due: Option<Instant>,
}

impl Pace {
    fn new(time: Duration) -> Self {
        Self { time, slowest: SLOWEST, received: 0, due: None }
    }

    /// Begins anew, as it was others' that the message could not come; now it is others that wait for it.
    fn have_room(&mut self) {
        *self = Self { slowest: SLOWEST_WITH_ROOM, ..Self::new(self.time) };
    }

    /// Waits for what comes next, as long as the message may take with what has come of it.
    async fn keep<F: Future>(&mut self, next: std::pin::Pin<&mut F>) -> Result<F::Output, Status> {
        let due = async {
            // Only who has to wait looks at the clock.
            let begun = *self.due.get_or_insert_with(Instant::now);
            sleep_until(begun + self.time + Duration::from_secs((self.received / self.slowest) as u64)).await;
        };
        tokio::select! {
            biased;
            output = next => Ok(output),
            () = due => Err(status::unfinished()),
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.give_back(); // the connection's window, which all streams share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut_all(pieces: &[&[u8]], limit: usize) -> (Vec<Message>, Option<String>, bool) {
        let mut cutter = Cutter::new(limit);
        let mut messages = Vec::new();
        for piece in pieces {
            cutter.feed(Bytes::copy_from_slice(piece));
            loop {
                match cutter.cut() {
                    Ok(Some(message)) => messages.push(message),
                    Ok(None) => break,
                    Err(status) => return (messages, Some(status.message.into_owned()), false),
                }
            }
        }
        (messages, None, cutter.between())
    }

    #[test]
    fn messages_may_be_cut_and_joined_in_any_way() {
        let body = [framed(b"hello"), framed(b""), framed(&[7; 300])].concat();
        for first in 0..=body.len() {
            for second in [first, (first + 3).min(body.len()), (first + 290).min(body.len())] {
                let pieces = [&body[..first], &body[first..second], &body[second..]];
                let (messages, error, between) = cut_all(&pieces, 1_000);
                let payloads: Vec<&[u8]> = messages.iter().map(|message| &*message.payload).collect();
                assert_eq!((payloads, error, between), (vec![&b"hello"[..], b"", &[7; 300]], None, true));
            }
        }
    }

    #[test]
    fn a_message_that_is_too_long_is_refused_before_it_comes() {
        let (_, error, _) = cut_all(&[&prefix(1_001)], 1_000);
        assert_eq!(error.as_deref(), Some("Received message larger than max (1001 vs. 1000)"));
    }

    #[test]
    fn a_flag_is_0_or_1() {
        let (messages, _, _) = cut_all(&[b"\x01\0\0\0\x01x"], 10);
        assert!(messages[0].compressed);
        let (_, error, _) = cut_all(&[b"\x02\0\0\0\0"], 10);
        assert_eq!(error.as_deref(), Some("a message begins with 2; expected 0 or 1"));
    }

    #[test]
    fn what_ends_within_a_message_is_not_between_two() {
        for end in 1..10 {
            assert!(!cut_all(&[&framed(b"hello")[..end]], 10).2);
        }
    }

    #[test]
    fn a_message_that_is_announced_takes_no_memory() {
        let mut cutter = Cutter::new(usize::MAX);
        cutter.feed(Bytes::copy_from_slice(&[&prefix(4_000_000_000)[..], b"x"].concat()));
        assert_eq!(cutter.cut(), Ok(None));
        assert!(cutter.body.capacity() <= 2 * AHEAD);
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_has_so_long_and_its_bytes_a_second_a_kilobyte() {
        let seconds = Duration::from_secs;
        let mut pace = Pace::new(seconds(30));
        for (kilobytes, comes_after, in_time) in [(0, 29, true), (0, 2, false), (5, 4, true), (0, 2, false)] {
            pace.received += kilobytes * 1024;
            let next = pin!(tokio::time::sleep(seconds(comes_after)));
            assert_eq!(pace.keep(next).await.is_ok(), in_time, "{kilobytes} {comes_after}");
        }
        pace.have_room();
        for (kilobytes, comes_after, in_time) in [(0, 29, true), (63, 2, false), (65, 1, true), (63, 2, false)] {
            pace.received += kilobytes * 1024;
            let next = pin!(tokio::time::sleep(seconds(comes_after)));
            assert_eq!(pace.keep(next).await.is_ok(), in_time, "{kilobytes} {comes_after} with room");
        }
    }
}
