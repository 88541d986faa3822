//! Host names of rules: a set of names comes in, the addresses of each go out, or why there are none.
//!
//! All names are asked for at the same time and the whole takes no longer than its timeout. Nothing is guessed: a
//! name of which one family is unknown counts as failed, since half of its rules would be missing. Looks from the
//! network namespace of the calling thread, so it is called before any other is entered.

mod files;
mod lookup;
mod message;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use files::{Hosts, ResolvConf};
pub(crate) use files::{ServerError, parse_server};
use lookup::Lookup;

/// So many names are asked for at once; more wait for one that is done.
const MAX_THREADS: usize = 256;

/// Longer ones are cut to this.
const MAX_TIMEOUT: Duration = Duration::from_secs(3600);

/// Whom to ask, and how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ResolverConf {
    /// For the whole call.
    pub timeout: Duration,
    /// In the order in which they are asked; none means those of `resolv_conf`, with its search list and options.
    pub servers: Vec<SocketAddr>,
    /// Wins over the servers; need not exist.
    pub hosts_file: PathBuf,
    /// Read if `servers` is empty; if it does not exist, the server is 127.0.0.1, as for the C library.
    pub resolv_conf: PathBuf,
}

impl Default for ResolverConf {
    /// 5 seconds, and the host's own files.
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(5),
            servers: Vec::new(),
            hosts_file: "/etc/hosts".into(),
            resolv_conf: "/etc/resolv.conf".into(),
        }
    }
}

/// Why there are no addresses.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// Some names have none; each with its reason.
    #[error("{}", Listed(.0))]
    Names(BTreeMap<String, Reason>),
    /// A file of the host cannot be read.
    #[error("cannot read `{}`", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A `nameserver` of `resolv.conf` is no address.
    #[error("`{}` is no usable resolver configuration", path.display())]
    ResolvConf {
        /// The file.
        path: PathBuf,
        /// Which server, and why.
        source: ServerError,
    },
}

/// Why one name has no addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// It can never be one.
    #[error("not a host name")]
    Invalid,
    /// No server knows it, under any suffix of the search list.
    #[error("not found")]
    NotFound,
    /// It exists, with neither an IPv4 nor an IPv6 address.
    #[error("has no addresses")]
    NoAddresses,
    /// Nobody answered in time.
    #[error("no answer from {} within {}", Servers(servers), Seconds(*timeout))]
    NoAnswer {
        /// Who was asked.
        servers: Vec<SocketAddr>,
        /// How long.
        timeout: Duration,
    },
    /// The last server to answer would not or could not.
    #[error("{code} at {server}")]
    ServerFailure {
        /// Which.
        server: SocketAddr,
        /// `server failure`, `query refused`, ...
        code: &'static str,
    },
    /// No server can be reached.
    #[error("cannot reach {server}: {error}")]
    Unreachable {
        /// The last one.
        server: SocketAddr,
        /// What the system said.
        error: io::ErrorKind,
    },
    /// An alias leads back to itself, or too far.
    #[error("its aliases lead in a circle")]
    AliasLoop,
}

/// The addresses of every name, IPv4 and IPv6.
///
/// # Errors
/// [`ResolveError::Names`] with all names that have none, or of which a family remained unknown; a file of the
/// host that cannot be read or is wrong.
pub(crate) fn resolve(
    names: &BTreeSet<String>,
    conf: &ResolverConf,
) -> Result<BTreeMap<String, BTreeSet<IpAddr>>, ResolveError> {
    let deadline = Instant::now() + conf.timeout.min(MAX_TIMEOUT);
    let mut found = BTreeMap::new();
    let mut failed = BTreeMap::new();
    let mut open = Vec::new();
    if names.is_empty() {
        return Ok(found);
    }
    let hosts = Hosts::parse(&read(&conf.hosts_file)?);
    for name in names {
        if !is_host_name(name) {
            failed.insert(name.clone(), Reason::Invalid);
        } else if let Some(addresses) = hosts.addresses(name) {
            found.insert(name.clone(), addresses.clone());
        } else {
            open.push(name);
        }
    }

    if !open.is_empty() {
        let resolv_conf = if conf.servers.is_empty() {
            ResolvConf::parse(&read(&conf.resolv_conf)?)
                .map_err(|source| ResolveError::ResolvConf { path: conf.resolv_conf.clone(), source })?
        } else {
            ResolvConf::of_servers(&conf.servers)
        };
        let lookup = Lookup::new(&resolv_conf, deadline, conf.timeout);
        for (name, result) in at_once(&open, |name| lookup.addresses(name)) {
            match result {
                Ok(addresses) => drop(found.insert(name.clone(), addresses)),
                Err(reason) => drop(failed.insert(name.clone(), reason)),
            }
        }
    }
    if failed.is_empty() { Ok(found) } else { Err(ResolveError::Names(failed)) }
}

/// `work` for every item, each in a thread.
fn at_once<I: Copy + Send + Sync, T: Send>(items: &[I], work: impl Fn(I) -> T + Sync) -> Vec<(I, T)> {
    if let [only] = items {
        return vec![(*only, work(*only))];
    }
    let queue = Mutex::new(items.iter().copied());
    let done = Mutex::new(Vec::with_capacity(items.len()));
    std::thread::scope(|scope| {
        for _ in 0..items.len().min(MAX_THREADS) {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().ok().and_then(|mut queue| queue.next());
                    let Some(item) = next else { break };
                    let result = work(item);
                    if let Ok(mut done) = done.lock() {
                        done.push((item, result));
                    }
                }
            });
        }
    });
    // a panic of a thread has been passed on by the scope
    done.into_inner().unwrap_or_default()
}

/// A file's text; empty where there is no file.
fn read(path: &PathBuf) -> Result<String, ResolveError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(source) => Err(ResolveError::File { path: path.clone(), source }),
    }
}

/// Letters, digits, `-` and `_` in labels of 1 to 63, 253 in all; the last label is no number, as that would be a
/// mistyped address.
pub(crate) fn is_host_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    name.len() <= 253 && name.split('.').all(is_label) && !last.bytes().all(|byte| byte.is_ascii_digit())
}

struct Listed<'a>(&'a BTreeMap<String, Reason>);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cannot resolve ")?;
        for (at, (name, reason)) in self.0.iter().enumerate() {
            let separator = if at == 0 { "" } else { ", " };
            write!(f, "{separator}`{}`: {reason}", name.escape_debug())?;
        }
        Ok(())
    }
}

struct Servers<'a>(&'a [SocketAddr]);

impl fmt::Display for Servers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, server) in self.0.iter().enumerate() {
            let separator = if at == 0 { "" } else { ", " };
            write!(f, "{separator}{server}")?;
        }
        Ok(())
    }
}

struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} s", self.0.as_secs_f64())
    }
}

#[cfg(test)]
mod tests;
