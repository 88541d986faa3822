use fwn_kernel::firewall::compare::compare;
use fwn_kernel::firewall::record::Record;
use fwn_testkit::Netns;

use crate::kit::{Firewall, iptables};
use crate::ruleset;

const SCRIPT: &str = "
    -P INPUT DROP
    -4 -N web
    -4 -A INPUT -i a
    -4 -A INPUT -p tcp -j web
    -4 -A INPUT -i c
    -4 -A web -j ACCEPT
";

fn differences(netns: &Netns, record: &Record, siblings: &[Record]) -> Vec<String> {
    compare(record, &ruleset(netns), siblings).iter().map(ToString::to_string).collect()
}

/// Each way of tampering is found, and named.
#[test]
fn tampering_is_found() {
    for (tampering, expected) in [
        ("true", &[][..]),
        ("iptables -Z; iptables -A INPUT -s 1.2.3.4; iptables -A OUTPUT -j DROP", &[]),
        ("nft add table inet theirs; iptables -t nat -P INPUT ACCEPT; ip6tables -A INPUT -j DROP", &[]),
        (
            "iptables -D INPUT -i a",
            &["rule `-4 -A INPUT -i a` (test.fw) is missing in chain `INPUT`, table `filter` (ipv4)"],
        ),
        (
            "iptables -F INPUT",
            &[
                "rule `-4 -A INPUT -i a` (test.fw) is missing in chain `INPUT`, table `filter` (ipv4)",
                "rule `-4 -A INPUT -p tcp -j web` (test.fw) is missing in chain `INPUT`, table `filter` (ipv4)",
                "rule `-4 -A INPUT -i c` (test.fw) is missing in chain `INPUT`, table `filter` (ipv4)",
            ],
        ),
        (
            "iptables -P INPUT ACCEPT",
            &["policy of chain `INPUT` is ACCEPT instead of DROP, table `filter` (ipv4)"],
        ),
        (
            "ip6tables -P INPUT ACCEPT",
            &["policy of chain `INPUT` is ACCEPT instead of DROP, table `filter` (ipv6)"],
        ),
        (
            "iptables -I INPUT 1 -s 1.2.3.4",
            &[
                "rule 1 of chain `INPUT` was added later and stands before `-4 -A INPUT -i a` (test.fw), table `filter` (ipv4)",
            ],
        ),
        (
            "iptables -I INPUT 4 -s 1.2.3.4; iptables -I INPUT 4 -s 1.2.3.5; iptables -I web -j DROP",
            &[
                "rule 4 of chain `INPUT` was added later and stands before `-4 -A INPUT -i c` (test.fw), table `filter` (ipv4)",
                "rule 5 of chain `INPUT` was added later and stands before `-4 -A INPUT -i c` (test.fw), table `filter` (ipv4)",
                "rule 1 of chain `web` was added later and stands before `-4 -A web -j ACCEPT` (test.fw), table `filter` (ipv4)",
            ],
        ),
        (
            "iptables -R INPUT 2 -i b",
            &[
                // the kernel gives the new one the handle of the old
                "rule `-4 -A INPUT -i a` (test.fw) is missing in chain `INPUT`, table `filter` (ipv4)",
            ],
        ),
        (
            "iptables -D INPUT -p tcp -j web; iptables -F web; iptables -X web",
            &[
                "rule `-4 -A INPUT -p tcp -j web` (test.fw) is missing in chain `INPUT`, table `filter` (ipv4)",
                "chain `web` is missing, table `filter` (ipv4)",
            ],
        ),
        // behind our rules in a chain of ours the packet goes back to where it came from
        (
            "iptables -A web -s 1.2.3.4 -j ACCEPT; iptables -A web -j DROP; iptables -A web -j LOG",
            &[
                "rule 2 of chain `web` was added later and accepts before the chain returns, table `filter` (ipv4)",
            ],
        ),
        ("nft delete table ip6 filter", &["table `filter` (ipv6) is missing"]),
    ] {
        let netns = Netns::new();
        // what was there before may stand anywhere
        netns.sh("iptables -A INPUT -p udp");
        let record = Firewall::new("eth0", SCRIPT).add(&netns, None, &[]);
        // the state file keeps all that is needed
        let text = serde_json::to_string(&record).expect("JSON");
        let record: Record = serde_json::from_str(&text).expect("a record");
        netns.sh(tampering);
        assert_eq!(differences(&netns, &record, &[]), expected, "{tampering}");
    }
}

/// Rules that carry our owner, and say something else, stand elsewhere, or are new.
#[test]
fn forged_rules_are_found() {
    let script = |rules: [&str; 3]| rules.map(|rule| format!("-4 -A INPUT {rule}\n")).concat();
    let netns = Netns::new();
    let record = Firewall::new("eth0", &script(["-i a", "-i b", "-i c"])).add(&netns, None, &[]);

    Firewall::new("eth0", &script(["-i a", "-i x", "-i c"])).add(&netns, None, &[]);
    let changed = "rule `-4 -A INPUT -i b` (test.fw) was changed in chain `INPUT`, table `filter` (ipv4)";
    assert_eq!(differences(&netns, &record, &[]), [changed]);

    Firewall::new("eth0", "-4 -A INPUT -i a\n-4 -A INPUT -i b\n-4 -I INPUT 1 -i c").add(&netns, None, &[]);
    assert_eq!(
        differences(&netns, &record, &[]),
        [
            "rule `-4 -A INPUT -i a` (test.fw) stands after `-4 -A INPUT -i c` (test.fw) in chain `INPUT`, table `filter` (ipv4)",
            "rule `-4 -A INPUT -i b` (test.fw) stands after `-4 -A INPUT -i c` (test.fw) in chain `INPUT`, table `filter` (ipv4)",
        ]
    );

    let more = script(["-i a", "-i b", "-i c"]) + "-4 -A INPUT -i d";
    Firewall::new("eth0", &more).add(&netns, None, &[]);
    let unknown = "rule 4 of chain `INPUT` is ours, but not on record, table `filter` (ipv4)";
    assert_eq!(differences(&netns, &record, &[]), [unknown]);
}

#[test]
fn what_another_attachment_did_is_no_difference() {
    let netns = Netns::new();
    let one = Firewall::new("eth0", "-P INPUT DROP\n-A INPUT -i a");
    let two = Firewall::new("eth1", "-P INPUT ACCEPT\n-I INPUT 1 -i b");
    let first = one.add(&netns, None, &[]);
    let second = two.add(&netns, None, std::slice::from_ref(&first));
    assert_eq!(differences(&netns, &first, std::slice::from_ref(&second)), [""; 0]);
    assert_eq!(differences(&netns, &second, std::slice::from_ref(&first)), [""; 0]);
    iptables(&netns, "-P INPUT DROP");
    assert_eq!(differences(&netns, &first, std::slice::from_ref(&second)), [""; 0]);
    assert_eq!(differences(&netns, &second, std::slice::from_ref(&first)).len(), 2);
}
