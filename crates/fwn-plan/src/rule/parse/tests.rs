use std::sync::Arc;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::super::address::Host;
use super::super::databases::{Databases, NoDatabases};
use super::super::extensions::{MATCHES, TARGETS, find_match, find_target};
use super::super::lex::parse_words;
use super::super::render::render_rule;
use super::super::{Negatable, Network, Verdict};
use super::*;
use crate::expand::Variables;
use crate::netfilter::{Family, Hook};

/// Knows the one protocol that the tests look up.
struct Dccp;

impl Databases for Dccp {
    fn protocol(&self, name: &str) -> Option<u8> {
        (name == "dccp").then_some(33)
    }

    fn service(&self, name: &str, protocol: Option<u8>) -> Option<u16> {
        NoDatabases.service(name, protocol)
    }

    fn user(&self, name: &str) -> Option<u32> {
        NoDatabases.user(name)
    }

    fn group(&self, name: &str) -> Option<u32> {
        NoDatabases.group(name)
    }
}

/// Splits as `iptables-restore` does: a closing quote ends the word. A word that starts with `$` has a value in it.
fn words(text: &str) -> Vec<Word> {
    let mut words = Vec::new();
    let mut chars = text.char_indices().peekable();
    loop {
        while chars.next_if(|(_, c)| *c == ' ').is_some() {}
        let Some((start, _)) = chars.peek().copied() else { return words };
        let mut word = String::new();
        let mut end = text.len();
        while let Some((at, c)) = chars.next() {
            end = at + c.len_utf8();
            match c {
                ' ' => {
                    end = at;
                    break;
                }
                '"' => {
                    while let Some((at, c)) = chars.next() {
                        end = at + 1;
                        match c {
                            '"' => break,
                            '\\' => word.extend(chars.next().map(|(_, c)| c)),
                            _ => word.push(c),
                        }
                    }
                    break;
                }
                _ => word.push(c),
            }
        }
        let is_value = word.starts_with('$');
        let text = word.strip_prefix('$').unwrap_or(&word).to_owned();
        words.push(Word { text, span: start..end, is_value });
    }
}

fn parse(text: &str) -> Result<ParsedRule, Vec<RuleProblem>> {
    parse_rule(&words(text), &Dccp)
}

/// The rule as rendered, with sources and destinations where they would stand, and its families.
fn accepted(text: &str) -> (String, Vec<Family>) {
    let parsed = parse(text).unwrap_or_else(|problems| panic!("{text}: {problems:?}"));
    let hosts = |option: &str, hosts: Option<&Hosts>| {
        hosts.map_or_else(String::new, |Hosts { negated, hosts, .. }| {
            let list: Vec<_> = hosts.iter().map(ToString::to_string).collect();
            format!("{}{option} {} ", if *negated { "! " } else { "" }, list.join(","))
        })
    };
    let source = hosts("-s", parsed.source.as_ref());
    let destination = hosts("-d", parsed.destination.as_ref());
    let rest = render_rule(&parsed.rule);
    (format!("{source}{destination}{rest}").trim_end().to_owned(), parsed.families.iter().collect())
}

