use proptest::prelude::*;

use super::*;

fn packet(text: &str) -> Packet {
    parse_packet(text).unwrap_or_else(|problem| panic!("{text}: {problem}"))
}

#[test]
fn defaults_are_those_of_ordinary_packets() {
    let plain = packet("in tcp 10.0.0.9 -> 10.0.0.2:80");
    assert_eq!(plain.ports, Some((40_000, 80)));
    assert_eq!((plain.state, plain.tcp_flags, plain.ttl), (State::New, SYN, 64));
    assert_eq!(plain.direction, Direction::In(None));
    let v6 =
        packet("  out udp [fd00::2]:53\t-> [fd00::1]:9   on net1 established length 100 mark 0x10 ttl 3 ");
    assert_eq!(
        (v6.ports, v6.state, v6.length, v6.mark, v6.ttl),
        (Some((53, 9)), State::Established, Some(100), 16, 3)
    );
    assert_eq!(v6.direction, Direction::Out(Some("net1".to_owned())));
    assert_eq!(packet("in tcp 10.0.0.9:80 -> 10.0.0.2:4000 established").tcp_flags, ACK);
    assert_eq!(packet("in tcp 10.0.0.9:80 -> 10.0.0.2:4000 reply syn ack").tcp_flags, SYN | ACK);
    assert_eq!(packet("in tcp 10.0.0.9 -> 10.0.0.2:4 flags fin,psh,urg").tcp_flags, 0x29);
    assert_eq!(packet("in tcp 10.0.0.9 -> 10.0.0.2:4 flags none").tcp_flags, 0);
    assert_eq!(packet("in icmp 10.0.0.9 -> 10.0.0.2").icmp, Some((8, 0)));
    assert_eq!(packet("in icmp 10.0.0.9 -> 10.0.0.2 type 3/4").icmp, Some((3, 4)));
    let reply = packet("in icmp 10.0.0.9 -> 10.0.0.2 echo-reply established");
    assert_eq!((reply.icmp, reply.state), (Some((0, 0)), State::Reply));
    let nd = packet("in icmpv6 fe80::1 -> ff02::1 router-advertisement");
    assert_eq!((nd.icmp, nd.ttl), (Some((134, 0)), 255));
    assert_eq!(packet("in icmpv6 fe80::1 -> ff02::1 type 130").ttl, 1);
    assert_eq!(packet("in tcp 127.0.0.1:1 -> 127.0.0.1:2").direction, Direction::In(Some("lo".to_owned())));
    assert_eq!(packet("out 47 10.0.0.2 -> 10.0.0.9").protocol, 47);
    assert_eq!(packet("in udp 10.0.0.9 -> 10.0.0.2:5 mac 02:00:00:00:00:01").mac, Some([2, 0, 0, 0, 0, 1]));
    let forward = packet("forward udp 10.0.0.9 -> 10.1.0.9:53 from eth0 to eth1");
    assert_eq!(forward.direction, Direction::Forward("eth0".to_owned(), "eth1".to_owned()));
}

