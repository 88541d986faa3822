//! The structure that an x_tables extension gets: fields at the offsets of its header file, zero elsewhere, and of
//! the size that the kernel asks for.

use std::net::IpAddr;

/// A structure being filled. The offsets are those of this program, never of input: a wrong one is a bug, and panics.
#[derive(Debug, Clone)]
pub(super) struct Info {
    bytes: Vec<u8>,
}

impl Info {
    /// A structure of `size` bytes, `XT_ALIGN` included (`linux/netfilter/x_tables.h`).
    pub(super) fn new(size: usize) -> Self {
        debug_assert_eq!(size % 8, 0, "x_tables aligns to 8");
        Self { bytes: vec![0; size] }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn put(mut self, at: usize, bytes: &[u8]) -> Self {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    pub(super) fn u8(self, at: usize, value: impl Into<u8>) -> Self {
        self.put(at, &[value.into()])
    }

    pub(super) fn u16(self, at: usize, value: u16) -> Self {
        self.put(at, &value.to_ne_bytes())
    }

    pub(super) fn be16(self, at: usize, value: u16) -> Self {
        self.put(at, &value.to_be_bytes())
    }

    pub(super) fn u32(self, at: usize, value: u32) -> Self {
        self.put(at, &value.to_ne_bytes())
    }

    pub(super) fn be32(self, at: usize, value: u32) -> Self {
        self.put(at, &value.to_be_bytes())
    }

    pub(super) fn u64(self, at: usize, value: u64) -> Self {
        self.put(at, &value.to_ne_bytes())
    }

    /// Text in a field of `size` bytes, the last of which stays NUL: its length was checked when it was read.
    pub(super) fn text(self, at: usize, size: usize, text: &str) -> Self {
        debug_assert!(text.len() < size, "`{text}` was checked");
        self.put(at, text.as_bytes())
    }

    /// `union nf_inet_addr` (`linux/netfilter.h`): the rest behind an IPv4 address stays zero.
    pub(super) fn address(self, at: usize, address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => self.put(at, &address.octets()),
            IpAddr::V6(address) => self.put(at, &address.octets()),
        }
    }
}
