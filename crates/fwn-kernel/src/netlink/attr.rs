//! Netlink attributes (`struct nlattr`, `linux/netlink.h`): a writer that appends to one buffer and patches the
//! lengths of nests when they end, and a reader that never indexes unchecked.

/// Flag of an attribute that holds attributes (`NLA_F_NESTED`).
pub const NLA_F_NESTED: u16 = 0x8000;
/// Flag of an attribute in network byte order (`NLA_F_NET_BYTEORDER`); ip_set wants it on its numbers.
pub const NLA_F_NET_BYTEORDER: u16 = 0x4000;
/// What is left of `nla_type` without its flags (`NLA_TYPE_MASK`).
const TYPE_MASK: u16 = 0x3fff;
/// Size of `struct nlattr`.
pub const HEADER: usize = 4;
/// Most bytes that one attribute can have, header included: `nla_len` has 16 bits.
pub const LENGTH_MAX: usize = u16::MAX as usize;

/// Rounds up to the alignment of attributes and messages (`NLA_ALIGNTO`, 4).
pub const fn align(length: usize) -> usize {
    (length + 3) & !3
}

/// An attribute longer than `nla_len` can say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("netlink attribute {kind} of {length} bytes is longer than {LENGTH_MAX}")]
pub struct TooLong {
    /// The attribute's type.
    pub kind: u16,
    /// Its length, header included.
    pub length: usize,
}

/// Appends attributes to a buffer.
///
/// An attribute that is too long is remembered instead of cut, and comes out of [`AttrWriter::finish`].
#[derive(Debug)]
pub struct AttrWriter<'a> {
    buffer: &'a mut Vec<u8>,
    too_long: Option<TooLong>,
}

impl<'a> AttrWriter<'a> {
    /// Writes to the end of `buffer`, which must end at an aligned length.
    pub fn new(buffer: &'a mut Vec<u8>) -> Self {
        debug_assert_eq!(buffer.len() % 4, 0, "attributes start aligned");
        Self { buffer, too_long: None }
    }

    /// Ends the writing.
    ///
    /// # Errors
    /// The first attribute that was too long; the buffer is then not to be sent.
    pub fn finish(self) -> Result<(), TooLong> {
        self.too_long.map_or(Ok(()), Err)
    }

    /// Bytes in the buffer so far: for cutting a long list into several messages.
    pub fn position(&self) -> usize {
        self.buffer.len()
    }

    /// An attribute with these bytes.
    pub fn bytes(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        let start = self.start(kind);
        self.buffer.extend_from_slice(value);
        self.end(start, kind);
        self
    }

    /// A string with its final NUL (`NLA_NUL_STRING`).
    pub fn string(&mut self, kind: u16, value: &str) -> &mut Self {
        let start = self.start(kind);
        self.buffer.extend_from_slice(value.as_bytes());
        self.buffer.push(0);
        self.end(start, kind);
        self
    }

    /// An empty attribute that says something by being there (`NLA_FLAG`).
    pub fn flag(&mut self, kind: u16) -> &mut Self {
        self.bytes(kind, &[])
    }

    /// One byte.
    pub fn u8(&mut self, kind: u16, value: u8) -> &mut Self {
        self.bytes(kind, &[value])
    }

    /// 16 bits in network order.
    pub fn be16(&mut self, kind: u16, value: u16) -> &mut Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    /// 32 bits in network order.
    pub fn be32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    /// 64 bits in network order.
    pub fn be64(&mut self, kind: u16, value: u64) -> &mut Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    /// 16 bits in host order.
    pub fn ne16(&mut self, kind: u16, value: u16) -> &mut Self {
        self.bytes(kind, &value.to_ne_bytes())
    }

    /// 32 bits in host order.
    pub fn ne32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.bytes(kind, &value.to_ne_bytes())
    }

    /// An attribute that holds the attributes that `fill` writes.
    pub fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) -> &mut Self {
        let start = self.start(kind | NLA_F_NESTED);
        fill(self);
        self.end(start, kind);
        self
    }

    fn start(&mut self, kind: u16) -> usize {
        let start = self.buffer.len();
        let [low, high] = kind.to_ne_bytes();
        self.buffer.extend_from_slice(&[0, 0, low, high]);
        start
    }

    fn end(&mut self, start: usize, kind: u16) {
        const PADDING: [u8; 3] = [0; 3];
        let length = self.buffer.len() - start;
        match u16::try_from(length) {
            Ok(length) => self.buffer[start..start + 2].copy_from_slice(&length.to_ne_bytes()),
            Err(_) => {
                self.too_long.get_or_insert(TooLong { kind: kind & TYPE_MASK, length });
            }
        }
        let missing = align(self.buffer.len()) - self.buffer.len();
        self.buffer.extend_from_slice(&PADDING[..missing]);
    }
}

/// Bytes that are no list of attributes: cut short, or with a length that cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("truncated or malformed netlink attributes")]
pub struct Malformed;

/// One attribute as read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attr<'a> {
    /// Its type, flags removed.
    pub kind: u16,
    /// Its bytes, header and padding removed.
    pub value: &'a [u8],
}

