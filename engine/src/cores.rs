//! Whether a core has nothing to do for us: whether work that a reactor hands on would be done meanwhile, or only later.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;

/// How many cores there are, and how many threads are at work: reactors that don't wait for anything, and runs of the
/// engine's. What Python runs is not among them.
#[derive(Debug)]
pub struct Cores {
    all: usize,
    busy: AtomicUsize,
}

impl Cores {
    /// Begins with nobody at work, on so many cores.
    pub fn new(all: usize) -> Self {
        Self { all, busy: AtomicUsize::new(0) }
    }

    /// Counts one more at work.
    pub fn enter(&self) {
        self.busy.fetch_add(1, Relaxed);
    }

    /// Counts one less.
    pub fn leave(&self) {
        self.busy.fetch_sub(1, Relaxed);
    }

    /// Counts one more as long as what is returned lives.
    pub fn work(self: &Arc<Self>) -> AtWork {
        self.enter();
        AtWork(self.clone())
    }

    /// Says whether there are more cores than threads at work.
    pub fn any_idle(&self) -> bool {
        self.busy.load(Relaxed) < self.all
    }
}

impl Default for Cores {
    /// Those that this process may use, as far as the system says.
    fn default() -> Self {
        Self::new(thread::available_parallelism().map_or(1, usize::from))
    }
}

/// A thread at work.
pub struct AtWork(Arc<Cores>);

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_is_idle_where_fewer_are_at_work_than_there_are() {
        let cores = Arc::new(Cores::new(2));
        let first = cores.work();
        assert!(cores.any_idle());
        cores.enter();
        assert!(!cores.any_idle());
        drop(first);
        assert!(cores.any_idle());
    }
}
