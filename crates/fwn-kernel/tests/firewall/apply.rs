use std::fmt::Write as _;
use std::process::Stdio;

use fwn_kernel::firewall::FirewallError;
use fwn_kernel::firewall::compare::compare;
use fwn_kernel::firewall::compose::{ComposeError, compose};
use fwn_kernel::nft::transaction::CommitError;
use fwn_plan::netfilter::{Family, Table};
use fwn_testkit::Netns;
use proptest::prelude::*;

use crate::kit::{Firewall, iptables, spoil};
use crate::{ruleset, socket};

pub(crate) const SEED: &str = "
    -P INPUT DROP
    -P FORWARD DROP
    -P OUTPUT ACCEPT
    -N web
    -4 -A INPUT -i eth0 -p icmp --icmp-type 8 -j ACCEPT
    -6 -A INPUT -p icmpv6 --icmpv6-type 135 -j ACCEPT
    -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
    -A INPUT -p tcp -m multiport --dports 80,443 -j web
    -A web -p tcp -m tcp --dport 80 -m limit --limit 5/sec -j ACCEPT
    -A web -p tcp -m comment --comment over -j REJECT --reject-with tcp-reset
    -I INPUT 1 -i lo -j ACCEPT
    -A OUTPUT -o eth0 -p udp -m udp --dport 53 -j ACCEPT
    -I OUTPUT 2 -m owner --uid-owner 0 -j ACCEPT
    -t nat -A PREROUTING -p tcp -m tcp --dport 8080 -j REDIRECT --to-ports 80
    -t nat -A POSTROUTING -o eth1 -j MASQUERADE
    -t nat -P OUTPUT ACCEPT
    -t mangle -A OUTPUT -p tcp -j MARK --set-mark 7
    -t mangle -P PREROUTING DROP
    -t raw -A PREROUTING -p udp -j CT --notrack
    -t security -A FORWARD -j ACCEPT
    -t security -P INPUT DROP
";

/// Both namespaces get `script`: one through iptables, one through us; all tools see the same.
fn twins(before: &str, script: &str) {
    let (ours, theirs) = (Netns::new(), Netns::new());
    for netns in [&ours, &theirs] {
        iptables(netns, before);
    }
    iptables(&theirs, script);
    Firewall::new("eth0", script).add(&ours, None, &[]);
    assert_eq!(ours.dump(), theirs.dump());
    for listing in ["iptables -L -vn", "ip6tables -L -vn", "iptables -t nat -S", "ip6tables -t security -S"] {
        assert_eq!(ours.sh(listing), theirs.sh(listing), "{listing}");
    }
    // and the kernel: the same chains and expressions
    let seen = [&ours, &theirs].map(|netns| {
        let mut chains = Vec::new();
        for table in ruleset(netns).tables {
            for chain in table.chains {
                let rules: Vec<_> = chain.rules.iter().map(|rule| rule.digest.expect("digest")).collect();
                chains.push(format!(
                    "{} {} {} {:?} {:?} {rules:?}",
                    table.family, table.name, chain.name, chain.hook, chain.policy
                ));
            }
        }
        chains.sort();
        chains
    });
    assert_eq!(seen[0], seen[1]);
}

#[test]
fn all_tables_of_both_families_are_as_iptables_makes_them() {
    twins("", SEED);
}

#[test]
fn rules_go_between_those_of_others_as_with_iptables() {
    twins(
        "-A INPUT -s ::1 -j DROP
         -A INPUT -p tcp
         -A INPUT -p udp
         -P FORWARD DROP
         -N theirs
         -A theirs -j DROP"
            .replace("-A INPUT -s ::1", "-A INPUT -p sctp")
            .as_str(),
        "-P FORWARD ACCEPT
         -A INPUT -i a
         -I INPUT 1 -i b
         -I INPUT 3 -i c
         -I INPUT 7 -i d
         -A INPUT -i e -j theirs
         -I INPUT 1 -i f
         -I theirs 1 -i g
         -A OUTPUT -o h -g theirs",
    );
}

#[test]
fn iptables_still_works_on_what_we_made() {
    let netns = Netns::new();
    Firewall::new("eth0", SEED).add(&netns, None, &[]);
    netns.sh(
        "iptables -C INPUT -i lo -j ACCEPT; iptables -A INPUT -s 1.2.3.4; iptables -I web 1 -s 1.2.3.4
         iptables -P INPUT ACCEPT; iptables -N theirs; iptables -D INPUT -i lo -j ACCEPT; iptables -Z; iptables -E web site
         nft list ruleset >/dev/null; iptables-save | iptables-restore; iptables -F; iptables -X",
    );
}

