//! The presets for every container: each with what it lets through, and the same attempts without it.

use fwn_testkit::probe::Outcome::{Reached, Refused, Silent};
use fwn_testkit::probe::{Attempt, expect};
use fwn_testkit::raw::RawSocket;
use fwn_testkit::service::Service;
use serde_json::json;

use crate::fixture::{Fixture, append, half_open};

/// Everything closed, but for what IPv6 needs to find its neighbours: so silence is the work of policies.
const CLOSED: [&str; 2] = ["default-policy", "allow-nd"];

fn closed_and(preset: &str) -> Vec<&str> {
    CLOSED.into_iter().chain([preset]).collect()
}

#[test]
fn default_policy_closes_input_and_output_of_both_families() {
    let it = Fixture::new();
    let (host, container) = (it.host(), it.container());
    let _services = [Service::start(host, &["[::]:80"]), Service::start(container, &["[::]:80"])];
    let all = |outcome| {
        let mut attempts = Vec::new();
        for (from, address) in [(host, ["10.9.0.2", "fd09::2"]), (container, ["10.9.0.1", "fd09::1"])] {
            for address in address {
                let service = std::net::SocketAddr::new(address.parse().expect("an address"), 80).to_string();
                attempts.push((Attempt::tcp(from, &service), outcome));
                attempts.push((Attempt::udp(from, &service), outcome));
                attempts.push((Attempt::ping(from, address), outcome));
            }
        }
        attempts.push((Attempt::ping(container, "127.0.0.1"), outcome));
        attempts.push((Attempt::ping(container, "::1"), outcome));
        attempts
    };
    expect(&all(Reached));
    it.add_presets(&["allow-nd"]);
    expect(&all(Reached));
    for rules in half_open() {
        it.add(&json!({ "fwFiles": CLOSED, "rules": rules }));
        expect(&all(Silent));
    }
}

