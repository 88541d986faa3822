//! `slow-brute-force`: who tries too often waits, and nobody else.

use std::time::{Duration, Instant};

use fwn_testkit::probe::Outcome::{Reached, Silent};
use fwn_testkit::probe::{Attempt, expect};
use fwn_testkit::service::Service;
use serde_json::json;

use crate::fixture::{Fixture, append};

#[test]
fn slow_brute_force() {
    let it = Fixture::new();
    let host = it.host();
    it.host_addresses(&["10.9.0.3/24", "fd09::3/64", "fd88::1/64"]);
    let _service = Service::start(it.container(), &["[::]:22", "[::]:2222", "[::]:80"]);
    let open = [append("INPUT", "-p tcp -m multiport --dports 22,2222,80 -j ACCEPT")];
    let conf = |presets: &[&str]| {
        json!({
            "fwFiles": presets,
            "policies": [ { "chain": "OUTPUT", "policy": "ACCEPT" } ],
            "vars": { "BRUTE_PORT": 2222, "BRUTE_HITS": 5, "BRUTE_SECONDS": 2 },
            "rules": open,
        })
    };
    let tries = [
        Attempt::tcp(host, "10.9.0.2:2222").source("10.9.0.1:0"),
        Attempt::tcp(host, "[fd09::2]:2222").source("[fd09::1]:0"),
    ];
    it.add(&conf(&["default-policy", "allow-nd"]));
    for _ in 0..7 {
        expect(&tries.map(|attempt| (attempt, Reached)));
    }
    it.add(&conf(&["default-policy", "allow-nd", "slow-brute-force"]));
    for _ in 0..5 {
        expect(&tries.map(|attempt| (attempt, Reached)));
    }
    expect(&[
        (tries[0], Silent),
        (tries[1], Silent),
        // IPv6: the same network of 64 bits
        (Attempt::tcp(host, "[fd09::2]:2222").source("[fd09::3]:0"), Silent),
        // others, and other ports
        (Attempt::tcp(host, "10.9.0.2:2222").source("10.9.0.3:0"), Reached),
        (Attempt::tcp(host, "[fd09::2]:2222").source("[fd88::1]:0"), Reached),
        (Attempt::tcp(host, "10.9.0.2:22"), Reached),
        (Attempt::tcp(host, "[fd09::2]:80"), Reached),
    ]);
    // the window passes: four tries in two seconds are not too many, and closed doors do not add to those before
    let end = Instant::now() + Duration::from_secs(20);
    for attempt in tries {
        while attempt.make(Duration::from_secs(1) / 2) != Reached {
            assert!(Instant::now() < end, "{attempt} stays closed");
        }
    }
}

/// As shipped: four tries a minute at port 22.
#[test]
fn slow_brute_force_by_default() {
    let it = Fixture::new();
    let _service = Service::start(it.container(), &["[::]:22"]);
    it.add_presets(&["slow-brute-force"]);
    let tries = [Attempt::tcp(it.host(), "10.9.0.2:22"), Attempt::tcp(it.host(), "[fd09::2]:22")];
    for _ in 0..4 {
        expect(&tries.map(|attempt| (attempt, Reached)));
    }
    expect(&tries.map(|attempt| (attempt, Silent)));
    it.add_presets(&[]);
    expect(&tries.map(|attempt| (attempt, Reached)));
}
