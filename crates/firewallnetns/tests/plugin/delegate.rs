//! `delegate`: plugins that run before our own work. Here they are scripts that make a real interface, note how they
//! are called, and fail on demand.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use fwn_testkit::plugin::PluginCall;
use serde_json::{Value, json};

use crate::kit::{World, rule};

/// Makes an interface and answers as the version wants; `FAIL` in its configuration names a command to refuse.
const IFACE: &str = r#"
    case "$CNI_COMMAND" in
    ADD)
        nsenter --net="$CNI_NETNS" ip link add "$CNI_IFNAME" type bridge
        case "$stdin" in
        *'"cniVersion":"0.1.0"'* | *'"cniVersion":"0.2.0"'*) echo '{"ip4":{"ip":"10.5.0.7/24","gateway":"10.5.0.1"},"dns":{}}' ;;
        *) echo '{"interfaces":[{"name":"eth0","mac":"02:00:00:00:00:07","sandbox":"x"}],"ips":[{"version":"4","address":"10.5.0.7/24","gateway":"10.5.0.1","interface":0}],"theirs":1.50,"dns":{}}' ;;
        esac ;;
    DEL) [ -z "$CNI_NETNS" ] || nsenter --net="$CNI_NETNS" ip link del "$CNI_IFNAME" 2>/dev/null || true ;;
    esac"#;

/// Hands the result on.
const CHAINED: &str = r#"[ "$CNI_COMMAND" != ADD ] || echo "$stdin" | sed 's/.*"prevResult":\(.*\)}$/\1/'"#;

pub(crate) struct Delegating {
    pub(crate) world: World,
}

impl Delegating {
    pub(crate) fn new() -> Self {
        let it = Self { world: World::new() };
        fs::create_dir(it.world.path("bin")).expect("made");
        it.script("iface", IFACE);
        it.script("chained", CHAINED);
        it
    }

    /// A plugin in `CNI_PATH` that notes `NAME COMMAND NETNS STDIN`.
    pub(crate) fn script(&self, name: &str, body: &str) {
        let path = self.world.path(&format!("bin/{name}"));
        let calls = self.world.path("calls");
        let text = format!(
            "#!/bin/bash\nset -e\nstdin=$(cat)\necho \"{name} $CNI_COMMAND ${{CNI_NETNS:--}} $stdin\" >> {calls}
             case \"$stdin\" in *\"\\\"FAIL\\\":\\\"$CNI_COMMAND\\\"\"*)
                 echo '{{\"code\":120,\"msg\":\"not today\",\"details\":\"ask again\"}}'; exit 1;; esac\n{body}\n"
        );
        fs::write(&path, text).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("executable");
    }

    pub(crate) fn conf(&self, version: &str, delegate: &Value, more: &Value) -> Value {
        let mut conf = self.world.conf_of(version, more);
        let all = conf.as_object_mut().expect("an object");
        all.remove("prevResult");
        all.insert("delegate".into(), delegate.clone());
        conf
    }

    pub(crate) fn call(&self, command: &str, conf: &Value) -> PluginCall<'_> {
        self.world.call(command, conf).env("CNI_PATH", self.world.path("bin"))
    }

    pub(crate) fn run(&self, command: &str, conf: &Value) -> Value {
        let answer = self.call(command, conf).run();
        assert_eq!(answer.stderr, "", "{command} {conf}");
        answer.expect_success()
    }

    /// A call that must fail with this code and leave nothing; message and details.
    fn refused(&self, code: u64, call: &PluginCall<'_>) -> (String, String) {
        let said = self.world.refused(code, call);
        assert_eq!(self.links(), Vec::<String>::new());
        said
    }

    /// The calls since the last time, with netns and stdin.
    fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.world.path("calls")).unwrap_or_default();
        let _ = fs::remove_file(self.world.path("calls"));
        text.lines().map(str::to_owned).collect()
    }

    /// The same, only `NAME COMMAND`.
    fn called(&self) -> Vec<String> {
        self.calls().iter().map(|call| call.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect()
    }

    /// Interfaces of the container beside its loopback.
    fn links(&self) -> Vec<String> {
        let text = self.world.sandbox.container.sh("ip -o link show");
        let names = text.lines().filter_map(|line| line.split([':', '@']).nth(1)).map(str::trim);
        names.filter(|name| *name != "lo").map(str::to_owned).collect()
    }

    /// That nothing is left: no interface, no rule, no state.
    #[track_caller]
    pub(crate) fn assert_clean(&self) {
        assert_eq!((self.links(), self.world.state_files()), (vec![], vec![]));
        assert_eq!(self.world.sandbox.container.sh("iptables-save; ip6tables-save; ipset save"), "");
    }
}

