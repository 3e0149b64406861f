//! What work in another thread takes of the budget.

use std::sync::Arc;

use super::Memory;

/// Bytes that are taken as long as this lives, on whatever thread.
#[derive(Debug)]
pub struct Loan {
    memory: Arc<Memory>,
    size: usize,
    most: usize,
    /// So much it gets of what is kept, too.
    share: usize,
}

impl Loan {
    /// Begins with nothing taken, for at most `most` bytes of what connections may hold, or for `share`.
    pub fn open(memory: Arc<Memory>, most: usize, share: usize) -> Self {
        Self { memory, size: 0, most, share }
    }

    /// Makes it so many bytes, if those are not fewer; says no where they are not there.
    pub fn grow_to(&mut self, size: usize) -> bool {
        let more = size.saturating_sub(self.size);
        let open = || size <= self.most && self.memory.take(more);
        let grown = more == 0 || open() || size <= self.share && self.memory.take_kept(more);
        if grown {
            self.size += more;
        }
        grown
    }

    /// Returns how many bytes it is, which are the caller's to give back.
    pub(super) fn into_size(mut self) -> usize {
        std::mem::take(&mut self.size)
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        self.memory.give_back(self.size);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loan_grows_as_far_as_it_may_and_is_given_back() {
        let memory = Arc::new(Memory::new(3_000, 0));
        let mut loan = Loan::open(memory.clone(), 500, 0);
        assert!(loan.grow_to(400) && loan.grow_to(300) && loan.grow_to(500) && !loan.grow_to(501));
        assert_eq!(memory.taken(), 500);
        let mut other = Loan::open(memory.clone(), 500, 0);
        assert!(!other.grow_to(76) && other.grow_to(75));
        let mut small = Loan::open(memory.clone(), 0, 50);
        assert!(!small.grow_to(51) && small.grow_to(50));
        drop(small);
        drop((loan, other));
        assert_eq!(memory.taken(), 0);
    }
}
