//! What is refused, and where the finger points; what is taken is compared with iptables in fwn-kernel.

mod rare;

use super::*;
use crate::expand::Variables;
use crate::rule::databases::NoDatabases;
use crate::rule::lex::parse_words;
use crate::rule::parse::parse_rule;

fn rule(text: &str) -> Rule {
    let words = parse_words(text, &Variables::new()).expect("words");
    parse_rule(&words, &NoDatabases).unwrap_or_else(|problems| panic!("`{text}`: {problems:?}")).rule
}

/// The first thing that is wrong with the values of a rule.
fn error_of(text: &str, family: Family) -> Option<TypedError> {
    let rule = rule(text);
    let context = Context { family, protocol: rule.protocol.as_ref(), databases: &NoDatabases };
    let first = rule.matches.iter().find_map(|module| parse_match(module, &context).err());
    first.or_else(|| match &rule.target {
        Some(Target::Extension(module)) => parse_target(module, &context).err(),
        _ => None,
    })
}

/// The offending words and the message.
fn wrong(text: &str, family: Family) -> (String, String) {
    match error_of(text, family) {
        Some(TypedError::Wrong(problem)) => {
            (text.get(problem.span.clone()).expect("within the rule").to_owned(), problem.message)
        }
        other => panic!("`{text}` should be wrong: {other:?}"),
    }
}

