//! Create options: what a set is made with. Each is read from its word and value, whether that came from the
//! configuration or from the `create` line of a saved set, and checked against the type.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use super::entry::render_address;
use super::kind::SetKind;
use super::number::{NumberError, parse_number};
use crate::nearest::nearest;
use crate::netfilter::Family;

/// Longest timeout in seconds: the kernel counts it in milliseconds in 31 bits (`ip_set_timeout_set`,
/// `linux/netfilter/ipset/ip_set.h`).
pub const TIMEOUT_MAX: u32 = (u32::MAX >> 1) / 1000;
/// Most elements of a bitmap (`IPSET_BITMAP_MAX_RANGE`, `linux/netfilter/ipset/ip_set_bitmap.h`).
const BITMAP_ELEMENTS_MAX: u64 = 65536;

/// A create option.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CreateKey {
    /// `family`
    Family,
    /// `hashsize`
    Hashsize,
    /// `maxelem`
    Maxelem,
    /// `netmask`
    Netmask,
    /// `bitmask`
    Bitmask,
    /// `markmask`
    Markmask,
    /// `timeout`
    Timeout,
    /// `counters`
    Counters,
    /// `comment`
    Comment,
    /// `forceadd`
    Forceadd,
    /// `skbinfo`
    Skbinfo,
    /// `bucketsize`
    Bucketsize,
    /// `initval`
    Initval,
    /// `range`
    Range,
    /// `size`
    Size,
}

impl CreateKey {
    /// All options.
    pub const ALL: [Self; 15] = [
        Self::Family,
        Self::Hashsize,
        Self::Maxelem,
        Self::Netmask,
        Self::Bitmask,
        Self::Markmask,
        Self::Timeout,
        Self::Counters,
        Self::Comment,
        Self::Forceadd,
        Self::Skbinfo,
        Self::Bucketsize,
        Self::Initval,
        Self::Range,
        Self::Size,
    ];

    /// The word of ipset.
    pub fn word(self) -> &'static str {
        match self {
            Self::Family => "family",
            Self::Hashsize => "hashsize",
            Self::Maxelem => "maxelem",
            Self::Netmask => "netmask",
            Self::Bitmask => "bitmask",
            Self::Markmask => "markmask",
            Self::Timeout => "timeout",
            Self::Counters => "counters",
            Self::Comment => "comment",
            Self::Forceadd => "forceadd",
            Self::Skbinfo => "skbinfo",
            Self::Bucketsize => "bucketsize",
            Self::Initval => "initval",
            Self::Range => "range",
            Self::Size => "size",
        }
    }

    /// The key of the configuration.
    pub fn config_key(self) -> &'static str {
        match self {
            Self::Family => "hashfamily",
            Self::Maxelem => "maxElem",
            other => other.word(),
        }
    }

    /// Whether it stands alone in ipset's syntax.
    pub fn is_flag(self) -> bool {
        matches!(self, Self::Counters | Self::Comment | Self::Forceadd | Self::Skbinfo)
    }

    /// Reads the word of ipset.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|key| key.word() == word)
    }

    /// Reads the key of the configuration.
    pub fn parse_config(key: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.config_key() == key)
    }
}

/// The range of a bitmap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BitmapRange {
    /// First and last address.
    Addresses(Ipv4Addr, Ipv4Addr),
    /// First and last port.
    Ports(u16, u16),
}

/// Create options as asked for; what is `None` is left to the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CreateOptions {
    /// `hashsize`: buckets at the start; the kernel makes it a power of two of at least 64 (default 1024).
    pub hashsize: Option<u32>,
    /// `maxelem`: most entries (default 65536).
    pub maxelem: Option<u32>,
    /// `netmask`: prefix length to which addresses are cut before they are stored.
    pub netmask: Option<u8>,
    /// `bitmask`: mask with which addresses are masked before they are stored.
    pub bitmask: Option<IpAddr>,
    /// `markmask`: mask of packet marks (default all ones).
    pub markmask: Option<u32>,
    /// `timeout`: default in seconds of entries, 0 for none; without it entries cannot have timeouts.
    pub timeout: Option<u32>,
    /// `bucketsize`: most entries in a bucket before the hash grows (2 to 12, even; default 12).
    pub bucketsize: Option<u8>,
    /// `initval`: seed of the hash; random where it is not given.
    pub initval: Option<u32>,
    /// `range` of a bitmap.
    pub range: Option<BitmapRange>,
    /// `size` of a list (default 8).
    pub size: Option<u32>,
    /// `counters`: entries count packets and bytes.
    pub counters: bool,
    /// `comment`: entries can have comments.
    pub comment: bool,
    /// `skbinfo`: entries can carry mark, priority and queue.
    pub skbinfo: bool,
    /// `forceadd`: a full set makes room by dropping a random entry.
    pub forceadd: bool,
}

