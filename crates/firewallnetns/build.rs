//! Has the linker put together what a call of the plugin runs, in the build that is copied to nodes: `hot.ld`.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=hot.ld");
    if env::var("CARGO_CFG_TARGET_ENV").is_ok_and(|libc| libc == "musl")
        && let Ok(folder) = env::var("CARGO_MANIFEST_DIR")
    {
        // the compiler hands both on to the linker; -Wl would split the path at commas
        println!("cargo::rustc-link-arg-bin=firewallnetns=-T");
        println!("cargo::rustc-link-arg-bin=firewallnetns={folder}/hot.ld");
    }
}
