//! What `explain` says is what the kernel does: each packet is explained in a copy of the container's namespace, and then
//! really sent over the veth pair. It must arrive, or be taken by the rule that was named; and every counter of the chain
//! must move as the explanation has it.

use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use fwn_kernel::firewall::apply::Connection;
use fwn_kernel::firewall::view::{ChainView, view};
use fwn_kernel::netns::TargetNetns;
use fwn_kernel::nft::constants::family_of;
use fwn_kernel::trace::copy::copy;
use fwn_kernel::trace::cross_check::cross_check;
use fwn_kernel::trace::explain::{Explanation, Outcome, StepKind, explain};
use fwn_plan::netfilter::Family;
use fwn_plan::packet::{Direction, ICMP, IDENT, Packet, TCP, UDP, encode_packet, parse_packet};
use fwn_testkit::Netns;
use nix::errno::Errno;
use nix::sys::socket::sockopt::ReceiveTimeout;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, recv, sendto, setsockopt,
    socket,
};
use nix::sys::time::TimeVal;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use crate::fixture::Fixture;

/// How long to wait for what must come, on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(10);

/// A raw socket of the packet's family: for sending whole packets, or for what arrives of its protocol.
fn raw(netns: &Netns, packet: &Packet, protocol: SockProtocol) -> OwnedFd {
    let family = if packet.source.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let fd = netns
        .run(|| socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol))
        .expect("root opens raw sockets");
    setsockopt(&fd, ReceiveTimeout, &TimeVal::new(PATIENCE.as_secs().cast_signed(), 0)).expect("a time");
    fd
}

fn protocol(packet: &Packet) -> SockProtocol {
    match packet.protocol {
        TCP => SockProtocol::Tcp,
        UDP => SockProtocol::Udp,
        ICMP => SockProtocol::Icmp,
        _ => SockProtocol::IcmpV6,
    }
}

/// Whether the packet is the next that arrives; of what arrives, IPv6 shows no header.
fn arrives(receiver: &OwnedFd, packet: &Packet, flags: MsgFlags) -> bool {
    let sent = encode_packet(packet);
    let mut buffer = [0; 2048];
    loop {
        match recv(receiver.as_raw_fd(), &mut buffer, flags) {
            Ok(length) if packet.source.is_ipv4() => {
                if buffer.get(4..6) == Some(&IDENT.to_be_bytes()) && length == sent.len() {
                    return true;
                }
            }
            Ok(length) => {
                if sent.get(40..) == buffer.get(..length) {
                    return true;
                }
            }
            Err(Errno::EAGAIN) => return false,
            Err(errno) => panic!("{}", io::Error::from(errno)),
        }
    }
}

/// The chain of table `filter` that judges the packet.
fn chain(netns: &Netns, packet: &Packet) -> ChainView {
    let (_, mut connection) = Connection::open(&netns.path()).expect("a namespace");
    let name = if matches!(packet.direction, Direction::In(_)) { "INPUT" } else { "OUTPUT" };
    let family = if packet.source.is_ipv4() { Family::Ipv4 } else { Family::Ipv6 };
    let seen = view(&mut connection, &[]).expect("readable");
    let mut chains = seen.chains.into_iter();
    chains.find(|chain| chain.family == family && chain.table == "filter" && chain.name == name).unwrap_or(
        ChainView {
            family,
            table: "filter".to_owned(),
            name: name.to_owned(),
            policy: None,
            holder: None,
            counters: None,
            rules: Vec::new(),
        },
    )
}

/// What the counters of a chain and its policy moved by.
fn moved(before: &ChainView, after: &ChainView) -> (Vec<u64>, u64) {
    let packets = |counters: Option<fwn_kernel::nft::counters::Counters>| counters.map_or(0, |c| c.packets);
    let rules = before.rules.iter().zip(&after.rules);
    (
        rules.map(|(old, new)| packets(new.counters) - packets(old.counters)).collect(),
        packets(after.counters) - packets(before.counters),
    )
}

/// What the explanation says that they move by.
fn expected(explanation: &Explanation, chain: &ChainView) -> (Vec<u64>, u64) {
    let mut rules = vec![0; chain.rules.len()];
    let mut policy = 0;
    for step in &explanation.steps {
        if family_of(step.chain.0) != Some(chain.family)
            || step.chain.1 != chain.table
            || step.chain.2 != chain.name
        {
            continue;
        }
        match step.kind {
            StepKind::Matched(at, _) => rules[at] += 1,
            StepKind::Policy(_) if chain.counters.is_some() => policy += 1,
            _ => {}
        }
    }
    (rules, policy)
}