/// What is wrong with an option: said of its value, or of the option where there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptionProblem {
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl OptionProblem {
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    fn number(text: &str, error: &NumberError) -> Self {
        Self::new(error.message(text))
    }
}

/// Reads a family: `inet`, `ipv4`, `inet6`, `ipv6`; checks it against the type.
///
/// # Errors
/// It is unknown, or the type has no such family.
pub fn parse_family(kind: SetKind, word: &str) -> Result<Family, OptionProblem> {
    use super::kind::KindFamilies;
    let family = match word {
        "inet" | "ipv4" => Family::Ipv4,
        "inet6" | "ipv6" => Family::Ipv6,
        _ => {
            let known = nearest(word, ["inet", "inet6", "ipv4", "ipv6"]).unwrap_or("inet` or `inet6");
            return Err(OptionProblem::new(format!("unknown family `{word}`")).hint(format!("use `{known}`")));
        }
    };
    match (kind.families(), family) {
        (KindFamilies::None, _) => {
            Err(OptionProblem::new(format!("`{kind}` has no family")).hint("leave it out"))
        }
        (KindFamilies::Ipv4, Family::Ipv6) => {
            Err(OptionProblem::new(format!("`{kind}` holds IPv4 addresses only")).hint("use a `hash` type"))
        }
        _ => Ok(family),
    }
}

impl CreateOptions {
    /// Sets one option from its text (`true` or `false` for flags). `family` is that of the set; the option
    /// `family` itself is read by [`parse_family`].
    ///
    /// # Errors
    /// The type does not take the option, or the value is bad.
    pub fn set(
        &mut self,
        key: CreateKey,
        value: &str,
        kind: SetKind,
        family: Option<Family>,
    ) -> Result<(), OptionProblem> {
        if key.is_flag() && value == "false" {
            return Ok(());
        }
        if !kind.create_keys().contains(&key) {
            let keys = kind.create_keys().iter().filter(|key| **key != CreateKey::Initval);
            let known: Vec<_> = keys.map(|key| key.config_key()).collect();
            return Err(OptionProblem::new(format!("`{kind}` has no option `{}`", key.word()))
                .hint(format!("it has {}", known.join(", "))));
        }
        let number = |max: u32| {
            parse_number(value, 0..=u64::from(max))
                .map(|number| number as u32)
                .map_err(|error| OptionProblem::number(value, &error))
        };
        match key {
            CreateKey::Family => {
                parse_family(kind, value)?;
            }
            CreateKey::Hashsize => self.hashsize = Some(number(u32::MAX)?),
            CreateKey::Maxelem => self.maxelem = Some(number(u32::MAX)?),
            CreateKey::Size => self.size = Some(number(u32::MAX)?),
            CreateKey::Initval => self.initval = Some(number(u32::MAX)?),
            CreateKey::Bucketsize => self.bucketsize = Some(number(u8::MAX.into())? as u8),
            CreateKey::Timeout => self.timeout = Some(number(TIMEOUT_MAX)?),
            CreateKey::Markmask => match number(u32::MAX)? {
                0 => return Err(OptionProblem::new("a `markmask` of 0 makes all marks the same")),
                mask => self.markmask = Some(mask),
            },
            CreateKey::Netmask => self.netmask = Some(parse_netmask(value, family)?),
            CreateKey::Bitmask => self.bitmask = Some(parse_bitmask(value, family)?),
            CreateKey::Range => {
                self.range = Some(match kind {
                    SetKind::BitmapPort => parse_port_range(value)?,
                    _ => parse_address_range(value)?,
                });
            }
            CreateKey::Counters | CreateKey::Comment | CreateKey::Skbinfo | CreateKey::Forceadd => {
                if value != "true" {
                    return Err(OptionProblem::new(format!("`{value}` is neither true nor false")));
                }
                match key {
                    CreateKey::Counters => self.counters = true,
                    CreateKey::Comment => self.comment = true,
                    CreateKey::Skbinfo => self.skbinfo = true,
                    _ => self.forceadd = true,
                }
            }
        }
        Ok(())
    }