/// `text underlined: message; hint`, one a line.
fn refused(text: &str) -> String {
    let problems = parse(text).expect_err(text);
    assert!(!problems.is_empty());
    let line = |problem: &RuleProblem| {
        let hint = problem.hint.as_ref().map_or_else(String::new, |hint| format!("; {hint}"));
        format!("{}: {}{hint}", &text[problem.span.clone()], problem.message)
    };
    problems.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_rules_of_the_seed_are_read() {
    for (text, rendered) in [
        ("-p tcp --dport 8080 -j ACCEPT", "-p tcp -m tcp --dport 8080 -j ACCEPT"),
        (
            "-p tcp -m set --match-set blacklistweb src -m multiport --dports 80,443 -j REJECT --reject-with tcp-reset",
            "-p tcp -m set --match-set blacklistweb src -m multiport --dports 80,443 -j REJECT --reject-with tcp-reset",
        ),
        ("-i eth0 -p icmp --icmp-type 8 -j ACCEPT", "-i eth0 -p icmp -m icmp --icmp-type 8 -j ACCEPT"),
        (
            "-i $eth0 -p tcp -s $192.168.122.22 --sport $5051 -j ACCEPT",
            "-s 192.168.122.22/32 -i eth0 -p tcp -m tcp --sport 5051 -j ACCEPT",
        ),
        ("-s webchat.marathon.mesos -j ACCEPT", "-s webchat.marathon.mesos -j ACCEPT"),
        ("-i lo -j ACCEPT", "-i lo -j ACCEPT"),
    ] {
        assert_eq!(accepted(text).0, rendered);
    }
}

#[test]
fn every_spelling_of_iptables_is_read() {
    for (text, rendered) in [
        ("", ""),
        ("-ptcp -jDROP", "-p tcp -j DROP"),
        ("--proto TCP --jump=DROP", "-p tcp -j DROP"),
        ("-p 6 -j DROP", "-p tcp -j DROP"),
        ("-p 0x11 -j DROP", "-p udp -j DROP"),
        ("-p all -j DROP", "-j DROP"),
        ("-p dccp --dport 5 -j DROP", "-p 33 -m dccp --dport 5 -j DROP"),
        ("-p 253", "-p 253"),
        ("--protocol tcp --destination-port=80 --source-port 9", "-p tcp -m tcp --dport 80 --sport 9"),
        ("-p tcp --destination-p 80 --sy", "-p tcp -m tcp --dport 80 --syn"),
        ("-p tcp -m tcp --dport 80", "-p tcp -m tcp --dport 80"),
        ("-m tcp -p tcp --dport 80", "-p tcp -m tcp --dport 80"),
        ("-p tcp -m limit --limit 1/s --dport 80", "-p tcp -m limit --limit 1/s -m tcp --dport 80"),
        (
            "-p tcp --dport 80 -m limit --limit 1/s --sport 9",
            "-p tcp -m tcp --dport 80 --sport 9 -m limit --limit 1/s",
        ),
        ("! -p tcp ! -s 10.0.0.1 ! -i eth+ -f", "! -s 10.0.0.1/32 ! -i eth+ ! -p tcp -f"),
        ("-p ! tcp -s ! 10.0.0.1 -i ! eth+ ! -f", "! -s 10.0.0.1/32 ! -i eth+ ! -p tcp ! -f"),
        ("-p tcp --dport ! 80", "-p tcp -m tcp ! --dport 80"),
        ("--src 10/8 --dst 10.0.0.1,10.0.0.2", "-s 10.0.0.0/8 -d 10.0.0.1/32,10.0.0.2/32"),
        ("--in-interface eth0 --out-interface eth1 --fragment", "-i eth0 -o eth1 -f"),
        ("-4fi eth0", "-i eth0 -f"),
        ("-g web", "-g web"),
        ("--goto web", "-g web"),
        ("-j REJCT", "-j REJCT"),
        ("-s any -j DROP", "-j DROP"),
        ("-m icmpv6 --icmpv6-type 135 -p ipv6-icmp", "-p ipv6-icmp -m icmp6 --icmpv6-type 135"),
        ("-m comment --comment --dport", "-m comment --comment --dport"),
        (
            "-m comment --comment \"a \\\"b\\\" $c\" -j LOG --log-prefix \"\"",
            "-m comment --comment \"a \\\"b\\\" $c\" -j LOG --log-prefix \"\"",
        ),
        ("-m string --string ! --algo bm", "-m string --string \"!\" --algo bm"),
        ("-m recent --set -m recent --name a --update", "-m recent --set -m recent --name a --update"),
        ("-m mark --mark 1 -m connmark ! --mark 2", "-m mark --mark 1 -m connmark ! --mark 2"),
        ("-p tcp --tcp-flags SYN,ACK SYN -j DROP", "-p tcp -m tcp --tcp-flags SYN,ACK SYN -j DROP"),
        (
            "-m rateest --rateest-delta --rateest1 a --rateest-bps1 8bit --rateest-gt --rateest-bps2 -j DROP",
            "-m rateest --rateest-delta --rateest1 a --rateest-bps1 8bit --rateest-gt --rateest-bps2 -j DROP",
        ),
        (
            "-m policy --dir in --strict --reqid 1 --proto esp --next --proto ah",
            "-m policy --dir in --strict --reqid 1 --proto esp --next --proto ah",
        ),
        ("-m set --set a src,dst", "-m set --match-set a src,dst"),
        ("-j NOTRACK", "-j NOTRACK"),
    ] {
        // the shell's quoting of the tests takes `$` at the start only
        assert_eq!(accepted(text).0, rendered, "{text}");
    }
}

#[test]
fn words_choose_the_families() {
    use Family::{Ipv4, Ipv6};
    for (text, families) in [
        ("-p tcp --dport 80", vec![Ipv4, Ipv6]),
        ("-s 10.0.0.1", vec![Ipv4]),
        ("-s 0.0.0.0/0", vec![Ipv4]),
        ("-d ::/0", vec![Ipv6]),
        ("-s any", vec![Ipv4, Ipv6]),
        ("-s 10.0.0.1,2001:db8::1", vec![Ipv4, Ipv6]),
        ("-s web.example -d 2001:db8::1", vec![Ipv6]),
        ("-p icmp", vec![Ipv4]),
        ("-p 1", vec![Ipv4]),
        ("! -p icmp", vec![Ipv4, Ipv6]),
        ("-p icmpv6", vec![Ipv6]),
        ("-p 58", vec![Ipv6]),
        ("-f", vec![Ipv4]),
        ("-4", vec![Ipv4]),
        ("-6", vec![Ipv6]),
        ("-m ttl --ttl-eq 5", vec![Ipv4]),
        ("-j HL --hl-set 5", vec![Ipv6]),
        ("-p mh --mh-type 5", vec![Ipv6]),
        ("-p ah --ahres", vec![Ipv6]),
        ("-j REJECT", vec![Ipv4, Ipv6]),
        ("-j REJECT --reject-with icmp-host-prohibited", vec![Ipv4]),
        ("-j REJECT --reject-with icmp6-no-route", vec![Ipv6]),
        ("-m iprange --src-range 10.0.0.1-10.0.0.9", vec![Ipv4]),
        ("-j DNAT --to-destination [2001:db8::1]:80", vec![Ipv6]),
        ("-m set --match-set a src", vec![Ipv4, Ipv6]),
    ] {
        assert_eq!(accepted(text).1, families, "{text}");
    }
}

#[test]
fn words_of_different_families_exclude_each_other() {
    for (text, problem) in [
        ("-s 10.0.0.1 -p icmpv6", "-p icmpv6: `-p icmpv6` is IPv6 only, but `-s 10.0.0.1` is IPv4 only"),
        (
            "-6 -j REJECT --reject-with icmp-port-unreachable",
            "--reject-with icmp-port-unreachable: `--reject-with icmp-port-unreachable` is IPv4 only, but `-6` is IPv6 only",
        ),
        ("-m ttl --ttl-eq 5 -d ::1", "-d ::1: `-d ::1` is IPv6 only, but `-m ttl` is IPv4 only"),
        ("-p ah --ahres -f", "-f: `-f` is IPv4 only, but `--ahres` is IPv6 only"),
        (
            "-s 10.0.0.1,2001:db8::1 -d 10.0.0.2",
            "-s 10.0.0.1,2001:db8::1: `2001:db8::1/128` can never match: `-d 10.0.0.2` is IPv4 only",
        ),
    ] {
        assert_eq!(refused(text), problem);
    }
}

#[test]
fn mistakes_are_named() {
    for (text, problems) in [
        ("-p tcp --dprot 80 -j ACCEPT", "--dprot: unknown option `--dprot`; did you mean `--dport`?"),
        ("--dports 80,443", "--dports: unknown option `--dports`; add `-m multiport` before it"),
        (
            "--dport 80 -p tcp",
            "--dport: unknown option `--dport`; add `-p dccp`, `-p sctp`, `-p tcp` or `-p udp` before it",
        ),
        ("-p udp --syn", "--syn: unknown option `--syn`; it belongs to `-p tcp`"),
        ("--icmpv6-type 1", "--icmpv6-type: unknown option `--icmpv6-type`; add `-p icmpv6` before it"),
        (
            "-j REJCT --reject-with tcp-reset",
            "--reject-with: unknown option `--reject-with`; it belongs to `-j REJECT`",
        ),
        ("--xyzzy a b -j DROP", "--xyzzy: unknown option `--xyzzy`"),
        ("-p tcp -dport 80", "-dport: `-dport` is read as `-d port`; write `--dport`"),
        ("-p tcp -qport 80", "-qport: unknown option `-q`"),
        ("-p tcp -y", "-y: unknown option `-y`"),
        ("-p tcp -sport 80", "-sport: `-sport` is read as `-s port`; write `--sport`"),
        (
            "-p tcp --s 80",
            "--s: `--s` is ambiguous; it may mean `--source`, `--set-counters`, `--sport` or `--syn`",
        ),
        (
            "-m multiprot --dports 80 -j DROP",
            "multiprot: unknown match `multiprot`; did you mean `multiport`?",
        ),
        ("-m LOG", "LOG: unknown match `LOG`; `LOG` is a target: `-j LOG`"),
        ("-p tpc", "tpc: unknown protocol `tpc`; did you mean `tcp`?"),
        ("-p 256", "256: unknown protocol `256`"),
        ("! -p all", "! -p all: `! -p all` never matches"),
        ("! -s 0/0", "! -s 0/0: `! -s 0/0` never matches"),
        ("! -d any", "! -d any: `! -d any` never matches"),
        ("-s 10.0.0.300", "10.0.0.300: invalid address `10.0.0.300`"),
        (
            "-s !10.0.0.1",
            "!10.0.0.1: invalid address `!10.0.0.1`; put `!` before the option, as a word of its own: `! -s 10.0.0.1`",
        ),
        (
            "! -s 10.0.0.1,10.0.0.2",
            "! -s 10.0.0.1,10.0.0.2: `!` is not allowed with several source or destination addresses",
        ),
        ("-i \"\"", "\"\": empty interface name"),
        ("-i abcdefghijklmnop", "abcdefghijklmnop: interface name `abcdefghijklmnop` has more than 15 bytes"),
        ("-o a/b", "a/b: interface name `a/b` has a slash or a space in it"),
        ("-j ACCEPT -j DROP", "-j: a rule has one `-j` or `-g` at most"),
        ("-j LOG -j DROP", "-j: a rule has one `-j` or `-g` at most"),
        ("-p tcp -p udp", "-p: `-p` is given twice"),
        ("-s 10.0.0.1 -s 10.0.0.2", "-s: `-s` is given twice"),
        ("-p tcp --dport 80 --destination-port 81", "--destination-port 81: `--dport` is given twice"),
        ("! -j DROP", "! -j: `-j` cannot be negated"),
        ("-m ! tcp", "!: `-m` cannot be negated\n"),
        ("! -m limit --limit 1/s", "! -m: `-m` cannot be negated"),
        ("-m limit ! --limit 1/s", "! --limit: `--limit` cannot be negated"),
        ("! ! -s 10.0.0.1", "!: `!` twice"),
        ("! -s ! 10.0.0.1", "!: `!` before and after `-s`"),
        ("-j DROP !", "!: nothing follows `!`"),
        ("! 10.0.0.1", "10.0.0.1: `!` stands before `10.0.0.1`, which is no option"),
        ("-j DROP me", "me: unexpected word `me`"),
        ("-j DROP --", "--: unexpected word `--`"),
        (
            "$-j DROP",
            "$-j: unexpected word `-j`; what comes from a variable is a value, never an option\nDROP: unexpected word `DROP`",
        ),
        ("-p tcp --dport", "--dport: `--dport` needs a value"),
        (
            "-p tcp --dport --jump DROP",
            "--dport --jump: `--dport` needs a value, but the option `--jump` follows",
        ),
        ("-p tcp --tcp-flags SYN -j DROP", "--tcp-flags: `--tcp-flags` needs two values"),
        ("-p tcp --syn=1", "--syn=1: `--syn` takes no value after `=`"),
        ("-m comment -j DROP", "-m comment: `comment` needs `--comment`"),
        (
            "-m multiport",
            "-m multiport: `-m multiport` needs `-p tcp`, `-p udp`, `-p udplite`, `-p sctp` or `-p 33`\n-m multiport: `multiport` needs `--sports`, `--dports` or `--ports`",
        ),
        (
            "-p tcp -m multiport --dports 1 --sports 2",
            "--sports 2: `--sports` cannot stand beside `--dports`",
        ),
        ("-m recent --update --reap", "--reap: `--reap` needs `--seconds`"),
        (
            "-p tcp --syn --tcp-flags SYN SYN",
            "--tcp-flags SYN SYN: `--tcp-flags` cannot stand beside `--syn`",
        ),
        ("-m tcp --dport 80", "-m tcp: `-m tcp` needs `-p tcp`"),
        ("! -p tcp --dport 80", "--dport: `-m tcp` needs `-p tcp`"),
        ("-p udp -m tcp --dport 80", "-m tcp: `-m tcp` needs `-p tcp`"),
        ("-g ACCEPT", "ACCEPT: `-g` takes a user chain, and `ACCEPT` is none; write `-j ACCEPT`"),
        ("-j INPUT", "INPUT: `INPUT` is a built-in chain, which no rule can jump to"),
        ("-j QUEUE", "QUEUE: the target `QUEUE` is gone from the kernel; use `-j NFQUEUE`"),
        ("-j \"a b\"", "\"a b\": chain name `a b` has a space in it"),
        ("-j -x", "-x: chain name `-x` starts with `-` or `!`"),
        (
            "\u{2013}s 10.0.0.1",
            "\u{2013}s: unexpected word `\u{2013}s`; options start with plain dashes\n10.0.0.1: unexpected word `10.0.0.1`",
        ),
    ] {
        assert!(
            refused(text).starts_with(problems.trim_end()),
            "{text}\n got: {}\nwant: {problems}",
            refused(text)
        );
    }
}

#[test]
fn commands_have_keys_of_their_own() {
    for text in [
        "-A INPUT",
        "-I INPUT 1",
        "-t nat",
        "--append INPUT",
        "-D INPUT",
        "-L",
        "-F",
        "-P INPUT DROP",
        "-N web",
    ] {
        let problems = refused(&format!("{text} -j DROP"));
        assert!(problems.contains("has no place in a rule; chain, place and table"), "{problems}");
        assert_eq!(problems.lines().count(), 1, "{problems}");
    }
    for text in ["-v", "-n", "-nv", "--line-numbers", "-w 5", "-c 1 2", "--set-counters 1 2"] {
        let problems = refused(&format!("{text} -j DROP"));
        assert!(problems.contains("has no place in a rule; leave it out"), "{problems}");
        assert_eq!(problems.lines().count(), 1, "{problems}");
    }
}

#[test]
fn all_mistakes_come_at_once() {
    let problems =
        parse("-A INPUT -s 10.0.0.300 -p tcp --dprot 80 -i a/b -m comment -j DROP x").expect_err("wrong");
    assert_eq!(problems.len(), 6, "{problems:?}");
}

#[test]
fn sets_and_chains_are_reported() {
    let parsed = parse(
        "-m set ! --match-set bad src -m set --match-set worse dst,dst -j SET --add-set seen src --exist",
    )
    .expect("a rule");
    let sets: Vec<_> =
        parsed.sets.iter().map(|set| (set.name.text.as_str(), set.directions.text.as_str())).collect();
    assert_eq!(sets, [("bad", "src"), ("worse", "dst,dst"), ("seen", "src")]);
    let chain =
        |text| parse(text).expect("a rule").chain().map(|chain| (chain.text.clone(), chain.span.clone()));
    assert_eq!(chain("-j web"), Some(("web".into(), 3..6)));
    assert_eq!(chain("-g web"), Some(("web".into(), 3..6)));
    assert_eq!(chain("-j REJECT"), None);
}

#[test]
fn a_value_of_a_variable_is_never_an_option() {
    let mut variables = Variables::new();
    variables.layer([("PORT".to_owned(), "80 -j ACCEPT".to_owned()), ("X".to_owned(), "--jump".to_owned())]);
    let parse = |text| parse_rule(&parse_words(text, &variables).expect("words"), &NoDatabases);
    let parsed = parse("-p tcp --dport $PORT -m comment --comment $X -j DROP").expect("a rule");
    assert_eq!(
        render_rule(&parsed.rule),
        "-p tcp -m tcp --dport \"80 -j ACCEPT\" -m comment --comment --jump -j DROP"
    );
    for text in ["$X DROP", "-j DROP $X", "--dport=$PORT"] {
        let problems = parse(text).expect_err(text);
        assert!(problems[0].message.starts_with("unexpected word"), "{text}: {problems:?}");
    }
}

#[test]
fn spans_reach_from_the_bang_to_the_last_value() {
    let text = "! -s web -p tcp ! --tcp-flags SYN,ACK SYN";
    let parsed = parse(text).expect("a rule");
    assert_eq!(&text[parsed.source.expect("a source").span], "! -s web");
    let tcp = &parsed.rule.matches[0];
    assert_eq!(&text[tcp.span.clone()], "! --tcp-flags");
    assert_eq!(&text[tcp.options[0].span.clone()], "! --tcp-flags SYN,ACK SYN");
    assert_eq!(&text[tcp.options[0].values[1].span.clone()], "SYN");
}

#[test]
fn interfaces_fit_their_chains() {
    let messages = |text: &str, hook| {
        let problems = check_chain(&parse(text).expect("a rule"), hook);
        problems
            .into_iter()
            .map(|problem| (text[problem.span].to_owned(), problem.message))
            .collect::<Vec<_>>()
    };
    let out = ("-o eth1".to_owned(), "`-o` cannot be used in chain `INPUT`".to_owned());
    assert_eq!(messages("-i eth0 -o eth1", Some(Hook::Input)), [out]);
    let into = ("! -i eth0".to_owned(), "`-i` cannot be used in chain `POSTROUTING`".to_owned());
    assert_eq!(messages("! -i eth0 -o eth1", Some(Hook::Postrouting)), [into]);
    assert_eq!(messages("-i eth0 -o eth1", Some(Hook::Forward)), []);
    assert_eq!(messages("-i eth0 -o eth1", None), []);
}

#[test]
fn chain_names_follow_iptables() {
    assert_eq!(chain_name_problem("web-in"), None);
    assert_eq!(chain_name_problem(&"a".repeat(28)), None);
    for name in ["", "-web", "!web", "a b", "ACCEPT", "REJECT", "QUEUE", &"a".repeat(29)] {
        assert!(chain_name_problem(name).is_some(), "{name}");
    }
}

/// Without spans and with the hosts put back, which rendering writes and parsing keeps apart.
fn comparable(parsed: ParsedRule) -> Rule {
    let single = |hosts: Option<Hosts>| {
        hosts.map(|Hosts { negated, hosts, .. }| match hosts.as_slice() {
            [Host::Network(network)] => Negatable { negated, value: *network },
            other => panic!("one network expected: {other:?}"),
        })
    };
    let mut rule = parsed.rule;
    rule.source = single(parsed.source);
    rule.destination = single(parsed.destination);
    let target = match &mut rule.target {
        Some(Target::Extension(module)) => Some(module),
        Some(Target::Jump(chain) | Target::Goto(chain)) => {
            chain.span = 0..0;
            None
        }
        _ => None,
    };
    for module in Arc::make_mut(&mut rule.matches).iter_mut().chain(target) {
        module.span = 0..0;
        for option in &mut module.options {
            option.span = 0..0;
            option.values.iter_mut().for_each(|value| value.span = 0..0);
        }
    }
    rule
}

fn negatable<T: std::fmt::Debug>(value: impl Strategy<Value = T>) -> impl Strategy<Value = Negatable<T>> {
    (any::<bool>(), value).prop_map(|(negated, value)| Negatable { negated, value })
}

fn network(ipv6: bool) -> impl Strategy<Value = Network> {
    let network = |address, mask| Network::new(address, mask).expect("one family");
    let mask = prop_oneof![(1_u32..=128).prop_map(|length| u128::MAX << (128 - length)), any::<u128>()];
    (any::<u128>(), mask).prop_filter("no empty mask", |(_, mask)| mask >> 96 != 0).prop_map(
        move |(address, mask)| {
            if ipv6 {
                network(
                    std::net::Ipv6Addr::from_bits(address).into(),
                    std::net::Ipv6Addr::from_bits(mask).into(),
                )
            } else {
                let short = |bits: u128| std::net::Ipv4Addr::from_bits((bits >> 96) as u32).into();
                network(short(address), short(mask))
            }
        },
    )
}

/// Some options of the extension that can stand together, each with values that bind no family.
fn module(extension: &'static Extension) -> impl Strategy<Value = Module> {
    let option = |spec: &'static OptionSpec| {
        let text = match spec.content {
            Content::Text => r"[ -~]{0,12}",
            _ => "[a-z0-9_:,.+=\"\\\\'#$*]{1,8}",
        };
        let count = match spec.arity {
            Arity::Zero => 0..=0,
            Arity::One => 1..=1,
            Arity::Two => 2..=2,
            Arity::Optional => 0..=1,
        };
        let value = text.prop_filter("no family", |text| extension_families(text) == Families::BOTH);
        (any::<bool>(), vec(value.prop_map(|text| Value { text, span: 0..0 }), count), any::<bool>())
            .prop_map(move |(negated, values, wanted)| {
                let negated = negated && spec.negatable;
                (wanted, OptionUse { name: spec.name, negated, values, span: 0..0 })
            })
    };
    extension.options.iter().map(option).collect::<Vec<_>>().prop_map(move |uses| {
        let mut options: Vec<OptionUse> = Vec::new();
        for (wanted, option) in uses {
            let spec = extension.option(option.name).expect("its own option");
            let beside = |name: &str| options.iter().any(|other| other.name == name);
            let excluded = options.iter().any(|other| {
                let other = extension.option(other.name).expect("its own option");
                other.excludes.contains(&spec.name) || spec.excludes.contains(&other.name)
            });
            let first =
                extension.any_of.contains(&spec.name) && !extension.any_of.iter().any(|name| beside(name));
            if (wanted || spec.mandatory || first) && !excluded {
                options.push(option);
            }
        }
        // what needs another that is not there goes, until all is well
        while let Some(at) = options.iter().position(|option| {
            let needs = extension.option(option.name).expect("its own option").needs;
            !needs.is_empty() && !needs.iter().any(|name| options.iter().any(|other| other.name == *name))
        }) {
            options.remove(at);
        }
        Module { name: extension.name, options, span: 0..0 }
    })
}