#[test]
fn what_makes_no_sense_is_refused_at_its_place() {
    for (text, words, message) in [
        ("", "", "a packet begins with `in`, `out` or `forward`"),
        ("inn tcp 1.1.1.1 -> 2.2.2.2:1", "inn", "`inn` is no direction, known are in, out and forward"),
        (
            "in tpc 1.1.1.1 -> 2.2.2.2:1",
            "tpc",
            "`tpc` is no protocol, known are tcp, udp, icmp, icmpv6, sctp and numbers up to 255",
        ),
        (
            "in 256 1.1.1.1 -> 2.2.2.2",
            "256",
            "`256` is no protocol, known are tcp, udp, icmp, icmpv6, sctp and numbers up to 255",
        ),
        ("in tcp", "tcp", "the address that the packet comes from is missing"),
        (
            "in tcp 1.1.1.1 2.2.2.2:1",
            "2.2.2.2:1",
            "expected `->` between the two addresses, found `2.2.2.2:1`",
        ),
        ("in tcp 1.1.1.1 ->", "->", "the address that the packet goes to is missing"),
        ("in tcp web:80 -> 2.2.2.2:1", "web:80", "`web:80` is no IP address"),
        ("in tcp 1.1.1.1:x -> 2.2.2.2:1", "1.1.1.1:x", "`x` is no port from 0 to 65535"),
        ("in tcp [::1:80 -> [::1]:1", "[::1:80", "`[::1:80` lacks its `]`"),
        ("in tcp [::1]80 -> [::1]:1", "[::1]80", "after `]`, `:` and a port are expected, not `80`"),
        (
            "in tcp 1.1.1.1 -> [fd00::1]:1",
            "[fd00::1]:1",
            "one address is IPv4 and the other IPv6: a packet has one family",
        ),
        ("in tcp 224.0.0.1 -> 2.2.2.2:1", "224.0.0.1", "no packet comes from `224.0.0.1`, a group"),
        ("in tcp 1.1.1.1 -> 0.0.0.0:1", "0.0.0.0:1", "no packet goes to `0.0.0.0`"),
        ("in icmp fd00::1 -> fd00::2", "icmp", "icmp is for IPv4, and the addresses are not"),
        ("in icmpv6 1.1.1.1 -> 2.2.2.2", "icmpv6", "icmpv6 is for IPv6, and the addresses are not"),
        ("in icmp 1.1.1.1 -> 2.2.2.2:1", "2.2.2.2:1", "protocol `icmp` has no ports"),
        (
            "in tcp 1.1.1.1 -> 2.2.2.2",
            "2.2.2.2",
            "`tcp` has ports: the one that the packet goes to is missing",
        ),
        ("in udp 1.1.1.1 -> 2.2.2.2:1 syn", "syn", "only tcp has flags, and this is udp"),
        ("in udp 1.1.1.1 -> 2.2.2.2:1 type 8", "8", "only icmp and icmpv6 have types"),
        (
            "in tcp 1.1.1.1 -> 2.2.2.2:1 established syn",
            "syn",
            "a packet with SYN alone begins a connection, so it is not of one that is there",
        ),
        ("in tcp 1.1.1.1 -> 2.2.2.2:1 new reply", "reply", "`reply` says again what was said before"),
        ("in tcp 1.1.1.1 -> 2.2.2.2:1 estabished", "estabished", "unknown word `estabished`"),
        (
            "in tcp 1.1.1.1 -> 2.2.2.2:1 flags syn,ak",
            "syn,ak",
            "`ak` is no TCP flag, known are fin, syn, rst, psh, ack, urg and none",
        ),
        ("in tcp 1.1.1.1 -> 2.2.2.2:1 on", "on", "after `on` a value is missing"),
        (
            "in tcp 1.1.1.1 -> 2.2.2.2:1 on a/b",
            "a/b",
            "`a/b` is no name of an interface: 1 to 15 bytes without `/` and `:`",
        ),
        (
            "in tcp 1.1.1.1 -> 2.2.2.2:1 from eth0",
            "eth0",
            "`from` and `to` are for forwarded packets; here it is `on NAME`",
        ),
        (
            "in tcp 127.0.0.1 -> 2.2.2.2:1 on eth0",
            "eth0",
            "a packet with a loopback address goes by `lo` only",
        ),
        (
            "forward tcp 1.1.1.1 -> 2.2.2.2:1",
            "forward",
            "a forwarded packet has two interfaces: `from NAME to NAME`",
        ),
        (
            "forward tcp 1.1.1.1 -> 127.0.0.1:1 from a to b",
            "127.0.0.1:1",
            "neither groups nor loopback addresses are forwarded",
        ),
        (
            "forward tcp 1.1.1.1 -> 2.2.2.2:1 from a to b ttl 1",
            "1",
            "a packet with one hop left is not forwarded: 2 to 255",
        ),
        ("in tcp 1.1.1.1 -> 2.2.2.2:1 ttl 0", "0", "a packet whose time is over is not handed on: 1 to 255"),
        ("in tcp 1.1.1.1 -> 2.2.2.2:1 ttl 256", "256", "`256` is no number from 0 to 255"),
        ("in tcp 1.1.1.1 -> 2.2.2.2:1 length 39", "39", "this packet can have 40 to 1500 bytes, not 39"),
        (
            "in tcp 1.1.1.1 -> 2.2.2.2:1 length 1501",
            "1501",
            "this packet can have 40 to 1500 bytes, not 1501",
        ),
        (
            "out tcp 1.1.1.1 -> 2.2.2.2:1 invalid",
            "invalid",
            "what goes out is not looked at for a wrong checksum",
        ),
        ("in gre 1.1.1.1 -> 2.2.2.2 invalid", "invalid", "protocol 47 has no checksum that could be wrong"),
        (
            "in tcp 1.1.1.1 -> 2.2.2.2:1 mac 01:00:00:00:00:01",
            "01:00:00:00:00:01",
            "`01:00:00:00:00:01` is no Ethernet address of a sender",
        ),
        (
            "out tcp 1.1.1.1 -> 2.2.2.2:1 mac 02:00:00:00:00:01",
            "02:00:00:00:00:01",
            "a packet that goes out gets its Ethernet address from the interface",
        ),
    ] {
        let problem = parse_packet(text).expect_err(text);
        assert_eq!((&text[problem.span.clone()], problem.message.as_str()), (words, message), "{text}");
    }
    let hint = |text: &str| parse_packet(text).expect_err(text).hint.unwrap_or_default();
    assert_eq!(hint("in tcp 1.1.1.1 -> 2.2.2.2:1 estabished"), "did you mean `established`?");
    assert_eq!(hint("in icmp 1.1.1.1 -> 2.2.2.2 echo-requst"), "did you mean `echo-request`?");
    assert_eq!(hint("in tcp 1.1.1.1 -> 2.2.2.2"), "such as `2.2.2.2:80`");
}

proptest! {
    #[test]
    fn any_text_gives_a_packet_or_a_place_in_it(text in "\\PC{0,60}") {
        if let Err(problem) = parse_packet(&text) {
            prop_assert!(text.get(problem.span).is_some());
        }
    }

    #[test]
    fn any_words_give_a_packet_or_a_place_in_them(
        words in prop::collection::vec(prop::sample::select(vec![
            "in", "out", "forward", "tcp", "udp", "icmp", "icmpv6", "1.1.1.1", "2.2.2.2:1", "[fd00::1]:5", "fd00::2",
            "->", "on", "from", "to", "eth0", "lo", "new", "reply", "invalid", "syn", "flags", "ttl", "1", "255", "length", "é",
        ]), 0..14),
    ) {
        let text = words.join(" ");
        match parse_packet(&text) {
            Ok(packet) => prop_assert!(super::super::encode_packet(&packet).len() >= 20),
            Err(problem) => prop_assert!(text.get(problem.span).is_some()),
        }
    }
}