    /// Checks what only shows when all options are known.
    ///
    /// # Errors
    /// Options are missing or exclude each other.
    pub fn check(&self, kind: SetKind) -> Result<(), OptionProblem> {
        if self.netmask.is_some() && self.bitmask.is_some() {
            return Err(OptionProblem::new("`netmask` and `bitmask` exclude each other"));
        }
        if !kind.is_bitmap() {
            return Ok(());
        }
        let Some(range) = self.range else {
            let example = if kind == SetKind::BitmapPort { "0-1023" } else { "10.0.0.0/24" };
            return Err(OptionProblem::new(format!("`{kind}` needs a `range`"))
                .hint(format!("for example \"range\": \"{example}\"")));
        };
        if let BitmapRange::Addresses(first, last) = range {
            let elements = self.bitmap_elements(first.into(), last.into())?;
            if elements > BITMAP_ELEMENTS_MAX {
                return Err(OptionProblem::new(format!(
                    "a range of {elements} elements is more than a bitmap can hold ({BITMAP_ELEMENTS_MAX})"
                ))
                .hint("use `hash:ip`, or a `netmask`"));
            }
        }
        Ok(())
    }

    /// How many elements the range has: addresses, or blocks where there is a netmask (`bitmap_ip_create`,
    /// `net/netfilter/ipset/ip_set_bitmap_ip.c`).
    fn bitmap_elements(&self, first: u32, last: u32) -> Result<u64, OptionProblem> {
        let netmask = u32::from(self.netmask.unwrap_or(32));
        if netmask == 32 {
            return Ok(u64::from(last) - u64::from(first) + 1);
        }
        let hosts = u32::MAX >> netmask;
        let (first, last) = (first & !hosts, last | hosts);
        let differing = first ^ last;
        // a block: all bits that differ are the lowest ones, 0 in the first and 1 in the last address
        let is_block = differing & differing.wrapping_add(1) == 0 && first & differing == 0;
        let prefix = differing.leading_zeros();
        if !is_block || netmask <= prefix {
            return Err(OptionProblem::new(format!(
                "the range, cut to blocks of /{netmask}, is no block of at least two of them"
            ))
            .hint("give a `range` like 10.0.0.0/16 that is wider than the `netmask`"));
        }
        Ok(1 << (netmask - prefix))
    }

    /// The options as `ipset save` prints them, each with a blank before it, those that are `None` left out.
    pub fn render(&self, kind: SetKind, family: Option<Family>) -> String {
        let mut text = String::new();
        for key in kind.create_keys() {
            let value = match key {
                CreateKey::Family => family.map(|family| render_family(family).to_owned()),
                CreateKey::Hashsize => self.hashsize.map(|number| number.to_string()),
                CreateKey::Maxelem => self.maxelem.map(|number| number.to_string()),
                CreateKey::Netmask => self.netmask.map(|number| number.to_string()),
                CreateKey::Bitmask => self.bitmask.map(render_address),
                CreateKey::Markmask => self.markmask.map(|mask| format!("0x{mask:08x}")),
                CreateKey::Timeout => self.timeout.map(|number| number.to_string()),
                CreateKey::Bucketsize => self.bucketsize.map(|number| number.to_string()),
                CreateKey::Initval => self.initval.map(|seed| format!("0x{seed:08x}")),
                CreateKey::Size => self.size.map(|number| number.to_string()),
                CreateKey::Range => self.range.map(|range| match range {
                    BitmapRange::Addresses(first, last) => format!("{first}-{last}"),
                    BitmapRange::Ports(first, last) => format!("{first}-{last}"),
                }),
                CreateKey::Counters => self.counters.then(String::new),
                CreateKey::Comment => self.comment.then(String::new),
                CreateKey::Forceadd => self.forceadd.then(String::new),
                CreateKey::Skbinfo => self.skbinfo.then(String::new),
            };
            if let Some(value) = value {
                let gap = if value.is_empty() { "" } else { " " };
                // writing to a string cannot fail
                let _ = write!(text, " {}{gap}{value}", key.word());
            }
        }
        text
    }
}

