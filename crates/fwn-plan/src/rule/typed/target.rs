//! Targets that do not rewrite addresses: `AUDIT`, `CLASSIFY`, `CONNMARK`, `CT`, `DSCP`, `HL`, `LOG`, `MARK`, `NFLOG`,
//! `NFQUEUE`, `REJECT`, `TCPMSS`, `TEE`, `TOS`, `TPROXY`, `TTL`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::packet::{dscp_use, tos};
use super::value::{
    Masked, Range, address_in, choice, digits, exact_choice, masked_u32, number, number_range, resolved_port,
    text, unknown, word, wrong, wrong_use,
};
use super::{Context, TypedError, needs, not_typed, single};
use crate::netfilter::{Family, INTERFACE_NAME_MAX};
use crate::rule::{Module, OptionUse, RuleProblem, Value};

/// `-j MARK`: bits of the mask are cleared, then those of the value flipped.
pub type MarkAction = Masked<u32>;

/// `-j CONNMARK`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnmarkAction {
    /// `XT_CONNMARK_*` (`linux/netfilter/xt_connmark.h`): 0 set, 1 save, 2 restore.
    pub mode: u8,
    /// Bits of the connection's mark that are flipped.
    pub ct_mark: u32,
    /// Bits of the connection's mark that are cleared before, or copied.
    pub ct_mask: u32,
    /// Bits of the packet's mark.
    pub nf_mask: u32,
    /// Whether the mark is shifted to the right.
    pub shift_right: bool,
    /// By how many bits.
    pub shift_bits: u8,
}

/// `-j CT`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ct {
    /// `XT_CT_*` bits (`linux/netfilter/xt_CT.h`).
    pub flags: u16,
    /// `--zone`
    pub zone: u16,
    /// `--ctevents`: `IPCT_*` as bits (`linux/netfilter/nf_conntrack_common.h`).
    pub events: u32,
    /// `--expevents`: `IPEXP_*` as bits.
    pub expectation_events: u32,
    /// `--helper`, at most 15 bytes.
    pub helper: String,
    /// `--timeout`, at most 31 bytes.
    pub timeout: String,
}

/// `-j NOTRACK`: `XT_CT_NOTRACK` and `XT_CT_NOTRACK_ALIAS`.
pub(super) const NOTRACK: Ct =
    Ct { flags: 3, zone: 0, events: 0, expectation_events: 0, helper: String::new(), timeout: String::new() };

/// `-j TTL` or `-j HL`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HopAction {
    /// `IPT_TTL_*` (`linux/netfilter_ipv4/ipt_TTL.h`): 0 set, 1 increase, 2 decrease.
    pub mode: u8,
    /// To or by what.
    pub value: u8,
}

/// `-j LOG`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// Level of syslog.
    pub level: u8,
    /// `XT_LOG_*` bits (`linux/netfilter/xt_LOG.h`).
    pub flags: u8,
    /// `--log-prefix`, at most 29 bytes.
    pub prefix: String,
}

/// `-j NFLOG`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Nflog {
    /// `--nflog-group`
    pub group: u16,
    /// `--nflog-prefix`, at most 127 bytes; may be empty.
    pub prefix: String,
    /// `--nflog-size`
    pub size: Option<u32>,
    /// `--nflog-threshold`; 0 for the kernel's own.
    pub threshold: u16,
}

/// `-j NFQUEUE`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nfqueue {
    /// The first queue.
    pub first: u16,
    /// How many there are.
    pub count: u16,
    /// `NFQ_FLAG_*` (`linux/netfilter/xt_NFQUEUE.h`).
    pub flags: u16,
}

/// `-j REJECT`: `enum ipt_reject_with` (`linux/netfilter_ipv4/ipt_REJECT.h`) or `enum ip6t_reject_with`.
pub type Reject = u32;

/// `-j TEE`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tee {
    /// `--gateway`
    pub gateway: IpAddr,
    /// `--oif`, at most 15 bytes; empty for any.
    pub interface: String,
}

/// `-j TPROXY`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tproxy {
    /// `--on-port`
    pub port: u16,
    /// `--on-ip`; unspecified for the address of the incoming interface.
    pub address: IpAddr,
    /// `--tproxy-mark`
    pub mark: Masked<u32>,
}

/// What MARK and CONNMARK make of their options: bits to clear, bits to flip.
fn mark_operation(option: &OptionUse) -> Result<Option<MarkAction>, RuleProblem> {
    let bits = || number(word(option, 0)?, 0..=u32::MAX);
    Ok(Some(match option.name {
        "set-xmark" => masked_u32(word(option, 0)?)?,
        "set-mark" => {
            let mark = masked_u32(word(option, 0)?)?;
            Masked { value: mark.value, mask: mark.mask | mark.value }
        }
        "and-mark" => Masked { value: 0, mask: !bits()? },
        "or-mark" => bits().map(|bits| Masked { value: bits, mask: bits })?,
        "xor-mark" => Masked { value: bits()?, mask: 0 },
        _ => return Ok(None),
    }))
}

