//! iptables is the oracle: the same rules through it and through the native encoder give the same bytes.

mod rare;

use std::fmt::Write;

use proptest::prelude::*;

use super::*;
use crate::encode::iptables::encode_rules;
use crate::encode::testing::{Case, Names, cases};
use crate::nft::decode::decode_expressions;

fn set_index(name: &str) -> Option<u16> {
    ["web", "web6"].iter().position(|known| *known == name).map(|at| at as u16)
}

const CONTEXT: NativeContext<'static> = NativeContext { databases: &Names, set_index: &set_index };

/// The sets of [`set_index`], in a fresh namespace.
fn make_sets() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let script =
        "ipset create web hash:ip,port counters skbinfo timeout 0; ipset create web6 hash:net family inet6";
    let output = std::process::Command::new("sh").args(["-ec", script]).output()?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into()) }
}

/// Expressions in a form that people can compare.
fn readable(expressions: &[u8]) -> String {
    let mut text = String::new();
    for expression in decode_expressions(expressions) {
        let expression = expression.expect("well formed");
        let _ = write!(text, "\n  {}", expression.name);
        for attr in expression.data {
            let attr = attr.expect("well formed");
            let _ = write!(text, " {}=", attr.kind);
            for byte in attr.value {
                let _ = write!(text, "{byte:02x}");
            }
        }
    }
    text
}

/// Every rule comes out the same, byte for byte.
fn compare_with_iptables(cases: &[Case]) {
    let inputs: Vec<_> = cases.iter().map(Case::input).collect();
    let theirs = encode_rules(&inputs, &make_sets).unwrap_or_else(|error| match error {
        crate::encode::iptables::EncodeError::Refused(refusals) => {
            panic!("{:#?}", refusals.iter().map(|it| (&cases[it.rule].text, &it.message)).collect::<Vec<_>>())
        }
        error => panic!("{error}"),
    });
    let mut different = String::new();
    for (case, theirs) in cases.iter().zip(theirs) {
        let Case { family, text, .. } = case;
        match encode_native(&case.rule, *family, &CONTEXT) {
            Ok(ours) if ours == theirs => {}
            Ok(ours) => {
                let (ours, theirs) = (readable(&ours.expressions), readable(&theirs.expressions));
                let _ = writeln!(different, "{family} `{text}`\niptables:{theirs}\nnative:{ours}");
            }
            Err(error) => {
                let _ = writeln!(different, "{family} `{text}`: {error}");
            }
        }
    }
    assert!(different.is_empty(), "{different}");
}

#[test]
fn headers_and_verdicts() {
    compare_with_iptables(&cases(
        "
        filter INPUT
        filter INPUT -j ACCEPT
        filter INPUT -j DROP
        filter UC -j RETURN
        filter INPUT -j UC
        filter INPUT -g UC
        filter INPUT -i eth0
        filter INPUT ! -i eth0
        filter INPUT -i eth+
        filter INPUT ! -i eth+
        filter INPUT -i +
        filter INPUT ! -i +
        filter INPUT -i abcdefghijklmno
        filter INPUT -i abcdefghijklmn+
        filter OUTPUT -o eth0
        filter FORWARD -i lo ! -o lo
        filter INPUT -p tcp
        filter INPUT ! -p tcp
        filter INPUT -p all
        filter INPUT -p 0
        filter INPUT -p 47
        filter INPUT ! -p gre
        4 filter INPUT -s 10.0.0.1
        4 filter INPUT -s 10.0.0.0/8
        4 filter INPUT -s 10.1.0.0/16
        4 filter INPUT -s 10.1.2.0/24
        4 filter INPUT -s 10.0.16.0/20
        4 filter INPUT ! -s 10.0.16.0/20
        4 filter INPUT -s 0.0.0.0/0
        4 filter INPUT -s 0.0.0.0/1
        4 filter INPUT -s 0.0.0.0/24
        4 filter INPUT -s 10.0.0.5/255.0.0.255
        4 filter INPUT -s 0.5.0.5/0.255.0.255
        4 filter INPUT -s 10.0.0.1 ! -d 10.0.0.2 -i lo -p udp
        4 filter INPUT -f
        4 filter INPUT ! -f
        6 filter INPUT -s fd00::1
        6 filter INPUT -s fd00::/8
        6 filter INPUT -s fd00::/64
        6 filter INPUT -s fd00::/61
        6 filter INPUT -s ::/0
        6 filter INPUT ! -d fd00::/127
        6 filter INPUT ! -s fd00::1 ! -d fd00::2 ! -i eth0 ! -p icmpv6 -j ACCEPT
        ",
    ));
}

