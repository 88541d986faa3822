//! Where values come from, and where they never go.

use std::fs;

use serde_json::{Value, json};

use crate::kit::{World, full, one_json, rule};

/// The comments of the rules in force, in order.
fn comments(world: &World) -> Vec<String> {
    let rules = world.sandbox.container.sh("iptables -S INPUT");
    let comment = |line: &str| {
        let (_, rest) = line.split_once("--comment ")?;
        Some(rest.split(" -j").next().unwrap_or(rest).trim_matches('"').to_owned())
    };
    rules.lines().filter_map(comment).collect()
}

#[test]
fn every_source() {
    let world = World::new();
    world.file(
        "env",
        "# comment\nFROM_FILE='of the file'\nFROM_VARS=hidden\nFROM_ENV=hidden\nTWICE=1\nTWICE=2\n",
    );
    fs::write(world.path("absolute"), "FROM_ABSOLUTE=absolute\n").expect("written");
    let words = [
        ("$FROM_VARS", "vars"),
        ("$NUMBER", "7"),
        ("$FROM_ENV", "environment"),
        ("$FROM_FILE", "of the file"),
        ("$FROM_ABSOLUTE", "absolute"),
        ("$TWICE", "2"),
        ("$CNI_IFNAME", "eth0"),
        ("$CNI_CONTAINERID", "c1"),
        ("$ARG_K8S_POD_NAME", "web"),
        ("$ARG_of_args", "yes"),
        ("$LABEL_app", "shop"),
        ("$LABEL_tier", "front"),
        ("$PORT0", "8080"),
        ("$PORT0_PROTO", "tcp"),
        ("$PORT0_HOST", "80"),
        ("$PORT1", "53"),
        ("$PORT1_PROTO", "udp"),
        ("$RESULT_IP4", "10.9.0.2"),
        ("$RESULT_IP6", "fd09::2"),
        ("$RESULT_GATEWAY4", "10.9.0.1"),
        ("$RESULT_MAC", "02:00:00:00:00:01"),
        ("$RESULT_IFNAME", "eth0"),
        ("${RESULT_GATEWAY6:-none}", "none"),
        ("${AGENT%%:*}", "192.0.2.7"),
        ("${AGENT##*:}", "5051"),
        ("\\$5", "$5"),
    ];
    let rules: Vec<_> = words
        .iter()
        .map(|(word, _)| rule("INPUT", &format!("-m comment --comment \"{word}\" -j ACCEPT")))
        .collect();
    let conf = world.conf(&json!({
        "vars": { "FROM_VARS": "vars", "NUMBER": 7 },
        "varFiles": ["env", world.path("absolute")],
        "args": { "cni": { "of_args": "yes", "labels": [{ "key": "app", "value": "shop" }] },
                  "org.apache.mesos": { "network_info": { "labels": { "labels": [{ "key": "tier", "value": "front" }] } } } },
        "runtimeConfig": { "portMappings": [
            { "hostPort": 80, "containerPort": 8080, "protocol": "tcp" }, { "hostPort": 53, "containerPort": 53, "protocol": "udp" },
        ] },
        "prevResult": { "cniVersion": "1.0.0",
            "interfaces": [{ "name": "eth0", "mac": "02:00:00:00:00:01", "sandbox": world.netns() }],
            "ips": [{ "address": "10.9.0.2/24", "gateway": "10.9.0.1", "interface": 0 }, { "address": "fd09::2/64", "interface": 0 }] },
        "rules": rules,
    }));
    let call = world.call("ADD", &conf).env("FROM_ENV", "environment").env("FROM_VARS", "hidden");
    let call = call
        .env("CNI_ARGS", "IgnoreUnknown=1;K8S_POD_NAME=web;FROM_VARS=hidden")
        .env("AGENT", "192.0.2.7:5051");
    call.run().expect_success();
    let expected: Vec<_> = words.iter().map(|(_, value)| (*value).to_owned()).collect();
    assert_eq!(comments(&world), expected);
}

