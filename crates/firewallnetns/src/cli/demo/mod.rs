//! `demo`: the documented example, run for real in two scratch namespaces and shown. What is expected is compared
//! with what happens; nothing of the machine is touched, and nothing is left behind.

mod interrupt;
pub(crate) mod ipam;
mod listing;
mod packets;
mod report;
mod stage;
mod workspace;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use fwn_cni::chain::{Chain, RuntimeConf};
use fwn_cni::error::CniError;
use fwn_cni::exec::ProcessExecutor;
use fwn_cni::network_list::{ListError, NetworkList};
use fwn_cni::result::AddResult;
use fwn_kernel::ipset::{SetClient, SetError};
use fwn_kernel::netlink::socket::{NetlinkSocket, Protocol, SocketError};
use fwn_kernel::netns::NetnsError;
use fwn_kernel::nft::observe::{NftError, observe};
use fwn_kernel::route::{PrefixError, RouteError, RouteSocket};
use fwn_node::causes::with_causes;
use fwn_plan::set::{Addresses, Element, Entry, EntryOptions, SetKind};
use nix::errno::Errno;

use super::{Environment, FAILURE, SUCCESS, network, print_to, render_error};
use crate::Streams;
use crate::state::StateError;
use interrupt::Interrupts;
use packets::{Outcome, ping, tcp};
use report::Report;
use stage::{LAN, LAN_ADDRESS, LAN_PREFIX, MASTER, Stage};
use workspace::{CLOSED_NETWORK, EXAMPLE_NETWORK, Ipam, Workspace};

pub(super) const EXAMPLES: &str = "\
Examples:
  firewallnetns demo
  TMPDIR=/run CNI_PATH=/opt/cni/bin:/usr/lib/cni firewallnetns demo";

/// The example needs nothing but the native engine, and so asks for it.
const ENGINE: &str = "native";
/// The set of the example.
const SET: &str = "blacklistweb";
/// No plugin here takes longer, unless something hangs.
const PLUGIN_LIMIT: Duration = Duration::from_secs(30);

