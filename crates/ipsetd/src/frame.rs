//! The bytes of a connection, cut into lines. Holds no more than a line that is too long needs to be noticed, and
//! what was read in one go. No sockets here.

/// One line of a peer, without its newline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A line.
    Line(&'a [u8]),
    /// A line longer than is taken; what it says is not kept.
    TooLong,
}

/// What came in and is not answered yet.
#[derive(Debug)]
pub struct Input {
    buffer: Vec<u8>,
    /// Bytes before this one are answered.
    start: usize,
    /// Bytes before this one have no newline.
    scanned: usize,
    /// Longest line, without its newline.
    max: usize,
    /// What comes up to the next newline belongs to a line that was answered as too long.
    discarding: bool,
    ended: bool,
}

impl Input {
    /// Nothing yet; lines have at most `max` bytes.
    pub fn new(max: usize) -> Self {
        Self { buffer: Vec::new(), start: 0, scanned: 0, max, discarding: false, ended: false }
    }

    /// Room for what is read next: bytes appended to it are input.
    pub fn room(&mut self, bytes: usize) -> &mut Vec<u8> {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.scanned -= self.start;
            self.start = 0;
        }
        if self.buffer.is_empty() && self.buffer.capacity() > bytes {
            // a connection that has become quiet gives its memory back
            self.buffer = Vec::new();
        }
        self.buffer.reserve_exact(bytes);
        &mut self.buffer
    }

    /// No more will come: what is left is a line, too.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// Whether no more will come.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// What is not answered yet.
    pub fn rest(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }

    /// Whether a line was begun and not ended.
    pub fn is_partial(&self) -> bool {
        self.discarding || !self.rest().is_empty()
    }

    /// The next lines, at most `most` of them, and none behind one that is `heavy`.
    pub fn take(&mut self, most: usize, heavy: impl Fn(&[u8]) -> bool) -> Vec<Frame<'_>> {
        let mut full = false;
        let mut ranges = Vec::new();
        while ranges.len() < most && !full {
            let from = self.scanned.max(self.start);
            let rest = self.buffer.get(from..).unwrap_or_default();
            let Some(length) = rest.iter().position(|byte| *byte == b'\n') else {
                self.scanned = self.buffer.len();
                break;
            };
            let end = from + length;
            if self.discarding {
                self.discarding = false;
            } else {
                full = self.buffer.get(self.start..end).is_some_and(&heavy);
                ranges.push(if end - self.start > self.max { None } else { Some(self.start..end) });
            }
            self.start = end + 1;
            self.scanned = self.start;
        }
        if ranges.len() < most && !full && self.scanned == self.buffer.len() {
            let left = self.buffer.len() - self.start;
            if self.discarding {
                self.start = self.buffer.len();
            } else if left > self.max {
                ranges.push(None);
                self.discarding = true;
                self.start = self.buffer.len();
            } else if self.ended && left > 0 {
                ranges.push(Some(self.start..self.buffer.len()));
                self.start = self.buffer.len();
            }
            if self.ended {
                self.discarding = false;
            }
        }
        let buffer = &self.buffer;
        let frame = |range: Option<std::ops::Range<usize>>| {
            range.and_then(|range| buffer.get(range)).map_or(Frame::TooLong, Frame::Line)
        };
        ranges.into_iter().map(frame).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Lines as given; a line that is too long has no text.
    fn lines(texts: &[Option<&str>]) -> Vec<Option<Vec<u8>>> {
        texts.iter().map(|text| text.map(|text| text.as_bytes().to_vec())).collect()
    }

    fn all(pieces: &[&[u8]], max: usize, most: usize) -> Vec<Option<Vec<u8>>> {
        let mut input = Input::new(max);
        let mut lines = Vec::new();
        let mut drain = |input: &mut Input| {
            loop {
                let frames = input.take(most, |line| line.starts_with(b"!"));
                if frames.is_empty() {
                    break;
                }
                lines.extend(frames.iter().map(|frame| match frame {
                    Frame::Line(line) => Some(line.to_vec()),
                    Frame::TooLong => None,
                }));
            }
        };
        for piece in pieces {
            input.room(piece.len()).extend_from_slice(piece);
            drain(&mut input);
        }
        input.end();
        drain(&mut input);
        assert!(!input.is_partial());
        lines
    }

    #[test]
    fn cuts_at_newlines_however_the_bytes_come() {
        assert_eq!(all(&[b"a\nbc\n\nd"], 9, 9), lines(&[Some("a"), Some("bc"), Some(""), Some("d")]));
        assert_eq!(
            all(&[b"a", b"b\n", b"", b"c", b"\nd\n"], 9, 9),
            lines(&[Some("ab"), Some("c"), Some("d")])
        );
        assert_eq!(all(&[], 9, 9), lines(&[]));
    }

    #[test]
    fn a_line_too_long_is_one_line_whenever_it_is_noticed() {
        let three = lines(&[Some("a"), None, Some("b")]);
        assert_eq!(all(&[b"a\n123456789\nb\n"], 4, 9), three);
        assert_eq!(all(&[b"a\n123", b"45", b"6789", b"0\nb\n"], 4, 9), three);
        assert_eq!(all(&[b"a\n12345", b"\nb"], 4, 9), three);
        assert_eq!(all(&[b"12345"], 4, 9), lines(&[None]));
        assert_eq!(all(&[b"1234\n"], 4, 9), lines(&[Some("1234")]));
    }

    #[test]
    fn what_is_too_long_is_not_kept() {
        let mut input = Input::new(4);
        for _ in 0..100 {
            input.room(1000).extend_from_slice(&[b'x'; 1000]);
            let _ = input.take(9, |_| false);
        }
        assert!(input.buffer.capacity() < 4000, "{}", input.buffer.capacity());
        assert!(input.is_partial());
    }

    #[test]
    fn a_heavy_line_is_the_last_of_its_turn() {
        let mut input = Input::new(9);
        input.room(9).extend_from_slice(b"a\n!\nb\n!");
        input.end();
        let turns = std::iter::from_fn(|| {
            let frames = input.take(9, |line| line == b"!").len();
            (frames > 0).then_some(frames)
        });
        assert_eq!(turns.collect::<Vec<_>>(), [2, 2]);
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(
            bytes in prop::collection::vec(prop_oneof![Just(b'\n'), Just(b'!'), any::<u8>()], 0..60),
            cuts in prop::collection::vec(0usize..60, 0..8),
            most in 1usize..5,
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.sort_unstable();
            let mut pieces = Vec::new();
            let mut from = 0;
            for cut in cuts {
                pieces.push(&bytes[from..cut]);
                from = cut;
            }
            pieces.push(&bytes[from..]);
            prop_assert_eq!(all(&pieces, 8, most), all(&[&bytes], 8, usize::MAX));
        }
    }
}
