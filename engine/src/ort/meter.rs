//! What the run on this thread has taken of memory, and may.

use std::cell::{Cell, RefCell};

use crate::memory::Running;

/// Counts one thread's run. A run allocates on the thread that runs it; threads that it shares work with, where a version
/// has several, work on what is there.
struct Meter {
    /// Whether there is a run.
    runs: Cell<bool>,
    now: Cell<usize>,
    peak: Cell<usize>,
    /// Up to here nobody has to be asked.
    granted: Cell<usize>,
    /// What it asked for in vain, in all.
    refused: Cell<usize>,
}

thread_local! {
    // Without a destructor, so that to look at it is a plain read.
    static METER: Meter = const {
        Meter {
            runs: Cell::new(false),
            now: Cell::new(0),
            peak: Cell::new(0),
            granted: Cell::new(usize::MAX),
            refused: Cell::new(0),
        }
    };
    static RUNNING: RefCell<Option<Running>> = const { RefCell::new(None) };
}

/// What a run took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// The most that it had at once, in bytes, its outputs among them and its inputs not.
    pub peak: usize,
    /// What it would have had where that was not granted, and it was ended.
    pub refused: Option<usize>,
}

/// Runs something, and counts what it takes; `running` says how much that may be, None that nobody minds.
pub fn metered<T>(running: Option<Running>, run: impl FnOnce() -> T) -> (T, Taken) {
    let end = End;
    METER.with(|meter| {
        meter.granted.set(running.as_ref().map_or(usize::MAX, Running::granted));
        meter.now.set(0);
        meter.peak.set(0);
        meter.refused.set(0);
        meter.runs.set(true);
    });
    if running.is_some() {
        RUNNING.with(|place| *place.borrow_mut() = running);
    }
    let done = run();
    drop(end);
    let taken = METER.with(|meter| Taken {
        peak: meter.peak.get(),
        refused: Some(meter.refused.get()).filter(|&refused| refused > 0),
    });
    (done, taken)
}

/// Gives back what a run was granted, however it ended.
struct End;

impl Drop for End {
    fn drop(&mut self) {
        let bounded = METER.with(|meter| meter.runs.replace(false) && meter.granted.replace(usize::MAX) < usize::MAX);
        if bounded {
            RUNNING.with(|place| place.borrow_mut().take());
        }
    }
}

/// Returns the most that this thread's last run had at once, in bytes.
pub fn last_peak() -> usize {
    METER.with(|meter| meter.peak.get())
}

/// Counts bytes that are about to be allocated; says no where the run may not have them.
#[inline]
pub(super) fn may_take(size: usize) -> bool {
    METER.with(|meter| {
        if !meter.runs.get() {
            return true;
        }
        let now = meter.now.get().saturating_add(size);
        if now > meter.granted.get() && !grow(meter, now) {
            return false;
        }
        meter.now.set(now);
        if now > meter.peak.get() {
            meter.peak.set(now);
        }
        true
    })
}

/// Counts bytes that were freed.
#[inline]
pub(super) fn gave_back(size: usize) {
    METER.with(|meter| {
        if meter.runs.get() {
            meter.now.set(meter.now.get().saturating_sub(size));
        }
    });
}

#[cold]
fn grow(meter: &Meter, now: usize) -> bool {
    let granted = RUNNING.with(|place| place.borrow_mut().as_mut().and_then(|running| running.grow_to(now)));
    match granted {
        Some(granted) => meter.granted.set(granted),
        None => meter.refused.set(now),
    }
    granted.is_some()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::memory::Memory;

    #[test]
    fn a_runs_peak_is_the_most_that_it_had_at_once_whatever_else_the_thread_does() {
        assert!(may_take(1 << 40));
        let (_, taken) = metered(None, || {
            for _ in 0..3 {
                assert!(may_take(700) && may_take(300));
                gave_back(700);
                gave_back(300);
            }
            gave_back(5_000); // of an earlier run
            assert!(may_take(100));
        });
        assert!(may_take(1 << 40));
        assert_eq!((taken, last_peak()), (Taken { peak: 1_000, refused: None }, 1_000));
    }

    #[test]
    fn what_is_not_granted_is_not_taken_and_all_is_given_back() {
        let memory = Arc::new(Memory::new(8 << 20, 0));
        let running = Running::new(&memory, 0, 1_000).expect("that is there");
        let (ended, taken) = metered(Some(running), || {
            assert!(may_take(1 << 20) && memory.taken() > 0);
            may_take(8 << 20)
        });
        assert_eq!((ended, taken.peak, taken.refused), (false, 1 << 20, Some(9 << 20)));
        assert_eq!(memory.taken(), 0);
        assert!(may_take(8 << 20));
    }

    #[test]
    fn a_run_that_panics_gives_back_what_it_was_granted() {
        let memory = Arc::new(Memory::new(8 << 20, 0));
        let running = Running::new(&memory, 0, 1_000_000).expect("that is there");
        let run = || metered(Some(running), || panic!("on purpose"));
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err());
        assert_eq!(memory.taken(), 0);
    }
}
