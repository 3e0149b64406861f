//! Where ONNX Runtime's tensors and buffers come from: memory that is counted, and of which a run gets no more than it may.
//!
//! Before each block is its size, and what it lies in if it is a large one, so that what is freed is known without a table.

use std::alloc::{GlobalAlloc, Layout, System, alloc, dealloc};
use std::ffi::c_void;
use std::ptr::{self, NonNull};
use std::sync::OnceLock;

use libloading::os::unix::Library;
use memmap2::MmapMut;
use ort_sys::{OrtAllocator, OrtMemoryInfo};

use super::{mapping, meter};

/// Where blocks begin, in bytes: ONNX Runtime's kernels are written for that, a cache line and the widest register.
const BORDER: usize = 64;

/// Blocks of so many bytes are the C library's: ours keeps what it had once, and is quicker.
const MIDDLING: usize = 64 * 1024;

/// Blocks of so many are mapped each by itself: the C library has them resident long after they are freed.
const LARGE: usize = 1024 * 1024;

const _: () = assert!(size_of::<usize>() + size_of::<MmapMut>() <= BORDER);

/// Since when the table has been as it is filled here; ONNX Runtime looks for nothing that came later.
const VERSION: u32 = 17;

/// The C++ library's own way to say that there is no memory.
type ThrowBadAlloc = unsafe extern "C-unwind" fn() -> !;

static THROW: OnceLock<ThrowBadAlloc> = OnceLock::new();

/// What ONNX Runtime holds: its table of functions, and what they need.
#[repr(C)]
pub(super) struct Allocator {
    table: OrtAllocator,
    info: NonNull<OrtMemoryInfo>,
}

impl Allocator {
    /// Makes one for what `info` describes. It has to live as long as any block.
    ///
    /// Without `library`'s function for it runs are counted, and not bounded.
    pub(super) fn new(library: &Library, info: NonNull<OrtMemoryInfo>) -> Self {
        // SAFETY: this is `std::__throw_bad_alloc()`, by its mangled name, which has never had another type. The library
        // that has it is one that `library` is linked with, and neither is ever unloaded.
        if let Ok(throw) = unsafe { library.get::<ThrowBadAlloc>(b"_ZSt17__throw_bad_allocv\0") } {
            let _ = THROW.set(*throw);
        }
        type Plain = unsafe extern "system" fn(*mut OrtAllocator, usize) -> *mut c_void;
        type Unwinding = unsafe extern "C-unwind" fn(*mut OrtAllocator, usize) -> *mut c_void;
        // SAFETY: on all that this crate is built for the two are one calling convention, but for whether the function
        // may be left by an exception. Only ONNX Runtime calls it, which is C++ and expects that: its own allocator does.
        let take = unsafe { std::mem::transmute::<Unwinding, Plain>(take) };
        let table =
            OrtAllocator { version: VERSION, Alloc: Some(take), Free: Some(free), Info: Some(info_of), Reserve: None };
        Self { table, info }
    }

    pub(super) fn raw(&mut self) -> *mut OrtAllocator {
        &raw mut self.table
    }
}

/// Allocates a block.
///
/// It says no by an exception, as ONNX Runtime's own allocator does: null is written to. No frame here has anything to drop.
unsafe extern "C-unwind" fn take(_: *mut OrtAllocator, size: usize) -> *mut c_void {
    if meter::may_take(size) {
        let block = block_of(size);
        if !block.is_null() {
            return block;
        }
        meter::gave_back(size);
    }
    match THROW.get() {
        // SAFETY: it is called from C++ through frames that may be left so.
        Some(throw) => unsafe { throw() },
        None => block_of(size),
    }
}

fn block_of(size: usize) -> *mut c_void {
    let start = if size < LARGE { allocated(size) } else { mapped(size) };
    if start.is_null() {
        return ptr::null_mut();
    }
    // SAFETY: what begins there is at least a border longer than the block, which begins one border after it; the block's size
    // stands first.
    unsafe {
        start.cast::<usize>().write(size);
        start.add(BORDER).cast()
    }
}

fn allocated(size: usize) -> *mut u8 {
    let Some(layout) = layout_of(size) else { return ptr::null_mut() };
    // SAFETY: the layout is no less than a border's length.
    unsafe { if size < MIDDLING { alloc(layout) } else { System.alloc(layout) } }
}

fn mapped(size: usize) -> *mut u8 {
    let Some(mut mapping) = size.checked_add(BORDER).and_then(mapping::map) else { return ptr::null_mut() };
    let start = mapping.as_mut_ptr();
    // SAFETY: it begins on a page, and is at least a border long, in which both fit, one after the other.
    unsafe { start.cast::<usize>().add(1).cast::<MmapMut>().write(mapping) };
    start
}

fn layout_of(size: usize) -> Option<Layout> {
    Layout::from_size_align(size.checked_add(BORDER)?, BORDER).ok()
}

/// Frees a block.
unsafe extern "system" fn free(_: *mut OrtAllocator, block: *mut c_void) {
    if block.is_null() {
        return;
    }
    // SAFETY: it is one of `block_of`'s, which nobody uses any more, and stands where that has put it.
    unsafe {
        let start = block.cast::<u8>().sub(BORDER);
        let size = start.cast::<usize>().read();
        meter::gave_back(size);
        match layout_of(size) {
            Some(_) if size >= LARGE => mapping::unmap(start.cast::<usize>().add(1).cast::<MmapMut>().read()),
            Some(layout) if size < MIDDLING => dealloc(start, layout),
            Some(layout) => System.dealloc(start, layout),
            None => {}
        }
    }
}

/// Returns what kind of memory it is.
unsafe extern "system" fn info_of(allocator: *const OrtAllocator) -> *const OrtMemoryInfo {
    // SAFETY: the table is the first of an `Allocator`'s fields, and was given out as part of one.
    unsafe { (*allocator.cast::<Allocator>()).info.as_ptr() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ort::meter::metered;

    #[test]
    fn blocks_begin_on_the_border_and_are_counted_until_they_are_freed() {
        let (blocks, taken) = metered(None, || {
            [0, 1, 63, 64, 65, 4_096, MIDDLING - 1, MIDDLING, LARGE - 1, LARGE].map(|size| {
                // SAFETY: `free` gets what `take` gave, once, and what is written lies within.
                unsafe {
                    let block = take(ptr::null_mut(), size);
                    block.cast::<u8>().write_bytes(7, size);
                    block
                }
            })
        });
        assert_eq!(taken.peak, 193 + 4_096 + 2 * MIDDLING - 1 + 2 * LARGE - 1);
        for block in blocks {
            assert!((block as usize).is_multiple_of(BORDER));
            // SAFETY: as above.
            unsafe { free(ptr::null_mut(), block) };
        }
    }

    #[test]
    fn a_size_that_is_none_is_not_allocated() {
        assert!(block_of(usize::MAX).is_null() && block_of(isize::MAX as usize).is_null());
        // SAFETY: null is what C's own takes as well.
        unsafe { free(ptr::null_mut(), ptr::null_mut()) };
    }
}
