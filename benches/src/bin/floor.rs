//! The floor: the smallest program that does what the kernel has to be asked for. Enters the namespace, opens a
//! socket, sends the datagrams of a recording, reads the answers. It knows nothing of rules.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::process::ExitCode;

use fwn_bench::recording::{Header, datagrams, messages};
use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, setsockopt,
    socket, sockopt,
};

/// `NLMSG_ERROR` (`linux/netlink.h`)
const NLMSG_ERROR: u16 = 2;
/// `NLMSG_DONE` (`linux/netlink.h`)
const NLMSG_DONE: u16 = 3;
/// What a socket takes without being asked for more is about twice as much.
const DEFAULT_SEND_BUFFER: usize = 100 * 1024;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(netns), Some(recording), None) = (arguments.next(), arguments.next(), arguments.next()) else {
        return failed("usage: floor NETNS RECORDING");
    };
    match replay(netns.as_ref(), recording.as_ref()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error.to_string()),
    }
}

fn failed(message: &str) -> ExitCode {
    use std::io::Write;
    // where stderr is closed nobody listens
    let _ = writeln!(io::stderr(), "floor: {message}");
    ExitCode::FAILURE
}

fn replay(netns: &Path, recording: &Path) -> io::Result<()> {
    let recording = std::fs::read(recording)?;
    let datagrams = datagrams(&recording).map_err(io::Error::other)?;
    setns(File::open(netns)?, CloneFlags::CLONE_NEWNET)?;
    let longest = datagrams.iter().map(|datagram| datagram.len()).max().unwrap_or_default();
    let mut socket = open(longest)?;
    let mut buffer = vec![0; 256 * 1024];
    for datagram in datagrams {
        if datagram.is_empty() {
            drop(socket);
            socket = open(longest)?;
            continue;
        }
        send(socket.as_raw_fd(), datagram, MsgFlags::empty())?;
        answers(socket.as_raw_fd(), datagram, &mut buffer)?;
    }
    Ok(())
}

/// A socket that takes datagrams of `longest` bytes.
fn open(longest: usize) -> io::Result<OwnedFd> {
    let family = AddressFamily::Netlink;
    let fd = socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkNetFilter)?;
    bind(fd.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
    if longest > DEFAULT_SEND_BUFFER {
        setsockopt(&fd, sockopt::SndBufForce, &(2 * longest))?;
    }
    Ok(fd)
}

/// Reads what the kernel says to a datagram. An error is one only where something was to be changed: asking for what
/// is not there is answered by one, too.
fn answers(socket: i32, datagram: &[u8], buffer: &mut [u8]) -> io::Result<()> {
    let (mut change, mut last) = (false, None);
    for (header, _) in messages(datagram) {
        change |= header.is_change();
        last = Some(header);
    }
    let Some(last) = last else { return Ok(()) };
    // the kernel has done its work when `send` returns: without a last answer, all there is has come
    let flags = if last.is_answered() { MsgFlags::empty() } else { MsgFlags::MSG_DONTWAIT };
    loop {
        let length = match recv(socket, buffer, flags) {
            Err(Errno::EAGAIN) => return Ok(()),
            other => other?,
        };
        for (header, payload) in messages(buffer.get(..length).unwrap_or_default()) {
            let errno = errno_of(header, payload);
            if change && errno != 0 {
                return Err(io::Error::from_raw_os_error(-errno));
            }
            if last.is_answered() && header.sequence == last.sequence && is_last(header) {
                return Ok(());
            }
        }
    }
}

fn is_last(header: Header) -> bool {
    matches!(header.kind, NLMSG_ERROR | NLMSG_DONE)
}

fn errno_of(header: Header, payload: &[u8]) -> i32 {
    match payload.first_chunk() {
        Some(errno) if header.kind == NLMSG_ERROR => i32::from_ne_bytes(*errno),
        _ => 0,
    }
}
