use fwn_kernel::firewall::announce;
use fwn_kernel::firewall::record::Record;
use fwn_kernel::firewall::remove::removal;
use fwn_testkit::Netns;

use crate::kit::{Firewall, iptables};
use crate::{ruleset, socket};

const SCRIPT: &str = "
    -P INPUT DROP
    -P OUTPUT DROP
    -N web
    -N deep
    -A INPUT -p tcp -j web
    -I INPUT 1 -i lo -j ACCEPT
    -A web -g deep
    -A deep -j ACCEPT
    -A FORWARD -j web
    -t nat -A POSTROUTING -j MASQUERADE
    -t mangle -P FORWARD DROP
";

const FOREIGN: &str = "
    -A INPUT -p udp -j DROP
    -P OUTPUT DROP
    -P FORWARD DROP
    -N theirs
    -A INPUT -j theirs
    -t nat -A OUTPUT -p tcp
";

/// Removed with and without its record, nothing of it is left and all else is as it was.
#[test]
fn nothing_is_left() {
    for foreign in ["", FOREIGN] {
        for with_record in [true, false] {
            let netns = Netns::new();
            iptables(&netns, foreign);
            let before = (netns.dump(), netns.sh("nft list ruleset"));
            // of a chain that was there before, only the record knows the policy
            let script =
                if foreign.is_empty() || with_record { SCRIPT.to_owned() } else { without_policies(SCRIPT) };
            let firewall = Firewall::new("eth0", &script);
            let record = firewall.add(&netns, None, &[]);
            assert_ne!(netns.dump(), before.0);
            firewall.remove(&netns, Some(&record).filter(|_| with_record), &[]);
            assert_eq!(netns.dump(), before.0, "{with_record}");
            assert_eq!(netns.sh("nft list ruleset"), before.1, "{with_record}");
            // and once more: nothing to do is success
            firewall.remove(&netns, Some(&record).filter(|_| with_record), &[]);
            assert_eq!(netns.dump(), before.0, "{with_record}");
        }
    }
}

fn without_policies(script: &str) -> String {
    script.lines().filter(|line| !line.contains("-P INPUT")).collect::<Vec<_>>().join("\n")
}

/// What others did to our chains and tables stays, and so do those.
#[test]
fn what_others_added_stays() {
    for with_record in [true, false] {
        let netns = Netns::new();
        let firewall = Firewall::new("eth0", SCRIPT);
        let record = firewall.add(&netns, None, &[]);
        netns.sh("iptables -A INPUT -s 1.2.3.4; iptables -A deep -s 1.2.3.4; iptables -P FORWARD DROP
             iptables -N theirs; iptables -A theirs -j web; nft add set ip nat s '{ type ipv4_addr; }'
             ip6tables -N theirs; ip6tables -P OUTPUT ACCEPT");
        firewall.remove(&netns, Some(&record).filter(|_| with_record), &[]);
        let expected = "*filter\n:INPUT ACCEPT\n:FORWARD DROP\n:OUTPUT ACCEPT\n:deep -\n:theirs -\n:web -\n\
                        -A INPUT -s 1.2.3.4/32\n-A deep -s 1.2.3.4/32\n-A theirs -j web\nCOMMIT\n";
        let dump = netns.sh("iptables-save -t filter");
        let dump: String = dump
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.split(" [").next().unwrap_or(line).to_owned() + "\n")
            .collect();
        assert_eq!(dump, expected, "{with_record}");
        assert_eq!(netns.sh("nft list table ip nat").matches("chain").count(), 0);
        assert!(netns.sh("ip6tables -S").contains("-N theirs"));
        assert!(!netns.sh("nft list tables").contains("ip6 nat"));
    }
}

#[test]
fn a_policy_that_was_changed_since_is_left_alone() {
    let netns = Netns::new();
    iptables(&netns, "-A INPUT -i a\n-P OUTPUT DROP\n-A FORWARD -i a");
    let firewall = Firewall::new("eth0", "-P INPUT ACCEPT\n-P OUTPUT ACCEPT\n-P FORWARD DROP");
    let record = firewall.add(&netns, None, &[]);
    netns.sh("iptables -P INPUT DROP; iptables -P FORWARD ACCEPT; ip6tables -P FORWARD ACCEPT");
    let observed = ruleset(&netns);
    let changes = removal(&observed, firewall.owner(), Some(&record), &[]);
    let chains: Vec<_> = changes.steps.iter().map(ToString::to_string).collect();
    assert_eq!(
        chains,
        [
            "setting policy DROP of chain `OUTPUT` of table `filter` (ipv4)",
            "setting policy DROP of chain `OUTPUT` of table `filter` (ipv6)",
        ]
    );
    firewall.remove(&netns, Some(&record), &[]);
    let policies = netns.sh("iptables -S | grep -e -P");
    assert_eq!(policies, "-P INPUT DROP\n-P FORWARD ACCEPT\n-P OUTPUT DROP\n");
}