/// Why the demo could not be shown to its end.
#[derive(Debug, thiserror::Error)]
enum DemoError {
    /// Not root.
    #[error(
        "the demo makes network namespaces, interfaces and rules, and needs root for that; hint: run it with sudo"
    )]
    NotRoot,
    /// No namespace.
    #[error("cannot make a network namespace (root, CAP_SYS_ADMIN and CONFIG_NET_NS are needed)")]
    Namespace(#[source] io::Error),
    /// A namespace cannot be used.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// No nf_tables.
    #[error(
        "the kernel's nf_tables cannot be used; hint: `modprobe nf_tables`, or a kernel with CONFIG_NF_TABLES"
    )]
    NfTables(#[source] NftError),
    /// No ip_set.
    #[error("the kernel's ip_set cannot be used; hint: `modprobe ip_set`, or a kernel with CONFIG_IP_SET")]
    IpSet(#[source] SetError),
    /// A kind of interface is missing.
    #[error(
        "this kernel cannot make an interface of kind `{0}`; hint: `modprobe {0}`, or a kernel with CONFIG_{upper}",
        upper = .0.to_uppercase()
    )]
    NoLinkKind(&'static str),
    /// An interface cannot be made.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// An interface that was just made is not there.
    #[error("interface `{0}` is gone")]
    LinkGone(&'static str),
    /// The address of the link is none.
    #[error("the demo's own address is malformed")]
    Prefix(#[source] PrefixError),
    /// The other plugin is missing.
    #[error(
        "the plugin `macvtap` is not in {}; hint: `cargo build` makes it beside this program",
        searched.iter().map(|dir| dir.display().to_string()).collect::<Vec<_>>().join(", ")
    )]
    NoMacvtap {
        /// Where it was looked for.
        searched: Vec<PathBuf>,
    },
    /// A file.
    #[error("cannot {action} `{path}`")]
    Io {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The example is not JSON.
    #[error("the example cannot be read")]
    Example(#[source] serde_json::Error),
    /// Its file is no network.
    #[error("the demo's network cannot be read")]
    Network(#[from] ListError),
    /// A plugin failed.
    #[error("{0}")]
    Plugin(CniError),
    /// The result has no IPv4 address.
    #[error("the result of ADD has no IPv4 address")]
    NoAddress,
    /// The state file cannot be read.
    #[error(transparent)]
    State(StateError),
    /// The container cannot be looked at.
    #[error("cannot look at the container")]
    Observe(#[source] NftError),
    /// No netlink socket.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// A packet could not be sent.
    #[error("cannot {what} in the scratch namespaces")]
    Packet {
        /// What was tried.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// Signals cannot be watched.
    #[error("cannot block signals")]
    Signals(#[source] Errno),
    /// A signal came.
    #[error("interrupted by signal {0}; everything was removed")]
    Interrupted(u8),
    /// Nobody reads.
    #[error("the report cannot be printed")]
    Output(#[from] io::Error),
}

/// Shows the demo; gives the exit code: 0 only if every expectation held.
pub(super) fn run(environment: Environment<'_>, streams: &mut Streams<'_>) -> u8 {
    // once this returns, everything is removed
    match show(environment, streams.stdout) {
        Ok(true) => SUCCESS,
        Ok(false) => FAILURE,
        Err(DemoError::Plugin(error)) => print_to(streams.stderr, &render_error(&error), FAILURE),
        Err(error) => {
            // as a shell has it for a program that a signal ended
            let code = if let DemoError::Interrupted(signal) = error { 128 + signal } else { FAILURE };
            print_to(streams.stderr, &format!("error: {}\n", with_causes(&error)), code)
        }
    }
}

fn show(environment: Environment<'_>, out: &mut dyn io::Write) -> Result<bool, DemoError> {
    if !nix::unistd::geteuid().is_root() {
        return Err(DemoError::NotRoot);
    }
    let interrupts = Interrupts::watch()?;
    let workspace = Workspace::create(environment, ENGINE)?;
    let stage = Stage::build()?;
    let mut demo = Demo { interrupts, workspace, stage, report: Report::new(out) };
    demo.introduce()?;
    demo.example()?;
    demo.closed()?;
    let Demo { report, workspace, stage, .. } = demo;
    drop((workspace, stage));
    Ok(report.close()?)
}

struct Demo<'a> {
    report: Report<'a>,
    interrupts: Interrupts,
    workspace: Workspace,
    stage: Stage,
}

impl Demo<'_> {
    fn introduce(&mut self) -> Result<(), DemoError> {
        let version = env!("CARGO_PKG_VERSION");
        self.report.headline(&format!(
            "firewallnetns {version}: the documented example in two scratch namespaces"
        ))?;
        let host = format!("a namespace of its own: {MASTER} --cable-- {LAN} {LAN_ADDRESS}/{LAN_PREFIX}");
        self.report.fact("host", &host)?;
        self.report.fact("container", &"another one, empty")?;
        self.report
            .fact("engine", &"native: rules and sets go to the kernel by netlink, no program is run")?;
        let ipam = match &self.workspace.ipam {
            Ipam::HostLocal(path) => format!("host-local ({})", path.display()),
            Ipam::BuiltIn => "one fixed address, built in: the plugin `host-local` was not found".to_owned(),
        };
        self.report.fact("addresses", &ipam)?;
        let path = self.workspace.path();
        self.report.fact("files", &format!("{}, removed at the end", path.display()))?;
        Ok(())
    }

    /// The seed: mostly open, with a set of sources that are kept from the web ports.
    fn example(&mut self) -> Result<(), DemoError> {
        self.report.section("ADD: the plugins macvtap and firewallnetns, chained")?;
        let address = self.add(EXAMPLE_NETWORK, true)?;

        self.report.section("What is in force in the container")?;
        for listing in listing::listings(&self.stage.container, &self.workspace.join("state"))? {
            self.report.text(&listing.title, &listing.text)?;
        }

        self.report.section(&format!("Packets from {LAN_ADDRESS} to {address}"))?;
        self.ping(address, "accepted: icmptype 8")?;
        self.tcp_in(address, 8080, "accepted: dpt:8080", Outcome::Connected)?;
        self.tcp_in(address, 8081, "no rule; policy ACCEPT", Outcome::Connected)?;
        self.tcp_in(address, 80, "the set is empty", Outcome::Connected)?;
        self.change_set(true)?;
        self.tcp_in(address, 80, "source in the set: reset", Outcome::Refused)?;
        self.tcp_in(address, 8080, "another port: still accepted", Outcome::Connected)?;
        self.change_set(false)?;
        self.tcp_in(address, 80, "the set is empty again", Outcome::Connected)?;

        self.report.section("DEL: the container is as it was")?;
        self.del(EXAMPLE_NETWORK)
    }

    /// What `default-policy` is for: everything closed but what a rule opens.
    fn closed(&mut self) -> Result<(), DemoError> {
        self.report.section("The same with all policies DROP (default-policy, allow-ping, port 8080)")?;
        let address = self.add(CLOSED_NETWORK, false)?;
        self.ping(address, "accepted: allow-ping")?;
        self.tcp_in(address, 8080, "accepted: dpt:8080", Outcome::Connected)?;
        self.tcp_in(address, 8081, "no rule; policy DROP", Outcome::Silence)?;
        self.interrupts.check()?;
        let out = SocketAddr::new(LAN_ADDRESS.into(), 8080);
        let got = tcp(&self.stage.container, &self.stage.host, out)?;
        self.report.expect("tcp 8080, outwards", "no rule; policy DROP", &Outcome::Silence, &got)?;
        self.del(CLOSED_NETWORK)
    }

    /// Attaches the container; gives its address.
    fn add(&mut self, network: &str, show: bool) -> Result<Ipv4Addr, DemoError> {
        self.interrupts.check()?;
        let (list, rt) = self.attachment(network)?;
        let start = Instant::now();
        let result = self.chained(|chain| chain.add(&list, &rt))?;
        if show {
            let mut text = Vec::new();
            network::print_pretty(result.get(), &mut text)?;
            self.report.text(
                &format!("result, after {} ms", start.elapsed().as_millis()),
                &String::from_utf8_lossy(&text),
            )?;
        }
        let result = AddResult::parse(result.get(), list.version).map_err(DemoError::Plugin)?;
        let address = result.ips.iter().find_map(|ip| match ip.address.addr {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        });
        address.ok_or(DemoError::NoAddress)
    }

    /// Detaches the container, and looks whether anything is left.
    fn del(&mut self, network: &str) -> Result<(), DemoError> {
        self.interrupts.check()?;
        let (list, rt) = self.attachment(network)?;
        self.chained(|chain| chain.del(&list, &rt))?;
        let container = &self.stage.container;
        let mut socket = container.run(|| NetlinkSocket::open(Protocol::Netfilter))??;
        let tables = observe(&mut socket).map_err(DemoError::Observe)?.tables.len();
        let mut sets = SetClient::open(container).map_err(DemoError::IpSet)?;
        let sets = sets.list_headers().map_err(DemoError::IpSet)?.len();
        let links = RouteSocket::open_in(container)?.links()?;
        let links = links.iter().filter(|link| link.name != "lo").count();
        self.report.expect("after DEL", "tables of rules", &0, &tables)?;
        self.report.expect("", "sets", &0, &sets)?;
        Ok(self.report.expect("", "interfaces beside lo", &0, &links)?)
    }

    fn attachment(&self, network: &str) -> Result<(NetworkList, RuntimeConf), DemoError> {
        let list = NetworkList::load(&self.workspace.join("net.d"), network)?;
        let rt = RuntimeConf {
            container_id: "demo".to_owned(),
            netns: Some(self.stage.container.path().to_owned()),
            ifname: "eth0".to_owned(),
            ..RuntimeConf::default()
        };
        Ok((list, rt))
    }

    /// Runs plugins in the scratch host: children are in the namespace of the thread that starts them.
    fn chained<T: Send>(
        &self,
        work: impl FnOnce(&Chain<'_>) -> Result<T, CniError> + Send,
    ) -> Result<T, DemoError> {
        let (path, cache_dir) = (vec![self.workspace.join("bin")], self.workspace.join("cache"));
        let done = self.stage.host.run(|| {
            let exec = ProcessExecutor::new().with_time_limit(PLUGIN_LIMIT);
            work(&Chain { exec: &exec, path, cache_dir })
        })?;
        done.map_err(DemoError::Plugin)
    }

    fn ping(&mut self, address: Ipv4Addr, why: &str) -> Result<(), DemoError> {
        self.interrupts.check()?;
        let got = ping(&self.stage.host, address)?;
        Ok(self.report.expect("ping", why, &Outcome::Answered, &got)?)
    }

    fn tcp_in(
        &mut self,
        address: Ipv4Addr,
        port: u16,
        why: &str,
        expected: Outcome,
    ) -> Result<(), DemoError> {
        self.interrupts.check()?;
        let got = tcp(&self.stage.host, &self.stage.container, SocketAddr::new(address.into(), port))?;
        Ok(self.report.expect(&format!("tcp {port}"), why, &expected, &got)?)
    }

    /// Puts the host's address into the set, or takes it out, while the container runs.
    fn change_set(&mut self, add: bool) -> Result<(), DemoError> {
        let mut client = SetClient::open(&self.stage.container).map_err(DemoError::IpSet)?;
        let entry = Entry {
            elements: vec![Element::Address(Addresses::One(LAN_ADDRESS.into()))],
            options: EntryOptions::default(),
        };
        let (verb, done) = if add {
            ("add", client.add(SET, SetKind::HashIp, &entry, false))
        } else {
            ("del", client.delete(SET, SetKind::HashIp, &entry, false))
        };
        done.map_err(DemoError::IpSet)?;
        Ok(self.report.note(&format!("-- {verb} {SET} {LAN_ADDRESS} --"))?)
    }
}