#[test]
fn default_policy_closes_forwarding() {
    let it = Fixture::new();
    let (host, container) = (it.host(), it.container());
    // a second namespace behind the container
    let behind = fwn_testkit::Netns::new();
    container.sh(&format!(
        "ip link add eth1 type veth peer name far0 netns {}
         ip addr add 10.77.0.1/24 dev eth1; ip addr add fd77::1/64 dev eth1 nodad; ip link set eth1 up
         echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding",
        behind.pid()
    ));
    behind.sh("ip addr add 10.77.0.2/24 dev far0; ip addr add fd77::2/64 dev far0 nodad; ip link set far0 up
               ip route add default via 10.77.0.1; ip -6 route add default via fd77::1");
    host.sh("ip route add 10.77.0.0/24 via 10.9.0.2; ip -6 route add fd77::/64 via fd09::2");
    let all = |outcome| {
        [
            (Attempt::ping(host, "10.77.0.2"), outcome),
            (Attempt::ping(host, "fd77::2"), outcome),
            (Attempt::ping(&behind, "10.9.0.1"), outcome),
            (Attempt::ping(&behind, "fd09::1"), outcome),
        ]
    };
    expect(&all(Reached));
    // the neighbours on eth1 must go on finding each other
    let discovery = [append("INPUT", "-p icmpv6 -j ACCEPT"), append("OUTPUT", "-p icmpv6 -j ACCEPT")];
    it.add(&json!({ "fwFiles": ["default-policy"], "rules": discovery }));
    expect(&all(Silent));
    it.add(&json!({ "fwFiles": ["default-policy"], "rules": [
        discovery[0], discovery[1], append("FORWARD", "-j ACCEPT"),
    ] }));
    expect(&all(Reached));
}

#[test]
fn allow_ping() {
    ping("allow-ping");
}

#[test]
fn allow_ping_out() {
    ping("allow-ping-out");
}

fn ping(preset: &str) {
    let it = Fixture::new();
    let (host, container) = (it.host(), it.container());
    let _service = Service::start(container, &["[::]:80"]);
    let pings = |outcome| {
        [
            (Attempt::ping(host, "10.9.0.2"), outcome),
            (Attempt::ping(host, "fd09::2"), outcome),
            (Attempt::ping(container, "10.9.0.1"), outcome),
            (Attempt::ping(container, "fd09::1"), outcome),
        ]
    };
    it.add_presets(&CLOSED);
    expect(&pings(Silent));
    it.add_presets(&closed_and(preset));
    expect(&pings(Reached));
    expect(&[
        (Attempt::tcp(host, "10.9.0.2:80"), Silent),
        (Attempt::udp(host, "[fd09::2]:80"), Silent),
        // the rules are for the interface of the container
        (Attempt::ping(container, "127.0.0.1"), Silent),
    ]);
}

#[test]
fn allow_loopback() {
    loopback("allow-loopback");
}

#[test]
fn mesos_health_check() {
    loopback("mesos-health-check");
}

fn loopback(preset: &str) {
    let it = Fixture::new();
    let (host, container) = (it.host(), it.container());
    let _service = Service::start(container, &["[::]:8899"]);
    let inside = |outcome| {
        [
            (Attempt::tcp(container, "127.0.0.1:8899"), outcome),
            (Attempt::tcp(container, "[::1]:8899"), outcome),
            (Attempt::udp(container, "127.0.0.1:8899"), outcome),
            (Attempt::udp(container, "[::1]:8899"), outcome),
            // an address of one's own goes over the loopback interface too
            (Attempt::tcp(container, "10.9.0.2:8899"), outcome),
            (Attempt::tcp(container, "[fd09::2]:8899"), outcome),
        ]
    };
    it.add_presets(&CLOSED);
    expect(&inside(Silent));
    it.add_presets(&closed_and(preset));
    expect(&inside(Reached));
    expect(&[
        (Attempt::tcp(host, "10.9.0.2:8899"), Silent),
        (Attempt::tcp(host, "[fd09::2]:8899"), Silent),
        (Attempt::ping(container, "10.9.0.1"), Silent),
    ]);
}

#[test]
fn allow_established() {
    let it = Fixture::new();
    let (host, container) = (it.host(), it.container());
    let _services =
        [Service::start(host, &["[::]:80", "[::]:5353"]), Service::start(container, &["[::]:80", "[::]:81"])];
    // only first packets: in to port 80, out to 5353 and 5354
    let begin = [
        append("INPUT", "-p tcp --dport 80 -j ACCEPT"),
        append("OUTPUT", "-p udp --dport 5353:5354 -j ACCEPT"),
    ];
    let attempts = |answered, refused| {
        [
            (Attempt::tcp(host, "10.9.0.2:80"), answered),
            (Attempt::tcp(host, "[fd09::2]:80"), answered),
            (Attempt::udp(container, "10.9.0.1:5353"), answered),
            (Attempt::udp(container, "[fd09::1]:5353"), answered),
            // nobody listens there: the error belongs to a datagram that was allowed out
            (Attempt::udp(container, "10.9.0.1:5354"), refused),
            // what was not allowed to begin
            (Attempt::tcp(host, "10.9.0.2:81"), Silent),
            (Attempt::tcp(host, "[fd09::2]:81"), Silent),
            (Attempt::udp(host, "10.9.0.2:80"), Silent),
            (Attempt::tcp(container, "10.9.0.1:80"), Silent),
            (Attempt::tcp(container, "[fd09::1]:80"), Silent),
        ]
    };
    it.add(&json!({ "fwFiles": CLOSED, "rules": begin }));
    expect(&attempts(Silent, Silent));
    it.add(&json!({ "fwFiles": closed_and("allow-established"), "rules": begin }));
    expect(&attempts(Reached, Refused));
}

#[test]
fn allow_dns_out() {
    let it = Fixture::new();
    let (host, container) = (it.host(), it.container());
    let _services =
        [Service::start(host, &["[::]:53", "[::]:54"]), Service::start(container, &["[::]:53", "[::]:5353"])];
    let questions = |outcome| {
        [
            (Attempt::udp(container, "10.9.0.1:53"), outcome),
            (Attempt::tcp(container, "10.9.0.1:53"), outcome),
            (Attempt::udp(container, "[fd09::1]:53"), outcome),
            (Attempt::tcp(container, "[fd09::1]:53"), outcome),
        ]
    };
    it.add_presets(&CLOSED);
    expect(&questions(Silent));
    for rules in half_open() {
        it.add(&json!({ "fwFiles": closed_and("allow-dns-out"), "rules": rules }));
        expect(&questions(Reached));
        expect(&[
            // other ports
            (Attempt::udp(container, "10.9.0.1:54"), Silent),
            (Attempt::tcp(container, "10.9.0.1:54"), Silent),
            (Attempt::udp(container, "[fd09::1]:54"), Silent),
            (Attempt::tcp(container, "[fd09::1]:54"), Silent),
            // whoever was not asked has nothing to answer
            (Attempt::udp(host, "10.9.0.2:53"), Silent),
            (Attempt::tcp(host, "[fd09::2]:53"), Silent),
        ]);
    }
}

/// What is only let in because it calls itself an answer must have a question.
#[test]
fn allow_dns_out_lets_nobody_in() {
    let it = Fixture::new();
    let (host, container) = (it.host(), it.container());
    let ports = ["[::]:53", "[::]:1024", "[::]:5353"];
    let _service = Service::start(container, &ports);
    // the answers would get out, whichever way
    let rules = [append("OUTPUT", "-j ACCEPT")];
    it.add(&json!({ "fwFiles": closed_and("allow-dns-out"), "rules": rules }));
    let unsolicited = |outcome| {
        [
            (Attempt::udp(host, "10.9.0.2:1024").source("10.9.0.1:53"), outcome),
            (Attempt::tcp(host, "10.9.0.2:1024").source("10.9.0.1:53"), outcome),
            (Attempt::udp(host, "[fd09::2]:5353").source("[fd09::1]:53"), outcome),
            (Attempt::tcp(host, "[fd09::2]:5353").source("[fd09::1]:53"), outcome),
            (Attempt::udp(host, "10.9.0.2:5353"), outcome),
        ]
    };
    expect(&unsolicited(Silent));
    it.add(&json!({ "rules": rules }));
    expect(&unsolicited(Reached));
}

#[test]
fn allow_dns_out_asks_no_other_servers_than_those_named() {
    let it = Fixture::new();
    let (host, container) = (it.host(), it.container());
    it.host_addresses(&["10.9.0.3/24", "fd09::3/64"]);
    let _services = ["10.9.0.1:53", "10.9.0.3:53", "[fd09::1]:53", "[fd09::3]:53"]
        .map(|address| Service::start(host, &[address]));
    for rules in half_open() {
        it.add(&json!({
            "fwFiles": closed_and("allow-dns-out"),
            "vars": { "DNS_SERVERS4": "10.9.0.3,192.0.2.1", "DNS_SERVERS6": "fd09::3" },
            "rules": rules,
        }));
        expect(&[
            (Attempt::udp(container, "10.9.0.3:53"), Reached),
            (Attempt::tcp(container, "10.9.0.3:53"), Reached),
            (Attempt::udp(container, "[fd09::3]:53"), Reached),
            (Attempt::tcp(container, "[fd09::3]:53"), Reached),
            (Attempt::udp(container, "10.9.0.1:53"), Silent),
            (Attempt::tcp(container, "10.9.0.1:53"), Silent),
            (Attempt::udp(container, "[fd09::1]:53"), Silent),
            (Attempt::tcp(container, "[fd09::1]:53"), Silent),
        ]);
    }
}

#[test]
fn allow_published_ports() {
    let it = Fixture::new();
    let (host, container) = (it.host(), it.container());
    let _service = Service::start(container, &["[::]:8080", "[::]:5000", "[::]:31000"]);
    let published = |outcome| {
        [
            (Attempt::tcp(host, "10.9.0.2:8080"), outcome),
            (Attempt::tcp(host, "[fd09::2]:8080"), outcome),
            (Attempt::udp(host, "10.9.0.2:5000"), outcome),
            (Attempt::udp(host, "[fd09::2]:5000"), outcome),
        ]
    };
    let mappings = json!({ "portMappings": [
        { "hostPort": 31000, "containerPort": 8080, "protocol": "tcp" },
        { "hostPort": 31001, "containerPort": 5000, "protocol": "UDP" },
    ] });
    it.add(&json!({ "fwFiles": CLOSED, "runtimeConfig": mappings }));
    expect(&published(Silent));
    it.add(&json!({ "fwFiles": closed_and("allow-published-ports") }));
    expect(&published(Silent));
    it.add(&json!({ "fwFiles": closed_and("allow-published-ports"), "runtimeConfig": mappings }));
    expect(&published(Reached));
    expect(&[
        // the other protocol of each, and the port of the host, which never gets here
        (Attempt::udp(host, "10.9.0.2:8080"), Silent),
        (Attempt::tcp(host, "[fd09::2]:5000"), Silent),
        (Attempt::tcp(host, "10.9.0.2:31000"), Silent),
    ]);
}

/// SCTP by hand, because the kernel need not have it: a common header is enough to be matched.
#[test]
fn allow_published_ports_of_sctp() {
    let it = Fixture::new();
    let conf = |preset: &[&str]| {
        json!({
            "fwFiles": preset,
            "runtimeConfig": { "portMappings": [ { "hostPort": 1, "containerPort": 9000, "protocol": "sctp" } ] },
            // the last packet of each phase
            "rules": [append("INPUT", "-p sctp --dport 1 -j ACCEPT")],
        })
    };
    for [of_host, of_container] in [["10.9.0.1", "10.9.0.2"], ["fd09::1", "fd09::2"]] {
        let [of_host, of_container] = [of_host, of_container].map(|text| text.parse().expect("an address"));
        let there = RawSocket::sctp(it.host(), of_host);
        let here = RawSocket::sctp(it.container(), of_container);
        // destination ports of the packets that arrive
        let arrive = || {
            for port in [9001_u16, 9000, 1] {
                assert!(there.send(of_container, &sctp(40_000, port)));
            }
            let mut ports = Vec::new();
            while ports.last() != Some(&1) {
                let packet = here.receive().expect("the last packet arrives");
                ports.push(u16::from_be_bytes([packet[2], packet[3]]));
            }
            ports
        };
        it.add(&conf(&CLOSED));
        assert_eq!(arrive(), [1]);
        assert!(!here.send(of_host, &sctp(9000, 40_000)));
        it.add(&conf(&closed_and("allow-published-ports")));
        assert_eq!(arrive(), [9000, 1]);
        assert!(here.send(of_host, &sctp(9000, 40_000)));
        assert!(!here.send(of_host, &sctp(9001, 40_000)));
    }
}

/// RFC 9260, section 3.1: ports, verification tag, checksum (not checked on the way).
fn sctp(source: u16, destination: u16) -> Vec<u8> {
    [source.to_be_bytes(), destination.to_be_bytes(), [0; 2], [0; 2], [0; 2], [0; 2]].concat()
}
