//! The datatypes by their names on the wire, and how wide they are.

use crate::tensor::DType;

/// Returns the datatype called `name`; None for one that Turnout does not know.
pub fn named(name: &str) -> Option<DType> {
    Some(match name {
        "BOOL" => DType::Bool,
        "UINT8" => DType::Uint8,
        "UINT16" => DType::Uint16,
        "UINT32" => DType::Uint32,
        "UINT64" => DType::Uint64,
        "INT8" => DType::Int8,
        "INT16" => DType::Int16,
        "INT32" => DType::Int32,
        "INT64" => DType::Int64,
        "FP16" => DType::Fp16,
        "BF16" => DType::Bf16,
        "FP32" => DType::Fp32,
        "FP64" => DType::Fp64,
        "BYTES" => DType::Bytes,
        _ => return None,
    })
}

/// Returns what `dtype` is called.
pub fn name_of(dtype: DType) -> &'static str {
    match dtype {
        DType::Bool => "BOOL",
        DType::Uint8 => "UINT8",
        DType::Uint16 => "UINT16",
        DType::Uint32 => "UINT32",
        DType::Uint64 => "UINT64",
        DType::Int8 => "INT8",
        DType::Int16 => "INT16",
        DType::Int32 => "INT32",
        DType::Int64 => "INT64",
        DType::Fp16 => "FP16",
        DType::Bf16 => "BF16",
        DType::Fp32 => "FP32",
        DType::Fp64 => "FP64",
        DType::Bytes => "BYTES",
    }
}

/// Returns how many bytes an element takes; None for texts, which are as long as they are.
pub fn width_of(dtype: DType) -> Option<usize> {
    match dtype {
        DType::Bool | DType::Uint8 | DType::Int8 => Some(1),
        DType::Uint16 | DType::Int16 | DType::Fp16 | DType::Bf16 => Some(2),
        DType::Uint32 | DType::Int32 | DType::Fp32 => Some(4),
        DType::Uint64 | DType::Int64 | DType::Fp64 => Some(8),
        DType::Bytes => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_their_datatypes() {
        for name in
            "BOOL UINT8 UINT16 UINT32 UINT64 INT8 INT16 INT32 INT64 FP16 BF16 FP32 FP64 BYTES".split_whitespace()
        {
            assert_eq!(named(name).map(name_of), Some(name));
        }
        assert_eq!(named("fp32"), None);
    }
}