pub(super) fn parse_mark(module: &Module) -> Result<MarkAction, TypedError> {
    let mut found = None;
    for option in &module.options {
        found = Some(mark_operation(option)?.ok_or_else(|| not_typed(module, option))?);
    }
    found.ok_or_else(|| needs(module, "a mark"))
}

pub(super) fn parse_connmark(module: &Module) -> Result<ConnmarkAction, TypedError> {
    let mut found = None;
    let mut it = ConnmarkAction {
        mode: 0,
        ct_mark: 0,
        ct_mask: u32::MAX,
        nf_mask: u32::MAX,
        shift_right: false,
        shift_bits: 0,
    };
    for option in &module.options {
        if let Some(mark) = mark_operation(option)? {
            (it.ct_mark, it.ct_mask) = (mark.value, mark.mask);
            found = Some(0);
            continue;
        }
        let mask = || number(word(option, 0)?, 0..=u32::MAX);
        match option.name {
            "save-mark" => found = Some(1),
            "restore-mark" => found = Some(2),
            "ctmask" => it.ct_mask = mask()?,
            "nfmask" => it.nf_mask = mask()?,
            "mask" => (it.ct_mask, it.nf_mask) = (mask()?, mask()?),
            "left-shift-mark" | "right-shift-mark" => {
                it.shift_right = option.name == "right-shift-mark";
                // iptables takes 32 too, which Linux refuses
                it.shift_bits = number(word(option, 0)?, 0..=31)?;
            }
            _ => return Err(not_typed(module, option)),
        }
    }
    it.mode = found.ok_or_else(|| needs(module, "an operation"))?;
    Ok(it)
}

pub(super) fn parse_ct(module: &Module) -> Result<Ct, TypedError> {
    /// `enum ip_conntrack_events` (`linux/netfilter/nf_conntrack_common.h`) as bits
    const EVENTS: [(&str, u32); 10] = [
        ("new", 1 << 0),
        ("related", 1 << 1),
        ("destroy", 1 << 2),
        ("reply", 1 << 3),
        ("assured", 1 << 4),
        ("protoinfo", 1 << 5),
        ("helper", 1 << 6),
        ("mark", 1 << 7),
        ("natseqinfo", 1 << 8),
        ("secmark", 1 << 9),
    ];
    let mut ct = Ct::default();
    for option in &module.options {
        match option.name {
            "notrack" => ct.flags |= 1 << 0,
            "helper" => ct.helper = text(word(option, 0)?, 15)?,
            "timeout" => ct.timeout = text(word(option, 0)?, 31)?,
            "ctevents" => ct.events = events(word(option, 0)?, &EVENTS)?,
            "expevents" => ct.expectation_events = events(word(option, 0)?, &[("new", 1 << 0)])?,
            "zone" | "zone-orig" | "zone-reply" => {
                ct.flags |= match option.name {
                    "zone-orig" => 1 << 2,
                    "zone-reply" => 1 << 3,
                    _ => 0,
                };
                let value = word(option, 0)?;
                if value.text.eq_ignore_ascii_case("mark") {
                    ct.flags |= 1 << 4;
                } else {
                    ct.zone = number(value, 0..=u16::MAX)?;
                }
            }
            _ => return Err(not_typed(module, option)),
        }
    }
    Ok(ct)
}

