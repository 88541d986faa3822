//! `slow-brute-force`: who tries too often waits, and nobody else.

use std::time::{Duration, Instant};

use fwn_testkit::probe::Outcome::{Reached, Silent};
use fwn_testkit::probe::{Attempt, expect};
use fwn_testkit::service::Service;
use serde_json::{Value, json};

use crate::fixture::{Fixture, append};

/// Closed, but for TCP to some ports, which `slow-brute-force` may watch first.
fn guarded(presets: &[&str], vars: &Value) -> Value {
    let presets: Vec<_> = ["default-policy", "allow-nd"].iter().chain(presets).collect();
    json!({
        "fwFiles": presets,
        "policies": [ { "chain": "OUTPUT", "policy": "ACCEPT" } ],
        "vars": vars,
        "rules": [append("INPUT", "-p tcp -m multiport --dports 22,2222 -j ACCEPT")],
    })
}

fn prepared() -> (Fixture, Service) {
    let it = Fixture::new();
    it.host_addresses(&["10.9.0.3/24", "fd09::3/64", "fd88::1/64"]);
    let service = Service::start(it.container(), &["[::]:22", "[::]:2222"]);
    (it, service)
}

/// One attempt in each family.
fn tries(it: &Fixture, port: u16) -> [Attempt<'_>; 2] {
    [
        Attempt::tcp(it.host(), &format!("10.9.0.2:{port}")).source("10.9.0.1:0"),
        Attempt::tcp(it.host(), &format!("[fd09::2]:{port}")).source("[fd09::1]:0"),
    ]
}

#[test]
fn too_many_tries_are_dropped_and_no_one_elses() {
    let (it, _service) = prepared();
    // long enough to pass only after this test
    let vars = json!({ "BRUTE_PORT": 2222, "BRUTE_HITS": 3, "BRUTE_SECONDS": 600 });
    it.add(&guarded(&[], &vars));
    for _ in 0..5 {
        expect(&tries(&it, 2222).map(|attempt| (attempt, Reached)));
    }
    it.add(&guarded(&["slow-brute-force"], &vars));
    // other ports do not count
    for _ in 0..5 {
        expect(&tries(&it, 22).map(|attempt| (attempt, Reached)));
    }
    for _ in 0..3 {
        expect(&tries(&it, 2222).map(|attempt| (attempt, Reached)));
    }
    let [ipv4, ipv6] = tries(&it, 2222);
    expect(&[
        (ipv4, Silent),
        (ipv6, Silent),
        // the same network of 64 bits
        (ipv6.source("[fd09::3]:0"), Silent),
        (ipv4.source("10.9.0.3:0"), Reached),
        (ipv6.source("[fd88::1]:0"), Reached),
    ]);
    expect(&tries(&it, 22).map(|attempt| (attempt, Reached)));
}

#[test]
fn who_waits_gets_in_again() {
    let (it, _service) = prepared();
    let vars = json!({ "BRUTE_PORT": 2222, "BRUTE_HITS": 5, "BRUTE_SECONDS": 2 });
    it.add(&guarded(&["slow-brute-force"], &vars));
    for _ in 0..5 {
        expect(&tries(&it, 2222).map(|attempt| (attempt, Reached)));
    }
    expect(&tries(&it, 2222).map(|attempt| (attempt, Silent)));
    // two tries a second are four in two seconds, which is not too many: so the first ones only have to grow old
    let end = Instant::now() + Duration::from_secs(20);
    for attempt in tries(&it, 2222) {
        while attempt.make(Duration::from_millis(500)) != Reached {
            assert!(Instant::now() < end, "{attempt} stays closed");
        }
    }
}

/// As shipped: four tries a minute at port 22.
#[test]
fn slow_brute_force_by_default() {
    let (it, _service) = prepared();
    it.add(&guarded(&["slow-brute-force"], &json!({})));
    for _ in 0..4 {
        expect(&tries(&it, 22).map(|attempt| (attempt, Reached)));
    }
    expect(&tries(&it, 22).map(|attempt| (attempt, Silent)));
    it.add(&guarded(&[], &json!({})));
    expect(&tries(&it, 22).map(|attempt| (attempt, Reached)));
}
