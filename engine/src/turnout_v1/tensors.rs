//! `NamedTensor`: the twin of `rpc/turnout_v1/named_tensors.py`, as far as requests go.
//!
//! Elements are walked once, to see that they can be read and how many there are, and made into what a version takes
//! once that is known to have room for them.

use bytes::Bytes;

use super::features::{once, packed};
use super::half;
use super::numbers::{float, integer, is_float, limits, whole};
use crate::oip::dtypes::{named, width_of};
use crate::oip::prepare::elements;
use crate::oip::texts::{MOST_ELEMENTS, is_text};
use crate::oip::wire::{Fields, Odd, Value};
use crate::tensor::{DType, Data};

/// Axes of a tensor: NumPy refuses more than 64, and no graph has so many.
const AXES_LIMIT: usize = 32;

/// A whole input.
#[derive(Debug)]
pub struct NamedTensor<'a> {
    pub name: &'a str,
    pub shape: Vec<i64>,
    /// What its elements are said to be.
    datatype: Option<DType>,
    values: Values<'a>,
}

/// Its elements, as they were sent.
#[derive(Clone, Copy, Debug)]
enum Values<'a> {
    None,
    Floats(&'a [u8]),
    Doubles(&'a [u8]),
    /// A message of packed varints, and how many there are.
    Integers(&'a [u8], usize),
    Unsigneds(&'a [u8], usize),
    /// A message of texts, and how many there are.
    Texts(&'a [u8], usize),
    Raw(&'a [u8]),
}

impl<'a> NamedTensor<'a> {
    /// Reads a tensor, which has elements of one kind.
    pub fn read(message: &'a [u8]) -> Result<Self, Odd> {
        let (mut name, mut datatype, mut shape, mut values) = ("", "", Vec::new(), None);
        let (mut kinds, mut fields): (&[DType], _) = (&[], Fields::of(message));
        while let Some((number, value)) = fields.next_field()? {
            match number {
                1 => name = value.text()?,
                2 => datatype = value.text()?,
                3 => {
                    let mut sizes = Fields::of(value.bytes()?);
                    while let Some(size) = sizes.next_varint()? {
                        if shape.len() == AXES_LIMIT {
                            return Err(Odd);
                        }
                        shape.push(size as i64); // an int64 travels as its two's complement
                    }
                }
                4..=10 => {
                    let (found, of) = Values::read(number, value.bytes()?)?;
                    // Of a second one protobuf would make one with the first, or forget that.
                    once(&mut values, found)?;
                    kinds = of;
                }
                _ => {}
            }
        }
        let datatype = if datatype.is_empty() { None } else { Some(named(datatype).ok_or(Odd)?) };
        let values = values.unwrap_or(Values::None);
        let fits = match values {
            Values::None => shape.contains(&0),
            Values::Raw(_) => true,
            _ => datatype.is_none_or(|dtype| kinds.contains(&dtype)),
        };
        if fits { Ok(Self { name, shape, datatype, values }) } else { Err(Odd) }
    }

    /// Returns the `count` elements, of which there are no fewer or more, as elements of `dtype`. None where they do not
    /// fit, and where Python makes other ones of them than this would.
    pub fn decode(&self, message: &Bytes, dtype: DType, count: u64) -> Option<Data> {
        let length = usize::try_from(count).ok()?;
        let of_width = |raw: &[u8], width: usize| length.checked_mul(width) == Some(raw.len());
        match self.values {
            Values::None if dtype == DType::Bytes => Some(Data::Texts(Vec::new())),
            Values::None => Some(Data::Raw(Bytes::new())),
            Values::Floats(raw) if of_width(raw, 4) => {
                // One alone is a double in between, in Python: no NaN of it is a signal.
                let is_signal = length == 1 && floats(raw).any(f32::is_nan);
                if is_signal { None } else { of_floats(message, raw, dtype) }
            }
            Values::Doubles(raw) if of_width(raw, 8) => of_doubles(message, raw, dtype),
            Values::Integers(packed, found) if found == length => {
                of_varints(packed, found, dtype, |value| integer(value as i64, dtype))
            }
            Values::Unsigneds(packed, found) if found == length => {
                of_varints(packed, found, dtype, |value| of_whole(i128::from(value), dtype))
            }
            Values::Texts(texts, found) if found == length && dtype == DType::Bytes => {
                texts_of(message, texts, found).map(Data::Texts)
            }
            Values::Raw(raw) => self.raw(message, raw, dtype, count),
            _ => None,
        }
    }

    fn raw(&self, message: &Bytes, raw: &[u8], dtype: DType, count: u64) -> Option<Data> {
        let sent = self.datatype.unwrap_or(dtype);
        if sent == DType::Bytes {
            return None;
        }
        let data = elements(&message.slice_ref(raw), sent, count)?;
        match sent {
            _ if sent == dtype => Some(data),
            DType::Fp32 => of_floats(message, raw, dtype),
            DType::Fp64 => of_doubles(message, raw, dtype),
            _ => of_integers(raw, sent, dtype),
        }
    }
}

impl<'a> Values<'a> {
    /// Reads the field of this number, and says of which types its elements may be said to be.
    fn read(number: u32, message: &'a [u8]) -> Result<(Self, &'static [DType]), Odd> {
        use DType::*;
        Ok(match number {
            4 => (Values::Floats(packed(message, 4)?), &[Fp16, Bf16, Fp32]),
            5 => (Values::Doubles(packed(message, 8)?), &[Fp64]),
            6 => {
                let whole = &[Bool, Int8, Int16, Int32, Int64, Uint8, Uint16, Uint32];
                (Values::Integers(message, count(message)?), whole)
            }
            7 => (Values::Unsigneds(message, count(message)?), &[Uint64]),
            8 => (Values::Texts(message, count_texts(message, true)?), &[Bytes]),
            9 => (Values::Texts(message, count_texts(message, false)?), &[Bytes]),
            _ => (Values::Raw(message), &[]),
        })
    }
}

// ---------------------------------------------------------------- elements

fn floats(raw: &[u8]) -> impl Iterator<Item = f32> + '_ {
    super::numbers::floats(raw)
}

fn of_floats(message: &Bytes, raw: &[u8], dtype: DType) -> Option<Data> {
    if dtype == DType::Fp32 {
        return Some(Data::Raw(message.slice_ref(raw)));
    }
    written(floats(raw).map(|value| float(value, dtype, None)), raw.len() / 4, dtype)
}

fn of_doubles(message: &Bytes, raw: &[u8], dtype: DType) -> Option<Data> {
    if dtype == DType::Fp64 {
        return Some(Data::Raw(message.slice_ref(raw)));
    }
    let values = raw.chunks_exact(8).map(|raw| raw.try_into().map(f64::from_le_bytes).unwrap_or_default());
    written(values.map(|value| double(value, dtype)), raw.len() / 8, dtype)
}

/// Returns the bits of `value` as an element of `dtype`.
fn double(value: f64, dtype: DType) -> Option<u64> {
    match dtype {
        DType::Fp32 => {
            let single = value as f32;
            (single.is_finite() || !value.is_finite()).then(|| u64::from(single.to_bits()))
        }
        // Rounded to 32 bits in between, it might be another number.
        _ if is_float(dtype) || !value.is_finite() || value != value.floor() => None,
        // Beyond 128 bits it is cut to them, and is beyond every dtype.
        _ => whole(value as i128, dtype),
    }
}

/// Returns the bits of a whole number as an element of `dtype`.
fn of_whole(value: i128, dtype: DType) -> Option<u64> {
    match dtype {
        DType::Fp32 => Some(u64::from((value as f32).to_bits())),
        DType::Fp64 => Some((value as f64).to_bits()),
        DType::Fp16 => half::narrowed(value as f32).map(u64::from),
        _ => whole(value, dtype),
    }
}

fn of_integers(raw: &[u8], sent: DType, dtype: DType) -> Option<Data> {
    let ((low, _), width) = (limits(sent)?, width_of(sent)?);
    let number = |raw: &[u8]| {
        let is_negative = low < 0 && raw[width - 1] >= 0x80;
        let mut bits = if is_negative { [0xff; 8] } else { [0; 8] };
        bits[..width].copy_from_slice(raw);
        if low < 0 { i128::from(i64::from_le_bytes(bits)) } else { i128::from(u64::from_le_bytes(bits)) }
    };
    written(raw.chunks_exact(width).map(|raw| of_whole(number(raw), dtype)), raw.len() / width, dtype)
}

fn of_varints(message: &[u8], count: usize, dtype: DType, bits: impl Fn(u64) -> Option<u64>) -> Option<Data> {
    let width = width_of(dtype).filter(|_| count <= MOST_ELEMENTS)?;
    let mut raw = Vec::with_capacity(count * width);
    each(message, |value| {
        raw.extend_from_slice(&bits(value).ok_or(Odd)?.to_le_bytes()[..width]);
        Ok(())
    })
    .ok()?;
    Some(Data::Raw(raw.into()))
}

/// Writes elements of `dtype` by their bits.
fn written(bits: impl Iterator<Item = Option<u64>>, count: usize, dtype: DType) -> Option<Data> {
    let width = width_of(dtype)?;
    let mut raw = Vec::with_capacity(count.checked_mul(width)?);
    for bits in bits {
        raw.extend_from_slice(&bits?.to_le_bytes()[..width]);
    }
    Some(Data::Raw(raw.into()))
}

fn texts_of(message: &Bytes, texts: &[u8], count: usize) -> Option<Vec<Bytes>> {
    if count > MOST_ELEMENTS {
        return None;
    }
    let mut found = Vec::with_capacity(count);
    let mut fields = Fields::of(texts);
    while let Some((number, value)) = fields.next_field().ok()? {
        if number == 1 {
            let text = value.bytes().ok().filter(|text| is_text(text))?;
            found.push(message.slice_ref(text));
        }
    }
    Some(found)
}

// ---------------------------------------------------------------- walks

/// Does something with each varint of a message whose first field is packed ones.
fn each(message: &[u8], mut deed: impl FnMut(u64) -> Result<(), Odd>) -> Result<(), Odd> {
    let mut fields = Fields::of(message);
    while let Some((number, value)) = fields.next_field()? {
        match (number, value) {
            (1, Value::Bytes(packed)) => {
                let mut values = Fields::of(packed);
                while let Some(value) = values.next_varint()? {
                    deed(value)?;
                }
            }
            (1, _) => return Err(Odd),
            _ => {}
        }
    }
    Ok(())
}

fn count(message: &[u8]) -> Result<usize, Odd> {
    let mut count = 0;
    each(message, |_| {
        count += 1;
        Ok(())
    })?;
    Ok(count)
}

fn count_texts(message: &[u8], are_texts: bool) -> Result<usize, Odd> {
    let (mut count, mut fields) = (0, Fields::of(message));
    while let Some((number, value)) = fields.next_field()? {
        if number == 1 {
            let text = value.bytes()?;
            if are_texts && !is_text(text) {
                return Err(Odd);
            }
            count += 1;
        }
    }
    Ok(count)
}
