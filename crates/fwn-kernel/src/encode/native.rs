//! The native engine: a rule in, the expressions that iptables-nft 1.8.9 writes for it out, with no program started
//! and no system call made. A rule that it has no form for is named, so that iptables can encode it instead.

mod expression;
mod extension_header;
mod info;
mod matches;
mod program;
mod rare;
mod rare_target;
mod targets;
#[cfg(test)]
mod tests;
mod transport;

use std::net::IpAddr;

use fwn_plan::netfilter::Family;
use fwn_plan::rule::databases::Databases;
use fwn_plan::rule::typed::{Context, TypedError, parse_match, parse_target};
use fwn_plan::rule::{Negatable, Network, Rule, RuleProblem, Span, Target, Verdict};

use self::expression::{Base, Expressions, Meta, Operator};
use super::iptables::compat;
use crate::nft::EncodedRule;

/// What the encoding of a rule depends on, beside its words.
#[derive(Clone, Copy)]
pub struct NativeContext<'a> {
    /// Names for numbers.
    pub databases: &'a dyn Databases,
    /// Index of a set in the container's namespace: the kernel knows sets of rules by it.
    pub set_index: &'a dyn Fn(&str) -> Option<u16>,
}

/// Why a rule was not encoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NativeError {
    /// There is no native form for a part of it; iptables may have one.
    #[error("{what} is not encoded natively")]
    NotEncoded {
        /// The extension, option or form.
        what: String,
        /// Where it stands in the rule.
        span: Span,
    },
    /// A value is wrong; iptables would refuse it too.
    #[error("{}", .0.message)]
    Wrong(RuleProblem),
    /// A set that it names does not exist.
    #[error("there is no set `{name}`")]
    NoSet {
        /// Its name.
        name: String,
        /// The match or target that names it.
        span: Span,
    },
}

impl From<TypedError> for NativeError {
    fn from(error: TypedError) -> Self {
        match error {
            TypedError::NotTyped { what, span } => Self::NotEncoded { what, span },
            TypedError::Wrong(problem) => Self::Wrong(problem),
        }
    }
}

/// Encodes a rule for one family. Whether its chain and the chain that it jumps to exist, and whether the table may
/// have such a rule, is for the kernel to say.
///
/// # Errors
/// See [`NativeError`].
pub fn encode_native(
    rule: &Rule,
    family: Family,
    context: &NativeContext<'_>,
) -> Result<EncodedRule, NativeError> {
    let typed = Context { family, protocol: rule.protocol.as_ref(), databases: context.databases };
    let mut list = Expressions::new();
    encode_header(&mut list, rule, family)?;
    for module in rule.matches.iter() {
        let it = parse_match(module, &typed)?;
        matches::encode(&mut list, &it, module, context)?;
    }
    list.counter();
    match &rule.target {
        None => {}
        Some(Target::Verdict(verdict)) => list.verdict(match verdict {
            Verdict::Accept => expression::Verdict::Accept,
            Verdict::Drop => expression::Verdict::Drop,
            Verdict::Return => expression::Verdict::Return,
        }),
        Some(Target::Jump(chain)) => list.verdict(expression::Verdict::Jump(&chain.text)),
        Some(Target::Goto(chain)) => list.verdict(expression::Verdict::Goto(&chain.text)),
        Some(Target::Extension(module)) => {
            let it = parse_target(module, &typed)?;
            targets::encode(&mut list, &it, family, module, context)?;
        }
    }
    Ok(EncodedRule { compat: Some(compat(rule)), expressions: list.finish() })
}

/// `-i -o -p -s -d -f`, in this order.
fn encode_header(list: &mut Expressions, rule: &Rule, family: Family) -> Result<(), NativeError> {
    if let Some(name) = &rule.in_interface {
        encode_interface(list, Meta::InInterface, name);
    }
    if let Some(name) = &rule.out_interface {
        encode_interface(list, Meta::OutInterface, name);
    }
    match &rule.protocol {
        Some(protocol) if protocol.value != 0 => {
            list.meta(Meta::Protocol);
            list.compare(Operator::equal_unless(protocol.negated), &[protocol.value]);
        }
        _ => {}
    }
    // offsets in `struct iphdr` and `struct ipv6hdr` (`linux/ip.h`, `linux/ipv6.h`)
    let (source, destination) = match family {
        Family::Ipv4 => (12, 16),
        Family::Ipv6 => (8, 24),
    };
    if let Some(network) = &rule.source {
        encode_network(list, source, network)?;
    }
    if let Some(network) = &rule.destination {
        encode_network(list, destination, network)?;
    }
    if let Some(later) = rule.fragment {
        // the 13 bits of the fragment's offset: 0 in a first fragment
        list.payload(Base::Network, 6, 2);
        list.bitwise(&[0x1f, 0xff]);
        list.compare(Operator::equal_unless(later), &[0, 0]);
    }
    Ok(())
}

fn encode_interface(list: &mut Expressions, key: Meta, name: &Negatable<String>) {
    list.meta(key);
    match name.value.strip_suffix('+') {
        Some("") if name.negated => list.compare(Operator::Equal, b"INVAL/D\0"), // what no interface is called
        Some("") => {}
        Some(start) => list.compare(Operator::equal_unless(name.negated), start.as_bytes()),
        // with the NUL, so that no longer name fits
        None => list.compare(Operator::equal_unless(name.negated), format!("{}\0", name.value).as_bytes()),
    }
}

fn encode_network(
    list: &mut Expressions,
    offset: u32,
    network: &Negatable<Network>,
) -> Result<(), NativeError> {
    let (address, mask) = match (network.value.address, network.value.mask) {
        (IpAddr::V4(address), IpAddr::V4(mask)) => (address.octets().to_vec(), mask.octets().to_vec()),
        (IpAddr::V6(address), IpAddr::V6(mask)) => (address.octets().to_vec(), mask.octets().to_vec()),
        _ => return Err(unencodable("an address with a mask of the other family")),
    };
    let whole = mask.iter().take_while(|byte| **byte == 0xff).count();
    let prefix_of_bytes = mask.iter().skip(whole).all(|byte| *byte == 0);
    if whole == 0 && prefix_of_bytes {
        // everything: no condition
        return if network.negated { Err(unencodable("the negation of every address")) } else { Ok(()) };
    }
    let operator = Operator::equal_unless(network.negated);
    if prefix_of_bytes {
        list.payload(Base::Network, offset, whole);
        list.compare(operator, address.get(..whole).unwrap_or(&address));
    } else {
        list.payload(Base::Network, offset, mask.len());
        list.bitwise(&mask);
        list.compare(operator, &address);
    }
    Ok(())
}

/// For what the parser does not let through, or iptables refuses in its own words; it has no place of its own.
fn unencodable(what: &str) -> NativeError {
    NativeError::NotEncoded { what: what.to_owned(), span: 0..0 }
}
