//! The demo: what it says, what it exits with, and that nothing is left, whatever happens to it.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use fwn_testkit::plugin::{program, write_script};

use crate::world::{Run, World};

/// A world in which the demo's temporary folder is an empty one.
struct Scene {
    world: World,
    /// All that must not change.
    before: String,
}

impl Scene {
    fn new() -> Self {
        let world = World::new();
        fs::create_dir(world.dir.path().join("tmp")).expect("made");
        let before = host_state(&world);
        Self { world, before }
    }

    fn command(&self) -> Command {
        self.command_of(&program("firewallnetns").display().to_string())
    }

    fn command_of(&self, firewallnetns: &str) -> Command {
        let mut command = self.world.command(firewallnetns);
        command.arg("demo").env("TMPDIR", self.world.dir.path().join("tmp"));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self) -> Run {
        Run::of(self.command().output().expect("it runs"))
    }

    /// Puts the program beside a plugin `macvtap` that runs `script` before the real one, `$real`.
    fn with_macvtap(&self, script: &str) -> Command {
        let folder = self.world.dir.path().join("own");
        fs::create_dir(&folder).expect("made");
        let copy = folder.join("firewallnetns");
        fs::copy(program("firewallnetns"), &copy).expect("copied");
        let macvtap = folder.join("macvtap");
        let real = program("macvtap").display().to_string();
        write_script(&macvtap, &format!("#!/bin/sh\nreal={real}\n{script}\nexec $real\n"));
        self.command_of(&copy.display().to_string())
    }

    fn assert_nothing_left(&self) {
        assert_eq!(
            self.world.names(&self.world.dir.path().join("tmp").display().to_string()),
            Vec::<String>::new()
        );
        assert_eq!(host_state(&self.world), self.before);
        assert_eq!(self.world.kept(), Vec::<String>::new());
    }
}

/// Interfaces, addresses, routes, rules and sets of the namespace that the demo is started in.
fn host_state(world: &World) -> String {
    let network = world
        .sandbox
        .host
        .sh("ip -o link; ip -o addr show scope global; ip route; ls /run/netns 2>&1 || true");
    network + &world.sandbox.host.dump()
}

fn assert_complete(text: &str) {
    for line in ["ping ", "tcp 8080 ", "tcp 8081 ", "tcp 80 ", "tcp 8080, outwards"] {
        let found = text.lines().find(|found| found.trim_start().starts_with(line));
        let found = found.unwrap_or_else(|| panic!("`{line}` in {text}"));
        assert!(found.contains("expected") && found.contains("got") && found.ends_with(" ok"), "{found}");
    }
    assert!(text.contains("expected refused    got refused"), "{text}");
    assert!(text.contains("expected silence    got silence"), "{text}");
    assert!(text.contains("\"cniVersion\": \"0.3.1\""), "{text}");
    assert!(text.contains("engine     native"), "{text}");
    assert!(text.ends_with("expectations held. Everything was removed.\n"), "{text}");
    assert!(!text.contains("FAILED"), "{text}");
}

#[test]
fn it_shows_the_example_with_host_local() {
    let scene = Scene::new();
    let text = scene.run().ok();
    assert_complete(&text);
    assert!(text.contains("host-local (/usr/lib/cni/host-local)"), "{text}");
    assert!(text.contains("\"address\": \"192.168.124.170/24\""), "{text}");
    assert!(text.contains("iptables -L -vn\n     Chain INPUT (policy ACCEPT"), "{text}");
    assert!(
        text.contains("match-set blacklistweb src multiport dports 80,443 reject-with tcp-reset"),
        "{text}"
    );
    assert!(text.contains("ip6tables -L -vn\n     Chain INPUT (policy ACCEPT"), "{text}");
    assert!(text.contains("ipset list\n     Name: blacklistweb"), "{text}");
    scene.assert_nothing_left();
}

#[test]
fn it_needs_neither_host_local_nor_programs_that_list() {
    let scene = Scene::new();
    // beside the layers of `/etc`
    let layers = scene.world.dir.path().join("layers");
    scene.world.sh(&format!(
        "mount -t tmpfs none /usr/lib/cni; mkdir {0}/upper2 {0}/work2
         mount -t overlay sbin -o lowerdir=/usr/sbin,upperdir={0}/upper2,workdir={0}/work2 /usr/sbin
         rm /usr/sbin/iptables /usr/sbin/iptables-nft /usr/sbin/ip6tables /usr/sbin/ip6tables-nft /usr/sbin/ipset",
        layers.display()
    ));
    let text = scene.run().ok();
    assert_complete(&text);
    assert!(text.contains("addresses  one fixed address, built in"), "{text}");
    assert!(text.contains("\"address\": \"192.168.124.170/24\""), "{text}");
    assert!(text.contains("     -P INPUT ACCEPT\n     -P FORWARD DROP\n"), "{text}");
    assert!(text.contains("-A INPUT -p tcp -m tcp --dport 8080 -j ACCEPT"), "{text}");
    assert!(text.contains("# allow-ping.fw: rules[0]"), "{text}");
    assert!(
        text.contains("create blacklistweb hash:ip family inet hashsize 4096 maxelem 65536 netmask 24"),
        "{text}"
    );
    assert!(text.contains("     references 1\n"), "{text}");
    scene.assert_nothing_left();
}

