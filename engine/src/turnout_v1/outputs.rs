//! Outputs as `NamedTensor`: the twin of `rpc/turnout_v1/named_tensors.py`, as far as answers go.

use super::half;
use super::numbers::limits;
use super::served::{put_text, text_len};
use crate::oip::Output;
use crate::oip::dtypes::{name_of, width_of};
use crate::oip::wire::{field_len, put_bytes, put_head, put_varint, varint_len};
use crate::tensor::{DType, Elements};

/// Returns how many bytes the tensor takes, without its tag and length.
pub fn tensor_len(output: &Output<'_>) -> usize {
    let dims = if output.dims.is_empty() { 0 } else { field_len(dims_len(output.dims)) };
    text_len(output.name) + text_len(name_of(output.dtype)) + dims + field_len(values_len(output))
}

/// Appends the tensor as field 1.
pub fn put_tensor(into: &mut Vec<u8>, output: &Output<'_>) {
    put_head(into, 1, tensor_len(output));
    put_text(into, 1, output.name);
    put_text(into, 2, name_of(output.dtype));
    if !output.dims.is_empty() {
        put_head(into, 3, dims_len(output.dims));
        output.dims.iter().for_each(|&size| put_varint(into, size as u64));
    }
    put_head(into, field_of(output.dtype), values_len(output));
    match output.data {
        Elements::Texts(texts) => texts.iter().for_each(|text| put_bytes(into, 1, text)),
        Elements::Raw([]) => {}
        Elements::Raw(raw) => {
            put_head(into, 1, packed_len(raw, output.dtype));
            match output.dtype {
                DType::Fp32 | DType::Fp64 => into.extend_from_slice(raw),
                DType::Fp16 | DType::Bf16 => {
                    for raw in raw.chunks_exact(2) {
                        let bits = u16::from_le_bytes([raw[0], raw[1]]);
                        let wide = match output.dtype {
                            DType::Fp16 => half::widened(bits).to_bits(),
                            _ => u32::from(bits) << 16,
                        };
                        into.extend_from_slice(&wide.to_le_bytes());
                    }
                }
                dtype => each(raw, dtype, |value| put_varint(into, value)),
            }
        }
    }
}

/// Returns the number of the field that has elements of `dtype`.
fn field_of(dtype: DType) -> u8 {
    match dtype {
        DType::Fp16 | DType::Bf16 | DType::Fp32 => 4,
        DType::Fp64 => 5,
        DType::Uint64 => 7,
        DType::Bytes => 8,
        _ => 6,
    }
}

fn values_len(output: &Output<'_>) -> usize {
    match output.data {
        Elements::Texts(texts) => texts.iter().map(|text| field_len(text.len())).sum(),
        Elements::Raw([]) => 0,
        Elements::Raw(raw) => field_len(packed_len(raw, output.dtype)),
    }
}

fn packed_len(raw: &[u8], dtype: DType) -> usize {
    match dtype {
        DType::Fp32 | DType::Fp64 => raw.len(),
        DType::Fp16 | DType::Bf16 => raw.len() * 2,
        _ => {
            let mut length = 0;
            each(raw, dtype, |value| length += varint_len(value));
            length
        }
    }
}

fn dims_len(dims: &[i64]) -> usize {
    dims.iter().map(|&size| varint_len(size as u64)).sum()
}

/// Does something with each whole number, in 64 bits and two's complement.
fn each(raw: &[u8], dtype: DType, mut deed: impl FnMut(u64)) {
    let (Some(width), Some((low, _))) = (width_of(dtype), limits(dtype)) else { return };
    for raw in raw.chunks_exact(width) {
        let is_negative = low < 0 && raw[width - 1] >= 0x80;
        let mut bits = if is_negative { [0xff; 8] } else { [0; 8] };
        bits[..width].copy_from_slice(raw);
        deed(u64::from_le_bytes(bits));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tensor_is_as_long_as_was_said() {
        let raw: Vec<u8> = (0..48u8).map(|byte| byte.wrapping_mul(37)).collect();
        for name in "UINT8 UINT16 UINT32 UINT64 INT8 INT16 INT32 INT64 FP16 BF16 FP32 FP64".split_whitespace() {
            let dtype = crate::oip::dtypes::named(name).unwrap();
            for raw in [&raw[..], &[]] {
                let count = (raw.len() / width_of(dtype).unwrap()) as i64;
                let output = Output { name: "ü", dtype, dims: &[count, 1], data: Elements::Raw(raw) };
                let mut message = Vec::new();
                put_tensor(&mut message, &output);
                assert_eq!(message.len(), field_len(tensor_len(&output)), "{name}");
            }
        }
    }

    #[test]
    fn negative_numbers_take_ten_bytes_and_texts_may_be_empty() {
        let output = Output { name: "", dtype: DType::Int8, dims: &[], data: Elements::Raw(&[0xff]) };
        let mut message = Vec::new();
        put_tensor(&mut message, &output);
        assert_eq!(message[message.len() - 10..], [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]);
        let texts = ["".into(), "a".into()];
        let output = Output { name: "", dtype: DType::Bytes, dims: &[2], data: Elements::Texts(&texts) };
        message.clear();
        put_tensor(&mut message, &output);
        assert!(message.ends_with(&[8 << 3 | 2, 5, 0x0a, 0, 0x0a, 1, b'a']));
    }
}
