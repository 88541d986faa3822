//! The two scratch namespaces and the link between them. They are held by descriptors of this process alone, so they
//! are gone when it ends, however it ends. The machine's own namespace is never entered for a change.

use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use fwn_kernel::ipset::SetClient;
use fwn_kernel::netns::TargetNetns;
use fwn_kernel::nft::observe::probe;
use fwn_kernel::route::{
    AddressOptions, IpPrefix, Link, LinkChange, LinkEnd, MacvlanMode, RouteError, RouteSocket,
};
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};

use super::DemoError;

/// The host's interface that the container sits on, as in the example.
pub(super) const MASTER: &str = "eth1";
/// The other end of the cable.
pub(super) const LAN: &str = "lan0";
/// Its address, in the network of the example.
pub(super) const LAN_ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 168, 124, 1);
/// Length of that network's prefix.
pub(super) const LAN_PREFIX: u8 = 24;

/// Where the demo plays.
#[derive(Debug)]
pub(super) struct Stage {
    /// Where the plugins run, and where packets come from.
    pub(super) host: TargetNetns,
    /// Where the firewall goes.
    pub(super) container: TargetNetns,
    /// The paths of the two lead through these.
    _held: [File; 2],
}

impl Stage {
    /// Makes both, and the link, and makes sure that the kernel has what the example needs.
    ///
    /// # Errors
    /// What the kernel lacks, or root.
    pub(super) fn build() -> Result<Self, DemoError> {
        let held = [new_netns()?, new_netns()?];
        let [host, container] = [TargetNetns::open(&path(&held[0]))?, TargetNetns::open(&path(&held[1]))?];
        let stage = Self { host, container, _held: held };
        stage.host.run(probe)?.map_err(DemoError::NfTables)?;
        stage.host.run(SetClient::open_here)?.map_err(DemoError::IpSet)?;
        stage.connect()?;
        Ok(stage)
    }

    /// `eth1` and `lan0`, two ends of one cable, both in the host: what the container sends on `eth1` comes in at
    /// `lan0`, as if it were another machine.
    fn connect(&self) -> Result<(), DemoError> {
        let mut socket = RouteSocket::open_in(&self.host)?;
        let made = socket.add_veth(&LinkEnd::new(MASTER), &LinkEnd::new(LAN));
        made.map_err(|error| lacking("veth", error))?;
        let [master, lan] = [find(&mut socket, MASTER)?, find(&mut socket, LAN)?];
        for link in [&find(&mut socket, "lo")?, &master, &lan] {
            socket.change_link(link, LinkChange::Up)?;
        }
        let prefix = IpPrefix::new(LAN_ADDRESS.into(), LAN_PREFIX).map_err(DemoError::Prefix)?;
        socket.add_address(&lan, prefix, AddressOptions::default())?;
        // better known now than as an error of the plugin
        let made = socket.add_macvtap(&LinkEnd::new("probe0"), &master, MacvlanMode::Bridge);
        made.map_err(|error| lacking("macvtap", error))?;
        let tried = find(&mut socket, "probe0")?;
        Ok(socket.delete_link(&tried)?)
    }
}

/// A fresh network namespace, held by its descriptor.
fn new_netns() -> Result<File, DemoError> {
    let inside = || {
        unshare(CloneFlags::CLONE_NEWNET)?;
        // `/proc/self` would be the main thread's
        File::open("/proc/thread-self/ns/net")
    };
    // on a thread that ends with it: this one stays where it is
    let made = std::thread::scope(|scope| scope.spawn(inside).join());
    made.unwrap_or_else(|panic| std::panic::resume_unwind(panic)).map_err(DemoError::Namespace)
}

/// A path to a descriptor of ours that other processes can open.
fn path(file: &File) -> PathBuf {
    format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd()).into()
}

fn find(socket: &mut RouteSocket, name: &'static str) -> Result<Link, DemoError> {
    socket.link(name)?.ok_or(DemoError::LinkGone(name))
}

fn lacking(kind: &'static str, error: RouteError) -> DemoError {
    // `rtnl_newlink`, `net/core/rtnetlink.c`: unknown device type
    if error.errno() == Some(Errno::EOPNOTSUPP) {
        DemoError::NoLinkKind(kind)
    } else {
        DemoError::Route(error)
    }
}