/// Explains the packet, sends it, and compares.
fn compare(it: &Fixture, conf: &str, text: &str) -> Outcome {
    let packet = parse_packet(text).unwrap_or_else(|problem| panic!("{text}: {problem}"));
    let target = TargetNetns::open(&it.container().path()).expect("a namespace");
    let (mut lab, _) = copy(&target).expect("copied");
    let rules = lab.rules().expect("readable");
    let journey = lab.send(&packet, None).unwrap_or_else(|error| panic!("{conf}: {text}: {error:?}"));
    let after = lab.rules().expect("readable");
    cross_check(&journey, &rules, &after).unwrap_or_else(|error| panic!("{conf}: {text}: {error}"));
    let explanation = explain(&journey, &after);
    drop(lab);

    let coming = matches!(packet.direction, Direction::In(_));
    let (sender, receiver) = if coming { (it.host(), it.container()) } else { (it.container(), it.host()) };
    let heard = raw(receiver, &packet, protocol(&packet));
    let before = chain(it.container(), &packet);
    let socket = raw(sender, &packet, SockProtocol::Raw);
    let to = match packet.destination {
        IpAddr::V4(address) => SocketAddr::from((address, 0)),
        IpAddr::V6(address) => SocketAddrV6::new(address, 0, 0, 0).into(),
    };
    let sent =
        sendto(socket.as_raw_fd(), &encode_packet(&packet), &SockaddrStorage::from(to), MsgFlags::empty());
    match sent {
        Ok(_) => {}
        Err(Errno::EPERM) if !coming && explanation.outcome != Outcome::Accept => {}
        Err(errno) => panic!("{conf}: {text}: {explanation:?}: {errno}"),
    }
    if explanation.outcome == Outcome::Accept {
        assert!(
            arrives(&heard, &packet, MsgFlags::empty()),
            "{conf}: {text}: nothing arrives: {explanation:?}"
        );
    }
    let wanted = expected(&explanation, &before);
    let deadline = Instant::now() + PATIENCE;
    let found = loop {
        let found = moved(&before, &chain(it.container(), &packet));
        if found == wanted || Instant::now() > deadline {
            break found;
        }
    };
    assert_eq!(found, wanted, "{conf}: {text}: {explanation:?}");
    if explanation.outcome != Outcome::Accept {
        assert!(
            !arrives(&heard, &packet, MsgFlags::MSG_DONTWAIT),
            "{conf}: {text}: it arrives: {explanation:?}"
        );
    }
    explanation.outcome
}

/// Packets that presets have something to say about, and some that none does.
const PACKETS: [&str; 14] = [
    "in tcp 10.9.0.1:4000 -> 10.9.0.2:80",
    "in tcp 10.9.0.1:5051 -> 10.9.0.2:8443",
    "in tcp 10.9.0.1:4000 -> 10.9.0.2:9999",
    "in udp 10.9.0.1:53 -> 10.9.0.2:4000",
    "in icmp 10.9.0.1 -> 10.9.0.2 echo-request",
    "in icmp 10.9.0.1 -> 10.9.0.2 timestamp-request",
    "in tcp [fd09::1]:4000 -> [fd09::2]:8080",
    "in udp [fd09::1]:4000 -> [fd09::2]:53",
    "in icmpv6 fd09::1 -> fd09::2 packet-too-big",
    "in icmpv6 fd09::1 -> fd09::2 type 200",
    "out tcp 10.9.0.2:4000 -> 10.9.0.1:53",
    "out udp 10.9.0.2:4000 -> 10.9.0.1:53",
    "out tcp 10.9.0.2:9999 -> 10.9.0.1:5051",
    "out udp 10.9.0.2:4000 -> 10.9.0.1:9",
];

const PRESETS: [&str; 8] = [
    "allow-ping",
    "allow-ping-out",
    "allow-established",
    "allow-dns-out",
    "allow-loopback",
    "allow-nd",
    "ipsetd-admin",
    "mesos-executor",
];

/// Rules of the usual kinds, and packets that some of them match.
fn policy() -> impl Strategy<Value = (String, Vec<String>)> {
    let address =
        prop::sample::select(vec!["", "-s 10.9.0.1", "! -s 10.9.0.3", "-s 10.9.0.0/30", "-d 10.9.0.2"]);
    let what = prop::sample::select(vec![
        "",
        "-p tcp --dport 80",
        "-p tcp --dport 81:90",
        "-p tcp --syn",
        "-p tcp -m multiport --ports 22,80,85",
        "! -p udp",
        "-p udp --sport 53",
        "-p icmp --icmp-type 8",
        "-m set --match-set seen src",
        "-m set ! --match-set seen src",
        "-m length --length 0:40",
        "-m ttl --ttl-gt 63 -p tcp",
        "-m conntrack --ctstate NEW -p udp",
        "-i eth0 -m addrtype --dst-type LOCAL",
    ]);
    let target = prop::sample::select(vec![
        "-j ACCEPT",
        "-j DROP",
        "-j REJECT",
        "-j web",
        "",
        "-j RETURN",
        "-j MARK --set-mark 3",
    ]);
    let rule = (prop::sample::select(vec!["INPUT", "INPUT", "web"]), address, what, target).prop_map(
        |(chain, address, what, target)| {
            // no chain jumps to itself
            let target = if chain == "web" && target == "-j web" { "-j ACCEPT" } else { target };
            (chain, [address, what, target].join(" ").trim().to_owned())
        },
    );
    let policy = prop::sample::select(vec!["ACCEPT", "DROP"]);
    (policy, prop::collection::vec(rule, 2..7))
        .prop_map(|(policy, rules)| (policy.to_owned(), rules))
        .prop_map(|(policy, rules)| {
            let rules = rules.into_iter().map(|(chain, rule)| format!("{chain} {rule}")).collect();
            (policy, rules)
        })
}

