//! The nouns that the kernel and iptables share: families, tables, hooks, built-in chains, policies.

use std::fmt;

/// An IP family of nf_tables: the `ip` and the `ip6` half of every table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4: `iptables`, nf_tables family `ip`.
    Ipv4,
    /// IPv6: `ip6tables`, nf_tables family `ip6`.
    Ipv6,
}

impl Family {
    /// Both, in the order in which they are applied and listed.
    pub const ALL: [Self; 2] = [Self::Ipv4, Self::Ipv6];

    /// The word for it in configuration and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
        }
    }

    /// Reads `ipv4` or `ipv6`.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|family| family.name() == word)
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of families: what a rule's words leave open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Families {
    ipv4: bool,
    ipv6: bool,
}

impl Families {
    /// IPv4 and IPv6.
    pub const BOTH: Self = Self { ipv4: true, ipv6: true };
    /// IPv4 alone.
    pub const IPV4: Self = Self { ipv4: true, ipv6: false };
    /// IPv6 alone.
    pub const IPV6: Self = Self { ipv4: false, ipv6: true };
    /// Neither: what is left when two words of a rule exclude each other.
    pub const NONE: Self = Self { ipv4: false, ipv6: false };

    /// Just this one.
    pub fn only(family: Family) -> Self {
        Self { ipv4: family == Family::Ipv4, ipv6: family == Family::Ipv6 }
    }

    /// Whether `family` is in the set.
    pub fn contains(self, family: Family) -> bool {
        match family {
            Family::Ipv4 => self.ipv4,
            Family::Ipv6 => self.ipv6,
        }
    }

    /// What both sets hold.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { ipv4: self.ipv4 && other.ipv4, ipv6: self.ipv6 && other.ipv6 }
    }

    /// What either set holds.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self { ipv4: self.ipv4 || other.ipv4, ipv6: self.ipv6 || other.ipv6 }
    }

    /// Whether no family is left.
    pub fn is_empty(self) -> bool {
        self == Self::NONE
    }

    /// The families in the set, IPv4 first.
    pub fn iter(self) -> impl Iterator<Item = Family> {
        Family::ALL.into_iter().filter(move |family| self.contains(*family))
    }
}

impl fmt::Display for Families {
    /// For messages: `IPv4`, `IPv6`, `IPv4 and IPv6`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.ipv4, self.ipv6) {
            (true, true) => "IPv4 and IPv6",
            (true, false) => "IPv4",
            (false, true) => "IPv6",
            (false, false) => "no family",
        })
    }
}

impl From<Option<Family>> for Families {
    /// A `family` key: absent means both.
    fn from(family: Option<Family>) -> Self {
        family.map_or(Self::BOTH, Self::only)
    }
}

/// A table of iptables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// `filter`, the default.
    Filter,
    /// `nat`
    Nat,
    /// `mangle`
    Mangle,
    /// `raw`
    Raw,
    /// `security`
    Security,
}

impl Table {
    /// All tables, `filter` first.
    pub const ALL: [Self; 5] = [Self::Filter, Self::Nat, Self::Mangle, Self::Raw, Self::Security];

    /// Its name in iptables and nf_tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Filter => "filter",
            Self::Nat => "nat",
            Self::Mangle => "mangle",
            Self::Raw => "raw",
            Self::Security => "security",
        }
    }

    /// Reads a table's name.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|table| table.name() == word)
    }

    /// The hooks at which it has built-in chains, in the order of `iptables-save`.
    pub fn hooks(self) -> &'static [Hook] {
        use Hook::{Forward, Input, Output, Postrouting, Prerouting};
        match self {
            Self::Filter | Self::Security => &[Input, Forward, Output],
            Self::Nat => &[Prerouting, Input, Output, Postrouting],
            Self::Mangle => &[Prerouting, Input, Forward, Output, Postrouting],
            Self::Raw => &[Prerouting, Output],
        }
    }

    /// The built-in chain called `name`, if this table has it.
    pub fn builtin(self, name: &str) -> Option<Hook> {
        self.hooks().iter().copied().find(|hook| hook.chain() == name)
    }

    /// Priority of the base chain at `hook`, as iptables-nft gives it (`xtables_ipv4` in its `nft.c`): the values
    /// of `linux/netfilter_ipv4.h`, except for `security`, where the header has 50.
    pub fn priority(self, hook: Hook) -> i32 {
        match self {
            Self::Raw => -300,
            Self::Mangle => -150,
            Self::Filter => 0,
            Self::Security => 150,
            Self::Nat => match hook {
                Hook::Input | Hook::Postrouting => 100,
                _ => -100,
            },
        }
    }

    /// Type of the base chain at `hook`: `filter`, `nat`, or `route` for mangle's OUTPUT.
    pub fn chain_type(self, hook: Hook) -> &'static str {
        match (self, hook) {
            (Self::Nat, _) => "nat",
            (Self::Mangle, Hook::Output) => "route",
            _ => "filter",
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A netfilter hook, which is also a built-in chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hook {
    /// `PREROUTING`
    Prerouting,
    /// `INPUT`
    Input,
    /// `FORWARD`
    Forward,
    /// `OUTPUT`
    Output,
    /// `POSTROUTING`
    Postrouting,
}

impl Hook {
    /// Name of the built-in chain at this hook.
    pub fn chain(self) -> &'static str {
        match self {
            Self::Prerouting => "PREROUTING",
            Self::Input => "INPUT",
            Self::Forward => "FORWARD",
            Self::Output => "OUTPUT",
            Self::Postrouting => "POSTROUTING",
        }
    }

    /// Number of the hook (`enum nf_inet_hooks`, `linux/netfilter.h`).
    pub fn number(self) -> u32 {
        match self {
            Self::Prerouting => 0,
            Self::Input => 1,
            Self::Forward => 2,
            Self::Output => 3,
            Self::Postrouting => 4,
        }
    }
}

/// What happens to a packet at the end of a built-in chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// `ACCEPT`
    Accept,
    /// `DROP`
    Drop,
}

impl Policy {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Accept, Self::Drop];

    /// The word of iptables for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accept => "ACCEPT",
            Self::Drop => "DROP",
        }
    }

    /// Reads `ACCEPT` or `DROP`.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.name() == word)
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Longest name of a user chain in bytes: iptables refuses more (`XT_EXTENSION_MAXNAMELEN`, 29 with the NUL,
/// `linux/netfilter/x_tables.h`).
pub const CHAIN_NAME_MAX: usize = 28;

/// Longest name of an ipset in bytes (`IPSET_MAXNAMELEN`, 32 with the NUL, `linux/netfilter/ipset/ip_set.h`).
pub const SET_NAME_MAX: usize = 31;

/// Longest interface name in bytes (`IFNAMSIZ`, 16 with the NUL, `linux/if.h`).
pub const INTERFACE_NAME_MAX: usize = 15;
