//! Netlink messages (`struct nlmsghdr`, `linux/netlink.h`): headers around a payload, one after the other.

use super::attr::{AttrWriter, Attrs, Malformed, TooLong, align, ne16, ne32};

/// Size of `struct nlmsghdr`.
pub const HEADER: usize = 16;
/// Size of `struct nfgenmsg` (`linux/netfilter/nfnetlink.h`), which follows the header in nfnetlink messages.
pub const NFGEN: usize = 4;

/// `NLM_F_REQUEST`
pub const NLM_F_REQUEST: u16 = 0x1;
/// `NLM_F_ACK`: the kernel answers also where nothing is wrong.
pub const NLM_F_ACK: u16 = 0x4;
/// `NLM_F_ROOT | NLM_F_MATCH`: all there are.
pub const NLM_F_DUMP: u16 = 0x300;
/// `NLM_F_ECHO`: the kernel gives back what it made of the message.
pub const NLM_F_ECHO: u16 = 0x8;
/// `NLM_F_DUMP_INTR`: the list changed while it was read; read it again.
pub const NLM_F_DUMP_INTR: u16 = 0x10;
/// `NLM_F_REPLACE`
pub const NLM_F_REPLACE: u16 = 0x100;
/// `NLM_F_EXCL`: an error if it exists.
pub const NLM_F_EXCL: u16 = 0x200;
/// `NLM_F_CREATE`
pub const NLM_F_CREATE: u16 = 0x400;
/// `NLM_F_APPEND`
pub const NLM_F_APPEND: u16 = 0x800;

/// `NLMSG_ERROR`: an errno, 0 for an acknowledgement.
pub const NLMSG_ERROR: u16 = 2;
/// `NLMSG_DONE`: the end of a dump.
pub const NLMSG_DONE: u16 = 3;

/// `NLM_F_CAPPED`: an error without the payload of its request.
const NLM_F_CAPPED: u16 = 0x100;
/// `NLM_F_ACK_TLVS`: an error with extended-ack attributes behind it.
const NLM_F_ACK_TLVS: u16 = 0x200;
/// `NLMSGERR_ATTR_MSG`
const NLMSGERR_ATTR_MSG: u16 = 1;
/// `NLMSGERR_ATTR_OFFS`
const NLMSGERR_ATTR_OFFS: u16 = 2;

/// Type of an nfnetlink message: subsystem in the upper byte.
pub const fn nfnl_type(subsystem: u8, message: u8) -> u16 {
    (subsystem as u16) << 8 | message as u16
}

/// Messages to send, one after the other in one buffer.
#[derive(Debug, Default)]
pub struct Messages {
    buffer: Vec<u8>,
    count: u32,
    /// Flags of the last one.
    flags: u16,
}

impl Messages {
    /// None, with room for so many bytes of them.
    pub fn with_capacity(bytes: usize) -> Self {
        Self { buffer: Vec::with_capacity(bytes), ..Self::default() }
    }

    /// Appends a message: its type, flags (`NLM_F_REQUEST` is added), what stands before the attributes
    /// (`nfgenmsg`, `ifinfomsg`, ...), and its attributes. Gives its number, from 0, which is also its sequence
    /// number relative to the first.
    ///
    /// # Errors
    /// An attribute is too long; the message is then left out.
    pub fn push(
        &mut self,
        kind: u16,
        flags: u16,
        fixed: &[u8],
        fill: impl FnOnce(&mut AttrWriter<'_>),
    ) -> Result<u32, TooLong> {
        let start = self.buffer.len();
        let number = self.count;
        let mut header = [0; HEADER];
        header[4..6].copy_from_slice(&kind.to_ne_bytes());
        header[6..8].copy_from_slice(&(flags | NLM_F_REQUEST).to_ne_bytes());
        header[8..12].copy_from_slice(&number.to_ne_bytes());
        self.buffer.extend_from_slice(&header);
        self.buffer.extend_from_slice(fixed);
        self.buffer.resize(align(self.buffer.len()), 0);
        let mut writer = AttrWriter::new(&mut self.buffer);
        fill(&mut writer);
        if let Err(error) = writer.finish() {
            self.buffer.truncate(start);
            return Err(error);
        }
        // a message longer than 4 GiB cannot be built: its attributes are limited, and there are few
        let length = u32::try_from(self.buffer.len() - start).unwrap_or(u32::MAX);
        self.buffer[start..start + 4].copy_from_slice(&length.to_ne_bytes());
        self.count += 1;
        self.flags = flags;
        Ok(number)
    }

    /// Whether the kernel answers the last one with one message, and nothing follows: it neither lists nor
    /// acknowledges.
    pub(super) fn has_one_answer(&self) -> bool {
        self.flags & NLM_F_ACK == 0 && self.flags & NLM_F_DUMP != NLM_F_DUMP
    }

    /// Number of messages.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.buffer.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// All messages, each with its number as sequence number.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer
    }