/// What a tenant writes stays one value: it becomes no option, no further rule, and hides no other variable.
#[test]
fn values_stay_values() {
    let world = World::new();
    let conf = |value: &str| {
        world.conf(&json!({
            "args": { "cni": { "labels": [{ "key": "x", "value": value }, { "key": "CNI_IFNAME", "value": "evil" }] } },
            "rules": [rule("INPUT", "-i $CNI_IFNAME -m comment --comment $LABEL_x -j DROP")],
        }))
    };
    for value in ["-j ACCEPT", "!", "a b", "\"", "a\\", "$CNI_IFNAME", "`id`", ""] {
        world.run("ADD", &conf(value));
        let rules = world.sandbox.container.sh("iptables -S INPUT");
        assert_eq!(rules.lines().count(), 2, "{value}: {rules}");
        assert!(rules.contains("-i eth0 ") && rules.contains("-j DROP"), "{value}: {rules}");
    }
    for value in ["a\nb", "a\u{0}b"] {
        world.refused(7, &world.call("ADD", &conf(value)));
    }
}

#[test]
fn for_each_repeats() {
    let world = World::new();
    let conf = world.conf(&json!({
        "runtimeConfig": { "portMappings": [
            { "hostPort": 80, "containerPort": 8080, "protocol": "tcp" }, { "hostPort": 53, "containerPort": 53, "protocol": "UDP" },
            // as containerd's CRI plugin writes it
            { "HostPort": 81, "ContainerPort": 8081, "Protocol": "tcp", "HostIP": "" },
        ] },
        "rules": [
            { "type": "A", "chain": "INPUT", "rule": "-p $PROTO --dport $CONTAINER_PORT -j ACCEPT", "forEach": "portMappings" },
            { "type": "A", "chain": "OUTPUT", "rule": "-s $IP -j ACCEPT", "forEach": "ips" },
        ],
    }));
    world.run("ADD", &conf);
    assert_eq!(
        world.sandbox.container.sh("iptables -S | grep -e -A"),
        "-A INPUT -p tcp -m tcp --dport 8080 -j ACCEPT\n-A INPUT -p udp -m udp --dport 53 -j ACCEPT\n\
         -A INPUT -p tcp -m tcp --dport 8081 -j ACCEPT\n-A OUTPUT -s 10.9.0.2/32 -j ACCEPT\n"
    );
}

/// Not at any level. An error can show the word that is wrong, for who is to put it right; it never shows what was
/// only near it.
#[test]
fn values_are_never_logged() {
    let world = World::new();
    let secret = "s3cr3t-4711";
    let with = |more: &Value| {
        let mut conf = full();
        let all = conf.as_object_mut().expect("an object");
        all.insert("names".into(), json!({ "servers": ["127.0.0.1:9"], "timeout": 1 }));
        all.insert("logLevel".into(), json!("trace"));
        all.extend(more.as_object().expect("an object").clone());
        conf
    };
    world.file("secrets", format!("OF_FILE={secret}\n"));
    world.file("bad-secrets", format!("OF FILE={secret}\n"));
    let good = [rule("INPUT", "-m comment --comment $OF_FILE-$OF_ENV-$ARG_x")];
    let bad = |text: &str| json!({ "rules": [rule("INPUT", text)] });
    for (more, code, shown) in [
        (json!({ "rules": good, "varFiles": ["secrets"] }), 0, false),
        (json!({ "varFiles": ["bad-secrets"] }), 7, false),
        (bad("-m comment --comment $OF_ENV -j NOWHERE"), 7, false),
        (bad("-m comment --comment $OF_ENV --unknown -j DROP"), 7, false),
        (bad("-m comment --comment $OF_ENV -m statistic --mode random --probability 9 -j DROP"), 7, false),
        (bad("-m comment --comment $OF_ENV -s $UNSET -j DROP"), 7, false),
        (bad("-s $OF_ENV/99 -j DROP"), 7, true),
        (bad("-s $OF_ENV -j DROP"), 11, true),
        (bad("-j $OF_ENV"), 7, true),
        (json!({ "policies": [{ "chain": "INPUT", "policy": "$OF_ENV" }] }), 7, true),
        (json!({ "fwFiles": ["$OF_ENV"] }), 7, true),
        (
            json!({ "rules": [], "ipsets": [{ "set": "a", "hashtype": "hash:ip", "entries": ["$OF_ENV,1"] }] }),
            7,
            true,
        ),
    ] {
        let call = world
            .call("ADD", &world.conf(&with(&more)))
            .env("OF_ENV", secret)
            .env("CNI_ARGS", format!("x={secret}"));
        let answer = call.run();
        assert!(!answer.stderr.contains(secret), "{more}: {answer:?}");
        if code == 0 {
            answer.expect_success();
            world.call("CHECK", &world.conf(&with(&more))).run().expect_success();
            assert!(!world.call("DEL", &world.conf(&with(&more))).run().stderr.contains(secret));
        } else {
            let (found, message, details) = answer.expect_error();
            assert_eq!(found, code, "{more}: {answer:?}");
            if !shown {
                assert!(
                    !message.contains(secret) && !details.contains(secret),
                    "{more}: {message} {details}"
                );
            }
        }
    }
}

