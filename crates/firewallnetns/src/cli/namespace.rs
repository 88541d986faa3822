//! A namespace as people name it: by a path, or by the name that `ip netns add` gave it.

use std::path::{Component, Path, PathBuf};

/// Where `ip netns` keeps names.
const NAMED: &str = "/run/netns";

/// The path of a namespace; what is one plain word is a name, unless there is such a file.
pub(super) fn path_of(netns: &Path) -> PathBuf {
    let mut components = netns.components();
    let plain = matches!((components.next(), components.next()), (Some(Component::Normal(_)), None));
    if plain && !netns.exists() { Path::new(NAMED).join(netns) } else { netns.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_a_name_and_all_else_a_path() {
        assert_eq!(path_of(Path::new("web")), Path::new("/run/netns/web"));
        for path in ["/run/netns/web", "/proc/1/ns/net", "./web", "a/b", "..", "/"] {
            assert_eq!(path_of(Path::new(path)), Path::new(path));
        }
        // a file of the folder that tests run in
        assert_eq!(path_of(Path::new("Cargo.toml")), Path::new("Cargo.toml"));
    }
}
