//! Whether all that a reactor was lately asked to run is of one version: then a run holds up nobody but its like.

use std::cell::Cell;

use crate::batch::Ns;
use crate::batch::shares::Id;

/// How long another version's request is remembered.
const LATELY: Ns = 1_000_000_000;

/// Which version's requests come to a reactor.
#[derive(Debug, Default)]
pub struct Sole {
    /// Whose the last was.
    last: Cell<Option<Id>>,
    /// Until when there are several.
    several_until: Cell<Ns>,
}

impl Sole {
    /// Notes that a request of a version has come.
    pub fn comes(&self, id: Id, now: Ns) {
        if self.last.replace(Some(id)).is_some_and(|last| last != id) {
            self.several_until.set(now + LATELY);
        }
    }

    /// Says whether nobody has lately asked for another.
    pub fn is_one(&self, now: Ns) -> bool {
        now >= self.several_until.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_the_only_one_again_a_while_after_the_last_change() {
        let sole = Sole::default();
        sole.comes(1, 0);
        sole.comes(1, 5);
        assert!(sole.is_one(5));
        sole.comes(2, 10);
        assert!(!sole.is_one(10) && !sole.is_one(9 + LATELY));
        assert!(sole.is_one(10 + LATELY));
        sole.comes(1, 20 + LATELY);
        assert!(!sole.is_one(20 + LATELY));
    }
}
