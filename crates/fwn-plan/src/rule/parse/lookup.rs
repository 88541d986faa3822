//! What an option's name means: iptables' own options, those of the loaded extensions, and the match that `-p`
//! brings along, as getopt finds them, by any unambiguous beginning. And what to say about a name that means nothing.

use super::super::extensions::{Extension, Kind, MATCHES, OptionSpec, TARGETS, implicit_match};
use super::{Parser, one_of};
use crate::nearest::nearest;

/// An option of iptables itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Base {
    Protocol,
    Source,
    Destination,
    InInterface,
    OutInterface,
    Fragment,
    Match,
    Jump,
    Goto,
    Ipv4,
    Ipv6,
    /// Known to iptables but not part of a rule; what to do instead.
    Foreign(&'static str),
}

/// What the name of a long option means.
pub(super) enum Found {
    Base(Base),
    /// Of an extension that is loaded: its index.
    Loaded(usize, &'static OptionSpec),
    /// Of the match that `-p` brings along, to be loaded now.
    Implicit(&'static Extension, &'static OptionSpec),
    /// The beginning of several.
    Ambiguous(Vec<String>),
    /// Nothing; what to do.
    Unknown(Option<String>),
}

const CHAIN: &str = "chain, place and table of a rule are keys beside it: `chain`, `type`, `table`";
const DISPLAY: &str = "leave it out: it is an option of listings";
const COMMAND: &str = "leave it out: it tells iptables how to run";
const COUNTERS: &str = "leave it out: counters of a new rule start at zero";

/// Long options of iptables with their letters; several names may have one letter.
const LONG: &[(&str, char)] = &[
    ("append", 'A'),
    ("delete", 'D'),
    ("check", 'C'),
    ("insert", 'I'),
    ("replace", 'R'),
    ("list", 'L'),
    ("list-rules", 'S'),
    ("flush", 'F'),
    ("zero", 'Z'),
    ("new-chain", 'N'),
    ("delete-chain", 'X'),
    ("rename-chain", 'E'),
    ("policy", 'P'),
    ("source", 's'),
    ("destination", 'd'),
    ("src", 's'),
    ("dst", 'd'),
    ("protocol", 'p'),
    ("in-interface", 'i'),
    ("jump", 'j'),
    ("table", 't'),
    ("match", 'm'),
    ("numeric", 'n'),
    ("out-interface", 'o'),
    ("verbose", 'v'),
    ("wait", 'w'),
    ("wait-interval", 'W'),
    ("exact", 'x'),
    ("fragments", 'f'),
    ("version", 'V'),
    ("help", 'h'),
    ("line-numbers", '0'),
    ("modprobe", 'M'),
    ("set-counters", 'c'),
    ("goto", 'g'),
    ("ipv4", '4'),
    ("ipv6", '6'),
];

/// Protocols that iptables knows without `/etc/protocols`. The first name of a number is the one to write.
pub(in crate::rule) const PROTOCOLS: &[(&str, u8)] = &[
    ("tcp", 6),
    ("sctp", 132),
    ("udp", 17),
    ("udplite", 136),
    ("icmp", 1),
    ("ipv6-icmp", 58),
    ("icmpv6", 58),
    ("esp", 50),
    ("ah", 51),
    ("mobility-header", 135),
    ("ipv6-mh", 135),
    ("mh", 135),
    ("all", 0),
];

pub(super) fn builtin_protocol(name: &str) -> Option<u8> {
    PROTOCOLS.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
}

impl Base {
    pub(super) fn from_letter(letter: char) -> Option<Self> {
        Some(match letter {
            'p' => Self::Protocol,
            's' => Self::Source,
            'd' => Self::Destination,
            'i' => Self::InInterface,
            'o' => Self::OutInterface,
            'f' => Self::Fragment,
            'm' => Self::Match,
            'j' => Self::Jump,
            'g' => Self::Goto,
            '4' => Self::Ipv4,
            '6' => Self::Ipv6,
            'A' | 'C' | 'D' | 'E' | 'F' | 'I' | 'L' | 'N' | 'P' | 'R' | 'S' | 'X' | 'Z' | 't' => {
                Self::Foreign(CHAIN)
            }
            'n' | 'v' | 'x' | '0' => Self::Foreign(DISPLAY),
            'b' | 'h' | 'M' | 'V' | 'w' | 'W' => Self::Foreign(COMMAND),
            'c' => Self::Foreign(COUNTERS),
            _ => return None,
        })
    }

    pub(super) fn takes_value(self) -> bool {
        !matches!(self, Self::Fragment | Self::Ipv4 | Self::Ipv6 | Self::Foreign(_))
    }

