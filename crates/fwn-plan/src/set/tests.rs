//! Sets from configuration to spec, entries both ways, files.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::*;
use crate::origin::Step;
use proptest::prelude::*;

fn all_options() -> CreateOptions {
    CreateOptions {
        timeout: Some(0),
        counters: true,
        comment: true,
        skbinfo: true,
        ..CreateOptions::default()
    }
}

/// Knows `http` and a service with a dash.
struct Services;

impl ServiceNames for Services {
    fn port(&self, name: &str, protocol: &str) -> Option<u16> {
        match (name, protocol) {
            ("http", "tcp") => Some(80),
            ("http-alt", "tcp") => Some(8080),
            _ => None,
        }
    }
}

fn parse_with(verb: Verb, kind: &str, family: &str, text: &str) -> Result<EntryTemplate, EntryError> {
    let kind = SetKind::parse(kind).expect("a type");
    let family = parse_family(kind, family).ok().or(kind.default_family());
    let grammar = Grammar { kind, family, options: &all_options(), services: &Services };
    grammar.parse(verb, text)
}

fn parse(kind: &str, family: &str, text: &str) -> Result<Entry, EntryError> {
    parse_with(Verb::Add, kind, family, text)
        .map(|template| template.literal().cloned().expect("no host name in it"))
}

#[test]
fn entries_read_as_ipset_reads_them() {
    for (kind, family, text, rendered) in [
        ("hash:ip", "inet", "10.0.0.1", "10.0.0.1"),
        ("hash:ip", "inet", "10.0.0.0/24", "10.0.0.0/24"),
        ("hash:ip", "inet", "10.0.0.1/32", "10.0.0.1"),
        ("hash:ip", "inet", "10.0.0.1-10.0.0.9", "10.0.0.1-10.0.0.9"),
        ("hash:ip", "inet", "[10.0.0.1]-[10.0.0.9]", "10.0.0.1-10.0.0.9"),
        ("hash:ip", "inet6", "2001:db8:0:0::1/128", "2001:db8::1"),
        ("hash:net", "inet6", "2001:db8::/32", "2001:db8::/32"),
        ("hash:net", "inet", "10.0.0.0/8 nomatch timeout 0x10", "10.0.0.0/8 timeout 16 nomatch"),
        ("hash:net,iface", "inet", "0.0.0.0/0,physdev:eth0 wildcard", "0.0.0.0/0,physdev:eth0 wildcard"),
        ("hash:ip,port", "inet", "10.0.0.1,80", "10.0.0.1,tcp:80"),
        ("hash:ip,port", "inet", "10.0.0.1,UDP:80-90", "10.0.0.1,udp:80-90"),
        ("hash:ip,port", "inet", "10.0.0.1,http", "10.0.0.1,tcp:80"),
        ("hash:ip,port", "inet", "10.0.0.1,http-alt", "10.0.0.1,tcp:8080"),
        ("hash:ip,port", "inet", "10.0.0.1,http-8080", "10.0.0.1,tcp:80-8080"),
        ("hash:ip,port", "inet", "10.0.0.1,icmp:8/0", "10.0.0.1,icmp:echo-request"),
        ("hash:ip,port", "inet", "10.0.0.1,icmp:Ping", "10.0.0.1,icmp:echo-request"),
        ("hash:ip,port", "inet", "10.0.0.1,1:3/40", "10.0.0.1,icmp:3/40"),
        ("hash:ip,port", "inet6", "::1,icmpv6:echo-reply", "::1,ipv6-icmp:echo-reply"),
        ("hash:ip,port", "inet", "10.0.0.1,vrrp:0", "10.0.0.1,vrrp:0"),
        ("hash:ip,port", "inet", "10.0.0.1,253:0", "10.0.0.1,253:0"),
        ("hash:ip,port,net", "inet", "10.0.0.1,sctp:1,10.0.0.0/8", "10.0.0.1,sctp:1,10.0.0.0/8"),
        ("hash:ip,mark", "inet", "10.0.0.1,63", "10.0.0.1,0x0000003f"),
        ("hash:mac", "", "2:0:0:0:a:FF", "02:00:00:00:0A:FF"),
        ("bitmap:ip,mac", "inet", "10.0.0.1", "10.0.0.1"),
        ("bitmap:ip,mac", "inet", "10.0.0.1,02:00:00:00:00:01", "10.0.0.1,02:00:00:00:00:01"),
        ("bitmap:port", "", "udp:80-90", "80-90"),
        ("list:set", "", "one before two", "one before two"),
        (
            "hash:ip",
            "inet",
            "10.0.0.1 skbqueue 3 skbprio 1:a0 skbmark 0x10/0xff comment \"two  words\" bytes 2 packets 1",
            "10.0.0.1 packets 1 bytes 2 comment \"two  words\" skbmark 0x10/0xff skbprio 1:a0 skbqueue 3",
        ),
        ("hash:ip", "inet", "10.0.0.1 comment \"\"", "10.0.0.1"),
    ] {
        assert_eq!(
            parse(kind, family, text).map(|entry| entry.to_string()).as_deref(),
            Ok(rendered),
            "{text}"
        );
    }
}