/// As with `iptables -P`: operators look at what a policy dropped.
#[test]
fn policies_count_packets() {
    let netns = Netns::new();
    Firewall::new("eth0", "-P OUTPUT DROP").add(&netns, None, &[]);
    netns.sh("ip link set lo up; ! ping -n -c 1 -W 1 127.0.0.1 >/dev/null 2>&1");
    let listing = netns.sh("iptables -L OUTPUT -vn");
    assert!(
        listing.starts_with("Chain OUTPUT (policy DROP ") && !listing.contains(" 0 packets"),
        "{listing}"
    );
}

#[test]
fn adding_again_replaces() {
    let netns = Netns::new();
    iptables(&netns, "-A INPUT -p tcp\n-A INPUT -p udp\n-P OUTPUT DROP");
    let before = netns.dump();
    let first =
        Firewall::new("eth0", "-P INPUT DROP\n-P OUTPUT ACCEPT\n-N web\n-A INPUT -j web\n-I INPUT 2 -i a");
    let record = first.add(&netns, None, &[]);
    let dump = netns.dump();
    let again = first.add(&netns, Some(&record), &[]);
    assert_eq!(netns.dump(), dump, "the same again");
    assert_eq!(again.tables[0].policies, record.tables[0].policies, "the policy before is kept");

    // and something else: the chain is gone, the policy of OUTPUT is back, nat is new
    let script = "-P INPUT DROP\n-I INPUT 3 -i b\n-t nat -P INPUT ACCEPT";
    let second = Firewall::new("eth0", script);
    let record = second.add(&netns, Some(&again), &[]);
    let twin = Netns::new();
    iptables(&twin, &format!("-A INPUT -p tcp\n-A INPUT -p udp\n-P OUTPUT DROP\n{script}"));
    assert_eq!(netns.dump(), twin.dump());

    let third = Firewall::new("eth0", "-A INPUT -i c");
    let record = third.add(&netns, Some(&record), &[]);
    assert!(!netns.dump().contains("*nat"), "the table that nobody wants any more is gone");
    third.remove(&netns, Some(&record), &[]);
    assert_eq!(netns.dump(), before);
}

/// Not one chain stays, and still the table does.
#[test]
fn adding_again_can_change_every_chain() {
    let netns = Netns::new();
    let record = Firewall::new("eth0", "-P OUTPUT DROP\n-N web").add(&netns, None, &[]);
    let script = "-P INPUT DROP\n-N site\n-A site -i a";
    Firewall::new("eth0", script).add(&netns, Some(&record), &[]);
    let twin = Netns::new();
    iptables(&twin, script);
    assert_eq!(netns.dump(), twin.dump());
}

#[test]
fn adding_again_without_the_record_doubles_no_rule() {
    let netns = Netns::new();
    let firewall = Firewall::new("eth0", "-P INPUT DROP\n-N web\n-A INPUT -j web\n-A web -j ACCEPT");
    firewall.add(&netns, None, &[]);
    let dump = netns.dump();
    let record = firewall.add(&netns, None, &[]);
    assert_eq!(netns.dump(), dump);
    firewall.remove(&netns, Some(&record), &[]);
    assert_eq!(netns.dump(), "");
}

/// What is right already is not sent: closing the socket after an update costs a grace period.
#[test]
fn chains_that_are_right_are_not_sent() {
    let netns = Netns::new();
    let firewall = Firewall::new("eth0", "-P INPUT DROP\n-P OUTPUT ACCEPT");
    let record = firewall.add(&netns, None, &[]);
    let observed = ruleset(&netns);
    let (changes, _) =
        compose(&firewall.request(Some(&record), &[]), &firewall.encoded, &observed).expect("composes");
    assert!(changes.is_empty(), "{changes:?}");
    let generation = ruleset(&netns).generation;
    changes.commit(&mut socket(&netns), Some(0)).expect("nothing is sent, not even a wrong generation");
    assert_eq!(ruleset(&netns).generation, generation);
}

#[test]
fn every_rule_carries_its_owner_and_number() {
    let netns = Netns::new();
    let firewall = Firewall::new("eth0", "-4 -A INPUT -i a\n-4 -I INPUT 1 -i b\n-4 -A OUTPUT -o c");
    let record = firewall.add(&netns, None, &[]);
    let observed = ruleset(&netns);
    let filter = observed.table(Family::Ipv4, "filter").expect("table");
    let owners = |chain: &str| -> Vec<_> {
        filter.chain(chain).expect("chain").rules.iter().map(|rule| rule.mark).collect()
    };
    assert_eq!(owners("INPUT"), [Some((firewall.owner(), 1)), Some((firewall.owner(), 0))]);
    assert_eq!(owners("OUTPUT"), [Some((firewall.owner(), 2))]);
    let recorded: Vec<_> =
        record.tables[0].rules.iter().map(|rule| (rule.ordinal, rule.text.as_str())).collect();
    assert_eq!(recorded, [(1, "-4 -I INPUT 1 -i b"), (0, "-4 -A INPUT -i a"), (2, "-4 -A OUTPUT -o c")]);
    assert!(record.tables[0].rules.iter().all(|rule| rule.digest.is_some()));
    assert_eq!(record.tables[0].last_handle, filter.chain("OUTPUT").expect("chain").rules[0].handle);
}

