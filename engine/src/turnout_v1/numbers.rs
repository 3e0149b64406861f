//! Features' values as elements of an input: the twin of `tasks.features.fitted`; and outputs' elements as numbers.

use super::features::{Values, WIDTH};
use super::half;
use crate::tensor::DType;

/// Returns floats by their bytes.
pub fn floats(raw: &[u8]) -> impl Iterator<Item = f32> + '_ {
    raw.chunks_exact(WIDTH).map(|raw| f32::from_le_bytes([raw[0], raw[1], raw[2], raw[3]]))
}

/// Returns the bits of each value as an element of `dtype`; None where one does not fit, or they are no numbers.
pub fn fitted(values: &Values<'_>, dtype: DType, default: Option<u64>) -> Option<Vec<u64>> {
    match values {
        Values::Floats(raw) => floats(raw).map(|value| float(value, dtype, default)).collect(),
        Values::Integers(values) => values.iter().map(|&value| integer(value, dtype)).collect(),
        Values::Texts(_) => None,
    }
}

/// Returns the bits of `value` as an element of `dtype`. NaN stays in floats; in other dtypes it becomes `default`.
pub fn float(value: f32, dtype: DType, default: Option<u64>) -> Option<u64> {
    match dtype {
        DType::Fp32 => Some(u64::from(value.to_bits())),
        DType::Fp64 => Some(f64::from(value).to_bits()),
        DType::Fp16 => half::narrowed(value).map(u64::from),
        _ if value.is_nan() => default,
        _ if value.is_infinite() || value != value.floor() => None,
        // Whole numbers of 32-bit floats, in full: none of them needs more than 128 bits of an integer.
        _ => whole(value as i128, dtype),
    }
}

/// Likewise of an integer. Those that are not too large for FP16 are all there among 32-bit floats.
pub fn integer(value: i64, dtype: DType) -> Option<u64> {
    match dtype {
        DType::Fp32 => Some(u64::from((value as f32).to_bits())),
        DType::Fp64 => Some((value as f64).to_bits()),
        DType::Fp16 => half::narrowed(value as f32).map(u64::from),
        _ => whole(i128::from(value), dtype),
    }
}

/// Returns the bits of a whole number, within the bounds of its dtype.
pub fn whole(value: i128, dtype: DType) -> Option<u64> {
    let (low, high) = limits(dtype)?;
    let bits = u64::MAX >> (64 - 8 * crate::oip::dtypes::width_of(dtype)?);
    (low <= value && value <= high).then_some(value as u64 & bits)
}

/// Returns the least and the largest element of a dtype of whole numbers.
pub fn limits(dtype: DType) -> Option<(i128, i128)> {
    Some(match dtype {
        DType::Bool => (0, 1),
        DType::Uint8 => (0, u8::MAX.into()),
        DType::Uint16 => (0, u16::MAX.into()),
        DType::Uint32 => (0, u32::MAX.into()),
        DType::Uint64 => (0, u64::MAX.into()),
        DType::Int8 => (i8::MIN.into(), i8::MAX.into()),
        DType::Int16 => (i16::MIN.into(), i16::MAX.into()),
        DType::Int32 => (i32::MIN.into(), i32::MAX.into()),
        DType::Int64 => (i64::MIN.into(), i64::MAX.into()),
        DType::Fp16 | DType::Bf16 | DType::Fp32 | DType::Fp64 | DType::Bytes => return None,
    })
}

/// Says whether Python has floats of a dtype.
pub fn is_float(dtype: DType) -> bool {
    matches!(dtype, DType::Fp16 | DType::Fp32 | DType::Fp64)
}

/// Returns an output's elements as 64-bit floats, as NumPy makes them; None for what are no numbers.
pub fn doubles(raw: &[u8], dtype: DType) -> Option<Vec<f64>> {
    macro_rules! each {
        ($type:ty) => {
            raw.chunks_exact(size_of::<$type>())
                .map(|raw| raw.try_into().map(<$type>::from_le_bytes).unwrap_or_default() as f64)
                .collect()
        };
    }
    Some(match dtype {
        DType::Bool | DType::Uint8 => each!(u8),
        DType::Uint16 => each!(u16),
        DType::Uint32 => each!(u32),
        DType::Uint64 => each!(u64),
        DType::Int8 => each!(i8),
        DType::Int16 => each!(i16),
        DType::Int32 => each!(i32),
        DType::Int64 => each!(i64),
        DType::Fp16 => {
            raw.chunks_exact(2).map(|raw| f64::from(half::widened(u16::from_le_bytes([raw[0], raw[1]])))).collect()
        }
        DType::Fp32 => each!(f32),
        DType::Fp64 => each!(f64),
        DType::Bf16 | DType::Bytes => return None,
    })
}

/// Returns an output's elements as whole numbers; None for what are none.
pub fn integers(raw: &[u8], dtype: DType) -> Option<Vec<i128>> {
    let width = crate::oip::dtypes::width_of(dtype)?;
    let (low, _) = limits(dtype)?;
    let number = |raw: &[u8]| {
        let negative = low < 0 && raw[width - 1] >= 0x80;
        let mut bits = if negative { [0xff; 8] } else { [0; 8] };
        bits[..width].copy_from_slice(raw);
        if negative { i128::from(i64::from_le_bytes(bits)) } else { i128::from(u64::from_le_bytes(bits)) }
    };
    Some(raw.chunks_exact(width).map(number).collect())
}

/// Returns what NumPy calls a dtype.
pub fn numpy_name(dtype: DType) -> &'static str {
    match dtype {
        DType::Bool => "bool",
        DType::Uint8 => "uint8",
        DType::Uint16 => "uint16",
        DType::Uint32 => "uint32",
        DType::Uint64 => "uint64",
        DType::Int8 => "int8",
        DType::Int16 => "int16",
        DType::Int32 => "int32",
        DType::Int64 => "int64",
        DType::Fp16 => "float16",
        DType::Bf16 => "bfloat16",
        DType::Fp32 => "float32",
        DType::Fp64 => "float64",
        DType::Bytes => "object",
    }
}

/// Returns a shape as Python shows a tuple.
pub fn shown(shape: &[i64]) -> String {
    let sizes: Vec<String> = shape.iter().map(i64::to_string).collect();
    if let [size] = &sizes[..] { format!("({size},)") } else { format!("({})", sizes.join(", ")) }
}

/// Says whether Python shows a name as it is, between two apostrophes.
pub fn is_plain(name: &str) -> bool {
    name.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b'\'' && byte != b'\\')
}
