//! Exposures, counted by arm: the twin of `vocabulary/exposure.py`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::decide::Decision;

/// Counts, by decision. What is counted is as many as there are decisions, and no unit is kept.
#[derive(Clone, Debug, Default)]
pub struct Exposures {
    /// By where they lie: there is one object for all requests that are decided alike, and it is held here.
    counts: HashMap<usize, (Arc<Decision>, u64)>,
}

/// A route, its experiment, which is empty where it has none, and the assigned target.
pub type Arm = (String, String, String);

impl Exposures {
    /// Counts records of units, which are decided alike, if they are exposures.
    pub fn note(&mut self, decision: &Arc<Decision>, count: u64) {
        if count > 0 && decision.exposes() {
            self.add(decision, count);
        }
    }

    /// Counts what others have counted.
    pub fn join(&mut self, others: &Self) {
        others.counts.values().for_each(|(decision, count)| self.add(decision, *count));
    }

    /// Returns them by arm.
    pub fn by_arm(&self) -> BTreeMap<Arm, u64> {
        let mut arms = BTreeMap::new();
        for (decision, count) in self.counts.values() {
            let arm = (decision.route.clone(), decision.enrolment.experiment.clone(), decision.assigned.clone());
            *arms.entry(arm).or_default() += count;
        }
        arms
    }

    fn add(&mut self, decision: &Arc<Decision>, count: u64) {
        self.counts.entry(Arc::as_ptr(decision) as usize).or_insert_with(|| (decision.clone(), 0)).1 += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::{Enrolment, Reason};

    fn decision(assigned: &str, reason: Reason, enrolled: Option<bool>) -> Arc<Decision> {
        let enrolment = Enrolment { experiment: "trial".into(), layer: String::new(), enrolled };
        let outright = Decision::outright("m", 1, reason);
        Arc::new(Decision { route: "price".into(), assigned: assigned.into(), enrolment, ..outright })
    }

    fn by_arm(exposures: &Exposures) -> Vec<(String, u64)> {
        exposures.by_arm().into_iter().map(|((_, _, assigned), count)| (assigned, count)).collect()
    }

    #[test]
    fn exposures_are_of_units_that_the_split_drew_and_that_take_part() {
        let mut exposures = Exposures::default();
        for (reason, enrolled, count) in [
            (Reason::Split, Some(true), 1),
            (Reason::Split, None, 2),
            (Reason::Fallback, Some(true), 4),
            (Reason::Fallback, None, 0),
            (Reason::Split, Some(false), 8),
            (Reason::Unenrolled, Some(false), 8),
            (Reason::Holdout, Some(false), 8),
            (Reason::Override, None, 8),
            (Reason::Unsticky, None, 8),
        ] {
            exposures.note(&decision("canary", reason, enrolled), count);
        }
        assert_eq!(by_arm(&exposures), [("canary".to_owned(), 7)]);
    }

    #[test]
    fn counts_of_others_are_added_to_those_of_the_same_arm() {
        let (mut one, mut other) = (Exposures::default(), Exposures::default());
        one.note(&decision("a", Reason::Split, None), 1);
        other.note(&decision("a", Reason::Fallback, Some(true)), 1);
        other.note(&decision("b", Reason::Split, None), 1);
        one.join(&other);
        assert_eq!(by_arm(&one), [("a".to_owned(), 2), ("b".to_owned(), 1)]);
    }
}
