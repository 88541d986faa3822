//! `allow-nd`: what IPv6 needs behind closed policies, by real neighbours, routers and listeners, and message by
//! message.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use fwn_testkit::Netns;
use fwn_testkit::probe::Outcome::{Reached, Silent};
use fwn_testkit::probe::{Attempt, expect};
use fwn_testkit::raw::RawSocket;
use fwn_testkit::service::Service;
use serde_json::{Value, json};

use crate::fixture::{Fixture, append};

/// Services of both sides may be reached, if only the neighbour is found.
fn datagrams() -> [Value; 2] {
    [append("INPUT", "-p udp -j ACCEPT"), append("OUTPUT", "-p udp -j ACCEPT")]
}

/// Neighbours find each other without the preset, and something more is allowed.
fn neighbours_and(rule: Value) -> [Value; 5] {
    let allow = |chain, kind| append(chain, &format!("-p icmpv6 --icmpv6-type {kind} -j ACCEPT"));
    [allow("INPUT", 135), allow("INPUT", 136), allow("OUTPUT", 135), allow("OUTPUT", 136), rule]
}

fn forget_neighbours(it: &Fixture) {
    it.host().sh("ip -6 neigh flush dev host0");
    it.container().sh("ip -6 neigh flush dev eth0");
}

/// Looks again and again for something that the kernel does soon after a packet has come, and tells nobody.
fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(5);
    while !is_so() {
        assert!(Instant::now() < end, "{what} does not come about");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn neighbours_find_each_other() {
    let it = Fixture::new();
    let (host, container) = (it.host(), it.container());
    let _services = [Service::start(host, &["[::]:5000"]), Service::start(container, &["[::]:5000"])];
    for (presets, outcome) in
        [(&["default-policy"][..], Silent), (&["default-policy", "allow-nd"][..], Reached)]
    {
        it.add(&json!({ "fwFiles": presets, "rules": datagrams() }));
        // each direction begins with its own question
        forget_neighbours(&it);
        expect(&[(Attempt::udp(host, "[fd09::2]:5000"), outcome)]);
        forget_neighbours(&it);
        expect(&[(Attempt::udp(container, "[fd09::1]:5000"), outcome)]);
    }
}

#[test]
fn a_router_is_found() {
    const ADVERTISEMENT: u8 = 134;
    let it = Fixture::new();
    it.host_addresses(&["fe80::1/64"]);
    let router =
        RawSocket::icmpv6(it.host()).bound(it.host(), "fe80::1".parse().expect("an address"), "host0");
    router.hop_limit(255);
    let marker = RawSocket::icmpv6(it.container());
    // RFC 4861, section 4.2: hop limit 64, no flags, a lifetime of 1800 seconds, timers left open
    let advertise = || {
        let body = [64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0];
        assert!(router.send(container_address(), &message(ADVERTISEMENT, &body)));
        assert!(router.send(container_address(), &message(LAST, &[0; 4])));
        while marker.receive().expect("the last message arrives").first() != Some(&LAST) {}
    };
    let learnt = || it.container().sh("ip -6 route show default proto ra");
    it.add(&json!({ "fwFiles": ["default-policy"], "rules": neighbours_and(last_one()) }));
    advertise();
    assert_eq!(learnt(), "");
    it.add(&json!({ "fwFiles": ["default-policy", "allow-nd"], "rules": [last_one()] }));
    advertise();
    eventually("a default route", || learnt().starts_with("default via fe80::1 dev eth0"));
}

/// A router on the way, whose next link takes smaller packets, says so; without it long datagrams never arrive.
#[test]
fn packet_too_big_gets_to_the_sender() {
    let it = Fixture::new();
    let (host, container) = (it.host(), it.container());
    let far = Netns::new();
    host.sh(&format!(
        "ip link add far0 mtu 1280 type veth peer name eth0 mtu 1280 netns {}
         ip addr add fd77::1/64 dev far0 nodad; ip link set far0 up
         echo 1 >/proc/sys/net/ipv6/conf/all/forwarding",
        far.pid()
    ));
    far.sh("ip addr add fd77::2/64 dev eth0 nodad; ip link set eth0 up; ip -6 route add default via fd77::1");
    let there = far.run(|| std::net::UdpSocket::bind("[::]:5000")).expect("the port is free");
    there.set_nonblocking(true).expect("a socket");
    let here = container.run(|| std::net::UdpSocket::bind("[::]:0")).expect("a port is free");
    let datagrams = append("OUTPUT", "-p udp -j ACCEPT");
    let arrived = || {
        here.send_to(&[1; 1400], "[fd77::2]:5000").expect("it is let out");
        // those of before may be under way
        there.recv(&mut [0; 1500]).is_ok_and(|length| length == 1400)
    };
    it.add(&json!({ "fwFiles": ["default-policy"], "rules": neighbours_and(datagrams.clone()) }));
    // short ones arrive: the way is open
    eventually("a short datagram", || {
        here.send_to(&[1], "[fd77::2]:5000").expect("it is let out");
        there.recv(&mut [0; 1]).is_ok()
    });
    let end = Instant::now() + Duration::from_millis(400);
    while Instant::now() < end {
        assert!(!arrived(), "without the message from the router");
        std::thread::sleep(Duration::from_millis(50));
    }
    it.add(&json!({ "fwFiles": ["default-policy", "allow-nd"], "rules": [datagrams] }));
    eventually("a long datagram", arrived);
}

/// Who wants packets of a multicast group says so in a report, which real kernels send with a hop-by-hop header.
#[test]
fn reports_of_multicast_groups_get_out() {
    let it = Fixture::new();
    let container = it.container();
    let counted = || {
        let listing = container.sh("ip6tables -vxnL OUTPUT");
        let rule =
            listing.lines().find(|line| line.contains("ipv6-icmptype 143")).expect("the rule is there");
        rule.split_whitespace().next().expect("a counter") != "0"
    };
    it.add_presets(&["default-policy", "allow-nd"]);
    let socket = container.run(|| std::net::UdpSocket::bind("[::]:0")).expect("a port is free");
    let link = container.sh("ip -o link show eth0");
    let index = link.split(':').next().and_then(|index| index.parse().ok()).expect("INDEX: eth0: ...");
    socket.join_multicast_v6(&"ff15::1".parse().expect("an address"), index).expect("joins");
    eventually("a report", counted);
}

/// A message that no one uses (RFC 4443, private experimentation), let in by a rule of its own: once it has arrived,
/// all before it have, or never will.
const LAST: u8 = 200;

fn last_one() -> Value {
    append("INPUT", "-p icmpv6 --icmpv6-type 200 -j ACCEPT")
}

fn container_address() -> IpAddr {
    "fd09::2".parse().expect("an address")
}

/// Type, code 0, room for the checksum, body.
fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind, 0, 0, 0], body].concat()
}

