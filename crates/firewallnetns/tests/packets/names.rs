//! A host name in a rule stands for all its addresses, which are asked of a DNS server on the host's side.

use std::net::{IpAddr, UdpSocket};

use fwn_testkit::Netns;
use fwn_testkit::probe::Outcome::{Reached, Silent};
use fwn_testkit::probe::{Attempt, expect};
use fwn_testkit::service::Service;
use serde_json::json;
use simple_dns::rdata::{A, AAAA, RData};
use simple_dns::{CLASS, Packet, PacketFlag, QTYPE, ResourceRecord, TYPE};

use crate::fixture::{Fixture, append};

const NAME: &str = "webchat.marathon.mesos";
const ADDRESSES: [&str; 4] = ["192.0.2.1", "192.0.2.2", "192.0.2.3", "fd0c::1"];

/// Serves one name until it has answered both questions, A and AAAA.
fn serve_name(netns: &Netns) -> std::thread::JoinHandle<()> {
    let socket = netns.run(|| UdpSocket::bind("127.0.0.1:53")).expect("the port is free");
    socket.set_read_timeout(Some(std::time::Duration::from_secs(10))).expect("a time");
    std::thread::spawn(move || {
        for _ in 0..2 {
            let mut bytes = [0; 1500];
            let (length, peer) = socket.recv_from(&mut bytes).expect("a question comes");
            let answer = answer(&bytes[..length]);
            socket.send_to(&answer, peer).expect("sent");
        }
    })
}

fn answer(question: &[u8]) -> Vec<u8> {
    let query = Packet::parse(question).expect("a question");
    let question = query.questions[0].clone();
    assert_eq!(question.qname.to_string(), NAME);
    let mut reply = Packet::new_reply(query.id());
    reply.set_flags(PacketFlag::RECURSION_DESIRED | PacketFlag::RECURSION_AVAILABLE);
    for address in ADDRESSES {
        let data = match (address.parse().expect("an address"), question.qtype) {
            (IpAddr::V4(address), QTYPE::TYPE(TYPE::A)) => RData::A(A::from(address)),
            (IpAddr::V6(address), QTYPE::TYPE(TYPE::AAAA)) => RData::AAAA(AAAA::from(address)),
            _ => continue,
        };
        reply.answers.push(ResourceRecord::new(question.qname.clone(), CLASS::IN, 60, data));
    }
    reply.questions.push(question);
    reply.build_bytes_vec().expect("fits")
}

#[test]
fn a_name_is_all_its_addresses() {
    let it = Fixture::new();
    let host = it.host();
    it.host_addresses(&[
        "192.0.2.1/24",
        "192.0.2.2/24",
        "192.0.2.3/24",
        "192.0.2.4/24",
        "fd0c::1/64",
        "fd0c::2/64",
    ]);
    let _service = Service::start(it.container(), &["[::]:8080"]);
    let server = serve_name(host);
    it.add(&json!({
        "fwFiles": ["allow-nd"],
        "policies": [ { "chain": "INPUT", "policy": "DROP" } ],
        "names": { "servers": ["127.0.0.1"] },
        "rules": [append("INPUT", &format!("-s {NAME} -p tcp --dport 8080 -j ACCEPT"))],
    }));
    server.join().expect("both questions came");

    let rules = it.container().sh("iptables -S INPUT");
    let sources: Vec<_> = rules.lines().filter_map(|rule| rule.split(' ').nth(3)).collect();
    assert_eq!(sources, ["192.0.2.1/32", "192.0.2.2/32", "192.0.2.3/32"], "{rules}");
    let from = |address: &str| {
        let target = if address.contains(':') { "[fd09::2]:8080" } else { "10.9.0.2:8080" };
        let source = std::net::SocketAddr::new(address.parse().expect("an address"), 0);
        Attempt::tcp(host, target).source(&source.to_string())
    };
    let others = ["192.0.2.4", "10.9.0.1", "fd0c::2", "fd09::1"];
    expect(
        &ADDRESSES
            .map(|address| (from(address), Reached))
            .into_iter()
            .chain(others.map(|address| (from(address), Silent)))
            .collect::<Vec<_>>(),
    );
}