impl<'a> Attr<'a> {
    /// One byte.
    ///
    /// # Errors
    /// The attribute has another size.
    pub fn u8(&self) -> Result<u8, Malformed> {
        self.array().map(|[byte]| byte)
    }

    /// 16 bits in network order.
    ///
    /// # Errors
    /// The attribute has another size.
    pub fn be16(&self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    /// 32 bits in network order.
    ///
    /// # Errors
    /// The attribute has another size.
    pub fn be32(&self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    /// 64 bits in network order.
    ///
    /// # Errors
    /// The attribute has another size.
    pub fn be64(&self) -> Result<u64, Malformed> {
        self.array().map(u64::from_be_bytes)
    }

    /// 32 bits in host order.
    ///
    /// # Errors
    /// The attribute has another size.
    pub fn ne32(&self) -> Result<u32, Malformed> {
        self.array().map(u32::from_ne_bytes)
    }

    /// A string, its final NUL removed.
    ///
    /// # Errors
    /// It is not UTF-8.
    pub fn string(&self) -> Result<&'a str, Malformed> {
        let end = self.value.iter().position(|byte| *byte == 0).unwrap_or(self.value.len());
        let bytes = self.value.get(..end).unwrap_or_default();
        std::str::from_utf8(bytes).map_err(|_| Malformed)
    }

    /// The attributes inside.
    pub fn nested(&self) -> Attrs<'a> {
        Attrs::new(self.value)
    }

    /// Exactly this many bytes.
    ///
    /// # Errors
    /// The attribute has another size.
    pub fn array<const N: usize>(&self) -> Result<[u8; N], Malformed> {
        self.value.try_into().map_err(|_| Malformed)
    }
}

/// Reads attributes one after the other; ends after the first malformed one.
#[derive(Debug, Clone)]
pub struct Attrs<'a> {
    rest: &'a [u8],
}

impl<'a> Attrs<'a> {
    /// Reads from `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The first attribute of type `kind`, if there is one.
    ///
    /// # Errors
    /// The bytes are malformed before it.
    pub fn find(self, kind: u16) -> Result<Option<Attr<'a>>, Malformed> {
        for attr in self {
            let attr = attr?;
            if attr.kind == kind {
                return Ok(Some(attr));
            }
        }
        Ok(None)
    }
}

impl<'a> Iterator for Attrs<'a> {
    type Item = Result<Attr<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let rest = std::mem::take(&mut self.rest);
        let (Some(length), Some(kind)) = (ne16(rest, 0), ne16(rest, 2)) else { return Some(Err(Malformed)) };
        let length = usize::from(length);
        let Some(value) = rest.get(HEADER..length) else { return Some(Err(Malformed)) };
        // the padding of the last attribute may be missing
        self.rest = rest.get(align(length)..).unwrap_or_default();
        Some(Ok(Attr { kind: kind & TYPE_MASK, value }))
    }
}

/// 16 bits in host order at an offset, if they are there.
pub(crate) fn ne16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2).and_then(|pair| pair.try_into().ok()).map(u16::from_ne_bytes)
}

/// 32 bits in host order at an offset, if they are there.
pub(crate) fn ne32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).map(u32::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nests_get_their_length_and_padding() {
        let mut buffer = Vec::new();
        let mut writer = AttrWriter::new(&mut buffer);
        writer.nest(1, |inner| {
            inner.string(2, "ab").u8(3, 7);
        });
        writer.finish().expect("short");
        assert_eq!(buffer, [20, 0, 1, 0x80, 7, 0, 2, 0, b'a', b'b', 0, 0, 5, 0, 3, 0, 7, 0, 0, 0]);
    }

    #[test]
    fn a_long_attribute_is_an_error_and_not_cut() {
        let mut buffer = Vec::new();
        let mut writer = AttrWriter::new(&mut buffer);
        writer.bytes(9, &vec![0; 65_532]);
        assert_eq!(writer.finish(), Err(TooLong { kind: 9, length: 65_536 }));
    }

    #[test]
    fn a_truncated_attribute_is_an_error() {
        for bytes in [&[8, 0, 1][..], &[8, 0, 1, 0, 0][..], &[3, 0, 1, 0][..]] {
            assert_eq!(Attrs::new(bytes).collect::<Result<Vec<_>, _>>(), Err(Malformed), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn reads_back_what_was_written(values in prop::collection::vec((0u16..0x3fff, prop::collection::vec(any::<u8>(), 0..40)), 0..20)) {
            let mut buffer = Vec::new();
            let mut writer = AttrWriter::new(&mut buffer);
            for (kind, value) in &values {
                writer.bytes(*kind, value);
            }
            writer.finish().expect("short");
            let read: Vec<_> = Attrs::new(&buffer).map(|attr| attr.map(|a| (a.kind, a.value.to_vec()))).collect::<Result<_, _>>().expect("well formed");
            prop_assert_eq!(read, values);
        }

        #[test]
        fn never_panics_and_always_ends(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            for attr in Attrs::new(&bytes).flatten() {
                let _ = attr.nested().count();
            }
        }
    }
}
