//! Targets that are seldom seen: `DNPT`, `ECN`, `IDLETIMER`, `SNPT`, `SYNPROXY`, `TCPOPTSTRIP`.

use std::net::Ipv6Addr;

use super::conntrack::{self, CtAddress};
use super::value::{digits, number, number_in, prefix_mask, text, unknown, word, wrong};
use super::{Context, TypedError, needs, not_typed};
use crate::netfilter::Family;
use crate::rule::{Module, OptionUse, RuleProblem, Value};

/// `-j ECN`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EcnAction {
    /// `IPT_ECN_OP_SET_*` bits (`linux/netfilter_ipv4/ipt_ECN.h`): what is set.
    pub operation: u8,
    /// `--ecn-ip-ect`, 0 to 3.
    pub ect: u8,
    /// `--ecn-tcp-ece`
    pub ece: bool,
    /// `--ecn-tcp-cwr`
    pub cwr: bool,
}

/// `-j IDLETIMER`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdleTimer {
    /// `--timeout`, in seconds.
    pub timeout: u32,
    /// `--label`, 1 to 27 bytes.
    pub label: String,
    /// `--alarm`: whether the clock runs while the machine sleeps.
    pub alarm: bool,
}

/// `-j DNPT` and `-j SNPT`: prefixes of at most 64 bits, the bits behind them zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrefixTranslation {
    /// `--src-pfx`
    pub source: (Ipv6Addr, u8),
    /// `--dst-pfx`
    pub destination: (Ipv6Addr, u8),
}

/// `-j SYNPROXY`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Synproxy {
    /// `NF_SYNPROXY_OPT_*` bits (`linux/netfilter/nf_SYNPROXY.h`).
    pub options: u8,
    /// `--wscale`
    pub window_scale: u8,
    /// `--mss`
    pub segment_size: u16,
}

pub(super) fn parse_ecn(module: &Module, context: &Context<'_>) -> Result<EcnAction, TypedError> {
    /// `IPPROTO_TCP` (`netinet/in.h`)
    const TCP: u8 = 6;
    const IP: u8 = 1 << 0;
    const ECE: u8 = 1 << 4;
    const CWR: u8 = 1 << 5;
    let mut ecn = EcnAction::default();
    for option in &module.options {
        let bit = || number::<u8>(word(option, 0)?, 0..=1).map(|bit| bit == 1);
        match option.name {
            "ecn-tcp-remove" => ecn = EcnAction { operation: ECE | CWR, ece: false, cwr: false, ..ecn },
            "ecn-tcp-ece" => ecn = EcnAction { operation: ecn.operation | ECE, ece: bit()?, ..ecn },
            "ecn-tcp-cwr" => ecn = EcnAction { operation: ecn.operation | CWR, cwr: bit()?, ..ecn },
            "ecn-ip-ect" => {
                let ect = number(word(option, 0)?, 0..=3)?;
                ecn = EcnAction { operation: ecn.operation | IP, ect, ..ecn };
            }
            _ => return Err(not_typed(module, option)),
        }
    }
    match ecn.operation {
        0 => Err(needs(module, "an operation")),
        IP => Ok(ecn),
        _ if context.protocol_is(TCP) => Ok(ecn),
        _ => Err(needs(module, "`-p tcp` for its TCP options")),
    }
}

pub(super) fn parse_idle_timer(module: &Module) -> Result<IdleTimer, TypedError> {
    /// What the kernel's clock can hold in milliseconds (`idletimer_tg_helper`, `net/netfilter/xt_IDLETIMER.c`).
    const TIMEOUT_MAX: u32 = i32::MAX.unsigned_abs() / 1000 - 1;
    let (mut timeout, mut label, mut alarm) = (None, None, false);
    for option in &module.options {
        match option.name {
            "timeout" => timeout = Some(number(word(option, 0)?, 1..=TIMEOUT_MAX)?),
            "label" => label = Some(timer_label(word(option, 0)?)?),
            "alarm" => alarm = true,
            _ => return Err(not_typed(module, option)),
        }
    }
    let timeout = timeout.ok_or_else(|| needs(module, "`--timeout`"))?;
    Ok(IdleTimer { timeout, label: label.ok_or_else(|| needs(module, "`--label`"))?, alarm })
}