#[test]
fn an_expectation_that_does_not_hold_fails_it() {
    let scene = Scene::new();
    let drop =
        "[ $CNI_COMMAND = ADD ] && nsenter --net=$CNI_NETNS iptables -I INPUT -p tcp --dport 8081 -j DROP";
    let run = Run::of(scene.with_macvtap(drop).output().expect("it runs"));
    assert_eq!((run.code, run.stderr.as_str()), (Some(1), ""), "{run:?}");
    let line = run.stdout.lines().find(|line| line.contains("tcp 8081")).expect("the line");
    assert!(line.contains("expected connected  got silence    FAILED"), "{line}");
    assert!(
        run.stdout
            .contains("tables of rules                        expected 0          got 1          FAILED")
    );
    assert!(run.stdout.ends_with("expectations FAILED. Everything was removed.\n"), "{}", run.stdout);
    scene.assert_nothing_left();
}

#[test]
fn a_plugin_that_fails_ends_it_cleanly() {
    let scene = Scene::new();
    let refuse = r#"echo '{"cniVersion":"0.3.1","code":120,"msg":"not today"}'; exit 1"#;
    let run = Run::of(scene.with_macvtap(refuse).output().expect("it runs"));
    assert_eq!(run.code, Some(1), "{run:?}");
    assert!(
        run.stderr.starts_with("error: plugin `macvtap` failed (ADD): not today (CNI code 120)\n"),
        "{run:?}"
    );
    scene.assert_nothing_left();
}

#[test]
fn a_signal_ends_it_cleanly() {
    let scene = Scene::new();
    let pipe = |name: &str| scene.world.dir.path().join(name);
    scene.world.sh(&format!("mkfifo {} {}", pipe("called").display(), pipe("go").display()));
    let wait = format!(
        "[ $CNI_COMMAND = ADD ] && echo called > {} && read go < {}",
        pipe("called").display(),
        pipe("go").display()
    );
    // open for both, so that nobody has to wait for the other end
    let open = |name: &str| fs::File::options().read(true).write(true).open(pipe(name)).expect("a pipe");
    let (called, mut go) = (open("called"), open("go"));
    let mut child = scene.with_macvtap(&wait).spawn().expect("it runs");
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(BufReader::new(called).lines().next()));
    if receiver.recv_timeout(Duration::from_secs(30)).is_err() {
        child.kill().expect("it runs");
        panic!("the plugin was never called: {:?}", child.wait_with_output());
    }
    scene.world.sh(&format!("kill -TERM {}", child.id()));
    go.write_all(b"go\n").expect("it reads");
    let run = Run::of(child.wait_with_output().expect("it ends"));
    assert_eq!(run.code, Some(143), "{run:?}");
    assert_eq!(run.stderr, "error: interrupted by signal 15; everything was removed\n");
    scene.assert_nothing_left();
}

#[test]
fn a_reader_that_goes_ends_it_cleanly() {
    let scene = Scene::new();
    let mut child = scene.command().spawn().expect("it runs");
    drop(child.stdout.take());
    let run = Run::of(child.wait_with_output().expect("it ends"));
    assert_eq!(run.code, Some(1), "{run:?}");
    assert!(run.stderr.starts_with("error: the report cannot be printed"), "{run:?}");
    scene.assert_nothing_left();
}

#[test]
fn it_says_what_it_needs() {
    let scene = Scene::new();
    let copy = scene.world.dir.path().join("alone");
    fs::create_dir(&copy).expect("made");
    fs::copy(program("firewallnetns"), copy.join("firewallnetns")).expect("copied");
    fs::set_permissions(scene.world.dir.path(), fs::Permissions::from_mode(0o755)).expect("readable");
    let own = copy.join("firewallnetns").display().to_string();

    let error = Run::of(scene.command_of(&own).output().expect("it runs")).error();
    assert!(
        error.contains("plugin `macvtap` is not in") && error.contains(&copy.display().to_string()),
        "{error}"
    );

    let mut nobody = scene.world.command("setpriv");
    nobody.args(["--reuid=65534", "--clear-groups", &own, "demo"]);
    let error = Run::of(nobody.output().expect("it runs")).error();
    assert!(error.contains("needs root"), "{error}");
    scene.assert_nothing_left();
}
