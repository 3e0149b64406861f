//! What came of connections and calls that no handler saw the end of, in numbers that only grow.

use std::sync::atomic::{AtomicU64, Ordering};

use h2::Reason;

/// What is counted. The names are Python's, `turnout_server/instruments/transport.py`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// A connection was taken.
    Accepted,
    /// A connection was closed at once: as many as may be are open, and busy.
    Refused,
    /// One that brought nothing made room for another.
    Evicted,
    /// A client has reset a stream.
    ResetByClient,
    /// We have.
    ResetByServer,
    /// A connection was ended: the client was told to calm down, that it broke a rule, or that the server goes.
    Calm,
    Fault,
    Going,
    /// A call was refused for its head, its message's size or what it may come to.
    Fields,
    TooLarge,
    TooDense,
    TooManyValues,
    /// There is too much that the client has not read.
    Unread,
    /// Too many calls wait for Python to hear of them.
    Unheard,
    /// A request was not finished in time.
    Unfinished,
    /// A stream was silent for too long, or the longest where others wanted a place.
    Silent,
    /// There is no memory for it.
    Memory,
}

const NAMES: [(Told, &str); 17] = [
    (Told::Accepted, "accepted"),
    (Told::Refused, "refused"),
    (Told::Evicted, "evicted"),
    (Told::ResetByClient, "reset.client"),
    (Told::ResetByServer, "reset.server"),
    (Told::Calm, "goaway.calm"),
    (Told::Fault, "goaway.fault"),
    (Told::Going, "goaway.going"),
    (Told::Fields, "refusal.metadata"),
    (Told::TooLarge, "refusal.size"),
    (Told::TooDense, "refusal.ratio"),
    (Told::TooManyValues, "refusal.values"),
    (Told::Unread, "refusal.unread"),
    (Told::Unheard, "refusal.unheard"),
    (Told::Unfinished, "refusal.unfinished"),
    (Told::Silent, "refusal.silent"),
    (Told::Memory, "refusal.memory"),
];

/// The numbers, of all shards.
#[derive(Debug, Default)]
pub struct Tally([AtomicU64; NAMES.len()]);

impl Tally {
    /// Counts one.
    pub fn add(&self, told: Told) {
        self.0[told as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a connection that is ended for this reason.
    pub fn goaway(&self, reason: Reason) {
        self.add(match reason {
            Reason::NO_ERROR => Told::Going,
            Reason::ENHANCE_YOUR_CALM => Told::Calm,
            _ => Told::Fault,
        });
    }

    /// Returns every number by its name.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        NAMES.iter().map(|&(told, name)| (name, self.0[told as usize].load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_has_its_name() {
        assert!(NAMES.iter().enumerate().all(|(index, &(told, _))| told as usize == index));
        let tally = Tally::default();
        tally.goaway(Reason::ENHANCE_YOUR_CALM);
        tally.goaway(Reason::PROTOCOL_ERROR);
        tally.goaway(Reason::FRAME_SIZE_ERROR);
        let counted: Vec<_> = tally.all().filter(|&(_, number)| number > 0).collect();
        assert_eq!(counted, [("goaway.calm", 1), ("goaway.fault", 2)]);
    }
}
