//! What spreads connections by a hash of their addresses: the match `cluster`, the target `HMARK`.

use super::value::{digits, list, number, unknown, word, wrong, wrong_use};
use super::{Context, TypedError, needs, not_typed};
use crate::netfilter::Family;
use crate::rule::{Module, Negatable, OptionUse, RuleProblem};

/// `-m cluster`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// `--cluster-total-nodes`, 1 to 32.
    pub total: u32,
    /// `--cluster-local-node` or `--cluster-local-nodemask`: a bit for each node.
    pub local: Negatable<u32>,
    /// `--cluster-hash-seed`
    pub seed: u32,
}

/// `-j HMARK`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hmark {
    /// `XT_HMARK_FLAG` bits (`linux/netfilter/xt_HMARK.h`): what counts.
    pub flags: u32,
    /// `--hmark-src-prefix`, or all of the address.
    pub source: Option<HashedPart>,
    /// `--hmark-dst-prefix`, or all of the address.
    pub destination: Option<HashedPart>,
    /// Bits of the ports that are hashed, source port first, or of the SPI.
    pub port_mask: u32,
    /// Bits that are set before.
    pub port_set: u32,
    /// `--hmark-proto-mask`
    pub protocol_mask: u16,
    /// `--hmark-rnd`
    pub seed: u32,
    /// `--hmark-mod`, not 0.
    pub modulus: u32,
    /// `--hmark-offset`
    pub offset: u32,
}

/// How much of an address is hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HashedPart {
    /// All of it.
    Whole,
    /// This many bits, as many as the family's addresses have at most.
    Prefix(u8),
}

pub(super) fn parse_cluster(module: &Module) -> Result<Cluster, TypedError> {
    /// `XT_CLUSTER_NODES_MAX` (`linux/netfilter/xt_cluster.h`)
    const NODES_MAX: u32 = 32;
    let (mut total, mut local, mut seed) = (None, None, None);
    for option in &module.options {
        let value = word(option, 0)?;
        let node = || number::<u32>(value, 1..=NODES_MAX);
        match option.name {
            "cluster-total-nodes" => total = Some(node()?),
            "cluster-local-node" => local = Some((option, 1 << (node()? - 1))),
            // no more than 32 here too
            "cluster-local-nodemask" => local = Some((option, node()?)),
            "cluster-hash-seed" => seed = Some(number(value, 0..=u32::MAX)?),
            _ => return Err(not_typed(module, option)),
        }
    }
    let total = total.ok_or_else(|| needs(module, "`--cluster-total-nodes`"))?;
    let (option, nodes) = local.ok_or_else(|| needs(module, "`--cluster-local-node`"))?;
    let seed = seed.ok_or_else(|| needs(module, "`--cluster-hash-seed`"))?;
    if u64::from(nodes) >= 1 << total {
        return Err(wrong_use(option, format!("there is no such node among {total}")).into());
    }
    Ok(Cluster { total, local: Negatable { negated: option.negated, value: nodes }, seed })
}

/// `XT_HMARK_*` (`linux/netfilter/xt_HMARK.h`)
mod flag {
    pub(super) const SOURCE: u32 = 1 << 0;
    pub(super) const DESTINATION: u32 = 1 << 1;
    pub(super) const SPI: u32 = 1 << 2;
    pub(super) const SPI_MASK: u32 = 1 << 3;
    pub(super) const SOURCE_PORT: u32 = 1 << 4;
    pub(super) const DESTINATION_PORT: u32 = 1 << 5;
    pub(super) const SOURCE_PORT_MASK: u32 = 1 << 6;
    pub(super) const DESTINATION_PORT_MASK: u32 = 1 << 7;
    pub(super) const PROTOCOL: u32 = 1 << 8;
    pub(super) const SEED: u32 = 1 << 9;
    pub(super) const MODULUS: u32 = 1 << 10;
    pub(super) const OFFSET: u32 = 1 << 11;
    pub(super) const CONNTRACK: u32 = 1 << 12;
}

pub(super) fn parse_hmark(module: &Module, context: &Context<'_>) -> Result<Hmark, TypedError> {
    let mut hmark = Hmark::default();
    for option in &module.options {
        if option.name == "hmark-tuple" {
            parse_tuple(&mut hmark, option)?;
            continue;
        }
        let flag = parse_part(&mut hmark, module, option, context)?;
        if hmark.flags & flag != 0 {
            return Err(
                wrong_use(option, format!("`--{}` is in `--hmark-tuple` before it", option.name)).into()
            );
        }
        hmark.flags |= flag;
    }
    let has = |flags| hmark.flags & flags != 0;
    if has(flag::SPI_MASK) && has(flag::SOURCE_PORT_MASK | flag::DESTINATION_PORT_MASK)
        || has(flag::SPI) && has(flag::SOURCE_PORT | flag::DESTINATION_PORT)
    {
        return Err(needs(module, "either ports or SPIs, not both"));
    }
    if !has(!(flag::SEED | flag::MODULUS | flag::OFFSET)) {
        return Err(needs(module, "`--hmark-tuple`"));
    }
    Ok(hmark)
}

