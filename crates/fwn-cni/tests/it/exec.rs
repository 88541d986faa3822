//! Other plugins as processes: shell scripts, and Debian's host-local for addresses.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fwn_cni::exec::{find_plugin, ipam_add, ipam_check, ipam_del};
use fwn_cni::{
    CniError, Command, ErrorCode, ExecError, Executor, Invocation, PluginCall, ProcessExecutor, SpecVersion,
};
use serde_json::json;

use crate::scripts::Scripts;

fn call(path: PathBuf) -> PluginCall {
    PluginCall {
        command: Command::Add,
        container_id: "c1".to_owned(),
        netns: Some(PathBuf::from("/run/netns/blue")),
        ifname: "eth0".to_owned(),
        args: "A=1;B=2".to_owned(),
        path: vec![PathBuf::from("/nonexistent"), path],
    }
}

fn run(scripts: &Scripts, stdin: &str) -> Result<String, ExecError> {
    ProcessExecutor::new().run("p", &call(scripts.bin()), stdin)
}

#[test]
fn a_plugin_gets_its_variables_and_input_and_its_output_comes_back() {
    let scripts = Scripts::new();
    scripts.plugin("p", "echo noise >&2; printf '{ \"a\": 1.0 }\\n'");
    assert_eq!(run(&scripts, "{\"x\": 1}").expect("success"), "{ \"a\": 1.0 }\n");
    let calls = scripts.calls();
    let [record] = calls.as_slice() else { panic!("one call: {calls:?}") };
    let bin = scripts.bin();
    assert_eq!(
        record.env,
        format!(
            "CNI_ARGS=A=1;B=2\nCNI_COMMAND=ADD\nCNI_CONTAINERID=c1\nCNI_IFNAME=eth0\nCNI_NETNS=/run/netns/blue\n\
             CNI_PATH=/nonexistent:{}\n",
            bin.display()
        )
    );
    assert_eq!(record.stdin, "{\"x\": 1}");
}

#[test]
fn much_data_in_both_directions_does_not_block() {
    let scripts = Scripts::new();
    scripts.plugin("p", "cat $stdin; cat $stdin");
    let stdin = "x".repeat(300_000);
    assert_eq!(run(&scripts, &stdin).expect("success").len(), 600_000);
}

#[test]
fn a_plugin_that_does_not_read_its_input_is_not_at_fault() {
    let scripts = Scripts::new();
    scripts.write("bin/p", "#!/bin/sh\nexec <&-; echo '{}'", 0o755);
    assert_eq!(run(&scripts, &"x".repeat(300_000)).expect("success"), "{}\n");
}