#[test]
fn ports() {
    compare_with_iptables(&cases(
        "
        filter INPUT -p tcp --dport 80
        filter INPUT -p tcp --dport http
        filter INPUT -p tcp --sport 80
        filter INPUT -p tcp ! --dport 80
        filter INPUT -p tcp --dport 80:90
        filter INPUT -p tcp ! --dport 80:90
        filter INPUT -p tcp --dport :90
        filter INPUT -p tcp ! --dport :90
        filter INPUT -p tcp --dport 80:
        filter INPUT -p tcp --dport 0:65535
        filter INPUT -p tcp ! --dport 0:65535
        filter INPUT -p tcp --dport 0
        filter INPUT -p tcp --dport 0x50
        filter INPUT -p tcp --dport 010
        filter INPUT -p tcp --dport 80:80
        filter INPUT -p tcp --sport 1:2 --dport 3
        filter INPUT -p tcp --sport 1 --dport 2
        filter INPUT -p tcp ! --sport 1 ! --dport 2
        filter INPUT -p tcp ! --sport 1 --dport 2
        filter INPUT -p tcp --sport 0 --dport 2
        filter INPUT -p tcp --syn
        filter INPUT -p tcp ! --syn
        filter INPUT -p tcp --tcp-flags SYN,ACK SYN
        filter INPUT -p tcp ! --tcp-flags ALL NONE
        filter INPUT -p tcp --tcp-flags NONE NONE
        filter INPUT -p tcp ! --tcp-flags NONE NONE
        filter INPUT -p tcp --tcp-flags fin,psh,urg ALL
        filter INPUT -p tcp --tcp-option 7
        filter INPUT -p tcp ! --tcp-option 7 ! --sport 5:6 --dport 80 ! --syn
        filter INPUT -p tcp -m tcp
        filter INPUT -p tcp -m comment --comment x --dport 80
        filter INPUT -p udp --dport 53
        filter INPUT -p udp --sport 1:2 ! --dport domain
        filter INPUT -p udp -m udp
        filter INPUT -p udp --dport 010
        filter INPUT -p udp ! --sport 08:00020
        filter INPUT -p udp --dport ssh
        filter INPUT -p udp ! --sport 0:65535
        filter INPUT -p tcp -m multiport --dports 80,443
        filter INPUT -p udp -m multiport ! --sports 1:5,domain,7
        filter INPUT -p sctp -m multiport --ports 1,2,3,4,5,6,7,8,9,10,11,12,13,14:15
        filter INPUT -p udplite -m multiport --ports 1:65535
        ",
    ));
}

