//! GC and STATUS.

use std::fs;

use fwn_testkit::Netns;
use serde_json::{Value, json};

use crate::kit::{World, everything, full, rule};

/// A configuration for GC that lists these attachments as valid.
fn keeping(world: &World, valid: &[(&str, &str)]) -> Value {
    let valid: Vec<_> =
        valid.iter().map(|(id, ifname)| json!({ "containerID": id, "ifname": ifname })).collect();
    world.conf_of("1.1.0", &json!({ "cni.dev/valid-attachments": valid }))
}

#[test]
fn gc_removes_what_belongs_to_no_valid_attachment() {
    let world = World::with_foreign();
    let other = Netns::new();
    let gone = Netns::new();
    let before = (world.container(), everything(&other));
    let conf = world.conf_of("1.1.0", &json!({ "rules": [rule("INPUT", "-i $CNI_IFNAME -j DROP")] }));
    let add = |id: &str, ifname: &str, netns: &Netns| {
        let call = world.call("ADD", &conf).env("CNI_CONTAINERID", id).env("CNI_IFNAME", ifname);
        call.env("CNI_NETNS", netns.path().display().to_string()).run().expect_success();
    };
    add("c1", "eth0", &world.sandbox.container);
    let kept = world.container();
    add("c1", "eth1", &world.sandbox.container);
    add("c2", "eth0", &other);
    add("c3", "eth0", &gone);
    drop(gone);
    // one of another network is not this GC's to judge
    let mut elsewhere = conf.clone();
    elsewhere["name"] = json!("elsewhere");
    let call = world.call("ADD", &elsewhere).env("CNI_CONTAINERID", "c2").env("CNI_IFNAME", "eth1");
    call.env("CNI_NETNS", other.path().display().to_string()).run().expect_success();
    assert_eq!(world.state_files().len(), 5);

    // without the list nothing goes
    let (found, _) = world.refused(7, &world.call("GC", &conf));
    assert_eq!(found, "`cni.dev/valid-attachments` is missing, so nothing was removed");

    world.run("GC", &keeping(&world, &[("c1", "eth0"), ("never-seen", "eth0")]));
    assert_eq!(world.container(), kept);
    assert!(!other.dump().contains("-i eth0") && other.dump().contains("-i eth1"));
    let files = world.state_files();
    assert_eq!(files.len(), 2, "{files:?}");
    for name in ["/elsewhere:c2:eth1.json", "/net:c1:eth0.json"] {
        assert!(files.iter().any(|file| file.ends_with(name)), "{files:?}");
    }

    world.run("GC", &keeping(&world, &[]));
    assert_eq!(world.container(), before.0);
    world.run("GC", &keeping(&world, &[]));
    assert_eq!(world.state_files().len(), 1);
}

/// By the time of a GC the path can name another namespace, the host's even: nothing there is touched.
#[test]
fn gc_touches_no_other_namespace_behind_the_path() {
    let world = World::new();
    let path = world.path("netns");
    let conf = world.conf_of("1.1.0", &full());
    let add = || {
        let _ = fs::remove_file(&path);
        std::os::unix::fs::symlink(world.netns(), &path).expect("linked");
        world.call("ADD", &conf).env("CNI_NETNS", &path).run().expect_success();
        fs::remove_file(&path).expect("removed");
    };
    // an attachment of the same names is in force there, known to another state folder
    let other = Netns::new();
    let mut elsewhere = conf.clone();
    elsewhere["stateDir"] = json!(world.path("elsewhere"));
    let call = world.call("ADD", &elsewhere).env("CNI_NETNS", other.path().display().to_string());
    call.run().expect_success();
    for target in [world.sandbox.host.path(), other.path(), "/dev/null".into()] {
        add();
        let before = (world.container(), everything(&other));
        std::os::unix::fs::symlink(target, &path).expect("linked");
        world.run("GC", &keeping(&world, &[]));
        assert_eq!((world.container(), everything(&other)), before);
        assert!(world.state_files().is_empty());
        world.call("DEL", &conf).run().expect_success();
    }
}

#[test]
fn gc_goes_on_after_a_damaged_state_file() {
    let world = World::new();
    let before = world.container();
    let conf = world.conf_of("1.1.0", &full());
    world.run("ADD", &conf);
    fs::create_dir(world.path("state/1-1")).expect("made");
    fs::write(world.path("state/1-1/net:c9:eth0.json"), "{").expect("written");
    let answer = world.call("GC", &keeping(&world, &[])).run();
    let (code, message, _) = answer.expect_error();
    assert_eq!(code, 5);
    assert!(message.contains("1-1/net:c9:eth0.json` is damaged"), "{message}");
    assert_eq!(world.container(), before, "the rest is removed all the same");
}

#[test]
fn status_tells_whether_an_add_would_work() {
    let world = World::new();
    world.file("good.fw", "{}");
    let good = world.conf_of("1.1.0", &json!({ "fwFiles": ["good", "with-$VARIABLE"] }));
    assert_eq!(world.run("STATUS", &good), Value::Null);
    world.file("bad.fw", "{ \"rulse\": [] }");
    let file = world.file("file", "").display().to_string();
    for (code, more, words) in [
        (50, json!({ "fwFiles": ["bad"] }), "bad.fw:1:3: rulse: unknown key `rulse`"),
        (50, json!({ "fwFiles": ["gone"] }), "gone.fw` does not exist"),
        (50, json!({ "stateDir": file }), "cannot create `"),
        (7, json!({ "rulse": [] }), "unknown key `rulse`"),
    ] {
        let (found, _) = world.refused(code, &world.call("STATUS", &world.conf_of("1.1.0", &more)));
        assert!(found.contains(words), "expected `{words}`, found `{found}`");
    }
    without_programs(&world, "STATUS", &good).run().expect_success();
    let by_iptables = world.conf_of("1.1.0", &json!({ "engine": "iptables" }));
    let (found, _) = world.refused(50, &without_programs(&world, "STATUS", &by_iptables));
    assert!(found.starts_with("`iptables-nft-restore` is not in /usr/sbin, "), "{found}");
    assert!(found.contains("install the package `iptables`"), "{found}");
}

/// A call where nothing is installed that the plugin could run.
pub(crate) fn without_programs<'a>(
    world: &'a World,
    command: &str,
    conf: &Value,
) -> fwn_testkit::plugin::PluginCall<'a> {
    let empty = world.path("empty");
    fs::create_dir_all(&empty).expect("made");
    let script = format!(
        "cp /bin/mount {empty}-mount; for folder in /usr/sbin /usr/local/sbin; do
           [ -d $folder ] && mounts=\"$mounts mount --bind {empty} $folder;\"; done
         exec unshare -m sh -ec \"$mounts exec $PLUGIN\""
    );
    world.scripted(&script, command, conf)
}
