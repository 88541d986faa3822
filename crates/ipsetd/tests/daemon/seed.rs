//! The original's flow: a firewall that the plugin made, all policies DROP, its two rules for ipsetd, real packets.

use fwn_testkit::Sandbox;
use fwn_testkit::plugin::{PluginCall, program};
use fwn_testkit::probe::{Attempt, Outcome, expect};
use fwn_testkit::service::Service;

use crate::kit::{Daemon, exchange};

fn firewall(sandbox: &Sandbox, folder: &std::path::Path) {
    let presets = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fw");
    let conf = format!(
        r#"{{
            "cniVersion": "1.0.0", "name": "seed", "type": "firewallnetns",
            "dataDir": "{presets}", "stateDir": "{folder}/state", "persistDir": "{folder}/persist",
            "fwFiles": ["default-policy", "ipsetd-admin"],
            "vars": {{ "IPSETD_ADMIN": "192.168.122.22/32", "IPSET_PORT": "9378" }},
            "ipsets": [ {{ "set": "blacklistsmtp", "hashtype": "hash:ip" }} ],
            "rules": [
                {{ "type": "A", "chain": "INPUT",
                   "rule": "-p tcp -m set --match-set blacklistsmtp src --dport 25 -j REJECT --reject-with tcp-reset" }},
                {{ "type": "A", "chain": "INPUT", "rule": "-p tcp --dport 25 -j ACCEPT" }},
                {{ "type": "A", "chain": "OUTPUT", "rule": "-p tcp --sport 25 -j ACCEPT" }}
            ],
            "prevResult": {{ "cniVersion": "1.0.0", "interfaces": [ {{ "name": "eth0", "sandbox": "x" }} ], "ips": [] }}
        }}"#,
        presets = presets.display(),
        folder = folder.display(),
    );
    PluginCall::new(sandbox, program("firewallnetns"), "ADD", conf).run().expect_success();
}

#[test]
fn the_allowed_host_changes_a_set_and_nobody_else_gets_through() {
    let (sandbox, folder) = (Sandbox::new(), tempfile::tempdir().expect("a folder"));
    sandbox.connect();
    sandbox.host.sh("ip addr add 192.168.122.22/32 dev host0; ip addr add 192.168.122.23/32 dev host0
         ip addr add 12.12.13.12/32 dev host0; ip addr add 12.12.13.13/32 dev host0");
    let _mail = Service::start(&sandbox.container, &["[::]:25"]);
    firewall(&sandbox, folder.path());
    // nothing else guards the port: the closed policy does
    let mut daemon = Daemon::start(&sandbox, &[("IPSET_PORT", "9378")], &[]);
    let mail = |source: &str| Attempt::tcp(&sandbox.host, "10.9.0.2:25").source(&format!("{source}:0"));
    expect(&[(mail("12.12.13.12"), Outcome::Reached), (mail("12.12.13.13"), Outcome::Reached)]);

    let add = "echo 'add blacklistsmtp 12.12.13.12' | ncat -s 192.168.122.22 10.9.0.2 9378";
    assert_eq!(sandbox.host.sh(add), "ok\n");
    sandbox.container.sh("ipset test blacklistsmtp 12.12.13.12");
    expect(&[
        (mail("12.12.13.12"), Outcome::Refused),
        (mail("12.12.13.13"), Outcome::Reached),
        // no connection comes about from anywhere else
        (Attempt::tcp(&sandbox.host, "10.9.0.2:9378").source("192.168.122.23:0"), Outcome::Silent),
        (Attempt::tcp(&sandbox.host, "10.9.0.2:9378").source("12.12.13.12:0"), Outcome::Silent),
        (Attempt::tcp(&sandbox.host, "[fd09::2]:9378"), Outcome::Silent),
    ]);
    assert_eq!(sandbox.host.sh(&add.replace("add ", "del ")), "ok\n");
    expect(&[(mail("12.12.13.12"), Outcome::Reached)]);

    // from inside, even where loopback is let through
    sandbox.container.sh("iptables -I INPUT -i lo -j ACCEPT; iptables -I OUTPUT -o lo -j ACCEPT");
    let answer = exchange(&sandbox.container, "10.9.0.2:9378", b"add blacklistsmtp 1.2.3.4\n");
    assert_eq!(
        answer,
        "error: `10.9.0.2` is an address of this network namespace, which may not edit its own firewall\n"
    );
    daemon.wait_for("refused: `10.9.0.2` is an address of this network namespace");
}