#[test]
fn matches() {
    compare_with_iptables(&cases(
        "
        4 filter INPUT -p icmp --icmp-type 8
        4 filter INPUT -p icmp ! --icmp-type echo-request
        4 filter INPUT -p icmp --icmp-type any
        4 filter INPUT -p icmp --icmp-type 3/1
        4 filter INPUT -p icmp --icmp-type 3/1:4
        4 filter INPUT -p icmp --icmp-type fragm
        4 filter INPUT -p icmp --icmp-type tos-network-redirect
        6 filter INPUT -p icmpv6 --icmpv6-type 128
        6 filter INPUT -p icmpv6 ! --icmpv6-type neighbour-solicitation
        6 filter INPUT -p icmpv6 --icmpv6-type 1/4
        6 filter INPUT -p icmpv6 --icmpv6-type pong
        filter INPUT -m conntrack --ctstate ESTABLISHED,RELATED
        filter INPUT -m conntrack ! --ctstate INVALID,SNAT,DNAT,UNTRACKED
        filter INPUT -m conntrack --ctstate new,r
        filter INPUT -m conntrack --ctproto tcp --ctdir REPLY
        filter INPUT -m conntrack ! --ctproto 17 --ctdir original
        filter INPUT -m conntrack --ctstatus ASSURED,EXPECTED,SEEN_REPLY ! --ctexpire 10:20
        filter INPUT -m conntrack --ctstatus NONE --ctexpire 7
        filter INPUT -m conntrack --ctstatus CONFIRMED --ctexpire :7
        filter INPUT -m conntrack --ctexpire 7:
        filter INPUT -m conntrack --ctorigsrcport 1:2 ! --ctorigdstport 3 --ctreplsrcport 4: --ctrepldstport :5
        4 filter INPUT -m conntrack --ctorigsrc 10.0.0.1 ! --ctorigdst 10.0.0.7/24 --ctreplsrc 1.2.3.4/32 --ctrepldst 0.0.0.0/0
        6 filter INPUT -m conntrack --ctorigsrc fd00::1 ! --ctorigdst fd00::7/61 --ctreplsrc fd00::2/128
        filter INPUT -m state --state NEW,INVALID
        filter INPUT -m state ! --state UNTRACKED
        filter INPUT -m comment --comment \"a comment with 'quotes' and \\\"these\\\"\"
        filter INPUT -m comment --comment \"\"
        4 filter INPUT -m set --match-set web src,dst
        4 filter INPUT -m set ! --match-set web dst,src --return-nomatch
        4 filter INPUT -m set --match-set web src,src ! --update-counters ! --update-subcounters --packets-gt 5 ! --bytes-eq 7
        4 filter INPUT -m set --match-set web src,dst --packets-lt 9 --bytes-lt 18446744073709551615
        4 filter INPUT -m set --match-set web src,dst ! --packets-eq 0 --bytes-gt 1 --update-counters
        6 filter INPUT -m set --match-set web6 dst
        filter INPUT -m limit
        filter INPUT -m limit --limit 5/min
        filter INPUT -m limit --limit 10 --limit-burst 1
        filter INPUT -m limit --limit 1/day --limit-burst 10000
        filter INPUT -m limit --limit 7/hour
        filter INPUT -m limit --limit 10000/second
        filter INPUT -m limit --limit 61/m --limit-burst 0
        filter INPUT -m limit --limit 3333/s
        filter INPUT -m limit --limit 1000/d
        filter INPUT -m mark --mark 1
        filter INPUT -m mark ! --mark 0x1/0xff
        filter INPUT -m connmark --mark 1
        filter INPUT -m connmark ! --mark 0xfeed/0xffff
        filter INPUT -m addrtype --src-type LOCAL
        filter INPUT -m addrtype ! --src-type UNICAST ! --dst-type LOCAL,MULTICAST,ANYCAST
        4 filter INPUT -m addrtype --dst-type BROADCAST,BLACKHOLE,unreach,NAT --limit-iface-in
        filter OUTPUT -m addrtype --dst-type LOCAL --limit-iface-out
        filter INPUT -m recent --set
        filter INPUT -m recent --name r --rcheck --seconds 60 --hitcount 4 --rttl
        filter INPUT -m recent --name r ! --update --seconds 60 --reap --rdest
        filter INPUT -m recent --name r --remove --rsource
        4 filter INPUT -m recent --name r2 --rcheck --mask 255.255.255.0
        6 filter INPUT -m recent --name r2 --rcheck --mask ffff::
        4 filter INPUT -m iprange --src-range 10.0.0.1-10.0.0.9 ! --dst-range 10.0.0.9-10.0.0.10
        4 filter INPUT -m iprange --dst-range 10.0.0.1
        6 filter INPUT -m iprange ! --src-range fd00::1-fd00::9
        filter INPUT -m mac --mac-source 00:11:22:aa:bB:5
        filter INPUT -m mac ! --mac-source 00:11:22:aa:bb:55
        filter OUTPUT -m owner --uid-owner 0
        filter OUTPUT -m owner ! --uid-owner root ! --gid-owner 5-10 --suppl-groups
        filter OUTPUT -m owner --gid-owner 5:10 --socket-exists
        filter OUTPUT -m owner ! --socket-exists
        filter INPUT -m hashlimit --hashlimit-upto 5/min --hashlimit-mode srcip --hashlimit-name a
        filter INPUT -m hashlimit --hashlimit 5/min --hashlimit-name b
        filter INPUT -m hashlimit --hashlimit-above 7/hour --hashlimit-burst 9 --hashlimit-mode srcip,dstip,srcport,dstport --hashlimit-name c --hashlimit-srcmask 24 --hashlimit-dstmask 0
        filter INPUT -m hashlimit ! --hashlimit-upto 300/day --hashlimit-name d --hashlimit-htable-size 100 --hashlimit-htable-max 200 --hashlimit-htable-gcinterval 300 --hashlimit-htable-expire 400
        filter INPUT -m hashlimit --hashlimit-upto 512kb/s --hashlimit-name e
        filter INPUT -m hashlimit ! --hashlimit-above 1mb/s --hashlimit-burst 2mb --hashlimit-name f
        filter INPUT -m hashlimit --hashlimit-upto 17b/s --hashlimit-burst 1k --hashlimit-name g
        filter INPUT -m hashlimit --hashlimit-above 5/min --hashlimit-rate-match --hashlimit-name h
        filter INPUT -m hashlimit --hashlimit-above 1kb/s --hashlimit-rate-match --hashlimit-rate-interval 7 --hashlimit-name i
        filter INPUT -m hashlimit --hashlimit-above 1kb/s --hashlimit-rate-match --hashlimit-rate-interval 010 --hashlimit-name k
        filter INPUT -m hashlimit --hashlimit-upto 010kb/s --hashlimit-burst 020k --hashlimit-name l
        filter INPUT -m time --monthdays 01,07 --weekdays 02
        filter INPUT -m hashlimit --hashlimit-above 1kb/s --hashlimit-rate-match --hashlimit-name j
        filter INPUT -p tcp -m connlimit --connlimit-above 3
        filter INPUT -p tcp -m connlimit ! --connlimit-above 3 --connlimit-mask 24 --connlimit-daddr
        filter INPUT -m connlimit --connlimit-upto 3 --connlimit-mask 0 --connlimit-saddr
        filter INPUT -m connlimit ! --connlimit-upto 0
        filter INPUT -m string --string abc --algo bm
        filter INPUT -m string ! --string \"GET / HTTP\" --algo kmp --from 10 --to 1000 --icase
        filter INPUT -m string --hex-string \"GET |  0d 0AfF|x|ff |\\\\|\" --algo bm
        filter INPUT -m string --hex-string \"GET\\\\|\\\\\\\\|ff||00|\" --algo bm
        filter INPUT -m string --hex-string |00| --algo bm
        filter INPUT -m statistic --mode random --probability 0.5
        filter INPUT -m statistic --mode random ! --probability 0.333333
        filter INPUT -m statistic --mode random --probability 1
        filter INPUT -m statistic --mode random --probability 0
        filter INPUT -m statistic --mode nth --every 3 --packet 2
        filter INPUT -m statistic --mode nth ! --every 1 --packet 0
        filter INPUT -m length --length 100
        filter INPUT -m length ! --length 100:200
        filter INPUT -m length --length 100:
        filter INPUT -m length --length :200
        filter INPUT -m pkttype --pkt-type broadcast
        filter INPUT -m pkttype ! --pkt-type host
        filter INPUT -m time --timestart 10:00
        filter INPUT -m time --timestart 10:00:01 --timestop 1:2:3 --weekdays Mon,Tuesday,7 --monthdays 1,31 --kerneltz
        filter INPUT -m time ! --weekdays Sa,Su ! --monthdays 5 --contiguous --utc --timestart 23:00 --timestop 7:00
        filter INPUT -m time --datestart 2026-02-29T10:11:12 --datestop 2038-01
        filter INPUT -m time --datestart 1970 --datestop 2000-12-31T23
        4 filter INPUT -m ttl --ttl-eq 64
        4 filter INPUT -m ttl ! --ttl-eq 64
        4 filter INPUT -m ttl --ttl-lt 5
        4 filter INPUT -m ttl --ttl-gt 255
        6 filter INPUT -m hl --hl-eq 64
        6 filter INPUT -m hl ! --hl-eq 64
        6 filter INPUT -m hl --hl-gt 3
        6 filter INPUT -m hl --hl-lt 3
        filter INPUT -p tcp -m tcpmss --mss 1400
        filter INPUT -p tcp -m tcpmss ! --mss 500:1400
        filter INPUT -m dscp --dscp 0x2e
        filter INPUT -m dscp ! --dscp-class AF41
        filter INPUT -m tos --tos 0x10
        filter INPUT -m tos ! --tos 4/0x3c
        filter INPUT -m tos --tos minimize-cost
        4 filter INPUT -s 10.0.0.0/24 -d 10.1.0.0/16 -i eth0 -p tcp -m tcp --dport 80 -m conntrack --ctstate NEW -m comment --comment x -j ACCEPT
        ",
    ));
}

