//! Who takes part in a route's experiment: the twin of `routing/enrolment.py`, which says why.

use super::decision::{Enrolment, Reason};
use super::document::{Experiment, Span};
use super::split::{prefix, uniform_of};

/// Into how many buckets a layer divides units.
const BUCKETS: u16 = 1000;

/// Says which units an experiment gets, with everything that does not depend on the unit worked out beforehand.
#[derive(Debug)]
pub struct Gate {
    layer: Option<Layer>,
    draw: Vec<u8>,
    enrolment: f64,
}

#[derive(Debug)]
struct Layer {
    draw: Vec<u8>,
    holdout: f64,
    bucket: Vec<u8>,
    /// Of each bucket, whether it is the experiment's.
    granted: Vec<bool>,
}

impl Gate {
    /// Returns the one of an experiment on a route with that salt.
    ///
    /// Fails with words for people where a span of buckets is none.
    pub fn new(salt: &str, given: &Experiment) -> Result<Self, String> {
        let layer = given.layer.as_ref().map(|layer| {
            Ok::<_, String>(Layer {
                draw: prefix(&layer.salt, "/holdout"),
                holdout: layer.holdout,
                bucket: prefix(&layer.salt, "/bucket"),
                granted: granted(&given.buckets)?,
            })
        });
        Ok(Self { layer: layer.transpose()?, draw: prefix(salt, "/enrolment"), enrolment: given.enrolment })
    }

    /// Returns why `unit` does not take part: Holdout or Unenrolled; None where it does.
    pub fn keeps_out(&self, unit: &str) -> Option<Reason> {
        if let Some(layer) = &self.layer {
            if layer.holdout > 0.0 && uniform_of(&layer.draw, unit) < layer.holdout {
                return Some(Reason::Holdout);
            }
            if !layer.granted[bucket_of(&layer.bucket, unit)] {
                return Some(Reason::Unenrolled);
            }
        }
        let is_in = self.enrolment >= 1.0 || uniform_of(&self.draw, unit) < self.enrolment;
        (!is_in).then_some(Reason::Unenrolled)
    }
}

/// Returns what is said of an experiment where a target was assigned for `drawn`.
pub fn enrolment_of(given: &Experiment, drawn: Reason) -> Enrolment {
    let enrolled = match drawn {
        Reason::Split => Some(true),
        Reason::Holdout | Reason::Unenrolled => Some(false),
        _ => None,
    };
    let layer = given.layer.as_ref().map(|layer| layer.name.clone());
    Enrolment { experiment: given.name.clone(), layer: layer.unwrap_or_default(), enrolled }
}

/// Returns a unit's bucket, for the prefix of a layer's draws.
pub fn bucket_of(prefix: &[u8], unit: &str) -> usize {
    (uniform_of(prefix, unit) * f64::from(BUCKETS)) as usize
}

fn granted(spans: &[Span]) -> Result<Vec<bool>, String> {
    let mut granted = vec![false; usize::from(BUCKETS)];
    for &(first, end) in spans {
        let span = granted.get_mut(usize::from(first)..usize::from(end));
        span.ok_or_else(|| format!("no such buckets: {first} to {end}"))?.fill(true);
    }
    Ok(granted)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    const GOLDEN: &str = include_str!("../../../tests/routing/golden_vectors.json");

    #[derive(Deserialize)]
    struct Golden {
        buckets: Vec<Buckets>,
        experiments: Vec<Case>,
    }

    #[derive(Deserialize)]
    struct Buckets {
        salt: String,
        units: BTreeMap<String, usize>,
    }

    #[derive(Deserialize)]
    struct Case {
        salt: String,
        experiment: Experiment,
        kept_out: BTreeMap<String, Option<String>>,
    }

    fn golden() -> Golden {
        serde_json::from_str(GOLDEN).unwrap()
    }

    #[test]
    fn a_unit_is_in_the_bucket_that_it_has_always_been_in() {
        for layer in golden().buckets {
            for (unit, bucket) in layer.units {
                assert_eq!(bucket_of(&prefix(&layer.salt, "/bucket"), &unit), bucket, "{unit:?}");
            }
        }
    }

    #[test]
    fn who_takes_part_is_who_has_always_taken_part() {
        for case in golden().experiments {
            let gate = Gate::new(&case.salt, &case.experiment).unwrap();
            for (unit, reason) in case.kept_out {
                assert_eq!(gate.keeps_out(&unit).map(Reason::name), reason.as_deref(), "{unit:?}");
            }
        }
    }

    #[test]
    fn buckets_that_no_layer_has_are_refused() {
        assert_eq!(granted(&[(0, BUCKETS)]), Ok(vec![true; 1000]));
        for span in [(0, BUCKETS + 1), (2, 1), (u16::MAX, u16::MAX)] {
            assert!(granted(&[span]).is_err(), "{span:?}");
        }
    }
}
