//! The host's `hosts` and `resolv.conf`, and servers as written in the configuration: text to values. Opens only
//! what tells an interface's index.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;

/// The DNS port, RFC 1035.
const PORT: u16 = 53;
/// `MAXNS` of <resolv.h>: servers beyond are not asked.
const MAX_SERVERS: usize = 3;

/// Names and addresses of a `hosts` file.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    by_name: HashMap<String, BTreeSet<IpAddr>>,
}

impl Hosts {
    /// Lines of an address and its names. What is none is passed over as the C library does: the file is not
    /// ours, and macOS and cloud images put odd lines there.
    pub(super) fn parse(text: &str) -> Self {
        let mut hosts = Self::default();
        for line in text.lines() {
            let mut words = line.split('#').next().unwrap_or_default().split_ascii_whitespace();
            let Some(Ok(address)) = words.next().map(str::parse::<IpAddr>) else { continue };
            for name in words {
                hosts.by_name.entry(key(name)).or_default().insert(address);
            }
        }
        hosts
    }

    pub(super) fn addresses(&self, name: &str) -> Option<&BTreeSet<IpAddr>> {
        self.by_name.get(&key(name))
    }
}

fn key(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// Whom to ask, as `resolv.conf` tells it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ResolvConf {
    pub(super) servers: Vec<SocketAddr>,
    pub(super) search: Vec<String>,
    /// A name with so many dots is tried as it stands first.
    pub(super) ndots: usize,
    /// How long to wait for one server, where it is given.
    pub(super) interval: Option<Duration>,
    /// How often each server is asked.
    pub(super) attempts: usize,
}

impl ResolvConf {
    /// Just these servers, no search list.
    pub(super) fn of_servers(servers: &[SocketAddr]) -> Self {
        Self { servers: servers.to_vec(), search: Vec::new(), ndots: 1, interval: None, attempts: 2 }
    }

    /// See resolv.conf(5); options that do not concern us are passed over, numbers are capped as there.
    pub(super) fn parse(text: &str) -> Result<Self, ServerError> {
        let mut conf = Self::of_servers(&[]);
        for line in text.lines() {
            let line = line.split([';', '#']).next().unwrap_or_default();
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") => {
                    if let Some(server) = words.next().filter(|_| conf.servers.len() < MAX_SERVERS) {
                        let address = parse_address(server)
                            .ok_or_else(|| ServerError::Address { text: server.to_owned() })?;
                        conf.servers.push(address.with_port(server, PORT)?);
                    }
                }
                // the last of the two counts
                Some("domain") => conf.search = words.take(1).map(str::to_owned).collect(),
                Some("search") => conf.search = words.map(str::to_owned).collect(),
                Some("options") => words.for_each(|option| conf.option(option)),
                _ => {}
            }
        }
        if conf.servers.is_empty() {
            conf.servers.push((Ipv4Addr::LOCALHOST, PORT).into());
        }
        conf.search.retain_mut(|suffix| {
            *suffix = suffix.trim_matches('.').to_owned();
            !suffix.is_empty()
        });
        Ok(conf)
    }

    fn option(&mut self, option: &str) {
        let Some((name, Ok(number))) = option.split_once(':').map(|(name, text)| (name, text.parse::<u16>()))
        else {
            return;
        };
        // caps: RES_MAXNDOTS, RES_MAXRETRANS and RES_MAXRETRY of <resolv.h>
        match name {
            "ndots" => self.ndots = number.min(15).into(),
            "timeout" => self.interval = Some(Duration::from_secs(number.clamp(1, 30).into())),
            "attempts" => self.attempts = number.clamp(1, 5).into(),
            _ => {}
        }
    }

    /// The full names to try for a name, in order.
    pub(super) fn candidates(&self, name: &str) -> Vec<String> {
        if let Some(absolute) = name.strip_suffix('.') {
            return vec![absolute.to_owned()];
        }
        let mut candidates: Vec<_> = self
            .search
            .iter()
            .map(|suffix| format!("{name}.{suffix}"))
            .filter(|name| name.len() <= 253)
            .collect();
        let as_is = if name.matches('.').count() >= self.ndots { 0 } else { candidates.len() };
        candidates.insert(as_is, name.to_owned());
        candidates
    }
}

/// Why a text names no server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServerError {
    /// No address, or an address with a bad port.
    #[error("`{text}` is not a server; write `10.0.0.53`, `10.0.0.53:53` or `[fd00::53]:53`")]
    Address {
        /// As written.
        text: String,
    },
    /// `fe80::1%eth7` without such an interface.
    #[error("no interface `{interface}` for server `{text}`")]
    Interface {
        /// As written.
        text: String,
        /// Behind the `%`.
        interface: String,
    },
}

