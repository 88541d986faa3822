//! Memory for a process that mostly lives for a moment, on one thread: no lock, pages that come in one go, and none given
//! back that is small.
//!
//! Each thread cuts small pieces off a chunk of its own and keeps a list of those that were freed for each size, so that
//! one that goes on for hours takes no more than it once had in use. What is large has pages of its own, which move
//! without being copied when it grows, and are given back. What a thread leaves when it ends is lost. Reasons and
//! figures: `docs/decisions/003-small-parts.md`.
#![expect(unsafe_code, reason = "an allocator hands out raw memory")]

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

/// First chunk of the first thread: twice what a call with a few rules needs, and so the only one that is not mapped at
/// once.
const FIRST: usize = 256 * 1024;
/// First chunk of all others, which wait for something or look at something: it is lost when they end.
const FIRST_OF_OTHERS: usize = 16 * 1024;
/// Largest chunk, and the largest piece of its own whose pages are all mapped at once.
const MOST: usize = 1 << 20;
/// From here on an allocation has pages of its own.
const LARGE: usize = 128 * 1024;
/// No alignment beyond that of a page is ever asked for by the standard library.
const PAGE: usize = 4096;
/// Small pieces have a multiple of this size, and begin at one.
const UNIT: usize = 16;
/// Up to here each multiple of a unit is a size of its own.
const FINE: usize = 1024;
/// Beyond, there are so many sizes to each doubling, a power of two.
const TO_DOUBLE: usize = 4;
/// So many sizes are there, each with a list of freed pieces.
const LISTS: usize = FINE / UNIT + TO_DOUBLE * (LARGE / FINE).ilog2() as usize;

/// The rest of the chunk that the thread cuts from.
#[derive(Clone, Copy)]
struct Chunk {
    /// Its first byte.
    start: usize,
    /// The next free byte.
    at: usize,
    /// Its end.
    end: usize,
    /// From here on no byte was ever handed out, so all are zero.
    fresh: usize,
    /// Size of the next one; 0 before the first.
    next: usize,
}

impl Chunk {
    const NONE: Self = Self { start: 0, at: 0, end: 0, fresh: 0, next: 0 };
}

/// Whether a thread has taken the first chunk.
static BEGUN: AtomicBool = AtomicBool::new(false);

thread_local! {
    static CHUNK: Cell<Chunk> = const { Cell::new(Chunk::NONE) };
    /// The first freed piece of each size, which begins with the address of the next; 0 for none.
    static FREED: [Cell<usize>; LISTS] = const { [const { Cell::new(0) }; LISTS] };
}

/// The allocator.
#[derive(Debug)]
pub struct ShortLived;

// SAFETY: `alloc` gives memory that is mapped, aligned, at least as long as asked for, and in nobody else's hands: a
// freed piece, taken off the one list that it is on; or a piece of the calling thread's own chunk behind all that were
// cut before; or pages of its own. `dealloc` and `realloc` touch none but the piece that they are given. Lists and
// chunks belong to one thread. Nothing here allocates or panics.
unsafe impl GlobalAlloc for ShortLived {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        take(layout).0
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let (memory, used) = take(layout);
        if used > 0 {
            // SAFETY: `take` gave at least `used` bytes.
            unsafe { memory.write_bytes(0, used) };
        }
        memory
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        if is_large(layout) {
            // SAFETY: memory of this size came from `map`, and is not used any more.
            unsafe { libc::munmap(memory.cast(), layout.size()) };
        } else if !resize_last(memory.addr(), layout.size(), 0)
            && let Some(list) = list_of(layout)
        {
            FREED.with(|freed| {
                let Some(first) = freed.get(list) else { return };
                // SAFETY: the piece has one unit at least and is not used any more.
                unsafe { memory.cast::<usize>().write_unaligned(first.get()) };
                first.set(memory.expose_provenance());
            });
        }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let Ok(then) = Layout::from_size_align(size, layout.align()) else { return ptr::null_mut() };
        match (is_large(layout), is_large(then)) {
            (true, true) => {
                // SAFETY: the pages came from `map`; they stay where they are or move as a whole.
                let moved = unsafe { libc::mremap(memory.cast(), layout.size(), size, libc::MREMAP_MAYMOVE) };
                return if moved == libc::MAP_FAILED { ptr::null_mut() } else { moved.cast() };
            }
            (false, false)
                if room(layout.size()) == room(size) || resize_last(memory.addr(), layout.size(), size) =>
            {
                return memory;
            }
            _ => {}
        }
        // SAFETY: the size is not 0, as the caller promises; both pieces have the bytes that are copied, and they are
        // different ones; the old one is not used any more.
        unsafe {
            let other = self.alloc(then);
            if !other.is_null() {
                ptr::copy_nonoverlapping(memory, other, layout.size().min(size));
                self.dealloc(memory, layout);
            }
            other
        }
    }
}

