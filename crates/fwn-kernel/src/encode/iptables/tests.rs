//! The real programs against the real kernel: what comes out of the scratch namespace is replayed into another one
//! and listed there, beside a third that iptables loaded itself.

use fwn_plan::config::Placement;
use fwn_plan::origin::{Origin, Path, Source};
use fwn_plan::plan::{RuleOp, TablePlan};
use fwn_testkit::Netns;

use super::*;
use crate::encode::testing::{Case, cases, expressions_of, replay};

/// Lines that need not be rules: `4 table chain text`.
fn lines(text: &str) -> Vec<Line> {
    let line = |(index, line): (usize, &str)| {
        let [family, table, chain, text] = line.trim().splitn(4, ' ').collect::<Vec<_>>()[..] else {
            panic!("four parts: {line}");
        };
        Line {
            index,
            family: if family == "4" { Family::Ipv4 } else { Family::Ipv6 },
            table: Table::parse(table).expect("a table"),
            chain: chain.into(),
            jump: text.strip_prefix("-j UC").map(|rest| format!("UC{rest}")),
            text: text.into(),
            compat: (0, 0),
        }
    };
    text.lines().enumerate().map(line).collect()
}

/// The sets that the cases name, so that their indexes are 1 and 2 and not what a fresh namespace gives.
const SETS: &str = "ipset create filler bitmap:port range 0-1; ipset create web hash:ip; \
                    ipset create web6 hash:net family inet6; ipset destroy filler";

fn make_sets() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let output = std::process::Command::new("sh").args(["-ec", SETS]).output()?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into()) }
}

#[expect(clippy::unnecessary_wraps, reason = "the shape of every preparation")]
fn no_sets() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    Ok(())
}

/// As written, by iptables alone.
fn load(netns: &Netns, cases: &[Case]) {
    let line = |case: &Case| Line {
        index: 0,
        family: case.family,
        table: case.table,
        chain: case.chain.clone(),
        jump: jump(&case.rule).map(str::to_owned),
        text: case.text.clone(),
        compat: (0, 0),
    };
    let lines: Vec<_> = cases.iter().map(line).collect();
    for family in Family::ALL {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), &Feed::new(&lines, family).text).expect("written");
        netns.sh(&format!("{} --noflush < {}", restore_program(family), file.path().display()));
    }
}

