//! What Python's event loop is told: letters in a queue, and a bell.
//!
//! Neither side ever waits for the other. The queue's lock is held for a push or a swap and no longer, and the event loop
//! is woken once for as many letters as there are by then.

use std::io;
use std::os::fd::RawFd;
use std::sync::{Mutex, PoisonError};

use crate::bell::Bell;

/// Letters that Python has not taken yet.
pub struct Mailbox<T> {
    queue: Mutex<Vec<T>>,
    bell: Bell,
}

impl<T> Mailbox<T> {
    /// Begins with none.
    pub fn new() -> io::Result<Self> {
        Ok(Self { queue: Mutex::new(Vec::new()), bell: Bell::new()? })
    }

    /// Adds one, and wakes the event loop if there was none.
    pub fn push(&self, letter: T) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let first = queue.is_empty();
        queue.push(letter);
        drop(queue);
        if first {
            self.bell.ring();
        }
    }

    /// Takes all.
    pub fn take(&self) -> Vec<T> {
        self.bell.hush(); // before the swap: what comes after it rings again
        std::mem::take(&mut *self.queue.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns what is readable while there are letters.
    pub fn fileno(&self) -> RawFd {
        self.bell.fileno()
    }
}