#[test]
fn every_bad_rule_is_named_and_nothing_is_changed() {
    let netns = Netns::new();
    iptables(&netns, "-A INPUT -p tcp");
    let before = netns.dump();
    let script = "-P INPUT DROP\n-4 -A INPUT -i a\n-4 -A INPUT -i b\n-4 -A INPUT -i c\n-6 -A INPUT -i d";
    let mut firewall = Firewall::new("eth0", script);
    for (table, rule) in [(0, 1), (1, 0)] {
        spoil(&mut firewall.encoded[table][rule]);
    }
    let error = firewall.try_add(&netns, None, &[]).expect_err("it is wrong");
    let FirewallError::Commit(CommitError::Refused(refusals)) = &error else { panic!("{error:?}") };
    let origins: Vec<_> = refusals
        .iter()
        .map(|refusal| refusal.origin.as_ref().expect("an origin").source.text.as_str())
        .collect();
    assert_eq!(origins, ["-4 -A INPUT -i b", "-6 -A INPUT -i d"]);
    assert!(
        error.to_string().starts_with(
            "test.fw: the kernel refused adding a rule to chain `INPUT` of table `filter` (ipv4): \
             No such file or directory (ENOENT); hint: the kernel lacks"
        ),
        "{error}"
    );
    assert_eq!(netns.dump(), before);
}

/// More errors than fit the default receive buffer.
#[test]
fn a_thousand_bad_rules_are_all_named() {
    let netns = Netns::new();
    let mut firewall = Firewall::new("eth0", "-4 -A INPUT -p tcp -m comment --comment x");
    let rules = &mut firewall.plan.tables[0].rules;
    let bad = &mut firewall.encoded[0];
    spoil(&mut bad[0]);
    *rules = vec![rules[0].clone(); 1000];
    *bad = vec![bad[0].clone(); 1000];
    let error = firewall.try_add(&netns, None, &[]).expect_err("it is wrong");
    let FirewallError::Commit(CommitError::Refused(refusals)) = &error else { panic!("{error:?}") };
    assert_eq!(refusals.len(), 1000);
    assert_eq!(netns.dump(), "");
}

#[test]
fn many_rules_stand_in_order_in_one_batch() {
    let netns = Netns::new();
    let mut firewall = Firewall::new("eth0", "-4 -A INPUT -i a\n-4 -I INPUT 1 -i b");
    let (rules, encoded) = (&mut firewall.plan.tables[0].rules, &mut firewall.encoded[0]);
    *rules = (0..3000).map(|n| rules[usize::from(n % 3 == 0)].clone()).collect();
    *encoded = (0..3000).map(|n| encoded[usize::from(n % 3 == 0)].clone()).collect();
    let record = firewall.add(&netns, None, &[]);
    assert_eq!(record.tables[0].rules.len(), 3000);
    assert_eq!(compare(&record, &ruleset(&netns), &[]), []);
    let listed = netns.sh("iptables -S INPUT");
    let interfaces: Vec<_> = listed.lines().skip(1).map(|line| &line[line.len() - 1..]).collect();
    assert_eq!(interfaces, [vec!["b"; 1000], vec!["a"; 2000]].concat());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// The kernel's order is the one that results from doing one after the other; added again, the old are gone.
    #[test]
    fn any_order_comes_out_as_planned(
        foreign in 0usize..4,
        first in prop::collection::vec(0u32..6, 0..12),
        second in prop::collection::vec(0u32..6, 0..12),
    ) {
        let netns = Netns::new();
        for n in 0..foreign {
            netns.sh(&format!("iptables -A INPUT -i f{n}"));
        }
        let mut previous = None;
        for positions in [first, second] {
            let mut expected: Vec<_> = (0..foreign).map(|n| format!("f{n}")).collect();
            let mut script = String::new();
            for (n, position) in positions.iter().enumerate() {
                // 0 stands for the end
                if (1..=expected.len()).contains(&(*position as usize)) {
                    writeln!(script, "-4 -I INPUT {position} -i n{n}").expect("text");
                    expected.insert(*position as usize - 1, format!("n{n}"));
                } else {
                    writeln!(script, "-4 -A INPUT -i n{n}").expect("text");
                    expected.push(format!("n{n}"));
                }
            }
            previous = Some(Firewall::new("eth0", &script).add(&netns, previous.as_ref(), &[]));
            let listed = netns.sh("iptables -S INPUT");
            let listed: Vec<_> = listed.lines().skip(1).filter_map(|line| line.split(' ').next_back()).collect();
            prop_assert_eq!(listed, expected);
        }
    }
}

