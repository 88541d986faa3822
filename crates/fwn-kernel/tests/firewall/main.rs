//! The firewall of one attachment against the real kernel: what is observed, composed, put in force, compared
//! and removed. `iptables`, `iptables-save` and `nft` are the oracles.

mod apply;
mod compare;
mod confirm;
mod kit;
mod observe;
mod remove;

use std::fs::File;

use fwn_kernel::firewall::observed::{self, Ruleset};
use fwn_kernel::netlink::socket::{NetlinkSocket, Protocol};
use fwn_kernel::nft;
use fwn_testkit::Netns;
use nix::sched::{CloneFlags, setns};

/// A netfilter socket in the namespace.
fn socket(netns: &Netns) -> NetlinkSocket {
    let open = || {
        let file = File::open(netns.path()).expect("exists");
        setns(file, CloneFlags::CLONE_NEWNET).expect("enters");
        NetlinkSocket::open(Protocol::Netfilter).expect("opens")
    };
    // a thread of its own: there is no way back to miss
    std::thread::scope(|scope| scope.spawn(open).join().expect("opens"))
}

/// What is in force in the namespace.
fn ruleset(netns: &Netns) -> Ruleset {
    observed::observe(&mut socket(netns)).expect("can be read")
}

/// The same, with every byte of its rules.
fn verbatim(netns: &Netns) -> nft::observe::Ruleset {
    nft::observe::observe(&mut socket(netns)).expect("can be read")
}
