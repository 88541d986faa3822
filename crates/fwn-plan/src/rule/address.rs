//! What stands after `-s` and `-d`: addresses with masks, host names, lists of both. Text in, [`Host`]s out;
//! no name is resolved here.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Network;
use crate::netfilter::{Families, Family};

/// One element of a list of sources or destinations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// An address, or the network of an address and a mask.
    Network(Network),
    /// A name to resolve, as written.
    Name(String),
}

/// Why a text is no address, mask or name, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressProblem {
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl Host {
    /// The families in which it can be an address: both for a name.
    pub fn families(&self) -> Families {
        match self {
            Self::Network(network) => Families::only(network.family()),
            Self::Name(_) => Families::BOTH,
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(network) => network.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl Network {
    /// The network of an address and a mask, host bits cleared; `None` if they are of different families.
    pub fn new(address: IpAddr, mask: IpAddr) -> Option<Self> {
        let address = match (address, mask) {
            (IpAddr::V4(address), IpAddr::V4(mask)) => IpAddr::V4(address & mask),
            (IpAddr::V6(address), IpAddr::V6(mask)) => IpAddr::V6(address & mask),
            _ => return None,
        };
        Some(Self { address, mask })
    }

    /// One address: all bits of the mask set.
    pub fn host(address: IpAddr) -> Self {
        let mask = match address {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from_bits(u32::MAX)),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from_bits(u128::MAX)),
        };
        Self { address, mask }
    }

    /// Its family.
    pub fn family(&self) -> Family {
        if self.address.is_ipv4() { Family::Ipv4 } else { Family::Ipv6 }
    }

    /// Length of the mask in bits; `None` if it has holes.
    pub fn prefix(&self) -> Option<u8> {
        let (ones, rest) = match self.mask {
            IpAddr::V4(mask) => (mask.to_bits().leading_ones(), mask.to_bits().count_ones()),
            IpAddr::V6(mask) => (mask.to_bits().leading_ones(), mask.to_bits().count_ones()),
        };
        (ones == rest).then_some(ones as u8)
    }
}

impl fmt::Display for Network {
    /// As `iptables-save` writes it: `10.0.0.0/8`, `10.0.0.1/255.0.0.255`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.prefix() {
            Some(length) => write!(f, "{}/{length}", self.address),
            None => write!(f, "{}/{}", self.address, self.mask),
        }
    }
}

/// Reads the value of `-s` or `-d`: a list parted by commas. `None` for `any`, which binds nothing; unlike
/// `0.0.0.0/0` and `::/0`, which leave one family only.
///
/// # Errors
/// The first element that is neither an address nor a host name. What looks like a wrong number (`10.0.0.300`) is
/// not taken for a name.
pub fn parse_hosts(text: &str) -> Result<Option<Vec<Host>>, AddressProblem> {
    if text == "any" || text == "any/0" {
        return Ok(None);
    }
    // iptables skips blanks after a comma
    text.split(',').map(|element| parse_host(element.trim_start())).collect::<Result<_, _>>().map(Some)
}

fn parse_host(text: &str) -> Result<Host, AddressProblem> {
    if text.is_empty() {
        return Err(problem("empty address".into(), None));
    }
    if let Some(rest) = text.strip_prefix('!') {
        let hint = format!("put `!` before the option, as a word of its own: `! -s {rest}`");
        return Err(problem(format!("invalid address `{text}`"), Some(hint)));
    }
    let (address, mask) = match text.rsplit_once('/') {
        Some((address, mask)) => (address, Some(mask)),
        None => (text, None),
    };
    match (parse_address(address, mask.is_some()), mask) {
        (Some(address), None) => Ok(Host::Network(Network::host(address))),
        (Some(address), Some(mask)) => {
            let mask = parse_mask(mask, address).ok_or_else(|| {
                let bits = if address.is_ipv4() { 32 } else { 128 };
                let hint = format!("a length from 0 to {bits}, or a mask of the same family as the address");
                problem(format!("invalid mask `{mask}` in `{text}`"), Some(hint))
            })?;
            Network::new(address, mask).map(Host::Network).ok_or_else(|| not_an_address(text))
        }
        (None, None) => parse_name(address).map(Host::Name),
        (None, Some(_)) if parse_name(address).is_ok() => {
            let hint = "a name stands for single addresses; write a network in numbers".to_owned();
            Err(problem(format!("mask after the host name in `{text}`"), Some(hint)))
        }
        (None, Some(_)) => Err(not_an_address(text)),
    }
}

/// `short`: `10/8` and `192.168/16` are as good as `10.0.0.0/8`. Without a mask they are not: iptables takes `10.1`
/// for the single address 10.1.0.0, which nobody means.
fn parse_address(text: &str, short: bool) -> Option<IpAddr> {
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let missing = 3_usize.checked_sub(text.matches('.').count()).filter(|missing| short && *missing > 0)?;
    format!("{text}{}", ".0".repeat(missing)).parse::<Ipv4Addr>().ok().map(IpAddr::V4)
}

