//! Streams whose clients say nothing: how long they may, and how many of them there may be.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

/// The silent streams of one shard, those that are silent the longest first. Calls in progress have places, and a stream
/// has one as long as it lasts; so of those that say nothing some are ended where they would take too many.
pub struct Silences {
    time: Duration,
    most: usize,
    /// How many there are on all shards.
    everywhere: Arc<AtomicUsize>,
    here: RefCell<BTreeMap<u64, Rc<Notify>>>,
    next: Cell<u64>,
}

impl Silences {
    /// Begins without any. There may be `most` on all shards, and each may last so long.
    pub fn new(time: Duration, most: usize, everywhere: Arc<AtomicUsize>) -> Self {
        Self { time, most, everywhere, here: RefCell::default(), next: Cell::new(0) }
    }

    /// Waits until the stream has been silent for too long, or has to make room.
    pub async fn over(&self) {
        let silence = self.begin();
        let _ = timeout(self.time, silence.told.notified()).await;
    }

    fn begin(&self) -> Silence<'_> {
        let number = self.next.get();
        self.next.set(number + 1);
        let told = Rc::new(Notify::new());
        let mut here = self.here.borrow_mut();
        // Never the one that has just fallen silent: where it is the only one here, all are one too many for a while.
        if self.everywhere.fetch_add(1, Ordering::Relaxed) >= self.most
            && let Some((_, first)) = here.pop_first()
        {
            first.notify_one();
        }
        here.insert(number, told.clone());
        Silence { all: self, number, told }
    }
}

struct Silence<'a> {
    all: &'a Silences,
    number: u64,
    told: Rc<Notify>,
}

impl Drop for Silence<'_> {
    fn drop(&mut self) {
        self.all.here.borrow_mut().remove(&self.number);
        self.all.everywhere.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_silence_lasts_so_long_and_no_longer() {
        let silences = Silences::new(Duration::from_secs(9), 5, Arc::default());
        let begun = tokio::time::Instant::now();
        silences.over().await;
        assert_eq!(begun.elapsed().as_secs(), 9);
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_just_fallen_silent_makes_no_room() {
        let everywhere = Arc::new(AtomicUsize::new(2)); // on other shards
        let silences = Silences::new(Duration::from_secs(9), 2, everywhere);
        let mut context = Context::from_waker(Waker::noop());
        let mut all = [(); 2].map(|()| Box::pin(silences.over()));
        for _ in 0..2 {
            assert!(all[0].as_mut().poll(&mut context).is_pending());
        }
        assert!(all[1].as_mut().poll(&mut context).is_pending());
        assert!(all[0].as_mut().poll(&mut context).is_ready());
    }

    #[tokio::test(start_paused = true)]
    async fn the_longest_makes_room() {
        let everywhere = Arc::new(AtomicUsize::new(0));
        let silences = Silences::new(Duration::from_secs(9), 2, everywhere.clone());
        let mut context = Context::from_waker(Waker::noop());
        let mut all = [(); 4].map(|()| Box::pin(silences.over()));
        let over: Vec<bool> = all.iter_mut().map(|one| one.as_mut().poll(&mut context).is_ready()).collect();
        assert_eq!(over, [false; 4]);
        let over: Vec<bool> = all.iter_mut().map(|one| one.as_mut().poll(&mut context).is_ready()).collect();
        assert_eq!(over, [true, true, false, false]);
        drop(all);
        assert_eq!(everywhere.load(Ordering::Relaxed), 0);
        assert!(pin!(silences.over()).as_mut().poll(&mut context).is_pending());
    }
}
