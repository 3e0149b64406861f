//! What one client may do that costs us and brings it nothing, and what earns it more of that.

use std::time::Instant;

use crate::net::budget::Budget;

/// Frames that bring nothing (PING, SETTINGS, empty DATA, PRIORITY, unknown ones) that a client may send at once, beyond
/// those that are earned: clients that measure the way's bandwidth send a PING for what comes whenever none is out.
const IDLE_FRAMES: f64 = 10_000.0;
const IDLE_FRAMES_PER_S: f64 = 200.0;
const IDLE_FRAMES_A_CALL: f64 = 2.0;
const BYTES_AN_IDLE_FRAME: f64 = 32.0;
/// Streams that may end before their time at once by the client's will, beyond one for each that we had work with.
const RESETS: f64 = 10_000.0;
const RESETS_PER_S: f64 = 1_000.0;
/// Fields of a header block that cost no more than themselves. There is room for fewer in what `head` takes.
pub const FREE_FIELDS: usize = 768;
/// Fields beyond that, in all blocks, and updates of the table's size among them.
const MORE_FIELDS: f64 = 65_536.0;
const MORE_FIELDS_PER_S: f64 = 2_000.0;
/// WINDOW_UPDATE frames that a client may send at once, beyond two for each call and one for so many bytes sent to it.
const WINDOWS: f64 = 10_000.0;
const WINDOWS_PER_S: f64 = 200.0;
const WINDOWS_A_CALL: f64 = 2.0;
const BYTES_A_WINDOW: f64 = 8.0;

/// The budgets of one connection. What spends says whether there was enough.
pub struct Budgets {
    idle_frames: Budget,
    resets: Budget,
    windows: Budget,
    fields: Budget,
    /// Bytes of acknowledgements that are on their way to the client, which earn it nothing: it made us send them.
    acknowledged: usize,
}

impl Budgets {
    pub fn new() -> Self {
        Self {
            idle_frames: Budget::new(IDLE_FRAMES_PER_S, IDLE_FRAMES),
            resets: Budget::new(RESETS_PER_S, RESETS),
            windows: Budget::new(WINDOWS_PER_S, WINDOWS),
            fields: Budget::new(MORE_FIELDS_PER_S, MORE_FIELDS),
            acknowledged: 0,
        }
    }

    /// A call has begun.
    pub fn call(&mut self) {
        self.windows.earn_some(WINDOWS_A_CALL);
        self.idle_frames.earn_some(IDLE_FRAMES_A_CALL);
    }

    /// A frame has come that we acknowledge with so many bytes.
    pub fn acknowledge(&mut self, size: usize) {
        self.acknowledged += size;
    }

    /// So many bytes were sent.
    pub fn sent(&mut self, size: usize) {
        let owed = self.acknowledged.min(size);
        self.acknowledged -= owed;
        let size = (size - owed) as f64;
        self.windows.earn_some(size / BYTES_A_WINDOW);
        self.idle_frames.earn_some(size / BYTES_AN_IDLE_FRAME);
    }

    /// We had work with a call, and it is over.
    pub fn worked(&mut self) {
        self.resets.earn();
    }

    pub fn idle_frame(&mut self, now: Instant) -> bool {
        self.idle_frames.spend(now)
    }

    pub fn reset(&mut self, now: Instant) -> bool {
        self.resets.spend(now)
    }

    pub fn window(&mut self, now: Instant) -> bool {
        self.windows.spend(now)
    }

    /// Of a block `fields` have come, of which so many were `counted` before.
    pub fn fields(&mut self, fields: usize, counted: usize) -> bool {
        let beyond = fields.saturating_sub(FREE_FIELDS.max(counted));
        beyond == 0 || self.fields.spend_some(Instant::now(), beyond as f64)
    }
}

#[cfg(test)]
impl Budgets {
    /// Returns how many resets and idle frames had gone when one was last taken.
    pub fn spent(&self) -> (f64, f64) {
        (self.resets.spent(), self.idle_frames.spent())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A PING's acknowledgement: a header, and what the PING had.
    const ACKNOWLEDGEMENT: usize = 17;

    /// Returns how many times this goes well at once, of 50,000.
    fn times(mut act: impl FnMut(&mut Budgets, Instant) -> bool) -> Option<usize> {
        let (mut budgets, now) = (Budgets::new(), Instant::now());
        (0..50_000).position(|_| !act(&mut budgets, now))
    }

    #[test]
    fn a_ping_for_each_answer_is_no_offence() {
        // Whether it is a call's only one, or each of a stream's.
        let ping = |budgets: &mut Budgets, now| {
            budgets.acknowledge(ACKNOWLEDGEMENT);
            let allowed = budgets.idle_frame(now);
            budgets.sent(ACKNOWLEDGEMENT);
            allowed
        };
        let called = times(|budgets, now| {
            budgets.call();
            ping(budgets, now) && ping(budgets, now)
        });
        let answered = times(|budgets, now| {
            budgets.sent(40);
            ping(budgets, now)
        });
        assert_eq!((called, answered), (None, None));
        assert_eq!(times(ping), Some(10_000)); // it does not pay for itself
    }

    #[test]
    fn windows_are_for_answers() {
        let answered = times(|budgets, now| {
            budgets.sent(16); // a frame of seven bytes
            budgets.window(now) && budgets.window(now)
        });
        assert_eq!((answered, times(|budgets, now| budgets.window(now))), (None, Some(10_000)));
    }

    #[test]
    fn resets_are_free_as_far_as_there_was_work() {
        let worked = times(|budgets, now| {
            budgets.worked();
            budgets.reset(now)
        });
        assert_eq!((worked, times(|budgets, now| budgets.reset(now))), (None, Some(10_000)));
    }
}
