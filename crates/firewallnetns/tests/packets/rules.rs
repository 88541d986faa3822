//! What the parts of a configuration mean for packets: families, order, chains, tables, repetitions, and their end.

use fwn_testkit::probe::Outcome::{Reached, Refused, Silent};
use fwn_testkit::probe::{Attempt, expect};
use fwn_testkit::service::Service;
use serde_json::{Value, json};

use crate::fixture::{Fixture, append};

/// A rule of another table.
fn append_in(table: &str, chain: &str, rule: &str) -> Value {
    json!({ "table": table, "type": "A", "chain": chain, "rule": rule })
}

#[test]
fn a_policy_closes_both_families() {
    let it = Fixture::new();
    let _service = Service::start(it.container(), &["[::]:80"]);
    let both = |ipv4, ipv6| {
        [(Attempt::tcp(it.host(), "10.9.0.2:80"), ipv4), (Attempt::tcp(it.host(), "[fd09::2]:80"), ipv6)]
    };
    let add = |policy: &Value| it.add(&json!({ "fwFiles": ["allow-nd"], "policies": [policy] }));
    add(&json!({ "chain": "INPUT", "policy": "DROP" }));
    expect(&both(Silent, Silent));
    add(&json!({ "chain": "INPUT", "policy": "DROP", "family": "ipv4" }));
    expect(&both(Silent, Reached));
    add(&json!({ "chain": "INPUT", "policy": "DROP", "family": "ipv6" }));
    expect(&both(Reached, Silent));
    add(&json!({ "chain": "INPUT", "policy": "ACCEPT" }));
    expect(&both(Reached, Reached));
}

#[test]
fn a_rule_goes_to_the_families_of_its_words() {
    let it = Fixture::new();
    let _service = Service::start(it.container(), &["[::]:80", "[::]:81", "[::]:82"]);
    it.add(&json!({
        "ipsets": [ { "set": "six", "hashtype": "hash:ip", "hashfamily": "inet6", "entries": ["fd09::1"] } ],
        "rules": [
            append("INPUT", "-p tcp --dport 80 -j REJECT"),
            append("INPUT", "-s 10.9.0.0/16 -p tcp --dport 81 -j REJECT"),
            append("INPUT", "-m set --match-set six src -p tcp --dport 82 -j REJECT"),
        ],
    }));
    expect(&[
        (Attempt::tcp(it.host(), "10.9.0.2:80"), Refused),
        (Attempt::tcp(it.host(), "[fd09::2]:80"), Refused),
        (Attempt::tcp(it.host(), "10.9.0.2:81"), Refused),
        (Attempt::tcp(it.host(), "[fd09::2]:81"), Reached),
        (Attempt::tcp(it.host(), "10.9.0.2:82"), Reached),
        (Attempt::tcp(it.host(), "[fd09::2]:82"), Refused),
    ]);
}

#[test]
fn a_rule_for_each_address() {
    let it = Fixture::new();
    it.container().sh("ip addr add 10.9.0.7/24 dev eth0; ip addr add fd09::7/64 dev eth0 nodad");
    let _service = Service::start(it.container(), &["[::]:80"]);
    let addresses = ["10.9.0.2:80", "[fd09::2]:80", "10.9.0.7:80", "[fd09::7]:80"];
    let attempts = addresses.map(|address| Attempt::tcp(it.host(), address));
    let add = |rules: &[Value]| {
        let policies = [json!({ "chain": "INPUT", "policy": "DROP" })];
        it.add(&json!({ "fwFiles": ["allow-nd"], "policies": policies, "rules": rules }));
    };
    add(&[]);
    expect(&attempts.map(|attempt| (attempt, Silent)));
    // the addresses of the plugin before: .2 and ::2
    add(&[json!({ "type": "A", "chain": "INPUT", "rule": "-d $IP -j ACCEPT", "forEach": "ips" })]);
    let [a, b, c, d] = attempts;
    expect(&[(a, Reached), (b, Reached), (c, Silent), (d, Silent)]);
}

