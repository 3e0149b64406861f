//! The messages of a stream that are under way, in their order.

use std::collections::VecDeque;

use bytes::Bytes;
use tokio::task::AbortHandle;

use crate::memory::Held;
use crate::net::state::Counted;
use crate::net::status::Status;

/// Messages that may be under way, or have an answer that the client has not taken.
const MOST: usize = 16;
/// Bytes of them; the message that passes this is the last that is read, so that one of any size is answered.
const MOST_BYTES: usize = 4 * 1024 * 1024;

/// A task that ends when this is dropped.
pub struct Task(pub AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What is said in a message's place.
#[derive(Debug, PartialEq)]
pub enum Said {
    /// An answer without a prefix.
    Here(Bytes),
    /// Python's, behind its prefix.
    Python(Bytes),
    /// The stream's end.
    End(Status),
}

impl Said {
    /// Returns how many bytes of an answer it has.
    pub fn size(&self) -> usize {
        match self {
            Self::Here(answer) | Self::Python(answer) => answer.len(),
            Self::End(_) => 0,
        }
    }
}

/// What a message has come to.
pub enum Stage {
    /// It is being answered here.
    Here(#[expect(dead_code, reason = "dropping it ends it")] Task, Bytes),
    /// Python has it, or is to have it.
    Python,
    /// Counted as unsent as long as it waits.
    Answered(Said, Counted),
}

struct Slot {
    /// Bytes of the message, or of its answer where those are more.
    nbytes: usize,
    stage: Stage,
    /// For the message, until it is answered.
    held: Option<Held>,
}

/// The messages under way, in their order.
#[derive(Default)]
pub struct UnderWay {
    slots: VecDeque<Slot>,
    nbytes: usize,
    /// The number of the first.
    first: u64,
}

impl UnderWay {
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    pub fn has_room(&self) -> bool {
        self.slots.len() < MOST && self.nbytes < MOST_BYTES
    }

    /// Returns the number of the next message.
    pub fn next(&self) -> u64 {
        self.first + self.slots.len() as u64
    }

    pub fn push(&mut self, nbytes: usize, stage: Stage, held: Option<Held>) {
        self.nbytes += nbytes;
        self.slots.push_back(Slot { nbytes, stage, held });
    }

    /// Leaves a message to Python, and returns it.
    pub fn leave(&mut self, number: u64) -> Option<Bytes> {
        match std::mem::replace(&mut self.slot(number)?.stage, Stage::Python) {
            Stage::Here(_, message) => Some(message),
            _ => None,
        }
    }

    pub fn answer(&mut self, number: u64, said: Said, unsent: Counted) {
        let size = said.size();
        let Some(slot) = self.slot(number) else { return };
        let more = size.saturating_sub(slot.nbytes);
        slot.nbytes += more;
        slot.stage = Stage::Answered(said, unsent);
        slot.held = None;
        self.nbytes += more;
    }

    /// Takes what is to be said next, once it is known.
    pub fn pop(&mut self) -> Option<(Said, Counted)> {
        let first = self.slots.pop_front()?;
        let Stage::Answered(said, unsent) = first.stage else {
            self.slots.push_front(first);
            return None;
        };
        self.nbytes -= first.nbytes;
        self.first += 1;
        Some((said, unsent))
    }

    fn slot(&mut self, number: u64) -> Option<&mut Slot> {
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.slots.get_mut(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::state::State;

    fn say(under_way: &mut UnderWay, number: u64, said: Said) {
        under_way.answer(number, said, State::anybody().unsent(0));
    }

    fn said(under_way: &mut UnderWay) -> Option<Said> {
        under_way.pop().map(|(said, _)| said)
    }

    fn here(under_way: &mut UnderWay, message: &'static [u8]) -> u64 {
        let number = under_way.next();
        let task = Task(tokio::spawn(std::future::pending::<()>()).abort_handle());
        under_way.push(message.len(), Stage::Here(task, Bytes::from_static(message)), None);
        number
    }

    fn answer(text: &'static [u8]) -> Said {
        Said::Here(Bytes::from_static(text))
    }

    #[tokio::test]
    async fn answers_wait_for_those_before_them() {
        let mut under_way = UnderWay::default();
        let numbers = [(); 3].map(|()| here(&mut under_way, b"m"));
        assert_eq!(numbers, [0, 1, 2]);
        say(&mut under_way, 2, answer(b"third"));
        assert_eq!(under_way.leave(1), Some(Bytes::from_static(b"m")));
        assert_eq!(said(&mut under_way), None);
        say(&mut under_way, 0, answer(b"first"));
        assert_eq!(said(&mut under_way), Some(answer(b"first")));
        assert_eq!((said(&mut under_way), here(&mut under_way, b"m")), (None, 3));
        say(&mut under_way, 0, answer(b"late")); // of one that is over
        say(&mut under_way, 1, Said::Python(Bytes::from_static(b"second")));
        assert_eq!(said(&mut under_way), Some(Said::Python(Bytes::from_static(b"second"))));
        assert_eq!((said(&mut under_way), said(&mut under_way)), (Some(answer(b"third")), None));
        assert!(!under_way.is_empty());
    }

    #[tokio::test]
    async fn there_is_room_for_so_many_and_for_so_many_bytes() {
        static LARGE: [u8; MOST_BYTES - 1] = [0; MOST_BYTES - 1];
        let mut under_way = UnderWay::default();
        for _ in 0..MOST {
            assert!(under_way.has_room());
            here(&mut under_way, b"");
        }
        assert!(!under_way.has_room());
        say(&mut under_way, 0, answer(b""));
        said(&mut under_way);
        assert!(under_way.has_room());
        say(&mut under_way, 1, answer(&LARGE)); // an answer that is not read takes its room too
        assert!(under_way.has_room());
        say(&mut under_way, 2, answer(b"x"));
        assert!(!under_way.has_room());
        said(&mut under_way);
        assert!(under_way.has_room());
        said(&mut under_way);
        assert_eq!(under_way.nbytes, 0);
    }

    #[tokio::test]
    async fn what_nobody_waits_for_ends() {
        let mut under_way = UnderWay::default();
        let task = tokio::spawn(std::future::pending::<()>());
        under_way.push(0, Stage::Here(Task(task.abort_handle()), Bytes::new()), None);
        drop(under_way);
        assert!(task.await.unwrap_err().is_cancelled());
    }
}
