//! The record that ADD leaves, made from what the kernel gives back of the batch, is the one that reading everything
//! back makes.

use std::fmt::Write as _;

use fwn_kernel::firewall::compare::compare;
use fwn_kernel::firewall::compose::compose;
use fwn_kernel::firewall::record::Record;
use fwn_kernel::nft::transaction::Change;
use fwn_testkit::Netns;
use proptest::prelude::*;

use crate::apply::SEED;
use crate::kit::{Firewall, iptables};
use crate::{ruleset, socket};

/// Adds `script` and compares what it leaves on record with what is there.
fn add_and_compare(netns: &Netns, script: &str, previous: Option<&Record>, siblings: &[Record]) -> Record {
    let interface = format!("eth{}", siblings.len());
    let record = Firewall::new(&interface, script).add(netns, previous, siblings);
    let observed = ruleset(netns);
    let mut read_back = record.clone();
    read_back.read_back(&observed);
    assert_eq!(record, read_back);
    assert_eq!(compare(&record, &observed, siblings), []);
    let rules = || record.tables.iter().flat_map(|table| &table.rules);
    assert!(rules().all(|rule| rule.digest.is_some()), "each rule was there");
    record
}

#[test]
fn a_first_add_an_add_again_and_a_second_attachment() {
    let netns = Netns::new();
    iptables(&netns, "-A INPUT -p tcp\n-t nat -A POSTROUTING -p udp\n-t raw -A OUTPUT -p udp");
    let policies_only = format!("{SEED}\n-t raw -P OUTPUT ACCEPT");
    let first = add_and_compare(&netns, &policies_only, None, &[]);
    let again = add_and_compare(&netns, &policies_only, Some(&first), &[]);
    add_and_compare(&netns, "-A INPUT -p udp -j DROP\n-P OUTPUT DROP", None, &[again]);
}

/// Nothing to change: no batch, and so no answer to one.
#[test]
fn a_policy_that_holds_already() {
    let netns = Netns::new();
    iptables(&netns, "-A INPUT -p tcp\n-P INPUT DROP");
    let first = add_and_compare(&netns, "-P INPUT DROP", None, &[]);
    add_and_compare(&netns, "-P INPUT DROP", Some(&first), &[]);
}

/// Few forms, so that few rules come back.
#[test]
fn thousands_of_rules() {
    let mut script = String::from("-P INPUT DROP\n-N web\n");
    for at in 0..1000 {
        let (chain, protocol) = (["INPUT", "web"][at % 2], ["tcp", "udp"][at % 3 / 2]);
        writeln!(
            script,
            "-4 -A {chain} -s 10.1.{}.{} -p {protocol} -m {protocol} --dport {at}:40000 -j ACCEPT",
            at / 256,
            at % 256
        )
        .expect("text");
    }
    add_and_compare(&Netns::new(), &script, None, &[]);
}

/// So many that everything is read back instead.
#[test]
fn more_forms_than_can_be_given_back() {
    let mut script = String::new();
    for at in 0..400 {
        writeln!(script, "-A OUTPUT -m length --length {at} -j ACCEPT").expect("text");
    }
    add_and_compare(&Netns::new(), &script, None, &[]);
}

/// The kernel gives nothing back that is longer than a page (`nf_tables_rule_notify`,
/// `net/netfilter/nf_tables_api.c`): two `u32` of some 2000 bytes are.
#[test]
fn a_rule_that_is_too_long_to_be_given_back() {
    let u32 = "-m u32 --u32 0x6&0xff=0x1 ".repeat(2);
    add_and_compare(
        &Netns::new(),
        &format!("-4 -A INPUT {u32}-j ACCEPT\n-A INPUT -i lo -j ACCEPT"),
        None,
        &[],
    );
}

/// Everything that is there is also read where too little comes back, so nothing else shows that it does.
#[test]
fn the_kernel_gives_back_what_it_made() {
    let netns = Netns::new();
    let firewall = Firewall::new("eth0", SEED);
    let observed = ruleset(&netns);
    let request = firewall.request(None, &[]);
    let (mut changes, _) = compose(&request, &firewall.encoded, &observed).expect("composes");
    for step in &mut changes.steps {
        step.echo = true;
    }
    let echoes = changes.commit(&mut socket(&netns), Some(observed.generation)).expect("taken");
    let mut given_back = Vec::new();
    for (at, step) in changes.steps.iter().enumerate() {
        let handle = echoes.handle(at).unwrap_or_else(|| panic!("{step}"));
        if let Change::AddRule { .. } = step.change {
            given_back.push(handle);
        }
    }
    let made = ruleset(&netns);
    let rules = made.tables.iter().flat_map(|table| &table.chains).flat_map(|chain| &chain.rules);
    let mut there: Vec<_> = rules.map(|rule| rule.handle).collect();
    given_back.sort_unstable();
    there.sort_unstable();
    assert_eq!(given_back, there);
}

proptest! {
    // each case makes namespaces and runs programs
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn any_values_of_one_form(rules in prop::collection::vec((any::<u32>(), any::<u128>(), any::<u16>(), any::<u16>(), 0u8..4), 1..40)) {
        let mut script = String::new();
        for (v4, v6, one, other, kind) in rules {
            let (first, last) = (one.min(other), one.max(other));
            let (v4, v6) = (std::net::Ipv4Addr::from(v4), std::net::Ipv6Addr::from(v6));
            match kind {
                0 => writeln!(script, "-4 -A INPUT -s {v4} -p tcp -m tcp --dport {one} -j ACCEPT"),
                1 => writeln!(script, "-4 -A INPUT -d {v4}/24 -p udp -m udp --sport {first}:{last} -j DROP"),
                2 => writeln!(script, "-6 -A INPUT -s {v6} -p tcp -m tcp --dport {one} -j ACCEPT"),
                _ => writeln!(script, "-6 -A INPUT -d {v6}/48 -p udp -m udp --dport {first}:{last} -j DROP"),
            }.expect("text");
        }
        add_and_compare(&Netns::new(), &script, None, &[]);
    }
}
