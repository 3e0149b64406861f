//! What a run gave: tensors in ONNX Runtime's memory, owned.

use std::slice;

use bytes::Bytes;
use ort_sys::OrtValue;

use super::element::{dtype_of, item_size, nbytes};
use super::few::Few;
use super::handle::Handle;
use super::run::RunError;
use super::runtime::{Failure, Runtime};
use super::session::number_of;
use crate::tensor::DType;

/// A tensor that a run gave. It outlives its session.
pub struct Output {
    runtime: &'static Runtime,
    raw: Handle<OrtValue>,
    dtype: DType,
    shape: Few<i64>,
    data: *const u8,
    nbytes: usize,
}

// SAFETY: the tensor is ours alone; nothing ever writes to it again, so that any thread may read or free it.
unsafe impl Send for Output {}
// SAFETY: as above.
unsafe impl Sync for Output {}

impl Output {
    /// Takes a value that a run gave.
    ///
    /// # Errors
    /// It is not a tensor of a dtype that the protocol knows.
    #[inline]
    pub(super) fn of(runtime: &'static Runtime, raw: Handle<OrtValue>) -> Result<Self, Failure> {
        let api = runtime.api;
        // SAFETY: the value is alive; what is made about it is ours, and the shape is as long as it is said to be.
        let (number, shape) = unsafe {
            let info =
                runtime.make(api.ReleaseTensorTypeAndShapeInfo, |out| (api.GetTensorTypeAndShape)(raw.raw(), out))?;
            let rank = runtime.read(|out| (api.GetDimensionsCount)(info.raw(), out))?;
            let mut shape = Few::filled(0, rank);
            runtime.check((api.GetDimensions)(info.raw(), shape.as_mut_ptr(), rank))?;
            (number_of(runtime, info.raw())?, shape)
        };
        let dtype = dtype_of(number).ok_or_else(|| Failure::new(format!("an output of element type {number}")))?;
        let nbytes = nbytes(&shape, item_size(dtype).unwrap_or(0)).ok_or_else(|| Failure::new("no such shape"))?;
        let data = if nbytes == 0 {
            std::ptr::dangling()
        } else {
            // SAFETY: the value is alive and a tensor; where it is something else, that is an error.
            unsafe { runtime.out(|out| (api.GetTensorMutableData)(raw.raw(), out)) }?.as_ptr().cast::<u8>()
        };
        Ok(Self { runtime, raw, dtype, shape, data, nbytes })
    }

    /// Returns the dtype.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Returns the sizes of the axes, none of them negative.
    pub fn shape(&self) -> &[i64] {
        &self.shape
    }

    /// Returns the elements, row-major and little-endian; nothing for BYTES, whose elements are `texts`.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the tensor has as many bytes as its dtype and shape say, which are initialised, live as long as
        // `raw`, and are written by nobody.
        unsafe { slice::from_raw_parts(self.data, self.nbytes) }
    }

    /// Returns the elements of BYTES, row-major, which all share one piece of memory; nothing for other dtypes.
    ///
    /// # Errors
    /// ONNX Runtime cannot read them.
    pub fn texts(&self) -> Result<Vec<Bytes>, Failure> {
        let count = if self.dtype == DType::Bytes { nbytes(&self.shape, 1).unwrap_or(0) } else { 0 };
        if count == 0 {
            return Ok(Vec::new());
        }
        let (api, runtime) = (self.runtime.api, self.runtime);
        // SAFETY: the tensor has texts, `count` of them; both lists are as long as they are said to be.
        let (content, starts) = unsafe {
            let total = runtime.read(|out| (api.GetStringTensorDataLength)(self.raw.raw(), out))?;
            let (mut content, mut starts) = (vec![0u8; total], vec![0usize; count]);
            runtime.check((api.GetStringTensorContent)(
                self.raw.raw(),
                content.as_mut_ptr().cast(),
                total,
                starts.as_mut_ptr(),
                count,
            ))?;
            (Bytes::from(content), starts)
        };
        let ends = starts.iter().skip(1).copied().chain([content.len()]);
        starts
            .iter()
            .zip(ends)
            .map(|(&start, end)| {
                let sound = start <= end && end <= content.len();
                sound.then(|| content.slice(start..end)).ok_or_else(|| Failure::new("texts out of order"))
            })
            .collect()
    }

    /// Returns a tensor with the same elements in memory of its own.
    pub(super) fn copied(&self) -> Result<Self, Failure> {
        let (api, runtime) = (self.runtime.api, self.runtime);
        // SAFETY: the shape is as long as it is said to be; the tensor that is made has room for the same bytes and
        // nobody else sees it yet. BYTES are not copied, as theirs are no bytes.
        unsafe {
            let raw = runtime.make(api.ReleaseValue, |out| {
                (api.CreateTensorAsOrtValue)(
                    runtime.allocator.as_ptr(),
                    self.shape.as_ptr(),
                    self.shape.len(),
                    super::element::number_of(self.dtype),
                    out,
                )
            })?;
            let copy = Self::of(runtime, raw)?;
            if copy.nbytes != self.nbytes {
                return Err(Failure::new("a copy of another size"));
            }
            std::ptr::copy_nonoverlapping(self.data, copy.data.cast_mut(), self.nbytes);
            Ok(copy)
        }
    }

    /// Says whether the elements are in memory from `start` on, `len` bytes of it.
    #[inline]
    pub(super) fn is_within(&self, start: usize, len: usize) -> bool {
        let own = self.data as usize;
        self.nbytes > 0 && own < start + len && start < own + self.nbytes
    }
}

impl From<Failure> for RunError {
    fn from(failure: Failure) -> Self {
        Self::of(failure, false)
    }
}
