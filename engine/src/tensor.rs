//! Tensors as they travel: a dtype, a shape, and bytes.

use bytes::Bytes;

/// The Open Inference Protocol's datatypes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DType {
    Bool,
    Uint8,
    Uint16,
    Uint32,
    Uint64,
    Int8,
    Int16,
    Int32,
    Int64,
    Fp16,
    Bf16,
    Fp32,
    Fp64,
    Bytes,
}

/// A tensor's elements.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// Row-major and little-endian; `shape` and dtype say how many bytes.
    Raw(Bytes),
    /// Of BYTES: each element, row-major; UTF-8.
    Texts(Vec<Bytes>),
}

/// A tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    pub dtype: DType,
    pub shape: Vec<i64>,
    pub data: Data,
}
