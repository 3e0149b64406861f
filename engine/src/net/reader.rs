//! A client's messages, out of its stream: with the room, the memory and the time that they may take.

use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use h2::RecvStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::memory::{Account, Held, Loan};
use crate::net::WINDOW;
use crate::net::cutter::{Cutter, Message};
use crate::net::pace::Pace;
use crate::net::state::State;
use crate::net::status::{self, Status};
use crate::net::unread::{Pile, Watching};

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
                    pace.received(piece.len());
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

impl Drop for Reader {
    fn drop(&mut self) {
        self.give_back(); // the connection's window, which all streams share
    }
}
