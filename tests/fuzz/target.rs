//! One fuzz target: which one, its binary's name says. Runs its property, and counts what the property
//! takes from the allocator meanwhile. Knows no property.

#![no_main]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// What one input may take at once: buffers with limits, a decoder's window, and what is in
/// proportion to the input.
const FIXED: usize = 32 << 20;
const PER_BYTE: usize = 1 << 10;

static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// The system's allocator, and how much was taken from it at most.
struct Counting;

impl Counting {
    fn add(bytes: usize) {
        PEAK.fetch_max(HELD.fetch_add(bytes, Relaxed) + bytes, Relaxed);
    }
}

// Each call goes on as it came; the counts change nothing that the allocator promises.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::add(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Self::add(size);
        HELD.fetch_sub(layout.size(), Relaxed);
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let before = HELD.load(Relaxed);
    PEAK.store(before, Relaxed);
    clearspan::fuzz::run(env!("CARGO_BIN_NAME"), input);
    let taken = PEAK.load(Relaxed).saturating_sub(before);
    assert!(taken <= FIXED + PER_BYTE * input.len(), "{taken} bytes for {}", input.len());
});
