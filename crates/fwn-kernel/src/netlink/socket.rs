//! A blocking netlink socket: messages out, answers in, each error with the number of the message it belongs to.
//!
//! A socket belongs for its whole life to the network namespace that its opening thread was in; it can be used
//! from any thread afterwards.

use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, getsockopt, recvmsg, send,
    setsockopt, socket, sockopt,
};

use nix::sys::time::{TimeVal, TimeValLike};

use super::attr::Malformed;
use super::message::{Message, MessageReader, Messages, NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR};
use crate::sys;

/// Which kernel subsystem a socket speaks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// `NETLINK_ROUTE`: links, addresses, routes.
    Route,
    /// `NETLINK_NETFILTER`: nf_tables, ip_set, conntrack.
    Netfilter,
}

/// An error that the kernel answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelError {
    /// Number of the message in what was sent, from 0.
    pub number: u32,
    /// The errno, positive. Above 4095 it is a subsystem's own (`ip_set`).
    pub errno: i32,
    /// The kernel's own words, where it had any (extended ack).
    pub text: Option<String>,
    /// Offset of the attribute that it dislikes, from the start of the message.
    pub offset: Option<u32>,
    /// What the kernel sent back of the request, from its `nlmsghdr` on.
    pub echo: Vec<u8>,
}

impl std::fmt::Display for KernelError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let errno = Errno::from_raw(self.errno);
        if errno == Errno::UnknownErrno {
            write!(f, "error {}", self.errno)?;
        } else {
            write!(f, "{} ({errno:?})", errno.desc())?;
        }
        match &self.text {
            Some(text) => write!(f, ": {text}"),
            None => Ok(()),
        }
    }
}

/// Why an exchange failed.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The socket could not be opened or set up.
    #[error("cannot open a netlink socket")]
    Open(#[source] Errno),
    /// The messages could not be sent.
    #[error("cannot send {bytes} bytes over netlink")]
    Send {
        /// How many there were.
        bytes: usize,
        /// Why.
        source: Errno,
    },
    /// No answer could be received.
    #[error("cannot receive over netlink")]
    Receive(#[source] Errno),
    /// An answer did not fit into the buffer.
    #[error("netlink answer of {0} bytes is longer than the receive buffer")]
    Truncated(usize),
    /// An answer is no netlink message.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// What was listed changed while it was listed; ask again.
    #[error("netlink dump was interrupted by a change")]
    Interrupted,
    /// The kernel refused one or more of the messages.
    #[error("{}", join(.0))]
    Kernel(Vec<KernelError>),
}

impl SocketError {
    /// The errno of the first refused message.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Kernel(errors) => errors.first().map(|error| error.errno),
            _ => None,
        }
    }
}

