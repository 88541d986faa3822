use fwn_kernel::nft::decode::{BaseHook, Verdict, decode_expressions, decode_verdict};
use fwn_kernel::nft::digest::digest;
use fwn_kernel::nft::observe::observe;
use fwn_plan::netfilter::{Family, Policy, Table};
use fwn_testkit::Netns;

use crate::{socket, verbatim};

#[test]
fn a_fresh_namespace_holds_nothing() {
    let netns = Netns::new();
    assert!(verbatim(&netns).tables.is_empty());
}

/// Hook, priority and type of every built-in chain are what iptables-nft makes of them.
#[test]
fn built_in_chains_are_those_of_iptables() {
    let netns = Netns::new();
    for table in Table::ALL {
        for hook in table.hooks() {
            netns.sh(&format!("for i in iptables ip6tables; do $i -t {table} -A {}; done", hook.chain()));
        }
    }
    let observed = verbatim(&netns);
    assert_eq!(observed.tables.len(), 10);
    for family in Family::ALL {
        for table in Table::ALL {
            let seen = observed.table(family, table.name()).expect("table");
            assert!(!seen.other);
            assert_eq!(seen.chains.len(), table.hooks().len());
            for hook in table.hooks() {
                let chain = seen.chain(hook.chain()).expect("chain");
                let expected = BaseHook {
                    number: hook.number(),
                    priority: table.priority(*hook),
                    kind: table.chain_type(*hook).to_owned(),
                };
                assert_eq!(chain.hook.as_ref(), Some(&expected), "{family} {table} {}", chain.name);
                assert_eq!(chain.policy, Some(Policy::Accept));
                assert_eq!((chain.rules.len(), chain.jumps), (1, 0));
            }
        }
    }
}

/// The chain that a rule leads to, and whether it may let a packet through.
fn verdict(expressions: &[u8]) -> (Option<&str>, bool) {
    let verdict = decode_verdict(expressions).expect("well formed");
    (verdict.and_then(|verdict| verdict.chain), verdict.is_some_and(Verdict::accepts))
}

#[test]
fn rules_stand_in_their_chains_in_order() {
    let netns = Netns::new();
    netns.sh(
        "iptables -P FORWARD DROP; iptables -N mine; iptables -A INPUT -j mine; iptables -A OUTPUT -g mine
         iptables -A mine -p tcp --dport 80 -m comment --comment web -j ACCEPT; iptables -I mine -s 10.0.0.1
         iptables -t nat -A PREROUTING -p tcp -j REDIRECT
         nft add table ip filter2; nft add set ip filter2 s '{ type ipv4_addr; }'; nft add table inet other",
    );
    let observed = verbatim(&netns);
    let names: Vec<_> = observed.tables.iter().map(|table| (table.name.as_str(), table.other)).collect();
    assert_eq!(names, [("filter", false), ("nat", false), ("filter2", true)]);
    let filter = observed.table(Family::Ipv4, "filter").expect("table");
    assert_eq!(filter.chain("FORWARD").and_then(|chain| chain.policy), Some(Policy::Drop));
    let mine = filter.chain("mine").expect("chain");
    assert_eq!((mine.policy, &mine.hook, mine.jumps), (None, &None, 2));
    let expressions: Vec<Vec<_>> = mine
        .rules
        .iter()
        .map(|rule| decode_expressions(&rule.expressions).map(|e| e.expect("well formed").name).collect())
        .collect();
    assert_eq!(
        expressions,
        [
            vec!["payload", "cmp", "counter"],
            vec!["meta", "cmp", "payload", "cmp", "match", "counter", "immediate"],
        ]
    );
    assert!(mine.rules[0].handle > mine.rules[1].handle);
    for chain in ["INPUT", "OUTPUT"] {
        let rule = &filter.chain(chain).expect("chain").rules[0];
        assert_eq!(verdict(&rule.expressions), (Some("mine"), true));
    }
    assert_eq!(verdict(&mine.rules[0].expressions), (None, false));
    assert_eq!(verdict(&mine.rules[1].expressions), (None, true));
}

#[test]
fn a_digest_stays_when_packets_pass() {
    let netns = Netns::new();
    netns.sh(
        "ip link set lo up
         iptables -A OUTPUT -m limit --limit 5/s; iptables -A OUTPUT -m quota --quota 100000
         iptables -A OUTPUT -m statistic --mode nth --every 3 --packet 0; iptables -A OUTPUT -m hashlimit --hashlimit-above 1/s --hashlimit-name x
         iptables -A OUTPUT -m recent --set --name y; iptables -A OUTPUT -m connlimit --connlimit-above 2
         iptables -A OUTPUT -m conntrack --ctstate NEW; iptables -A OUTPUT -p icmp -j MARK --set-mark 3
         nft add rule ip filter OUTPUT quota over 100 bytes; nft add rule ip filter OUTPUT limit rate over 5/second
         nft add rule ip filter OUTPUT ct count over 2",
    );
    let digests = || -> Vec<_> {
        let ruleset = verbatim(&netns);
        let chain =
            ruleset.table(Family::Ipv4, "filter").and_then(|table| table.chain("OUTPUT")).expect("chain");
        chain
            .rules
            .iter()
            .map(|rule| (digest(&rule.expressions).expect("digest"), rule.expressions.clone()))
            .collect()
    };
    let before = digests();
    netns.sh("ping -n -c 3 -A 127.0.0.1 >/dev/null");
    let after = digests();
    assert!(before.len() >= 11);
    assert_ne!(before[0].1, after[0].1, "packets were counted");
    for (at, (before, after)) in before.iter().zip(&after).enumerate() {
        assert_eq!(before.0, after.0, "rule {at}");
    }
    let mut distinct: Vec<_> = before.iter().map(|(digest, _)| digest.to_string()).collect();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), before.len());
}

/// While somebody else makes and deletes a table all the time: it is seen whole or not at all.
#[test]
fn only_whole_generations_are_seen() {
    let netns = Netns::new();
    let mut busy = netns
        .command("sh")
        .args([
            "-ec",
            "for i in $(seq 60); do echo 'table ip t { chain a { counter; }; chain b { counter; }; }' | nft -f -; nft delete table ip t; done",
        ])
        .spawn()
        .expect("a shell runs");
    let mut socket = socket(&netns);
    while busy.try_wait().expect("it runs").is_none() {
        let observed = observe(&mut socket).expect("can be read");
        for table in &observed.tables {
            let rules: Vec<_> = table.chains.iter().map(|chain| (chain.rules.len(), chain.jumps)).collect();
            assert_eq!(rules, [(1, 0), (1, 0)]);
            assert!(!table.other);
        }
    }
}