    /// All messages, numbered from `first`.
    pub(super) fn numbered_from(&mut self, first: u32) -> &[u8] {
        let mut at = 0;
        let mut number = first;
        while let Some(length) = ne32(&self.buffer, at) {
            if let Some(field) = self.buffer.get_mut(at + 8..at + 12) {
                field.copy_from_slice(&number.to_ne_bytes());
            }
            number = number.wrapping_add(1);
            at += align(length as usize).max(HEADER);
        }
        &self.buffer
    }
}

/// A message as received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// Its type.
    pub kind: u16,
    /// Its flags.
    pub flags: u16,
    /// Its sequence number.
    pub sequence: u32,
    /// What follows the header.
    pub payload: &'a [u8],
}

impl<'a> Message<'a> {
    /// The attributes that follow a fixed header of `fixed` bytes.
    ///
    /// # Errors
    /// The payload is shorter than the fixed header.
    pub fn attrs(&self, fixed: usize) -> Result<Attrs<'a>, Malformed> {
        self.payload.get(align(fixed)..).map(Attrs::new).ok_or(Malformed)
    }

    /// The errno of an error or of the end of a dump: 0 for success.
    ///
    /// # Errors
    /// The payload is too short for one.
    pub fn errno(&self) -> Result<i32, Malformed> {
        match (self.kind, ne32(self.payload, 0)) {
            (_, Some(errno)) => Ok(errno.cast_signed().wrapping_neg()),
            // old kernels end a dump without one
            (NLMSG_DONE, None) => Ok(0),
            (_, None) => Err(Malformed),
        }
    }

    /// The extended acknowledgement of an error: the kernel's words, and the offset of the attribute it dislikes
    /// from the start of the request.
    pub fn extended_ack(&self) -> (Option<&'a str>, Option<u32>) {
        let mut found = (None, None);
        if self.kind != NLMSG_ERROR || self.flags & NLM_F_ACK_TLVS == 0 {
            return found;
        }
        let echoed = match ne32(self.payload, 4) {
            Some(length) if self.flags & NLM_F_CAPPED == 0 => align(length as usize),
            _ => HEADER,
        };
        for attr in Attrs::new(self.payload.get(4 + echoed..).unwrap_or_default()).flatten() {
            match attr.kind {
                NLMSGERR_ATTR_MSG => found.0 = attr.string().ok(),
                NLMSGERR_ATTR_OFFS => found.1 = attr.ne32().ok(),
                _ => {}
            }
        }
        found
    }
}

/// Reads the messages of one datagram.
#[derive(Debug, Clone)]
pub struct MessageReader<'a> {
    rest: &'a [u8],
}

impl<'a> MessageReader<'a> {
    /// Reads from `datagram`.
    pub fn new(datagram: &'a [u8]) -> Self {
        Self { rest: datagram }
    }
}

impl<'a> Iterator for MessageReader<'a> {
    type Item = Result<Message<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let rest = std::mem::take(&mut self.rest);
        let message = (|| {
            let length = ne32(rest, 0)? as usize;
            Some((
                Message {
                    kind: ne16(rest, 4)?,
                    flags: ne16(rest, 6)?,
                    sequence: ne32(rest, 8)?,
                    payload: rest.get(HEADER..length)?,
                },
                rest.get(align(length)..).unwrap_or_default(),
            ))
        })();
        match message {
            Some((message, after)) => {
                self.rest = after;
                Some(Ok(message))
            }
            None => Some(Err(Malformed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_back_what_was_pushed() {
        let mut messages = Messages::default();
        messages
            .push(7, NLM_F_ACK, &[1, 2, 3, 4], |a| {
                a.u8(1, 9).u8(2, 8);
            })
            .expect("short");
        messages.push(8, 0, &[], |_| ()).expect("short");
        let read: Vec<_> =
            MessageReader::new(messages.numbered_from(41)).collect::<Result<_, _>>().expect("well formed");
        assert_eq!(read.len(), 2);
        assert_eq!((read[0].kind, read[0].flags, read[0].sequence), (7, NLM_F_ACK | NLM_F_REQUEST, 41));
        assert_eq!((read[1].kind, read[1].sequence), (8, 42));
        let attrs: Vec<_> = read[0]
            .attrs(4)
            .expect("long enough")
            .map(|a| a.map(|a| a.u8()))
            .collect::<Result<_, _>>()
            .expect("well formed");
        assert_eq!(attrs, [Ok(9), Ok(8)]);
    }

    #[test]
    fn a_message_with_a_long_attribute_is_left_out() {
        let mut messages = Messages::default();
        assert!(
            messages
                .push(7, 0, &[], |a| {
                    a.bytes(1, &vec![0; 70_000]);
                })
                .is_err()
        );
        assert!(messages.is_empty());
        assert_eq!(messages.bytes(), [0u8; 0]);
    }

    proptest! {
        #[test]
        fn never_panics_and_always_ends(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            for message in MessageReader::new(&bytes).flatten() {
                let _ = (message.errno(), message.extended_ack(), message.attrs(NFGEN));
            }
        }
    }
}