#[test]
fn targets() {
    compare_with_iptables(&cases(
        "
        filter INPUT -j REJECT
        filter INPUT -p tcp -j REJECT --reject-with tcp-reset
        4 filter INPUT -j REJECT --reject-with icmp-admin-prohibited
        4 filter INPUT -j REJECT --reject-with host-prohib
        4 filter INPUT -j REJECT --reject-with icmp-net
        6 filter INPUT -j REJECT --reject-with icmp6-adm-prohibited
        6 filter INPUT -j REJECT --reject-with no-route
        filter INPUT -j LOG
        filter INPUT -j LOG --log-prefix \"abc: \" --log-level 7 --log-uid
        filter INPUT -j LOG --log-level warning --log-tcp-sequence --log-tcp-options --log-ip-options --log-macdecode
        filter INPUT -j LOG --log-prefix 12345678901234567890123456789
        filter INPUT -j NFLOG
        filter INPUT -j NFLOG --nflog-group 5
        filter INPUT -j NFLOG --nflog-prefix abc --nflog-group 65535 --nflog-size 100 --nflog-threshold 2
        filter INPUT -j NFLOG --nflog-size 0 --nflog-threshold 0
        filter INPUT -j NFLOG --nflog-prefix 1234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567
        mangle INPUT -j MARK --set-mark 1
        mangle INPUT -j MARK --set-mark 1/0xf0
        mangle INPUT -j MARK --set-xmark 1/0xff
        mangle INPUT -j MARK --and-mark 0xf
        mangle INPUT -j MARK --or-mark 0xf
        mangle INPUT -j MARK --xor-mark 0xf
        mangle INPUT -j CONNMARK --save-mark
        mangle INPUT -j CONNMARK --restore-mark --mask 0xff
        mangle INPUT -j CONNMARK --save-mark --nfmask 0xff --ctmask 0xff00
        mangle INPUT -j CONNMARK --set-mark 7/0x8
        mangle INPUT -j CONNMARK --set-xmark 7/0x8 --left-shift-mark 3
        mangle INPUT -j CONNMARK --restore-mark --right-shift-mark 31
        mangle INPUT -j CONNMARK --or-mark 1
        4 filter INPUT -j SET --add-set web src,dst
        4 filter INPUT -j SET --add-set web src,dst --exist --timeout 5 --del-set web dst,dst
        4 mangle POSTROUTING -j SET --map-set web src,dst --map-mark --map-prio
        6 filter INPUT -j SET --del-set web6 src
        mangle FORWARD -p tcp --syn -j TCPMSS --clamp-mss-to-pmtu
        mangle FORWARD -p tcp --syn -j TCPMSS --set-mss 1400
        4 nat PREROUTING -p tcp --dport 80 -j DNAT --to-destination 10.0.0.1:8080
        4 nat PREROUTING -p tcp -j DNAT --to-destination :8080
        4 nat PREROUTING -p tcp -j DNAT --to-destination 10.0.0.1:1000-2000/3000
        4 nat PREROUTING -p tcp -j DNAT --to-destination 10.0.0.1:http
        4 nat PREROUTING -j DNAT --to-destination 10.0.0.1-10.0.0.5 --random --persistent
        6 nat PREROUTING -p tcp -j DNAT --to-destination [fd00::1]:80
        6 nat PREROUTING -p tcp -j DNAT --to-destination [fd00::1-fd00::5]:80-90
        6 nat PREROUTING -j DNAT --to-destination fd00::1
        6 nat PREROUTING -j DNAT --to-destination [fd00::1]
        6 nat OUTPUT -p udp -j DNAT --to-destination []:80
        4 nat POSTROUTING -j SNAT --to-source 10.0.0.1
        4 nat POSTROUTING -p tcp -j SNAT --to-source 10.0.0.1-10.0.0.3:100-200 --random-fully
        6 nat POSTROUTING -j SNAT --to-source fd00::1-fd00::7 --persistent
        6 nat POSTROUTING -p udp -j SNAT --to-source [fd00::1]:5 --random
        nat POSTROUTING -j MASQUERADE
        nat POSTROUTING -p tcp -j MASQUERADE --to-ports 1024-2048 --random
        nat POSTROUTING -j MASQUERADE --random-fully
        nat PREROUTING -j REDIRECT
        nat PREROUTING -p tcp -j REDIRECT --to-ports 8080 --random
        nat PREROUTING -p udp -j REDIRECT --to-ports 80-90
        4 nat PREROUTING -j NETMAP --to 10.0.0.5/24
        4 nat PREROUTING -j NETMAP --to 10.0.0.5
        6 nat PREROUTING -j NETMAP --to fd00::5/64
        filter INPUT -j NFQUEUE
        filter INPUT -j NFQUEUE --queue-num 1 --queue-bypass
        filter INPUT -j NFQUEUE --queue-balance 0:3 --queue-cpu-fanout
        raw PREROUTING -j CT --notrack
        raw PREROUTING -j NOTRACK
        raw PREROUTING -j CT --zone 7
        raw PREROUTING -j CT --zone-orig mark
        raw PREROUTING -j CT --zone-reply 9 --ctevents new,destroy,natseqinfo --expevents new
        4 raw PREROUTING -p tcp -j CT --helper ftp
        raw PREROUTING -j TRACE
        mangle POSTROUTING -j DSCP --set-dscp 10
        mangle POSTROUTING -j DSCP --set-dscp-class EF
        mangle POSTROUTING -j TOS --set-tos 0x10
        mangle POSTROUTING -j TOS --set-tos Minimize-Delay
        mangle POSTROUTING -j TOS --set-tos 4/0xf
        mangle POSTROUTING -j TOS --and-tos 0xf
        mangle POSTROUTING -j TOS --or-tos 1
        mangle POSTROUTING -j TOS --xor-tos 1
        4 mangle PREROUTING -j TTL --ttl-set 64
        4 mangle PREROUTING -j TTL --ttl-inc 1
        6 mangle PREROUTING -j HL --hl-dec 255
        ",
    ));
}

