//! Which features a version's inputs consist of: the twin of `tasks.features.layout_of`.

use std::collections::HashMap;

use bytes::Bytes;
use serde::Deserialize;

use super::numbers::is_float;
use crate::oip::dtypes::width_of;
use crate::oip::signature::Spec;
use crate::tensor::DType;

/// What `turnout_server.engine.snapshot.signature` writes of an input.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    rows: i64,
    tail: Vec<i64>,
    features: Vec<Feature>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Feature {
    name: String,
    /// The default's bytes in hexadecimal.
    default: Option<String>,
}

/// One input.
#[derive(Debug)]
pub struct Part {
    /// Which of the inputs it is.
    pub input: usize,
    pub dtype: DType,
    /// How many rows it takes; -1 for any number.
    pub rows: i64,
    /// Whether it has an axis of features besides the rows.
    pub is_matrix: bool,
    /// By feature: what stands for one that is missing.
    pub defaults: Vec<Option<Default>>,
    /// The place of its first feature among all.
    pub first: usize,
    /// Whether NaN means missing here, and not itself.
    pub fills: bool,
}

/// What stands for a feature that is missing.
#[derive(Clone, Debug)]
pub enum Default {
    /// Bits of an element; the upper ones of narrow dtypes are 0.
    Bits(u64),
    Text(Bytes),
}

impl Default {
    pub fn bits(&self) -> Option<u64> {
        match self {
            Default::Bits(bits) => Some(*bits),
            Default::Text(_) => None,
        }
    }
}

/// The features of all inputs that are some.
#[derive(Debug)]
pub struct Layout {
    pub parts: Vec<Part>,
    /// By input, whether it is among them.
    has: Vec<bool>,
    /// By place.
    names: Vec<String>,
    /// A name may stand for several inputs' features.
    places: HashMap<String, Vec<usize>>,
    pub has_text: bool,
}

impl Layout {
    /// Takes a layout, held against the inputs that it is of: None for those that are no features.
    pub fn of(documents: Vec<Option<Document>>, inputs: &[Spec]) -> Result<Self, String> {
        if documents.len() != inputs.len() {
            return Err("features of other inputs".into());
        }
        let (mut parts, mut names) = (Vec::with_capacity(inputs.len()), Vec::new());
        let has = documents.iter().map(Option::is_some).collect();
        for (input, (document, spec)) in documents.into_iter().zip(inputs).enumerate() {
            let Some(document) = document else { continue };
            let count = document.features.len();
            let fits = match document.tail[..] {
                [] => count == 1,
                [size] => size == count as i64 || size == -1,
                _ => false,
            };
            if !fits || spec.shape.len() != document.tail.len() + 1 {
                return Err(format!("input {:?}: {count} features do not fit its shape", spec.name));
            }
            let first = names.len();
            let mut defaults = Vec::with_capacity(count);
            for feature in document.features {
                defaults.push(feature.default.map(|hex| default(&hex, spec.dtype)).transpose()?);
                names.push(feature.name);
            }
            let fills = is_float(spec.dtype) && defaults.iter().any(Option::is_some);
            let is_matrix = !document.tail.is_empty();
            parts.push(Part { input, dtype: spec.dtype, rows: document.rows, is_matrix, defaults, first, fills });
        }
        let mut places: HashMap<String, Vec<usize>> = HashMap::with_capacity(names.len());
        for (place, name) in names.iter().enumerate() {
            places.entry(name.clone()).or_default().push(place);
        }
        let has_text = parts.iter().any(|part| part.dtype == DType::Bytes);
        Ok(Self { parts, has, names, places, has_text })
    }

    /// Says whether all inputs are features.
    pub fn is_whole(&self) -> bool {
        self.parts.len() == self.has.len()
    }

    /// Says whether that input is a feature, or some.
    pub fn has(&self, input: usize) -> bool {
        self.has.get(input).is_some_and(|&has| has)
    }

    /// Returns how many features there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Returns the places of the feature called `name`: where it is at `guess`, only that if there is no other.
    pub fn find(&self, name: &str, guess: usize) -> Option<Places<'_>> {
        if self.names.len() == self.places.len() && self.names.get(guess).is_some_and(|other| other == name) {
            return Some(Places::One(guess));
        }
        self.places.get(name).map(|places| Places::All(places))
    }
}

/// Where a feature goes.
pub enum Places<'a> {
    One(usize),
    All(&'a [usize]),
}

impl Places<'_> {
    pub fn each(&self, mut deed: impl FnMut(usize)) {
        match self {
            Places::One(place) => deed(*place),
            Places::All(places) => places.iter().for_each(|&place| deed(place)),
        }
    }
}

fn default(hex: &str, dtype: DType) -> Result<Default, String> {
    let pair = |at: usize| hex.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    let bytes: Option<Vec<u8>> = (0..hex.len()).step_by(2).map(pair).collect();
    let bytes = bytes.ok_or_else(|| format!("{hex:?} is not hexadecimal"))?;
    match width_of(dtype) {
        None if std::str::from_utf8(&bytes).is_ok() => Ok(Default::Text(bytes.into())),
        None => Err(format!("{hex:?} is no text")),
        Some(width) if width == bytes.len() => {
            let mut bits = [0; 8];
            bits[..width].copy_from_slice(&bytes);
            Ok(Default::Bits(u64::from_le_bytes(bits)))
        }
        Some(_) => Err(format!("{hex:?} is no default of {dtype:?}")),
    }
}
