//! Which calls are traced: what the configured sampler of OpenTelemetry's SDK would say.

use serde::Deserialize;

use super::context::{Context, TraceId};

/// What the control plane says of tracing.
///
/// A bound is the greatest lower half of a trace id that is sampled: it may be 0, and None samples nothing.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The bound where there is no parent.
    pub root: Option<u64>,
    /// The bound where there is one that is sampled.
    pub sampled: Option<u64>,
    /// The bound where there is one that is not.
    pub unsampled: Option<u64>,
    /// How many spans may wait to be taken.
    pub most_spans: usize,
    /// How many leave at once.
    pub batch_spans: usize,
}

impl Settings {
    /// Says whether a call is sampled that is part of `trace`, below `parent`.
    pub fn samples(&self, trace: &TraceId, parent: Option<&Context>) -> bool {
        let bound = match parent {
            None => self.root,
            Some(parent) if parent.sampled => self.sampled,
            Some(_) => self.unsampled,
        };
        let low = (u128::from_be_bytes(*trace) & u128::from(u64::MAX)) as u64;
        bound.is_some_and(|bound| low <= bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(low: u64) -> TraceId {
        (u128::MAX << 64 | u128::from(low)).to_be_bytes()
    }

    #[test]
    fn the_lower_half_decides_and_the_parent_by_which_bound() {
        let settings =
            Settings { root: Some(10), sampled: Some(u64::MAX), unsampled: None, most_spans: 1, batch_spans: 1 };
        assert_eq!([10, 11].map(|low| settings.samples(&trace(low), None)), [true, false]);
        for (sampled, expected) in [(true, true), (false, false)] {
            let parent = Context { trace: trace(0), span: [1; 8], sampled };
            assert_eq!(settings.samples(&trace(u64::MAX), Some(&parent)), expected);
            assert_eq!(settings.samples(&trace(0), Some(&parent)), expected);
        }
    }
}
