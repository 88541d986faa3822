//! What iptables 1.8.9 knows: every match and target extension with its options, as constant data.
//!
//! It tells how words belong together (names, number of values, `!`, what may be combined, which family), which is
//! all that parsing needs; what a value may say is not here. Taken from the option tables of the newest revision
//! of each extension.

mod matches;
mod targets;

use std::net::Ipv6Addr;

pub use matches::MATCHES;
pub use targets::TARGETS;

use crate::netfilter::Families;

/// A match (`-m`) or a target (`-j`) extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extension {
    /// Its name after `-m` or `-j`: `multiport`, `REJECT`.
    pub name: &'static str,
    /// Other names for it; iptables has them for `icmp6` alone.
    pub aliases: &'static [&'static str],
    /// Whether it is a match or a target.
    pub kind: Kind,
    /// The families that have it.
    pub families: Families,
    /// Protocol numbers of which `-p` must name one, without `!`; empty: any rule may use it. The kernel's check
    /// (`proto` of its `struct xt_match` and `xt_target`, or their `checkentry`).
    pub protocols: &'static [u8],
    /// All its options.
    pub options: &'static [OptionSpec],
    /// Options of which at least one must be given; empty: none is needed, save the mandatory ones.
    pub any_of: &'static [&'static str],
}

/// The two kinds of extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// After `-m`.
    Match,
    /// After `-j`.
    Target,
}

/// An option of an extension, such as `--dports`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OptionSpec {
    /// Long name without the dashes, in the spelling of `iptables-save`: `dport`.
    pub name: &'static str,
    /// Other spellings: `destination-port`.
    pub aliases: &'static [&'static str],
    /// How many values follow it.
    pub arity: Arity,
    /// Whether a `!` may stand before it.
    pub negatable: bool,
    /// Whether it may be given more than once in one use of the extension.
    pub repeatable: bool,
    /// Whether every use of the extension must have it.
    pub mandatory: bool,
    /// The families that have it.
    pub families: Families,
    /// What kind of text its value is.
    pub content: Content,
    /// Options of the same extension that it cannot stand beside; holds both ways.
    pub excludes: &'static [&'static str],
    /// Options of the same extension of which one must stand beside it.
    pub needs: &'static [&'static str],
}

/// How many values an option takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arity {
    /// None: `--syn`.
    Zero,
    /// One: `--dport 80`.
    One,
    /// Two: `--tcp-flags SYN,ACK SYN`; the second cannot start with `-` or `!`.
    Two,
    /// One or none: taken if the next word starts with neither `-` nor `!`.
    Optional,
}

/// What kind of text a value is, as far as reading words depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// A word of the extension's own.
    Plain,
    /// Free text, which may also look like an option: `--comment`.
    Text,
    /// An address, network or range, which may bind the rule to one family.
    Address,
    /// Name of an ipset, then directions.
    Set,
}

/// Looks up a match by name or alias.
pub fn find_match(name: &str) -> Option<&'static Extension> {
    find(MATCHES, name)
}

/// Looks up a target by name.
pub fn find_target(name: &str) -> Option<&'static Extension> {
    find(TARGETS, name)
}

/// Every word that `-j` takes and that is no chain.
pub fn target_names() -> impl Iterator<Item = &'static str> {
    ["ACCEPT", "DROP", "RETURN"].into_iter().chain(TARGETS.iter().map(|target| target.name))
}

/// The match that `-p` brings along when one of its options is used without `-m`.
pub fn implicit_match(protocol: u8) -> Option<&'static Extension> {
    // numbers of /etc/protocols
    let name = match protocol {
        1 => "icmp",
        6 => "tcp",
        17 => "udp",
        33 => "dccp",
        50 => "esp",
        51 => "ah",
        58 => "icmp6",
        108 => "ipcomp",
        132 => "sctp",
        135 => "mh",
        _ => return None,
    };
    find_match(name)
}

