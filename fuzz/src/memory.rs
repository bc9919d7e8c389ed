//! Memory that Rust code holds, counted where it is asked for. What C code holds (zstd) libFuzzer's limit of resident memory
//! bounds.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

struct Counting;

static HELD: AtomicU64 = AtomicU64::new(0);
static PEAK: AtomicU64 = AtomicU64::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call is handed on as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let place = unsafe { System.alloc(layout) };
        if !place.is_null() {
            took(layout.size());
        }
        place
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let place = unsafe { System.alloc_zeroed(layout) };
        if !place.is_null() {
            took(layout.size());
        }
        place
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        unsafe { System.dealloc(place, layout) };
        HELD.fetch_sub(layout.size() as u64, Ordering::Relaxed);
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let moved = unsafe { System.realloc(place, layout, size) };
        if !moved.is_null() {
            HELD.fetch_sub(layout.size() as u64, Ordering::Relaxed);
            took(size);
        }
        moved
    }
}

fn took(size: usize) {
    let held = HELD.fetch_add(size as u64, Ordering::Relaxed) + size as u64;
    PEAK.fetch_max(held, Ordering::Relaxed);
}

/// What is held now; the peak begins anew.
pub(crate) fn begin() -> u64 {
    let held = HELD.load(Ordering::Relaxed);
    PEAK.store(held, Ordering::Relaxed);
    held
}

/// The most that was held since [`begin`].
pub(crate) fn peak() -> u64 {
    PEAK.load(Ordering::Relaxed)
}
