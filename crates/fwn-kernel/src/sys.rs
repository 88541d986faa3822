//! The few system calls that no library wraps. One of two files with unsafe code; the other is the plugin's
//! allocator.
#![expect(
    unsafe_code,
    reason = "socket options, addresses, terminal sizes and descriptors of others, which nix does not have"
)]

use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};

/// `NETLINK_EXT_ACK` (`linux/netlink.h`): errors come with the kernel's own words.
pub(crate) const NETLINK_EXT_ACK: libc::c_int = 11;
/// `NETLINK_CAP_ACK` (`linux/netlink.h`): errors come without the request that they are about.
pub(crate) const NETLINK_CAP_ACK: libc::c_int = 10;
/// `SOL_NETLINK` (`linux/socket.h`)
const SOL_NETLINK: libc::c_int = 270;
/// `SO_NETNS_COOKIE` (`asm-generic/socket.h`), since Linux 5.14.
const SO_NETNS_COOKIE: libc::c_int = 71;

/// Turns a boolean option of a netlink socket on.
///
/// # Errors
/// The errno of `setsockopt`.
pub(crate) fn set_netlink_option(socket: &impl AsFd, option: libc::c_int) -> Result<(), Errno> {
    let on: libc::c_int = 1;
    // SAFETY: the descriptor is open for the length of the borrow, and pointer and length are those of `on`.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            SOL_NETLINK,
            option,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    Errno::result(result).map(drop)
}

/// The cookie of the network namespace that a socket belongs to: a number that this kernel never gives twice.
///
/// # Errors
/// The errno of `getsockopt`: `ENOPROTOOPT` before Linux 5.14.
pub(crate) fn netns_cookie(socket: &impl AsFd) -> Result<u64, Errno> {
    let mut cookie: u64 = 0;
    let mut length = size_of_val(&cookie) as libc::socklen_t;
    // SAFETY: the descriptor is open for the length of the borrow, and pointer and length are those of `cookie`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    Errno::result(result).map(|_| cookie)
}

/// Binds a packet socket to an interface, for sending: it receives nothing.
///
/// # Errors
/// The errno of `bind`.
pub(crate) fn bind_packet(socket: &impl AsFd, index: u32) -> Result<(), Errno> {
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as libc::sa_family_t,
        sll_protocol: 0,
        sll_ifindex: index.cast_signed(),
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    // SAFETY: the descriptor is open for the length of the borrow, and pointer and length are those of `address`.
    let result = unsafe {
        libc::bind(
            socket.as_fd().as_raw_fd(),
            (&raw const address).cast(),
            size_of_val(&address) as libc::socklen_t,
        )
    };
    Errno::result(result).map(drop)
}

/// Packets of a packet socket go to the driver at once (`PACKET_QDISC_BYPASS`, `linux/if_packet.h`).
///
/// # Errors
/// The errno of `setsockopt`.
pub(crate) fn bypass_queue(socket: &impl AsFd) -> Result<(), Errno> {
    const PACKET_QDISC_BYPASS: libc::c_int = 20;
    let on: libc::c_int = 1;
    // SAFETY: the descriptor is open for the length of the borrow, and pointer and length are those of `on`.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_PACKET,
            PACKET_QDISC_BYPASS,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    Errno::result(result).map(drop)
}

/// Makes a socket a member of an IPv4 group on an interface.
///
/// # Errors
/// The errno of `setsockopt`.
pub(crate) fn join_group(socket: &impl AsFd, group: Ipv4Addr, index: u32) -> Result<(), Errno> {
    let request = libc::ip_mreqn {
        imr_multiaddr: libc::in_addr { s_addr: u32::from_ne_bytes(group.octets()) },
        imr_address: libc::in_addr { s_addr: 0 },
        imr_ifindex: index.cast_signed(),
    };
    // SAFETY: the descriptor is open for the length of the borrow, and pointer and length are those of `request`.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_ADD_MEMBERSHIP,
            (&raw const request).cast(),
            size_of_val(&request) as libc::socklen_t,
        )
    };
    Errno::result(result).map(drop)
}

/// Columns and rows of the terminal that `terminal` is; 0 where it does not say.
///
/// # Errors
/// The errno of `ioctl`: `ENOTTY` where it is none.
pub(crate) fn terminal_size(terminal: &impl AsFd) -> Result<(u16, u16), Errno> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the descriptor is open for the length of the borrow, and `TIOCGWINSZ` writes one `winsize`.
    let result = unsafe { libc::ioctl(terminal.as_fd().as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) };
    Errno::result(result).map(|_| (size.ws_col, size.ws_row))
}

/// Descriptors that the kernel has just put into this process with a message.
pub(crate) fn own(received: Vec<RawFd>) -> impl Iterator<Item = OwnedFd> {
    // SAFETY: `recvmsg` made each of them for this message, and whoever received it gives them away here.
    received.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A descriptor that was open when this program was started, closed on exec from now on. The caller sees to it that
/// each is asked for once.
///
/// # Errors
/// `EBADF`: it is not open.
pub(crate) fn inherited(number: RawFd) -> Result<OwnedFd, Errno> {
    // SAFETY: the call takes any number, and tells whether it is an open descriptor.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
    Errno::result(flags)?;
    // SAFETY: it is open, and nothing in this program owns it: whoever started us put it there.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    fcntl(&fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    Ok(fd)
}

/// A descriptor of a process.
///
/// # Errors
/// The errno of `pidfd_open`.
pub(crate) fn pidfd_open(pid: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: the call takes two numbers, and no flag is set.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = Errno::result(fd)?;
    // SAFETY: the kernel has just made it, for us alone; a descriptor is an int.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}
