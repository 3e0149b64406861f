//! The calls that Python answers: what it is told of them, and what it replies.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::call::Head;
use crate::net::connection::State;
use crate::net::events::{Event, Events, Shares};
use crate::net::status::Status;
use crate::spans::Parent;

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

    /// Adds a connection.
    pub fn join(&self) -> Shares {
        self.events.join()
    }

    /// Hands a call to Python; None where too many wait to be heard of.
    pub fn begin(self: &Rc<Self>, head: Head, message: Option<Bytes>, connection: &Rc<State>) -> Option<Handle> {
        let id = self.next.get();
        self.next.set(id + self.step);
        if !self.events.begin(id, head, message, &connection.of_python) {
            return None;
        }
        let (sender, replies) = unbounded_channel();
        let entry = Entry { replies: sender, connection: connection.clone(), lingers: false };
        self.calls.borrow_mut().insert(id, entry);
        Some(Handle { id, replies, connection: connection.clone(), bridge: self.clone() })
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

/// A call that Python answers. Where this is dropped before Python has said its last word, Python is told, if it has heard
/// of the call.
pub struct Handle {
    id: u64,
    replies: UnboundedReceiver<Reply>,
    connection: Rc<State>,
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

    fn tell(&self, event: Event) {
        self.bridge.events.push(event, &self.connection.of_python);
    }

    pub fn message(&self, message: Bytes) {
        self.tell(Event::Message(self.id, message));
    }

    pub fn half_closed(&self) {
        self.tell(Event::HalfClosed(self.id));
    }

    pub fn sent(&self, size: usize) {
        self.tell(Event::Sent(self.id, size));
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let mut calls = self.bridge.calls.borrow_mut();
        let Some(entry) = calls.get_mut(&self.id) else { return };
        if self.bridge.events.withdraw(self.id) {
            calls.remove(&self.id);
            return;
        }
        entry.lingers = true;
        self.connection.lingering.set(self.connection.lingering.get() + 1);
        self.tell(Event::Gone(self.id));
    }
}