fn packets() -> impl Strategy<Value = Vec<String>> {
    let source = prop::sample::select(vec!["10.9.0.1", "10.9.0.3", "10.9.0.77"]);
    let kind = prop::sample::select(vec!["tcp", "tcp", "udp", "icmp"]);
    let ports = (prop::sample::select(vec![53, 22, 4000]), prop::sample::select(vec![22, 80, 85, 90, 91]));
    let ttl = prop::sample::select(vec![63, 64]);
    let packet = (source, kind, ports, ttl).prop_map(|(source, kind, (from, to), ttl)| match kind {
        "icmp" => format!("in icmp {source} -> 10.9.0.2 ttl {ttl}"),
        _ => format!("in {kind} {source}:{from} -> 10.9.0.2:{to} ttl {ttl}"),
    });
    prop::collection::vec(packet, 10)
}

#[test]
fn the_verdict_is_what_the_kernel_does() {
    let it = Fixture::new();
    let lladdr = |netns: &Netns, name: &str| {
        let text = netns.sh(&format!("ip -o link show {name}"));
        text.split("link/ether ")
            .nth(1)
            .and_then(|rest| rest.split(' ').next())
            .expect("an address")
            .to_owned()
    };
    // neighbours are known, so that nothing but the packets themselves is sent
    for (netns, name, other, addresses) in [
        (it.host(), "host0", lladdr(it.container(), "eth0"), &["10.9.0.2", "fd09::2"][..]),
        // an answer to nobody would come back as an error, seconds later
        (
            it.container(),
            "eth0",
            lladdr(it.host(), "host0"),
            &["10.9.0.1", "10.9.0.3", "10.9.0.77", "fd09::1"],
        ),
    ] {
        for address in addresses {
            netns.sh(&format!("ip neigh replace {address} lladdr {other} dev {name} nud permanent"));
        }
    }
    let mut outcomes = Vec::new();
    let mut try_all = |conf: &Value, packets: &[String]| {
        it.add_in(&[("IPSETD_ADMIN", "10.9.0.1"), ("MESOS_AGENT_ENDPOINT", "10.9.0.1:5051")], conf);
        for text in packets {
            outcomes.push(compare(&it, &conf.to_string(), text));
        }
        it.del(conf);
    };
    let packets_of_presets = PACKETS.map(str::to_owned);
    for preset in PRESETS {
        try_all(&json!({ "fwFiles": ["default-policy", preset] }), &packets_of_presets);
    }
    let seed: Value =
        serde_json::from_str(include_str!("../../src/cli/demo/test-firewallnetns.conflist")).expect("JSON");
    let mut seed = seed["plugins"][1].clone();
    seed.as_object_mut().expect("an object").remove("dataDir");
    try_all(&seed, &packets_of_presets);

    // always the same ones
    let mut runner = TestRunner::deterministic();
    for _ in 0..12 {
        let (policy, rules) = policy().new_tree(&mut runner).expect("a policy").current();
        let rules: Vec<Value> = rules
            .iter()
            .map(|rule| rule.split_once(' ').unwrap_or((rule, "")))
            .map(|(chain, rule)| json!({ "type": "A", "chain": chain, "rule": rule, "family": "ipv4" }))
            .collect();
        let conf = json!({
            "ipsets": [ { "set": "seen", "hashtype": "hash:ip", "entries": [ "10.9.0.3" ] } ],
            "chains": [ { "chain": "web" } ],
            "policies": [ { "chain": "INPUT", "policy": policy } ],
            "rules": rules,
        });
        try_all(&conf, &packets().new_tree(&mut runner).expect("packets").current());
    }
    let count = |outcome| outcomes.iter().filter(|known| **known == outcome).count();
    let counts = [count(Outcome::Accept), count(Outcome::Drop), count(Outcome::Reject)];
    assert!(outcomes.len() >= 200 && counts.iter().all(|count| *count >= 10), "{counts:?}");
    assert_eq!(counts.iter().sum::<usize>(), outcomes.len(), "{outcomes:?}");
}