/// A piece of memory, and how many of its first bytes may not be zero.
fn take(layout: Layout) -> (*mut u8, usize) {
    if is_large(layout) {
        let size = layout.size();
        let pages = if layout.align() > PAGE { None } else { map(size, size <= MOST) };
        return (pages.map_or(ptr::null_mut(), ptr::with_exposed_provenance_mut), 0);
    }
    match list_of(layout).and_then(take_freed) {
        Some(memory) => (memory, layout.size()),
        None => cut(layout),
    }
}

/// The first piece of a list.
fn take_freed(list: usize) -> Option<*mut u8> {
    FREED.with(|freed| {
        let first = freed.get(list)?;
        let memory: *mut u8 = ptr::with_exposed_provenance_mut(first.get());
        if memory.is_null() {
            return None;
        }
        // SAFETY: what is on a list was put there by `dealloc`, which wrote the next address to its beginning.
        first.set(unsafe { memory.cast::<usize>().read_unaligned() });
        Some(memory)
    })
}

/// The next piece of the thread's chunk, and how many of its first bytes may not be zero.
fn cut(layout: Layout) -> (*mut u8, usize) {
    CHUNK.with(|cell| {
        let mut chunk = cell.get();
        let mut start = aligned(chunk.at, layout.align());
        if start + room(layout.size()) > chunk.end {
            let Some(next) = new_chunk(chunk.next, room(layout.size())) else { return (ptr::null_mut(), 0) };
            chunk = next;
            start = chunk.at;
        }
        let end = start + room(layout.size());
        let used = chunk.fresh.clamp(start, end) - start;
        cell.set(Chunk { at: end, fresh: chunk.fresh.max(end), ..chunk });
        (ptr::with_exposed_provenance_mut(start), used.min(layout.size()))
    })
}

/// Makes a piece longer or shorter where it is, or free (`size` 0), if it is the last that was cut from the thread's
/// chunk. A chunk of another thread may end where this one starts.
fn resize_last(start: usize, old: usize, size: usize) -> bool {
    CHUNK.with(|cell| {
        let chunk = cell.get();
        let end = start + room(size);
        let fits = start >= chunk.start && start + room(old) == chunk.at && end <= chunk.end;
        if fits {
            cell.set(Chunk { at: end, fresh: chunk.fresh.max(end), ..chunk });
        }
        fits
    })
}

/// A new chunk, aligned to a page, with this room at least; the rest of the one before is given up.
fn new_chunk(size: usize, room: usize) -> Option<Chunk> {
    let (size, at_once) = match size {
        0 if BEGUN.swap(true, Ordering::Relaxed) => (FIRST_OF_OTHERS, true),
        0 => (FIRST, false),
        size => (size, true),
    };
    let size = size.max(aligned(room, PAGE));
    let start = map(size, at_once)?;
    Some(Chunk { start, at: start, end: start + size, fresh: start, next: (size * 2).min(MOST) })
}

fn is_large(layout: Layout) -> bool {
    layout.size() >= LARGE || layout.align() > PAGE
}

/// The list that a piece goes to when it is freed. Pieces that are aligned to more than a unit have none: they are few.
fn list_of(layout: Layout) -> Option<usize> {
    (layout.align() <= UNIT).then(|| match layout.size() {
        size @ ..=FINE => size.div_ceil(UNIT) - 1,
        size => {
            let doublings = (size - 1).ilog2() - FINE.ilog2();
            FINE / UNIT + doublings as usize * TO_DOUBLE + size.div_ceil(step(size)) - TO_DOUBLE - 1
        }
    })
}

