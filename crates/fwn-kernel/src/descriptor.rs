//! Descriptors that come from others: handed over by whoever started us, sent over a unix socket, or of a process that
//! may end at any time.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

use crate::sys;

/// Most descriptors that are taken in one go; the kernel closes the rest.
const MOST: usize = 4;

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