#[test]
fn a_change_in_between_is_noticed() {
    let netns = Netns::new();
    let firewall = Firewall::new("eth0", "-A INPUT -i a");
    let observed = ruleset(&netns);
    let (changes, _) = compose(&firewall.request(None, &[]), &firewall.encoded, &observed).expect("composes");
    netns.sh("iptables -A INPUT -p tcp");
    let result = changes.commit(&mut socket(&netns), Some(observed.generation));
    assert!(matches!(result, Err(CommitError::Changed)), "{result:?}");
    // decided anew, it fits
    firewall.add(&netns, None, &[]);
    assert_eq!(netns.sh("iptables -S INPUT"), "-P INPUT ACCEPT\n-A INPUT -p tcp\n-A INPUT -i a\n");
}

/// Somebody else changes things all the time: each attempt is all or nothing, and in the end it is in force.
#[test]
fn changes_all_the_time_are_retried() {
    let netns = Netns::new();
    let mut busy = netns
        .command("sh")
        .args(["-c", "echo started; while read -t 0 stop || true; do nft add table ip other; nft delete table ip other; done"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("a shell runs");
    let firewall = Firewall::new("eth0", "-A INPUT -i a\n-P INPUT DROP");
    let mut record = None;
    for _ in 0..20 {
        record = Some(firewall.add(&netns, record.as_ref(), &[]));
    }
    firewall.remove(&netns, record.as_ref(), &[]);
    busy.kill().expect("it runs");
    busy.wait().expect("it ends");
    netns.sh("nft delete table ip other 2>/dev/null || true");
    assert_eq!(netns.dump(), "");
}

#[test]
fn what_is_in_the_way_is_an_error_that_names_it() {
    for (before, script, message) in [
        (
            "nft add table ip filter; nft add chain ip filter INPUT '{ type filter hook input priority 5; }'",
            "-4 -A INPUT -i a",
            "test.fw: chain `INPUT` of table `filter` (ipv4) exists and is not the built-in chain of iptables: it has hook 1, priority 5 and type `filter` instead of 1, 0 and `filter`",
        ),
        (
            "nft add table ip6 nat; nft add chain ip6 nat OUTPUT",
            "-6 -t nat -P OUTPUT DROP",
            "test.fw: chain `OUTPUT` of table `nat` (ipv6) exists and is not the built-in chain of iptables: it has no hook",
        ),
        (
            "iptables -N web",
            "-N web",
            "test.fw: chain `web` exists already in table `filter` (ipv4), made by somebody else",
        ),
        ("true", "-4 -A nowhere -i a", "test.fw: there is no chain `nowhere` in table `filter` (ipv4)"),
        ("true", "-4 -P nowhere DROP", "test.fw: there is no chain `nowhere` in table `filter` (ipv4)"),
        (
            "iptables -A INPUT -p tcp",
            "-4 -A INPUT -i a\n-4 -I INPUT 4 -i b",
            "test.fw: index of insertion too big: position 4 in chain `INPUT` of table `filter` (ipv4), which has 2 rules by then",
        ),
        (
            "nft add table ip raw '{ flags dormant; }'",
            "-4 -t raw -P OUTPUT DROP",
            "table `raw` (ipv4) is dormant: no rule in it would have an effect",
        ),
    ] {
        let netns = Netns::new();
        netns.sh(before);
        let state = netns.sh("nft list ruleset");
        let error = Firewall::new("eth0", script).try_add(&netns, None, &[]).expect_err(message);
        assert!(matches!(error, FirewallError::Compose(_)), "{error:?}");
        assert_eq!(error.to_string(), message);
        assert_eq!(netns.sh("nft list ruleset"), state);
    }
    let netns = Netns::new();
    let mut firewall = Firewall::new("eth0", "-4 -A INPUT -i a");
    firewall.encoded[0][0].expressions.truncate(10);
    let error = firewall.try_add(&netns, None, &[]).expect_err("a rule is cut short");
    assert_eq!(error.to_string(), "test.fw: the rule's expressions are malformed");
    firewall.encoded[0].clear();
    let error = firewall.try_add(&netns, None, &[]).expect_err("a rule is missing");
    let expected =
        ComposeError::Encoded { family: Family::Ipv4, table: Table::Filter, planned: 1, encoded: 0 };
    assert!(matches!(error, FirewallError::Compose(error) if error == expected));
}