/// Matches and targets that need neither a device nor a module that is seldom built.
const CASES: &str = "
    filter INPUT -j ACCEPT
    filter FORWARD -i eth0 ! -o veth+ -p tcp -j DROP
    filter INPUT ! -p udp -j RETURN
    4 filter INPUT -s 10.0.0.0/8 ! -d 10.1.16.0/20 -j ACCEPT
    4 filter FORWARD -f -j DROP
    6 filter INPUT -s fd00::/61 ! -d fd00::1 -j ACCEPT
    filter INPUT -p tcp --dport 80 -j ACCEPT
    filter INPUT -p tcp --sport 1:1024 --tcp-flags SYN,ACK SYN -j ACCEPT
    filter INPUT -p tcp -m tcp --tcp-option 7
    filter INPUT -p udp -m udp
    filter INPUT -p udp ! --dport 53:60 -j UC
    filter INPUT -g UC2
    filter UC -j UC2
    filter UC2 -p tcp -m multiport --dports 80,443,8000:8010 -j RETURN
    filter INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
    filter INPUT -m conntrack ! --ctstate NEW --ctexpire 1:100
    filter INPUT -m state --state NEW
    filter INPUT -m comment --comment \"two words; and \\\"quotes\\\"\"
    4 filter INPUT -p icmp --icmp-type 8/0 -j ACCEPT
    6 filter INPUT -p icmpv6 --icmpv6-type echo-request -j ACCEPT
    4 filter INPUT -m set --match-set web src -j DROP
    6 filter INPUT -m set ! --match-set web6 dst --return-nomatch -j DROP
    4 filter INPUT -j SET --add-set web src --exist --timeout 9
    filter INPUT -m limit --limit 5/min --limit-burst 9 -j ACCEPT
    filter INPUT -m hashlimit --hashlimit-above 5/min --hashlimit-mode srcip --hashlimit-name a
    filter INPUT -m recent --name ssh --update --seconds 60 --hitcount 3 -j DROP
    filter INPUT -m mark --mark 0x1/0xff
    filter INPUT -m connmark ! --mark 7
    4 filter INPUT -m addrtype --dst-type LOCAL,BROADCAST
    6 filter INPUT -m addrtype ! --src-type LOCAL
    4 filter INPUT -m iprange --src-range 10.0.0.1-10.0.0.9
    filter INPUT -m mac --mac-source 00:11:22:33:44:55
    filter OUTPUT -m owner --uid-owner 0-99
    filter INPUT -p tcp --syn -m connlimit --connlimit-above 3 -j REJECT --reject-with tcp-reset
    filter INPUT -m string --string GET --algo bm --to 200
    filter INPUT -m statistic --mode nth --every 3 --packet 1
    filter INPUT -m statistic --mode random --probability 0.25
    filter INPUT -m length --length 100:200
    filter INPUT -m pkttype --pkt-type multicast
    filter INPUT -m time --timestart 10:00 --weekdays Mon,Tue
    4 filter INPUT -m ttl --ttl-lt 64
    6 filter INPUT -m hl --hl-gt 64
    filter INPUT -p tcp -m tcpmss --mss 500:1400
    filter INPUT -m quota --quota 100000
    filter INPUT -m u32 --u32 0>>22&0x3C@4=0x29
    filter INPUT -m dscp --dscp-class EF
    filter INPUT -m policy --dir in --pol ipsec --strict --reqid 3 --mode transport
    filter INPUT -p sctp --dport 80 --chunk-types any INIT
    filter INPUT -m bpf --bytecode \"4,48 0 0 9,21 0 1 6,6 0 0 1,6 0 0 0\"
    filter INPUT -j REJECT
    filter INPUT -j LOG --log-prefix \"in: \" --log-level debug --log-uid
    filter INPUT -j NFLOG --nflog-group 5 --nflog-prefix abc --nflog-size 64
    filter INPUT -j NFQUEUE --queue-balance 0:3 --queue-bypass
    mangle FORWARD -j MARK --set-xmark 0x1/0xff
    mangle PREROUTING -j CONNMARK --restore-mark
    mangle FORWARD -p tcp --syn -j TCPMSS --clamp-mss-to-pmtu
    mangle POSTROUTING -j DSCP --set-dscp 10
    mangle POSTROUTING -j TOS --set-tos 0x10
    4 nat PREROUTING -p tcp --dport 80 -j DNAT --to-destination 10.0.0.1:8080
    6 nat PREROUTING -p tcp --dport 80 -j DNAT --to-destination [fd00::1]:8080
    4 nat POSTROUTING -j SNAT --to-source 10.0.0.1-10.0.0.9 --persistent
    nat POSTROUTING -o eth0 -j MASQUERADE --random-fully
    nat PREROUTING -p tcp -j REDIRECT --to-ports 8080
    raw PREROUTING -p udp --dport 53 -j CT --notrack
    raw PREROUTING -j CT --zone 3
    raw PREROUTING -j TRACE
";

#[test]
fn what_is_read_back_says_the_same_when_replayed() {
    let cases = cases(CASES);
    let inputs: Vec<_> = cases.iter().map(Case::input).collect();
    let encoded = encode_rules(&inputs, &make_sets).unwrap_or_else(|error| match error {
        EncodeError::Refused(refusals) => {
            panic!("{:#?}", refusals.iter().map(|it| (&cases[it.rule].text, &it.message)).collect::<Vec<_>>())
        }
        error => panic!("{error}"),
    });
    assert_eq!(encoded.len(), cases.len());

    let replayed = Netns::new();
    replayed.sh(SETS);
    replay(
        &replayed,
        cases.iter().zip(&encoded).map(|(c, rule)| (c.family, c.table, c.chain.as_str(), rule)),
    );
    let direct = Netns::new();
    direct.sh(SETS);
    load(&direct, &cases);

    pretty_equal(&replayed.dump(), &direct.dump());
    assert!(direct.dump().contains("--match-set web6 dst"));
    assert_eq!(expressions_of(&replayed), expressions_of(&direct));
}

#[test]
fn a_plan_comes_out_table_by_table() {
    let origin = Origin { source: Source::new("test", ""), path: Path::default(), range: 0..0, span: None };
    let table = |table, text: &str| TablePlan {
        family: Family::Ipv6,
        table,
        chains: Vec::new(),
        policies: Vec::new(),
        rules: cases(text)
            .into_iter()
            .map(|case| RuleOp {
                chain: case.chain,
                // where it goes is nothing to the encoder
                placement: Placement::Insert(1),
                rule: case.rule,
                origin: origin.clone(),
            })
            .collect(),
    };
    let plan = Plan {
        sets: Vec::new(),
        tables: vec![
            table(Table::Raw, "6 raw OUTPUT -p tcp"),
            table(Table::Nat, ""),
            table(Table::Filter, "6 filter INPUT -p udp\n6 filter INPUT ! -p gre -j ACCEPT"),
        ],
    };
    let encoded = encode_with_iptables(&plan, &no_sets).expect("encodes");
    let compat: Vec<Vec<_>> =
        encoded.iter().map(|rules| rules.iter().map(|rule| rule.compat).collect()).collect();
    assert_eq!(compat, [vec![Some((6, 0))], vec![], vec![Some((17, 0)), Some((47, 2))]]);
}

