//! The calls that Python answers: what it is told of them, and what it replies.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::call::Head;
use crate::memory::Held;
use crate::net::events::{Claims, Event, Events};
use crate::net::quota::Taken;
use crate::net::state::State;
use crate::net::status::{self, Status};
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
    replies: UnboundedSender<(Reply, Option<Held>)>,
    /// What is held for the messages that Python has, the last two: the next is asked for while one is answered.
    messages: [Option<Held>; 2],
    connection: Rc<State>,
    /// Where its method has a quota.
    _taken: Option<Taken>,
    lingers: bool,
}

impl Entry {
    /// Returns what Python says with what is held for it.
    fn paid(&self, reply: Reply) -> (Reply, Option<Held>) {
        let size = match &reply {
            Reply::Answer(data) | Reply::Send(data) => data.len(),
            Reply::End(_) | Reply::More(_) => return (reply, None),
        };
        match self.connection.account.take(size) {
            Some(held) => (reply, Some(held)),
            None => (Reply::End(status::memory_full()), None),
        }
    }
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
    pub fn join(&self) -> Claims {
        self.events.join()
    }

    /// Hands a call to Python, unless too many wait to be heard of; `held` and `taken` are kept until Python has said its last
    /// word.
    pub fn begin(
        self: &Rc<Self>,
        head: Head,
        message: Option<Bytes>,
        connection: &Rc<State>,
        held: Held,
        taken: Option<Taken>,
    ) -> Option<Handle> {
        let id = self.next.get();
        self.next.set(id + self.step);
        if !self.events.begin(id, head, message, &connection.of_python) {
            return None;
        }
        let (sender, replies) = unbounded_channel();
        let messages = [Some(held), None];
        let entry = Entry { replies: sender, messages, connection: connection.clone(), _taken: taken, lingers: false };
        self.calls.borrow_mut().insert(id, entry);
        Some(Handle { id, replies, bridge: self.clone(), connection: connection.clone(), sending: None })
    }

    /// Takes what Python says. For a call that is over, only the last word matters: its handler has ended. What there is no
    /// memory for is not said.
    pub fn reply(&self, id: u64, reply: Reply) {
        let mut calls = self.calls.borrow_mut();
        let last = reply.last();
        let Some(entry) = calls.get_mut(&id) else { return };
        if !entry.lingers {
            let _ = entry.replies.send(entry.paid(reply));
        }
        if last && let Some(entry) = calls.remove(&id).filter(|entry| entry.lingers) {
            entry.connection.lingering.set(entry.connection.lingering.get() - 1);
        }
    }
}

/// A call that Python answers. Where this is dropped before Python has said its last word, Python is told, if it has heard
/// of the call.
pub struct Handle {
    id: u64,
    replies: UnboundedReceiver<(Reply, Option<Held>)>,
    bridge: Rc<Bridge>,
    connection: Rc<State>,
    /// What is held for what Python said last.
    sending: Option<Held>,
}

impl Handle {
    /// Returns what Python says next.
    pub async fn reply(&mut self) -> Reply {
        match self.replies.recv().await {
            Some((reply, held)) => {
                self.sent_all();
                self.sending = held;
                reply
            }
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

    /// Hands a message to Python. `held` is kept until the one after the next is handed over.
    pub fn message(&self, message: Bytes, held: Option<Held>) {
        if let Some(entry) = self.bridge.calls.borrow_mut().get_mut(&self.id) {
            entry.messages.rotate_right(1);
            entry.messages[0] = held;
        }
        self.tell(Event::Message(self.id, message));
    }

    /// What was said before has been handed on.
    fn sent_all(&mut self) {
        if let Some(held) = self.sending.take() {
            self.connection.leave(held);
        }
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
        self.sent_all();
        let mut calls = self.bridge.calls.borrow_mut();
        let Some(entry) = calls.get_mut(&self.id) else { return };
        if self.bridge.events.withdraw(self.id, &self.connection.of_python) {
            calls.remove(&self.id);
            return;
        }
        entry.lingers = true;
        self.connection.lingering.set(self.connection.lingering.get() + 1);
        self.tell(Event::Gone(self.id));
    }
}
