//! Weighted rendezvous hashing, to the bit what `routing/split.py` does; that file says why.

use xxhash_rust::xxh3::xxh3_64;

const SCALE: f64 = 1.0 / (1u64 << 53) as f64;
/// Keys up to this many bytes are put together on the stack.
const SHORT: usize = 512;

/// Returns the part of a key that is the same for every unit.
pub fn prefix(salt: &str, target: &str) -> Vec<u8> {
    format!("{}:{}{}:{}", salt.len(), salt, target.len(), target).into_bytes()
}

/// Returns a number in the open interval (0, 1) that the key, a prefix and a unit, alone decides.
pub fn uniform_of(prefix: &[u8], unit: &str) -> f64 {
    let length = prefix.len() + unit.len();
    let hash = if length <= SHORT {
        let mut key = [0; SHORT];
        key[..prefix.len()].copy_from_slice(prefix);
        key[prefix.len()..length].copy_from_slice(unit.as_bytes());
        xxh3_64(&key[..length])
    } else {
        xxh3_64(&[prefix, unit.as_bytes()].concat())
    };
    ((hash >> 12) * 2 + 1) as f64 * SCALE
}

/// Returns a target's score: `u`, uniform in (0, 1), as a draw from the exponential distribution of rate `weight`.
///
/// The logarithm is the platform's, as Python's is: they agree to the last bit.
pub fn score(u: f64, weight: f64) -> f64 {
    -u.ln() / weight
}

/// A target that can be drawn.
#[derive(Debug)]
struct Arm {
    prefix: Vec<u8>,
    /// Greater than 0.
    weight: f64,
    target: usize,
}

/// Says which target a unit belongs to, with everything that does not depend on the unit worked out beforehand.
#[derive(Debug)]
pub struct Splitter {
    /// Never empty.
    arms: Vec<Arm>,
    total: f64,
}

impl Splitter {
    /// Returns a splitter over targets given by name and weight; None where every weight is 0.
    ///
    /// `total` is the weights' sum, exactly rounded: Python's `math.fsum`.
    pub fn new<'a>(salt: &str, targets: impl Iterator<Item = (&'a str, f64)>, total: f64) -> Option<Self> {
        let arms: Vec<Arm> = targets
            .enumerate()
            .filter(|(_, (_, weight))| *weight > 0.0)
            .map(|(target, (name, weight))| Arm { prefix: prefix(salt, name), weight, target })
            .collect();
        (!arms.is_empty()).then_some(Self { arms, total })
    }

    /// Returns the target that `unit` belongs to. Of equal scores the earlier target wins.
    pub fn pick(&self, unit: &str) -> usize {
        let mut best = self.arms[0].target;
        if self.arms.len() == 1 {
            return best;
        }
        let mut lowest = f64::INFINITY;
        for arm in &self.arms {
            let score = score(uniform_of(&arm.prefix, unit), arm.weight);
            if score < lowest {
                (lowest, best) = (score, arm.target);
            }
        }
        best
    }

    /// Returns the target at `u`, uniform in [0, 1), for a request that has no unit to stick to.
    pub fn draw(&self, u: f64) -> usize {
        let mut point = u * self.total;
        for arm in &self.arms {
            point -= arm.weight;
            if point < 0.0 {
                return arm.target;
            }
        }
        self.arms[self.arms.len() - 1].target
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    const GOLDEN: &str = include_str!("../../../tests/routing/golden_vectors.json");

    #[derive(Deserialize)]
    struct Golden {
        draws: Vec<Draw>,
        splits: Vec<Split>,
    }

    #[derive(Deserialize)]
    struct Draw {
        salt: String,
        target: String,
        unit: String,
        uniform: String,
    }

    #[derive(Deserialize)]
    struct Split {
        salt: String,
        weights: serde_json::Map<String, serde_json::Value>,
        picks: BTreeMap<String, String>,
    }

    fn golden() -> Golden {
        serde_json::from_str(GOLDEN).unwrap()
    }

    /// Reads what C's `%a` and Python's `float.hex` write of a number in (0, 1).
    fn hexadecimal(text: &str) -> f64 {
        let (mantissa, exponent) = text.strip_prefix("0x").unwrap().split_once('p').unwrap();
        let (whole, fraction) = mantissa.split_once('.').unwrap();
        let digits = u64::from_str_radix(&format!("{whole}{fraction}"), 16).unwrap();
        digits as f64 * 2f64.powi(exponent.parse::<i32>().unwrap() - 4 * fraction.len() as i32)
    }

    #[test]
    fn a_draw_is_what_it_has_always_been() {
        for draw in golden().draws {
            let found = uniform_of(&prefix(&draw.salt, &draw.target), &draw.unit);
            assert_eq!(found.to_bits(), hexadecimal(&draw.uniform).to_bits(), "{:?}", draw.unit);
        }
    }

    #[test]
    fn a_unit_gets_the_target_that_it_has_always_got() {
        for split in golden().splits {
            // A map in JSON's text has an order, this one has none; which of equal scores is first plays no part here.
            let names: Vec<&str> = split.weights.keys().map(String::as_str).collect();
            let weights: Vec<f64> = split.weights.values().map(|weight| weight.as_f64().unwrap()).collect();
            let arms = names.iter().copied().zip(weights.iter().copied());
            let splitter = Splitter::new(&split.salt, arms, weights.iter().sum()).unwrap();
            for (unit, target) in &split.picks {
                assert_eq!(names[splitter.pick(unit)], target, "{unit:?} under {:?}", split.salt);
            }
        }
    }

    #[test]
    fn draws_follow_the_weights_and_never_meet_a_weight_of_zero() {
        let arms = [("off", 0.0), ("a", 1.0), ("b", 3.0), ("off-too", 0.0)];
        let splitter = Splitter::new("s", arms.into_iter(), 4.0).unwrap();
        assert_eq!([0.0, 0.24, 0.25, 0.999_999].map(|u| splitter.draw(u)), [1, 1, 2, 2]);
        assert_eq!(splitter.draw(1.0_f64.next_down()), 2);
        assert!(Splitter::new("s", [("off", 0.0)].into_iter(), 0.0).is_none());
    }

    #[test]
    fn a_long_key_is_hashed_as_a_short_one_is() {
        let unit = "u".repeat(SHORT);
        assert_eq!(uniform_of(b"", &unit), uniform_of(b"u", &unit[1..]));
    }
}
