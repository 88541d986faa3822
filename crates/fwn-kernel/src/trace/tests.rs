//! The lab against the kernel.

use fwn_plan::packet::parse_packet;
use fwn_testkit::Netns;

use super::copy::copy;
use super::cross_check::cross_check;
use super::explain::{Outcome, explain};
use super::lab::Lab;
use crate::netns::TargetNetns;

fn outcome(lab: &mut Lab, text: &str) -> Outcome {
    let packet = parse_packet(text).unwrap_or_else(|problem| panic!("{text}: {problem}"));
    let before = lab.rules().expect("readable");
    let journey = lab.send_alone(&packet, "eth0").unwrap_or_else(|error| panic!("{text}: {error:?}"));
    let after = lab.rules().expect("readable");
    cross_check(&journey, &before, &after).unwrap_or_else(|error| panic!("{text}: {error}\n{journey:?}"));
    explain(&journey, &after).outcome
}

#[test]
fn the_kernel_judges_every_kind_of_packet() {
    let mut lab = Lab::new(true).expect("a lab");
    lab.add_interface("eth0").expect("made");
    lab.add_interface("eth1").expect("made");
    let script = "iptables -P INPUT DROP; ip6tables -P INPUT DROP
        iptables -A INPUT -i eth0 -p tcp --dport 80 -j ACCEPT
        iptables -A INPUT -p tcp -m multiport --dports 81,82 -j REJECT
        iptables -A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT
        iptables -A INPUT -m conntrack --ctstate RELATED -m mark --mark 7 -j ACCEPT
        iptables -A INPUT -m mac --mac-source 02:00:00:00:00:07 -m length --length 99 -j ACCEPT
        iptables -A INPUT -i lo -j ACCEPT
        iptables -A OUTPUT -o eth0 -p udp --dport 53 -j DROP
        iptables -A FORWARD -i eth0 -o eth1 -p sctp --dport 5 -j DROP
        ip6tables -A INPUT -p icmpv6 --icmpv6-type 135 -m hl --hl-eq 255 -j ACCEPT
        ip6tables -A INPUT -m conntrack --ctstate INVALID -j REJECT";
    let run = || std::process::Command::new("sh").args(["-ec", script]).output().expect("a shell runs");
    let output = lab.netns().run(run).expect("entered");
    assert!(output.status.success(), "{output:?}");
    for (text, expected) in [
        ("in tcp 10.0.0.9:4000 -> 10.0.0.2:80", Outcome::Accept),
        ("in tcp 10.0.0.9:4000 -> 10.0.0.2:80 on eth1", Outcome::Drop),
        ("in tcp 10.0.0.9:4000 -> 10.0.0.2:82", Outcome::Reject),
        ("in tcp 10.0.0.9:4000 -> 10.0.0.2:83", Outcome::Drop),
        ("in tcp 10.0.0.9:4000 -> 10.0.0.2:83 established", Outcome::Accept),
        ("in tcp 10.0.0.9:4000 -> 10.0.0.2:83 reply", Outcome::Accept),
        ("in tcp 10.0.0.9:4000 -> 10.0.0.2:83 reply syn ack", Outcome::Accept),
        ("in udp 10.0.0.9:4000 -> 10.0.0.2:83 reply", Outcome::Accept),
        ("in sctp 10.0.0.9:4000 -> 10.0.0.2:83", Outcome::Drop),
        ("in sctp 10.0.0.9:4000 -> 10.0.0.2:83 established", Outcome::Accept),
        ("in gre 10.0.0.9 -> 10.0.0.2", Outcome::Drop),
        ("in icmp 10.0.0.9 -> 10.0.0.2 echo-reply established", Outcome::Accept),
        ("in icmp 10.0.0.9 -> 10.0.0.2 port-unreachable related", Outcome::Drop),
        ("in icmp 10.0.0.9 -> 10.0.0.2 port-unreachable related mark 7", Outcome::Accept),
        ("in tcp 10.0.0.9 -> 10.0.0.2:83 related mark 7", Outcome::Accept),
        ("in tcp 10.0.0.9 -> 10.0.0.2:83 mark 7", Outcome::Drop),
        ("in udp 10.0.0.9 -> 10.0.0.2:83 mac 02:00:00:00:00:07 length 99", Outcome::Accept),
        ("in udp 10.0.0.9 -> 10.0.0.2:83 mac 02:00:00:00:00:07 length 98", Outcome::Drop),
        ("in udp 10.0.0.9 -> 10.0.0.2:83 length 99", Outcome::Drop),
        ("in tcp 127.0.0.1:4000 -> 127.0.0.1:83", Outcome::Accept),
        ("in tcp [::1]:4000 -> [::1]:83", Outcome::Drop),
        ("out tcp 127.0.0.1:4000 -> 127.0.0.1:83", Outcome::Accept),
        ("out tcp 10.0.0.2:4000 -> 10.0.0.9:83", Outcome::Accept),
        ("out udp 10.0.0.2:4000 -> 10.0.0.9:53", Outcome::Drop),
        ("out udp 10.0.0.2:4000 -> 10.0.0.9:53 on eth1", Outcome::Accept),
        ("out udp [fd00::2]:4000 -> [fd00::9]:53 on eth1", Outcome::Accept),
        ("out udp 10.0.0.2:4000 -> 255.255.255.255:67", Outcome::Accept),
        ("out icmpv6 fe80::2 -> ff02::16 type 143", Outcome::Accept),
        ("forward sctp 10.0.0.2 -> 10.9.0.9:5 from eth0 to eth1", Outcome::Drop),
        ("forward sctp 10.0.0.2 -> 10.9.0.9:5 from eth1 to eth0", Outcome::Accept),
        ("forward udp [fd00::2]:4 -> [fd09::9]:5 from eth1 to eth0", Outcome::Accept),
        ("in icmpv6 fe80::9 -> ff02::1:ff00:2 neighbour-solicitation", Outcome::Accept),
        ("in icmpv6 fe80::9 -> ff02::1:ff00:2 neighbour-solicitation ttl 64", Outcome::Drop),
        ("in udp [fd00::9]:5 -> [fd00::2]:4 invalid", Outcome::Reject),
        ("in udp [fd00::9]:5 -> [fd00::2]:4", Outcome::Drop),
        ("in udp 0.0.0.0:68 -> 255.255.255.255:67", Outcome::Drop),
        ("in udp 10.0.0.9:5353 -> 224.0.0.251:5353", Outcome::Drop),
    ] {
        assert_eq!(outcome(&mut lab, text), expected, "{text}");
    }
}

