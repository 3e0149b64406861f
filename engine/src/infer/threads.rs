//! The threads that dear runs take place on.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

type Job = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    idle: usize,
    threads: usize,
    closed: bool,
}

/// A pool that makes its threads when they are first needed, and keeps them.
pub struct Threads {
    most: usize,
    shared: Arc<(Mutex<State>, Condvar)>,
}

impl Threads {
    /// Makes a pool of at most `most` threads.
    pub fn new(most: usize) -> Self {
        Self { most: most.max(1), shared: Arc::default() }
    }

    /// Has a thread do `job`, now or when one is free. A job that panics takes nothing down with it.
    pub fn submit(&self, job: impl FnOnce() + Send + 'static) {
        let mut state = lock(&self.shared.0);
        state.jobs.push_back(Box::new(job));
        if state.idle < state.jobs.len() && state.threads < self.most {
            let shared = self.shared.clone();
            let number = state.threads;
            let thread = std::thread::Builder::new().name(format!("turnout-run-{number}"));
            if thread.spawn(move || work(&shared)).is_ok() {
                state.threads += 1;
            } else if state.threads == 0 {
                // No thread can be had at all: better late than never.
                let job = state.jobs.pop_back();
                drop(state);
                job.into_iter().for_each(perform);
                return;
            }
        }
        drop(state);
        self.shared.1.notify_one();
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        lock(&self.shared.0).closed = true;
        self.shared.1.notify_all();
    }
}

fn work(shared: &(Mutex<State>, Condvar)) {
    let (mutex, changed) = shared;
    let mut state = lock(mutex);
    loop {
        if let Some(job) = state.jobs.pop_front() {
            drop(state);
            perform(job);
            state = lock(mutex);
        } else if state.closed {
            return;
        } else {
            state.idle += 1;
            state = changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }
}

fn perform(job: Job) {
    // The default hook has said what it was.
    let _ = catch_unwind(AssertUnwindSafe(job));
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    #[test]
    fn as_many_jobs_run_at_once_as_there_are_threads() {
        let threads = Threads::new(3);
        let barrier = Arc::new(std::sync::Barrier::new(3));
        let (said, heard) = channel();
        for number in 0..3 {
            let (barrier, said) = (barrier.clone(), said.clone());
            threads.submit(move || {
                barrier.wait();
                let _ = said.send(number);
            });
        }
        let mut done: Vec<i32> = (0..3).filter_map(|_| heard.recv_timeout(Duration::from_secs(20)).ok()).collect();
        done.sort_unstable();
        assert_eq!(done, [0, 1, 2]);
    }

    #[test]
    fn a_job_that_panics_leaves_its_thread_to_the_next() {
        let threads = Threads::new(1);
        let (said, heard) = channel();
        threads.submit(|| panic!("of a test"));
        threads.submit(move || said.send(7).unwrap());
        assert_eq!(heard.recv_timeout(Duration::from_secs(20)), Ok(7));
    }
}