#[test]
fn rare_extensions() {
    compare_with_iptables(&cases(
        "
        4 filter INPUT -p ah -m ah --ahspi 5
        4 filter INPUT -p ah -m ah ! --ahspi 5:7
        4 filter INPUT -p ah -m ah
        filter INPUT -p esp -m esp --espspi 5:
        filter INPUT -p esp -m esp ! --espspi :7
        filter INPUT -m cgroup --cgroup 0x100001
        filter INPUT -m cgroup ! --cgroup 7
        filter INPUT -m connbytes --connbytes 10 --connbytes-dir both --connbytes-mode bytes
        filter INPUT -m connbytes ! --connbytes 10:20 --connbytes-dir reply --connbytes-mode avgpkt
        filter INPUT -m connbytes --connbytes :20 --connbytes-dir original --connbytes-mode packets
        filter INPUT -m connlabel --label 40
        filter INPUT -m connlabel ! --label 127 --set
        filter INPUT -m cpu --cpu 1
        filter INPUT -m cpu ! --cpu 0
        filter INPUT -m devgroup --src-group 1
        filter FORWARD -m devgroup ! --src-group 0x1/0xff --dst-group 7
        filter INPUT -p tcp -m ecn --ecn-tcp-cwr ! --ecn-tcp-ece
        filter INPUT -m ecn ! --ecn-ip-ect 2
        filter INPUT -m helper --helper ftp
        filter INPUT -m helper ! --helper sip-5061
        filter INPUT -m physdev --physdev-in eth0
        filter FORWARD -m physdev ! --physdev-in eth+ --physdev-out abcdefghijklmno
        filter FORWARD -m physdev --physdev-is-in ! --physdev-is-bridged
        filter FORWARD -m physdev ! --physdev-is-out --physdev-is-bridged
        filter INPUT -m policy --dir in --pol ipsec
        filter INPUT -m policy --dir in --pol none
        filter INPUT -m policy --dir in --pol ipsec --strict --reqid 1 ! --spi 0x1 --proto esp --mode transport --next ! --reqid 2 ! --proto ipcomp
        4 filter OUTPUT -m policy --dir out --pol ipsec --mode tunnel --tunnel-dst 10.0.0.1 ! --tunnel-src 10.0.0.5/8
        6 filter OUTPUT -m policy --dir out --pol ipsec --mode tunnel --tunnel-dst fd00::1 ! --tunnel-src fd00::5/61
        filter INPUT -m quota --quota 1000
        4 filter INPUT -m realm --realm 1
        4 filter INPUT -m realm ! --realm 0x10/0xf0
        raw PREROUTING -m rpfilter
        mangle PREROUTING -m rpfilter --loose --validmark --accept-local --invert
        filter INPUT -p sctp --dport 80
        filter INPUT -p sctp ! --sport 80:90 --chunk-types any INIT,DATA,I_FORWARD_TSN
        filter INPUT -p sctp ! --chunk-types only all
        filter INPUT -p sctp --chunk-types all NONE
        filter INPUT -m socket
        mangle PREROUTING -m socket --transparent --nowildcard --restore-skmark
        mangle POSTROUTING -j CLASSIFY --set-class 1:ff
        mangle POSTROUTING -j CHECKSUM --checksum-fill
        filter INPUT -j AUDIT --type drop
        4 mangle POSTROUTING -j TEE --gateway 10.0.0.1
        6 mangle POSTROUTING -j TEE --gateway fd00::1 --oif eth0
        mangle PREROUTING -p tcp -j TPROXY --on-port 80
        mangle PREROUTING -p tcp -j TPROXY --on-port 010
        mangle PREROUTING -p udp -j TPROXY --on-port ssh
        4 mangle PREROUTING -p udp -j TPROXY --on-port 80 --on-ip 10.0.0.1 --tproxy-mark 0x1/0xff
        6 mangle PREROUTING -p udp -j TPROXY --on-port 80 --on-ip fd00::1 --tproxy-mark 7
        ",
    ));
}

