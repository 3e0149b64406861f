//! What Python's event loop is told: letters in a queue, and a byte in a pipe of a kind that wakes it.
//!
//! Neither side ever waits for the other. The queue's lock is held for a push or a swap and no longer, and the event loop
//! is woken once for as many letters as there are by then.

use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, PoisonError};

/// Letters that Python has not taken yet.
pub struct Mailbox<T> {
    queue: Mutex<Vec<T>>,
    bell: UnixStream,
    ear: UnixStream,
}

impl<T> Mailbox<T> {
    /// Begins with none.
    pub fn new() -> io::Result<Self> {
        let (bell, ear) = UnixStream::pair()?;
        bell.set_nonblocking(true)?;
        ear.set_nonblocking(true)?;
        Ok(Self { queue: Mutex::new(Vec::new()), bell, ear })
    }

    /// Adds one, and wakes the event loop if there was none.
    pub fn push(&self, letter: T) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let first = queue.is_empty();
        queue.push(letter);
        drop(queue);
        if first {
            let _ = (&self.bell).write(&[1]); // where it is full, it has been rung
        }
    }

    /// Takes all.
    pub fn take(&self) -> Vec<T> {
        let mut rung = [0; 64];
        let _ = (&self.ear).read(&mut rung); // before the swap: what comes after it rings again
        std::mem::take(&mut *self.queue.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns what is readable while there are letters.
    pub fn fileno(&self) -> RawFd {
        self.ear.as_raw_fd()
    }
}