/// Two attachments, removed in either order: each leaves what the other needs.
#[test]
fn two_attachments_do_not_disturb_each_other() {
    let one = Firewall::new(
        "eth0",
        "-P INPUT DROP\n-P FORWARD DROP\n-N web\n-A INPUT -i eth0 -j web\n-A web -p tcp -j ACCEPT",
    );
    let two = Firewall::new(
        "eth1",
        "-P INPUT DROP\n-P OUTPUT DROP\n-N web\n-I INPUT 1 -i eth1 -j web\n-I web 1 -p udp -j ACCEPT\n-t nat -P INPUT ACCEPT",
    );
    for foreign in ["", FOREIGN] {
        for first_goes_first in [true, false] {
            for with_record in [true, false] {
                if !with_record && !foreign.is_empty() {
                    continue; // policies of chains that were there before need the record
                }
                let netns = Netns::new();
                iptables(&netns, foreign);
                let before = netns.dump();
                let alone = |firewall: &Firewall| {
                    let netns = Netns::new();
                    iptables(&netns, foreign);
                    firewall.add(&netns, None, &[]);
                    netns.dump()
                };
                let first = one.add(&netns, None, &[]);
                let second = two.add(&netns, None, std::slice::from_ref(&first));
                assert!(second.made_at > first.made_at);
                let known = |record| Some(record).filter(|_| with_record);
                if first_goes_first {
                    one.remove(&netns, known(&first), std::slice::from_ref(&second));
                    assert_eq!(netns.dump(), alone(&two), "{foreign} {with_record}");
                    two.remove(&netns, known(&second), &[]);
                } else {
                    two.remove(&netns, known(&second), std::slice::from_ref(&first));
                    assert_eq!(netns.dump(), alone(&one), "{foreign} {with_record}");
                    one.remove(&netns, known(&first), &[]);
                }
                assert_eq!(netns.dump(), before);
            }
        }
    }
}

#[test]
fn the_latest_attachment_decides_on_a_policy() {
    let netns = Netns::new();
    iptables(&netns, "-P INPUT ACCEPT\n-A INPUT -i a");
    let before = netns.dump();
    let closed = Firewall::new("eth0", "-P INPUT DROP");
    let open = Firewall::new("eth1", "-P INPUT ACCEPT");
    let policy = || netns.sh("iptables -S INPUT | head -n 1");
    let first = closed.add(&netns, None, &[]);
    let second = open.add(&netns, None, std::slice::from_ref(&first));
    assert_eq!(policy(), "-P INPUT ACCEPT\n");
    open.remove(&netns, Some(&second), std::slice::from_ref(&first));
    assert_eq!(policy(), "-P INPUT DROP\n", "the other still holds it");
    let second = open.add(&netns, None, std::slice::from_ref(&first));
    let first = closed.add(&netns, Some(&first), std::slice::from_ref(&second));
    assert_eq!(policy(), "-P INPUT DROP\n", "it is the latest now");
    open.remove(&netns, Some(&second), std::slice::from_ref(&first));
    assert_eq!(policy(), "-P INPUT DROP\n");
    closed.remove(&netns, Some(&first), &[]);
    assert_eq!(netns.dump(), before);
}

/// Another attachment is there whose record is lost: what it may hold is not opened.
#[test]
fn policies_stay_closed_for_an_attachment_that_is_not_known() {
    let netns = Netns::new();
    let one = Firewall::new("eth0", "-P INPUT DROP\n-P FORWARD DROP");
    let two = Firewall::new("eth1", "-P FORWARD DROP\n-A OUTPUT -j ACCEPT");
    let record = one.add(&netns, None, &[]);
    two.add(&netns, None, std::slice::from_ref(&record));
    for record in [Some(&record), None] {
        one.remove(&netns, record, &[]);
        assert!(netns.sh("iptables -S").contains("-P FORWARD DROP"));
    }
    two.remove(&netns, None, &[]);
    assert_eq!(netns.dump(), "");
}

/// An ADD again that is killed before its batch leaves the rules of the earlier one. Where those have lost their marks,
/// only what they say tells whose they are.
#[test]
fn rules_that_lost_their_marks_are_found_after_an_add_again_that_was_killed() {
    let netns = Netns::new();
    let old = Firewall::new("eth0", "-A INPUT -p tcp -j ACCEPT\n-A INPUT -p tcp -j ACCEPT\n-P INPUT DROP");
    let record = old.add(&netns, None, &[]);
    netns.sh("saved=$(iptables-save); echo \"$saved\" | iptables-restore");
    let new = Firewall::new("eth0", "-A INPUT -p udp -j ACCEPT\n-P INPUT DROP");
    let mut intent = None;
    let mut journal = |record: &Record| {
        intent = Some(record.clone());
        Ok(())
    };
    announce(&mut socket(&netns), &new.request(Some(&record), &[]), &mut journal).expect("announced");
    new.remove(&netns, intent.as_ref(), &[]);
    assert_eq!(netns.sh("iptables -S"), "-P INPUT ACCEPT\n-P FORWARD ACCEPT\n-P OUTPUT ACCEPT\n");
}