/// A `!` or nothing, then the words.
fn negatable(words: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    (any::<bool>(), words).prop_map(|(negated, words)| if negated { format!("! {words}") } else { words })
}

/// `A`, `A:B`, `A:` or `:B`
fn port_range() -> impl Strategy<Value = String> {
    let ordered = |(a, b): (u16, u16)| format!("{}:{}", a.min(b), a.max(b));
    prop_oneof![
        any::<u16>().prop_map(|port| port.to_string()),
        any::<(u16, u16)>().prop_map(ordered),
        any::<u16>().prop_map(|port| format!("{port}:")),
        any::<u16>().prop_map(|port| format!(":{port}")),
    ]
}

fn network_of(family: Family) -> BoxedStrategy<String> {
    match family {
        Family::Ipv4 => prop_oneof![
            any::<std::net::Ipv4Addr>().prop_map(|address| address.to_string()),
            (any::<std::net::Ipv4Addr>(), 1..=32_u8)
                .prop_map(|(address, length)| format!("{address}/{length}")),
            any::<(std::net::Ipv4Addr, std::net::Ipv4Addr)>()
                .prop_filter("some bits", |(_, mask)| !mask.is_unspecified())
                .prop_map(|(address, mask)| format!("{address}/{mask}")),
        ]
        .boxed(),
        Family::Ipv6 => prop_oneof![
            any::<std::net::Ipv6Addr>().prop_map(|address| address.to_string()),
            (any::<std::net::Ipv6Addr>(), 1..=128_u8)
                .prop_map(|(address, length)| format!("{address}/{length}")),
        ]
        .boxed(),
    }
}