fn parse_mask(text: &str, address: IpAddr) -> Option<IpAddr> {
    // the C library reads a leading zero as octal: better none than another one
    let plain = !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_digit())
        && (text == "0" || !text.starts_with('0'));
    let length = if plain { Some(text.parse::<u32>().ok()?) } else { None };
    match (address, length) {
        (IpAddr::V4(_), Some(length @ 0..=32)) => {
            let bits = u32::MAX.checked_shl(32 - length).unwrap_or(0);
            Some(IpAddr::V4(Ipv4Addr::from_bits(bits)))
        }
        (IpAddr::V6(_), Some(length @ 0..=128)) => {
            let bits = u128::MAX.checked_shl(128 - length).unwrap_or(0);
            Some(IpAddr::V6(Ipv6Addr::from_bits(bits)))
        }
        (_, Some(_)) => None,
        (_, None) => text.parse::<IpAddr>().ok().filter(|mask| mask.is_ipv4() == address.is_ipv4()),
    }
}

/// A host name: labels as in RFC 1123, section 2.1, and the underscore that service names have.
fn parse_name(text: &str) -> Result<String, AddressProblem> {
    let name = text.strip_suffix('.').unwrap_or(text);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = name.rsplit('.').next().unwrap_or(name);
    // no top-level domain is a number, so this was meant to be an address
    let number = last.bytes().all(|b| b.is_ascii_digit())
        || last.strip_prefix("0x").is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
    if name.contains(':') || number {
        return Err(not_an_address(text));
    }
    if name.len() > 253 || !name.split('.').all(label) {
        return Err(problem(format!("`{text}` is neither an address nor a host name"), None));
    }
    Ok(text.to_owned())
}

fn not_an_address(text: &str) -> AddressProblem {
    let hint = text.starts_with('[').then(|| "write the address without brackets".to_owned());
    problem(format!("invalid address `{text}`"), hint)
}

fn problem(message: String, hint: Option<String>) -> AddressProblem {
    AddressProblem { message, hint }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Result<String, String> {
        match parse_hosts(text) {
            Ok(None) => Ok("any".into()),
            Ok(Some(hosts)) => Ok(hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")),
            Err(problem) => Err(problem.message),
        }
    }

    #[test]
    fn numbers_become_networks_without_host_bits() {
        for (text, network) in [
            ("10.0.0.1", "10.0.0.1/32"),
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("10/8", "10.0.0.0/8"),
            ("192.168/16", "192.168.0.0/16"),
            ("0/0", "0.0.0.0/0"),
            ("10.1.2.3/255.255.255.0", "10.1.2.0/24"),
            // what iptables-save 1.8.9 prints for it
            ("10.0.0.1/0.255.0.255", "0.0.0.1/0.255.0.255"),
            ("2001:db8::1", "2001:db8::1/128"),
            ("2001:db8::1/64", "2001:db8::/64"),
            ("2001:db8::1/ffff::", "2001::/16"),
            ("::/0", "::/0"),
            ("::1/ffff::1", "::1/ffff::1"),
        ] {
            assert_eq!(shown(text), Ok(network.into()), "{text}");
        }
    }

    #[test]
    fn lists_mix_numbers_and_names() {
        assert_eq!(shown("10.0.0.1,web.example, _db.x"), Ok("10.0.0.1/32 web.example _db.x".into()));
        assert_eq!(shown("any"), Ok("any".into()));
        assert_eq!(shown("any/0"), Ok("any".into()));
        assert_eq!(shown("webchat.marathon.mesos"), Ok("webchat.marathon.mesos".into()));
        assert_eq!(shown("example.com."), Ok("example.com.".into()));
        assert_eq!(shown("3com"), Ok("3com".into()));
    }

    #[test]
    fn wrong_numbers_are_no_names() {
        for text in [
            "10.0.0.300",
            "10.0.0/33",
            "10.0.0.0/33",
            "10.0.0.0/08",
            "10.0.0.0/",
            "10.0.0.0/8/8",
            "10.0.0.0/ffff::",
            "2001:db8::/255.0.0.0",
            "2001:db8::/129",
            "010.0.0.1",
            "10.0.0",
            "10",
            "0x7f.1",
            "1.2.3.4.5",
            "1.2.3.4.5/8",
            "2001:db8",
            "fe80::1%eth0",
            "[::1]",
            "",
            "10.0.0.1,",
            ",10.0.0.1",
            "-web",
            "web-.example",
            "web..example",
            "web/24",
            "w b",
            "!10.0.0.1",
            ".",
        ] {
            assert!(shown(text).is_err(), "{text}: {:?}", shown(text));
        }
        assert!(shown(&"a".repeat(64)).is_err());
        assert!(shown(&["a".repeat(63).as_str(); 4].join(".")).is_err());
    }
}
