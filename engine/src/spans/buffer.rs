//! Spans that wait to leave: bounded, in batches, and counted where there is no room.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What a span may take on the average, so that long texts do not make a memory of what is a number.
const SPAN_BYTES: usize = 1024;

/// Spans, written one behind the other.
#[derive(Debug, Default, PartialEq)]
pub struct Batch {
    pub count: usize,
    pub bytes: Vec<u8>,
}

#[derive(Default)]
struct State {
    full: VecDeque<Batch>,
    last: Batch,
    /// In all batches.
    count: usize,
    bytes: usize,
}

/// Where spans wait.
pub struct Buffer {
    most: usize,
    /// How many make a batch that is full.
    batch: usize,
    state: Mutex<State>,
    lost: AtomicU64,
}

impl Buffer {
    /// Makes an empty buffer for so many spans, which leave `batch` at once.
    pub fn new(most: usize, batch: usize) -> Self {
        Self { most, batch: batch.max(1), state: Mutex::default(), lost: AtomicU64::new(0) }
    }

    /// Takes `count` spans, or loses them.
    pub fn push(&self, count: usize, bytes: &[u8]) {
        let mut state = self.lock();
        if state.count + count > self.most || state.bytes + bytes.len() > self.most.saturating_mul(SPAN_BYTES) {
            self.lost.fetch_add(count as u64, Relaxed);
            return;
        }
        state.count += count;
        state.bytes += bytes.len();
        state.last.count += count;
        state.last.bytes.extend_from_slice(bytes);
        if state.last.count >= self.batch {
            let full = std::mem::take(&mut state.last);
            state.full.push_back(full);
        }
    }

    /// Returns the oldest batch; one that is not full only where `rest` says so.
    pub fn take(&self, rest: bool) -> Option<Batch> {
        let mut state = self.lock();
        let batch = match state.full.pop_front() {
            Some(batch) => batch,
            None if rest && state.last.count > 0 => std::mem::take(&mut state.last),
            None => return None,
        };
        state.count -= batch.count;
        state.bytes -= batch.bytes.len();
        Some(batch)
    }

    /// Returns how many there was no room for.
    pub fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_leave_in_their_order_and_in_full_batches_unless_asked() {
        let buffer = Buffer::new(100, 3);
        for number in 0..5 {
            buffer.push(1, &[number]);
        }
        assert_eq!(buffer.take(false), Some(Batch { count: 3, bytes: vec![0, 1, 2] }));
        assert_eq!(buffer.take(false), None);
        assert_eq!(buffer.take(true), Some(Batch { count: 2, bytes: vec![3, 4] }));
        assert_eq!((buffer.take(true), buffer.lost()), (None, 0));
    }

    #[test]
    fn what_there_is_no_room_for_is_lost_and_counted_until_there_is() {
        let buffer = Buffer::new(4, 10);
        [3, 2, 1].into_iter().for_each(|count| buffer.push(count, &[9]));
        assert_eq!((buffer.lost(), buffer.take(true).map(|batch| batch.count)), (2, Some(4)));
        buffer.push(4, &[9]);
        assert_eq!(buffer.lost(), 2);
    }

    #[test]
    fn long_spans_do_not_take_more_than_their_share() {
        let buffer = Buffer::new(4, 10);
        buffer.push(1, &[0; 3 * SPAN_BYTES]);
        buffer.push(1, &[0; 2 * SPAN_BYTES]);
        assert_eq!((buffer.lost(), buffer.take(true).map(|batch| batch.count)), (1, Some(1)));
    }
}
