//! The seed's own rules: a set of networks that are told off, ports that are open.

use fwn_testkit::probe::Outcome::{Reached, Refused, Silent};
use fwn_testkit::probe::{Attempt, expect};
use fwn_testkit::service::Service;
use serde_json::{Value, json};

use crate::fixture::Fixture;

/// The plugin's part of the seed's configuration with these policies.
fn seed(policies: &[(&str, &str)]) -> Value {
    let policies: Vec<_> =
        policies.iter().map(|(chain, policy)| json!({ "chain": chain, "policy": policy })).collect();
    json!({
        "fwFiles": [ "default-policy", "allow-ping", "allow-ping-out" ],
        "ipsets": [
            { "set": "blacklistweb", "hashtype": "hash:ip", "netmask": 24, "hashsize": 4096 }
        ],
        "policies": policies,
        "rules": [
            { "type": "A", "chain": "INPUT", "rule": "-p tcp --dport 8080 -j ACCEPT" },
            { "type": "A", "chain": "INPUT", "rule": "-p tcp --dport 8443 -j ACCEPT" },
            { "type": "A", "chain": "INPUT", "rule": "-p tcp -m set --match-set blacklistweb src -m multiport --dports 80,443 -j REJECT --reject-with tcp-reset" }
        ]
    })
}

fn prepared() -> (Fixture, Service) {
    let it = Fixture::new();
    it.host_addresses(&["192.0.2.7/24", "192.0.2.8/24", "198.51.100.7/24"]);
    let ports = ["[::]:80", "[::]:443", "[::]:8080", "[::]:8443", "[::]:8888"];
    let service = Service::start(it.container(), &ports);
    (it, service)
}

fn web<'a>(it: &'a Fixture, port: u16, source: &str) -> Attempt<'a> {
    Attempt::tcp(it.host(), &format!("10.9.0.2:{port}")).source(&format!("{source}:0"))
}

#[test]
fn members_are_reset_and_nobody_else() {
    let (it, _service) = prepared();
    it.add(&seed(&[("INPUT", "ACCEPT"), ("OUTPUT", "ACCEPT")]));
    expect(&[(web(&it, 80, "192.0.2.7"), Reached), (web(&it, 443, "192.0.2.7"), Reached)]);
    // while it runs
    it.container().sh("ipset add blacklistweb 192.0.2.7");
    expect(&[
        (web(&it, 80, "192.0.2.7"), Refused),
        (web(&it, 443, "192.0.2.7"), Refused),
        // the netmask is 24
        (web(&it, 80, "192.0.2.8"), Refused),
        (web(&it, 80, "198.51.100.7"), Reached),
        (web(&it, 443, "10.9.0.1"), Reached),
        // no other port, no other family
        (web(&it, 8080, "192.0.2.7"), Reached),
        (web(&it, 8443, "192.0.2.7"), Reached),
        (web(&it, 8888, "192.0.2.7"), Reached),
        (Attempt::udp(it.host(), "10.9.0.2:80").source("192.0.2.7:0"), Reached),
        (Attempt::ping(it.host(), "10.9.0.2").source("192.0.2.7:0"), Reached),
        (Attempt::tcp(it.host(), "[fd09::2]:80"), Reached),
    ]);
    it.container().sh("ipset del blacklistweb 192.0.2.8");
    expect(&[(web(&it, 80, "192.0.2.7"), Reached)]);
}

#[test]
fn a_closed_input_drops_the_rest() {
    let (it, _service) = prepared();
    it.add(&seed(&[("OUTPUT", "ACCEPT")]));
    it.container().sh("ipset add blacklistweb 192.0.2.7");
    expect(&[
        (web(&it, 80, "192.0.2.7"), Refused),
        (web(&it, 80, "198.51.100.7"), Silent),
        (web(&it, 8080, "192.0.2.7"), Reached),
        (web(&it, 8443, "198.51.100.7"), Reached),
        (web(&it, 8888, "192.0.2.7"), Silent),
        (Attempt::ping(it.host(), "10.9.0.2"), Reached),
        (Attempt::tcp(it.host(), "[fd09::2]:80"), Silent),
    ]);
}

/// Without rules for the answers nothing gets out, not even a reset.
#[test]
fn a_closed_output_too_leaves_the_pings() {
    let (it, _service) = prepared();
    it.add(&seed(&[]));
    it.container().sh("ipset add blacklistweb 192.0.2.7");
    expect(&[
        (web(&it, 80, "192.0.2.7"), Silent),
        (web(&it, 80, "198.51.100.7"), Silent),
        (web(&it, 8080, "198.51.100.7"), Silent),
        (Attempt::ping(it.host(), "10.9.0.2"), Reached),
        (Attempt::ping(it.container(), "10.9.0.1"), Reached),
        (Attempt::tcp(it.container(), "10.9.0.1:5051"), Silent),
    ]);
}
