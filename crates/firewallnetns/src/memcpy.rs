//! `memcpy` and `memmove` for the static build. Those of musl start a string instruction for every piece, which takes
//! some 30 cycles; most pieces here are a name or a rule. Reasons and figures: `docs/decisions/003-small-parts.md`.
#![expect(unsafe_code, reason = "they are given raw memory")]

use std::arch::asm;
use std::arch::x86_64::{__m128i, _mm_loadu_si128, _mm_storeu_si128};
use std::mem::MaybeUninit;

/// Bytes of a vector register that every x86_64 has.
const VECTOR: usize = size_of::<__m128i>();

/// `memcpy` of C.
///
/// # Safety
/// `from` can be read and `to` can be written for `length` bytes; the two do not overlap.
#[cfg_attr(target_env = "musl", unsafe(no_mangle))]
pub unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
    // SAFETY: as the caller promises
    unsafe { if length <= 2 * VECTOR { short(to, from, length) } else { forward(to, from, length) } }
    to
}

/// `memmove` of C.
///
/// # Safety
/// `from` can be read and `to` can be written for `length` bytes.
#[cfg_attr(target_env = "musl", unsafe(no_mangle))]
pub unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
    // SAFETY: as the caller promises. What is before `from`, or behind all that is read, can be written from the front.
    unsafe {
        if length <= 2 * VECTOR {
            short(to, from, length);
        } else if to.addr().wrapping_sub(from.addr()) >= length {
            forward(to, from, length);
        } else {
            backward(to, from, length);
        }
    }
    to
}

/// Up to two vectors: both ends are read before anything is written, and overlap in the middle.
///
/// # Safety
/// As of [`memmove`]; `length` is at most `2 * VECTOR`.
#[inline]
unsafe fn short(to: *mut u8, from: *const u8, length: usize) {
    /// Both ends, each of the size of a number; what is copied may be no number, or not set.
    macro_rules! ends {
        ($number:ty) => {{
            let end = length - size_of::<$number>();
            let first = from.cast::<MaybeUninit<$number>>().read_unaligned();
            let last = from.add(end).cast::<MaybeUninit<$number>>().read_unaligned();
            to.cast::<MaybeUninit<$number>>().write_unaligned(first);
            to.add(end).cast::<MaybeUninit<$number>>().write_unaligned(last);
        }};
    }
    // SAFETY: in each branch `length` is between one and two times the size of what is read at either end
    unsafe {
        if length >= VECTOR {
            let end = length - VECTOR;
            let (first, last) = (read(from), read(from.add(end)));
            write(to, first);
            write(to.add(end), last);
        } else if length >= 8 {
            ends!(u64);
        } else if length >= 4 {
            ends!(u32);
        } else if length >= 2 {
            ends!(u16);
        } else if length == 1 {
            ends!(u8);
        }
    }
}

/// From the front; the last vector, read first, is written last.
///
/// # Safety
/// As of [`memmove`]; `length` is at least `VECTOR`, and `to` is not in what is to be read.
#[inline]
unsafe fn forward(to: *mut u8, from: *const u8, length: usize) {
    // SAFETY: `at` and `end` leave room for a vector
    unsafe {
        let end = length - VECTOR;
        let last = read(from.add(end));
        let mut at = 0;
        while at < end {
            write(to.add(at), read(from.add(at)));
            at += VECTOR;
            barrier();
        }
        write(to.add(end), last);
    }
}

/// From the back; the first vector, read first, is written last.
///
/// # Safety
/// As of [`memmove`]; `length` is at least `VECTOR`.
unsafe fn backward(to: *mut u8, from: *const u8, length: usize) {
    // SAFETY: `at` is at least one vector from the front
    unsafe {
        let first = read(from);
        let mut at = length;
        while at > VECTOR {
            at -= VECTOR;
            write(to.add(at), read(from.add(at)));
            barrier();
        }
        write(to, first);
    }
}

/// A loop with it is not taken for one that could call `memmove`.
#[inline]
fn barrier() {
    // SAFETY: there is no instruction
    unsafe { asm!("", options(nostack, preserves_flags)) }
}

/// # Safety
/// `from` can be read for [`VECTOR`] bytes.
#[inline]
unsafe fn read(from: *const u8) -> __m128i {
    // SAFETY: as the caller promises; it need not be aligned
    unsafe { _mm_loadu_si128(from.cast()) }
}

/// # Safety
/// `to` can be written for [`VECTOR`] bytes.
#[inline]
unsafe fn write(to: *mut u8, vector: __m128i) {
    // SAFETY: as the caller promises; it need not be aligned
    unsafe { _mm_storeu_si128(to.cast(), vector) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Every way of copying begins or changes at one of these, and some in which it goes on for long.
    fn lengths() -> impl Iterator<Item = usize> {
        (0..=70).chain(2040..=2060)
    }

    fn bytes(length: usize) -> Vec<u8> {
        (0..length).map(|at| (at % 251) as u8).collect()
    }

    proptest! {
        #[test]
        fn each_byte_is_copied_and_none_beside_them(from in 0usize..40, to in 0usize..40) {
            for length in lengths() {
                let source = bytes(from + length);
                let mut target = vec![0xff; to + length + 40];
                // SAFETY: both have room for `length` bytes behind their beginnings
                let end = unsafe { memcpy(target[to..].as_mut_ptr(), source[from..].as_ptr(), length) };
                prop_assert_eq!(end, target[to..].as_mut_ptr());
                prop_assert_eq!(&target[to..to + length], &source[from..]);
                prop_assert!(target[..to].iter().chain(&target[to + length..]).all(|byte| *byte == 0xff));
            }
        }

        #[test]
        fn what_overlaps_is_moved_as_it_was(from in 0usize..2200, to in 0usize..2200) {
            for length in lengths() {
                let mut moved = bytes(length + 2200);
                let mut expected = moved.clone();
                expected.copy_within(from..from + length, to);
                let start = moved.as_mut_ptr();
                // SAFETY: there are 2200 bytes more than `length`
                let end = unsafe { memmove(start.add(to), start.add(from), length) };
                prop_assert_eq!(end, moved[to..].as_mut_ptr());
                prop_assert_eq!(moved, expected);
            }
        }
    }
}