#[test]
fn bad_entries_name_the_words() {
    for (kind, family, text, words, message) in [
        ("hash:ip", "inet", "", "", "the entry is empty"),
        ("hash:ip", "inet", "10.0.0.256", "10.0.0.256", "`10.0.0.256` is neither an address nor a host name"),
        ("hash:ip", "inet", "::1", "::1", "`::1` is an IPv6 address, the set holds IPv4"),
        ("hash:ip", "inet6", "10.0.0.1", "10.0.0.1", "`10.0.0.1` is an IPv4 address, the set holds IPv6"),
        ("hash:ip", "inet", "10.0.0.0/33", "10.0.0.0/33", "`33` is not in 0 to 32"),
        ("hash:ip", "inet", "10.0.0.0/0", "10.0.0.0/0", "`hash:ip` does not take `/0`"),
        ("hash:net", "inet", "10.0.0.0/0", "10.0.0.0/0", "`hash:net` does not take `/0`"),
        (
            "hash:ip",
            "inet6",
            "fd00::/64",
            "fd00::/64",
            "`fd00::/64` is a block of addresses, one address is wanted here",
        ),
        (
            "hash:net",
            "inet6",
            "fd00::1-fd00::9",
            "fd00::1-fd00::9",
            "`fd00::1-fd00::9` is a range, but the kernel has no ranges of IPv6 addresses",
        ),
        (
            "hash:ip",
            "inet",
            "10.0.0.1-web",
            "10.0.0.1-web",
            "`10.0.0.1-web` is no range: one of its ends is no address",
        ),
        ("hash:ip,port", "inet", "10.0.0.1", "10.0.0.1", "an entry of `hash:ip,port` has 2 parts, not 1"),
        ("hash:ip", "inet", "10.0.0.1,80", "10.0.0.1,80", "an entry of `hash:ip` has 1 part, not 2"),
        ("hash:ip,port", "inet", "10.0.0.1,tpc:80", "tpc:80", "unknown protocol `tpc`"),
        ("hash:ip,port", "inet", "10.0.0.1,icmpv6:1/0", "icmpv6:1/0", "icmpv6 goes with IPv6 only"),
        (
            "hash:ip,port",
            "inet",
            "10.0.0.1,icmp:echo-requst",
            "icmp:echo-requst",
            "unknown ICMP type `echo-requst`",
        ),
        ("hash:ip,port", "inet", "10.0.0.1,gre:80", "gre:80", "`gre` has no ports"),
        ("hash:ip,port", "inet", "10.0.0.1,70000", "70000", "bad port: `70000` is not in 0 to 65535"),
        ("hash:ip,port", "inet", "10.0.0.1,", "10.0.0.1,", "a part of the entry is empty"),
        ("bitmap:port", "", "sctp:80", "sctp:80", "`bitmap:port` has ports of tcp and udp only"),
        ("hash:mac", "", "02:00:00:00:01", "02:00:00:00:01", "`02:00:00:00:01` is no hardware address"),
        (
            "hash:net,iface",
            "inet",
            "10.0.0.0/8,abcdefghijklmnop",
            "abcdefghijklmnop",
            "`abcdefghijklmnop` is no interface name: it has 1 to 15 bytes",
        ),
        ("hash:ip", "inet", "10.0.0.1 timout 3", "timout", "unknown option `timout` of an entry"),
        ("hash:ip", "inet", "10.0.0.1 timeout", "timeout", "`timeout` needs a value"),
        ("hash:ip", "inet", "10.0.0.1 timeout 2147484", "2147484", "`2147484` is not in 0 to 2147483"),
        ("hash:ip", "inet", "10.0.0.1 timeout 1 timeout 2", "timeout", "`timeout` is given twice"),
        ("hash:ip", "inet", "10.0.0.1 nomatch", "nomatch", "entries of `hash:ip` have no `nomatch`"),
        ("list:set", "", "a before b after c", "after", "`after` is given twice"),
        ("hash:ip", "inet", "10.0.0.1 comment \"x", "\"x", "a quote is not closed"),
        (
            "hash:ip",
            "inet",
            "10.0.0.1 comment \"a\nb\"",
            "\"a\nb\"",
            "the comment has a control character in it",
        ),
        ("hash:ip", "inet", "10.0.0.1 skbmark 16", "16", "`16` is no mark"),
        ("hash:ip", "inet", "10.0.0.1 skbprio 1", "1", "`1` is no priority"),
    ] {
        let error = parse(kind, family, text).expect_err(text);
        assert_eq!(error.message, message, "{text}");
        assert_eq!(&text[error.span.clone()], words, "{text}");
    }
}

