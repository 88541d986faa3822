//! Datagrams to the kernel as a file: what [`crate::trace`] saw the plugin send, and what the floor sends again.
//!
//! A recording is a row of datagrams, each behind its length (32 bits, native order). An empty one stands for the
//! closing of the socket: that waits until the kernel has destroyed what was deleted, and what comes next may need it.

use crate::BenchError;

/// Bytes of `struct nlmsghdr` (`linux/netlink.h`).
const HEADER: usize = 16;
/// `NLM_F_ACK` (`linux/netlink.h`)
const NLM_F_ACK: u16 = 0x04;
/// `NLM_F_DUMP` (`linux/netlink.h`)
const NLM_F_DUMP: u16 = 0x300;
/// `NFNL_MSG_BATCH_BEGIN` (`linux/netfilter/nfnetlink.h`)
const NFNL_MSG_BATCH_BEGIN: u16 = 0x10;
/// `NFNL_SUBSYS_IPSET` (`linux/netfilter/nfnetlink.h`)
const NFNL_SUBSYS_IPSET: u16 = 6;

/// What the kernel is told of a datagram that ends with this message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// `nlmsg_len`
    pub length: usize,
    /// `nlmsg_type`
    pub kind: u16,
    /// `nlmsg_flags`
    pub flags: u16,
    /// `nlmsg_seq`
    pub sequence: u32,
}

impl Header {
    /// Whether the last answer to it is an acknowledgement, an error, or the end of a dump.
    pub fn is_answered(self) -> bool {
        self.flags & NLM_F_ACK != 0 || self.flags & NLM_F_DUMP == NLM_F_DUMP
    }

    /// Whether it changes anything: a batch of nf_tables, or a command of ip_set other than to list and ask.
    pub fn is_change(self) -> bool {
        // `IPSET_CMD_CREATE` to `IPSET_CMD_SWAP`, `IPSET_CMD_ADD`, `IPSET_CMD_DEL` (`linux/netfilter/ipset/ip_set.h`)
        let set_change = matches!(self.kind & 0xff, 2..=6 | 9 | 10);
        self.kind == NFNL_MSG_BATCH_BEGIN || (self.kind >> 8 == NFNL_SUBSYS_IPSET && set_change)
    }
}

/// Puts a datagram behind others.
///
/// # Panics
/// It has 4 GiB or more, which no socket takes.
pub fn append(recording: &mut Vec<u8>, datagram: &[u8]) {
    let length = u32::try_from(datagram.len()).expect("a datagram is shorter than 4 GiB");
    recording.extend_from_slice(&length.to_ne_bytes());
    recording.extend_from_slice(datagram);
}

/// The datagrams of a recording.
///
/// # Errors
/// [`BenchError::Recording`]: it is cut off.
pub fn datagrams(mut rest: &[u8]) -> Result<Vec<&[u8]>, BenchError> {
    let mut all = Vec::new();
    while let Some((length, tail)) = rest.split_first_chunk::<4>() {
        let length = u32::from_ne_bytes(*length) as usize;
        let (datagram, tail) = tail.split_at_checked(length).ok_or(BenchError::Recording("it is cut off"))?;
        all.push(datagram);
        rest = tail;
    }
    if rest.is_empty() { Ok(all) } else { Err(BenchError::Recording("it is cut off")) }
}

/// The messages of a datagram: header and payload.
pub fn messages(datagram: &[u8]) -> impl Iterator<Item = (Header, &[u8])> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let header = decode_header(rest)?;
        let payload = rest.get(HEADER..header.length)?;
        // messages begin at multiples of four
        rest = rest.get(header.length.next_multiple_of(4)..).unwrap_or_default();
        Some((header, payload))
    })
}

fn decode_header(bytes: &[u8]) -> Option<Header> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (kind, rest) = rest.split_first_chunk()?;
    let (flags, rest) = rest.split_first_chunk()?;
    let (sequence, rest) = rest.split_first_chunk()?;
    // `nlmsg_pid` is of no interest, but must be there
    rest.first_chunk::<4>()?;
    Some(Header {
        length: u32::from_ne_bytes(*length) as usize,
        kind: u16::from_ne_bytes(*kind),
        flags: u16::from_ne_bytes(*flags),
        sequence: u32::from_ne_bytes(*sequence),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_come_back() {
        let mut recording = Vec::new();
        append(&mut recording, b"one");
        append(&mut recording, b"");
        append(&mut recording, b"three");
        assert_eq!(datagrams(&recording).expect("whole"), [&b"one"[..], b"", b"three"]);
        recording.pop();
        assert!(datagrams(&recording).is_err(), "the end is missing");
        assert!(datagrams(&[1, 0]).is_err(), "half a length");
    }

    #[test]
    fn messages_begin_at_multiples_of_four() {
        let mut datagram = Vec::new();
        for (length, kind, sequence, payload) in
            [(18_u32, 0x602_u16, 7_u32, &[1, 2, 0, 0][..]), (16, 16, 8, &[])]
        {
            datagram.extend_from_slice(&length.to_ne_bytes());
            datagram.extend_from_slice(&kind.to_ne_bytes());
            datagram.extend_from_slice(&5_u16.to_ne_bytes());
            datagram.extend_from_slice(&sequence.to_ne_bytes());
            datagram.extend_from_slice(&[0; 4]);
            datagram.extend_from_slice(payload);
        }
        let all: Vec<_> = messages(&datagram).collect();
        assert_eq!(all.len(), 2);
        assert_eq!(all.first().map(|(header, payload)| (header.sequence, *payload)), Some((7, &[1, 2][..])));
        assert!(all.iter().all(|(header, _)| header.is_change() && header.is_answered()));
    }

    #[test]
    fn asking_is_no_change() {
        for kind in [0x601, 0x607, 0x60d, 0xa10, 0xa01] {
            let header = Header { length: 20, kind, flags: 0x301, sequence: 1 };
            assert!(!header.is_change(), "{kind:#x}");
            assert!(header.is_answered(), "a dump ends");
        }
    }
}
