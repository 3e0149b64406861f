//! What tensors consist of: the protocol's dtypes in ONNX Runtime's numbers and words, and back.

use ort_sys::ONNXTensorElementDataType as Number;

use crate::tensor::DType;

/// Returns how many bytes an element takes; None for BYTES, whose elements differ.
#[inline]
pub fn item_size(dtype: DType) -> Option<usize> {
    match dtype {
        DType::Bool | DType::Uint8 | DType::Int8 => Some(1),
        DType::Uint16 | DType::Int16 | DType::Fp16 | DType::Bf16 => Some(2),
        DType::Uint32 | DType::Int32 | DType::Fp32 => Some(4),
        DType::Uint64 | DType::Int64 | DType::Fp64 => Some(8),
        DType::Bytes => None,
    }
}

/// Returns how many bytes elements of `size` bytes take in `shape`; None for what no memory can hold.
#[inline]
pub(super) fn nbytes(shape: &[i64], size: usize) -> Option<usize> {
    if shape.contains(&0) && shape.iter().all(|&axis| axis >= 0) {
        return Some(0);
    }
    let total = shape.iter().try_fold(size, |total, &axis| total.checked_mul(usize::try_from(axis).ok()?))?;
    // No slice is longer.
    (total <= isize::MAX as usize).then_some(total)
}

/// Returns ONNX Runtime's number of a dtype.
#[inline]
pub(super) fn number_of(dtype: DType) -> Number {
    match dtype {
        DType::Bool => Number::ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL,
        DType::Uint8 => Number::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8,
        DType::Uint16 => Number::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT16,
        DType::Uint32 => Number::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT32,
        DType::Uint64 => Number::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT64,
        DType::Int8 => Number::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8,
        DType::Int16 => Number::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT16,
        DType::Int32 => Number::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32,
        DType::Int64 => Number::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64,
        DType::Fp16 => Number::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16,
        DType::Bf16 => Number::ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16,
        DType::Fp32 => Number::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,
        DType::Fp64 => Number::ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE,
        DType::Bytes => Number::ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING,
    }
}

/// The dtypes by ONNX Runtime's number, and what it calls them; a newer runtime has more than any list.
const WORDS: [(&str, Option<DType>); 23] = [
    ("undefined", None),
    ("float", Some(DType::Fp32)),
    ("uint8", Some(DType::Uint8)),
    ("int8", Some(DType::Int8)),
    ("uint16", Some(DType::Uint16)),
    ("int16", Some(DType::Int16)),
    ("int32", Some(DType::Int32)),
    ("int64", Some(DType::Int64)),
    ("string", Some(DType::Bytes)),
    ("bool", Some(DType::Bool)),
    ("float16", Some(DType::Fp16)),
    ("double", Some(DType::Fp64)),
    ("uint32", Some(DType::Uint32)),
    ("uint64", Some(DType::Uint64)),
    ("complex64", None),
    ("complex128", None),
    ("bfloat16", Some(DType::Bf16)),
    ("float8e4m3fn", None),
    ("float8e4m3fnuz", None),
    ("float8e5m2", None),
    ("float8e5m2fnuz", None),
    ("uint4", None),
    ("int4", None),
];

/// Returns the dtype of a number; None for one that the protocol does not know.
#[inline]
pub(super) fn dtype_of(number: i32) -> Option<DType> {
    WORDS.get(usize::try_from(number).ok()?)?.1
}

/// Returns ONNX Runtime's word for a number.
pub(super) fn word_of(number: i32) -> &'static str {
    usize::try_from(number).ok().and_then(|at| WORDS.get(at)).map_or("unknown", |(word, _)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [DType; 14] = [
        DType::Bool,
        DType::Uint8,
        DType::Uint16,
        DType::Uint32,
        DType::Uint64,
        DType::Int8,
        DType::Int16,
        DType::Int32,
        DType::Int64,
        DType::Fp16,
        DType::Bf16,
        DType::Fp32,
        DType::Fp64,
        DType::Bytes,
    ];

    #[test]
    fn every_dtype_comes_back_from_its_number() {
        for dtype in ALL {
            assert_eq!(dtype_of(number_of(dtype) as i32), Some(dtype));
        }
    }

    #[test]
    fn numbers_of_a_newer_runtime_are_no_dtype() {
        for number in [-1, 0, 14, 21, 23, i32::MAX, i32::MIN] {
            assert_eq!(dtype_of(number), None);
        }
        assert_eq!((word_of(21), word_of(23), word_of(-1)), ("uint4", "unknown", "unknown"));
    }

    #[test]
    fn sizes_are_counted_without_overflow() {
        assert_eq!(nbytes(&[], 4), Some(4));
        assert_eq!(nbytes(&[2, 3], 8), Some(48));
        assert_eq!(nbytes(&[i64::MAX, 0], 8), Some(0));
        assert_eq!(nbytes(&[0, -1], 8), None);
        assert_eq!(nbytes(&[-1], 1), None);
        assert_eq!(nbytes(&[i64::MAX, 2], 1), None);
        assert_eq!(nbytes(&[1 << 62], 4), None);
    }
}