impl Extension {
    /// Looks up an option by name or alias, without its dashes.
    pub fn option(&self, name: &str) -> Option<&'static OptionSpec> {
        self.options.iter().find(|option| option.is_called(name))
    }

    /// The families in which `value`, given for `option`, has a meaning: `--reject-with icmp-*` is IPv4 only, and
    /// so is an option with an IPv4 address. Both where the value does not tell.
    pub fn value_families(&self, option: &OptionSpec, value: &str) -> Families {
        match option.content {
            Content::Address => address_families(value),
            _ if option.name == "reject-with" => reject_families(value),
            _ => Families::BOTH,
        }
    }

    const fn new(kind: Kind, name: &'static str, options: &'static [OptionSpec]) -> Self {
        Self { name, aliases: &[], kind, families: Families::BOTH, protocols: &[], options, any_of: &[] }
    }

    const fn ipv4(mut self) -> Self {
        self.families = Families::IPV4;
        self
    }

    const fn ipv6(mut self) -> Self {
        self.families = Families::IPV6;
        self
    }

    const fn aliases(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    const fn protocols(mut self, protocols: &'static [u8]) -> Self {
        self.protocols = protocols;
        self
    }

    const fn any_of(mut self, options: &'static [&'static str]) -> Self {
        self.any_of = options;
        self
    }
}

impl OptionSpec {
    /// Whether `name` (without dashes) is its name or an alias.
    pub fn is_called(&self, name: &str) -> bool {
        self.name == name || self.aliases.contains(&name)
    }

    /// Its name and its aliases.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.name).chain(self.aliases.iter().copied())
    }

    const fn new(name: &'static str, arity: Arity) -> Self {
        Self {
            name,
            aliases: &[],
            arity,
            negatable: false,
            repeatable: false,
            mandatory: false,
            families: Families::BOTH,
            content: Content::Plain,
            excludes: &[],
            needs: &[],
        }
    }

    const fn not(mut self) -> Self {
        self.negatable = true;
        self
    }

    const fn multi(mut self) -> Self {
        self.repeatable = true;
        self
    }

    const fn must(mut self) -> Self {
        self.mandatory = true;
        self
    }

    const fn ipv6(mut self) -> Self {
        self.families = Families::IPV6;
        self
    }

    const fn text(mut self) -> Self {
        self.content = Content::Text;
        self
    }

    const fn address(mut self) -> Self {
        self.content = Content::Address;
        self
    }

    const fn set(mut self) -> Self {
        self.content = Content::Set;
        self
    }

    const fn aliases(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    const fn excludes(mut self, options: &'static [&'static str]) -> Self {
        self.excludes = options;
        self
    }

    const fn needs(mut self, options: &'static [&'static str]) -> Self {
        self.needs = options;
        self
    }
}

const fn flag(name: &'static str) -> OptionSpec {
    OptionSpec::new(name, Arity::Zero)
}

const fn value(name: &'static str) -> OptionSpec {
    OptionSpec::new(name, Arity::One)
}

const fn pair(name: &'static str) -> OptionSpec {
    OptionSpec::new(name, Arity::Two)
}