#[test]
fn deleting_and_testing_take_less() {
    let outcome =
        |verb, kind, text| parse_with(verb, kind, "inet", text).map(|_| ()).map_err(|error| error.message);
    assert_eq!(outcome(Verb::Delete, "hash:ip", "10.0.0.0/24"), Ok(()));
    assert_eq!(
        outcome(Verb::Delete, "hash:ip", "10.0.0.1 timeout 3"),
        Err("`del` does not take `timeout`".into())
    );
    assert_eq!(outcome(Verb::Test, "hash:net", "10.0.0.0/24 nomatch"), Ok(()));
    assert_eq!(
        outcome(Verb::Test, "hash:ip", "10.0.0.0/24"),
        Err("`10.0.0.0/24` is a block of addresses, one address is wanted here".into())
    );
    assert_eq!(
        outcome(Verb::Test, "bitmap:port", "80-90"),
        Err("`80-90` is a range, but `test` asks for one entry".into())
    );
}

#[test]
fn entry_options_need_a_set_made_for_them() {
    let none = CreateOptions::default();
    let grammar =
        Grammar { kind: SetKind::HashIp, family: Some(Family::Ipv4), options: &none, services: &NumbersOnly };
    for (option, hint) in [
        ("timeout 3", "add \"timeout\": 0 to the set"),
        ("packets 3", "add \"counters\": true to the set"),
        ("comment x", "add \"comment\": true to the set"),
        ("skbqueue 3", "add \"skbinfo\": true to the set"),
    ] {
        let error = grammar.parse(Verb::Add, &format!("10.0.0.1 {option}")).expect_err(option);
        assert_eq!(error.hint.as_deref(), Some(hint));
    }
}

#[test]
fn host_names_become_all_their_addresses() {
    let template =
        parse_with(Verb::Add, "hash:ip,port,net", "inet", "web-1.example,80,db.example/24 timeout 3")
            .expect("host names are taken");
    assert_eq!(template.host_names().collect::<Vec<_>>(), ["web-1.example", "db.example"]);
    assert_eq!(template.literal(), None);
    let addresses = |list: &[&str]| list.iter().map(|text| text.parse().expect("an address")).collect();
    let names = BTreeMap::from([
        ("web-1.example".to_owned(), addresses(&["10.0.0.2", "10.0.0.1", "fd00::1"])),
        ("db.example".to_owned(), addresses(&["10.1.0.1"])),
    ]);
    let entries = template.clone().resolve(&names).expect("all there");
    assert_eq!(
        entries.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["10.0.0.1,tcp:80,10.1.0.1/24 timeout 3", "10.0.0.2,tcp:80,10.1.0.1/24 timeout 3"]
    );

    let names = BTreeMap::from([("web-1.example".to_owned(), addresses(&["fd00::1"]))]);
    let error = template.resolve(&names).expect_err("no IPv4 address");
    assert_eq!(error.message, "host name `web-1.example` has no IPv4 address");
    assert_eq!(error.span, 0..13);
}

fn text(source: &Arc<Source>, value: &str) -> Text {
    let quoted = format!("\"{value}\"");
    let start = source.text.find(&quoted).expect("value is in the source");
    let path = [Step::Key("ipsets".into()), Step::Index(0)].into_iter().collect();
    let origin = Origin { source: Arc::clone(source), path, range: start..start + quoted.len(), span: None };
    Text { value: value.into(), origin }
}

