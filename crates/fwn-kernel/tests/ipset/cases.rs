//! The sets that are made: single ones by hand, and every type in each family with each create option.

use std::collections::BTreeMap;

use fwn_plan::config::Text;
use fwn_plan::origin::{Origin, Path, Source};
use fwn_plan::set::kind::KindFamilies;
use fwn_plan::set::{CreateKey, NumbersOnly, SetInput, SetKind, SetSpec, parse_set};

/// A set by the words of ipset.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) kind: SetKind,
    /// Keys of ipset and their values; `true` for flags.
    pub(crate) options: Vec<(CreateKey, String)>,
    pub(crate) entries: Vec<String>,
}

impl Case {
    pub(crate) fn new(name: &str, kind: &str, options: &[(&str, &str)], entries: &[&str]) -> Self {
        Self {
            name: name.to_owned(),
            kind: SetKind::parse(kind).expect("a type"),
            options: options
                .iter()
                .map(|(key, value)| (CreateKey::parse(key).expect("an option"), (*value).to_owned()))
                .collect(),
            entries: entries.iter().map(|entry| (*entry).to_owned()).collect(),
        }
    }

    /// For `ipset restore`, written with no code of ours.
    pub(crate) fn restore_text(&self) -> String {
        let mut text = format!("create {} {}", self.name, self.kind.name());
        for (key, value) in &self.options {
            text.extend([" ", key.word()]);
            if !key.is_flag() {
                text.extend([" ", value]);
            }
        }
        text.push('\n');
        for entry in &self.entries {
            text.extend(["add ", &self.name, " ", entry, "\n"]);
        }
        text
    }

    pub(crate) fn spec(&self) -> Result<SetSpec, String> {
        let text = |value: &str| Text {
            value: value.to_owned(),
            origin: Origin {
                source: Source::new("case", ""),
                path: Path::default(),
                range: 0..0,
                span: None,
            },
        };
        let (name, hashtype) = (text(&self.name), text(self.kind.name()));
        let options: Vec<_> =
            self.options.iter().map(|(key, value)| (key.config_key(), text(value))).collect();
        let entries: Vec<_> = self.entries.iter().map(|entry| text(entry)).collect();
        let input = SetInput {
            origin: &name.origin,
            name: &name,
            hashtype: &hashtype,
            options: &options,
            entries: &entries,
            persist: false,
        };
        let draft = parse_set(&input, &NumbersOnly).map_err(|problems| problems.to_string())?;
        draft.resolve(&BTreeMap::new()).map_err(|problems| problems.to_string())
    }
}

pub(crate) fn families(kind: SetKind) -> Vec<Option<&'static str>> {
    match kind.families() {
        KindFamilies::Both => vec![None, Some("inet"), Some("inet6")],
        _ => vec![None],
    }
}

