//! What a Mesos agent hands over of a task: labels and port mappings, written by whoever may start tasks.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::kit::{World, rule};

/// The configuration of an agent, for a task with these labels.
fn conf(world: &World, labels: &[(&str, &str)], more: &Value) -> Value {
    let labels: Vec<_> = labels.iter().map(|(key, value)| json!({ "key": key, "value": value })).collect();
    let mut conf = world.conf_of("0.2.0", more);
    conf["args"] = json!({ "org.apache.mesos": { "network_info": { "labels": { "labels": labels } } } });
    conf
}

fn rules(world: &World) -> String {
    world.sandbox.container.sh("iptables -S | grep -e -A || true")
}

#[test]
fn a_label_chooses_among_files() {
    let world = World::new();
    world.file("task-none.fw", "{}");
    world.file(
        "task-web-1.2_x.fw",
        json!({ "rules": [rule("INPUT", "-p tcp --dport 80 -j ACCEPT")] }).to_string(),
    );
    let files = json!({ "fwFiles": ["task-${LABEL_FIREWALL:-none}"], "logLevel": "error" });
    for (labels, expected) in [
        (vec![("FIREWALL", "web-1.2_x")], "-A INPUT -p tcp -m tcp --dport 80 -j ACCEPT\n"),
        (vec![("OTHER", "web")], ""),
        (vec![("FIREWALL", "")], ""),
        // of two with the same name the first counts
        (
            vec![("FIREWALL", "web-1.2_x"), ("FIREWALL", "../../x")],
            "-A INPUT -p tcp -m tcp --dport 80 -j ACCEPT\n",
        ),
    ] {
        let conf = conf(&world, &labels, &files);
        world.run("ADD", &conf);
        assert_eq!(rules(&world), expected, "{labels:?}");
        world.run("DEL", &conf);
    }
}

#[test]
fn a_label_leads_nowhere_else() {
    let world = World::with_foreign();
    world.file("task-none.fw", "{}");
    world.file("open.fw", "{}");
    std::fs::create_dir_all(world.path("data/task-x")).expect("made");
    world.file("task-x/inner.fw", "{}");
    let files = json!({ "fwFiles": ["task-${LABEL_FIREWALL:-none}"] });
    for value in [
        "../open",
        "x/../open",
        "x/inner",
        "/etc/passwd",
        "..",
        ".hidden",
        "a b",
        "a;b",
        "$(id)",
        "`id`",
        "a*",
        "\u{e4}",
        "a:b",
        "\\",
        "%2e%2e",
    ] {
        let (message, details) =
            world.refused(7, &world.call("ADD", &conf(&world, &[("FIREWALL", value)], &files)));
        let expected = "fwFiles[0]: the value of `LABEL_FIREWALL` cannot be a part of a file name; hint: who starts the \
                        container may use letters, digits, `_`, `-` and dots, but no dot first";
        assert!(message.ends_with(expected), "{value}: {message}");
        assert!(!message.contains(value) || value.len() < 3, "{value}: a value is shown: {message}");
        assert!(details.contains('^'), "{details}");
    }
    for value in ["a\u{0}b", "a\nb"] {
        let (message, _) =
            world.refused(7, &world.call("ADD", &conf(&world, &[("FIREWALL", value)], &files)));
        assert!(message.contains("the value of `LABEL_FIREWALL` has a control character in it"), "{message}");
    }
    let (message, _) =
        world.refused(7, &world.call("ADD", &conf(&world, &[("FIREWALL", "missing")], &files)));
    assert!(message.contains("task-missing.fw` does not exist"), "{message}");
    // the same by CNI_ARGS, and for the file of a set
    let other = json!({
        "fwFiles": ["task-${ARG_FIREWALL:-none}"],
        "ipsets": [{ "set": "a", "hashtype": "hash:ip", "file": "${LABEL_SET:-none}" }],
    });
    let call = world.call("ADD", &conf(&world, &[("SET", "../../etc/passwd")], &other));
    let (message, _) = world.refused(7, &call.env("CNI_ARGS", "FIREWALL=../open"));
    for name in ["ARG_FIREWALL", "LABEL_SET"] {
        assert!(
            message.contains(&format!("the value of `{name}` cannot be a part of a file name")),
            "{message}"
        );
    }
}

/// Odd names become names of variables, odd values stay values.
#[test]
fn labels_with_odd_characters() {
    let world = World::new();
    let comment =
        |name: &str| json!({ "rules": [rule("INPUT", &format!("-m comment --comment ${name} -j DROP"))] });
    for (key, variable, value) in [
        ("com.example/team", "LABEL_com_example_team", "a b"),
        ("a-b", "LABEL_a_b", "-j"),
        ("\u{e4}\u{1f600}", "LABEL___", "\u{e4}"),
        ("", "LABEL_", "x' -j ACCEPT"),
        ("a=b;c", "LABEL_a_b_c", "$(reboot) `id` ${PATH}"),
        ("X", "LABEL_X", "\"quoted\" \\"),
    ] {
        let conf = conf(&world, &[(key, value)], &comment(variable));
        world.run("ADD", &conf);
        let found = rules(&world);
        assert_eq!((found.lines().count(), found.ends_with("-j DROP\n")), (1, true), "{key}: {found}");
        world.run("DEL", &conf);
    }
    // no list, no pairs, no texts: nothing that a rule could use
    for labels in [json!({ "labels": 7 }), json!([7, { "key": 7 }, { "value": "x" }]), json!("x")] {
        let mut conf = conf(&world, &[], &json!({ "rules": [rule("INPUT", "-s $LABEL_X -j DROP")] }));
        conf["args"]["org.apache.mesos"]["network_info"]["labels"] = labels;
        let (message, _) = world.refused(7, &world.call("ADD", &conf));
        assert!(message.contains("variable `LABEL_X` is not set"), "{message}");
    }
}

#[test]
fn ten_thousand_port_mappings() {
    const COUNT: usize = 10_000;
    let world = World::new();
    let more = json!({
        "rules": [
            { "type": "A", "chain": "INPUT", "rule": "-p $PROTO --dport $CONTAINER_PORT -j ACCEPT", "forEach": "portMappings" },
            rule("OUTPUT", &format!("-p tcp --sport $PORT{} -j ACCEPT", COUNT - 1)),
        ],
    });
    let mut conf = conf(&world, &[], &more);
    let mappings = (1..=COUNT)
        .map(|port| json!({ "host_port": 20_000 + port, "container_port": port, "protocol": "tcp" }));
    conf["args"]["org.apache.mesos"]["network_info"]["port_mappings"] = mappings.collect();
    let started = Instant::now();
    world.run("ADD", &conf);
    // a debug build on a busy machine; one quadratic step would take minutes
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
    let found = rules(&world);
    assert_eq!(found.lines().count(), COUNT + 1);
    assert!(found.ends_with("-A OUTPUT -p tcp -m tcp --sport 10000 -j ACCEPT\n"));
    world.run("DEL", &conf);
    assert_eq!(rules(&world), "");

    conf["args"]["org.apache.mesos"]["network_info"]["port_mappings"][COUNT - 1]["container_port"] =
        json!(65_536);
    let (message, _) = world.refused(7, &world.call("ADD", &conf));
    assert!(message.contains("`port_mappings[9999].container_port` is not a port"), "{message}");
}
