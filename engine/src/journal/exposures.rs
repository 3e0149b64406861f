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
    /// Counts a record, if it is an exposure.
    pub fn note(&mut self, decision: &Arc<Decision>, unit: &str) {
        if !unit.is_empty() && decision.exposes() {
            self.add(decision, 1);
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
        for (reason, enrolled, unit) in [
            (Reason::Split, Some(true), "u"),
            (Reason::Split, None, "u"),
            (Reason::Fallback, Some(true), "u"),
            (Reason::Fallback, None, ""),
            (Reason::Split, Some(false), "u"),
            (Reason::Unenrolled, Some(false), "u"),
            (Reason::Holdout, Some(false), "u"),
            (Reason::Override, None, "u"),
            (Reason::Unsticky, None, ""),
        ] {
            exposures.note(&decision("canary", reason, enrolled), unit);
        }
        assert_eq!(by_arm(&exposures), [("canary".to_owned(), 3)]);
    }

    #[test]
    fn counts_of_others_are_added_to_those_of_the_same_arm() {
        let (mut one, mut other) = (Exposures::default(), Exposures::default());
        one.note(&decision("a", Reason::Split, None), "u");
        other.note(&decision("a", Reason::Fallback, Some(true)), "v");
        other.note(&decision("b", Reason::Split, None), "v");
        one.join(&other);
        assert_eq!(by_arm(&one), [("a".to_owned(), 2), ("b".to_owned(), 1)]);
    }
}
