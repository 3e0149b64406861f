//! How much may wait: bounds on rows, bytes and time, and what to tell those for whom there is no room.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::error::{Error, Kind};

const SHORTEST_RETRY_S: f64 = 0.05;
const LONGEST_RETRY_S: f64 = 5.0;
/// Requests of a quick model that may wait: as many as come at once.
const BURST: u64 = 1024;
/// Retry delays are whole fractions of a second, so that refusals are alike.
const RETRIES_A_S: f64 = 64.0;

/// What may wait at once.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub rows: u64,
    /// Of input.
    pub nbytes: u64,
}

/// What waits, and how much may: of one version, or of all together. Shared by all shards.
#[derive(Debug)]
pub struct Room {
    bounds: Bounds,
    count: AtomicU64,
    rows: AtomicU64,
    nbytes: AtomicU64,
}

impl Room {
    /// Begins empty.
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, count: AtomicU64::new(0), rows: AtomicU64::new(0), nbytes: AtomicU64::new(0) }
    }

    /// Returns how many requests wait.
    pub fn count(&self) -> u64 {
        self.count.load(Relaxed)
    }

    /// Returns how many rows wait.
    pub fn rows(&self) -> u64 {
        self.rows.load(Relaxed)
    }

    /// Says whether so much more may wait; where nothing waits, anything may.
    fn fits(&self, rows: u64, nbytes: u64) -> bool {
        self.count() == 0
            || (self.rows() + rows <= self.bounds.rows && self.nbytes.load(Relaxed) + nbytes <= self.bounds.nbytes)
    }

    fn take(&self, rows: u64, nbytes: u64) {
        self.count.fetch_add(1, Relaxed);
        self.rows.fetch_add(rows, Relaxed);
        self.nbytes.fetch_add(nbytes, Relaxed);
    }

    fn give_back(&self, rows: u64, nbytes: u64) {
        self.count.fetch_sub(1, Relaxed);
        self.rows.fetch_sub(rows, Relaxed);
        self.nbytes.fetch_sub(nbytes, Relaxed);
    }
}

/// Decides who may wait for one version.
///
/// Rows and bytes bound the memory. The wait bounds the time: beyond it, a queue only makes everybody late. As a wait
/// is an estimate, and callers that send the next request when the last is answered do not pile up, `patient` requests
/// may wait whatever the estimate says.
#[derive(Debug)]
pub struct Admission {
    model: String,
    version: i64,
    own: Room,
    total: Arc<Room>,
    wait_s: f64,
    patient: u64,
}

impl Admission {
    /// Sets the bounds; model and version are named in errors, `wait_s` is in seconds.
    pub fn new(model: String, version: i64, own: Bounds, total: Arc<Room>, wait_s: f64, patient: u64) -> Self {
        Self { model, version, own: Room::new(own), total, wait_s, patient }
    }

    /// Returns how many rows wait.
    pub fn rows(&self) -> u64 {
        self.own.rows()
    }

    /// Refuses what does not fit, or would wait too long.
    ///
    /// `runs_s` is how long the runs alone take for which it would wait. Where that is not too long, a burst may wait
    /// whatever else the machine has to do meanwhile.
    ///
    /// # Errors
    /// `QUEUE_FULL`, with the time after which it is worth asking again.
    pub fn check(&self, rows: u64, nbytes: u64, wait_s: f64, runs_s: f64) -> Result<(), Error> {
        let mut wait_s = wait_s;
        if self.own.fits(rows, nbytes) && self.total.fits(rows, nbytes) {
            if wait_s <= self.wait_s || self.own.count() < self.patient {
                return Ok(());
            }
            if runs_s <= self.wait_s && self.own.count() < BURST {
                return Ok(());
            }
            wait_s -= self.wait_s;
        }
        let retry_s = (wait_s.min(LONGEST_RETRY_S) * RETRIES_A_S).ceil() / RETRIES_A_S;
        Err(queue_full(&self.model, self.version, retry_s.max(SHORTEST_RETRY_S)))
    }

    /// Counts what has started to wait.
    pub fn enter(&self, rows: u64, nbytes: u64) {
        self.own.take(rows, nbytes);
        self.total.take(rows, nbytes);
    }

    /// Counts what has stopped waiting.
    pub fn leave(&self, rows: u64, nbytes: u64) {
        self.own.give_back(rows, nbytes);
        self.total.give_back(rows, nbytes);
    }
}

/// Returns the error of a request for which a version's queue has no room.
pub fn queue_full(model: &str, version: i64, retry_s: f64) -> Error {
    Error {
        details: vec![("model", model.to_string()), ("version", version.to_string())],
        retry_after: Some(Duration::from_secs_f64(retry_s)),
        ..Error::new(Kind::Overloaded, "QUEUE_FULL", format!("the queue of {model} version {version} is full"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(wait_s: f64, patient: u64) -> Admission {
        let total = Arc::new(Room::new(Bounds { rows: 100, nbytes: 1000 }));
        Admission::new("price".into(), 3, Bounds { rows: 10, nbytes: 100 }, total, wait_s, patient)
    }

    #[test]
    fn where_nothing_waits_anything_may() {
        assert!(admission(1.0, 0).check(1_000_000, 1 << 40, 0.0, f64::INFINITY).is_ok());
    }

    #[test]
    fn rows_bytes_and_time_are_bounded() {
        let admission = admission(0.5, 1);
        admission.enter(9, 10);
        assert!(admission.check(1, 1, 0.5, f64::INFINITY).is_ok());
        for (rows, nbytes, wait_s) in [(2, 1, 0.0), (1, 91, 0.0), (1, 1, 0.6)] {
            let error = admission.check(rows, nbytes, wait_s, f64::INFINITY).unwrap_err();
            assert_eq!((error.reason, error.message.as_str()), ("QUEUE_FULL", "the queue of price version 3 is full"));
        }
        admission.leave(9, 10);
        assert!(admission.check(2, 1, 9.0, f64::INFINITY).is_ok(), "nothing waits any more");
    }

    #[test]
    fn the_retry_delay_is_the_wait_beyond_what_is_allowed_in_whole_fractions() {
        let admission = admission(0.5, 0);
        admission.enter(1, 1);
        let delay =
            |wait_s| admission.check(1, 1, wait_s, f64::INFINITY).unwrap_err().retry_after.unwrap().as_secs_f64();
        assert_eq!(delay(0.51), 0.05);
        assert_eq!(delay(1.5), 1.0);
        assert_eq!(delay(99.0), 5.0);
    }
}