fn events(value: &Value, known: &[(&'static str, u32)]) -> Result<u32, RuleProblem> {
    value.text.split(',').try_fold(0, |bits, part| Ok(bits | exact_choice(value, part, "event", known)?))
}

pub(super) fn parse_dscp(module: &Module) -> Result<u8, TypedError> {
    dscp_use(module, "set-dscp", "set-dscp-class").map(|point| point.value)
}

pub(super) fn parse_hop_limit(module: &Module) -> Result<HopAction, TypedError> {
    let mut found = None;
    for option in &module.options {
        let (mode, least) = match option.name {
            "ttl-set" | "hl-set" => (0, 0),
            "ttl-inc" | "hl-inc" => (1, 1),
            "ttl-dec" | "hl-dec" => (2, 1),
            _ => return Err(not_typed(module, option)),
        };
        found = Some(HopAction { mode, value: number(word(option, 0)?, least..=u8::MAX)? });
    }
    found.ok_or_else(|| needs(module, "an operation"))
}

pub(super) fn parse_log(module: &Module) -> Result<Log, TypedError> {
    /// Most bytes of a prefix: 30 with the NUL (`struct xt_log_info`, `linux/netfilter/xt_LOG.h`)
    const PREFIX_MAX: usize = 29;
    /// Names of levels (`sys/syslog.h`)
    const LEVELS: [(&str, u8); 9] = [
        ("emerg", 0),
        ("panic", 0),
        ("alert", 1),
        ("crit", 2),
        ("error", 3),
        ("warning", 4),
        ("notice", 5),
        ("info", 6),
        ("debug", 7),
    ];
    let mut log = Log { level: 4, flags: 0, prefix: String::new() };
    for option in &module.options {
        match option.name {
            "log-level" => {
                let value = word(option, 0)?;
                log.level = match digits(&value.text) {
                    Some(_) => number(value, 0..=7)?,
                    None => LEVELS
                        .iter()
                        .find_map(|(name, level)| (*name == value.text).then_some(*level))
                        .ok_or_else(|| {
                        unknown(value, "log level", &value.text, LEVELS.map(|(name, _)| name))
                    })?,
                };
            }
            "log-prefix" => log.prefix = prefix(option, PREFIX_MAX)?,
            "log-tcp-sequence" => log.flags |= 1 << 0,
            "log-tcp-options" => log.flags |= 1 << 1,
            "log-ip-options" => log.flags |= 1 << 2,
            "log-uid" => log.flags |= 1 << 3,
            "log-macdecode" => log.flags |= 1 << 5,
            _ => return Err(not_typed(module, option)),
        }
    }
    Ok(log)
}

fn prefix(option: &OptionUse, max: usize) -> Result<String, RuleProblem> {
    let value = word(option, 0)?;
    if value.text.is_empty() {
        return Err(wrong(value, format!("`--{}` is empty", option.name)));
    }
    text(value, max)
}

pub(super) fn parse_nflog(module: &Module) -> Result<Nflog, TypedError> {
    /// Most bytes of a prefix: `NF_LOG_PREFIXLEN` (`linux/netfilter/nf_log.h`) without the NUL
    const PREFIX_MAX: usize = 127;
    let mut nflog = Nflog::default();
    for option in &module.options {
        match option.name {
            "nflog-group" => nflog.group = number(word(option, 0)?, 0..=u16::MAX)?,
            "nflog-prefix" => nflog.prefix = prefix(option, PREFIX_MAX)?,
            "nflog-size" => nflog.size = Some(number(word(option, 0)?, 0..=u32::MAX)?),
            "nflog-threshold" => nflog.threshold = number(word(option, 0)?, 0..=u16::MAX)?,
            // `--nflog-range` never had an effect
            _ => return Err(not_typed(module, option)),
        }
    }
    Ok(nflog)
}

pub(super) fn parse_nfqueue(module: &Module) -> Result<Nfqueue, TypedError> {
    let mut queue = Nfqueue { first: 0, count: 1, flags: 0 };
    for option in &module.options {
        match option.name {
            "queue-num" => queue.first = number(word(option, 0)?, 0..=u16::MAX)?,
            "queue-balance" => {
                let value = word(option, 0)?;
                let Range { first, last } = number_range(value, 0..=u16::MAX)?;
                if first >= last {
                    return Err(wrong(value, format!("`{}` is not a range of queues", value.text)).into());
                }
                queue.first = first;
                queue.count =
                    (last - first).checked_add(1).ok_or_else(|| wrong_use(option, "too many queues"))?;
            }
            "queue-bypass" => queue.flags |= 1 << 0,
            "queue-cpu-fanout" => queue.flags |= 1 << 1,
            _ => return Err(not_typed(module, option)),
        }
    }
    Ok(queue)
}

/// Names and other names of what REJECT answers with.
const REJECT_V4: [(&str, &str, Reject); 8] = [
    ("icmp-net-unreachable", "net-unreach", 0),
    ("icmp-host-unreachable", "host-unreach", 1),
    ("icmp-proto-unreachable", "proto-unreach", 2),
    ("icmp-port-unreachable", "port-unreach", 3),
    ("icmp-net-prohibited", "net-prohib", 5),
    ("icmp-host-prohibited", "host-prohib", 6),
    ("tcp-reset", "tcp-rst", 7),
    ("icmp-admin-prohibited", "admin-prohib", 8),
];
const REJECT_V6: [(&str, &str, Reject); 7] = [
    ("icmp6-no-route", "no-route", 0),
    ("icmp6-adm-prohibited", "adm-prohibited", 1),
    ("icmp6-addr-unreachable", "addr-unreach", 3),
    ("icmp6-port-unreachable", "port-unreach", 4),
    ("tcp-reset", "tcp-reset", 6),
    ("icmp6-policy-fail", "policy-fail", 7),
    ("icmp6-reject-route", "reject-route", 8),
];

pub(super) fn parse_reject(module: &Module, context: &Context<'_>) -> Result<Reject, TypedError> {
    /// `IPPROTO_TCP` (`netinet/in.h`)
    const TCP: u8 = 6;
    let (known, mut with) = match context.family {
        Family::Ipv4 => (REJECT_V4.as_slice(), 3),
        Family::Ipv6 => (REJECT_V6.as_slice(), 4),
    };
    for option in &module.options {
        if option.name != "reject-with" {
            return Err(not_typed(module, option));
        }
        let value = word(option, 0)?;
        let text = value.text.as_str();
        // a name may be cut short; the first that fits counts
        let fits = |name: &str| {
            name.get(..text.len()).is_some_and(|start| !text.is_empty() && start.eq_ignore_ascii_case(text))
        };
        with = known
            .iter()
            .find_map(|(name, other, with)| (fits(name) || fits(other)).then_some(*with))
            .ok_or_else(|| unknown(value, "answer", text, known.iter().map(|(name, _, _)| *name)))?;
    }
    let reset = known.iter().any(|(name, _, number)| *name == "tcp-reset" && *number == with);
    if reset && !context.protocol_is(TCP) {
        return Err(needs(module, "`-p tcp` for `--reject-with tcp-reset`"));
    }
    Ok(with)
}

pub(super) fn parse_tcpmss(module: &Module, context: &Context<'_>) -> Result<Option<u16>, TypedError> {
    // the segment must leave room for the header
    let header = if context.family == Family::Ipv4 { 20 } else { 40 };
    let mut found = None;
    for option in &module.options {
        found = Some(match option.name {
            "set-mss" => Some(number(word(option, 0)?, 0..=u16::MAX - header)?),
            "clamp-mss-to-pmtu" => None,
            _ => return Err(not_typed(module, option)),
        });
    }
    found.ok_or_else(|| needs(module, "`--set-mss` or `--clamp-mss-to-pmtu`"))
}

pub(super) fn parse_tos(module: &Module) -> Result<Masked<u8>, TypedError> {
    let mut found = None;
    for option in &module.options {
        let bits = || number::<u8>(word(option, 0)?, 0..=u8::MAX);
        found = Some(match option.name {
            "set-tos" => tos(word(option, 0)?)?,
            "and-tos" => Masked { value: 0, mask: !bits()? },
            "or-tos" => bits().map(|bits| Masked { value: bits, mask: bits })?,
            "xor-tos" => Masked { value: bits()?, mask: 0 },
            _ => return Err(not_typed(module, option)),
        });
    }
    found.ok_or_else(|| needs(module, "an operation"))
}

pub(super) fn parse_audit(module: &Module) -> Result<u8, TypedError> {
    let known = [("accept", 0), ("drop", 1), ("reject", 2)];
    single(module, "type", |value| choice(value, &value.text, "type", &known)).map(|kind| kind.value)
}

/// `MAJOR:MINOR`, hexadecimal.
pub(super) fn parse_classify(module: &Module) -> Result<u32, TypedError> {
    let class = single(module, "set-class", |value| {
        let digits = |text: &str| text.bytes().all(|digit| digit.is_ascii_hexdigit());
        let number = |text: &str| u16::from_str_radix(text, 16).ok().filter(|_| digits(text));
        let numbers = value.text.split_once(':').and_then(|(major, minor)| number(major).zip(number(minor)));
        let (major, minor) =
            numbers.ok_or_else(|| wrong(value, format!("`{}` is not a class such as 1:1f", value.text)))?;
        Ok(u32::from(major) << 16 | u32::from(minor))
    })?;
    Ok(class.value)
}

pub(super) fn parse_tee(module: &Module, context: &Context<'_>) -> Result<Tee, TypedError> {
    let (mut gateway, mut interface) = (None, String::new());
    for option in &module.options {
        let value = word(option, 0)?;
        match option.name {
            "gateway" => gateway = Some(address_in(value, &value.text, context.family)?),
            "oif" => interface = text(value, INTERFACE_NAME_MAX)?,
            _ => return Err(not_typed(module, option)),
        }
    }
    Ok(Tee { gateway: gateway.ok_or_else(|| needs(module, "`--gateway`"))?, interface })
}

pub(super) fn parse_tproxy(module: &Module, context: &Context<'_>) -> Result<Tproxy, TypedError> {
    let mut port = None;
    let mut address = match context.family {
        Family::Ipv4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        Family::Ipv6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let mut mark = Masked { value: 0, mask: 0 };
    for option in &module.options {
        let value = word(option, 0)?;
        match option.name {
            "on-port" => port = Some(resolved_port(value, &value.text, context)?),
            "on-ip" => address = address_in(value, &value.text, context.family)?,
            "tproxy-mark" => mark = masked_u32(value)?,
            _ => return Err(not_typed(module, option)),
        }
    }
    Ok(Tproxy { port: port.ok_or_else(|| needs(module, "`--on-port`"))?, address, mark })
}