/// It becomes the name of a file of sysfs, next to those of every device.
fn timer_label(value: &Value) -> Result<String, RuleProblem> {
    /// `MAX_IDLETIMER_LABEL_SIZE` (`linux/netfilter/xt_IDLETIMER.h`) without its NUL
    const LABEL_MAX: usize = 27;
    let label = text(value, LABEL_MAX)?;
    if matches!(label.as_str(), "" | "." | ".." | "power" | "subsystem" | "uevent") || label.contains('/') {
        return Err(wrong(value, format!("`{label}` cannot be the label of a timer")));
    }
    Ok(label)
}

pub(super) fn parse_prefixes(
    module: &Module,
    context: &Context<'_>,
) -> Result<PrefixTranslation, TypedError> {
    let (mut source, mut destination) = (None, None);
    for option in &module.options {
        match option.name {
            "src-pfx" => source = Some(parse_prefix(option, context)?),
            "dst-pfx" => destination = Some(parse_prefix(option, context)?),
            _ => return Err(not_typed(module, option)),
        }
    }
    source
        .zip(destination)
        .map(|(source, destination)| PrefixTranslation { source, destination })
        .ok_or_else(|| needs(module, "`--src-pfx` and `--dst-pfx`"))
}

fn parse_prefix(option: &OptionUse, context: &Context<'_>) -> Result<(Ipv6Addr, u8), TypedError> {
    let CtAddress { address, mask } = conntrack::address(option, context)?.value;
    let value = word(option, 0)?;
    let (std::net::IpAddr::V6(address), Some(std::net::IpAddr::V6(mask))) = (address, mask) else {
        return Err(wrong(value, format!("`{}` is not a prefix such as fd00::/64", value.text)).into());
    };
    let length = mask.to_bits().leading_ones() as u8;
    if length > 64 {
        return Err(wrong(value, format!("the prefix `{}` is longer than 64 bits", value.text)).into());
    }
    if prefix_mask(Family::Ipv6, length) != mask || address.to_bits() & !mask.to_bits() != 0 {
        return Err(wrong(value, format!("`{}` has bits set behind its prefix", value.text)).into());
    }
    Ok((address, length))
}

pub(super) fn parse_synproxy(module: &Module) -> Result<Synproxy, TypedError> {
    let mut proxy = Synproxy::default();
    for option in &module.options {
        proxy.options |= match option.name {
            "mss" => {
                proxy.segment_size = number(word(option, 0)?, 0..=u16::MAX)?;
                1 << 0
            }
            "wscale" => {
                proxy.window_scale = number(word(option, 0)?, 0..=u8::MAX)?;
                1 << 1
            }
            "sack-perm" => 1 << 2,
            "timestamp" => 1 << 3,
            "ecn" => 1 << 4,
            _ => return Err(not_typed(module, option)),
        };
    }
    Ok(proxy)
}

/// Kinds of TCP options, in the order written.
pub(super) fn parse_strip(module: &Module) -> Result<Vec<u8>, TypedError> {
    let mut kinds = Vec::new();
    for option in &module.options {
        if option.name != "strip-options" {
            return Err(not_typed(module, option));
        }
        let value = word(option, 0)?;
        for part in value.text.split(',') {
            let kind = tcp_option(value, part)?;
            if kinds.contains(&kind) {
                return Err(wrong(value, format!("`{part}` is there twice")).into());
            }
            kinds.push(kind);
        }
    }
    Ok(kinds)
}

fn tcp_option(value: &Value, text: &str) -> Result<u8, RuleProblem> {
    /// `TCPOPT_*` (`netinet/tcp.h`)
    const NAMES: [(&str, u8); 6] =
        [("mss", 2), ("wscale", 3), ("sack-permitted", 4), ("sack", 5), ("timestamp", 8), ("md5", 19)];
    if digits(text).is_some() {
        return number_in(value, text, 2..=u8::MAX);
    }
    match NAMES.iter().find(|(name, _)| *name == text) {
        Some((_, kind)) => Ok(*kind),
        None => Err(unknown(value, "TCP option", text, NAMES.iter().map(|(name, _)| *name))),
    }
}
