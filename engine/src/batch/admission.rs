//! How much may wait: bounds on rows, bytes and time, and what to tell those for whom there is no room.

use std::sync::Arc;
use std::sync::atomic::{
    AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};
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

/// What waits, and how much may: of one version, or of all together. Shared by all shards, and by Python.
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
        self.count.load(Acquire)
    }

    /// Returns how many rows wait.
    pub fn rows(&self) -> u64 {
        self.rows.load(Relaxed)
    }

    /// Says whether so much more may wait; where nothing waits, anything may.
    pub fn fits(&self, rows: u64, nbytes: u64) -> bool {
        self.count() == 0 || self.holds(self.rows().saturating_add(rows), self.nbytes().saturating_add(nbytes))
    }

    /// Counts what starts to wait, if it fits, also beside those who come in the same moment.
    pub fn reserve(&self, rows: u64, nbytes: u64) -> bool {
        // What is too large for what there is must not even for a moment be in others' way.
        if !self.fits(rows, nbytes) {
            return false;
        }
        let others = self.take(rows, nbytes);
        // Whoever was counted before has its rows and bytes here by now.
        if others == 0 || self.holds(self.rows(), self.nbytes()) {
            return true;
        }
        self.give_back(rows, nbytes);
        false
    }

    /// Counts what starts to wait, and returns how many others do.
    pub fn take(&self, rows: u64, nbytes: u64) -> u64 {
        self.rows.fetch_add(rows, Relaxed);
        self.nbytes.fetch_add(nbytes, Relaxed);
        self.count.fetch_add(1, AcqRel)
    }

    /// Counts what has stopped waiting.
    pub fn give_back(&self, rows: u64, nbytes: u64) {
        self.rows.fetch_sub(rows, Relaxed);
        self.nbytes.fetch_sub(nbytes, Relaxed);
        self.count.fetch_sub(1, Release);
    }

    fn nbytes(&self) -> u64 {
        self.nbytes.load(Relaxed)
    }

    fn holds(&self, rows: u64, nbytes: u64) -> bool {
        rows <= self.bounds.rows && nbytes <= self.bounds.nbytes
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
    own: Arc<Room>,
    total: Arc<Room>,
    wait_s: f64,
    patient: u64,
}

impl Admission {
    /// Sets the bounds; model and version are named in errors, `wait_s` is in seconds.
    pub fn new(model: String, version: i64, own: Arc<Room>, total: Arc<Room>, wait_s: f64, patient: u64) -> Self {
        Self { model, version, own, total, wait_s, patient }
    }

    /// Says whether anything waits for the version, in whichever queue.
    pub fn is_waited_for(&self) -> bool {
        self.own.count() > 0
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
        Err(self.full(wait_s))
    }

    /// Counts what starts to wait, or refuses it as `check` does.
    ///
    /// # Errors
    /// `QUEUE_FULL`.
    pub fn admit(&self, rows: u64, nbytes: u64, wait_s: f64, runs_s: f64) -> Result<(), Error> {
        self.check(rows, nbytes, wait_s, runs_s)?;
        if !self.own.reserve(rows, nbytes) {
            return Err(self.full(wait_s));
        }
        if !self.total.reserve(rows, nbytes) {
            self.own.give_back(rows, nbytes);
            return Err(self.full(wait_s));
        }
        Ok(())
    }

    fn full(&self, wait_s: f64) -> Error {
        let retry_s = (wait_s.min(LONGEST_RETRY_S) * RETRIES_A_S).ceil() / RETRIES_A_S;
        queue_full(&self.model, self.version, retry_s.max(SHORTEST_RETRY_S))
    }

    /// Counts what has started to wait, whether it fits or not.
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
        let room = |rows, nbytes| Arc::new(Room::new(Bounds { rows, nbytes }));
        Admission::new("price".into(), 3, room(10, 100), room(100, 1000), wait_s, patient)
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
    fn who_is_refused_takes_no_room() {
        let room = |rows| Arc::new(Room::new(Bounds { rows, nbytes: 1000 }));
        let (own, total) = (room(10), room(5));
        let admission = Admission::new("price".into(), 3, own.clone(), total.clone(), 1.0, 0);
        admission.enter(3, 1);
        for rows in [3, 8] {
            assert!(admission.admit(rows, 1, 0.0, 0.0).is_err());
        }
        assert_eq!((own.count(), own.rows(), total.count(), total.rows()), (1, 3, 1, 3));
        assert!(admission.admit(2, 1, 0.0, 0.0).is_ok());
        assert_eq!((own.rows(), total.rows()), (5, 5));
    }

    #[test]
    fn no_more_than_fits_waits_however_many_come_at_once() {
        let room = Room::new(Bounds { rows: 7, nbytes: 700 });
        room.take(1, 100);
        let most = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for rows in [1, 2, 3, 4] {
                let (room, most) = (&room, &most);
                scope.spawn(move || {
                    for _ in 0..20_000 {
                        if room.reserve(rows, rows * 100) {
                            // Of those who are in, whoever came last has seen all others.
                            let inside = most.fetch_add(rows, AcqRel) + rows;
                            assert!(inside <= 6, "{inside} rows beside one");
                            most.fetch_sub(rows, AcqRel);
                            room.give_back(rows, rows * 100);
                        }
                    }
                });
            }
        });
        assert_eq!((room.count(), room.rows(), room.nbytes()), (1, 1, 100));
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
