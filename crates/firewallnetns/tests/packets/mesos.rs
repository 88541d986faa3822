//! What the seed needs under Mesos: an executor and its agent, a health check, and one host that talks to ipsetd.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::Duration;

use fwn_testkit::probe::Outcome::{Reached, Silent};
use fwn_testkit::probe::{Attempt, expect};
use fwn_testkit::service::Service;
use serde_json::{Value, json};

use crate::fixture::{Fixture, append, half_open};

const AGENT: (&str, &str) = ("MESOS_AGENT_ENDPOINT", "192.168.10.114:5051");

#[test]
fn mesos_executor() {
    let it = Fixture::new();
    let (host, container) = (it.host(), it.container());
    it.host_addresses(&["192.168.10.114/32", "192.168.10.115/32"]);
    let _services = [
        // not 192.168.10.115:5051: a connection will come from there
        Service::start(
            host,
            &["192.168.10.114:5051", "192.168.10.114:5052", "10.9.0.1:5051", "[fd09::1]:5051"],
        ),
        Service::start(container, &["[::]:9000"]),
    ];
    let executor = Attempt::tcp(container, "192.168.10.114:5051");
    it.add_in(&[AGENT], &json!({ "fwFiles": ["default-policy", "allow-nd"] }));
    expect(&[(executor, Silent)]);
    for rules in half_open() {
        let presets = ["default-policy", "allow-nd", "mesos-executor"];
        it.add_in(&[AGENT], &json!({ "fwFiles": presets, "rules": rules }));
        expect(&[
            (executor, Reached),
            // another port of the agent, other machines, another protocol, the other family
            (Attempt::tcp(container, "192.168.10.114:5052"), Silent),
            (Attempt::tcp(container, "192.168.10.115:5051"), Silent),
            (Attempt::tcp(container, "10.9.0.1:5051"), Silent),
            (Attempt::udp(container, "192.168.10.114:5051"), Silent),
            (Attempt::tcp(container, "[fd09::1]:5051"), Silent),
            // inwards it is the agent's own port or nothing
            (Attempt::tcp(host, "10.9.0.2:9000").source("192.168.10.114:0"), Silent),
            (Attempt::tcp(host, "10.9.0.2:9000").source("192.168.10.115:5051"), Silent),
            (Attempt::tcp(host, "[fd09::2]:9000"), Silent),
        ]);
    }
}

/// "No kill ack received": an executor hears of the kill on the connection that it holds, and acknowledges it on
/// another.
#[test]
fn a_kill_is_acknowledged() {
    let it = Fixture::new();
    it.host_addresses(&["192.168.10.114/32"]);
    let agent = it.host().run(|| TcpListener::bind("192.168.10.114:5051")).expect("the port is free");
    it.add_in(&[AGENT], &json!({ "fwFiles": ["default-policy", "mesos-executor"] }));
    let dial = || it.container().run(|| connect_within("192.168.10.114:5051"));
    let accept = || {
        let (stream, _) = agent.accept().expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a time");
        stream
    };
    let mut events = dial();
    let mut subscription = accept();
    subscription.write_all(b"KILL").expect("sent");
    let mut kill = [0; 4];
    events.read_exact(&mut kill).expect("the kill arrives");
    assert_eq!(&kill, b"KILL");

    let mut update = dial();
    update.write_all(b"TASK_KILLED").expect("sent");
    update.shutdown(Shutdown::Write).expect("closed");
    let mut received = String::new();
    accept().read_to_string(&mut received).expect("the update arrives");
    assert_eq!(received, "TASK_KILLED");
}

fn connect_within(address: &str) -> TcpStream {
    let address = address.parse().expect("an address");
    let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5)).expect("the agent answers");
    stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a time");
    stream
}

/// The whole task of the seed: all policies DROP, a port, a health check, an executor, an administrator of ipsetd.
#[test]
fn the_task_of_the_seed_is_healthy() {
    let it = Fixture::new();
    let (host, container) = (it.host(), it.container());
    it.host_addresses(&["192.168.10.114/32", "192.168.122.22/32"]);
    let _services = [
        Service::start(host, &["[::]:5051"]),
        Service::start(container, &["[::]:8899", "[::]:9378", "[::]:9999"]),
    ];
    it.add_in(
        &[AGENT],
        &json!({
            "fwFiles": ["default-policy", "mesos-executor", "mesos-health-check", "ipsetd-admin"],
            "vars": { "IPSETD_ADMIN": "192.168.122.22/32", "IPSET_PORT": 9378 },
            "runtimeConfig": { "portMappings": [ { "containerPort": 8899, "hostPort": 8899, "protocol": "tcp" } ] },
            "rules": [
                append("INPUT", "-p tcp --dport $PORT0 -j ACCEPT"),
                append("OUTPUT", "-p tcp --sport $PORT0 -j ACCEPT"),
            ],
        }),
    );
    expect(&[
        (Attempt::tcp(host, "10.9.0.2:8899"), Reached),
        (Attempt::tcp(container, "127.0.0.1:8899"), Reached),
        (Attempt::tcp(container, "192.168.10.114:5051"), Reached),
        (Attempt::tcp(host, "10.9.0.2:9378").source("192.168.122.22:0"), Reached),
        (Attempt::tcp(host, "10.9.0.2:9378"), Silent),
        (Attempt::tcp(host, "10.9.0.2:9999").source("192.168.122.22:0"), Silent),
        (Attempt::ping(host, "10.9.0.2"), Silent),
    ]);
}

#[test]
fn ipsetd_admin() {
    let it = Fixture::new();
    let (host, container) = (it.host(), it.container());
    it.host_addresses(&["192.168.122.22/32", "192.168.122.23/32", "fd22::22/128"]);
    let _services =
        [Service::start(host, &["[::]:9999"]), Service::start(container, &["[::]:9999", "[::]:9378"])];
    let admin = Attempt::tcp(host, "10.9.0.2:9999").source("192.168.122.22:0");
    let conf = |presets: &[&str], admin: &str, rules: &[Value]| json!({ "fwFiles": presets, "vars": { "IPSETD_ADMIN": admin }, "rules": rules });
    let without = ["default-policy", "allow-nd"];
    let with = ["default-policy", "allow-nd", "ipsetd-admin"];
    it.add(&conf(&without, "192.168.122.22", &[]));
    expect(&[(admin, Silent)]);
    for rules in half_open() {
        it.add(&conf(&with, "192.168.122.22", &rules));
        expect(&[
            (admin, Reached),
            (Attempt::tcp(host, "10.9.0.2:9999").source("192.168.122.23:0"), Silent),
            (Attempt::tcp(host, "10.9.0.2:9999"), Silent),
            (Attempt::tcp(host, "10.9.0.2:9378").source("192.168.122.22:0"), Silent),
            (Attempt::udp(host, "10.9.0.2:9999").source("192.168.122.22:0"), Silent),
            (Attempt::tcp(host, "[fd09::2]:9999").source("[fd22::22]:0"), Silent),
            // the container does not talk back on its own
            (Attempt::tcp(container, "192.168.122.22:9999"), Silent),
        ]);
    }
    it.add(&conf(&with, "fd22::22", &[]));
    expect(&[
        (Attempt::tcp(host, "[fd09::2]:9999").source("[fd22::22]:0"), Reached),
        (Attempt::tcp(host, "[fd09::2]:9999"), Silent),
        (admin, Silent),
    ]);
}