/// A server as written: an IPv4 or IPv6 address, the latter perhaps with `%INTERFACE`, perhaps with a port (IPv6
/// then in brackets). Without a port it is 53.
///
/// # Errors
/// If it is none, its port is 0 or too large, or there is no such interface.
pub(crate) fn parse_server(text: &str) -> Result<SocketAddr, ServerError> {
    let bad = || ServerError::Address { text: text.to_owned() };
    if let Some(address) = parse_address(text) {
        return address.with_port(text, PORT);
    }
    let (address, port) = if let Some(rest) = text.strip_prefix('[') {
        let (address, after) = rest.split_once(']').ok_or_else(bad)?;
        let port = if after.is_empty() { None } else { Some(after.strip_prefix(':').ok_or_else(bad)?) };
        (parse_address(address).filter(|address| address.ip.is_ipv6()), port)
    } else {
        let (address, port) = text.split_once(':').ok_or_else(bad)?;
        (parse_address(address).filter(|address| address.ip.is_ipv4()), Some(port))
    };
    let port = match port {
        None => PORT,
        Some(port) if port.bytes().all(|digit| digit.is_ascii_digit()) => port.parse().map_err(|_| bad())?,
        Some(_) => return Err(bad()),
    };
    if port == 0 {
        return Err(bad());
    }
    address.ok_or_else(bad)?.with_port(text, port)
}

/// An address and what stood behind its `%`.
struct Scoped<'t> {
    ip: IpAddr,
    interface: Option<&'t str>,
}

fn parse_address(text: &str) -> Option<Scoped<'_>> {
    match text.split_once('%') {
        None => Some(Scoped { ip: text.parse().ok()?, interface: None }),
        Some((address, interface)) => {
            let ip: Ipv6Addr = address.parse().ok()?;
            Some(Scoped { ip: ip.into(), interface: Some(interface) })
        }
    }
}

impl Scoped<'_> {
    fn with_port(&self, text: &str, port: u16) -> Result<SocketAddr, ServerError> {
        let (IpAddr::V6(ip), Some(interface)) = (self.ip, self.interface) else {
            return Ok((self.ip, port).into());
        };
        let unknown = || ServerError::Interface { text: text.to_owned(), interface: interface.to_owned() };
        let scope = match interface.parse() {
            Ok(index) => index,
            Err(_) if interface.is_empty() || interface.contains('/') || interface.starts_with('.') => {
                return Err(unknown());
            }
            Err(_) => std::fs::read_to_string(format!("/sys/class/net/{interface}/ifindex"))
                .ok()
                .and_then(|index| index.trim().parse().ok())
                .ok_or_else(unknown)?,
        };
        Ok(SocketAddrV6::new(ip, port, 0, scope).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_have_both_families_and_aliases() {
        let hosts = Hosts::parse(
            "127.0.0.1 localhost\n# 1.1.1.1 no\n10.0.0.1\tWeb.example web # www\nfd00::1 web\nx y\nfe80::1%lo0 web\n",
        );
        let addresses = |name: &str| {
            hosts.addresses(name).map(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
        };
        assert_eq!(addresses("WEB").as_deref(), Some("10.0.0.1 fd00::1"));
        assert_eq!(addresses("web.example.").as_deref(), Some("10.0.0.1"));
        assert_eq!((addresses("www"), addresses("no"), addresses("y")), (None, None, None));
    }

    #[test]
    fn resolv_conf_is_read_as_by_the_c_library() {
        let conf = ResolvConf::parse(
            "; comment\ndomain first.example\nsearch a.example. b.example # c\nnameserver 10.0.0.1\n\
             nameserver fd00::1\nnameserver fe80::1%lo\nnameserver 10.0.0.4\noptions ndots:99 timeout:2 rotate\n\
             options attempts:4\n",
        )
        .expect("is right");
        let servers: Vec<_> = conf.servers.iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["10.0.0.1:53", "[fd00::1]:53", "[fe80::1%1]:53"]);
        assert_eq!(conf.search, ["a.example", "b.example"]);
        assert_eq!((conf.ndots, conf.interval, conf.attempts), (15, Some(Duration::from_secs(2)), 4));
        assert_eq!(ResolvConf::parse("").expect("empty").servers, ["127.0.0.1:53".parse().expect("address")]);
        assert!(ResolvConf::parse("nameserver dns.example\n").is_err());
    }

    #[test]
    fn candidates_follow_ndots() {
        let conf = ResolvConf::parse("search x y\noptions ndots:2\n").expect("is right");
        assert_eq!(conf.candidates("a.b"), ["a.b.x", "a.b.y", "a.b"]);
        assert_eq!(conf.candidates("a.b.c"), ["a.b.c", "a.b.c.x", "a.b.c.y"]);
        assert_eq!(conf.candidates("a."), ["a"]);
    }

    #[test]
    fn servers_are_addresses_with_perhaps_a_port() {
        for (text, address) in [
            ("10.0.0.53", "10.0.0.53:53"),
            ("10.0.0.53:5353", "10.0.0.53:5353"),
            ("[fd00::53]:54", "[fd00::53]:54"),
            ("[fd00::53]", "[fd00::53]:53"),
            ("fd00::53", "[fd00::53]:53"),
            ("[fe80::1%lo]:53", "[fe80::1%1]:53"),
            ("fe80::1%7", "[fe80::1%7]:53"),
        ] {
            assert_eq!(parse_server(text).expect(text).to_string(), address);
        }
        for text in [
            "",
            "dns.example",
            "10.0.0.53:",
            "10.0.0.53:0",
            "10.0.0.53:+53",
            "10.0.0.53:65536",
            "10.0.0:53",
            "[10.0.0.53]:53",
            "[fd00::53]53",
            "[fd00::53",
            "fe80::1%nosuch0",
            "fe80::1%../lo",
            "10.0.0.1%lo",
            " 10.0.0.53",
        ] {
            parse_server(text).expect_err(text);
        }
    }
}
