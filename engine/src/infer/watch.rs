//! Ends runs that keep a reactor for too long, so that they can be begun anew in a thread.
//!
//! What a run takes is learnt from runs, and an input's value may make one take hours that took microseconds before: a
//! loop's number of turns is an input. Until it has ended, a reactor serves nobody.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::Thread;
use std::time::Duration;

use crate::ort::RunOptions;

/// How often the runs are looked at. One that is seen twice is ended.
const EVERY: Duration = Duration::from_millis(25);
/// How many looks without a run it takes to look less often.
const QUIET_LOOKS: u32 = 40;
/// How often they are looked at then.
const SELDOM: Duration = Duration::from_secs(1);

/// One reactor's runs.
pub struct Watched {
    options: RunOptions,
    /// Odd while one is under way; counts how many there were.
    serial: AtomicU64,
    watch: Arc<Shared>,
}

impl Watched {
    /// Does `work`, which is one run with the options given, or several after one another.
    ///
    /// Returns what it does; None where it was ended because it took too long.
    pub fn run<T>(&self, work: impl FnOnce(&RunOptions) -> T) -> Option<T> {
        self.serial.fetch_add(1, Relaxed);
        if self.watch.rests.load(Relaxed) {
            self.watch.rouse();
        }
        let over = Over(&self.serial);
        let done = work(&self.options);
        drop(over);
        if self.options.terminated() {
            self.options.reset();
            return None;
        }
        Some(done)
    }
}

/// Notes that a run is over, however it ended.
struct Over<'a>(&'a AtomicU64);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Relaxed);
    }
}

#[derive(Default)]
struct Shared {
    watched: Mutex<Vec<Weak<Watched>>>,
    thread: Mutex<Option<Thread>>,
    /// Whether there have been no runs lately.
    rests: AtomicBool,
}

impl Shared {
    fn rouse(&self) {
        if self.rests.swap(false, Relaxed)
            && let Some(thread) = &*self.thread.lock().unwrap_or_else(PoisonError::into_inner)
        {
            thread.unpark();
        }
    }

    /// Returns every reactor's count; and ends the runs that were under way at the last look, when it was `before`.
    fn look(&self, before: &[u64]) -> Vec<u64> {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.retain(|one| one.strong_count() > 0);
        let all: Vec<_> = watched.iter().filter_map(Weak::upgrade).collect();
        drop(watched);
        let look = |(index, one): (usize, &Arc<Watched>)| {
            let serial = one.serial.load(Relaxed);
            if serial % 2 == 1 && before.get(index) == Some(&serial) {
                // It may have ended since, and this hit the next one: that is begun anew, no more.
                one.options.terminate();
            }
            serial
        };
        all.iter().enumerate().map(look).collect()
    }
}

/// Watches over the runs of all reactors, on a thread of its own.
#[derive(Default)]
pub struct Watch {
    shared: Arc<Shared>,
}

impl Watch {
    /// Watches over one more reactor, whose runs are to have `options`. None where no thread is to be had.
    pub fn over(&self, options: RunOptions) -> Option<Arc<Watched>> {
        let watched = Arc::new(Watched { options, serial: AtomicU64::new(0), watch: self.shared.clone() });
        self.shared.watched.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&watched));
        let mut thread = self.shared.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.is_none() {
            let shared = Arc::downgrade(&self.shared);
            let named = std::thread::Builder::new().name("turnout-watch".into());
            *thread = Some(named.spawn(move || watch(&shared)).ok()?.thread().clone());
        }
        Some(watched)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.rests.store(true, Relaxed);
        self.shared.rouse();
    }
}

fn watch(shared: &Weak<Shared>) {
    let (mut before, mut quiet) = (Vec::new(), 0);
    while let Some(shared) = shared.upgrade() {
        let now = shared.look(&before);
        quiet = if now == before { quiet + 1 } else { 0 };
        before = now;
        let rests = quiet >= QUIET_LOOKS && before.iter().all(|serial| serial % 2 == 0);
        shared.rests.store(rests, Relaxed);
        drop(shared);
        std::thread::park_timeout(if rests { SELDOM } else { EVERY });
    }
}