fn join(errors: &[KernelError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Room for the largest answer: a piece of a dump, which the kernel cuts at 32 KiB (`netlink_recvmsg`,
/// `net/netlink/af_netlink.c`). A refused request is not sent back (`NETLINK_CAP_ACK`) but by `ip_set`, whose requests
/// have a few KiB. Every page of it is written once, so more of it costs.
const RECEIVE_BUFFER: usize = 32 * 1024;

/// The port of the kernel.
const KERNEL: u32 = 0;

/// Seconds until an answer is given up. The kernel answers while it is asked, so this is for what it never answers:
/// of several messages without the privilege, nfnetlink refuses the first and forgets the rest.
const PATIENCE: i64 = 10;

/// So many buffers are kept that nobody reads into.
const SPARE_BUFFERS: usize = 4;

/// What was read into and will be again: no answer outlives the question, and a daemon has thousands of sockets. Not one
/// a thread, whose end would have to be watched: that costs a short-lived process more than all its locks.
static BUFFERS: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// A buffer, as long as a question takes.
struct Buffer(Vec<u8>);

impl Buffer {
    fn take() -> Self {
        Self(buffers().pop().unwrap_or_else(|| vec![0; RECEIVE_BUFFER]))
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut buffers = buffers();
        if buffers.len() < SPARE_BUFFERS {
            buffers.push(std::mem::take(&mut self.0));
        }
    }
}

fn buffers() -> MutexGuard<'static, Vec<Vec<u8>>> {
    // a buffer is whole whatever became of who read into it
    BUFFERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A blocking netlink socket.
#[derive(Debug)]
pub struct NetlinkSocket {
    fd: OwnedFd,
    next: u32,
    /// The port that answers are believed from: the kernel's, but in tests of what it never says.
    kernel: u32,
}

impl AsFd for NetlinkSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl NetlinkSocket {
    /// Opens a socket in the network namespace of the calling thread.
    ///
    /// # Errors
    /// [`SocketError::Open`]
    pub fn open(protocol: Protocol) -> Result<Self, SocketError> {
        Self::open_in_groups(protocol, 0)
    }

    fn open_in_groups(protocol: Protocol, groups: u32) -> Result<Self, SocketError> {
        let protocol = match protocol {
            Protocol::Route => SockProtocol::NetlinkRoute,
            Protocol::Netfilter => SockProtocol::NetlinkNetFilter,
        };
        let open = || {
            let fd = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
            bind(fd.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
            setsockopt(&fd, sockopt::ReceiveTimeout, &TimeVal::seconds(PATIENCE))?;
            // without the kernel's words an error is still an error
            let _ = sys::set_netlink_option(&fd, sys::NETLINK_EXT_ACK);
            let _ = sys::set_netlink_option(&fd, sys::NETLINK_CAP_ACK);
            Ok(Self { fd, next: 1, kernel: KERNEL })
        };
        open().map_err(SocketError::Open)
    }

    /// A socket that speaks to another one instead of the kernel.
    #[cfg(test)]
    pub(super) fn to(fd: OwnedFd, port: u32) -> Self {
        Self { fd, next: 1, kernel: port }
    }

    /// Opens a socket in the network namespace of the calling thread that hears what the kernel tells a group.
    ///
    /// # Errors
    /// [`SocketError::Open`]
    pub fn listen(protocol: Protocol, group: u32) -> Result<Self, SocketError> {
        /// So much may come while nobody reads.
        const RECEIVE: usize = 8 << 20;
        let socket = Self::open_in_groups(protocol, 1 << (group - 1))?;
        socket.reserve_receive_buffer(RECEIVE);
        Ok(socket)
    }

    /// Gives all that came unasked to `each`, after waiting for the first as long as `patience`; whether anything came.
    ///
    /// # Errors
    /// What `each` returns; failures of the socket: `ENOBUFS` where something was lost.
    pub fn read_events(
        &self,
        patience: Duration,
        mut each: impl FnMut(Message<'_>) -> Result<(), Malformed>,
    ) -> Result<bool, SocketError> {
        if !patience.is_zero() {
            let timeout = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
            let mut files = [PollFd::new(self.fd.as_fd(), PollFlags::POLLIN)];
            match poll(&mut files, timeout) {
                Ok(0) => return Ok(false),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(SocketError::Receive(errno)),
            }
        }
        let mut heard = false;
        let mut buffer = Buffer::take();
        loop {
            let length = match self.receive(&mut buffer.0, MsgFlags::MSG_DONTWAIT) {
                Ok(length) => length,
                Err(SocketError::Receive(Errno::EAGAIN)) => return Ok(heard),
                Err(error) => return Err(error),
            };
            heard = true;
            for message in MessageReader::new(&buffer.0[..length]) {
                each(message?)?;
            }
        }
    }

    /// Sends `messages` and gives every answer to `each`, until the last message is answered for good: with `NLM_F_ACK`
    /// by an acknowledgement, with `NLM_F_DUMP` by the end of the list, without either by its one answer; or by an error.
    ///
    /// # Errors
    /// [`SocketError::Kernel`] with every message that the kernel refused; [`SocketError::Interrupted`] where a
    /// dump may have holes; what `each` returns; failures of the socket.
    pub fn exchange(
        &mut self,
        messages: &mut Messages,
        mut each: impl FnMut(Message<'_>) -> Result<(), Malformed>,
    ) -> Result<(), SocketError> {
        let Some(last) = messages.count().checked_sub(1) else { return Ok(()) };
        let first = self.send(messages)?;
        let one_answer = messages.has_one_answer();
        let mut refused = Vec::new();
        let mut interrupted = false;
        let mut buffer = Buffer::take();
        loop {
            let length = self.receive(&mut buffer.0, MsgFlags::empty())?;
            for message in MessageReader::new(&buffer.0[..length]) {
                let message = message?;
                let number = message.sequence.wrapping_sub(first);
                if number > last {
                    continue; // an answer to an earlier, failed exchange
                }
                interrupted |= message.flags & NLM_F_DUMP_INTR != 0;
                if !matches!(message.kind, NLMSG_ERROR | NLMSG_DONE) {
                    each(message)?;
                    if !one_answer {
                        continue;
                    }
                } else if message.errno()? != 0 {
                    refused.push(kernel_error(&message, number)?);
                }
                if number == last {
                    return match (refused.is_empty(), interrupted) {
                        (false, _) => Err(SocketError::Kernel(refused)),
                        (true, true) => Err(SocketError::Interrupted),
                        (true, false) => Ok(()),
                    };
                }
            }
        }
    }

    /// Sends `messages`, none of which asks for an acknowledgement, as one datagram, and collects what the kernel
    /// refused; whatever else it answers goes to `each` with the number of the message that it answers. The kernel has
    /// done all its work when `send` returns, so what is not there then never comes (`nfnetlink_rcv`,
    /// `net/netfilter/nfnetlink.c`).
    ///
    /// # Errors
    /// [`SocketError::Kernel`] with every message that the kernel refused, as far as it is known; failures of the socket.
    /// Where receiving fails, for one because answers did not fit the receive buffer (`ENOBUFS`), the kernel may have
    /// refused the messages or not.
    pub fn commit(
        &mut self,
        messages: &mut Messages,
        mut each: impl FnMut(u32, &Message<'_>),
    ) -> Result<(), SocketError> {
        let last = messages.count().saturating_sub(1);
        let first = self.send(messages)?;
        let mut refused = Vec::new();
        let mut missed = None;
        let mut buffer = Buffer::take();
        loop {
            let length = match self.receive(&mut buffer.0, MsgFlags::MSG_DONTWAIT) {
                Ok(length) => length,
                Err(SocketError::Receive(Errno::EAGAIN)) => break,
                // what did fit is still there
                Err(error @ SocketError::Receive(Errno::ENOBUFS)) => {
                    missed = Some(error);
                    continue;
                }
                Err(error) => return Err(error),
            };
            for message in MessageReader::new(&buffer.0[..length]) {
                let message = message?;
                let number = message.sequence.wrapping_sub(first);
                match message.kind {
                    _ if number > last => {} // an answer to an earlier, failed exchange
                    NLMSG_ERROR if message.errno()? != 0 => refused.push(kernel_error(&message, number)?),
                    NLMSG_ERROR => {}
                    _ => each(number, &message),
                }
            }
        }
        match missed {
            _ if !refused.is_empty() => Err(SocketError::Kernel(refused)),
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Room for the answers to a big batch: the default receive buffer overflows at about 300 errors.
    pub fn reserve_receive_buffer(&self, bytes: usize) {
        // the kernel says, and takes, twice what there is room for (`sk_setsockopt`, `net/core/sock.c`)
        if getsockopt(&self.fd, sockopt::RcvBuf).is_ok_and(|there| there / 2 >= bytes) {
            return;
        }
        // best effort: it needs CAP_NET_ADMIN in the initial user namespace
        let _ = setsockopt(&self.fd, sockopt::RcvBufForce, &bytes);
    }

    fn send(&mut self, messages: &mut Messages) -> Result<u32, SocketError> {
        /// The default `SO_SNDBUF` takes about 200 KB; less needs no system call to make room.
        const DEFAULT_SEND_BUFFER: usize = 100 * 1024;
        let first = self.next;
        self.next = self.next.wrapping_add(messages.count());
        let bytes = messages.numbered_from(first);
        if bytes.len() > DEFAULT_SEND_BUFFER {
            let _ = setsockopt(&self.fd, sockopt::SndBufForce, &(bytes.len() * 2));
        }
        let failed = |source| SocketError::Send { bytes: bytes.len(), source };
        let sent = loop {
            match send(self.fd.as_raw_fd(), bytes, MsgFlags::empty()) {
                Err(Errno::EINTR) => {}
                other => break other.map_err(failed)?,
            }
        };
        if sent == bytes.len() { Ok(first) } else { Err(failed(Errno::EMSGSIZE)) }
    }

    fn receive(&self, buffer: &mut [u8], flags: MsgFlags) -> Result<usize, SocketError> {
        let room = buffer.len();
        loop {
            let mut pieces = [IoSliceMut::new(buffer)];
            let received = recvmsg(self.fd.as_raw_fd(), &mut pieces, None, flags | MsgFlags::MSG_TRUNC);
            let (length, sender): (_, Option<NetlinkAddr>) = match received {
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(SocketError::Receive(errno)),
                Ok(message) => (message.bytes, message.address),
            };
            // whoever has CAP_NET_ADMIN in the namespace can send to us, a workload too (`netlink_sendmsg`,
            // `net/netlink/af_netlink.c`)
            if sender.is_none_or(|sender| sender.pid() != self.kernel) {
                continue;
            }
            return if length > room { Err(SocketError::Truncated(length)) } else { Ok(length) };
        }
    }
}

fn kernel_error(message: &Message<'_>, number: u32) -> Result<KernelError, Malformed> {
    let (text, offset) = message.extended_ack();
    Ok(KernelError {
        number,
        errno: message.errno()?,
        text: text.map(str::to_owned),
        offset,
        echo: message.payload.get(4..).unwrap_or_default().to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use fwn_testkit::Netns;
    use nix::sys::socket::{getsockname, sendto};

    use super::*;
    use crate::netlink::attr::AttrWriter;
    use crate::netlink::message::NLM_F_ACK;

    /// Who has `CAP_NET_ADMIN` in the namespace can send to our socket; only the kernel is believed.
    #[test]
    fn what_others_send_is_no_answer() {
        let netns = Netns::new();
        let (mut socket, other) = netns.run(|| {
            let open = || NetlinkSocket::open(Protocol::Netfilter).expect("a socket");
            (open(), open())
        });
        let port = getsockname::<NetlinkAddr>(socket.fd.as_raw_fd()).expect("bound").pid();
        let send = |bytes: &[u8]| {
            let to = NetlinkAddr::new(port, 0);
            sendto(other.fd.as_raw_fd(), bytes, &to, MsgFlags::empty()).expect("sent");
        };
        // the acknowledgement of what is asked next, and no message at all
        let mut forged = Messages::default();
        forged.push(NLMSG_ERROR, 0, &[0; 20], |_| ()).expect("short");
        send(forged.numbered_from(socket.next));
        send(&[0xff; 3]);

        // a table that is not there
        let mut messages = Messages::default();
        messages
            .push(0x0a01, NLM_F_ACK, &[2, 0, 0, 0], |attrs| {
                attrs.string(1, "nosuch");
            })
            .expect("short");
        let error = socket.exchange(&mut messages, |_| Ok(())).expect_err("refused by the kernel");
        assert_eq!(error.errno(), Some(libc::ENOENT), "{error:?}");
    }

    #[test]
    fn room_for_answers_does_not_become_less() {
        let socket = Netns::new().run(|| NetlinkSocket::open(Protocol::Netfilter)).expect("a socket");
        let room = || getsockopt(&socket, sockopt::RcvBuf).expect("known");
        let before = room();
        socket.reserve_receive_buffer(1);
        assert_eq!(room(), before);
        socket.reserve_receive_buffer(before * 2);
        assert_eq!(room(), before * 4, "the kernel doubles it");
    }

    /// Where reading an answer fails, those to the messages behind it stay in the socket.
    #[test]
    fn what_was_refused_earlier_is_no_refusal_of_a_batch() {
        let mut socket = Netns::new().run(|| NetlinkSocket::open(Protocol::Netfilter)).expect("a socket");
        let mut questions = Messages::default();
        // the generation, and a table that is not there
        questions.push(0x0a10, 0, &[0; 4], |_| ()).expect("short");
        let nosuch = |attrs: &mut AttrWriter<'_>| {
            attrs.string(1, "nosuch");
        };
        questions.push(0x0a01, NLM_F_ACK, &[2, 0, 0, 0], nosuch).expect("short");
        let error = socket.exchange(&mut questions, |_| Err(Malformed)).expect_err("not understood");
        assert!(matches!(error, SocketError::Malformed(_)), "{error:?}");
        // nothing
        let mut batch = Messages::default();
        for kind in [0x10, 0x11] {
            batch.push(kind, 0, &[0, 0, 0, 10], |_| ()).expect("short");
        }
        let mut answers = 0;
        socket.commit(&mut batch, |_, _| answers += 1).expect("nothing is wrong with it");
        assert_eq!(answers, 0);
    }
}
