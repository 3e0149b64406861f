//! Tensors as they travel: a dtype, a shape, and bytes.

use bytes::Bytes;

/// What a text takes besides its own bytes, so that many short ones are not taken for nothing.
pub const TEXT_BYTES: usize = 64;

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

/// A tensor's elements, in somebody else's memory.
#[derive(Clone, Copy, Debug)]
pub enum Elements<'a> {
    /// As `Data::Raw`.
    Raw(&'a [u8]),
    /// As `Data::Texts`.
    Texts(&'a [Bytes]),
}

impl Elements<'_> {
    /// Returns how many bytes of memory a copy of the elements takes.
    pub fn nbytes(self) -> usize {
        match self {
            Elements::Raw(raw) => raw.len(),
            Elements::Texts(texts) => texts.iter().map(|text| TEXT_BYTES + text.len()).sum(),
        }
    }

    /// Returns the same elements in memory of their own.
    pub fn copied(self) -> Data {
        match self {
            Elements::Raw(raw) => Data::Raw(Bytes::copy_from_slice(raw)),
            Elements::Texts(texts) => Data::Texts(texts.iter().map(|text| Bytes::copy_from_slice(text)).collect()),
        }
    }
}

impl<'a> Elements<'a> {
    /// Returns the bytes of numbers; nothing for texts.
    pub fn raw(self) -> &'a [u8] {
        match self {
            Elements::Raw(raw) => raw,
            Elements::Texts(_) => &[],
        }
    }
}

impl Data {
    /// Returns the elements.
    pub fn elements(&self) -> Elements<'_> {
        match self {
            Data::Raw(raw) => Elements::Raw(raw),
            Data::Texts(texts) => Elements::Texts(texts),
        }
    }

    /// Returns the bytes of numbers; nothing for texts.
    pub fn raw(&self) -> &[u8] {
        match self {
            Data::Raw(raw) => raw,
            Data::Texts(_) => &[],
        }
    }

    /// Returns the texts; nothing for numbers.
    pub fn texts(&self) -> &[Bytes] {
        match self {
            Data::Raw(_) => &[],
            Data::Texts(texts) => texts,
        }
    }
}

/// A tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    pub dtype: DType,
    pub shape: Vec<i64>,
    pub data: Data,
}
