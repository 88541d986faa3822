//! A kernel that a test plays: it gets every request and answers with whatever bytes it likes.

use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, connect, getsockname, recv,
    send, socket,
};

use super::attr::{align, ne32};
use super::message::{HEADER, NLM_F_DUMP, NLMSG_DONE, NLMSG_ERROR};
use super::socket::NetlinkSocket;

/// Runs `work` with a socket whose requests `answers` answers: it is given each request, and gives the datagrams that
/// come before the last answer, which the request asks for and always gets.
pub(crate) fn with_kernel<T>(
    answers: impl Fn(&[u8]) -> Vec<Vec<u8>> + Sync,
    work: impl FnOnce(NetlinkSocket) -> T,
) -> T {
    let (kernel, client) = (open(), open());
    let port = |fd: &OwnedFd| getsockname::<NetlinkAddr>(fd.as_raw_fd()).expect("bound").pid();
    connect(client.as_raw_fd(), &NetlinkAddr::new(port(&kernel), 0)).expect("there");
    connect(kernel.as_raw_fd(), &NetlinkAddr::new(port(&client), 0)).expect("there");
    let end = client.try_clone().expect("a descriptor");
    let socket = NetlinkSocket::to(client, port(&kernel));
    std::thread::scope(|scope| {
        let served = scope.spawn(|| serve(&kernel, &answers));
        let result = work(socket);
        // too short for a request; only the peer of a connected socket can send to it
        send(end.as_raw_fd(), b"end", MsgFlags::empty()).expect("sent");
        served.join().expect("no panic");
        result
    })
}

fn serve(kernel: &OwnedFd, answers: &(impl Fn(&[u8]) -> Vec<Vec<u8>> + Sync)) {
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let length = recv(kernel.as_raw_fd(), &mut buffer, MsgFlags::empty()).expect("received");
        let request = &buffer[..length];
        if length < HEADER {
            return;
        }
        for answer in answers(request) {
            send(kernel.as_raw_fd(), &answer, MsgFlags::empty()).expect("sent");
        }
        if let Some(last) = last_answer(request) {
            send(kernel.as_raw_fd(), &last, MsgFlags::empty()).expect("sent");
        }
    }
}

/// What ends all waiting for answers to the last message of a request: the end of a dump, or an acknowledgement. Where
/// none was asked for it comes too late to matter.
fn last_answer(request: &[u8]) -> Option<Vec<u8>> {
    let mut last = request;
    while let Some(rest) =
        last.get(align(ne32(last, 0)? as usize).max(HEADER)..).filter(|rest| !rest.is_empty())
    {
        last = rest;
    }
    let flags = u16::from_ne_bytes([*last.get(6)?, *last.get(7)?]);
    let kind = match flags {
        _ if flags & NLM_F_DUMP == NLM_F_DUMP => NLMSG_DONE,
        _ => NLMSG_ERROR,
    };
    Some(message(kind, ne32(last, 8)?, &[0; 4]))
}

/// A message that answers the request with this sequence number.
pub(crate) fn message(kind: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = ((HEADER + payload.len()) as u32).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend([0; 2]);
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes.resize(align(bytes.len()), 0);
    bytes
}

fn open() -> OwnedFd {
    let protocol = SockProtocol::NetlinkUserSock;
    let fd =
        socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol).expect("a socket");
    bind(fd.as_raw_fd(), &NetlinkAddr::new(0, 0)).expect("bound");
    fd
}
