//! The record that ADD leaves, made from what the kernel gives back of the batch, is the one that reading everything
//! back makes.

use std::fmt::Write as _;
use std::os::fd::AsRawFd;

use fwn_kernel::firewall::FirewallError;
use fwn_kernel::firewall::compare::compare;
use fwn_kernel::firewall::compose::compose;
use fwn_kernel::firewall::record::Record;
use fwn_kernel::netlink::socket::NetlinkSocket;
use fwn_kernel::nft::transaction::{Change, CommitError};
use fwn_testkit::Netns;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, sendto, setsockopt,
    socket as socket_of, sockopt,
};
use proptest::prelude::*;

use crate::apply::SEED;
use crate::kit::{Firewall, iptables, spoil};
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

/// The kernel does not give it back: five `u32` have some 2000 bytes each.
#[test]
fn a_rule_that_is_too_long_to_be_given_back() {
    let u32 = "-m u32 --u32 0x6&0xff=0x1 ".repeat(5);
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
    // chains whose policies change, and rules to stand before
    iptables(&netns, "-A INPUT -p udp\n-A INPUT -p sctp\n-A OUTPUT -p udp\n-t raw -A PREROUTING -p tcp");
    let firewall = Firewall::new("eth0", &format!("{SEED}\n-I INPUT 3 -i a"));
    let observed = ruleset(&netns);
    let request = firewall.request(None, &[]);
    let (mut changes, _) = compose(&request, &firewall.encoded, &observed).expect("composes");
    for step in &mut changes.steps {
        step.echo = true;
    }
    let said = format!("{:?}", changes.steps);
    for part in ["AddTable", "AddBaseChain", "SetPolicy", "AddChain", "Append", "First", "Before("] {
        assert!(said.contains(part), "{part} is tried");
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
    let mut there: Vec<_> = rules.filter(|rule| rule.mark.is_some()).map(|rule| rule.handle).collect();
    given_back.sort_unstable();
    there.sort_unstable();
    assert_eq!(given_back, there);
}

/// Sends to the only netfilter socket of the namespace until it takes nothing more, as whoever has `CAP_NET_ADMIN` in
/// there can.
fn fill_receive_queue(netns: &Netns) {
    // protocol and port (`netlink_native_seq_show`, `net/netlink/af_netlink.c`); the kernel's own has port 0
    let ports = netns.sh("awk '$2 == 12 && $3 != 0 { print $3 }' /proc/net/netlink");
    let port = ports.trim().parse().expect("one port");
    netns.run(|| {
        let protocol = SockProtocol::NetlinkNetFilter;
        let junk = socket_of(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)
            .expect("a socket");
        let to = NetlinkAddr::new(port, 0);
        while sendto(junk.as_raw_fd(), &[0xff; 64], &to, MsgFlags::MSG_DONTWAIT).is_ok() {}
    });
}

/// Adds `firewall` with a socket that can receive no answer to the batch, after `meanwhile` somebody else has done
/// something.
fn add_unheard(
    netns: &Netns,
    firewall: &Firewall,
    previous: Option<&Record>,
    meanwhile: &str,
) -> Result<Record, FirewallError> {
    firewall.try_add_after(netns, previous, &[], |_| {
        netns.sh(meanwhile);
        fill_receive_queue(netns);
    })
}

/// The kernel does not know its second rule.
fn refused() -> Firewall {
    let mut firewall = Firewall::new("eth0", "-P INPUT DROP\n-4 -A INPUT -i a\n-4 -A INPUT -i b");
    spoil(&mut firewall.encoded[0][1]);
    firewall
}

const TWO: &str = "-P INPUT DROP\n-A INPUT -i a\n-A INPUT -i b -j ACCEPT";

#[test]
fn an_answer_does_not_fit_a_queue_that_is_full() {
    let netns = Netns::new();
    let firewall = Firewall::new("eth0", TWO);
    let observed = ruleset(&netns);
    let (mut changes, _) =
        compose(&firewall.request(None, &[]), &firewall.encoded, &observed).expect("composes");
    changes.steps.iter_mut().for_each(|step| step.echo = true);
    let mut socket = socket(&netns);
    fill_receive_queue(&netns);
    let result = changes.commit(&mut socket, Some(observed.generation));
    assert!(matches!(result, Err(CommitError::Unknown(_))), "{result:?}");
    assert_eq!(netns.sh("iptables -S INPUT | head -1"), "-P INPUT DROP\n");
}

#[test]
fn a_batch_whose_answer_is_lost_is_looked_for() {
    let netns = Netns::new();
    let mut record = None;
    for script in [TWO, TWO, "-A INPUT -i a\n-A INPUT -i b -j DROP", "-A INPUT -i c\n-P INPUT ACCEPT"] {
        let added =
            add_unheard(&netns, &Firewall::new("eth0", script), record.as_ref(), "true").expect("in force");
        let mut read_back = added.clone();
        read_back.read_back(&ruleset(&netns));
        assert_eq!(added, read_back);
        record = Some(added);
    }
    assert_eq!(netns.sh("iptables -S INPUT"), "-P INPUT ACCEPT\n-A INPUT -i c\n");
}

/// The batch was refused, for there is another generation: only that is seen.
#[test]
fn a_change_in_between_whose_answer_is_lost_is_tried_again() {
    let netns = Netns::new();
    let other = "-P INPUT DROP\n-A INPUT -i a\n-A INPUT -i b -j DROP";
    let mut record = None;
    for (script, place) in [(TWO, "A INPUT"), (TWO, "A INPUT"), (other, "I OUTPUT")] {
        let meanwhile = format!("iptables -{place} -p sctp");
        let added = add_unheard(&netns, &Firewall::new("eth0", script), record.as_ref(), &meanwhile);
        record = Some(added.expect("in force"));
    }
    let observed = ruleset(&netns);
    assert_eq!(compare(&record.expect("added"), &observed, &[]), []);
    let rules = netns.sh("iptables -S INPUT");
    assert!(rules.contains("-A INPUT -i b -j DROP") && rules.matches("-i a").count() == 1, "{rules}");
}

/// What falls away must not be taken for what is in force.
#[test]
fn a_smaller_plan_whose_answer_is_lost_takes_out_the_rest() {
    let big =
        "-P OUTPUT DROP\n-A INPUT -i a\n-A OUTPUT -o b -j ACCEPT\n-t nat -A POSTROUTING -o b -j MASQUERADE";
    for (smaller, meanwhile) in [
        ("-A INPUT -i a", "iptables -A INPUT -p sctp"),
        ("-A INPUT -i a", "true"),
        ("-P OUTPUT DROP", "ip6tables -A INPUT -p sctp"),
        ("-P OUTPUT DROP", "true"),
        ("-P OUTPUT DROP\n-P FORWARD DROP", "true"),
        ("", "iptables -A INPUT -p sctp"),
    ] {
        let netns = Netns::new();
        let first = Firewall::new("eth0", big).add(&netns, None, &[]);
        let firewall = Firewall::new("eth0", smaller);
        let second = add_unheard(&netns, &firewall, Some(&first), meanwhile).expect("in force");
        let rules = netns.sh("iptables -S; iptables -t nat -S 2>/dev/null; ip6tables -S");
        assert!(!rules.contains("-o b"), "{smaller}: {rules}");
        assert_eq!(rules.matches("-A INPUT -i a").count(), smaller.matches("-i a").count() * 2, "{rules}");
        assert_eq!(
            rules.matches("-P OUTPUT DROP").count(),
            smaller.matches("-P OUTPUT DROP").count() * 2,
            "{rules}"
        );
        firewall.remove(&netns, Some(&second), &[]);
        let left = netns.sh("iptables -S; ip6tables -S");
        assert!(!left.contains("DROP") && !left.contains("-i a"), "{left}");
    }
}

/// A policy may be ours or not: the record of what there may be has to stay.
#[test]
fn of_policies_alone_nobody_can_tell() {
    let netns = Netns::new();
    let firewall = Firewall::new("eth0", "-P INPUT DROP");
    let error = add_unheard(&netns, &firewall, None, "iptables -A INPUT -p sctp").expect_err("unknown");
    assert!(matches!(error, FirewallError::Unknown(CommitError::Unknown(_))), "{error:?}");
    assert!(error.may_be_in_force());
    // and the next ADD, or a DEL, puts it right
    let record = firewall.add(&netns, None, &[]);
    firewall.remove(&netns, Some(&record), &[]);
    assert_eq!(netns.sh("iptables -S INPUT"), "-P INPUT ACCEPT\n-A INPUT -p sctp\n");
}

/// Nothing was changed, so it is tried again, and the reason is heard.
#[test]
fn a_refusal_that_is_lost_is_heard_again() {
    let netns = Netns::new();
    let error = add_unheard(&netns, &refused(), None, "true").expect_err("refused");
    let FirewallError::Commit(CommitError::Refused(refusals)) = &error else { panic!("{error:?}") };
    assert_eq!(refusals.len(), 1);
    assert!(!error.may_be_in_force());
    assert_eq!(netns.dump(), "");
}

#[test]
fn a_refusal_is_told_also_where_others_are_lost() {
    let netns = Netns::new();
    let mut firewall = refused();
    let (rules, encoded) = (&mut firewall.plan.tables[0].rules, &mut firewall.encoded[0]);
    *rules = vec![rules[1].clone(); 40];
    *encoded = vec![encoded[1].clone(); 40];
    // the least that the kernel allows; for so few steps it is not made larger
    let least = |socket: &NetlinkSocket| setsockopt(socket, sockopt::RcvBuf, &0).expect("set");
    let error = firewall.try_add_after(&netns, None, &[], least);
    let Err(FirewallError::Commit(CommitError::Refused(refusals))) = error else { panic!("{error:?}") };
    assert!((1..40).contains(&refusals.len()), "{} of 40", refusals.len());
    assert_eq!(netns.dump(), "");
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