#[test]
fn an_inserted_rule_comes_first() {
    let it = Fixture::new();
    it.host_addresses(&["10.9.0.3/24", "fd0c::3/64"]);
    let _service = Service::start(it.container(), &["[::]:80"]);
    let attempts = [
        Attempt::tcp(it.host(), "10.9.0.2:80").source("10.9.0.1:0"),
        Attempt::tcp(it.host(), "10.9.0.2:80").source("10.9.0.3:0"),
    ];
    let add = |last: &Value| {
        it.add(&json!({ "rules": [
            append("INPUT", "-s 10.9.0.1 -p tcp -j RETURN"),
            append("INPUT", "-s 10.9.0.0/24 -p tcp -j REJECT --reject-with tcp-reset"),
            last,
        ] }));
    };
    let accept = "-s 10.9.0.3 -p tcp --dport 80 -j ACCEPT";
    add(&append("INPUT", accept));
    expect(&[(attempts[0], Reached), (attempts[1], Refused)]);
    add(&json!({ "type": "I", "chain": "INPUT", "rule": accept }));
    expect(&[(attempts[0], Reached), (attempts[1], Reached)]);
    add(&json!({ "type": "I", "position": 2, "chain": "INPUT", "rule": accept }));
    expect(&[(attempts[0], Reached), (attempts[1], Reached)]);
    add(&json!({ "type": "I", "position": 3, "chain": "INPUT", "rule": accept }));
    expect(&[(attempts[0], Reached), (attempts[1], Refused)]);
    // before the one that lets 10.9.0.1 off
    let reset = "-p tcp --dport 80 -j REJECT --reject-with tcp-reset";
    add(&json!({ "type": "I", "chain": "INPUT", "rule": reset }));
    expect(&[(attempts[0], Refused), (attempts[1], Refused)]);
}

#[test]
fn chains_of_ones_own() {
    let it = Fixture::new();
    it.host_addresses(&["10.9.0.3/24"]);
    let _service = Service::start(it.container(), &["[::]:80", "[::]:81", "[::]:82", "[::]:83"]);
    let add = |jump: &[Value]| {
        let rules: Vec<_> = [
            // 10.9.0.3 returns, and meets what the caller has next
            append("web", "-s 10.9.0.3 -j RETURN"),
            append("web", "-p tcp --dport 80 -j ACCEPT"),
            append("web", "-p tcp -j inner"),
            append("inner", "-p tcp --dport 81 -j ACCEPT"),
            append("INPUT", "-p tcp --dport 83 -g inner"),
        ]
        .into_iter()
        .chain(jump.iter().cloned())
        .chain([append("INPUT", "-p tcp -j REJECT --reject-with tcp-reset")])
        .collect();
        it.add(&json!({ "chains": [ { "chain": "web" }, { "chain": "inner" } ], "rules": rules }));
    };
    let from = |target, source: &str| Attempt::tcp(it.host(), target).source(source);
    add(&[]);
    expect(&[
        (Attempt::tcp(it.host(), "10.9.0.2:80"), Refused),
        (Attempt::tcp(it.host(), "[fd09::2]:81"), Refused),
        // gone for good from INPUT, and so to its policy
        (Attempt::tcp(it.host(), "10.9.0.2:83"), Reached),
    ]);
    add(&[append("INPUT", "-p tcp -j web")]);
    expect(&[
        (from("10.9.0.2:80", "10.9.0.1:0"), Reached),
        (from("10.9.0.2:81", "10.9.0.1:0"), Reached),
        (from("10.9.0.2:82", "10.9.0.1:0"), Refused),
        (from("10.9.0.2:80", "10.9.0.3:0"), Refused),
        (Attempt::tcp(it.host(), "[fd09::2]:80"), Reached),
        (Attempt::tcp(it.host(), "[fd09::2]:81"), Reached),
        (Attempt::tcp(it.host(), "[fd09::2]:82"), Refused),
    ]);
}