/// Matches that go with TCP, and with everything.
fn some_match() -> impl Strategy<Value = String> {
    let states =
        prop::sample::subsequence(vec!["NEW", "ESTABLISHED", "RELATED", "INVALID", "UNTRACKED"], 1..=5);
    let flags = || prop::sample::subsequence(vec!["SYN", "ACK", "FIN", "RST", "URG", "PSH"], 1..=6);
    prop_oneof![
        (negatable(port_range().prop_map(|ports| format!("--sport {ports}"))), negatable(port_range().prop_map(|ports| format!("--dport {ports}"))))
            .prop_map(|(source, destination)| format!("-m tcp {source} {destination}")),
        negatable((flags(), flags()).prop_map(|(mask, set)| format!("--tcp-flags {} {}", mask.join(","), set.join(","))))
            .prop_map(|flags| format!("-m tcp {flags}")),
        negatable(prop::collection::vec(1..=65_535_u16, 1..=15).prop_map(|ports| {
            format!("--dports {}", ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
        }))
        .prop_map(|ports| format!("-m multiport {ports}")),
        negatable(states.prop_map(|states| format!("--ctstate {}", states.join(","))))
            .prop_map(|states| format!("-m conntrack {states}")),
        negatable(any::<(u32, u32)>().prop_map(|(mark, mask)| format!("--mark {mark:#x}/{mask:#x}")))
            .prop_map(|mark| format!("-m mark {mark}")),
        // no connmark: beside a mark, iptables gives the option of a second one to the wrong match
        (1..=10_000_u32, prop::sample::select(vec!["s", "minute", "hour", "day"]), 1..=10_000_u32)
            .prop_map(|(count, unit, burst)| format!("-m limit --limit {count}/{unit} --limit-burst {burst}")),
        (1..=1_000_000_u32, prop::sample::select(vec!["sec", "minute", "h"]), 1..=100_u32).prop_map(
            |(count, unit, burst)| {
                // a table keeps what it was made with, so the name must tell
                let name = format!("{count}{unit}{burst}");
                format!("-m hashlimit --hashlimit-upto {count}/{unit} --hashlimit-burst {burst} --hashlimit-name {name}")
            }
        ),
        (16..=4_000_000_000_u32).prop_map(|rate| format!("-m hashlimit --hashlimit-above {rate}b/s --hashlimit-name {rate}")),
        "[ -~]{0,255}".prop_map(|comment| format!("-m comment --comment {}", quoted(&comment))),
        (any::<(u16, u16)>(), "[ -~]{1,128}").prop_map(|((from, to), pattern)| {
            let (from, to) = (from.min(to), from.max(to));
            format!("-m string --from {from} --to {to} --algo kmp --string {}", quoted(&pattern))
        }),
        (0..=1_000_000_u32).prop_map(|millionths| {
            format!("-m statistic --mode random --probability {}.{:06}", millionths / 1_000_000, millionths % 1_000_000)
        }),
        (1970..2038_u32, 1..=12_u32, 1..=31_u32, 0..24_u32, 0..60_u32, 0..60_u32).prop_map(|(year, month, day, h, m, s)| {
            format!("-m time --datestart {year}-{month}-{day}T{h}:{m}:{s} --timestop {h}:{m}:{s}")
        }),
    ]
}

/// Quotes as iptables-restore knows them; dollars and backticks are ours.
fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for letter in text.chars() {
        if matches!(letter, '"' | '\\' | '$' | '`') {
            quoted.push('\\');
        }
        quoted.push(letter);
    }
    quoted + "\""
}

