//! Configurations that cannot be: what is wrong is named, with its place, and the container is left as it was.

use serde_json::{Value, json};

use crate::kit::{World, full, rule};

/// `full()` with something else in it.
fn with(more: &Value) -> Value {
    let mut all = full();
    all.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    all
}

#[test]
fn json_that_is_broken() {
    let world = World::with_foreign();
    for (text, message) in [
        ("", "network configuration on standard input is not a JSON object"),
        ("{", "network configuration on standard input is not a JSON object"),
        ("[]", "network configuration on standard input is not a JSON object"),
        ("\u{feff}", "network configuration on standard input is not a JSON object"),
    ] {
        let call = world.scripted(&format!("exec $PLUGIN <<< '{text}'"), "ADD", &json!({}));
        let (found, details) = world.refused(6, &call);
        assert_eq!(found, message);
        assert!(!details.is_empty());
    }
    let call = world.scripted("printf '\\xff' | $PLUGIN", "ADD", &json!({}));
    let (found, _) = world.refused(6, &call);
    assert_eq!(found, "network configuration on standard input is not UTF-8");

    world.file("broken.fw", "{\n  \"rules\": [\n    { \"type\": \"A\" \"chain\": \"INPUT\" }\n  ]\n}");
    let call = world.call("ADD", &world.conf(&with(&json!({ "fwFiles": ["broken"] }))));
    let (message, details) = world.refused(7, &call);
    assert!(message.starts_with("broken.fw:3:"), "{message}");
    assert!(details.contains("3 |     { \"type\": \"A\" \"chain\""), "{details}");
}