#[test]
fn table_nat_redirects_and_rewrites() {
    let it = Fixture::new();
    let (host, container) = (it.host(), it.container());
    let _services = [Service::start(host, &["[::]:5000"]), Service::start(container, &["[::]:8080"])];
    let attempts = |outcome, unknown| {
        [
            (Attempt::tcp(host, "10.9.0.2:80"), outcome),
            (Attempt::tcp(host, "[fd09::2]:80"), outcome),
            // a documentation address, which is nowhere
            (Attempt::tcp(container, "198.51.100.9:5000"), unknown),
        ]
    };
    host.sh("ip route add blackhole 198.51.100.0/24");
    it.add(&json!({}));
    expect(&attempts(Refused, Silent));
    it.add(&json!({ "rules": [
        append_in("nat", "PREROUTING", "-i eth0 -p tcp --dport 80 -j REDIRECT --to-ports 8080"),
        append_in("nat", "OUTPUT", "-d 198.51.100.9 -p tcp -j DNAT --to-destination 10.9.0.1"),
    ] }));
    expect(&attempts(Reached, Reached));
}

#[test]
fn table_mangle_marks_for_filter() {
    let it = Fixture::new();
    let _service = Service::start(it.container(), &["[::]:80", "[::]:81"]);
    let attempts = |marked| {
        [
            (Attempt::tcp(it.host(), "10.9.0.2:80"), marked),
            (Attempt::tcp(it.host(), "[fd09::2]:80"), marked),
            (Attempt::tcp(it.host(), "10.9.0.2:81"), Reached),
        ]
    };
    let refuse = append("INPUT", "-p tcp -m mark --mark 0x7 -j REJECT --reject-with tcp-reset");
    it.add(&json!({ "rules": [refuse] }));
    expect(&attempts(Reached));
    let mark = append_in("mangle", "PREROUTING", "-p tcp --dport 80 -j MARK --set-mark 0x7");
    it.add(&json!({ "rules": [mark, refuse] }));
    expect(&attempts(Refused));
}

#[test]
fn table_raw_comes_before_connection_tracking() {
    let it = Fixture::new();
    let _service = Service::start(it.container(), &["[::]:80", "[::]:81", "[::]:82"]);
    let attempts = |dropped, untracked| {
        [
            (Attempt::tcp(it.host(), "10.9.0.2:80"), dropped),
            (Attempt::tcp(it.host(), "[fd09::2]:80"), dropped),
            (Attempt::udp(it.host(), "10.9.0.2:81"), untracked),
            (Attempt::udp(it.host(), "[fd09::2]:81"), untracked),
            (Attempt::tcp(it.host(), "10.9.0.2:82"), Reached),
        ]
    };
    let refuse = append("INPUT", "-p udp -m conntrack --ctstate UNTRACKED -j REJECT");
    it.add(&json!({ "rules": [refuse] }));
    expect(&attempts(Reached, Reached));
    it.add(&json!({ "rules": [
        append_in("raw", "PREROUTING", "-p tcp --dport 80 -j DROP"),
        append_in("raw", "PREROUTING", "-p udp --dport 81 -j CT --notrack"),
        refuse,
    ] }));
    expect(&attempts(Silent, Refused));
}

#[test]
fn after_del_packets_pass_as_before() {
    let it = Fixture::new();
    let (host, container) = (it.host(), it.container());
    let _services = [Service::start(host, &["[::]:80"]), Service::start(container, &["[::]:80"])];
    let all = |outcome| {
        [
            (Attempt::tcp(host, "10.9.0.2:80"), outcome),
            (Attempt::tcp(host, "[fd09::2]:80"), outcome),
            (Attempt::udp(container, "10.9.0.1:80"), outcome),
            (Attempt::udp(container, "[fd09::1]:80"), outcome),
            (Attempt::ping(container, "::1"), outcome),
        ]
    };
    let everything = || container.sh("nft list ruleset; ipset list");
    let before = everything();
    expect(&all(Reached));
    let conf = json!({
        "fwFiles": ["default-policy", "allow-nd"],
        "ipsets": [ { "set": "s", "hashtype": "hash:net", "entries": ["192.0.2.0/24"] } ],
        "chains": [ { "chain": "c" } ],
        "rules": [
            append("INPUT", "-m set --match-set s src -j c"),
            append("c", "-j ACCEPT"),
            append_in("nat", "PREROUTING", "-p tcp --dport 81 -j REDIRECT --to-ports 80"),
            append_in("raw", "PREROUTING", "-p udp --dport 81 -j CT --notrack"),
        ],
    });
    it.add(&conf);
    expect(&all(Silent));
    it.del(&conf);
    expect(&all(Reached));
    assert_eq!(everything(), before);
}
