//! The host's name databases: protocols, services, users, groups. Read from their files, each at most once and only
//! when a rule uses a name, before any namespace is entered; no NSS module is loaded into a root process.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};

use fwn_plan::rule::databases::Databases;

/// The databases in a folder, `/etc` but for tests.
#[derive(Debug)]
pub struct HostDatabases {
    folder: PathBuf,
    protocols: OnceCell<String>,
    services: OnceCell<String>,
    users: OnceCell<String>,
    groups: OnceCell<String>,
}

impl HostDatabases {
    /// Those in `folder`; nothing is read yet.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            protocols: OnceCell::new(),
            services: OnceCell::new(),
            users: OnceCell::new(),
            groups: OnceCell::new(),
        }
    }

    /// The text of a file; a missing one knows no names, so that a name in it is unknown.
    fn text<'a>(&self, cell: &'a OnceCell<String>, file: &str) -> &'a str {
        cell.get_or_init(|| read(&self.folder.join(file)))
    }
}

fn read(path: &Path) -> String {
    match std::fs::read(path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => {
            log::warn!("cannot read `{}`: {error}", path.display());
            String::new()
        }
    }
}

impl Databases for HostDatabases {
    fn protocol(&self, name: &str) -> Option<u8> {
        fields(self.text(&self.protocols, "protocols"))
            .find(|words| name_or_alias(words, name))
            .and_then(|words| words.get(1)?.parse().ok())
    }

    fn service(&self, name: &str, protocol: Option<u8>) -> Option<u16> {
        fields(self.text(&self.services, "services")).filter(|words| name_or_alias(words, name)).find_map(
            |words| {
                let (port, of) = words.get(1)?.split_once('/')?;
                let fits = protocol.is_none_or(|number| service_protocol(of) == Some(number));
                fits.then(|| port.parse().ok()).flatten()
            },
        )
    }

    fn user(&self, name: &str) -> Option<u32> {
        by_colon(self.text(&self.users, "passwd"), name)
    }

    fn group(&self, name: &str) -> Option<u32> {
        by_colon(self.text(&self.groups, "group"), name)
    }
}

/// Lines of words, comments and blank lines removed (protocols(5), services(5)).
fn fields(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines()
        .map(|line| line.split('#').next().unwrap_or_default().split_whitespace().collect::<Vec<_>>())
        .filter(|words| !words.is_empty())
}

/// Whether a line `NAME NUMBER ALIAS...` is about `name`.
fn name_or_alias(words: &[&str], name: &str) -> bool {
    words.iter().enumerate().any(|(at, word)| at != 1 && *word == name)
}

fn service_protocol(name: &str) -> Option<u8> {
    match name {
        "tcp" => Some(6),
        "udp" => Some(17),
        "dccp" => Some(33),
        "sctp" => Some(132),
        "udplite" => Some(136),
        _ => None,
    }
}

/// The third field of the line of `name` (passwd(5), group(5)).
fn by_colon(text: &str, name: &str) -> Option<u32> {
    text.lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.first() == Some(&name))?
        .get(2)?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn databases() -> (tempfile::TempDir, HostDatabases) {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |file: &str, text: &str| std::fs::write(folder.path().join(file), text).expect("written");
        write("protocols", "# numbers\nip\t0\tIP # internet\nospf 89 OSPFIGP\n");
        write("services", "domain 53/tcp\ndomain 53/udp\nhttp 80/tcp www # web\nbgp 179/sctp\n");
        write("passwd", "root:x:0:0::/root:/bin/sh\nwww-data:x:33:34::/:/bin/false\n");
        write("group", "adm:x:4:\n");
        let databases = HostDatabases::new(folder.path());
        (folder, databases)
    }

    #[test]
    fn finds_names_and_aliases() {
        let (_folder, databases) = databases();
        assert_eq!(databases.protocol("ospf"), Some(89));
        assert_eq!(databases.protocol("OSPFIGP"), Some(89));
        assert_eq!(databases.protocol("89"), None);
        assert_eq!(databases.service("www", Some(6)), Some(80));
        assert_eq!(databases.service("www", Some(17)), None);
        assert_eq!(databases.service("bgp", Some(132)), Some(179));
        assert_eq!(databases.service("domain", None), Some(53));
        assert_eq!(databases.user("www-data"), Some(33));
        assert_eq!(databases.group("adm"), Some(4));
        assert_eq!(databases.group("wheel"), None);
    }

    #[test]
    fn a_missing_file_knows_no_names() {
        let databases = HostDatabases::new("/nonexistent");
        assert_eq!(databases.user("root"), None);
    }
}