#[test]
fn the_log_goes_to_its_file() {
    let world = World::new();
    let log = world.path("log");
    let mut conf = world.conf(&full());
    conf["logFile"] = json!(log);
    conf["logLevel"] = json!("trace");
    let answer = world.call("ADD", &conf).run();
    assert_eq!((answer.code, answer.stderr.as_str()), (Some(0), ""));
    one_json(&answer);
    let text = fs::read_to_string(&log).expect("there");
    assert!(
        text.lines().any(|line| line.contains("firewallnetns: info: [net/c1/eth0] 3 sets and ")),
        "{text}"
    );
    conf["stateDir"] = json!("/dev/null/x");
    world.call("DEL", &conf).run().expect_error();
    assert!(fs::read_to_string(&log).expect("there").len() >= text.len(), "it is appended to");
}

/// A rule that trusts `$PROTO` must not become one for everything.
#[test]
fn a_port_mapping_has_a_protocol_with_ports() {
    let world = World::new();
    for protocol in [json!("all"), json!("0"), json!("icmp"), json!(""), json!("!tcp"), json!(6)] {
        let conf = world.conf(&json!({
            "runtimeConfig": { "portMappings": [{ "containerPort": 80, "protocol": protocol }] },
            "rules": [
                { "type": "A", "chain": "INPUT", "rule": "-p $PROTO -j ACCEPT", "forEach": "portMappings" },
            ],
        }));
        let (found, _) = world.refused(7, &world.call("ADD", &conf));
        let expected = "`runtimeConfig.portMappings[0].protocol` is none of tcp, udp, sctp, dccp, udplite";
        assert!(found.contains(expected), "{protocol}: {found}");
    }
}

/// What a tenant writes into two labels must not fill the memory of the node.
#[test]
fn two_long_lists_are_not_multiplied() {
    let world = World::new();
    let list = |net: u8| (0..300).map(|n| format!("10.{net}.{}.{}", n / 250, n % 250)).collect::<Vec<_>>();
    let conf = world.conf(&json!({
        "args": { "cni": { "labels": { "from": list(1).join(","), "to": list(2).join(",") } } },
        "rules": [rule("INPUT", "-s $LABEL_from -d $LABEL_to -j ACCEPT")],
    }));
    let (found, _) = world.refused(7, &world.call("ADD", &conf));
    let expected = "rules[0].rule: 300 sources by 300 destinations are more than 65536 rules";
    assert!(found.contains(expected), "{found}");
}