#[test]
fn keys_that_nobody_knows() {
    let world = World::with_foreign();
    let mut others = Vec::new();
    for (more, message) in [
        (json!({ "rulse": [] }), "unknown key `rulse`; hint: did you mean `rules`?"),
        (json!({ "Rules": [] }), "unknown key `Rules`; hint: "),
        (
            json!({ "names": { "timeOut": 1 } }),
            "names.timeOut: unknown key `timeOut`; hint: did you mean `timeout`?",
        ),
        (
            json!({ "rules": [{ "type": "A", "chain": "INPUT", "rule": "-j DROP", "tabel": "nat" }] }),
            "rules[0].tabel: unknown key `tabel`; hint: did you mean `table`?",
        ),
        (
            json!({ "ipsets": [{ "set": "a", "hashtype": "hash:ip", "entrys": [] }] }),
            "ipsets[0].entrys: unknown key `entrys`; hint: did you mean `entries`?",
        ),
        (
            json!({ "policies": [{ "chain": "INPUT", "policy": "DROP", "rule": "" }] }),
            "policies[0].rule: unknown key `rule`",
        ),
        (json!({ "chains": [{ "chain": "a", "policy": "DROP" }] }), "chains[0].policy: unknown key `policy`"),
        (
            json!({ "ipsetd": { "allowfrom": [] } }),
            "ipsetd.allowfrom: unknown key `allowfrom`; hint: did you mean `allowFrom`?",
        ),
    ] {
        let (found, details) = world.refused(7, &world.call("ADD", &world.conf(&with(&more))));
        if !(found.starts_with("network configuration:1:") && found.contains(message)) {
            others.push(format!("expected `{message}`, found `{found}`"));
        }
        assert!(details.contains("^^"), "{details}");
    }
    assert!(others.is_empty(), "{others:#?}");
    // the keys of a configuration have no place in a file
    for (text, message) in [
        (r#"{ "rulse": [] }"#, "a.fw:1:3: rulse: unknown key `rulse`; hint: did you mean `rules`?"),
        (r#"{ "vars": {} }"#, "a.fw:1:3: vars: unknown key `vars`"),
        (r#"{ "rules": [], "rules": [] }"#, "a.fw:1:16: rules: the key `rules` comes twice in one object"),
    ] {
        world.file("a.fw", text);
        world.refuses(7, &json!({ "fwFiles": ["a"] }), message);
    }
}

#[test]
fn values_of_the_wrong_type_or_range() {
    let world = World::with_foreign();
    let mut others = Vec::new();
    for (more, message) in [
        (json!({ "rules": {} }), "rules: expected a list, found an object"),
        (json!({ "rules": ["-j DROP"] }), "rules[0]: expected an object, found a string"),
        (
            json!({ "rules": [{ "type": "A", "chain": 1, "rule": "" }] }),
            "rules[0].chain: expected a string, found a number",
        ),
        (json!({ "rules": [{ "type": "A", "chain": "INPUT" }] }), "rules[0]: missing key `rule`"),
        (
            json!({ "rules": [{ "type": "D", "chain": "INPUT", "rule": "-j DROP" }] }),
            "rules[0].type: expected `A` (append) or `I` (insert), found `D`; hint: ",
        ),
        (
            json!({ "rules": [{ "type": "I", "chain": "INPUT", "rule": "", "position": 0 }] }),
            "rules[0].position: expected a whole number from 1",
        ),
        (json!({ "fwFiles": "a" }), "fwFiles: expected a list, found a string"),
        (json!({ "dataDir": null }), "dataDir: expected a string, found null"),
        (json!({ "dataDir": "relative" }), "dataDir: `relative` is not an absolute path"),
        (json!({ "engine": "nativ" }), "engine: expected `native`, `auto` or `iptables`, found `nativ`"),
        (json!({ "logLevel": "loud" }), "logLevel: expected "),
        (json!({ "logFile": "/nowhere/at/all" }), "logFile: cannot open `/nowhere/at/all`: No such file"),
        (json!({ "names": { "servers": ["localhost"] } }), "names.servers[0]: "),
        (json!({ "names": { "timeout": -1 } }), "names.timeout: expected a whole number from 1"),
        (json!({ "vars": { "A B": "" } }), "vars.A B: `A B` is not a name of a variable"),
        (json!({ "ipsets": [{ "set": "a", "hashtype": "hash:ipp" }] }), "ipsets[0].hashtype: "),
        (
            json!({ "ipsets": [{ "set": "a", "hashtype": "hash:ip", "hashsize": "many" }] }),
            "ipsets[0].hashsize: ",
        ),
        (json!({ "ipsets": [{ "set": "a", "hashtype": "hash:ip", "range": "1-2" }] }), "ipsets[0].range: "),
        (
            json!({ "ipsets": [{ "set": "a", "hashtype": "hash:ip", "entries": ["1.2.3.4", "1.2.3"] }] }),
            "ipsets[0].entries[1]: ",
        ),
        (
            json!({ "ipsets": [{ "set": "a", "hashtype": "hash:ip" }, { "set": "a", "hashtype": "hash:ip" }] }),
            "ipsets[1].set: ",
        ),
        (json!({ "policies": [{ "chain": "INPUT", "policy": "REJECT" }] }), "policies[0].policy: "),
        (json!({ "policies": [{ "chain": "INPTU", "policy": "DROP" }] }), "policies[0].chain: "),
        (
            json!({ "policies": [{ "chain": "INPUT", "policy": "DROP", "table": "filtre" }] }),
            "policies[0].table: unknown table `filtre`; hint: did you mean `filter`?",
        ),
        (json!({ "chains": [{ "chain": "INPUT" }] }), "chains[0].chain: "),
        (
            json!({ "runtimeConfig": { "portMappings": [{ "containerPort": 99999 }] } }),
            "`runtimeConfig.portMappings[0].containerPort` is not a port",
        ),
        (
            json!({ "runtimeConfig": { "portMappings": [{ "hostPort": 80, "protocol": "tcp" }] } }),
            "`runtimeConfig.portMappings[0].containerPort` is missing",
        ),
    ] {
        let (found, _) = world.refused(7, &world.call("ADD", &world.conf(&with(&more))));
        let (_, rest) = found.split_once(": ").expect("a place");
        if !rest.starts_with(message) {
            others.push(format!("expected `{message}`, found `{found}`"));
        }
    }
    assert!(others.is_empty(), "{others:#?}");
}

#[test]
fn chains_sets_and_variables_that_are_not_there() {
    let world = World::with_foreign();
    let mut others = Vec::new();
    for (more, message) in [
        (
            rule("INPTU", "-j DROP"),
            "rules[0].chain: chain `INPTU` does not exist in table `filter`; hint: did you mean `INPUT`?",
        ),
        (
            rule("INPUT", "-j wbe"),
            "rules[0].rule: `wbe` is neither a target nor a chain of table `filter`; hint: did you mean `web`?",
        ),
        (rule("INPUT", "-g wbe"), "rules[0].rule: `wbe` is neither"),
        (
            rule("INPUT", "-j OUTPUT"),
            "rules[0].rule: `OUTPUT` is a built-in chain, which no rule can jump to",
        ),
        (
            rule("INPUT", "-j ACEPT"),
            "rules[0].rule: `ACEPT` is neither a target nor a chain of table `filter`; hint: did you mean `ACCEPT`?",
        ),
        (
            rule("INPUT", "-m set --match-set blokced src"),
            "rules[0].rule: set `blokced` does not exist; hint: did you mean `blocked`?",
        ),
        (rule("INPUT", "-s $NOBODY -j DROP"), "rules[0].rule: "),
        (
            rule("INPUT", "-s ${NOBODY:?nobody set it} -j DROP"),
            "rules[0].rule: variable `NOBODY` is not set; hint: nobody set it",
        ),
        (rule("INPUT", "-m nosuch -j DROP"), "rules[0].rule: unknown match `nosuch`"),
        (
            rule("INPUT", "-p tcp --dprot 1 -j DROP"),
            "rules[0].rule: unknown option `--dprot`; hint: did you mean `--dport`?",
        ),
        (rule("INPUT", "-s 10.0.0.1 -d 2001:db8::1 -j DROP"), "rules[0].rule: "),
    ] {
        let more = json!({ "chains": [{ "chain": "web" }], "rules": [more] });
        let mut all = with(&more);
        all["ipsets"] = full()["ipsets"].clone();
        let (found, _) = world.refused(7, &world.call("ADD", &world.conf(&all)));
        let (_, rest) = found.split_once(": ").expect("a place");
        if !rest.starts_with(message) {
            others.push(format!("expected `{message}`, found `{found}`"));
        }
    }
    assert!(others.is_empty(), "{others:#?}");
    world.refuses(7, &json!({ "fwFiles": ["$NOBODY"] }), "network configuration:1:");
}

/// In a long list, and of both kinds: those that the parser finds and those that only iptables or the kernel refuses.
#[test]
fn every_bad_rule_is_named_in_one_go() {
    let world = World::with_foreign();
    let mut rules: Vec<Value> =
        (1..200).map(|port| rule("INPUT", &format!("-p tcp --dport {port} -j ACCEPT"))).collect();
    rules[30] = rule("INPUT", "-p tcp --dportt 30 -j ACCEPT");
    rules[90] = rule("INPUT", "-p tcp --dport 99999 -j ACCEPT");
    rules[150] = rule("INPTU", "-j ACCEPT");
    let call = world.call("ADD", &world.conf(&with(&json!({ "rules": rules }))));
    let (message, _) = world.refused(7, &call);
    assert_eq!(message.lines().count(), 3, "{message}");
    for word in
        ["[30].rule: unknown option", "[90].rule: `99999` is not a port", "[150].chain: chain `INPTU`"]
    {
        let named = |line: &str| line.starts_with("network configuration:1:") && line.contains(word);
        assert!(message.lines().any(named), "{word}: {message}");
    }

    // in the values of extensions; each is said once, though it goes to both families
    for (place, words) in [
        (30, "-m statistic --mode random --probability 2 -j ACCEPT"),
        (90, "-p tcp -m multiport --dports 1:99999 -j ACCEPT"),
        (150, "-m mark --mark nonsense -j DROP"),
    ] {
        rules[place] = rule("INPUT", words);
    }
    let call = world.call("ADD", &world.conf(&with(&json!({ "rules": rules }))));
    let (message, details) = world.refused(7, &call);
    for word in ["rules[30].rule", "rules[90].rule", "rules[150].rule"] {
        assert!(message.matches(word).count() == 1 && details.contains(word), "{message}");
    }
}

/// What no single rule shows: a match that does not work where its chain is jumped to, a circle, a position past the
/// end. Sets go with it.
#[test]
fn what_only_the_whole_shows() {
    let world = World::with_foreign();
    for (code, chains, rules, words) in [
        (
            7,
            vec!["own"],
            vec![rule("own", "-m owner --uid-owner 0 -j ACCEPT"), rule("INPUT", "-j own")],
            "rules[1].rule: the kernel refused adding a rule to chain `INPUT` of table `filter` (ipv4): Invalid argument (EINVAL); hint: a match or target of this rule does not",
        ),
        (7, vec!["a", "b"], vec![rule("a", "-j b"), rule("b", "-j a"), rule("INPUT", "-j a")], "rules"),
        (
            100,
            vec!["a"],
            vec![rule("INPUT", "-i lo"), json!({ "type": "I", "position": 9, "chain": "a", "rule": "" })],
            "rules[1].rule: index of insertion too big: position 9 in chain `a` of table `filter` (ipv4)",
        ),
    ] {
        let chains: Vec<_> = chains.into_iter().map(|chain| json!({ "chain": chain })).collect();
        let call = world.call("ADD", &world.conf(&with(&json!({ "rules": rules, "chains": chains }))));
        let (found, _) = world.refused(code, &call);
        assert!(found.starts_with("network configuration") && found.contains(words), "{found}");
    }
}

/// What is there already and belongs to somebody else is neither taken nor changed.
#[test]
fn what_belongs_to_somebody_else() {
    let world = World::with_foreign();
    let theirs = json!({ "set": "theirs", "hashtype": "hash:ip", "entries": ["10.0.0.1"] });
    // few sets are asked for one by one, many are listed
    for ours in [0, 9] {
        let ours = (0..ours).map(|number| json!({ "set": format!("own{number}"), "hashtype": "hash:ip" }));
        let sets: Vec<_> = std::iter::once(theirs.clone()).chain(ours).collect();
        let (found, _) = world.refused(100, &world.call("ADD", &world.conf(&json!({ "ipsets": sets }))));
        assert_eq!(
            found,
            "network configuration: ipsets[0]: set `theirs` exists already and belongs to someone else"
        );
    }
    let chain = json!({ "chains": [{ "chain": "theirs" }], "rules": [rule("theirs", "-j DROP")] });
    let (found, _) = world.refused(100, &world.call("ADD", &world.conf(&chain)));
    assert_eq!(
        found,
        "network configuration: chains[0].chain: chain `theirs` exists already in table `filter` (ipv4), made by somebody else"
    );
    // but a rule may use a set of theirs
    let conf = world.conf(&json!({ "rules": [rule("INPUT", "-m set --match-set theirs src -j DROP")] }));
    let before = world.container();
    world.run("ADD", &conf);
    assert!(world.sandbox.container.sh("iptables -S INPUT").contains("--match-set theirs src"));
    world.run("DEL", &conf);
    assert_eq!(world.container(), before);
}