/// Link-local source, hop limit.
type From = (bool, u8);

#[test]
fn what_comes_in() {
    const NEAR: From = (true, 255);
    const NEAR_GLOBAL: From = (false, 255);
    const FAR: From = (false, 64);
    const LISTENER: From = (true, 1);
    // type, how it comes, whether it passes
    let table: &[(u8, From, bool)] = &[
        // errors come from anywhere
        (1, FAR, true),
        (2, FAR, true),
        (3, FAR, true),
        (4, FAR, true),
        // echo is not for this preset to allow
        (128, NEAR, false),
        (129, NEAR, false),
        // queries and reports of listeners, from the link; `done` is for routers
        (130, LISTENER, true),
        (130, (true, 2), false),
        (130, (false, 1), false),
        (131, LISTENER, true),
        (131, (true, 2), false),
        (132, LISTENER, false),
        // routers ask nobody, and advertise from link-local addresses
        (133, NEAR, false),
        (134, NEAR, true),
        (134, NEAR_GLOBAL, false),
        (134, (true, 254), false),
        (134, FAR, false),
        // neighbours
        (135, NEAR, true),
        (135, NEAR_GLOBAL, true),
        (135, (true, 254), false),
        (135, FAR, false),
        (136, NEAR, true),
        (136, NEAR_GLOBAL, true),
        (136, (true, 254), false),
        (136, FAR, false),
        // redirects, node information, what nobody uses
        (137, NEAR, false),
        (139, NEAR, false),
        (201, NEAR, false),
    ];
    let it = Fixture::new();
    it.host_addresses(&["fe80::1/64"]);
    let local =
        RawSocket::icmpv6(it.host()).bound(it.host(), "fe80::1".parse().expect("an address"), "host0");
    let global =
        RawSocket::icmpv6(it.host()).bound(it.host(), "fd09::1".parse().expect("an address"), "host0");
    let there = RawSocket::icmpv6(it.container());
    // indexes of those that arrive; they are marked, since others are sent by the kernels themselves
    let arrive = || -> Vec<usize> {
        for (index, (kind, (link_local, hops), _)) in table.iter().enumerate() {
            let socket = if *link_local { &local } else { &global };
            socket.hop_limit(*hops);
            let mut body = [0xfb; 24];
            body[23] = u8::try_from(index).expect("a short table");
            assert!(socket.send(container_address(), &message(*kind, &body)));
        }
        global.hop_limit(64);
        assert!(global.send(container_address(), &message(LAST, &[0; 4])));
        let mut indexes = Vec::new();
        loop {
            match there.receive().expect("the last message arrives").as_slice() {
                [LAST, ..] => return indexes,
                [_, 0, _, _, body @ ..] if body.len() == 24 && body[..23] == [0xfb; 23] => {
                    indexes.push(body[23].into());
                }
                _ => {}
            }
        }
    };
    assert_eq!(arrive(), (0..table.len()).collect::<Vec<_>>(), "with no firewall");
    // the host knows its neighbour from now on
    it.add(&json!({ "fwFiles": ["default-policy"], "rules": [last_one()] }));
    assert_eq!(arrive(), [0; 0], "with closed policies");
    it.add(&json!({ "fwFiles": ["default-policy", "allow-nd"], "rules": [last_one()] }));
    let passed = arrive();
    for (index, (kind, (link_local, hops), passes)) in table.iter().enumerate() {
        let source = if *link_local { "fe80::1" } else { "fd09::1" };
        assert_eq!(passed.contains(&index), *passes, "type {kind} from {source} with hop limit {hops}");
    }
}

