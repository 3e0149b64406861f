//! `FeatureColumn` and `FeatureMatrix`: features by name, read without a copy of floats.

use std::collections::HashSet;

use crate::oip::wire::{Fields, Odd, Value};

/// Rows of one request: more are refused.
pub const MAX_ROWS: usize = 10_000;
/// Columns of one request, or names of a matrix. A message has room for millions of empty ones.
pub const MOST_NAMES: usize = 10_000;
/// Bytes of a float.
pub const WIDTH: usize = size_of::<f32>();

/// One feature's values: one a row, or one for all rows.
#[derive(Debug, PartialEq)]
pub enum Values<'a> {
    /// Little-endian, of 4 bytes each.
    Floats(&'a [u8]),
    Integers(Vec<i64>),
    Texts(Vec<&'a str>),
}

impl Values<'_> {
    pub fn len(&self) -> usize {
        match self {
            Values::Floats(raw) => raw.len() / WIDTH,
            Values::Integers(values) => values.len(),
            Values::Texts(values) => values.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// One feature.
#[derive(Debug, PartialEq)]
pub struct Column<'a> {
    pub name: &'a str,
    pub values: Values<'a>,
}

/// Several features.
#[derive(Debug, Default, PartialEq)]
pub struct Matrix<'a> {
    pub names: Vec<&'a str>,
    /// Row-major and little-endian, of 4 bytes each; whole rows.
    pub raw: &'a [u8],
}

impl<'a> Matrix<'a> {
    pub fn rows(&self) -> usize {
        self.raw.len() / WIDTH / self.names.len().max(1)
    }

    /// Reads a matrix, which is no other's second part.
    pub fn read(message: &'a [u8]) -> Result<Self, Odd> {
        let (mut names, mut raw) = (Vec::new(), None);
        let mut fields = Fields::of(message);
        while let Some((number, value)) = fields.next_field()? {
            match number {
                1 => push(&mut names, value.text()?, MOST_NAMES)?,
                2 => once(&mut raw, value.bytes()?)?,
                _ => {}
            }
        }
        let raw = raw.unwrap_or_default();
        let whole = if names.is_empty() { raw.is_empty() } else { raw.len() % (names.len() * WIDTH) == 0 };
        let matrix = Self { names, raw };
        if whole && matrix.rows() <= MAX_ROWS { Ok(matrix) } else { Err(Odd) }
    }
}

impl<'a> Column<'a> {
    /// Reads a column, which has values of one kind.
    pub fn read(message: &'a [u8]) -> Result<Self, Odd> {
        let (mut name, mut values) = ("", None);
        let mut fields = Fields::of(message);
        while let Some((number, value)) = fields.next_field()? {
            match number {
                1 => name = value.text()?,
                // Of a second one protobuf would make one with the first, or forget that.
                2 => once(&mut values, Values::Floats(packed(value.bytes()?, WIDTH)?))?,
                3 => once(&mut values, Values::Integers(integers(value.bytes()?)?))?,
                4 => once(&mut values, Values::Texts(texts(value.bytes()?)?))?,
                _ => {}
            }
        }
        let values = values.ok_or(Odd)?;
        if values.len() <= MAX_ROWS { Ok(Self { name, values }) } else { Err(Odd) }
    }
}

/// Returns packed floats of `width` bytes each, which are their own bytes. No ordinary writer makes others.
pub fn packed(message: &[u8], width: usize) -> Result<&[u8], Odd> {
    let mut raw = None;
    let mut fields = Fields::of(message);
    while let Some((number, value)) = fields.next_field()? {
        if number == 1 {
            once(&mut raw, value.bytes()?)?;
        }
    }
    let raw: &[u8] = raw.unwrap_or_default();
    if raw.len().is_multiple_of(width) { Ok(raw) } else { Err(Odd) }
}

fn integers(message: &[u8]) -> Result<Vec<i64>, Odd> {
    let mut integers = Vec::new();
    let mut fields = Fields::of(message);
    while let Some((number, value)) = fields.next_field()? {
        match (number, value) {
            (1, Value::Bytes(packed)) => {
                let mut values = Fields::of(packed);
                while let Some(value) = values.next_varint()? {
                    push(&mut integers, value as i64, MAX_ROWS)?;
                }
            }
            (1, _) => return Err(Odd),
            _ => {}
        }
    }
    Ok(integers)
}

fn texts(message: &[u8]) -> Result<Vec<&str>, Odd> {
    let mut texts = Vec::new();
    let mut fields = Fields::of(message);
    while let Some((number, value)) = fields.next_field()? {
        if number == 1 {
            push(&mut texts, value.text()?, MAX_ROWS)?;
        }
    }
    Ok(texts)
}

/// Checks that no name stands twice.
pub fn check_names<'a>(mut names: impl Iterator<Item = &'a str>) -> Result<(), Odd> {
    let mut seen = HashSet::new();
    if names.all(|name| seen.insert(name)) { Ok(()) } else { Err(Odd) }
}

/// Appends to a list that may have `most` of them.
pub fn push<T>(list: &mut Vec<T>, one: T, most: usize) -> Result<(), Odd> {
    if list.len() == most {
        return Err(Odd);
    }
    list.push(one);
    Ok(())
}

/// Sets what may be set once.
pub fn once<T>(place: &mut Option<T>, value: T) -> Result<(), Odd> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(Odd),
    }
}
