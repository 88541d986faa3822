//! Descriptors that come from others: handed over by whoever started us, sent over a unix socket, or of a process that
//! may end at any time.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

use crate::sys;

/// Most descriptors that a message can bring (`SCM_MAX_FD`, `net/scm.h`): where there were room for fewer, those that
/// have been put into this process would have no owner.
const MOST: usize = 253;

/// Receives bytes and the descriptors that come with them; does not wait.
///
/// # Errors
/// Those of `recvmsg(2)`, `WouldBlock` where there is nothing.
pub fn receive(socket: &impl AsFd, room: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut control = cmsg_space!([RawFd; MOST]);
    let mut pieces = [IoSliceMut::new(room)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT;
    let message = recvmsg::<()>(socket.as_fd().as_raw_fd(), &mut pieces, Some(&mut control), flags)?;
    let mut fds = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(received) = control {
            fds.extend(sys::own(received));
        }
    }
    Ok((message.bytes, fds))
}

/// The descriptor of this number that was open when this program was started, closed on exec from now on. It is given
/// once.
///
/// # Errors
/// `EBADF`: it is not open, or was given already.
pub fn inherited(number: RawFd) -> Result<OwnedFd, Errno> {
    static GIVEN: AtomicBool = AtomicBool::new(false);
    if GIVEN.swap(true, Ordering::Relaxed) {
        return Err(Errno::EBADF);
    }
    sys::inherited(number)
}

/// A descriptor of a process, readable once it has ended (`pidfd_open(2)`, since Linux 5.3).
///
/// # Errors
/// `ESRCH`: there is none.
pub fn of_process(pid: i32) -> Result<OwnedFd, Errno> {
    sys::pidfd_open(pid)
}

#[cfg(test)]
mod tests {
    use std::io::{IoSlice, Read, Write};
    use std::os::unix::net::UnixStream;

    use nix::sys::socket::{ControlMessage, sendmsg};

    use super::*;

    /// What is not used is closed: the other end of it notices.
    #[test]
    fn however_many_come_none_stays_open_unowned() {
        for count in [1, 4, 5, 253] {
            let (sender, peer) = UnixStream::pair().expect("a pair");
            let (mut sent, mut other_end) = UnixStream::pair().expect("a pair");
            sent.write_all(b"x").expect("sent");
            let fds = vec![sent.as_raw_fd(); count];
            let rights = [ControlMessage::ScmRights(&fds)];
            sendmsg::<()>(sender.as_raw_fd(), &[IoSlice::new(b"line")], &rights, MsgFlags::empty(), None)
                .expect("sent");
            let (length, received) = receive(&peer, &mut [0; 16]).expect("received");
            assert_eq!((length, received.len()), (4, count));
            drop((sent, received, sender, peer));
            // a child that was forked meanwhile has them, too, until it runs its program
            other_end.set_read_timeout(Some(std::time::Duration::from_secs(10))).expect("set");
            let mut rest = Vec::new();
            other_end.read_to_end(&mut rest).unwrap_or_else(|error| panic!("{count}: still open: {error}"));
            assert_eq!(rest, b"x");
        }
    }
}