fn pretty_equal(left: &str, right: &str) {
    for (left, right) in left.lines().zip(right.lines()) {
        assert_eq!(left, right);
    }
    assert_eq!(left, right);
}

#[test]
fn every_bad_rule_is_named_and_only_those() {
    let lines = lines(
        "4 filter INPUT -j ACCEPT
         4 filter INPUT --no-such-option
         4 filter INPUT -j QUEUE
         4 filter OUTPUT -p tcp --dport 99999
         4 filter INPUT -j QUEUE
         4 nat PREROUTING -m nosuchmatch
         6 filter INPUT -p tcp --dport http:
         6 nat PREROUTING -j DNAT --to-destination 10.0.0.1
         6 mangle INPUT -j TTL --ttl-set 3",
    );
    let Err(EncodeError::Refused(refusals)) = encode_lines(lines, &no_sets) else { panic!("refused") };
    let named: Vec<_> = refusals.iter().map(|refusal| refusal.rule).collect();
    assert_eq!(named, [1, 2, 3, 4, 5, 7, 8], "{refusals:#?}");
    assert_eq!(refusals[0].message, "unknown option \"--no-such-option\"");
    assert_eq!(refusals[1].message, "RULE_APPEND failed (No such file or directory): rule in chain INPUT");
}

#[test]
fn a_loop_of_jumps_is_named_by_one_of_its_rules() {
    let lines = lines("4 filter INPUT -j UC1\n4 filter UC1 -j UC2\n4 filter UC2 -j UC1");
    let error = encode_lines(lines, &no_sets).expect_err("a loop");
    assert!(matches!(&error, EncodeError::Refused(refusals) if refusals.len() == 1), "{error}");
}

#[test]
fn what_no_line_can_hold_is_refused_before_it_is_fed() {
    let mut both = lines("4 filter INPUT -m comment --comment x\n4 filter INPUT -m comment --comment y");
    both[0].text = "-m comment --comment \"a\n-A INPUT -j ACCEPT\"".into();
    both[1].text.push_str(&"y".repeat(LINE_MAX));
    let Err(EncodeError::Refused(refusals)) = encode_lines(both, &no_sets) else { panic!("refused") };
    assert_eq!(refusals.len(), 2);
    assert!(refusals[0].message.contains("line break"), "{refusals:?}");
    assert!(refusals[1].message.contains("bytes"), "{refusals:?}");
}

#[test]
fn a_rule_that_becomes_two_is_an_error() {
    let lines = lines("4 filter INPUT -s 10.0.0.1,10.0.0.2\n4 filter FORWARD -j ACCEPT");
    let error = encode_lines(lines, &no_sets).expect_err("two rules for one");
    assert!(matches!(&error, EncodeError::Count { chain, .. } if chain == "INPUT"), "{error}");
}

#[test]
fn a_failed_preparation_is_the_error() {
    let error = encode_lines(lines("4 filter INPUT -j ACCEPT"), &|| Err("no sets today".into()))
        .expect_err("prepare");
    assert!(
        matches!(&error, EncodeError::Prepare(source) if source.to_string() == "no sets today"),
        "{error}"
    );
}

#[test]
fn nothing_to_encode_starts_no_program() {
    assert_eq!(encode_lines(Vec::new(), &no_sets).expect("nothing"), []);
}

#[test]
fn complaints_are_taken_apart() {
    let stderr = "Warning: something\nip6tables-nft-restore v1.8.9 (nf_tables): Couldn't load match `x':No such \
                  file or directory\n\nError occurred at line: 12\nTry `ip6tables-nft-restore -h' or \
                  'ip6tables-nft-restore --help' for more information.\n";
    assert_eq!(
        parse_complaints(stderr),
        [(12, "Warning: something Couldn't load match `x':No such file or directory".to_owned())]
    );
    assert_eq!(
        parse_complaints("iptables-nft-restore: line 3 failed: Invalid argument.\n"),
        [(3, "failed: Invalid argument.".to_owned())]
    );
    assert_eq!(
        parse_complaints("iptables-nft-restore v1.8.9 (nf_tables): \nline 4: A failed (x): y\nline 6: B\n"),
        [(4, "A failed (x): y".to_owned()), (6, "B".to_owned())]
    );
    assert_eq!(parse_complaints("line x: y\nno line at all\n"), []);
}