/// What a small piece takes of its chunk.
fn room(size: usize) -> usize {
    aligned(size, if size <= FINE { UNIT } else { step(size) })
}

/// How far sizes beyond the fine ones are apart there.
fn step(size: usize) -> usize {
    (1 << (size - 1).ilog2()) / TO_DOUBLE
}

/// The next multiple of `alignment`, a power of two.
fn aligned(address: usize, alignment: usize) -> usize {
    (address + alignment - 1) & !(alignment - 1)
}

/// New pages, all zero. With `at_once` they come in one go, where most of them will be used and each would be a fault of
/// its own. Huge pages are not asked for: where memory is in pieces, the kernel stops to put it together.
fn map(length: usize, at_once: bool) -> Option<usize> {
    let access = libc::PROT_READ | libc::PROT_WRITE;
    let populate = if at_once { libc::MAP_POPULATE } else { 0 };
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | populate;
    // SAFETY: without an address of ours nothing that is mapped already is touched.
    let memory = unsafe { libc::mmap(ptr::null_mut(), length, access, flags, -1, 0) };
    (memory != libc::MAP_FAILED).then(|| memory.expose_provenance())
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use proptest::prelude::*;

    use super::*;

    /// A piece in use, filled with a byte of its own.
    struct Piece {
        memory: *mut u8,
        layout: Layout,
        byte: u8,
    }

    impl Piece {
        fn new(size: usize, align: usize, byte: u8, zeroed: bool) -> Self {
            let layout = Layout::from_size_align(size, align).expect("a layout");
            // SAFETY: the size is not 0.
            let memory =
                unsafe { if zeroed { ShortLived.alloc_zeroed(layout) } else { ShortLived.alloc(layout) } };
            assert!(!memory.is_null());
            assert_eq!(memory.addr() % align, 0);
            let piece = Self { memory, layout, byte };
            if zeroed {
                assert!(piece.bytes().iter().all(|byte| *byte == 0), "{layout:?}");
            }
            piece.fill();
            piece
        }

        fn fill(&self) {
            // SAFETY: the piece is ours and that long.
            unsafe { self.memory.write_bytes(self.byte, self.layout.size()) };
        }

        fn bytes(&self) -> &[u8] {
            // SAFETY: the piece is ours and that long, and was written by the allocator or by `fill`.
            unsafe { std::slice::from_raw_parts(self.memory, self.layout.size()) }
        }

        fn check(&self, length: usize) {
            assert!(self.bytes().iter().take(length).all(|byte| *byte == self.byte), "{:?}", self.layout);
        }

        fn resize(&mut self, size: usize) {
            let kept = size.min(self.layout.size());
            // SAFETY: the piece is ours, and the size is not 0.
            self.memory = unsafe { ShortLived.realloc(self.memory, self.layout, size) };
            assert!(!self.memory.is_null());
            self.layout = Layout::from_size_align(size, self.layout.align()).expect("a layout");
            self.check(kept);
            self.fill();
        }

        fn free(self) {
            self.check(usize::MAX);
            // SAFETY: the piece is ours and not used any more.
            unsafe { ShortLived.dealloc(self.memory, self.layout) };
        }
    }

    #[derive(Debug, Clone)]
    enum Action {
        New { size: usize, align: usize, zeroed: bool },
        Resize { which: usize, size: usize },
        Free { which: usize },
    }

    fn size() -> impl Strategy<Value = usize> {
        prop_oneof![8 => 1usize..300, 2 => 1usize..20_000, 1 => LARGE - 9..LARGE + 9, 1 => 1usize..600_000]
    }

    fn action() -> impl Strategy<Value = Action> {
        let align = prop_oneof![Just(1usize), Just(8), Just(16), Just(64), Just(PAGE)];
        prop_oneof![
            3 => (size(), align, any::<bool>())
                .prop_map(|(size, align, zeroed)| Action::New { size, align, zeroed }),
            2 => (0usize..3, size()).prop_map(|(which, size)| Action::Resize { which, size }),
            2 => (0usize..3).prop_map(|which| Action::Free { which }),
        ]
    }

    fn perform(actions: &[Action]) {
        let mut pieces: Vec<Piece> = Vec::new();
        for (number, action) in actions.iter().enumerate() {
            let byte = number as u8 | 1;
            // the latest ones, so that the last of the chunk is often among them
            let at = |which: usize| pieces.len().checked_sub(which + 1);
            match action {
                Action::New { size, align, zeroed } => {
                    pieces.push(Piece::new(*size, *align, byte, *zeroed));
                }
                Action::Resize { which, size } => {
                    if let Some(piece) = at(*which).and_then(|at| pieces.get_mut(at)) {
                        piece.resize(*size);
                    }
                }
                Action::Free { which } => {
                    if let Some(at) = at(*which) {
                        pieces.remove(at).free();
                    }
                }
            }
        }
        pieces.into_iter().for_each(Piece::free);
    }

    proptest! {
        #[test]
        fn pieces_keep_what_is_in_them(actions in prop::collection::vec(action(), 0..200)) {
            perform(&actions);
        }
    }

    #[test]
    fn threads_do_not_get_into_each_others_way() {
        let start = Barrier::new(4);
        std::thread::scope(|scope| {
            for thread in 0..4usize {
                let start = &start;
                scope.spawn(move || {
                    let actions: Vec<_> = (0..20_000)
                        .map(|number| match (number * 7 + thread) % 5 {
                            0 | 1 => {
                                Action::New { size: 1 + number % 900, align: 8, zeroed: number % 2 == 0 }
                            }
                            2 => Action::Resize { which: number % 3, size: 1 + number % 3000 },
                            _ => Action::Free { which: number % 3 },
                        })
                        .collect();
                    start.wait();
                    perform(&actions);
                });
            }
        });
    }

    /// What one thread made another may free, also where it lies right before that one's chunk.
    #[test]
    fn a_piece_of_another_thread_is_left_where_it_is() {
        let chunk = Chunk { start: 4096, at: 4096, end: 8192, fresh: 4096, next: FIRST };
        CHUNK.set(chunk);
        assert!(!resize_last(4096 - 64, 64, 0));
        assert_eq!(CHUNK.get().at, 4096);
        // not to be cut from
        CHUNK.set(Chunk::NONE);
    }

    /// Each size has one list, pieces on it are all alike, and none is much longer than what was asked for.
    #[test]
    fn sizes_share_a_list_with_their_like() {
        let mut lists = vec![None; LISTS];
        for size in 1..LARGE {
            let list = list_of(Layout::from_size_align(size, 8).expect("a layout")).expect("a list");
            assert_eq!(*lists[list].get_or_insert(room(size)), room(size), "{size}");
            assert!(room(size) >= size && room(size) < size + (size / TO_DOUBLE).max(UNIT), "{size}");
        }
        assert!(lists.iter().all(Option::is_some));
        assert!(lists.is_sorted());
        assert_eq!(room(0), 0);
    }

    /// Watching a namespace for hours takes no more than the first looks.
    #[test]
    fn what_is_done_again_and_again_takes_no_more_memory() {
        // texts and lists of the usual kinds, which grow in between each other
        let look = || {
            let mut pieces = Vec::new();
            for number in 0..8 {
                pieces.push(Piece::new(1 + number * 37 % 3000, 8, 1, false));
                let mut grown = Piece::new(64, 1, 2, false);
                for size in [200, 1000, 5000, 20_000, 100_000, 200_000] {
                    grown.resize(size);
                    pieces.push(Piece::new(size / 3, 8, 3, number % 2 == 0));
                }
                grown.free();
                if number % 3 == 0 {
                    pieces.swap_remove(number % pieces.len()).free();
                }
            }
            pieces.into_iter().for_each(Piece::free);
        };
        std::thread::spawn(move || {
            let place = || CHUNK.with(|chunk| (chunk.get().start, chunk.get().at));
            (0..3).for_each(|_| look());
            let before = place();
            (0..5).for_each(|_| look());
            assert_eq!(place(), before);
        })
        .join()
        .expect("no more memory");
    }

    #[test]
    fn what_is_last_is_used_again() {
        let first = Piece::new(100, 8, 1, false);
        let at = first.memory;
        first.free();
        let mut second = Piece::new(100, 8, 2, true);
        assert_eq!(second.memory, at);
        second.resize(5000);
        assert_eq!(second.memory, at);
        second.free();
    }
}