/// Entries that a set of this type takes, in its family; ranges and blocks where it has them.
pub(crate) fn sample_entries(kind: SetKind, ipv6: bool) -> Vec<&'static str> {
    match (kind, ipv6) {
        (SetKind::BitmapIp, _) => {
            vec!["10.0.0.1", "10.0.0.16/28", "10.0.0.100-10.0.0.103", "10.0.1.9-10.0.1.7"]
        }
        (SetKind::BitmapIpMac, _) => {
            vec!["10.0.0.1", "10.0.0.2,02:aa:bb:CC:00:01", "10.0.1.3,2:0:0:0:0:1"]
        }
        (SetKind::BitmapPort, _) => vec!["80", "udp:53", "1000-1003", "tcp:0x100", "010"],
        (SetKind::HashIp, false) => {
            vec!["10.0.0.1", "10.1.0.5/30", "10.2.0.1-10.2.0.3", "10.3.0.9-10.3.0.7", "1.2.3.4/32"]
        }
        (SetKind::HashIp, true) => vec!["fd00::1", "::1/128", "::ffff:10.0.0.1", "::10.0.0.1", "[fd00::2]"],
        (SetKind::HashMac, _) => vec!["02:00:00:00:00:01", "2:a:B:c:d:EF"],
        (SetKind::HashIpMac, false) => vec!["10.0.0.1,02:00:00:00:00:01"],
        (SetKind::HashIpMac, true) => vec!["fd00::1,02:00:00:00:00:01"],
        (SetKind::HashNet, false) => {
            vec!["10.0.0.1", "10.1.0.5/24", "10.2.0.0-10.2.1.6", "0.0.0.0/1", "10.1.0.0/25 nomatch"]
        }
        (SetKind::HashNet, true) => vec!["fd00::1", "fd01::ff/32", "::/1", "fd01::/64 nomatch"],
        (SetKind::HashNetNet, false) => {
            vec!["10.0.0.0/8,192.168.0.0/16", "10.0.0.1,10.0.0.2", "10.0.0.1-10.0.0.2,10.1.0.0/24 nomatch"]
        }
        (SetKind::HashNetNet, true) => vec!["fd00::/8,fe80::/10", "fd00::1,fd00::2 nomatch"],
        (SetKind::HashIpPort, false) => vec![
            "10.0.0.1,80",
            "10.0.0.1,udp:1000-1003",
            "10.0.0.1,icmp:8/0",
            "10.0.0.1,icmp:echo-reply",
            "10.0.0.1,icmp:99/7",
            "10.0.0.1,vrrp:0",
            "10.0.0.1,253:0",
            "10.0.0.1,sctp:5",
            "10.0.0.1,udplite:7",
            "10.1.0.0/31,80-81",
            "10.2.0.1-10.2.0.2,tcp:9",
        ],
        (SetKind::HashIpPort, true) => vec![
            "fd00::1,80",
            "fd00::1,icmpv6:ping",
            "fd00::1,58:200/1",
            "fd00::1/128,udp:5-7",
            "fd00::1,gre:0",
        ],
        (SetKind::HashNetPort, false) => vec![
            "10.0.0.0/8,80",
            "10.0.0.1,udp:5-7",
            "10.1.0.1-10.1.0.6,tcp:80",
            "10.0.0.0/8,icmp:ping nomatch",
        ],
        (SetKind::HashNetPort, true) => {
            vec!["fd00::/8,80", "fd00::1,udp:5-7", "fd00::/16,icmpv6:redirect nomatch"]
        }
        (SetKind::HashIpPortIp, false) => vec!["10.0.0.1,80,10.0.0.2", "10.0.0.0/31,udp:5-6,10.0.0.3"],
        (SetKind::HashIpPortIp, true) => vec!["fd00::1,80,fd00::2"],
        (SetKind::HashIpPortNet, false) => vec![
            "10.0.0.1,80,192.168.0.0/16",
            "10.0.0.0/31,udp:5-6,10.0.0.3",
            "10.0.0.9,81,10.0.0.0-10.0.0.6",
            "10.0.0.1,80,192.168.1.0/24 nomatch",
        ],
        (SetKind::HashIpPortNet, true) => vec!["fd00::1,80,fe80::/10", "fd00::1,icmpv6:1/0,fe80::1 nomatch"],
        (SetKind::HashIpMark, false) => vec!["10.0.0.1,0x10", "10.0.0.0/31,7"],
        (SetKind::HashIpMark, true) => vec!["fd00::1,0x10"],
        (SetKind::HashNetPortNet, false) => {
            vec!["10.0.0.0/8,80,0.0.0.0/0", "10.0.0.1,udp:5-6,10.0.0.1-10.0.0.2 nomatch"]
        }
        (SetKind::HashNetPortNet, true) => vec!["fd00::/8,80,::/0", "fd00::1,icmpv6:ping,fd00::2 nomatch"],
        (SetKind::HashNetIface, false) => vec![
            "10.0.0.0/8,eth0",
            "10.0.0.0/8,physdev:eth1",
            "0.0.0.0/0,lo",
            "10.1.0.1-10.1.0.6,eth0",
            "10.2.0.0/16,eth0 nomatch",
            "10.3.0.0/16,veth wildcard",
        ],
        (SetKind::HashNetIface, true) => {
            vec!["fd00::/8,eth0", "::/0,physdev:abcdefghijklmno", "fd01::/16,eth wildcard nomatch"]
        }
        (SetKind::ListSet, _) => {
            vec!["member1", "member2", "member3 before member1", "member4 after member3"]
        }
    }
}