#[test]
fn failures_keep_what_the_plugin_said() {
    let scripts = Scripts::new();
    scripts.plugin("p", r#"echo '{"cniVersion":"1.0.0","code":11,"msg":"later","details":"d"}'; exit 1"#);
    let error = CniError::from(run(&scripts, "").expect_err("failure"));
    assert_eq!(error, CniError::new(ErrorCode::TryAgain, "later").with_details("d"));

    scripts.plugin("p", r#"echo '{"msg":"no code"}'; exit 1"#);
    let error = CniError::from(run(&scripts, "").expect_err("failure"));
    assert_eq!(error, CniError::new(ErrorCode::PluginFailed, "no code"));

    for (body, status, printed) in [
        ("echo why >&2; exit 3", "exit status: 3", "why"),
        ("echo not json; echo why >&2; exit 1", "exit status: 1", "not json"),
        ("kill -9 $$", "signal: 9 (SIGKILL)", ""),
    ] {
        scripts.plugin("p", body);
        let error = CniError::from(run(&scripts, "").expect_err("failure"));
        assert_eq!(error.code, 102, "{error}");
        let expected = format!("plugin `p` failed ({status}) without a CNI error; it printed `{printed}`");
        assert_eq!(error.msg, expected);
    }

    scripts.plugin("p", r"printf '\377'");
    assert_eq!(CniError::from(run(&scripts, "").expect_err("not text")).code, 6);
}

#[test]
fn only_executable_files_with_a_plain_name_are_found() {
    let scripts = Scripts::new();
    let [first, second] = ["one", "two"].map(|name| scripts.path(name));
    for dir in [&first, &second] {
        fs::create_dir(dir).expect("a folder");
    }
    fs::create_dir(first.join("p")).expect("a folder");
    scripts.write("two/p", "", 0o644);
    let dirs = [first.clone(), second.clone()];
    let error = CniError::from(find_plugin("p", &dirs).expect_err("a folder and a plain file"));
    assert_eq!(error.code, 102);
    assert_eq!(error.msg, format!("no executable file `p` in `{}`, `{}`", first.display(), second.display()));
    fs::set_permissions(second.join("p"), fs::Permissions::from_mode(0o755)).expect("allowed");
    assert_eq!(find_plugin("p", &dirs).expect("found"), second.join("p"));
    scripts.write("one/q", "", 0o755);
    scripts.write("two/q", "", 0o755);
    assert_eq!(find_plugin("q", &dirs).expect("found"), first.join("q"));

    for name in ["", ".", "..", "../one/q", "/bin/sh", "a/b"] {
        let error = find_plugin(name, &dirs).expect_err(name);
        assert!(matches!(error, ExecError::BadName { .. }), "{error}");
    }
    let error = find_plugin("p", &[]).expect_err("nowhere");
    assert_eq!(error.to_string(), "no executable file `p` in CNI_PATH, which is empty");
}

#[test]
fn a_plugin_that_takes_too_long_is_killed_with_all_that_it_started() {
    let scripts = Scripts::new();
    // the background job keeps standard output open and would live on
    scripts.plugin("p", &format!("sleep 600 & echo $! > {}; wait", scripts.path("pid").display()));
    let limit = Duration::from_millis(300);
    let started = Instant::now();
    let error = ProcessExecutor::new().with_time_limit(limit).run("p", &call(scripts.bin()), "");
    let error = CniError::from(error.expect_err("too long"));
    assert_eq!((error.code, error.msg.as_str()), (103, "plugin `p` did not end within 0.3 s and was killed"));
    assert!(started.elapsed() < Duration::from_secs(60));
    let pid = fs::read_to_string(scripts.path("pid")).expect("written");
    wait_until_gone(pid.trim());
}

/// A killed process is gone once it has been reaped by init, or a zombie until then.
fn wait_until_gone(pid: &str) {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        match fs::read_to_string(format!("/proc/{pid}/stat")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Ok(stat) if stat.contains(") Z ") => return,
            _ => assert!(Instant::now() < end, "process {pid} lives on"),
        }
        std::thread::yield_now();
    }
}

#[test]
fn a_quick_plugin_is_not_touched_by_the_limit() {
    let scripts = Scripts::new();
    scripts.plugin("p", "echo '{}'");
    let exec = ProcessExecutor::new().with_time_limit(Duration::from_secs(60));
    assert_eq!(exec.run("p", &call(scripts.bin()), "").expect("success"), "{}\n");
}

#[test]
fn a_file_that_is_being_written_is_tried_again() {
    let scripts = Scripts::new();
    scripts.plugin("p", "echo '{}'");
    let writer = fs::OpenOptions::new().append(true).open(scripts.bin().join("p")).expect("opened");
    std::thread::scope(|scope| {
        let call = call(scripts.bin());
        let runner = scope.spawn(move || ProcessExecutor::new().run("p", &call, ""));
        // it has met the busy file when it waits for the next try
        while !is_sleeping_in_a_thread() {
            assert!(!runner.is_finished(), "a busy file is not run");
            std::thread::yield_now();
        }
        drop(writer);
        assert_eq!(runner.join().expect("no panic").expect("success"), "{}\n");
    });
}

/// Whether a thread of ours is in a timed sleep.
fn is_sleeping_in_a_thread() -> bool {
    let tasks = fs::read_dir("/proc/self/task").expect("proc");
    tasks.filter_map(Result::ok).any(|task| {
        let wchan = fs::read_to_string(task.path().join("wchan")).unwrap_or_default();
        wchan.contains("nanosleep")
    })
}

/// An invocation of an interface plugin that has host-local hand out addresses.
fn with_host_local(data: &Path, command: &str, version: SpecVersion) -> Invocation {
    let command: Command = command.parse().expect("known");
    let env = |name: &str| {
        let value = match name {
            "CNI_CONTAINERID" => "c1",
            "CNI_NETNS" => "/run/netns/blue",
            "CNI_IFNAME" => "eth0",
            "CNI_PATH" => "/usr/lib/cni",
            _ => return None,
        };
        Some(value.to_owned())
    };
    let conf = json!({
        "cniVersion": version.as_str(),
        "name": "net",
        "type": "macvtap",
        "ipam": {
            "type": "host-local",
            "dataDir": data,
            "ranges": [[{"subnet": "10.7.0.0/24"}], [{"subnet": "fd07::/64"}]],
            "routes": [{"dst": "0.0.0.0/0"}, {"dst": "fd08::/16", "gw": "fd07::9"}],
        },
    });
    Invocation::parse(command, &env, conf.to_string().as_bytes()).expect("a good call")
}

#[test]
fn host_local_hands_out_checks_and_takes_back_addresses() {
    let scripts = Scripts::new();
    let exec = ProcessExecutor::new();
    let data = scripts.path("cache");
    // host-local of Debian speaks up to 1.0.0
    for version in SpecVersion::ALL.into_iter().filter(|version| *version <= SpecVersion::V1_0_0) {
        let add = with_host_local(&data, "ADD", version);
        let result = ipam_add(&exec, &add).expect("addresses");
        let ips: Vec<_> = result.ips.iter().map(|ip| (ip.address.to_string(), ip.gateway)).collect();
        let [(v4, gw4), (v6, gw6)] = ips.as_slice() else { panic!("{version}: {ips:?}") };
        assert!(v4.starts_with("10.7.0.") && v4.ends_with("/24"), "{v4}");
        assert!(v6.starts_with("fd07::") && v6.ends_with("/64"), "{v6}");
        assert_eq!([gw4, gw6], [&"10.7.0.1".parse().ok(), &"fd07::1".parse().ok()], "{version}");
        let routes: Vec<_> = result.routes.iter().map(|route| (route.dst.to_string(), route.gw)).collect();
        let expected = [("0.0.0.0/0".to_owned(), None), ("fd08::/16".to_owned(), "fd07::9".parse().ok())];
        assert_eq!(routes, expected, "{version}");
        if version >= SpecVersion::V0_4_0 {
            ipam_check(&exec, &with_host_local(&data, "CHECK", version)).expect("still there");
        }
        let reserved = || fs::read_dir(data.join("net")).expect("there").filter_map(Result::ok).count();
        let before = reserved();
        // also while the call is still an ADD, to undo it
        ipam_del(&exec, &add).expect("taken back");
        assert_eq!(reserved(), before - 2, "{version}");
        ipam_del(&exec, &with_host_local(&data, "DEL", version)).expect("twice is fine");
    }
    let error =
        ipam_check(&exec, &with_host_local(&data, "CHECK", SpecVersion::V1_0_0)).expect_err("not there");
    assert!(error.msg.contains("host-local"), "its own words: {error}");
}

#[test]
fn the_ipam_plugin_gets_the_call_as_it_came() {
    let scripts = Scripts::new();
    scripts.plugin("my-ipam", "echo '{}'");
    let bin = scripts.bin();
    let env = |name: &str| {
        Some(match name {
            "CNI_PATH" => bin.display().to_string(),
            "CNI_ARGS" => "IP=10.0.0.7".to_owned(),
            "CNI_NETNS" => "/n".to_owned(),
            _ => "x".to_owned(),
        })
    };
    let stdin = "{ \"cniVersion\":\"1.0.0\",\"odd\":1.00, \"name\":\"n\",\"type\":\"t\",\"ipam\":{\"type\":\"my-ipam\"} }\n";
    let invocation = Invocation::parse(Command::Add, &env, stdin.as_bytes()).expect("a good call");
    ipam_del(&ProcessExecutor::new(), &invocation).expect("success");
    let calls = scripts.calls();
    assert_eq!(calls[0].stdin, stdin);
    assert!(
        calls[0].env.starts_with("CNI_ARGS=IP=10.0.0.7\nCNI_COMMAND=DEL\nCNI_CONTAINERID=x\n"),
        "{}",
        calls[0].env
    );

    let none = stdin.replace("my-ipam", "");
    let invocation = Invocation::parse(Command::Add, &env, none.as_bytes()).expect("a good call");
    let error = ipam_add(&ProcessExecutor::new(), &invocation).expect_err("no type");
    assert_eq!((error.code, error.msg.as_str()), (7, "network configuration has no `ipam.type`"));
}
