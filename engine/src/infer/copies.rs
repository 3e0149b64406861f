//! Answered requests that go to other versions as well, kept until Python takes them and sends the copies.
//!
//! There is room for so many of them and no more: what finds none is dropped and counted, and no caller ever waits.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::record::Timing;
use crate::batch::Ns;
use crate::decide::Decision;
use crate::tensor::Tensor;

/// An answered request.
#[derive(Debug)]
pub struct Copy {
    /// Which of its route's mirrors get a copy, as their places in the table that it was decided by.
    pub mirrors: Vec<usize>,
    pub method: &'static str,
    pub message: Bytes,
    /// What its caller was answered, by the output's name.
    pub outputs: Vec<(String, Tensor)>,
    pub end: End,
}

/// The record of its end, as far as copies are to have the same in theirs.
#[derive(Debug)]
pub struct End {
    pub number: u64,
    /// Nanoseconds since the epoch.
    pub arrived: u64,
    pub took: Ns,
    pub decision: Arc<Decision>,
    pub unit: String,
    pub request_id: String,
    pub rows: u64,
    pub timing: Option<Timing>,
    pub traceparent: String,
}

/// Copies that were dropped: whose request's decision, the mirror's place, and how many.
pub type Dropped = (Arc<Decision>, usize, u64);

#[derive(Default)]
struct State {
    waiting: VecDeque<Copy>,
    count: usize,
    nbytes: usize,
    dropped: HashMap<(usize, usize), Dropped>,
}

/// What waits for Python.
pub struct Copies {
    most: usize,
    most_bytes: usize,
    state: Mutex<State>,
}

/// Room for some copies of one request.
pub struct Reserved {
    kept: usize,
    nbytes: usize,
}

impl Copies {
    /// Makes room for so many copies, and for so many bytes of requests and answers.
    pub fn new(most: usize, most_bytes: usize) -> Self {
        Self { most, most_bytes, state: Mutex::default() }
    }

    /// Takes room for copies of one request to `mirrors`, which all share `nbytes`. Those that find none are dropped.
    ///
    /// None where all are.
    pub fn reserve(&self, decision: &Arc<Decision>, mirrors: &mut Vec<usize>, nbytes: usize) -> Option<Reserved> {
        let mut state = self.lock();
        let fits = state.nbytes.checked_add(nbytes).is_some_and(|total| total <= self.most_bytes);
        let kept = if fits { mirrors.len().min(self.most - state.count) } else { 0 };
        for mirror in mirrors.drain(kept..) {
            let key = (Arc::as_ptr(decision) as usize, mirror);
            state.dropped.entry(key).or_insert_with(|| (decision.clone(), mirror, 0)).2 += 1;
        }
        if kept == 0 {
            return None;
        }
        state.count += kept;
        state.nbytes += nbytes;
        Some(Reserved { kept, nbytes })
    }

    /// Keeps what room was taken for.
    pub fn keep(&self, reserved: Reserved, copy: Copy) {
        debug_assert_eq!(reserved.kept, copy.mirrors.len());
        debug_assert_eq!(reserved.nbytes, copy.nbytes());
        self.lock().waiting.push_back(copy);
    }

    /// Returns the oldest requests with at most so many copies, or one with more; and all that were dropped since this
    /// was asked.
    pub fn take(&self, most: usize) -> (Vec<Copy>, Vec<Dropped>) {
        let mut state = self.lock();
        let (mut copies, mut count) = (Vec::new(), 0);
        while let Some(next) = state.waiting.front()
            && most > 0
            && (copies.is_empty() || count + next.mirrors.len() <= most)
            && let Some(copy) = state.waiting.pop_front()
        {
            count += copy.mirrors.len();
            state.nbytes -= copy.nbytes();
            copies.push(copy);
        }
        state.count -= count;
        (copies, std::mem::take(&mut state.dropped).into_values().collect())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Copy {
    fn nbytes(&self) -> usize {
        self.message.len() + self.outputs.iter().map(|(_, tensor)| tensor.data.elements().nbytes()).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::Reason;
    use crate::tensor::{DType, Data, TEXT_BYTES};

    fn decision() -> Arc<Decision> {
        Arc::new(Decision {
            route: "cost".to_owned(),
            table_digest: "d".to_owned(),
            mirrors: Arc::from([1.0, 1.0]),
            ..Decision::outright("price", 1, Reason::Split)
        })
    }

    fn offer(copies: &Copies, decision: &Arc<Decision>, mirrors: &[usize], number: u64) -> bool {
        let mut mirrors = mirrors.to_vec();
        let Some(reserved) = copies.reserve(decision, &mut mirrors, 8) else { return false };
        let data = Data::Raw(Bytes::from_static(b"abcd"));
        let end = End {
            number,
            arrived: 0,
            took: 0,
            decision: decision.clone(),
            unit: String::new(),
            request_id: String::new(),
            rows: 1,
            timing: None,
            traceparent: String::new(),
        };
        let outputs = vec![("y".to_owned(), Tensor { dtype: DType::Fp32, shape: vec![1], data })];
        copies.keep(reserved, Copy { mirrors, method: "m", message: Bytes::from_static(b"1234"), outputs, end });
        true
    }

    /// Requests' numbers with the mirrors that get copies, and how many copies to each mirror were dropped.
    type Taken = (Vec<(u64, Vec<usize>)>, Vec<(usize, u64)>);

    fn numbers(copies: &Copies, most: usize) -> Taken {
        let (taken, dropped) = copies.take(most);
        let mut dropped: Vec<_> = dropped.into_iter().map(|(_, mirror, count)| (mirror, count)).collect();
        dropped.sort_unstable();
        (taken.into_iter().map(|copy| (copy.end.number, copy.mirrors)).collect(), dropped)
    }

    #[test]
    fn what_finds_no_room_is_dropped_mirror_by_mirror_and_counted() {
        let (copies, decision) = (Copies::new(3, 1000), decision());
        assert!(offer(&copies, &decision, &[0, 1], 7));
        assert!(offer(&copies, &decision, &[0, 1], 8));
        assert!(!offer(&copies, &decision, &[1], 9));
        assert_eq!(numbers(&copies, 1), (vec![(7, vec![0, 1])], vec![(1, 2)]));
        assert_eq!(numbers(&copies, 0), (vec![], vec![]));
        assert!(offer(&copies, &decision, &[1], 10), "what was taken has made room");
        assert_eq!(copies.lock().count, 2);
        assert_eq!(numbers(&copies, 9), (vec![(8, vec![0]), (10, vec![1])], vec![]));
    }

    #[test]
    fn bytes_are_bounded_too() {
        let (copies, decision) = (Copies::new(100, 17), decision());
        assert!(offer(&copies, &decision, &[0], 1));
        assert!(offer(&copies, &decision, &[0], 2));
        assert!(!offer(&copies, &decision, &[0, 1], 3));
        assert_eq!(numbers(&copies, 9), (vec![(1, vec![0]), (2, vec![0])], vec![(0, 1), (1, 1)]));
        assert!(copies.reserve(&decision, &mut vec![0], usize::MAX).is_none());
        assert!(offer(&copies, &decision, &[0], 4));
    }

    #[test]
    fn empty_texts_take_room_as_well() {
        let texts = Data::Texts(vec![Bytes::new(); 3]);
        assert_eq!(texts.elements().nbytes(), 3 * TEXT_BYTES);
        assert!(TEXT_BYTES >= size_of::<Bytes>());
    }
}