fn find(all: &'static [Extension], name: &str) -> Option<&'static Extension> {
    all.iter().find(|extension| extension.name == name || extension.aliases.contains(&name))
}

/// Family of `ADDRESS`, `ADDRESS/MASK`, `FROM-TO` and the `[ADDRESS]:PORT` of NAT, told by shape alone.
fn address_families(value: &str) -> Families {
    let address = value.split(['/', '-']).next().unwrap_or(value);
    if address.starts_with('[') || address.parse::<Ipv6Addr>().is_ok() {
        return Families::IPV6;
    }
    let host = address.split(':').next().unwrap_or(address);
    let dotted = host.contains('.') && host.chars().all(|c| c.is_ascii_digit() || c == '.');
    if dotted { Families::IPV4 } else { Families::BOTH }
}

/// iptables takes any beginning of a name or of its alias, in any case; both tables have `tcp-reset` and
/// `port-unreach`. A value that is in neither is left to the check of values.
fn reject_families(value: &str) -> Families {
    const IPV4: &[&str] = &[
        "icmp-net-unreachable",
        "net-unreach",
        "icmp-host-unreachable",
        "host-unreach",
        "icmp-proto-unreachable",
        "proto-unreach",
        "icmp-port-unreachable",
        "port-unreach",
        "icmp-net-prohibited",
        "net-prohib",
        "icmp-host-prohibited",
        "host-prohib",
        "tcp-reset",
        "tcp-rst",
        "icmp-admin-prohibited",
        "admin-prohib",
    ];
    const IPV6: &[&str] = &[
        "icmp6-no-route",
        "no-route",
        "icmp6-adm-prohibited",
        "adm-prohibited",
        "icmp6-addr-unreachable",
        "addr-unreach",
        "icmp6-port-unreachable",
        "port-unreach",
        "tcp-reset",
        "icmp6-policy-fail",
        "policy-fail",
        "icmp6-reject-route",
        "reject-route",
    ];
    let value = value.to_ascii_lowercase();
    let known = |names: &[&str]| names.iter().any(|name| name.starts_with(&value));
    match (known(IPV4), known(IPV6)) {
        (true, false) => Families::IPV4,
        (false, true) => Families::IPV6,
        _ => Families::BOTH,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> impl Iterator<Item = &'static Extension> {
        MATCHES.iter().chain(TARGETS)
    }

    #[test]
    fn names_are_unique_and_sorted() {
        for table in [MATCHES, TARGETS] {
            for two in table.windows(2) {
                assert!(two[0].name < two[1].name, "{} after {}", two[1].name, two[0].name);
            }
        }
        for extension in all() {
            let mut names: Vec<_> = extension.options.iter().flat_map(OptionSpec::names).collect();
            let before = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), before, "{}", extension.name);
        }
    }

    #[test]
    fn options_refer_to_options_of_their_own_extension() {
        for extension in all() {
            let named =
                extension.options.iter().flat_map(|option| option.excludes.iter().chain(option.needs));
            for name in named.chain(extension.any_of) {
                let found = extension.option(name).map(|option| option.name);
                assert_eq!(found, Some(*name), "{}", extension.name);
            }
        }
    }

    #[test]
    fn every_family_of_an_option_is_one_of_its_extension() {
        for extension in all() {
            for option in extension.options {
                assert!(!option.families.and(extension.families).is_empty(), "{}", extension.name);
            }
        }
    }

    #[test]
    fn aliases_find_the_same_entry() {
        for alias in ["icmp6", "icmpv6", "ipv6-icmp"] {
            assert_eq!(find_match(alias).map(|found| found.name), Some("icmp6"));
        }
        let tcp = find_match("tcp").expect("tcp is known");
        assert_eq!(tcp.option("destination-port"), tcp.option("dport"));
        assert_eq!(find_target("REJCT"), None);
        assert_eq!(find_match("REJECT"), None);
    }

    #[test]
    fn reject_types_tell_their_family() {
        let reject = find_target("REJECT").expect("REJECT is known");
        let option = reject.option("reject-with").expect("it has this option");
        for (value, families) in [
            ("icmp-port-unreachable", Families::IPV4),
            ("ICMP-host", Families::IPV4),
            ("tcp-rst", Families::IPV4),
            ("icmp6-adm-prohibited", Families::IPV6),
            ("no-route", Families::IPV6),
            ("tcp-reset", Families::BOTH),
            ("port-unreach", Families::BOTH),
            ("nonsense", Families::BOTH),
        ] {
            assert_eq!(reject.value_families(option, value), families, "{value}");
        }
    }

    #[test]
    fn addresses_tell_their_family() {
        for (value, families) in [
            ("10.0.0.1", Families::IPV4),
            ("10.0.0.1-10.0.0.9:80-90", Families::IPV4),
            ("10.0.0.0/8", Families::IPV4),
            ("2001:db8::1", Families::IPV6),
            ("2001:db8::1-2001:db8::9", Families::IPV6),
            ("::/0", Families::IPV6),
            ("[2001:db8::1]:80", Families::IPV6),
            (":1024-65535", Families::BOTH),
            ("web.example", Families::BOTH),
        ] {
            assert_eq!(address_families(value), families, "{value}");
        }
    }
}