/// Rules that need the delegate's result.
pub(crate) fn of_result() -> Value {
    json!({
        "policies": [{ "chain": "INPUT", "policy": "DROP" }],
        "rules": [
            rule("INPUT", "-s $RESULT_GATEWAY4 -j ACCEPT"),
            { "type": "A", "chain": "OUTPUT", "rule": "-s $IP -j ACCEPT", "forEach": "ips" },
        ],
    })
}

#[test]
fn its_result_is_ours_in_every_version() {
    let it = Delegating::new();
    for version in ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
        let conf = it.conf(version, &json!({ "type": "iface" }), &of_result());
        let result = it.run("ADD", &conf);
        let old = ["0.1.0", "0.2.0"].contains(&version);
        let expected = if old {
            json!({ "cniVersion": version, "ip4": { "ip": "10.5.0.7/24", "gateway": "10.5.0.1" }, "dns": {} })
        } else {
            json!({
                "cniVersion": version, "theirs": 1.50, "dns": {},
                "interfaces": [{ "name": "eth0", "mac": "02:00:00:00:00:07", "sandbox": "x" }],
                "ips": [{ "version": "4", "address": "10.5.0.7/24", "gateway": "10.5.0.1", "interface": 0 }],
            })
        };
        assert_eq!(result, expected, "{version}");
        assert_eq!(it.links(), ["eth0"]);
        let rules = it.world.sandbox.container.sh("iptables -S | grep -e -A");
        assert_eq!(rules, "-A INPUT -s 10.5.0.1/32 -j ACCEPT\n-A OUTPUT -s 10.5.0.7/32 -j ACCEPT\n");
        let mut called = vec!["iface ADD"];
        if ["0.4.0", "1.0.0", "1.1.0"].contains(&version) {
            let mut check = conf.clone();
            check["prevResult"] = result;
            it.run("CHECK", &check);
            called.push("iface CHECK");
        }
        it.run("DEL", &conf);
        called.push("iface DEL");
        let calls = it.calls();
        let names: Vec<_> =
            calls.iter().map(|call| call.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(names, called, "{version}");
        let told = calls.last().is_some_and(|call| call.contains("\"theirs\":1.50"));
        assert_eq!(told, called.len() == 3, "{version}: from 0.4.0 on DEL is told the result");
        it.assert_clean();
    }
}

/// The network of a runtime that speaks 0.2.0 alone, with plugins that are asked in a newer one.
#[test]
fn a_list_is_a_chain() {
    let it = Delegating::new();
    let list = json!([
        { "type": "iface", "cniVersion": "1.0.0" },
        { "type": "chained", "cniVersion": "1.0.0", "capabilities": { "mac": true } },
    ]);
    let more = json!({
        "runtimeConfig": { "mac": "x", "portMappings": [] },
        "args": { "cni": { "labels": { "a": "b" } } },
        "rules": [rule("INPUT", "-m mac --mac-source $RESULT_MAC -j DROP")],
    });
    let conf = it.conf("0.2.0", &list, &more);
    assert_eq!(
        it.run("ADD", &conf),
        json!({ "cniVersion": "0.2.0", "ip4": { "ip": "10.5.0.7/24", "gateway": "10.5.0.1" }, "dns": {}, "theirs": 1.50 })
    );
    assert!(it.world.sandbox.container.sh("iptables -S").to_lowercase().contains("02:00:00:00:00:07"));
    let calls = it.calls();
    let stdin = |call: &str| -> Value {
        serde_json::from_str(call.splitn(4, ' ').nth(3).expect("stdin")).expect("JSON")
    };
    let (first, second) = (stdin(&calls[0]), stdin(&calls[1]));
    assert_eq!(first["runtimeConfig"], json!({ "mac": "x", "portMappings": [] }));
    assert_eq!((&second["runtimeConfig"], &second["name"]), (&json!({ "mac": "x" }), &json!("net")));
    assert_eq!(second["args"], json!({ "cni": { "labels": { "a": "b" } } }));
    assert_eq!(second["prevResult"]["theirs"], json!(1.50));

    it.run("DEL", &conf);
    let calls = it.calls();
    assert!(calls[0].starts_with("chained DEL ") && calls[1].starts_with("iface DEL "), "{calls:?}");
    // the runtime keeps no results, but we do
    assert_eq!(stdin(&calls[1])["prevResult"]["theirs"], json!(1.50));
    it.assert_clean();
}