fn extension_families(text: &str) -> Families {
    let nat = find_target("DNAT").expect("DNAT is known");
    let reject = find_target("REJECT").expect("REJECT is known");
    let address = nat.value_families(nat.option("to-destination").expect("its option"), text);
    address.and(reject.value_families(reject.option("reject-with").expect("its option"), text))
}

fn rule(ipv6: bool) -> impl Strategy<Value = Rule> {
    let family = if ipv6 { Family::Ipv6 } else { Family::Ipv4 };
    let fits = move |extension: &&Extension| {
        extension.families.contains(family)
            && (extension.protocols.is_empty() || extension.protocols.contains(&6))
            // of these, one option at least would be cut by the needs of another
            && extension.name != "SET"
    };
    let fitting = move |table: &'static [Extension]| select(table.iter().filter(fits).collect::<Vec<_>>());
    let in_family = move |module: &Module| {
        let extension = find_match(module.name).or(find_target(module.name)).expect("from the table");
        module
            .options
            .iter()
            .all(|option| extension.option(option.name).is_some_and(|spec| spec.families.contains(family)))
    };
    let name = || "[a-z][a-z0-9.]{0,12}[+]?";
    let chain = || "[a-z][a-z0-9_.-]{0,20}".prop_map(|text| Value { text, span: 0..0 });
    let target = prop_oneof![
        Just(Target::Verdict(Verdict::Accept)),
        Just(Target::Verdict(Verdict::Return)),
        chain().prop_map(Target::Jump),
        chain().prop_map(Target::Goto),
        fitting(TARGETS).prop_flat_map(module).prop_filter("family", in_family).prop_map(Target::Extension),
    ];
    (
        option::of(negatable(network(ipv6))),
        option::of(negatable(network(ipv6))),
        option::of(negatable(name())),
        option::of(negatable(name())),
        option::of(any::<bool>()),
        vec(fitting(MATCHES).prop_flat_map(module).prop_filter("family", in_family), 0..4),
        option::of(target),
    )
        .prop_map(
            move |(source, destination, in_interface, out_interface, fragment, matches, target)| Rule {
                protocol: Some(Negatable { negated: false, value: 6 }),
                source,
                destination,
                in_interface,
                out_interface,
                fragment: fragment.filter(|_| !ipv6),
                matches: matches.into(),
                target,
            },
        )
}

