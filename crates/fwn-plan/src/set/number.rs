//! Numbers as ipset reads them: decimal, hexadecimal after `0x`, octal after `0`.

use std::ops::RangeInclusive;

/// Why a text is no number in a range; shown after the offending text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NumberError {
    /// It is no number.
    NotANumber,
    /// It is one, but not in the range.
    OutOfRange(RangeInclusive<u64>),
}

impl NumberError {
    /// `` `x` is not a whole number``, `` `70000` is not in 0 to 65535``
    pub fn message(&self, text: &str) -> String {
        match self {
            Self::NotANumber => format!("`{text}` is not a whole number"),
            Self::OutOfRange(range) => format!("`{text}` is not in {} to {}", range.start(), range.end()),
        }
    }
}

/// Reads a number in `range`.
///
/// # Errors
/// [`NumberError`]
pub fn parse_number(text: &str, range: RangeInclusive<u64>) -> Result<u64, NumberError> {
    let (digits, radix) = match text.as_bytes() {
        [b'0', b'x' | b'X', ..] => (&text[2..], 16),
        [b'0', _, ..] => (&text[1..], 8),
        _ => (text, 10),
    };
    // `from_str_radix` takes a sign
    if digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(radix)) {
        return Err(NumberError::NotANumber);
    }
    match u64::from_str_radix(digits, radix) {
        Ok(number) if range.contains(&number) => Ok(number),
        _ => Err(NumberError::OutOfRange(range)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_ipset_reads() {
        let read = |text| parse_number(text, 0..=65535);
        assert_eq!(read("80"), Ok(80));
        assert_eq!(read("0x50"), Ok(80));
        assert_eq!(read("0120"), Ok(80));
        assert_eq!(read("0"), Ok(0));
        for text in ["", "-1", "+1", "8o", "0x", "08", " 1", "1 "] {
            assert_eq!(read(text), Err(NumberError::NotANumber), "{text:?}");
        }
        for text in ["65536", "99999999999999999999999"] {
            assert_eq!(read(text), Err(NumberError::OutOfRange(0..=65535)), "{text:?}");
        }
    }
}