pub(crate) fn sample_value(key: CreateKey, kind: SetKind, ipv6: bool) -> &'static str {
    match key {
        CreateKey::Family => unreachable!("the caller chooses the family"),
        CreateKey::Hashsize => "1500",
        CreateKey::Maxelem => "0x1000",
        CreateKey::Netmask if kind == SetKind::BitmapIp => "28",
        CreateKey::Netmask => {
            if ipv6 {
                "64"
            } else {
                "24"
            }
        }
        CreateKey::Bitmask => {
            if ipv6 {
                "ffff:ffff::ffff"
            } else {
                "255.255.0.255"
            }
        }
        CreateKey::Markmask => "0xff",
        CreateKey::Timeout => "1000",
        CreateKey::Bucketsize => "5",
        CreateKey::Initval => "0x1234abcd",
        CreateKey::Range if kind == SetKind::BitmapPort => "0-1023",
        CreateKey::Range => "10.0.0.0-10.0.1.255",
        CreateKey::Size => "16",
        CreateKey::Counters | CreateKey::Comment | CreateKey::Forceadd | CreateKey::Skbinfo => "true",
    }
}

/// What must always be given: the range, and the seed of the hash so that both have the same order and size.
pub(crate) fn base_options(kind: SetKind) -> Vec<CreateKey> {
    let always = [CreateKey::Range, CreateKey::Initval];
    always.into_iter().filter(|key| kind.create_keys().contains(key)).collect()
}

/// Every type, in each family, with each create option alone and with all of them, with entries that use them.
pub(crate) fn all_cases(kinds: &[SetKind]) -> Vec<Case> {
    let mut cases = Vec::new();
    for name in ["member1", "member2", "member3", "member4"] {
        cases.push(Case::new(name, "hash:ip", &[("initval", "1")], &[]));
    }
    let unaligned = [("range", "10.0.0.5-10.0.255.7"), ("netmask", "24")];
    cases.push(Case::new("unaligned", "bitmap:ip", &unaligned, &["10.0.3.9", "10.0.0.0"]));
    for kind in kinds.iter().copied() {
        for family in families(kind) {
            let ipv6 = family == Some("inet6");
            let keys: Vec<_> = kind
                .create_keys()
                .iter()
                .copied()
                .filter(|key| *key != CreateKey::Family && !base_options(kind).contains(key))
                .collect();
            let mut sets: Vec<Vec<CreateKey>> = vec![vec![]];
            sets.extend(keys.iter().map(|key| vec![*key]));
            // the two masks exclude each other
            sets.push(keys.iter().copied().filter(|key| *key != CreateKey::Bitmask).collect());
            for set in sets {
                let mut options: Vec<_> =
                    family.iter().map(|family| (CreateKey::Family, (*family).to_owned())).collect();
                options.extend(
                    base_options(kind)
                        .iter()
                        .chain(&set)
                        .map(|key| (*key, sample_value(*key, kind, ipv6).to_owned())),
                );
                let has = |key| set.contains(&key);
                let mut extra = String::new();
                if has(CreateKey::Timeout) {
                    extra += " timeout 500";
                }
                if has(CreateKey::Counters) {
                    extra += " packets 18446744073709551614 bytes 7";
                }
                if has(CreateKey::Comment) {
                    extra += " comment \"two  words, ä\"";
                }
                if has(CreateKey::Skbinfo) {
                    extra += " skbmark 0x10/0xff skbprio 1:a0 skbqueue 3";
                }
                let mut entries: Vec<String> = sample_entries(kind, ipv6)
                    .into_iter()
                    .enumerate()
                    .map(|(at, entry)| if at % 2 == 0 { format!("{entry}{extra}") } else { entry.to_owned() })
                    .collect();
                if set.iter().any(|key| matches!(key, CreateKey::Netmask | CreateKey::Bitmask)) {
                    // masked entries coincide, which the program takes for an error
                    entries.truncate(1);
                }
                cases.push(Case { name: format!("s{}", cases.len()), kind, options, entries });
            }
        }
    }
    cases
}
