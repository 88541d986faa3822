//! Matches on devices and sockets: `cgroup`, `cpu`, `devgroup`, `physdev`, `rpfilter`, `socket`.

use super::value::{Masked, digits, masked_u32, number, text, word, wrong};
use super::{TypedError, needs, not_typed, single};
use crate::netfilter::INTERFACE_NAME_MAX;
use crate::rule::{Module, Negatable, OptionUse, RuleProblem};

/// `-m physdev`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Physdev {
    /// `--physdev-in`; a final `+` stands for any rest.
    pub in_port: Option<Negatable<String>>,
    /// `--physdev-out`
    pub out_port: Option<Negatable<String>>,
    /// `--physdev-is-in` (true) or its negation (false).
    pub is_in: Option<bool>,
    /// `--physdev-is-out`
    pub is_out: Option<bool>,
    /// `--physdev-is-bridged`
    pub is_bridged: Option<bool>,
}

/// `-m devgroup`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeviceGroups {
    /// `--src-group`
    pub source: Option<Negatable<Masked<u32>>>,
    /// `--dst-group`
    pub destination: Option<Negatable<Masked<u32>>>,
}

/// `-m cgroup`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cgroup {
    /// `--cgroup`: class of net_cls.
    Class(u32),
    /// `--path`, at most 511 bytes.
    Path(String),
}

pub(super) fn parse_physdev(module: &Module) -> Result<Physdev, TypedError> {
    let mut it = Physdev::default();
    for option in &module.options {
        match option.name {
            "physdev-in" => it.in_port = Some(port(option)?),
            "physdev-out" => it.out_port = Some(port(option)?),
            "physdev-is-in" => it.is_in = Some(!option.negated),
            "physdev-is-out" => it.is_out = Some(!option.negated),
            "physdev-is-bridged" => it.is_bridged = Some(!option.negated),
            _ => return Err(not_typed(module, option)),
        }
    }
    if it == Physdev::default() { Err(needs(module, "an option")) } else { Ok(it) }
}

fn port(option: &OptionUse) -> Result<Negatable<String>, RuleProblem> {
    let value = word(option, 0)?;
    if value.text.is_empty() {
        return Err(wrong(value, "the name of an interface is empty"));
    }
    Ok(Negatable { negated: option.negated, value: text(value, INTERFACE_NAME_MAX)? })
}

/// `XT_RPFILTER_*` bits (`linux/netfilter/xt_rpfilter.h`).
pub(super) fn parse_rpfilter(module: &Module) -> Result<u8, TypedError> {
    flags(module, &["loose", "validmark", "accept-local", "invert"])
}

/// `XT_SOCKET_*` bits (`linux/netfilter/xt_socket.h`).
pub(super) fn parse_socket(module: &Module) -> Result<u8, TypedError> {
    flags(module, &["transparent", "nowildcard", "restore-skmark"])
}

/// One bit for each option, from the lowest.
fn flags(module: &Module, names: &[&str]) -> Result<u8, TypedError> {
    module.options.iter().try_fold(0, |bits, option| {
        let bit =
            names.iter().position(|name| *name == option.name).ok_or_else(|| not_typed(module, option))?;
        Ok(bits | 1 << bit)
    })
}

pub(super) fn parse_cpu(module: &Module) -> Result<Negatable<u32>, TypedError> {
    single(module, "cpu", |value| number(value, 0..=u32::MAX))
}

pub(super) fn parse_groups(module: &Module) -> Result<DeviceGroups, TypedError> {
    let mut groups = DeviceGroups::default();
    for option in &module.options {
        let group = || numbered(option).map(|value| Some(Negatable { negated: option.negated, value }));
        match option.name {
            "src-group" => groups.source = group()?,
            "dst-group" => groups.destination = group()?,
            _ => return Err(not_typed(module, option)),
        }
    }
    if groups == DeviceGroups::default() { Err(needs(module, "a group")) } else { Ok(groups) }
}

pub(super) fn parse_realm(module: &Module) -> Result<Negatable<Masked<u32>>, TypedError> {
    let mut realm = None;
    for option in &module.options {
        match option.name {
            "realm" => realm = Some(Negatable { negated: option.negated, value: numbered(option)? }),
            _ => return Err(not_typed(module, option)),
        }
    }
    realm.ok_or_else(|| needs(module, "`--realm`"))
}

/// A number with or without a mask; names are in files of iproute2, which only iptables reads.
fn numbered(option: &OptionUse) -> Result<Masked<u32>, TypedError> {
    let value = word(option, 0)?;
    let number = value.text.split('/').next().unwrap_or_default();
    if digits(number).is_none() {
        return Err(TypedError::form(option, "a name"));
    }
    Ok(masked_u32(value)?)
}

pub(super) fn parse_cgroup(module: &Module) -> Result<Negatable<Cgroup>, TypedError> {
    let mut found = None;
    for option in &module.options {
        let value = word(option, 0)?;
        let cgroup = match option.name {
            "cgroup" => Cgroup::Class(number(value, 0..=u32::MAX)?),
            // XT_CGROUP_PATH_MAX (linux/netfilter/xt_cgroup.h) with its NUL
            "path" => Cgroup::Path(text(value, 511)?),
            _ => return Err(not_typed(module, option)),
        };
        found = Some(Negatable { negated: option.negated, value: cgroup });
    }
    found.ok_or_else(|| needs(module, "`--cgroup` or `--path`"))
}