/// `inet` or `inet6`
pub fn render_family(family: Family) -> &'static str {
    match family {
        Family::Ipv4 => "inet",
        Family::Ipv6 => "inet6",
    }
}

fn parse_netmask(value: &str, family: Option<Family>) -> Result<u8, OptionProblem> {
    let max = prefix_max(family.unwrap_or(Family::Ipv4));
    let value = value.strip_prefix('/').unwrap_or(value);
    parse_number(value, 1..=u64::from(max)).map(|number| number as u8).map_err(|error| {
        OptionProblem::number(value, &error).hint(format!("a prefix length from 1 to {max}, like 24"))
    })
}

fn parse_bitmask(value: &str, family: Option<Family>) -> Result<IpAddr, OptionProblem> {
    match (value.parse::<IpAddr>(), family) {
        (Ok(mask), _) if mask.is_unspecified() => {
            Err(OptionProblem::new(format!("bitmask `{value}` makes all addresses the same")))
        }
        (Ok(mask @ IpAddr::V4(_)), Some(Family::Ipv4)) | (Ok(mask @ IpAddr::V6(_)), Some(Family::Ipv6)) => {
            Ok(mask)
        }
        (_, family) => {
            let example = if family == Some(Family::Ipv6) { "ffff:ffff::" } else { "255.255.0.255" };
            Err(OptionProblem::new(format!("`{value}` is no mask of the set's family"))
                .hint(format!("write it as an address, like {example}")))
        }
    }
}

fn parse_address_range(value: &str) -> Result<BitmapRange, OptionProblem> {
    let bad = || {
        OptionProblem::new(format!("`{value}` is no range of IPv4 addresses"))
            .hint("write 10.0.0.0/24 or 10.0.0.1-10.0.0.99")
    };
    let address = |text: &str| text.parse::<Ipv4Addr>().map_err(|_| bad());
    if let Some((block, prefix)) = value.split_once('/') {
        let address = u32::from(address(block)?);
        // the kernel takes no /32 here
        let prefix = parse_number(prefix, 0..=31).map_err(|_| bad())?;
        let hosts = u32::MAX.checked_shr(prefix as u32).unwrap_or(0);
        return Ok(BitmapRange::Addresses((address & !hosts).into(), (address | hosts).into()));
    }
    let (first, last) = value.split_once('-').ok_or_else(bad)?;
    let (first, last) = (address(first)?, address(last)?);
    Ok(BitmapRange::Addresses(first.min(last), first.max(last)))
}

fn parse_port_range(value: &str) -> Result<BitmapRange, OptionProblem> {
    let bad = || OptionProblem::new(format!("`{value}` is no range of ports")).hint("write it like 0-1023");
    let numbers = ["tcp:", "udp:"].iter().find_map(|protocol| value.strip_prefix(protocol)).unwrap_or(value);
    let (first, last) = numbers.split_once('-').ok_or_else(bad)?;
    let port = |text| parse_number(text, 0..=65535).map(|port| port as u16).map_err(|_| bad());
    let (first, last) = (port(first)?, port(last)?);
    Ok(BitmapRange::Ports(first.min(last), first.max(last)))
}

