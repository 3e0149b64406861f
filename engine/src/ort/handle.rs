//! What ONNX Runtime made and must be given back to it.

use std::ptr::NonNull;

/// Gives an object back.
pub(super) type Release<T> = unsafe extern "system" fn(*mut T);

/// An object of ONNX Runtime's, owned.
pub(super) struct Handle<T> {
    raw: NonNull<T>,
    release: Release<T>,
}

impl<T> Handle<T> {
    /// Takes what ONNX Runtime made.
    ///
    /// # Safety
    /// `raw` is owned by nobody else, and `release` is what gives it back.
    pub(super) unsafe fn new(raw: NonNull<T>, release: Release<T>) -> Self {
        Self { raw, release }
    }

    /// Returns the object, for calls during this handle's life.
    pub(super) fn raw(&self) -> *mut T {
        self.raw.as_ptr()
    }
}

impl<T> Drop for Handle<T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: `new` was promised that it is ours, and nothing uses it after us.
        unsafe { (self.release)(self.raw.as_ptr()) }
    }
}

// SAFETY: ONNX Runtime's objects belong to no thread; any may use or release them.
unsafe impl<T> Send for Handle<T> {}
