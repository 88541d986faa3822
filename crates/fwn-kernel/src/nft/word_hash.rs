//! A digest of 128 bits of much data, a word at a time: the same in every build and on every machine. It tells accidents
//! apart; it is no protection against somebody who wants a collision.

/// Multiplier of PCG's generators of 128 bits (O'Neill: PCG, 2014): about half of its bits are set, so that whatever bit
/// of a word differs, more of the digest does than the next word can undo.
const MULTIPLIER: u128 = 0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645;
/// Increment of the same generators: a beginning that is not 0.
const BEGINNING: u128 = 0x5851_f42d_4c95_7f2d_1405_7b7e_f767_814f;

/// A digest in the making.
#[derive(Debug, Clone, Copy)]
pub(super) struct WordHash(u128);

impl WordHash {
    pub(super) fn new() -> Self {
        Self(BEGINNING)
    }

    /// Bytes with their length before them, so that two neighbours cannot be mistaken for others.
    pub(super) fn field(&mut self, bytes: &[u8]) {
        self.word(bytes.len() as u64);
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.word(u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            let mut last = [0; 8];
            last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
            self.word(u64::from_le_bytes(last));
        }
    }

    pub(super) fn word(&mut self, word: u64) {
        self.0 = (self.0 ^ u128::from(word)).wrapping_mul(MULTIPLIER);
    }

    pub(super) fn finish(self) -> u128 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn digest(bytes: &[u8]) -> u128 {
        let mut hash = WordHash::new();
        hash.field(bytes);
        hash.finish()
    }

    #[test]
    fn every_byte_of_a_field_counts() {
        let bytes: Vec<u8> = (0..21).collect();
        let mut seen = HashSet::from([digest(&bytes)]);
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut other = bytes.clone();
                other[at] ^= 1 << bit;
                assert!(seen.insert(digest(&other)), "byte {at} bit {bit}");
            }
            assert!(seen.insert(digest(&bytes[..at])), "length {at}");
        }
    }

    /// The next word is put into the lower half: what the upper half says, it cannot undo.
    #[test]
    fn each_bit_of_a_word_reaches_the_upper_half() {
        for before in [0, 1, 0x0606_0600_0000_0000, u64::MAX] {
            let mut start = WordHash::new();
            start.word(before);
            for bit in 0..64 {
                let after = |word| {
                    let mut hash = start;
                    hash.word(word);
                    hash.finish() >> 64
                };
                assert_ne!(after(before), after(before ^ 1 << bit), "bit {bit} behind {before:#x}");
            }
        }
    }

    /// State files outlive the program.
    #[test]
    fn it_stays_this_for_ever() {
        assert_eq!(digest(b"nf_tables"), 0xbf61_530a_2eaf_7d47_a32f_1c6f_a96b_e2cf);
    }
}
