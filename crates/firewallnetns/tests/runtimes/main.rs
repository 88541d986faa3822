//! The programs that call the plugin where people have it: containerd, podman and runc of Debian's packages, Debian's
//! plugins before and after ours; and the commands on the pages of docs/ about them, as they stand there.

mod busybox;
mod containerd;
mod cri;
mod debian_chains;
mod docs;
mod node;
mod oci_hook;
mod podman;