/// Sets of both kinds, maps with jumps, extensions and gaps in the numbers of sets: all that a copy could get wrong.
#[test]
fn a_copy_judges_as_the_original_which_is_only_read() {
    let netns = Netns::new();
    netns.sh(
        "echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad # no address that is tentative for a second
         ip link set lo up; ip link add eth0 type veth peer name other; ip link set other up; ip link set eth0 up
         ip addr add 10.9.0.2/24 dev eth0; ip addr add fd09::2/64 dev eth0; ip route add default via 10.9.0.1
         iptables -P INPUT DROP; ip6tables -P INPUT DROP; iptables -P OUTPUT DROP
         ipset create gone hash:ip; ipset create theirs hash:net; ipset create all list:set; ipset destroy gone
         ipset add theirs 10.0.0.0/8; ipset add theirs 10.7.0.0/16 nomatch; ipset add all theirs
         iptables -A INPUT -p tcp -m multiport --dports 80,81 -j REJECT
         iptables -A INPUT ! -p tcp -m conntrack --ctstate NEW -m comment --comment x -j ACCEPT
         iptables -A INPUT -m set --match-set all src -j ACCEPT
         iptables -A OUTPUT -d 10.9.0.0/24 -j ACCEPT
         iptables -t nat -A PREROUTING -p tcp --dport 99 -j REDIRECT --to-ports 80
         ip6tables -A INPUT -p udp -m udp --dport 53 -j ACCEPT",
    );
    netns.sh("nft -f - <<'END'
table inet f {
    chain other { counter reject; }
    set s { type inet_service; flags interval; elements = { 5, 7-10 } }
    chain input {
        type filter hook input priority 10;
        tcp dport @s counter drop
        tcp dport { 11, 12 } counter drop
        tcp dport vmap { 20 : jump other, 21 : drop }
        counter tcp dport 22 drop
    }
}
table bridge b { }
END");
    // iptables-save says in comments what time it is
    let state = || {
        netns.sh("{ iptables-save -c; ip6tables-save -c; } | grep -v '^#'
            ipset save; nft list table inet f; ip addr; ip route")
    };
    let before = state();
    let target = TargetNetns::open(&netns.path()).expect("a namespace");
    let (mut lab, copied) = copy(&target).expect("copied");
    assert_eq!(copied.left_out, ["bridge b"]);
    for (text, expected) in [
        ("in tcp 10.0.0.9 -> 10.9.0.2:80 on eth0", Outcome::Reject),
        ("in tcp 10.0.0.9 -> 10.9.0.2:99 on eth0", Outcome::Reject),
        ("in tcp 10.0.0.9 -> 10.9.0.2:82 on eth0", Outcome::Accept),
        ("in tcp 10.7.0.9 -> 10.9.0.2:82 on eth0", Outcome::Drop),
        ("in udp 10.7.0.9 -> 10.9.0.2:82 on eth0", Outcome::Accept),
        ("in tcp 10.0.0.9 -> 10.9.0.2:8 on eth0", Outcome::Drop),
        ("in tcp 10.0.0.9 -> 10.9.0.2:12 on eth0", Outcome::Drop),
        ("in tcp 10.0.0.9 -> 10.9.0.2:20 on eth0", Outcome::Reject),
        ("in tcp 10.0.0.9 -> 10.9.0.2:21 on eth0", Outcome::Drop),
        ("in tcp 10.0.0.9 -> 10.9.0.2:22 on eth0", Outcome::Drop),
        ("in tcp 10.0.0.9 -> 10.9.0.2:23 on eth0", Outcome::Accept),
        ("in udp [fd09::9]:5 -> [fd09::2]:53 on eth0", Outcome::Accept),
        ("in udp [fd09::9]:5 -> [fd09::2]:54 on eth0", Outcome::Drop),
        ("out udp 10.9.0.2 -> 10.9.0.9:54", Outcome::Accept),
        ("out udp 10.9.0.2 -> 8.8.8.8:54", Outcome::Drop),
    ] {
        let packet = parse_packet(text).unwrap_or_else(|problem| panic!("{text}: {problem}"));
        let rules = lab.rules().expect("readable");
        let journey = lab.send(&packet, None).unwrap_or_else(|error| panic!("{text}: {error:?}"));
        let after = lab.rules().expect("readable");
        cross_check(&journey, &rules, &after).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(explain(&journey, &after).outcome, expected, "{text}");
    }
    assert_eq!(state(), before);
}

#[test]
fn what_cannot_be_copied_is_named() {
    let netns = Netns::new();
    netns.sh("ip link set lo up; nft add table inet t
         nft 'add chain inet t edge { type filter hook ingress device lo priority 0; }'");
    let target = TargetNetns::open(&netns.path()).expect("a namespace");
    let error = copy(&target).expect_err("not copied").to_string();
    assert!(
        error.starts_with("chain `edge` of table inet `t` is hooked to a device, which cannot be copied"),
        "{error}"
    );
}
