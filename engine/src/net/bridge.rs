//! The way to Python and back: events that its event loop takes, and what it replies.
//!
//! Neither side ever waits for the other. Events lie in one queue for all shards, whose lock is held for a push or a swap
//! and no longer; a byte in a pipe of a kind wakes the event loop, once for as many events as there are by then.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::call::Head;
use crate::net::connection::State;
use crate::net::status::Status;
use crate::spans::Parent;

/// What happens to a call that Python answers.
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

/// What Python says to a call.
pub enum Reply {
    /// One message, framed, and OK.
    Answer(Bytes),
    /// One message of several, framed.
    Send(Bytes),
    /// The end.
    End(Status),
    /// The next message is wanted. With the first wish comes the call's span, if that is recorded.
    More(Option<Box<Parent>>),
}

impl Reply {
    fn last(&self) -> bool {
        matches!(self, Self::Answer(_) | Self::End(_))
    }
}

/// The events that Python has not taken yet.
pub struct Events {
    queue: Mutex<Vec<Event>>,
    bell: UnixStream,
    ear: UnixStream,
}

impl Events {
    /// Begins with none.
    pub fn new() -> io::Result<Self> {
        let (bell, ear) = UnixStream::pair()?;
        bell.set_nonblocking(true)?;
        ear.set_nonblocking(true)?;
        Ok(Self { queue: Mutex::new(Vec::new()), bell, ear })
    }

    /// Adds one, and wakes the event loop if there was none.
    pub fn push(&self, event: Event) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let first = queue.is_empty();
        queue.push(event);
        drop(queue);
        if first {
            let _ = (&self.bell).write(&[1]); // where it is full, it has been rung
        }
    }

    /// Takes all.
    pub fn take(&self) -> Vec<Event> {
        let mut rung = [0; 64];
        let _ = (&self.ear).read(&mut rung); // before the swap: what comes after it rings again
        std::mem::take(&mut *self.queue.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns what is readable while there are events.
    pub fn fileno(&self) -> RawFd {
        self.ear.as_raw_fd()
    }
}

struct Entry {
    replies: UnboundedSender<Reply>,
    connection: Rc<State>,
    lingers: bool,
}

/// The calls of one shard that Python answers.
pub struct Bridge {
    events: Arc<Events>,
    calls: RefCell<HashMap<u64, Entry>>,
    next: Cell<u64>,
    step: u64,
}

impl Bridge {
    /// Begins with no call. Of `shards` bridges, this is number `index`.
    pub fn new(events: Arc<Events>, index: usize, shards: usize) -> Self {
        Self { events, calls: RefCell::default(), next: Cell::new(index as u64), step: shards as u64 }
    }

    /// Returns which shard's call has the number `id`.
    pub fn shard_of(id: u64, shards: usize) -> usize {
        (id % shards as u64) as usize
    }

    /// Hands a call to Python.
    pub fn begin(self: &Rc<Self>, head: Head, message: Option<Bytes>, connection: &Rc<State>) -> Handle {
        let id = self.next.get();
        self.next.set(id + self.step);
        let (sender, replies) = unbounded_channel();
        let entry = Entry { replies: sender, connection: connection.clone(), lingers: false };
        self.calls.borrow_mut().insert(id, entry);
        self.events.push(Event::Call(id, head, message));
        Handle { id, replies, bridge: self.clone() }
    }

    /// Takes what Python says. For a call that is over, only the last word matters: its handler has ended.
    pub fn reply(&self, id: u64, reply: Reply) {
        let mut calls = self.calls.borrow_mut();
        if !reply.last() {
            if let Some(entry) = calls.get(&id) {
                let _ = entry.replies.send(reply);
            }
        } else if let Some(entry) = calls.remove(&id) {
            if entry.lingers {
                entry.connection.lingering.set(entry.connection.lingering.get() - 1);
            }
            let _ = entry.replies.send(reply);
        }
    }
}

/// A call that Python answers. Where this is dropped before Python has said its last word, Python is told.
pub struct Handle {
    id: u64,
    replies: UnboundedReceiver<Reply>,
    bridge: Rc<Bridge>,
}

impl Handle {
    /// Returns what Python says next.
    pub async fn reply(&mut self) -> Reply {
        match self.replies.recv().await {
            Some(reply) => reply,
            None => std::future::pending().await, // the last word was taken; nobody asks then
        }
    }

    /// Says whether Python has said its last word, which may not have been taken yet.
    pub fn ended(&self) -> bool {
        !self.bridge.calls.borrow().contains_key(&self.id)
    }

    pub fn message(&self, message: Bytes) {
        self.bridge.events.push(Event::Message(self.id, message));
    }

    pub fn half_closed(&self) {
        self.bridge.events.push(Event::HalfClosed(self.id));
    }

    pub fn sent(&self, size: usize) {
        self.bridge.events.push(Event::Sent(self.id, size));
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if let Some(entry) = self.bridge.calls.borrow_mut().get_mut(&self.id) {
            entry.lingers = true;
            entry.connection.lingering.set(entry.connection.lingering.get() + 1);
            self.bridge.events.push(Event::Gone(self.id));
        }
    }
}
