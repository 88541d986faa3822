//! Namespaces that are none of a container: nothing is touched, whatever the command.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::Value;

use crate::kit::{World, everything, full};

#[test]
fn the_hosts_namespace_is_refused_by_every_path() {
    let world = World::new();
    let host = world.sandbox.host.path().display().to_string();
    let link = world.path("link");
    symlink(&host, &link).expect("linked");
    let chain = world.path("chain");
    symlink(&link, &chain).expect("linked");
    let mount = world.path("mount");
    fs::write(&mount, "").expect("made");
    let own = "is the network namespace of this program: the host's firewall is never touched";
    let init = "is the network namespace of pid 1: the host's firewall is never touched";
    let conf = world.conf_of("1.1.0", &full());
    let before = everything(&world.sandbox.host);
    for command in ["ADD", "DEL", "CHECK"] {
        for (path, words) in [
            (host.as_str(), own),
            ("/proc/self/ns/net", own),
            ("/proc/thread-self/ns/net", own),
            ("/proc/self/task/../ns/net", own),
            (&link, own),
            (&chain, own),
            // the test itself runs in the machine's
            (&format!("/proc/{}/ns/net", std::process::id()), init),
        ] {
            let (found, _) = world.refused(8, &world.call(command, &conf).env("CNI_NETNS", path));
            assert_eq!(found, format!("`{path}` {words}"), "{command}");
        }
        let script = format!("exec unshare -m sh -ec 'mount --bind {host} {mount}; exec '$PLUGIN");
        let (found, _) = world.refused(8, &world.scripted(&script, command, &conf).env("CNI_NETNS", &mount));
        assert_eq!(found, format!("`{mount}` {own}"), "{command}");
        let script = format!(
            "exec unshare -m sh -ec 'mount --bind /proc/{}/ns/net {mount}; exec '$PLUGIN",
            std::process::id()
        );
        let (found, _) = world.refused(8, &world.scripted(&script, command, &conf).env("CNI_NETNS", &mount));
        assert_eq!(found, format!("`{mount}` {init}"), "{command}");
    }
    assert_eq!(everything(&world.sandbox.host), before);
    assert!(!fs::exists(world.path("state")).expect("known"), "not even a folder was made");
}

#[test]
fn what_is_no_network_namespace_is_refused() {
    let world = World::new();
    let conf = world.conf_of("1.1.0", &full());
    let file = world.file("file", "").display().to_string();
    let fifo = world.path("fifo");
    nix::unistd::mkfifo(fifo.as_str(), nix::sys::stat::Mode::S_IRWXU).expect("made");
    let fake = world.path("net:[4026531840]");
    fs::write(&fake, "").expect("written");
    for command in ["ADD", "DEL", "CHECK"] {
        for path in
            ["/proc/self/ns/mnt", "/proc/self/ns/uts", "/dev/null", &file, &fifo, &fake, &world.path("")]
        {
            let (found, _) = world.refused(8, &world.call(command, &conf).env("CNI_NETNS", path));
            assert_eq!(found, format!("`{path}` is not a network namespace"), "{command}");
        }
    }
}

/// A namespace that is gone fails an ADD and a CHECK; a DEL has nothing to do.
#[test]
fn a_namespace_that_is_gone() {
    let world = World::new();
    let conf = world.conf_of("1.1.0", &full());
    let netns = fwn_testkit::Netns::new();
    let path = netns.path().display().to_string();
    world.call("ADD", &conf).env("CNI_NETNS", &path).run().expect_success();
    for path in ["/run/netns/nowhere", "/proc/self/ns/net/x", "/proc/4194305/ns/net"] {
        for command in ["ADD", "CHECK"] {
            let (found, _) = world.refused(3, &world.call(command, &conf).env("CNI_NETNS", path));
            assert_eq!(found, format!("network namespace `{path}` does not exist"), "{command}");
        }
    }
    drop(netns);
    // by its own path, and by another that runtimes may have for it
    for path in ["/run/netns/nowhere", &path] {
        let gone = world.call("DEL", &conf).env("CNI_NETNS", path);
        assert_eq!(gone.run().expect_success(), Value::Null);
        assert!(world.state_files().is_empty(), "its state goes with it");
    }
}

/// As runtimes and `ip netns` hand namespaces over: a file that the namespace was bound to.
#[test]
fn a_namespace_bound_to_a_path_is_one() {
    let world = World::new();
    let mount = world.path("mount");
    fs::write(&mount, "").expect("made");
    let script = format!("exec unshare -m sh -ec 'mount --bind {} {mount}; exec '$PLUGIN", world.netns());
    let before = world.container();
    for command in ["ADD", "CHECK", "DEL"] {
        let call = world.scripted(&script, command, &world.conf(&full())).env("CNI_NETNS", &mount);
        call.run().expect_success();
        assert_eq!(world.container() == before, command == "DEL", "{command}");
    }
}
