//! What became of calls.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::histogram::Histogram;

/// An answer with other contents than expected.
pub const WRONG_ANSWER: &str = "WRONG_ANSWER";
/// The connection could not be made, or broke under the call.
pub const NO_CONNECTION: &str = "NO_CONNECTION";
/// The call was never answered.
pub const NO_ANSWER: &str = "NO_ANSWER";
/// The call was due, and not sent, as too many others were under way.
pub const NOT_SENT: &str = "NOT_SENT";

const NAMES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// Return what `grpc-status` is called.
pub fn name_of(status: &[u8]) -> &'static str {
    let number = std::str::from_utf8(status).ok().and_then(|text| text.parse::<usize>().ok());
    number.and_then(|number| NAMES.get(number)).copied().unwrap_or("UNKNOWN")
}

/// How one call ended.
#[derive(Debug, Clone, Copy)]
pub struct End {
    /// A status's name, or one of the above.
    pub code: &'static str,
    pub sent: usize,
    pub received: usize,
}

/// When a call ended, seen from the time in which everything is measured.
#[derive(Debug, Clone, Copy)]
pub struct When {
    /// Whether it was sent in that time.
    pub sent_within: bool,
    /// Whether it ended in that time.
    pub ended_within: bool,
}

#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Of calls that were answered with OK and sent in time, however late they ended.
    pub latency: Histogram,
    /// OK answers that came in time.
    pub answers: u64,
    /// Calls that ended in time, however they did.
    pub calls: u64,
    /// Calls, warm-up included, that did not end as they should.
    pub errors: BTreeMap<&'static str, u64>,
    /// Messages of the calls that ended in time, with their prefixes.
    pub sent: u64,
    pub received: u64,
}

impl Tally {
    pub fn add(&mut self, end: End, took: Duration, when: When) {
        let is_ok = end.code == NAMES[0];
        if !is_ok {
            *self.errors.entry(end.code).or_default() += 1;
        } else if when.sent_within {
            self.latency.add(took);
        }
        if when.ended_within {
            self.calls += 1;
            self.answers += u64::from(is_ok);
            self.sent += end.sent as u64;
            self.received += end.received as u64;
        }
    }

    pub fn merge(&mut self, other: &Tally) {
        self.latency.merge(&other.latency);
        self.answers += other.answers;
        self.calls += other.calls;
        self.sent += other.sent;
        self.received += other.received;
        for (code, count) in &other.errors {
            *self.errors.entry(code).or_default() += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WITHIN: When = When { sent_within: true, ended_within: true };

    fn end(code: &'static str) -> End {
        End { code, sent: 10, received: 20 }
    }

    #[test]
    fn a_call_counts_where_it_belongs() {
        let (mut tally, mut other) = (Tally::default(), Tally::default());
        let took = Duration::from_millis(1);
        tally.add(end("OK"), took, WITHIN);
        tally.add(end("OK"), took, When { sent_within: false, ended_within: true });
        other.add(end("OK"), took, When { sent_within: true, ended_within: false });
        other.add(end("UNAVAILABLE"), took, WITHIN);
        other.add(end(WRONG_ANSWER), took, When { sent_within: false, ended_within: false });
        tally.merge(&other);
        assert_eq!((tally.answers, tally.calls, tally.latency.count()), (2, 3, 2));
        assert_eq!((tally.sent, tally.received), (30, 60));
        assert_eq!(tally.errors, BTreeMap::from([("UNAVAILABLE", 1), (WRONG_ANSWER, 1)]));
    }

    #[test]
    fn statuses_have_names() {
        assert_eq!(
            ["0", "8", "16", "17", "x", ""].map(|text| name_of(text.as_bytes())),
            ["OK", "RESOURCE_EXHAUSTED", "UNAUTHENTICATED", "UNKNOWN", "UNKNOWN", "UNKNOWN"]
        );
    }
}