/// Longest prefix of a family's addresses.
pub fn prefix_max(family: Family) -> u8 {
    match family {
        Family::Ipv4 => 32,
        Family::Ipv6 => 128,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(kind: SetKind, family: Option<Family>, options: &[(CreateKey, &str)]) -> Result<String, String> {
        let mut all = CreateOptions::default();
        for (key, value) in options {
            all.set(*key, value, kind, family).map_err(|problem| problem.message)?;
        }
        all.check(kind).map_err(|problem| problem.message)?;
        Ok(all.render(kind, family))
    }

    #[test]
    fn options_come_out_in_the_order_of_ipset_save() {
        let all = [
            (CreateKey::Skbinfo, "true"),
            (CreateKey::Timeout, "0x10"),
            (CreateKey::Netmask, "24"),
            (CreateKey::Hashsize, "4096"),
            (CreateKey::Counters, "true"),
            (CreateKey::Comment, "false"),
        ];
        assert_eq!(
            set(SetKind::HashIp, Some(Family::Ipv4), &all),
            Ok(" family inet hashsize 4096 netmask 24 timeout 16 counters skbinfo".into())
        );
        assert_eq!(
            set(SetKind::HashIpPort, Some(Family::Ipv6), &all),
            Ok(" family inet6 hashsize 4096 timeout 16 counters skbinfo netmask 24".into())
        );
        assert_eq!(
            set(SetKind::BitmapIp, Some(Family::Ipv4), &[(CreateKey::Range, "10.0.0.7/24")]),
            Ok(" range 10.0.0.0-10.0.0.255".into())
        );
    }

    #[test]
    fn bad_values_say_what_is_wrong() {
        let v4 = Some(Family::Ipv4);
        for (kind, family, key, value, message) in [
            (SetKind::HashNet, v4, CreateKey::Netmask, "24", "`hash:net` has no option `netmask`"),
            (SetKind::ListSet, None, CreateKey::Hashsize, "64", "`list:set` has no option `hashsize`"),
            (SetKind::HashIp, v4, CreateKey::Netmask, "33", "`33` is not in 1 to 32"),
            (SetKind::HashIp, v4, CreateKey::Netmask, "0", "`0` is not in 1 to 32"),
            (SetKind::HashIp, v4, CreateKey::Timeout, "2147484", "`2147484` is not in 0 to 2147483"),
            (SetKind::HashIp, v4, CreateKey::Maxelem, "4294967296", "`4294967296` is not in 0 to 4294967295"),
            (SetKind::HashIp, v4, CreateKey::Bucketsize, "many", "`many` is not a whole number"),
            (SetKind::HashIp, v4, CreateKey::Bitmask, "ffff::", "`ffff::` is no mask of the set's family"),
            (
                SetKind::HashIp,
                v4,
                CreateKey::Bitmask,
                "0.0.0.0",
                "bitmask `0.0.0.0` makes all addresses the same",
            ),
            (SetKind::HashIpMark, v4, CreateKey::Markmask, "0", "a `markmask` of 0 makes all marks the same"),
            (SetKind::BitmapPort, None, CreateKey::Range, "80", "`80` is no range of ports"),
            (
                SetKind::BitmapIp,
                v4,
                CreateKey::Range,
                "10.0.0.0/32",
                "`10.0.0.0/32` is no range of IPv4 addresses",
            ),
            (SetKind::HashIp, v4, CreateKey::Counters, "yes", "`yes` is neither true nor false"),
        ] {
            assert_eq!(set(kind, family, &[(key, value)]), Err(message.into()));
        }
    }

    #[test]
    fn a_bitmap_needs_a_range_that_fits() {
        let range = |range, netmask: Option<&'static str>| {
            let mut options = vec![(CreateKey::Range, range)];
            options.extend(netmask.map(|netmask| (CreateKey::Netmask, netmask)));
            set(SetKind::BitmapIp, Some(Family::Ipv4), &options).is_ok()
        };
        assert_eq!(set(SetKind::BitmapPort, None, &[]), Err("`bitmap:port` needs a `range`".into()));
        assert!(range("10.0.0.0/16", None));
        assert!(!range("10.0.0.0/15", None));
        assert!(range("10.0.0.0/8", Some("24")));
        assert!(!range("10.0.0.0/7", Some("24")));
        assert!(range("0.0.0.0/0", Some("16")));
        // the kernel widens the range to whole blocks first
        assert!(range("10.0.0.5-10.0.255.7", Some("24")));
        assert!(!range("10.0.0.0/24", Some("24")));
        assert!(!range("10.0.0.0-10.0.2.255", Some("24")));
    }

    #[test]
    fn families_are_those_of_the_type() {
        assert_eq!(parse_family(SetKind::HashNet, "inet6"), Ok(Family::Ipv6));
        assert_eq!(parse_family(SetKind::BitmapIp, "inet"), Ok(Family::Ipv4));
        assert!(parse_family(SetKind::BitmapIp, "inet6").is_err());
        assert!(parse_family(SetKind::BitmapPort, "inet").is_err());
        let unknown = parse_family(SetKind::HashIp, "inet7").expect_err("unknown");
        assert_eq!(unknown.message, "unknown family `inet7`");
    }
}
