//! ADD: what is there afterwards, what the result says, and that packets flow.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use serde_json::{Value, json};

use crate::world::{World, both_families, conf, ipv4_only};

#[test]
fn every_version_gets_its_form_of_result() {
    let world = World::new();
    let sandbox = json!(world.sandbox.container.path());
    for version in ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0"] {
        let conf = conf(version, &json!({ "ipam": world.host_local() }));
        let result = world.call("ADD", &conf).ok().json();
        assert_eq!(result["cniVersion"], version);
        let link = world.ip("link show eth0")[0].clone();
        let address = match version {
            "0.1.0" | "0.2.0" => {
                assert_eq!(result["ip4"]["gateway"], "10.5.0.1");
                assert_eq!(result["ip4"]["routes"], json!([{ "dst": "0.0.0.0/0" }]));
                result["ip4"]["ip"].clone()
            }
            _ => {
                assert_eq!(
                    result["interfaces"],
                    json!([{ "name": "eth0", "mac": link["address"], "sandbox": sandbox }])
                );
                let family = if version == "1.0.0" { Value::Null } else { json!("4") };
                let ip = &result["ips"][0];
                assert_eq!(
                    (&ip["interface"], &ip["version"], &ip["gateway"]),
                    (&json!(0), &family, &json!("10.5.0.1"))
                );
                assert_eq!(result["routes"], json!([{ "dst": "0.0.0.0/0" }]));
                ip["address"].clone()
            }
        };
        assert_eq!(json!(format!("{}/24", world.leases().join(" "))), address);
        let seen = world.ip("-4 addr show eth0")[0]["addr_info"][0].clone();
        assert_eq!(
            json!(format!("{}/{}", seen["local"].as_str().expect("text"), seen["prefixlen"])),
            address
        );
        assert_eq!(world.ip("-4 route show default")[0]["gateway"], "10.5.0.1");
        assert_eq!(link["linkinfo"]["info_data"]["mode"], "bridge");

        assert_eq!(world.call("DEL", &conf).ok().stdout, "");
        assert_eq!((world.links(), world.leases()), (vec![], vec![]), "{version}");
    }
}

#[test]
fn the_newest_version_has_mtu_and_all_of_a_route() {
    let world = World::new();
    let ips = json!([{ "address": "10.5.0.30/24", "gateway": "10.5.0.1", "interface": 7 }]);
    let routes = json!([
        { "dst": "198.51.100.9/24", "mtu": 1300, "advmss": 1200, "priority": 50, "table": 100 },
        { "dst": "203.0.113.0/24", "gw": "10.5.0.2", "scope": 0 }
    ]);
    let assigned =
        json!({ "cniVersion": "1.1.0", "ips": ips, "routes": routes, "dns": { "domain": "ipam" } });
    world.fake_ipam(&assigned, &[]);
    let conf = conf("1.1.0", &json!({ "ipam": { "type": "fake" }, "mtu": 1400, "mode": "vepa" }));
    let result = world.call("ADD", &conf).ok().json();
    assert_eq!(result["interfaces"][0]["mtu"], 1400);
    assert_eq!(result["ips"], json!([{ "address": "10.5.0.30/24", "gateway": "10.5.0.1", "interface": 0 }]));
    assert_eq!((&result["routes"], &result["dns"]), (&routes, &json!({ "domain": "ipam" })));

    let link = world.ip("link show eth0")[0].clone();
    assert_eq!((&link["mtu"], &link["linkinfo"]["info_data"]["mode"]), (&json!(1400), &json!("vepa")));
    let route = world.ip("route show table 100")[0].clone();
    assert_eq!((&route["dst"], &route["gateway"]), (&json!("198.51.100.0/24"), &json!("10.5.0.1")));
    assert_eq!(
        (&route["metric"], &route["metrics"]),
        (&json!(50), &json!([{ "mtu": 1300, "advmss": 1200 }]))
    );
    assert_eq!(world.ip("route show 203.0.113.0/24")[0]["gateway"], "10.5.0.2");
    assert_eq!(world.fake_calls(), ["ADD"]);
}

