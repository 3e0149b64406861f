//! How much memory a parser takes for an input.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Bytes that anything may take: room for a few elements, an inflater's state, an error's text.
const FREE: usize = 256 * 1024;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// The system's allocator, which counts. A fuzzer has one thread that matters.
pub struct Counting;

// SAFETY: everything is the system's allocator's, whose answers are passed on as they are.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Relaxed).wrapping_add(layout.size());
        PEAK.fetch_max(now, Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Parses, and panics if that takes more than `times` as many bytes at once as the input has, and some.
pub fn bounded<T>(input: usize, times: usize, parse: impl FnOnce() -> T) -> T {
    let before = NOW.load(Relaxed);
    PEAK.store(before, Relaxed);
    let parsed = parse();
    let taken = PEAK.load(Relaxed).saturating_sub(before);
    let allowed = FREE + input.saturating_mul(times);
    assert!(taken <= allowed, "{input} bytes took {taken} bytes of memory, and may take {allowed}");
    parsed
}