#[test]
fn wrong_values_are_named_where_they_stand() {
    let cases = [
        ("-p tcp --dport 65536", "65536", "not a port from 0 to 65535"),
        ("-p tcp --dport http", "http", "neither a port number nor the name of a service"),
        ("-p tcp --dport 90:80", "90:80", "ends before it begins"),
        ("-p tcp --dport 08", "08", "neither a port number"),
        ("-p udp --dport 0x50", "0x50", "neither a port number"),
        ("-p udp --dport 065536", "065536", "not a port from 0 to 65535"),
        ("-p tcp -j TPROXY --on-port 0x50", "0x50", "neither a port number"),
        ("-p tcp --tcp-flags SYN,AKC SYN", "SYN,AKC", "unknown TCP flag `AKC`"),
        ("-p tcp --tcp-flags SYN, SYN", "SYN,", "empty part"),
        ("-p tcp --tcp-option 0", "0", "not a number from 1 to 255"),
        (
            "-p tcp -m multiport --dports 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16",
            "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16",
            "16 places of 15",
        ),
        (
            "-p tcp -m multiport --dports 1:2,3:4,5:6,7:8,9:10,11:12,13:14,15:16",
            "1:2,3:4,5:6,7:8,9:10,11:12,13:14,15:16",
            "a range takes two",
        ),
        ("-p tcp -m multiport --dports 80:", "80:", "neither a port number"),
        ("-p tcp -m multiport --dports 80:80", "80:80", "a single port"),
        ("-p tcp -m multiport --dports 81:80", "81:80", "ends before it begins"),
        ("-p icmp --icmp-type echo-reqest", "echo-reqest", "unknown ICMP type"),
        ("-p icmp --icmp-type t", "t", "can be ICMP type `TOS-network-unreachable` or"),
        ("-p icmp --icmp-type 256", "256", "not a number from 0 to 255"),
        ("-p icmp --icmp-type 3/4:1", "3/4:1", "ends before it begins"),
        ("-m conntrack --ctstate NEW,ESTABLISHT", "NEW,ESTABLISHT", "unknown connection state `ESTABLISHT`"),
        ("-m conntrack --ctstate SNAT,,NEW", "SNAT,,NEW", "empty part"),
        ("-m conntrack --ctorigsrc fd00::1", "fd00::1", "not an ipv4 address"),
        ("-m conntrack --ctproto nosuch", "nosuch", "unknown protocol"),
        ("-m conntrack --ctdir BOTH", "BOTH", "unknown direction"),
        ("-m state --state SNAT", "SNAT", "unknown connection state"),
        ("-m limit --limit 0/s", "0/s", "not a rate"),
        ("-m limit --limit 5/week", "5/week", "the unit is second"),
        ("-m limit --limit 10001/s", "10001/s", "too fast"),
        ("-m limit --limit-burst 10001", "10001", "not a number from 0 to 10000"),
        ("-m hashlimit --hashlimit-upto 1kb/s --hashlimit-burst 5 --hashlimit-name a", "5", "at least"),
        (
            "-m hashlimit --hashlimit-upto 5/s --hashlimit-mode srcIPs --hashlimit-name a",
            "srcIPs",
            "unknown hashlimit mode",
        ),
        (
            "-m hashlimit --hashlimit-upto 5/s --hashlimit-mode SRCIP --hashlimit-name a",
            "SRCIP",
            "unknown hashlimit mode",
        ),
        (
            "-m hashlimit --hashlimit-upto 5/s --hashlimit-rate-match --hashlimit-rate-interval 0x10 --hashlimit-name a",
            "0x10",
            "not a number from 1",
        ),
        (
            "-m connbytes --connbytes 1 --connbytes-dir BOTH --connbytes-mode bytes",
            "BOTH",
            "unknown direction",
        ),
        ("-m connbytes --connbytes 1 --connbytes-dir both --connbytes-mode BYTES", "BYTES", "unknown mode"),
        ("-m policy --dir IN --pol ipsec", "IN", "unknown direction"),
        ("-m policy --dir in --pol Ipsec", "Ipsec", "unknown policy"),
        ("-m statistic --mode Random --probability 0.5", "Random", "unknown mode"),
        ("-m conntrack --ctproto Tcp", "Tcp", "unknown protocol"),
        ("-m recent --set --seconds 0", "0", "not a number from 1"),
        ("-m set --match-set web source", "source", "neither `src` nor `dst`"),
        (
            "-m set --match-set web src,src,src,src,src,src,src",
            "src,src,src,src,src,src,src",
            "at most 6 parts",
        ),
        ("-m addrtype --dst-type LOCAAL", "LOCAAL", "unknown address type"),
        (
            "-m iprange --src-range 10.0.0.1-10.0.0.300",
            "10.0.0.1-10.0.0.300",
            "`10.0.0.300` is not an ipv4 address",
        ),
        ("-m mac --mac-source 00:11:22:33:44", "00:11:22:33:44", "not a MAC address"),
        ("-m mac --mac-source 00:11:22:33:44:55:66", "00:11:22:33:44:55:66", "not a MAC address"),
        ("-m owner --uid-owner nobody", "nobody", "unknown user"),
        ("-m statistic --mode random --probability 1.5", "1.5", "at most 1"),
        ("-m statistic --mode nth --every 3 --packet 3", "-m statistic", "less than `--every`"),
        ("-m time --timestart 25:00", "25:00", "not a time"),
        ("-m time --datestart 1969", "1969", "not a date"),
        ("-m time --weekdays Mon,Xyz", "Mon,Xyz", "`Xyz` is not a day"),
        ("-m time --monthdays 08", "08", "`08` is not a day"),
        ("-m time --monthdays 1,010", "1,010", "`010` is not a day"),
        ("-m time --monthdays 32", "32", "`32` is not a day"),
        ("-m string --hex-string |0g| --algo bm", "|0g|", "hexadecimal digits"),
        ("-m mark --mark 0x1ffffffff", "0x1ffffffff", "not a number from 0 to 4294967295"),
        ("-m dscp --dscp 64", "64", "not a number from 0 to 63"),
        ("-j REJECT --reject-with icmp-host-unreachabel", "icmp-host-unreachabel", "unknown answer"),
        ("-j REJECT --reject-with tcp-reset", "-j REJECT", "needs `-p tcp`"),
        (
            "-j LOG --log-prefix 123456789012345678901234567890",
            "123456789012345678901234567890",
            "longer than 29 bytes",
        ),
        ("-j LOG --log-level loud", "loud", "unknown log level"),
        ("-j DNAT --to-destination 10.0.0.1:80", "10.0.0.1:80", "ports need `-p`"),
        ("-p tcp -j DNAT --to-destination [10.0.0.1]:80", "[10.0.0.1]:80", "brackets are for IPv6"),
        ("-p tcp -j REDIRECT --to-ports 90-80", "90-80", "ends before it begins"),
        ("-j NFQUEUE --queue-balance 3:3", "3:3", "not a range of queues"),
        ("-p tcp -j TCPMSS --set-mss 65516", "65516", "not a number from 0 to 65515"),
        ("-j CT --ctevents new,Reply", "new,Reply", "unknown event `Reply`"),
        ("-j CT --ctevents new,old", "new,old", "unknown event `old`"),
    ];
    for (text, words, message) in cases {
        let (found, said) = wrong(text, Family::Ipv4);
        assert_eq!(found, words, "`{text}`: {said}");
        assert!(said.contains(message), "`{text}`: {said}");
    }
}

