//! What is odd about a request's features, counted as they are packed: the twin of `tasks.features.Note`.

use super::features::{Matrix, Values, WIDTH};
use super::layout::Part;
use super::numbers::floats;
use super::pack::{Features, Source, sources};
use crate::oip::Signature;

/// How a feature can be odd; as Python numbers them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// It was left out or NaN, and has its default.
    Defaulted,
    /// It is NaN, and has no default.
    Nan,
    /// It is beyond what the manifest says that it was in training.
    OutOfRange,
}

/// How many kinds there are.
pub const KINDS: usize = 3;

/// So many rows of a request have an odd feature.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Note {
    /// The feature's place among all.
    pub place: usize,
    pub kind: Kind,
    pub rows: u64,
}

/// What there is to say of a request that was made of features.
#[derive(Debug, Default, PartialEq)]
pub struct Notes {
    /// How many rows it has.
    pub rows: u64,
    pub odd: Vec<Note>,
}

/// The least and the largest value, in both widths that values are compared in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    narrow: (f32, f32),
    wide: (f64, f64),
}

impl From<(f64, f64)> for Range {
    fn from(ends: (f64, f64)) -> Self {
        Self { narrow: (ends.0 as f32, ends.1 as f32), wide: ends }
    }
}

impl Range {
    fn lacks(&self, value: f32) -> bool {
        value < self.narrow.0 || value > self.narrow.1
    }

    fn lacks_integer(&self, value: i64) -> bool {
        (value as f64) < self.wide.0 || (value as f64) > self.wide.1
    }
}

/// Returns what is odd about features that could be packed for `rows` rows of a version with this signature.
pub fn notes(features: &Features<'_>, signature: &Signature, rows: usize) -> Option<Notes> {
    notes_but(features, signature, rows, |_| false)
}

/// Returns the same where some inputs, by their number, are made of something else; None where all are.
pub fn notes_but(
    features: &Features<'_>,
    signature: &Signature,
    rows: usize,
    otherwise: impl Fn(usize) -> bool,
) -> Option<Notes> {
    let layout = signature.layout.as_ref()?;
    let sources = sources(features, layout)?;
    let mut odd = Vec::new();
    // Nearly always there is none, and to see that of all at once is quick.
    let has_nans = nans(floats(features.matrix.raw)) > 0;
    let mut parts = layout.parts.iter().filter(|part| !otherwise(part.input)).peekable();
    parts.peek()?;
    for part in parts {
        for (place, &source) in sources.iter().enumerate().skip(part.first).take(part.defaults.len()) {
            let range = signature.ranges.get(place).and_then(Option::as_ref);
            one(&mut odd, features, (part, place, range), source, has_nans, rows);
        }
    }
    Some(Notes { rows: rows as u64, odd })
}

fn one(
    found: &mut Vec<Note>,
    features: &Features<'_>,
    (part, place, range): (&Part, usize, Option<&Range>),
    source: Source,
    has_nans: bool,
    rows: usize,
) {
    let mut note = |kind: Kind, odd: u64, of: usize| {
        if odd > 0 {
            // One value stands for all rows.
            found.push(Note { place, kind, rows: if of == 1 { rows as u64 } else { odd } });
        }
    };
    let at = place - part.first;
    let missing = if part.defaults[at].is_some() { Kind::Defaulted } else { Kind::Nan };
    match source {
        Source::Missing => note(Kind::Defaulted, rows as u64, rows),
        Source::Column(index) => match &features.columns[index].values {
            Values::Floats(raw) => {
                let count = features.columns[index].values.len();
                note(missing, nans(floats(raw)), count);
                if let Some(range) = range {
                    note(Kind::OutOfRange, floats(raw).map(|value| u64::from(range.lacks(value))).sum(), count);
                }
            }
            Values::Integers(values) => {
                if let Some(range) = range {
                    let odd = values.iter().map(|&value| u64::from(range.lacks_integer(value))).sum();
                    note(Kind::OutOfRange, odd, values.len());
                }
            }
            Values::Texts(_) => {}
        },
        Source::Matrix(column) => {
            let count = features.matrix.rows();
            if has_nans {
                note(missing, nans(column_of(features.matrix, column)), count);
            }
            if let Some(range) = range {
                let odd = column_of(features.matrix, column).map(|value| u64::from(range.lacks(value))).sum();
                note(Kind::OutOfRange, odd, count);
            }
        }
    }
}

/// Returns the values of one of a matrix's columns.
fn column_of<'a>(matrix: &Matrix<'a>, at: usize) -> impl Iterator<Item = f32> + use<'a> {
    floats(matrix.raw.get(at * WIDTH..).unwrap_or_default()).step_by(matrix.names.len().max(1))
}

fn nans(values: impl Iterator<Item = f32>) -> u64 {
    values.map(|value| u64::from(value.is_nan())).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_has_its_ends_as_values_of_either_width() {
        let range = Range::from((0.1, 1e300));
        assert!(!range.lacks(0.1) && range.lacks(0.0) && !range.lacks(f32::MAX) && !range.lacks(f32::NAN));
        assert!(range.lacks_integer(0) && !range.lacks_integer(i64::MAX));
        assert!(Range::from((0.0, 1.0)).lacks(f32::INFINITY));
    }
}
