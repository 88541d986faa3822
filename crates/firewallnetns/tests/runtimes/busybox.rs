//! What runs in the containers: busybox alone, as a folder and as an image. Two services send back what they get, on
//! ports 80 and 81; which of them can be reached is up to the firewall.

use crate::node::Node;

/// A root file system on the node.
pub(crate) const ROOT: &str = "/var/tmp/busybox";
/// The services, as arguments of a command line.
pub(crate) const SERVE: &str = "sh -c 'nc -ll -p 81 -e cat & exec nc -ll -p 80 -e cat'";

impl Node {
    /// Makes [`ROOT`].
    pub(crate) fn with_root(self) -> Self {
        self.sh(&format!(
            "mkdir -p {ROOT}; cd {ROOT}; mkdir bin dev etc proc sys tmp; cp /bin/busybox bin
             for name in cat nc sh sleep true wget; do ln -s busybox bin/$name; done
             echo root:x:0:0::/:/bin/sh >etc/passwd"
        ));
        self
    }

    /// Makes an image of [`ROOT`] that serves, as a file that `ctr images import` and `podman load` take.
    pub(crate) fn image(&self, name: &str) -> &'static str {
        // what `docker save` writes: layers, and a configuration with the digests of the layers
        self.sh(&format!(
            r#"mkdir /var/tmp/image; cd /var/tmp/image; tar -C {ROOT} -cf layer.tar .
             digest=$(sha256sum layer.tar | cut -d' ' -f1)
             echo '{{ "architecture": "amd64", "os": "linux", "config": {{ "Env": [ "PATH=/bin" ], "Cmd": [ "sh", "-c",
                 "nc -ll -p 81 -e cat & exec nc -ll -p 80 -e cat" ] }},
                 "rootfs": {{ "type": "layers", "diff_ids": [ "sha256:'$digest'" ] }} }}' >config.json
             echo '[ {{ "Config": "config.json", "RepoTags": [ "{name}" ], "Layers": [ "layer.tar" ] }} ]' >manifest.json
             tar -cf ../image.tar layer.tar config.json manifest.json"#
        ));
        "/var/tmp/image.tar"
    }
}