#[test]
fn families_differ_in_what_they_have() {
    let (words, message) = wrong("-m addrtype --dst-type BROADCAST", Family::Ipv6);
    assert_eq!(
        (words.as_str(), message.as_str()),
        ("BROADCAST", "IPv6 does not have all of the types `BROADCAST`")
    );
    let (words, message) = wrong("-p tcp -j DNAT --to-destination [fd00::1:80", Family::Ipv6);
    assert_eq!(
        (words.as_str(), message.as_str()),
        ("[fd00::1:80", "`[fd00::1:80` has a `[` without its `]`")
    );
}

#[test]
fn a_near_miss_has_a_hint() {
    let Some(TypedError::Wrong(problem)) = error_of("-m conntrack --ctstate ESTABLISHT", Family::Ipv4) else {
        panic!("wrong")
    };
    assert_eq!(problem.hint.as_deref(), Some("did you mean `ESTABLISHED`?"));
}

#[test]
fn what_is_not_typed_is_no_fault_of_the_rule() {
    for (text, said) in [
        ("-m nfacct --nfacct-name a", "match `nfacct`"),
        ("-j LED --led-trigger-id a", "target `LED`"),
        ("-p 33 --dport http", "`--dport` with a port that is not a plain number"),
        ("-m bpf --object-pinned /sys/fs/bpf/a", "`--object-pinned` of `bpf`"),
        (
            "-j HMARK --hmark-src-prefix 255.0.0.0 --hmark-rnd 1 --hmark-mod 1",
            "`--hmark-src-prefix` with a mask that is no prefix length",
        ),
        ("-j NFLOG --nflog-range 5", "`--nflog-range` of `NFLOG`"),
        ("-m conntrack --ctorigsrcport http", "`--ctorigsrcport` with a port that is not a plain number"),
        ("-m conntrack --ctorigsrc 10.0.0.1/255.0.0.0", "`--ctorigsrc` with a mask that is no prefix length"),
        ("-p tcp -j REDIRECT --to-ports 1-2/3", "`--to-ports` with shifted ports"),
    ] {
        match error_of(text, Family::Ipv4) {
            Some(TypedError::NotTyped { what, .. }) => assert_eq!(what, said),
            other => panic!("`{text}`: {other:?}"),
        }
    }
}

#[test]
fn a_rule_is_checked_as_a_whole() {
    let text = "-p tcp --dport 99999 -m u32 --u32 0=1 -m mark --mark x -j REJECT --reject-with nothing";
    let problems = check_values(&rule(text), Family::Ipv6, &NoDatabases);
    let words: Vec<_> = problems.iter().map(|problem| &text[problem.span.clone()]).collect();
    assert_eq!(words, ["99999", "x", "nothing"]);
    assert_eq!(check_values(&rule("-p tcp --dport 80 -j ACCEPT"), Family::Ipv4, &NoDatabases), []);
}

#[test]
fn days_are_counted_from_1970() {
    let seconds = |text: &str| {
        let rule = rule(&format!("-m time --datestart {text}"));
        let context = Context { family: Family::Ipv4, protocol: None, databases: &NoDatabases };
        match parse_match(&rule.matches[0], &context) {
            Ok(TypedMatch::Time(time)) => time.date_start,
            other => panic!("{other:?}"),
        }
    };
    // date -u -d 2024-02-29T12:34:56 +%s, and so on
    for (date, expected) in [
        ("1970", 0),
        ("1970-01-02", 86_400),
        ("2000-03-01", 951_868_800),
        ("2024-02-29T12:34:56", 1_709_210_096),
        ("2038-01-19T03:14:07", 2_147_483_647),
    ] {
        assert_eq!(seconds(date), expected, "{date}");
    }
}