#[test]
fn the_configured_dns_wins() {
    let world = World::new();
    let assigned = json!({ "ips": [{ "address": "10.5.0.30/24" }], "dns": { "domain": "ipam" } });
    world.fake_ipam(&assigned, &[]);
    let conf = conf("1.0.0", &json!({ "ipam": { "type": "fake" }, "dns": { "nameservers": ["10.5.0.1"] } }));
    assert_eq!(world.call("ADD", &conf).ok().json()["dns"], json!({ "nameservers": ["10.5.0.1"] }));
}

#[test]
fn both_families_reach_the_world() {
    let world = World::new();
    world.call("ADD", &conf("1.0.0", &both_families())).ok();
    for address in ["10.5.0.1", "fd05::1", "192.0.2.1", "2001:db8::1"] {
        world.sandbox.container.sh(&format!("ping -c 1 -W 5 {address}"));
    }
    let tentative = world.ip("addr show eth0 tentative");
    assert!(!tentative.to_string().contains("fd05::20"), "{tentative}");

    // a second one in the same container may have default routes too
    let mut second = conf("1.0.0", &both_families());
    second["ipam"]["addresses"][0]["address"] = json!("10.5.0.21/24");
    second["ipam"]["addresses"][1]["address"] = json!("fd05::21/64");
    world.call_with("ADD", &second, &[("CNI_IFNAME", "eth1")]).ok();
    assert_eq!(world.ip("-4 route show default").as_array().map(Vec::len), Some(2));
    world.call_with("DEL", &second, &[("CNI_IFNAME", "eth1")]).ok();
    world.sandbox.container.sh("ping -c 1 -W 5 192.0.2.1; ping -c 1 -W 5 2001:db8::1");
}

#[test]
fn the_mode_decides_who_sees_whom() {
    let world = World::new();
    let other = fwn_testkit::Netns::new();
    let netns = other.path();
    let variables = [("CNI_CONTAINERID", "c2"), ("CNI_NETNS", netns.to_str().expect("UTF-8"))];
    for (mode, sees) in [("bridge", true), ("private", false)] {
        let mut conf = conf("1.0.0", &ipv4_only());
        conf["mode"] = json!(mode);
        world.call("ADD", &conf).ok();
        conf["ipam"]["addresses"][0]["address"] = json!("10.5.0.21/24");
        world.call_with("ADD", &conf, &variables).ok();
        // outside answers first, so that a lost packet has no other reason
        for container in [&world.sandbox.container, &other] {
            container.sh("ping -c 1 -W 5 10.5.0.1");
        }
        let seen = world.sandbox.container.try_sh("ping -c 1 -W 1 10.5.0.21").status.success();
        assert_eq!(seen, sees, "{mode}");
        world.call("DEL", &conf).ok();
        world.call_with("DEL", &conf, &variables).ok();
    }
}

#[test]
fn the_default_route_gives_the_master() {
    let world = World::new();
    world.sandbox.host.sh("ip link add x0 type veth peer name x1; ip link set x0 up; ip link set x1 up");
    let mut conf = conf("1.0.0", &json!({}));
    conf.as_object_mut().expect("an object").remove("master");
    let error = world.call("ADD", &conf).error();
    assert_eq!(error, "7: no `master` is given and there is no default route to take it from");
    for (route, master) in [("ip -6 route add default dev x0", "x0"), ("ip route add default dev up0", "up0")]
    {
        world.sandbox.host.sh(route);
        let index = world.sandbox.host.sh(&format!("ip -j link show {master}"));
        let index: Value = serde_json::from_str(&index).expect("JSON");
        world.call("ADD", &conf).ok();
        assert_eq!(world.ip("link show eth0")[0]["link_index"], index[0]["ifindex"], "{master}");
        world.call("DEL", &conf).ok();
    }
}

#[test]
fn without_ipam_it_is_layer_2_only() {
    let world = World::new();
    let result = world.call("ADD", &conf("1.0.0", &json!({ "mac": "02:00:00:00:00:09" }))).ok().json();
    assert_eq!((result.get("ips"), result.get("routes")), (None, None));
    assert_eq!(result["interfaces"][0]["mac"], "02:00:00:00:00:09");
    let link = world.ip("link show eth0")[0].clone();
    assert_eq!(link["address"], "02:00:00:00:00:09");
    assert!(link["flags"].as_array().expect("flags").contains(&json!("UP")));
    assert_eq!(world.ip("-4 addr show eth0"), json!([]));
}

