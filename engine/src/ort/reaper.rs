//! Where sessions go to be freed: a thread that may take its time.

use std::any::Any;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::mapping;

/// How long others may still hold what is to be freed before it is looked at again: at first, and at most.
const PATIENCE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// How often memory is given back without a session that was freed, at most.
const TRIM_REST: Duration = Duration::from_secs(5);

static TRIM_DUE: AtomicBool = AtomicBool::new(false);

type Thing = Arc<dyn Any + Send + Sync>;

static REAPER: Mutex<Option<Sender<Thing>>> = Mutex::new(None);

/// Frees `thing` on a thread of its own, once nobody else holds it, and gives the memory back to the system.
///
/// Whoever still holds it may therefore let go of it anywhere.
pub fn free_later<T: Any + Send + Sync>(thing: Arc<T>) {
    let mut reaper = REAPER.lock().unwrap_or_else(PoisonError::into_inner);
    let thing: Thing = thing;
    let left = match reaper.as_ref().map(|sender| sender.send(thing.clone())) {
        Some(Ok(())) => return,
        _ => thing,
    };
    let (sender, receiver) = mpsc::channel();
    // Where no thread can be had, what is sent is freed with the receiver: here, late rather than never.
    if thread::Builder::new().name("ort-reaper".to_owned()).spawn(move || reap(&receiver, trim)).is_ok() {
        let _ = sender.send(left);
        *reaper = Some(sender);
    }
}

/// Frees what it receives until nobody can send any more, and calls `trim` after each lot.
fn reap(receiver: &Receiver<Thing>, trim: impl Fn()) {
    let mut held: Vec<Thing> = Vec::new();
    let mut patience = PATIENCE.0;
    loop {
        let next = if held.is_empty() {
            receiver.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            receiver.recv_timeout(patience)
        };
        match next {
            Ok(thing) => {
                held.push(thing);
                held.extend(receiver.try_iter());
                patience = PATIENCE.0;
            }
            Err(RecvTimeoutError::Timeout) => patience = PATIENCE.1.min(patience * 2),
            Err(RecvTimeoutError::Disconnected) => return,
        }
        // Of what was handed over twice, each would wait for the other to be the last.
        held.sort_by_key(|thing| Arc::as_ptr(thing).cast::<()>());
        held.dedup_by(|one, other| Arc::ptr_eq(one, other));
        let before = held.len();
        held.retain(|thing| Arc::strong_count(thing) > 1);
        if held.len() < before {
            trim();
        }
    }
}

/// Gives freed memory back to the system within `TRIM_REST`, however often this is asked.
///
/// What large messages took stays with the threads that took it, as far as the C library can tell for use another time.
pub fn trim_later() {
    if TRIM_DUE.swap(true, Ordering::Relaxed) {
        return;
    }
    let wait = || {
        thread::sleep(TRIM_REST);
        TRIM_DUE.store(false, Ordering::Relaxed);
        trim();
    };
    if thread::Builder::new().name("turnout-trim".to_owned()).spawn(wait).is_err() {
        TRIM_DUE.store(false, Ordering::Relaxed);
    }
}

/// Returns to the system what was freed and is kept: here, by the engine's allocator and, where it can, by the C library.
pub fn trim() {
    mapping::release();
    // Of its own accord the allocator gives large blocks back only when it is next asked for some: after the last large
    // message, never.
    // SAFETY: may be called at any time from any thread; what is in use stays. From a thread that has allocated nothing
    // yet, to collect does nothing: so that is made known first.
    unsafe {
        libmimalloc_sys::mi_thread_init();
        libmimalloc_sys::mi_collect(true);
    }
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        unsafe extern "C" {
            fn malloc_trim(pad: usize) -> std::ffi::c_int;
        }
        // SAFETY: glibc's own, callable at any time from any thread.
        unsafe { malloc_trim(0) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Told(Sender<thread::ThreadId>);

    impl Drop for Told {
        fn drop(&mut self) {
            let _ = self.0.send(thread::current().id());
        }
    }

    #[test]
    fn a_thing_is_freed_on_another_thread_whoever_lets_go_of_it_last() {
        let (sender, receiver) = mpsc::channel();
        let thing = Arc::new(Told(sender.clone()));
        free_later(thing.clone());
        drop(thing);
        assert_ne!(receiver.recv().unwrap(), thread::current().id());
        let again = Arc::new(Told(sender));
        free_later(again);
        assert_ne!(receiver.recv().unwrap(), thread::current().id());
    }

    #[test]
    fn what_waits_together_is_trimmed_once() {
        let (sender, receiver) = mpsc::channel();
        let (told, freed) = mpsc::channel();
        for _ in 0..3 {
            let thing: Thing = Arc::new(Told(told.clone()));
            sender.send(thing).unwrap();
        }
        drop(sender);
        let trims = Mutex::new(0);
        reap(&receiver, || *trims.lock().unwrap() += 1);
        assert_eq!((freed.try_iter().count(), *trims.lock().unwrap()), (3, 1));
    }

    #[test]
    fn what_is_handed_over_twice_is_freed_all_the_same() {
        let (sender, receiver) = mpsc::channel();
        let (told, freed) = mpsc::channel();
        let thing: Thing = Arc::new(Told(told));
        sender.send(thing.clone()).unwrap();
        sender.send(thing).unwrap();
        drop(sender);
        reap(&receiver, || ());
        assert_eq!(freed.try_iter().count(), 1);
    }
}