struct Conf {
    source: Arc<Source>,
    options: Vec<(&'static str, Text)>,
    entries: Vec<Text>,
}

impl Conf {
    fn new(source: &str, options: &[(&'static str, &str)], entries: &[&str]) -> Self {
        let source = Source::new("a.fw", source);
        let options = options.iter().map(|(key, value)| (*key, text(&source, value))).collect();
        let entries = entries.iter().map(|value| text(&source, value)).collect();
        Self { source, options, entries }
    }

    fn parse(&self, name: &str, hashtype: &str) -> Result<SetDraft, String> {
        let name = text(&self.source, name);
        let input = SetInput {
            origin: &name.origin,
            name: &name,
            hashtype: &text(&self.source, hashtype),
            options: &self.options,
            entries: &self.entries,
            persist: false,
        };
        parse_set(&input, &NumbersOnly).map_err(|problems| problems.to_string())
    }
}

#[test]
fn the_seed_set_reads() {
    let conf = Conf::new(
        r#"{"set": "blacklistweb", "hashtype": "hash:ip", "netmask": "24", "hashsize": "4096", "e": "10.0.0.1"}"#,
        &[("netmask", "24"), ("hashsize", "4096")],
        &["10.0.0.1"],
    );
    let spec =
        conf.parse("blacklistweb", "hash:ip").expect("good").resolve(&BTreeMap::new()).expect("no names");
    assert_eq!((spec.kind, spec.family), (SetKind::HashIp, Some(Family::Ipv4)));
    assert_eq!(
        render_create(&spec.name, spec.kind, spec.family, &spec.options),
        "create blacklistweb hash:ip family inet hashsize 4096 netmask 24"
    );
    assert_eq!(render_add(&spec.name, &spec.entries[0].entry), "add blacklistweb 10.0.0.1");
}

#[test]
fn all_problems_of_a_set_come_at_once() {
    let conf = Conf::new(
        r#"["a b", "hash:ip", "33", "x", "10.0.0.1 timout 3", "ten"]"#,
        &[("netmask", "33"), ("markmask", "x"), ("hashSize", "ten")],
        &["10.0.0.1 timout 3"],
    );
    assert_eq!(
        conf.parse("a b", "hash:ip").expect_err("bad"),
        "a.fw:1:2: ipsets[0]: set name `a b` has a ' ' in it\n\
         a.fw:1:20: ipsets[0]: `33` is not in 1 to 32; hint: a prefix length from 1 to 32, like 24\n\
         a.fw:1:26: ipsets[0]: `hash:ip` has no option `markmask`; hint: it has hashfamily, hashsize, maxElem, \
         netmask, bitmask, timeout, counters, comment, forceadd, skbinfo, bucketsize\n\
         a.fw:1:52: ipsets[0]: unknown option `hashSize` of a set; hint: did you mean `hashsize`?\n\
         a.fw:1:41: ipsets[0]: unknown option `timout` of an entry; hint: did you mean `timeout`?"
    );
    let conf = Conf::new(r#"["a", "hash:pi"]"#, &[], &[]);
    assert_eq!(
        conf.parse("a", "hash:pi").expect_err("bad"),
        "a.fw:1:7: ipsets[0]: unknown set type `hash:pi`; hint: did you mean `hash:ip`?"
    );
}

fn draft(hashtype: &str, options: &[(&'static str, &str)]) -> SetDraft {
    let values: Vec<_> = options.iter().map(|(_, value)| format!("\"{value}\"")).collect();
    let conf = Conf::new(&format!("\"web\" \"{hashtype}\" {}", values.join(" ")), options, &[]);
    conf.parse("web", hashtype).expect("good")
}

fn load(draft: &SetDraft, file: &str) -> Result<Vec<String>, String> {
    let mut draft = draft.clone();
    draft.load(&Source::new("web.set", file), &NumbersOnly).map_err(|problems| problems.to_string())?;
    let spec = draft.resolve(&BTreeMap::new()).map_err(|problems| problems.to_string())?;
    Ok(spec.entries.iter().map(|entry| entry.entry.to_string()).collect())
}

#[test]
fn files_are_saved_sets_or_lists_of_entries() {
    let set = draft("hash:net", &[("timeout", "60"), ("comment", "true")]);
    assert_eq!(
        load(
            &set,
            "# saved\ncreate web hash:net family inet hashsize 64 maxelem 9 timeout 5 comment bucketsize 12 \
             initval 0x00000001\r\nadd web 10.0.0.0/8 timeout 3 comment \"a # b\"\n\n  add web 10.0.0.1 nomatch\n"
        ),
        Ok(vec!["10.0.0.0/8 timeout 3 comment \"a # b\"".into(), "10.0.0.1 nomatch".into()])
    );
    assert_eq!(
        load(&set, "10.0.0.0/8\n\n# no\n\t10.0.0.1 timeout 3"),
        Ok(vec!["10.0.0.0/8".into(), "10.0.0.1 timeout 3".into()])
    );
    assert_eq!(load(&draft("list:set", &[]), "add\ncreate\n"), Ok(vec!["add".into(), "create".into()]));
    assert_eq!(load(&set, ""), Ok(vec![]));
}

#[test]
fn bad_files_name_the_line() {
    let set = draft("hash:ip", &[("netmask", "24")]);
    for (file, problem) in [
        (
            "\nadd other 10.0.0.1",
            "web.set:2:5: the line is about set `other`, the file is for `web`; hint: one file holds one set",
        ),
        (
            "create web hash:net",
            "web.set:1:12: the file has a set of type `hash:net`, `hash:ip` is configured",
        ),
        (
            "create web hash:ip family inet",
            "web.set:1:12: the set was saved with another `netmask` than `web` is configured with",
        ),
        (
            "create web hash:ip netmask 25",
            "web.set:1:28: the set was saved with another `netmask` than `web` is configured with",
        ),
        (
            "create web hash:ip family inet6 netmask 24",
            "web.set:1:27: the set was saved with another `family` than `web` is configured with",
        ),
        ("create web hash:ip fumily inet", "web.set:1:20: unknown option `fumily` of a set"),
        ("create web", "web.set:1:8: `create` needs a set and its type"),
        (
            "flush web",
            "web.set:1:1: `flush` cannot stand in a file of entries; hint: only `create` and `add` lines can",
        ),
        (
            "10.0.0.1\n10.0.0.2 timeout 3\n",
            "web.set:2:10: `timeout` cannot be given: the set was not made for it; hint: add \"timeout\": 0 to the set",
        ),
        (
            "add web 10.0.0.1 comment \"x\"",
            "web.set:1:18: `comment` cannot be given: the set was not made for it; hint: add \"comment\": true to the set",
        ),
        ("add web", "web.set:1:8: the entry is empty; hint: an entry of `hash:ip` looks like 10.0.0.1"),
    ] {
        assert_eq!(load(&set, file), Err(problem.into()), "{file}");
    }
    let many = load(&set, &"?\n".repeat(100)).expect_err("all bad");
    assert_eq!(many.lines().count(), save::PROBLEMS_MAX);
}

#[test]
fn members_of_a_list_are_named() {
    let mut list = draft("list:set", &[]);
    list.load(&Source::new("web.set", "one\ntwo before one"), &NumbersOnly).expect("good");
    let spec = list.resolve(&BTreeMap::new()).expect("no names");
    assert_eq!(spec.members().collect::<Vec<_>>(), ["one", "two", "one"]);
}

fn any_address(family: Family) -> BoxedStrategy<IpAddr> {
    match family {
        Family::Ipv4 => any::<u32>().prop_map(|bits| Ipv4Addr::from(bits).into()).boxed(),
        Family::Ipv6 => any::<u128>().prop_map(|bits| Ipv6Addr::from(bits).into()).boxed(),
    }
}

fn any_element(dimension: Dimension, family: Family) -> BoxedStrategy<Element> {
    let address = any_address(family);
    let one = address.clone().prop_map(Addresses::One);
    let range = (address.clone(), address.clone())
        .prop_filter("one address is no range", |(from, to)| from != to)
        .prop_map(|(from, to)| Addresses::Range(from, to));
    let max = options::prefix_max(family);
    let block = |least: u8| {
        (address.clone(), least..max).prop_map(|(address, prefix)| Addresses::Block(address, prefix))
    };
    let addresses = match (dimension, family) {
        (Dimension::Ip, Family::Ipv4) => prop_oneof![one, range, block(1)].boxed(),
        (Dimension::Net { zero }, Family::Ipv4) => prop_oneof![one, range, block(u8::from(!zero))].boxed(),
        (Dimension::Net { zero }, Family::Ipv6) => prop_oneof![one, block(u8::from(!zero))].boxed(),
        _ => one.boxed(),
    };
    let ports = (any::<u16>(), prop::option::of(any::<u16>()))
        .prop_map(|(port, to)| (port, to.filter(|to| *to != port)));
    let name = "[a-z][a-z0-9.-]{0,14}";
    match dimension {
        Dimension::Ip | Dimension::SingleIp | Dimension::Net { .. } => {
            addresses.prop_map(Element::Address).boxed()
        }
        Dimension::Port => {
            let icmp = if family == Family::Ipv4 { protocol::ICMP } else { protocol::ICMPV6 };
            prop_oneof![
                (prop::sample::select(vec![6u8, 17, 132, 136]), ports)
                    .prop_map(|(protocol, (port, to))| Port { protocol, port, to }),
                any::<u16>().prop_map(move |port| Port { protocol: icmp, port, to: None }),
                (1u8..=255)
                    .prop_filter("has no ports", |protocol| !protocol::has_ports(*protocol)
                        && !matches!(*protocol, protocol::ICMP | protocol::ICMPV6))
                    .prop_map(|protocol| Port { protocol, port: 0, to: None }),
            ]
            .prop_map(Element::Port)
            .boxed()
        }
        Dimension::BarePort => ports.prop_map(|(port, to)| Element::BarePort(port, to)).boxed(),
        Dimension::Mac => any::<[u8; 6]>().prop_map(Element::Mac).boxed(),
        Dimension::Mark => any::<u32>().prop_map(Element::Mark).boxed(),
        Dimension::Interface => {
            (name, any::<bool>()).prop_map(|(name, physdev)| Element::Interface { name, physdev }).boxed()
        }
        Dimension::Set => {
            let place = prop_oneof![
                Just(None),
                name.prop_map(|other| Some(ListPlace::Before(other))),
                name.prop_map(|other| Some(ListPlace::After(other))),
            ];
            (name, place).prop_map(|(name, place)| Element::Set { name, place }).boxed()
        }
    }
}

fn any_entry() -> impl Strategy<Value = (SetKind, Family, Entry)> {
    let options = (
        prop::option::of(0..=options::TIMEOUT_MAX),
        prop::option::of(0..u64::MAX),
        prop::option::of(0..u64::MAX),
        prop::option::of("[ -!#-~äß]{1,60}"),
        prop::option::of(any::<(u32, u32)>()),
        prop::option::of(any::<(u16, u16)>()),
        prop::option::of(any::<u16>()),
        any::<(bool, bool)>(),
    );
    let families = prop::sample::select(Family::ALL.to_vec());
    (prop::sample::select(SetKind::ALL.to_vec()), families, options).prop_flat_map(
        |(kind, family, options)| {
            let family = if kind.families() == kind::KindFamilies::Both { family } else { Family::Ipv4 };
            let (timeout, packets, bytes, comment, skbmark, skbprio, skbqueue, flags) = options;
            let options = EntryOptions {
                timeout,
                packets,
                bytes,
                comment,
                skbmark,
                skbprio,
                skbqueue,
                nomatch: flags.0 && kind.has_nets(),
                wildcard: flags.1 && kind == SetKind::HashNetIface,
            };
            let elements: Vec<_> =
                kind.dimensions().iter().map(|dimension| any_element(*dimension, family)).collect();
            elements.prop_map(move |elements| (kind, family, Entry { elements, options: options.clone() }))
        },
    )
}

proptest! {
    #[test]
    fn entries_read_back_as_rendered((kind, family, entry) in any_entry()) {
        let options = all_options();
        let family = (kind.families() != kind::KindFamilies::None).then_some(family);
        let grammar = Grammar { kind, family, options: &options, services: &NumbersOnly };
        let text = entry.to_string();
        let read = grammar.parse(Verb::Add, &text).map_err(|error| TestCaseError::fail(format!("{text}: {error}")))?;
        prop_assert_eq!(read.literal(), Some(&entry), "{}", text);
    }

    #[test]
    fn no_text_makes_the_parser_panic_or_point_outside(kind in prop::sample::select(SetKind::ALL.to_vec()), text in "[-a-f0-9.:,/\\[\\] \"xä]{0,30}") {
        let options = all_options();
        let grammar = Grammar { kind, family: kind.default_family(), options: &options, services: &NumbersOnly };
        if let Err(error) = grammar.parse(Verb::Add, &text) {
            prop_assert!(text.get(error.span.clone()).is_some(), "{:?} of {:?}", error.span, text);
        }
        let _ = load(&draft("hash:ip", &[]), &text);
    }
}
