//! A look at an object's memory by Python's buffer protocol; PyO3's own refuses arrays without axes.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::slice;

use pyo3::ffi;
use pyo3::prelude::*;

/// A buffer, held. Not sent to other threads: it goes where the interpreter's lock is held.
pub(super) struct View(Box<ffi::Py_buffer>);

impl View {
    /// Asks for an object's memory, to be read.
    ///
    /// # Errors
    /// It has none to show.
    pub(super) fn of(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        let mut raw = Box::new(MaybeUninit::<ffi::Py_buffer>::zeroed());
        // SAFETY: the object is alive and the lock held, as `object` proves; a view has room for what is written.
        let ended = unsafe { ffi::PyObject_GetBuffer(object.as_ptr(), raw.as_mut_ptr(), ffi::PyBUF_FULL_RO) };
        if ended != 0 {
            return Err(PyErr::fetch(object.py()));
        }
        // SAFETY: it was written, and it was all zeros before.
        Ok(Self(unsafe { Box::from_raw(Box::into_raw(raw).cast()) }))
    }

    /// Returns the sizes of the axes.
    pub(super) fn shape(&self) -> &[ffi::Py_ssize_t] {
        if self.0.shape.is_null() {
            return &[];
        }
        // SAFETY: where there is a shape, it has as many sizes as the buffer has axes, and lives as long as the view.
        unsafe { slice::from_raw_parts(self.0.shape, usize::try_from(self.0.ndim).unwrap_or(0)) }
    }

    /// Returns how the elements are to be read, in the words of Python's `struct`.
    pub(super) fn format(&self) -> &CStr {
        if self.0.format.is_null() {
            return c"B";
        }
        // SAFETY: a string with its end, which lives as long as the view.
        unsafe { CStr::from_ptr(self.0.format) }
    }

    /// Returns the size of an element, in bytes.
    pub(super) fn item_size(&self) -> usize {
        usize::try_from(self.0.itemsize).unwrap_or(0)
    }

    /// Returns the elements where they lie row-major and without gaps.
    pub(super) fn bytes(&self) -> Option<&[u8]> {
        // SAFETY: the view is one.
        let contiguous = unsafe { ffi::PyBuffer_IsContiguous(&*self.0, b'C' as std::ffi::c_char) } != 0;
        let len = usize::try_from(self.0.len).ok().filter(|_| contiguous)?;
        if len == 0 {
            return Some(&[]);
        }
        // SAFETY: contiguous, of that length, and held. Whoever writes to it meanwhile makes what is read a mixture,
        // as NumPy has it.
        Some(unsafe { slice::from_raw_parts(self.0.buf.cast(), len) })
    }
}

impl Drop for View {
    fn drop(&mut self) {
        // SAFETY: the view was asked for once and is given back once, with the lock held.
        Python::attach(|_| unsafe { ffi::PyBuffer_Release(&mut *self.0) });
    }
}