proptest! {
    #[test]
    fn a_rendered_rule_reads_back_the_same(rule in any::<bool>().prop_flat_map(rule)) {
        let text = render_rule(&rule);
        let words: Vec<_> = words(&text).into_iter().zip(std::iter::repeat(false)).map(|(word, is_value)| Word {
            text: if word.is_value { format!("${}", word.text) } else { word.text },
            is_value,
            ..word
        }).collect();
        let parsed = parse_rule(&words, &NoDatabases);
        prop_assert!(parsed.is_ok(), "{text}: {parsed:?}");
        prop_assert_eq!(parsed.map(comparable), Ok(rule), "{}", text);
    }

    #[test]
    fn no_words_make_the_parser_panic(texts in vec(prop_oneof![
        select(vec!["!", "-p", "tcp", "-m", "set", "--match-set", "-j", "SET", "--", "-", "--dport", "--=", "-é", "--tcp-flags", "-s", "any", "--s"]).prop_map(str::to_owned),
        "\\PC{0,6}",
    ], 0..9), values in vec(any::<bool>(), 9)) {
        let words: Vec<_> = texts.into_iter().zip(values).enumerate().map(|(at, (text, is_value))| {
            Word { text, is_value, span: at..at + 1 }
        }).collect();
        if let Err(problems) = parse_rule(&words, &NoDatabases) {
            prop_assert!(!problems.is_empty());
            prop_assert!(problems.iter().all(|problem| problem.span.end <= words.len()));
        }
    }
}