#[test]
fn what_goes_out() {
    // type, hop limit, whether it passes
    let table = [
        (1, 64, true),
        (2, 64, true),
        (3, 64, true),
        (4, 64, true),
        (128, 64, false),
        (129, 64, false),
        (130, 1, false),
        (131, 1, true),
        (131, 64, false),
        (132, 1, true),
        (132, 64, false),
        (133, 255, true),
        (133, 64, false),
        (134, 255, false),
        (135, 255, true),
        (135, 64, false),
        (136, 255, true),
        (136, 64, false),
        (137, 255, false),
        (143, 1, true),
        (143, 64, false),
        (200, 64, false),
    ];
    let it = Fixture::new();
    let socket = RawSocket::icmpv6(it.container());
    let leaves = |(kind, hops, _): &(u8, u8, bool)| {
        socket.hop_limit(*hops);
        socket.send("fd09::1".parse().expect("an address"), &message(*kind, &[0xfb; 24]))
    };
    assert!(table.iter().all(leaves), "with no firewall");
    it.add_presets(&["default-policy"]);
    assert!(!table.iter().any(leaves), "with closed policies");
    it.add_presets(&["default-policy", "allow-nd"]);
    for row in &table {
        assert_eq!(leaves(row), row.2, "type {} with hop limit {}", row.0, row.1);
    }
}
