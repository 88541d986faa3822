//! The DaemonSet: no cluster is at hand, so what Kubernetes would refuse is looked for here, and what the pod would do
//! is done by its own command line, with the folders of the node elsewhere.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use fwn_packaging::{run, source};
use serde_json::{Value, json};

use crate::PACKAGES;

/// The manifest as JSON.
fn manifest() -> Value {
    let path = source().join("packaging/kubernetes/daemonset.yaml");
    let script = "$YAML::XS::Boolean = 'JSON::PP'; my @all = YAML::XS::LoadFile($ARGV[0]);
        die 'one document' if @all != 1; print JSON::PP->new->encode($all[0])";
    let text = run(Command::new("perl").args(["-MYAML::XS", "-MJSON::PP", "-e", script]).arg(path));
    serde_json::from_str(&text).expect("JSON")
}

fn names<'a>(list: &'a Value, key: &str) -> BTreeSet<&'a str> {
    list.as_array().expect("a list").iter().map(|item| item[key].as_str().expect("a name")).collect()
}

#[test]
fn it_is_a_daemonset_that_fits_together() {
    let manifest = manifest();
    assert_eq!((&manifest["apiVersion"], &manifest["kind"]), (&json!("apps/v1"), &json!("DaemonSet")));
    let spec = &manifest["spec"];
    assert_eq!(spec["selector"]["matchLabels"], spec["template"]["metadata"]["labels"]);
    let pod = &spec["template"]["spec"];
    let container = &pod["containers"][0];
    assert_eq!(names(&container["volumeMounts"], "name"), names(&pod["volumes"], "name"));
    for volume in pod["volumes"].as_array().expect("a list") {
        assert_eq!(volume["hostPath"]["type"], "DirectoryOrCreate", "{volume}");
    }
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(container["image"], format!("firewallnetns:{version}"));
    assert_eq!(container["securityContext"]["capabilities"], json!({ "drop": ["ALL"] }));
    assert_eq!(pod["automountServiceAccountToken"], json!(false));
    // keys that are misspelt would be refused or, worse, ignored
    let known = "activeDeadlineSeconds args automountServiceAccountToken command containers hostNetwork \
        minReadySeconds nodeSelector priorityClassName resources selector template terminationGracePeriodSeconds \
        tolerations updateStrategy volumes";
    for key in spec.as_object().expect("an object").keys().chain(pod.as_object().expect("an object").keys()) {
        assert!(known.split_whitespace().any(|name| name == key), "{key}");
    }
}

#[test]
fn the_pod_installs_the_plugins_and_the_presets() {
    let manifest = manifest();
    let pod = &manifest["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    let dir = tempfile::tempdir().expect("a folder");
    let (image, node) = (dir.path().join("image"), dir.path().join("node"));
    fs::create_dir(&image).expect("made");
    // the image is what its file copies out of the tarball
    let tarball = PACKAGES.file("firewallnetns-", "-x86_64-linux-musl.tar.gz");
    run(Command::new("tar").arg("-xzf").arg(tarball).arg("--strip-components=1").arg("-C").arg(dir.path()));
    let containerfile =
        fs::read_to_string(dir.path().join("packaging/kubernetes/Containerfile")).expect("in the tarball");
    assert!(containerfile.contains("\nFROM scratch\n"), "{containerfile}");
    let copies = containerfile.lines().filter_map(|line| line.strip_prefix("COPY "));
    for copy in copies {
        let (from, to) = copy.split_once(' ').expect("from and to");
        run(Command::new("cp").arg("-a").arg(dir.path().join(from)).arg(image.join(&to[1..])));
    }
    let entry =
        containerfile.lines().find_map(|line| line.strip_prefix("ENTRYPOINT ")).expect("an entry point");
    let mut command: Vec<String> = serde_json::from_str(entry).expect("JSON");
    let args = container["args"].as_array().expect("a list").iter();
    command.extend(args.map(|arg| arg.as_str().expect("a text").to_owned()));
    // the test does not wait for a signal
    assert_eq!(command.pop().as_deref(), Some("--wait"));

    // the node's folders, mounted into the image
    let mut script = vec!["image=$1 node=$2; shift 2".to_owned()];
    for mount in container["volumeMounts"].as_array().expect("a list") {
        let volumes = pod["volumes"].as_array().expect("a list");
        let volume = volumes.iter().find(|volume| volume["name"] == mount["name"]).expect("a volume");
        let text = |value: &Value| value.as_str().expect("a path").to_owned();
        let (inside, outside) = (text(&mount["mountPath"]), text(&volume["hostPath"]["path"]));
        script.push(format!("mkdir -p $image{inside} $node{outside}"));
        script.push(format!("mount --bind $node{outside} $image{inside}"));
    }
    // as every runtime does
    script.push("mkdir $image/proc; mount --rbind /proc $image/proc".to_owned());
    // no rights but those of the owner of the folders
    script
        .push("exec setpriv --bounding-set=-all,+sys_chroot --inh-caps=-all chroot $image \"$@\"".to_owned());
    let mut unshare = Command::new("unshare");
    unshare
        .args(["--mount", "--net", "sh", "-ec", &script.join("\n"), "sh"])
        .arg(&image)
        .arg(&node)
        .args(&command);
    let said = run(&mut unshare);
    assert!(said.contains("new       /host/bin/firewallnetns\n"), "{said}");
    for file in ["opt/cni/bin/macvtap", "etc/cni/firewallnetns/default-policy.fw"] {
        assert!(node.join(file).is_file(), "{file}");
    }
}
