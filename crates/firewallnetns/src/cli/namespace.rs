//! A namespace as people name it: by a path, or by the name that `ip netns add` gave it.

use std::path::{Component, Path, PathBuf};

use fwn_cni::error::{CniError, ErrorCode};

use crate::failure::Failure;
use crate::state::StateDir;

/// Where `ip netns` keeps names.
const NAMED: &str = "/run/netns";

/// The path of a namespace; what is one plain word is a name, unless there is such a file.
pub(super) fn path_of(netns: &Path) -> PathBuf {
    let mut components = netns.components();
    let plain = matches!((components.next(), components.next()), (Some(Component::Normal(_)), None));
    if plain && !netns.exists() { Path::new(NAMED).join(netns) } else { netns.to_owned() }
}

/// The path of the namespace of a container, as its ADD recorded it.
///
/// # Errors
/// No attachment of the container is on record, or it has several namespaces.
pub(super) fn of_container(states: &StateDir, container: &str) -> Result<PathBuf, CniError> {
    let mut found: Vec<PathBuf> = Vec::new();
    let mut damaged = None;
    for state in states.each().map_err(Failure::State)? {
        match state {
            Ok(state) if state.record.attachment.container == container => found.push(state.netns_path),
            Ok(_) => {}
            Err(error) => damaged = Some(error),
        }
    }
    found.sort();
    found.dedup();
    match found.as_slice() {
        [one] => Ok(one.clone()),
        [] => {
            if let Some(error) = damaged {
                // it may be the one
                return Err(Failure::State(error).into());
            }
            let message = format!("no attachment of container `{container}` is on record");
            let hint = "its ADD may have used another `stateDir`: --state-dir";
            Err(CniError::new(ErrorCode::UnknownContainer, message).with_details(hint))
        }
        several => {
            let message =
                format!("container `{container}` has {} namespaces: name one of them", several.len());
            let paths: Vec<String> = several.iter().map(|path| path.display().to_string()).collect();
            Err(CniError::new(ErrorCode::BadEnvironment, message).with_details(paths.join("\n")))
        }
    }
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