fn some_rule() -> impl Strategy<Value = String> {
    prop::sample::select(Family::ALL.to_vec()).prop_flat_map(|family| {
        let source =
            prop::option::of(negatable(network_of(family).prop_map(|network| format!("-s {network}"))));
        let destination =
            prop::option::of(negatable(network_of(family).prop_map(|network| format!("-d {network}"))));
        let interface =
            prop::option::of(negatable("[a-z0-9.]{1,14}[a-z+]".prop_map(|name| format!("-i {name}"))));
        let target = prop::sample::select(vec![
            "",
            "-j ACCEPT",
            "-j UC",
            "-g UC",
            "-j REJECT --reject-with tcp-reset",
        ]);
        let matches = prop::collection::vec(some_match(), 0..4);
        (source, destination, interface, matches, target).prop_map(
            move |(source, destination, interface, matches, target)| {
                let number = if family == Family::Ipv4 { 4 } else { 6 };
                let [source, destination, interface] =
                    [source, destination, interface].map(Option::unwrap_or_default);
                let matches = matches.join(" ");
                format!("{number} filter INPUT {source} {destination} {interface} -p tcp {matches} {target}")
            },
        )
    })
}

proptest! {
    // each case is one run of the two programs over many rules
    #![proptest_config(ProptestConfig { cases: 6, max_shrink_iters: 200, ..ProptestConfig::default() })]
    #[test]
    fn any_rule_comes_out_as_iptables_writes_it(rules in prop::collection::vec(some_rule(), 150)) {
        compare_with_iptables(&cases(&rules.join("\n")));
    }
}