#[test]
fn one_that_fails_leaves_nothing() {
    let it = Delegating::new();
    let list = |delegates: Value| it.conf("1.0.0", &delegates, &of_result());
    let failing = json!({ "type": "chained", "FAIL": "ADD" });
    let error = it.refused(120, &it.call("ADD", &list(json!([{ "type": "iface" }, failing]))));
    assert_eq!(error, ("not today".to_owned(), "ask again".to_owned()), "handed on as they are");
    assert_eq!(it.called(), ["iface ADD", "chained ADD", "chained DEL", "iface DEL"]);
    it.assert_clean();
}

#[test]
fn what_can_be_wrong_with_one() {
    let it = Delegating::new();
    it.script("silent", "true");
    it.script("chatty", "[ $CNI_COMMAND != ADD ] || echo hello");
    it.script("future", r#"[ $CNI_COMMAND != ADD ] || echo '{"cniVersion":"9.0.0"}'"#);
    it.script("crash", "[ $CNI_COMMAND != ADD ] || { echo oops >&2; kill -9 $$; }");
    fs::write(it.world.path("bin/plain"), "#!/bin/sh\n").expect("written");
    for (name, code, message, called) in [
        ("missing", 102, "no executable file `missing` in `", false),
        ("plain", 102, "no executable file `plain` in `", false),
        ("../bin/iface", 7, "network configuration:1:", false),
        ("..", 7, "network configuration:1:", false),
        ("silent", 6, "delegate `silent`: result of a plugin cannot be read", true),
        ("chatty", 6, "delegate `chatty`: result of a plugin cannot be read", true),
        ("future", 1, "delegate `future`: result of a plugin: CNI version `9.0.0` is not supported", true),
        (
            "crash",
            102,
            "plugin `crash` failed (signal: 9 (SIGKILL)) without a CNI error; it printed `oops`",
            true,
        ),
    ] {
        let conf = it.conf("1.0.0", &json!([{ "type": "iface" }, { "type": name }]), &of_result());
        let (found, _) = it.refused(code, &it.call("ADD", &conf));
        assert!(found.starts_with(message), "{name}: {found}");
        let expected: &[String] =
            &["iface ADD", &format!("{name} ADD"), &format!("{name} DEL"), "iface DEL"].map(str::to_owned);
        assert_eq!(it.called(), if called { expected } else { &[] }, "{name}");
        it.assert_clean();
    }
    let conf = it.conf("1.0.0", &json!({ "type": "iface" }), &of_result());
    let (found, _) = it.refused(102, &it.call("ADD", &conf).without("CNI_PATH"));
    assert_eq!(found, "no executable file `iface` in CNI_PATH, which is empty");
}

#[test]
fn one_that_hangs_is_killed() {
    let it = Delegating::new();
    it.script("hangs", "[ $CNI_COMMAND != ADD ] || { sleep 600 & wait; }");
    let more = json!({ "delegateTimeout": 1 });
    let conf = it.conf("1.0.0", &json!([{ "type": "iface" }, { "type": "hangs" }]), &more);
    let started = Instant::now();
    let (found, _) = it.refused(103, &it.call("ADD", &conf));
    assert_eq!(found, "plugin `hangs` did not end within 1 s and was killed");
    assert!(started.elapsed() < Duration::from_secs(60));
    assert_eq!(it.called(), ["iface ADD", "hangs ADD", "hangs DEL", "iface DEL"]);
    it.assert_clean();
}

/// What needs no result is judged before anything is made.
#[test]
fn a_wrong_configuration_costs_no_interface() {
    let it = Delegating::new();
    let delegate = json!({ "type": "iface" });
    for (more, code, message) in [
        (json!({ "rulse": [] }), 7, "network configuration:1:"),
        (json!({ "rules": [rule("INPUT", "-j NOWHERE")] }), 7, "network configuration:1:"),
        (json!({ "fwFiles": ["missing"] }), 7, "network configuration:1:"),
        (
            json!({ "rules": [rule("INPUT", "-m set --match-set none src -j DROP")] }),
            7,
            "network configuration:1:",
        ),
        (
            json!({ "engine": "native", "rules": [rule("INPUT", "-m bpf --bytecode 1,6,0,0,0 -j DROP")] }),
            7,
            "network configuration:1:",
        ),
        (
            json!({ "rules": [rule("INPUT", "-s nowhere.invalid -j DROP")], "names": { "servers": ["127.0.0.1:9"], "timeout": 1 } }),
            11,
            "network configuration:1:",
        ),
        // beside what has to wait
        (
            json!({ "rules": [rule("INPUT", "-s $RESULT_IP4 -j ACCEPT"), rule("INPUT", "-s $OTHER -j ACCEPT")] }),
            7,
            "network configuration:1:",
        ),
        (json!({ "fwFiles": ["for-$RESULT_IP4", "missing"] }), 7, "network configuration:1:"),
    ] {
        let (found, _) = it.refused(code, &it.call("ADD", &it.conf("1.0.0", &delegate, &more)));
        assert!(found.starts_with(message), "{more}: {found}");
        assert_eq!(it.called(), Vec::<String>::new(), "{more}: {found}");
        it.assert_clean();
    }
}

#[test]
fn what_waits_for_the_result_is_no_error_before_it() {
    let it = Delegating::new();
    it.world.file("for-10.5.0.7.fw", json!({ "rules": [rule("late", "-j DROP")] }).to_string());
    let more = json!({
        "fwFiles": ["for-$RESULT_IP4"],
        "chains": [{ "chain": "late" }, { "chain": "n${RESULT_IP4##*.}" }],
        "ipsets": [{ "set": "own", "hashtype": "hash:ip", "entries": ["$RESULT_IP4", "192.0.2.1"] }],
        "policies": [{ "chain": "INPUT", "policy": "${RESULT_IP4:+DROP}" }],
        "rules": [
            rule("INPUT", "-j n7"),
            rule("INPUT", "-s ${RESULT_GATEWAY4:?no gateway} -m set --match-set own dst -j ACCEPT"),
        ],
    });
    let conf = it.conf("1.0.0", &json!({ "type": "iface" }), &more);
    it.run("ADD", &conf);
    let rules = it.world.sandbox.container.sh("iptables -S; ipset save");
    for line in ["-P INPUT DROP", "-A INPUT -j n7", "-A late -j DROP", "add own 10.5.0.7"] {
        assert!(rules.lines().any(|found| found == line), "{line}: {rules}");
    }
    it.run("DEL", &conf);
    it.assert_clean();
}

/// What only the result, or only the kernel, shows to be wrong.
#[test]
fn a_firewall_that_fails_undoes_its_delegates() {
    let it = Delegating::new();
    for more in [
        json!({ "rules": [rule("INPUT", "-s $RESULT_IP6 -j ACCEPT")] }),
        json!({ "rules": [rule("INPUT", "-s ${RESULT_IP4}.5 -j ACCEPT")] }),
        json!({ "fwFiles": ["for-$RESULT_IP4"] }),
        // the state cannot be written
        json!({ "stateDir": "/proc/none", "rules": [rule("INPUT", "-j ACCEPT")] }),
    ] {
        let conf = it.conf("1.0.0", &json!([{ "type": "iface" }, { "type": "chained" }]), &more);
        it.call("ADD", &conf).run().expect_error();
        if !more.to_string().contains("stateDir") {
            assert_eq!(it.called(), ["iface ADD", "chained ADD", "chained DEL", "iface DEL"], "{more}");
        }
        it.assert_clean();
    }
    it.calls();
    // where that fails too, both are told
    let failing = json!({ "type": "iface", "FAIL": "DEL" });
    let conf = it.conf("1.0.0", &failing, &json!({ "rules": [rule("INPUT", "-s $RESULT_IP6 -j ACCEPT")] }));
    let (code, message, details) = it.call("ADD", &conf).run().expect_error();
    assert_eq!(code, 7, "{message}");
    assert!(
        details.contains("RESULT_IP6") && details.ends_with("; undoing it failed too: not today: ask again"),
        "{details}"
    );
}

#[test]
fn in_a_list_of_plugins_it_is_refused() {
    let it = Delegating::new();
    let mut conf = it.conf("1.0.0", &json!({ "type": "iface" }), &of_result());
    conf["prevResult"] = json!({ "cniVersion": "1.0.0", "ips": [] });
    let (message, details) = it.refused(7, &it.call("ADD", &conf));
    assert!(
        message.starts_with("`delegate` is for runtimes that cannot chain, but a plugin ran before"),
        "{message}"
    );
    assert!(details.contains("into the list `plugins` of network `net` before this one"), "{details}");

    let conf = it.conf("1.0.0", &json!({ "type": "firewallnetns" }), &of_result());
    let (message, _) = it.refused(7, &it.call("ADD", &conf));
    assert!(message.contains("delegate.type: `firewallnetns` cannot delegate to itself"), "{message}");
    assert_eq!(it.called(), Vec::<String>::new());
}

/// It would be the host's interface.
#[test]
fn the_namespace_is_looked_at_before_it_runs() {
    let it = Delegating::new();
    let conf = it.conf("1.0.0", &json!({ "type": "iface" }), &of_result());
    let own = it.world.sandbox.host.path().display().to_string();
    for command in ["ADD", "CHECK", "DEL"] {
        let mut conf = conf.clone();
        if command == "CHECK" {
            conf["prevResult"] = json!({ "cniVersion": "1.0.0" });
        }
        let (message, _) = it.refused(8, &it.call(command, &conf).env("CNI_NETNS", &own));
        assert!(message.contains("the host's firewall is never touched"), "{command}: {message}");
    }
    let (_, message, _) = it.call("ADD", &conf).env("CNI_NETNS", it.world.path("gone")).run().expect_error();
    assert!(message.contains("does not exist"), "{message}");
    assert_eq!(it.called(), Vec::<String>::new());
}

#[test]
fn a_second_add_does_not_harm_the_first() {
    let it = Delegating::new();
    let conf = it.conf("1.0.0", &json!({ "type": "iface" }), &of_result());
    it.run("ADD", &conf);
    it.calls();
    let before = it.world.container();
    let (code, message, details) = it.call("ADD", &conf).run().expect_error();
    assert_eq!(code, 4);
    assert!(message.starts_with("an ADD of `net/c1/eth0` is in force in `"), "{message}");
    assert_eq!(details, "with `delegate` a DEL has to come before another ADD");
    assert_eq!((it.called().len(), it.links().len(), it.world.container()), (0, 1, before));
    it.run("DEL", &conf);
    it.assert_clean();
}

/// Whatever has become of state and configuration, the interface goes and the addresses are given back.
#[test]
fn del_finds_its_delegates() {
    type Harm<'a> = &'a dyn Fn(&World);
    let it = Delegating::new();
    let list = json!([{ "type": "iface" }, { "type": "chained" }]);
    let conf = it.conf("1.0.0", &list, &of_result());
    let edited = it.conf("1.0.0", &list, &json!({ "rulse": [] }));
    let without = it.world.conf(&json!({}));
    let lose = |world: &World| fs::remove_file(world.state_file()).expect("removed");
    let damage = |world: &World| fs::write(world.state_file(), "{").expect("written");
    let nothing = |_: &World| {};
    let cases: [(&str, &Value, Harm<'_>); 6] = [
        ("as it was", &conf, &nothing),
        ("state lost", &conf, &lose),
        ("state damaged", &conf, &damage),
        ("configuration wrong", &edited, &nothing),
        ("configuration wrong, state lost", &edited, &lose),
        ("delegates taken out of the configuration", &without, &nothing),
    ];
    for (what, del, harm) in cases {
        it.run("ADD", &conf);
        it.calls();
        harm(&it.world);
        it.call("DEL", del).run().expect_success();
        assert_eq!(it.called(), ["chained DEL", "iface DEL"], "{what}");
        it.assert_clean();
        // and once more
        it.call("DEL", &conf).run().expect_success();
        assert_eq!(it.called(), ["chained DEL", "iface DEL"], "{what}");
    }
}

#[test]
fn del_without_a_namespace_gives_back_what_is_outside_of_it() {
    let it = Delegating::new();
    let conf = it.conf("1.0.0", &json!({ "type": "iface" }), &of_result());
    let gone = it.world.path("gone");
    for (netns, told) in [("", "-"), (gone.as_str(), gone.as_str())] {
        // without a firewall there is a state all the same
        let conf = it.conf("1.0.0", &json!({ "type": "iface" }), &json!({ "logLevel": "error" }));
        it.run("ADD", &conf);
        it.calls();
        if netns.is_empty() {
            it.call("DEL", &conf).env("CNI_NETNS", netns).run().expect_success();
            let calls = it.calls();
            assert!(calls[0].starts_with(&format!("iface DEL {told} ")), "{calls:?}");
            assert!(calls[0].contains("\"theirs\":1.50"), "{calls:?}");
            it.world.sandbox.container.sh("ip link del eth0");
        } else {
            // in another namespace it is in use: a late DEL is not for it
            it.call("DEL", &conf).env("CNI_NETNS", netns).run().expect_success();
            assert_eq!(it.called(), Vec::<String>::new());
            it.run("DEL", &conf);
            it.calls();
        }
        it.assert_clean();
    }
    it.call("DEL", &conf).env("CNI_NETNS", &gone).run().expect_success();
    let calls = it.calls();
    assert!(calls[0].starts_with(&format!("iface DEL {gone} ")), "{calls:?}");
}

#[test]
fn a_del_that_fails_can_be_tried_again() {
    let it = Delegating::new();
    let conf = it.conf(
        "0.2.0",
        &json!([{ "type": "iface", "cniVersion": "1.0.0" }, { "type": "breaks" }]),
        &of_result(),
    );
    it.script(
        "breaks",
        &format!(
            "{CHAINED}\n[ $CNI_COMMAND != DEL ] || {{ echo '{{\"code\":121,\"msg\":\"stuck\"}}'; exit 1; }}"
        ),
    );
    it.run("ADD", &conf);
    it.calls();
    let (code, message, _) = it.call("DEL", &conf).run().expect_error();
    assert_eq!((code, message.as_str()), (121, "stuck"));
    // the rest was done
    assert_eq!(it.called(), ["breaks DEL", "iface DEL"]);
    assert_eq!(it.links(), Vec::<String>::new());
    assert_eq!(it.world.sandbox.container.sh("iptables-save; ip6tables-save; ipset save"), "");

    it.script("breaks", "");
    it.run("DEL", &conf);
    let calls = it.calls();
    assert!(calls[1].starts_with("iface DEL ") && calls[1].contains("\"theirs\":1.5"), "{calls:?}");
    it.assert_clean();
}

#[test]
fn check_gc_and_status_are_handed_on() {
    let it = Delegating::new();
    let delegate = json!([{ "type": "iface" }, { "type": "chained", "FAIL": "CHECK" }, { "type": "chained", "cniVersion": "1.0.0", "FAIL": "GC" }]);
    let conf = it.conf("1.1.0", &delegate, &of_result());
    let result = it.run("ADD", &conf);
    it.calls();
    let mut check = conf.clone();
    check["prevResult"] = result;
    let (code, message, details) = it.call("CHECK", &check).run().expect_error();
    assert_eq!((code, message.as_str(), details.as_str()), (120, "not today", "ask again"));
    assert_eq!(it.called(), ["iface CHECK", "chained CHECK"]);

    let without_attachment = |command: &str, conf: &Value| {
        let call = it.call(command, conf);
        ["CNI_CONTAINERID", "CNI_IFNAME", "CNI_NETNS"].iter().fold(call, |call, name| call.without(name))
    };
    without_attachment("STATUS", &conf).run().expect_success();
    assert_eq!(it.called(), ["iface STATUS", "chained STATUS"], "1.0.0 has none");
    let missing = it.conf("1.1.0", &json!({ "type": "missing" }), &of_result());
    let (code, message, _) = without_attachment("STATUS", &missing).run().expect_error();
    assert_eq!((code, message.contains("no executable file `missing`")), (50, true), "{message}");

    let mut gc = conf.clone();
    gc["cni.dev/valid-attachments"] = json!([{ "containerID": "c1", "ifname": "eth0" }]);
    without_attachment("GC", &gc).run().expect_success();
    assert_eq!((it.called(), it.links().len()), (vec!["iface GC".to_owned(), "chained GC".to_owned()], 1));
    gc["cni.dev/valid-attachments"] = json!([]);
    without_attachment("GC", &gc).run().expect_success();
    assert_eq!(it.called(), ["chained DEL", "chained DEL", "iface DEL", "iface GC", "chained GC"]);
    it.assert_clean();
}
