//! Random ids, from a generator of each thread's own.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};

use super::context::{SpanId, TraceId};

thread_local! {
    static STATE: Cell<[u64; 4]> = Cell::new(seed());
}

/// Returns a trace id that nobody else has.
pub fn trace_id() -> TraceId {
    loop {
        let id = (u128::from(random()) << 64 | u128::from(random())).to_be_bytes();
        if id != [0; 16] {
            return id;
        }
    }
}

/// Returns a span id that no other span of a trace has.
pub fn span_id() -> SpanId {
    loop {
        let id = random().to_be_bytes();
        if id != [0; 8] {
            return id;
        }
    }
}

/// Returns 64 random bits: xoshiro256++.
/// (D. Blackman, S. Vigna, "Scrambled Linear Pseudorandom Number Generators", 2021.)
fn random() -> u64 {
    STATE.with(|cell| {
        let mut state = cell.get();
        let result = state[0].wrapping_add(state[3]).rotate_left(23).wrapping_add(state[0]);
        let shifted = state[1] << 17;
        state[2] ^= state[0];
        state[3] ^= state[1];
        state[1] ^= state[2];
        state[0] ^= state[3];
        state[2] ^= shifted;
        state[3] = state[3].rotate_left(45);
        cell.set(state);
        result
    })
}

/// Returns a state from the system's random numbers, with which the standard library seeds its hashing.
fn seed() -> [u64; 4] {
    let hasher = RandomState::new();
    // Never all zeros: the last is odd.
    [hasher.hash_one(1), hasher.hash_one(2), hasher.hash_one(3), hasher.hash_one(4) | 1]
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_are_not_given_twice_on_any_thread() {
        let some = || (0..1000).map(|_| (trace_id(), span_id())).collect::<Vec<_>>();
        let mut all = some();
        for _ in 0..3 {
            all.extend(std::thread::spawn(some).join().unwrap());
        }
        let (traces, spans): (HashSet<_>, HashSet<_>) = all.iter().copied().unzip();
        assert_eq!((traces.len(), spans.len()), (all.len(), all.len()));
    }

    #[test]
    fn every_bit_is_set_as_often_as_not() {
        let mut counts = [0u32; 64];
        for _ in 0..4096 {
            let id = u64::from_be_bytes(span_id());
            counts.iter_mut().enumerate().for_each(|(bit, count)| *count += (id >> bit & 1) as u32);
        }
        assert!(counts.iter().all(|count| (1700..2400).contains(count)), "{counts:?}");
    }
}