    pub(super) fn negatable(self) -> bool {
        matches!(
            self,
            Self::Protocol
                | Self::Source
                | Self::Destination
                | Self::InInterface
                | Self::OutInterface
                | Self::Fragment
        )
    }
}

/// Whether the word is, to the letter, a long option that exists anywhere.
pub(super) fn is_long_option(word: &str) -> bool {
    word.strip_prefix("--").is_some_and(|name| {
        LONG.iter().any(|(known, _)| *known == name)
            || all().any(|extension| extension.option(name).is_some())
    })
}

/// `-dport` was meant to be `--dport`.
pub(super) fn long_with_one_dash(word: &str) -> Option<String> {
    let long = format!("-{word}");
    is_long_option(&long).then(|| format!("write `{long}`"))
}

impl Parser<'_> {
    /// Exact names come before beginnings, iptables' own options before those of extensions, later loaded
    /// extensions before earlier ones, and the implicit match last.
    pub(super) fn find_long(&self, name: &str) -> Found {
        if let Some((_, letter)) = LONG.iter().find(|(known, _)| *known == name) {
            return base(*letter);
        }
        let newest_first = || self.loaded.iter().enumerate().rev();
        for (index, loaded) in newest_first() {
            if let Some(spec) = loaded.extension.option(name) {
                return Found::Loaded(index, spec);
            }
        }
        let mut begun: Vec<(String, Found)> = Vec::new();
        let mut letters = Vec::new();
        for (known, letter) in LONG {
            if known.starts_with(name) && !letters.contains(letter) {
                letters.push(*letter);
                begun.push((format!("--{known}"), base(*letter)));
            }
        }
        let mut seen = Vec::new();
        for (index, loaded) in newest_first() {
            // of two uses of one extension the newer one gets the option
            if seen.contains(&loaded.extension) {
                continue;
            }
            seen.push(loaded.extension);
            for spec in loaded.extension.options {
                if let Some(known) = spec.names().find(|known| known.starts_with(name)) {
                    begun.push((format!("--{known}"), Found::Loaded(index, spec)));
                }
            }
        }
        if begun.len() == 1
            && let Some((_, found)) = begun.pop()
        {
            return found;
        }
        if let Some(extension) = self.implicit {
            if let Some(spec) = extension.option(name) {
                return Found::Implicit(extension, spec);
            }
            for spec in extension.options {
                if let Some(known) = spec.names().find(|known| known.starts_with(name)) {
                    begun.push((format!("--{known}"), Found::Implicit(extension, spec)));
                }
            }
        }
        match begun.len() {
            0 => Found::Unknown(self.hint(name)),
            1 => begun.pop().map_or(Found::Unknown(None), |(_, found)| found),
            _ => Found::Ambiguous(begun.into_iter().map(|(known, _)| known).collect()),
        }
    }

    /// What to do about an option that nothing loaded has.
    fn hint(&self, name: &str) -> Option<String> {
        let owners: Vec<_> = all().filter(|extension| extension.option(name).is_some()).collect();
        if owners.is_empty() {
            return self.nearest_option(name);
        }
        let brought =
            |owner: &&&Extension| (0..=u8::MAX).any(|number| implicit_match(number) == Some(**owner));
        let name = |owner: &&Extension| match (owner.kind, owner.name) {
            (Kind::Target, name) => format!("-j {name}"),
            (Kind::Match, "icmp6") if brought(&owner) => "-p icmpv6".to_owned(),
            (Kind::Match, name) if brought(&owner) => format!("-p {name}"),
            (Kind::Match, name) => format!("-m {name}"),
        };
        let words: Vec<_> = owners.iter().map(name).collect();
        // the likeliest kind of owner alone: a match rather than a target of the same option
        let (dash, given) = [("-p", Base::Protocol), ("-m", Base::Match), ("-j", Base::Jump)]
            .into_iter()
            .find(|(dash, _)| words.iter().any(|word| word.starts_with(dash)))?;
        let words: Vec<_> = words.into_iter().filter(|word| word.starts_with(dash)).collect();
        if self.given.contains(&given) {
            Some(format!("it belongs to {}", one_of(&words)))
        } else {
            Some(format!("add {} before it", one_of(&words)))
        }
    }

    fn nearest_option(&self, name: &str) -> Option<String> {
        let names = |extension: &'static Extension| extension.options.iter().flat_map(OptionSpec::names);
        let at_hand = self.loaded.iter().map(|loaded| loaded.extension).chain(self.implicit).flat_map(names);
        nearest(name, at_hand.chain(LONG.iter().map(|(known, _)| *known)))
            .or_else(|| nearest(name, all().flat_map(names)))
            .map(|known| format!("did you mean `--{known}`?"))
    }
}

fn base(letter: char) -> Found {
    Base::from_letter(letter).map_or(Found::Unknown(None), Found::Base)
}

fn all() -> impl Iterator<Item = &'static Extension> {
    MATCHES.iter().chain(TARGETS)
}