#[test]
fn the_runtime_gives_the_mac() {
    let world = World::new();
    let mut conf = conf("1.0.0", &ipv4_only());
    conf["mac"] = json!("02:00:00:00:00:01");
    let variables = [("CNI_ARGS", "IgnoreUnknown=1;MAC=02:00:00:00:00:02")];
    world.call_with("ADD", &conf, &variables).ok();
    assert_eq!(world.ip("link show eth0")[0]["address"], "02:00:00:00:00:02");
    world.call_with("DEL", &conf, &variables).ok();
    conf["runtimeConfig"] = json!({ "mac": "02:00:00:00:00:04" });
    let result = world.call_with("ADD", &conf, &variables).ok().json();
    assert_eq!(result["interfaces"][0]["mac"], "02:00:00:00:00:04");
    assert_eq!(world.ip("link show eth0")[0]["address"], "02:00:00:00:00:04");
}

#[test]
fn passthru_takes_the_masters_place() {
    let world = World::new();
    world.sandbox.host.sh("ip link set up0 address 02:00:00:00:00:77");
    let mut conf = conf("1.0.0", &ipv4_only());
    conf["mode"] = json!("passthru");
    let result = world.call("ADD", &conf).ok().json();
    assert_eq!(result["interfaces"][0]["mac"], "02:00:00:00:00:77");
    world.sandbox.container.sh("ping -c 1 -W 5 10.5.0.1");
}

#[test]
fn neighbours_hear_of_it_at_once() {
    let world = World::new();
    let mut arp = listen(&world, "arp and src host 10.5.0.20");
    let mut na = listen(&world, "icmp6 and ip6[40] == 136 and dst host ff02::1");
    world.call("ADD", &conf("1.0.0", &both_families())).ok();
    let mac = world.ip("link show eth0")[0]["address"].as_str().expect("text").to_owned();
    arp.wait_for(&["10.5.0.20", &mac]);
    na.wait_for(&["tgt is fd05::20", &mac]);
}

#[test]
fn ipv6_is_turned_on_where_it_is_wanted() {
    let world = World::new();
    world
        .sandbox
        .container
        .sh("sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1");
    world.call("ADD", &conf("1.0.0", &both_families())).ok();
    world.sandbox.container.sh("ping -c 1 -W 5 fd05::1");
    let of_host = world.sandbox.host.sh("cat /proc/sys/net/ipv6/conf/up0/keep_addr_on_down");
    assert_eq!(of_host, "0\n", "only the container's settings change");
}

#[test]
fn without_a_carrier_nothing_is_waited_for() {
    let world = World::new();
    world.outside.sh("ip link set out0 down");
    let answer = world.call("ADD", &conf("1.0.0", &both_families())).ok();
    assert!(answer.stderr.contains("interface `eth0` has no carrier"), "{answer:?}");
    assert_eq!(world.links(), ["eth0"]);
}

/// tcpdump on the machine outside.
struct Listener {
    child: Child,
    lines: Receiver<String>,
}

fn listen(world: &World, filter: &str) -> Listener {
    let mut child = world
        .outside
        .command("tcpdump")
        .args(["-e", "-n", "-v", "-l", "--immediate-mode", "-i", "out0", filter])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("tcpdump runs");
    let mut said = BufReader::new(child.stderr.take().expect("piped")).lines();
    assert!(said.any(|line| line.is_ok_and(|line| line.contains("listening on"))), "tcpdump listens");
    // keeps reading, or tcpdump would get a broken pipe
    std::thread::spawn(move || said.for_each(drop));
    let heard = BufReader::new(child.stdout.take().expect("piped")).lines();
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || heard.map_while(Result::ok).try_for_each(|line| sender.send(line)));
    Listener { child, lines }
}

impl Listener {
    /// Reads until all `words` were seen.
    fn wait_for(&mut self, words: &[&str]) {
        let mut missing = words.to_vec();
        while !missing.is_empty() {
            let line = self.lines.recv_timeout(Duration::from_secs(20));
            let line = line.unwrap_or_else(|_| panic!("nothing was heard of {missing:?}"));
            missing.retain(|word| !line.contains(word));
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