/// One of the options with a number; its flag.
fn parse_part(
    hmark: &mut Hmark,
    module: &Module,
    option: &OptionUse,
    context: &Context<'_>,
) -> Result<u32, TypedError> {
    let value = word(option, 0)?;
    let short = || number::<u16>(value, 0..=u16::MAX);
    let long = || number::<u32>(value, 0..=u32::MAX);
    Ok(match option.name {
        "hmark-src-prefix" => {
            hmark.source = Some(prefix(option, context)?);
            flag::SOURCE
        }
        "hmark-dst-prefix" => {
            hmark.destination = Some(prefix(option, context)?);
            flag::DESTINATION
        }
        "hmark-spi" => {
            hmark.port_set = long()?;
            flag::SPI
        }
        "hmark-spi-mask" => {
            hmark.port_mask = long()?;
            flag::SPI_MASK
        }
        "hmark-sport" => {
            put_source(&mut hmark.port_set, short()?);
            flag::SOURCE_PORT
        }
        "hmark-dport" => {
            put_destination(&mut hmark.port_set, short()?);
            flag::DESTINATION_PORT
        }
        "hmark-sport-mask" => {
            put_source(&mut hmark.port_mask, short()?);
            flag::SOURCE_PORT_MASK
        }
        "hmark-dport-mask" => {
            put_destination(&mut hmark.port_mask, short()?);
            flag::DESTINATION_PORT_MASK
        }
        "hmark-proto-mask" => {
            hmark.protocol_mask = short()?;
            flag::PROTOCOL
        }
        "hmark-rnd" => {
            hmark.seed = long()?;
            flag::SEED
        }
        "hmark-mod" => {
            hmark.modulus = number(value, 1..=u32::MAX)?;
            flag::MODULUS
        }
        "hmark-offset" => {
            hmark.offset = long()?;
            flag::OFFSET
        }
        _ => return Err(not_typed(module, option)),
    })
}

/// `--hmark-tuple`: names of what is hashed as a whole; each may be cut short, and the first that fits counts.
fn parse_tuple(hmark: &mut Hmark, option: &OptionUse) -> Result<(), RuleProblem> {
    const NAMES: [(&str, u32); 7] = [
        ("ct", flag::CONNTRACK),
        ("src", flag::SOURCE),
        ("dst", flag::DESTINATION),
        ("sport", flag::SOURCE_PORT_MASK),
        ("dport", flag::DESTINATION_PORT_MASK),
        ("proto", flag::PROTOCOL),
        ("spi", flag::SPI_MASK),
    ];
    let value = word(option, 0)?;
    for part in list(value)? {
        let fits = |name: &str| name.get(..part.len()).is_some_and(|start| start.eq_ignore_ascii_case(part));
        let (_, flag) = NAMES.iter().find(|(name, _)| fits(name)).ok_or_else(|| {
            unknown(value, "part of a connection", part, NAMES.iter().map(|(name, _)| *name))
        })?;
        match *flag {
            flag::SOURCE => hmark.source = Some(HashedPart::Whole),
            flag::DESTINATION => hmark.destination = Some(HashedPart::Whole),
            flag::SOURCE_PORT_MASK => put_source(&mut hmark.port_mask, u16::MAX),
            flag::DESTINATION_PORT_MASK => put_destination(&mut hmark.port_mask, u16::MAX),
            flag::PROTOCOL => hmark.protocol_mask = u16::MAX,
            flag::SPI_MASK => hmark.port_mask = u32::MAX,
            _ => {}
        }
        hmark.flags |= flag;
    }
    Ok(())
}

fn put_source(ports: &mut u32, port: u16) {
    *ports = *ports & 0xffff | u32::from(port) << 16;
}

fn put_destination(ports: &mut u32, port: u16) {
    *ports = *ports & 0xffff_0000 | u32::from(port);
}

fn prefix(option: &OptionUse, context: &Context<'_>) -> Result<HashedPart, TypedError> {
    let value = word(option, 0)?;
    if digits(&value.text).is_none() {
        return Err(TypedError::form(option, "a mask that is no prefix length"));
    }
    let max = match context.family {
        Family::Ipv4 => 32,
        Family::Ipv6 => 128,
    };
    number(value, 0..=max)
        .map(HashedPart::Prefix)
        .map_err(|_| wrong(value, format!("`{}` is not a prefix length from 0 to {max}", value.text)).into())
}
