//! What the words after `-m` and `-j` mean: [`Module`]s in, typed and value-checked structures out, as the encoder
//! needs them. Takes what iptables takes; what it would refuse is an error at the offending word.
//!
//! That options are known, go together, and may be negated was checked when the rule was parsed
//! ([`crate::rule::extensions`]). Not every extension is typed, and some only in their usual form: the rest is
//! [`TypedError::NotTyped`], which is no fault of the rule.

pub mod address;
pub mod conntrack;
pub mod device;
pub mod extension_header;
pub mod flow;
pub mod header;
pub mod icmp;
pub mod nat;
pub mod packet;
pub mod ports;
pub mod program;
pub mod rare_target;
pub mod rate;
pub mod recent;
pub mod set;
pub mod spread;
pub mod string;
pub mod target;
#[cfg(test)]
mod tests;
pub mod time;
pub mod transport;
pub mod value;

use std::net::IpAddr;

use self::address::{Addrtype, IpRanges, Owner};
use self::conntrack::Conntrack;
use self::device::{Cgroup, DeviceGroups, Physdev};
use self::extension_header::{
    AuthenticationHeader, FragmentHeader, Headers, OptionsHeader, RoutingHeader, SegmentHeader,
};
use self::flow::{Connbytes, Connlabel};
use self::header::{Ecn, Policy, Sctp};
use self::icmp::Icmp;
use self::nat::{Nat, PortNat};
use self::packet::{Compare, Statistic};
use self::ports::{Multiport, Tcp, Udp};
use self::program::{BpfInstruction, U32};
use self::rare_target::{EcnAction, IdleTimer, PrefixTranslation, Synproxy};
use self::rate::{Connlimit, Hashlimit, Limit};
use self::recent::Recent;
use self::set::{SetMatch, SetTarget};
use self::spread::{Cluster, Hmark};
use self::string::StringMatch;
use self::target::{ConnmarkAction, Ct, HopAction, Log, MarkAction, Nflog, Nfqueue, Reject};
use self::time::Time;
use self::transport::{Dccp, Fingerprint, Ipcomp};
use self::value::{Masked, Range};
use crate::netfilter::Family;
use crate::rule::databases::Databases;
use crate::rule::{Module, Negatable, OptionUse, Rule, RuleProblem, Span, Target, Value};

/// What the meaning of a module depends on, beside its own words.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The family half that the rule is for.
    pub family: Family,
    /// `-p` of the rule.
    pub protocol: Option<&'a Negatable<u8>>,
    /// Names for numbers.
    pub databases: &'a dyn Databases,
}

/// Why a module has no typed form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TypedError {
    /// This program does not know the form; iptables may.
    NotTyped {
        /// The extension, its option or the form of it.
        what: String,
        /// Where it stands.
        span: Span,
    },
    /// iptables would refuse it too.
    Wrong(RuleProblem),
}

/// A match.
#[derive(Debug, Clone, PartialEq)]
pub enum TypedMatch {
    /// `addrtype`
    Addrtype(Addrtype),
    /// `ah` in IPv4
    Ah(Negatable<Range<u32>>),
    /// `ah` in IPv6
    AuthenticationHeader(AuthenticationHeader),
    /// `bpf --bytecode`: 1 to 64 instructions.
    Bpf(Vec<BpfInstruction>),
    /// `cgroup`
    Cgroup(Negatable<Cgroup>),
    /// `cluster`
    Cluster(Cluster),
    /// `comment`, at most 255 bytes.
    Comment(String),
    /// `connbytes`
    Connbytes(Connbytes),
    /// `connlabel`
    Connlabel(Connlabel),
    /// `connlimit`
    Connlimit(Connlimit),
    /// `connmark`
    Connmark(Negatable<Masked<u32>>),
    /// `conntrack` and `state`
    Conntrack(Box<Conntrack>),
    /// `cpu`
    Cpu(Negatable<u32>),
    /// `dccp`
    Dccp(Dccp),
    /// `devgroup`
    DeviceGroups(DeviceGroups),
    /// `dscp`: 0 to 63.
    Dscp(Negatable<u8>),
    /// `ecn`
    Ecn(Ecn),
    /// `esp`
    Esp(Negatable<Range<u32>>),
    /// `eui64`
    Eui64,
    /// `osf`
    Fingerprint(Fingerprint),
    /// `frag`
    FragmentHeader(FragmentHeader),
    /// `hashlimit`
    Hashlimit(Box<Hashlimit>),
    /// `ipv6header`
    Headers(Headers),
    /// `helper`
    Helper(Negatable<String>),
    /// `ttl` in IPv4, `hl` in IPv6
    HopLimit(Compare),
    /// `icmp` in IPv4, `icmp6` in IPv6
    Icmp(Icmp),
    /// `ipcomp`
    Ipcomp(Ipcomp),
    /// `iprange`
    IpRanges(IpRanges),
    /// `length`, in bytes with the IP header.
    Length(Negatable<Range<u16>>),
    /// `limit`
    Limit(Limit),
    /// `mac`
    Mac(Negatable<[u8; 6]>),
    /// `mark`
    Mark(Negatable<Masked<u32>>),
    /// `mh`: types.
    Mobility(Negatable<Range<u8>>),
    /// `multiport`
    Multiport(Multiport),
    /// `dst` and `hbh`
    OptionsHeader(OptionsHeader),
    /// `owner`
    Owner(Owner),
    /// `pkttype`: `PACKET_*` (`linux/if_packet.h`)
    PacketType(Negatable<u8>),
    /// `physdev`
    Physdev(Box<Physdev>),
    /// `policy`
    Policy(Box<Policy>),
    /// `quota`, in bytes.
    Quota(Negatable<u64>),
    /// `realm`
    Realm(Negatable<Masked<u32>>),
    /// `recent`
    Recent(Box<Recent>),
    /// `rpfilter`: `XT_RPFILTER_*` bits (`linux/netfilter/xt_rpfilter.h`).
    ReversePath(u8),
    /// `rt`
    RoutingHeader(RoutingHeader),
    /// `sctp`
    Sctp(Box<Sctp>),
    /// `srh`
    SegmentHeader(Box<SegmentHeader>),
    /// `set`
    Set(SetMatch),
    /// `socket`: `XT_SOCKET_*` bits (`linux/netfilter/xt_socket.h`).
    Socket(u8),
    /// `statistic`
    Statistic(Negatable<Statistic>),
    /// `string`
    String(Box<StringMatch>),
    /// `tcp`
    Tcp(Tcp),
    /// `tcpmss`
    Tcpmss(Negatable<Range<u16>>),
    /// `time`
    Time(Box<Time>),
    /// `tos`
    Tos(Negatable<Masked<u8>>),
    /// `u32`
    U32(Negatable<U32>),
    /// `udp`
    Udp(Udp),
}

/// A target that is neither a verdict nor a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TypedTarget {
    /// `AUDIT`: `XT_AUDIT_TYPE_*` (`linux/netfilter/xt_AUDIT.h`).
    Audit(u8),
    /// `CHECKSUM --checksum-fill`
    Checksum,
    /// `CLASSIFY`: major and minor number of a class, 16 bits each.
    Classify(u32),
    /// `CONNMARK`
    Connmark(ConnmarkAction),
    /// `CT` and `NOTRACK`
    Ct(Box<Ct>),
    /// `DNAT`
    Dnat(Nat),
    /// `DSCP`: 0 to 63.
    Dscp(u8),
    /// `ECN`
    Ecn(EcnAction),
    /// `HMARK`
    Hmark(Hmark),
    /// `IDLETIMER`
    IdleTimer(IdleTimer),
    /// `LOG`
    Log(Log),
    /// `MARK`
    Mark(MarkAction),
    /// `MASQUERADE`
    Masquerade(PortNat),
    /// `NETMAP`: the network to map into.
    Netmap(Masked<IpAddr>),
    /// `NFLOG`
    Nflog(Nflog),
    /// `NFQUEUE`
    Nfqueue(Nfqueue),
    /// `DNPT` and `SNPT`
    PrefixTranslation(PrefixTranslation),
    /// `REDIRECT`
    Redirect(PortNat),
    /// `REJECT`
    Reject(Reject),
    /// `SET`
    Set(SetTarget),
    /// `SNAT`
    Snat(Nat),
    /// `TCPOPTSTRIP`: kinds of TCP options, 2 to 255.
    StripTcpOptions(Vec<u8>),
    /// `SYNPROXY`
    Synproxy(Synproxy),
    /// `TEE`
    Tee(target::Tee),
    /// `TPROXY`
    Tproxy(target::Tproxy),
    /// `TCPMSS`; `None` clamps to the path's MTU.
    Tcpmss(Option<u16>),
    /// `TOS`: bits cleared, bits flipped then.
    Tos(Masked<u8>),
    /// `TRACE`
    Trace,
    /// `TTL` in IPv4, `HL` in IPv6
    HopLimit(HopAction),
}

/// The meaning of a match.
///
/// # Errors
/// See [`TypedError`].
pub fn parse_match(module: &Module, context: &Context<'_>) -> Result<TypedMatch, TypedError> {
    Ok(match module.name {
        "addrtype" => TypedMatch::Addrtype(address::parse_addrtype(module, context)?),
        "ah" if context.family == Family::Ipv4 => TypedMatch::Ah(header::parse_ah(module, context)?),
        "ah" => TypedMatch::AuthenticationHeader(extension_header::parse_ah(module)?),
        "bpf" => TypedMatch::Bpf(program::parse_bpf(module)?),
        "cgroup" => TypedMatch::Cgroup(device::parse_cgroup(module)?),
        "cluster" => TypedMatch::Cluster(spread::parse_cluster(module)?),
        "comment" => TypedMatch::Comment(packet::parse_comment(module)?),
        "connbytes" => TypedMatch::Connbytes(flow::parse_connbytes(module)?),
        "connlabel" => TypedMatch::Connlabel(flow::parse_connlabel(module)?),
        "connlimit" => TypedMatch::Connlimit(rate::parse_connlimit(module, context)?),
        "connmark" => TypedMatch::Connmark(conntrack::parse_mark(module)?),
        "conntrack" => TypedMatch::Conntrack(conntrack::parse(module, context)?.into()),
        "state" => TypedMatch::Conntrack(conntrack::parse_state(module)?.into()),
        "cpu" => TypedMatch::Cpu(device::parse_cpu(module)?),
        "dccp" => TypedMatch::Dccp(transport::parse_dccp(module)?),
        "devgroup" => TypedMatch::DeviceGroups(device::parse_groups(module)?),
        "dst" | "hbh" => TypedMatch::OptionsHeader(extension_header::parse_options(module)?),
        "ecn" => TypedMatch::Ecn(header::parse_ecn(module, context)?),
        "esp" => TypedMatch::Esp(header::parse_spis(module, "espspi")?),
        "eui64" => TypedMatch::Eui64,
        "frag" => TypedMatch::FragmentHeader(extension_header::parse_frag(module)?),
        "helper" => TypedMatch::Helper(flow::parse_helper(module)?),
        "dscp" => TypedMatch::Dscp(packet::parse_dscp(module)?),
        "hashlimit" => TypedMatch::Hashlimit(rate::parse_hashlimit(module, context)?.into()),
        "ttl" | "hl" => TypedMatch::HopLimit(packet::parse_hop_limit(module)?),
        "icmp" | "icmp6" => TypedMatch::Icmp(icmp::parse(module, context)?),
        "ipcomp" => TypedMatch::Ipcomp(transport::parse_ipcomp(module)?),
        "ipv6header" => TypedMatch::Headers(extension_header::parse_headers(module, context)?),
        "iprange" => TypedMatch::IpRanges(address::parse_ip_ranges(module, context)?),
        "length" => TypedMatch::Length(packet::parse_length(module)?),
        "limit" => TypedMatch::Limit(rate::parse_limit(module)?),
        "mac" => TypedMatch::Mac(address::parse_mac(module)?),
        "mark" => TypedMatch::Mark(conntrack::parse_mark(module)?),
        "mh" => TypedMatch::Mobility(extension_header::parse_mobility(module)?),
        "multiport" => TypedMatch::Multiport(ports::parse_multiport(module, context)?),
        "osf" => TypedMatch::Fingerprint(transport::parse_fingerprint(module)?),
        "owner" => TypedMatch::Owner(address::parse_owner(module, context)?),
        "pkttype" => TypedMatch::PacketType(packet::parse_packet_type(module)?),
        "physdev" => TypedMatch::Physdev(device::parse_physdev(module)?.into()),
        "policy" => TypedMatch::Policy(header::parse_policy(module, context)?.into()),
        "quota" => TypedMatch::Quota(flow::parse_quota(module)?),
        "realm" => TypedMatch::Realm(device::parse_realm(module)?),
        "rt" => TypedMatch::RoutingHeader(extension_header::parse_routing(module)?),
        "rpfilter" => TypedMatch::ReversePath(device::parse_rpfilter(module)?),
        "sctp" => TypedMatch::Sctp(header::parse_sctp(module, context)?.into()),
        "srh" => TypedMatch::SegmentHeader(extension_header::parse_segments(module, context)?.into()),
        "socket" => TypedMatch::Socket(device::parse_socket(module)?),
        "recent" => TypedMatch::Recent(recent::parse(module, context)?.into()),
        "set" => TypedMatch::Set(set::parse_match(module)?),
        "statistic" => TypedMatch::Statistic(packet::parse_statistic(module)?),
        "string" => TypedMatch::String(string::parse(module)?.into()),
        "tcp" => TypedMatch::Tcp(ports::parse_tcp(module, context)?),
        "tcpmss" => TypedMatch::Tcpmss(packet::parse_tcpmss(module)?),
        "time" => TypedMatch::Time(time::parse(module)?.into()),
        "tos" => TypedMatch::Tos(packet::parse_tos(module)?),
        "u32" => TypedMatch::U32(program::parse_u32(module)?),
        "udp" => TypedMatch::Udp(ports::parse_udp(module, context)?),
        _ => return Err(unknown_module(module, "match")),
    })
}

/// The meaning of a target.
///
/// # Errors
/// See [`TypedError`].
pub fn parse_target(module: &Module, context: &Context<'_>) -> Result<TypedTarget, TypedError> {
    Ok(match module.name {
        "AUDIT" => TypedTarget::Audit(target::parse_audit(module)?),
        "CHECKSUM" => TypedTarget::Checksum,
        "CLASSIFY" => TypedTarget::Classify(target::parse_classify(module)?),
        "TEE" => TypedTarget::Tee(target::parse_tee(module, context)?),
        "TPROXY" => TypedTarget::Tproxy(target::parse_tproxy(module, context)?),
        "CONNMARK" => TypedTarget::Connmark(target::parse_connmark(module)?),
        "CT" => TypedTarget::Ct(target::parse_ct(module)?.into()),
        "NOTRACK" => TypedTarget::Ct(target::NOTRACK.into()),
        "DNAT" => TypedTarget::Dnat(nat::parse(module, context)?),
        "DSCP" => TypedTarget::Dscp(target::parse_dscp(module)?),
        "DNPT" | "SNPT" => TypedTarget::PrefixTranslation(rare_target::parse_prefixes(module, context)?),
        "ECN" => TypedTarget::Ecn(rare_target::parse_ecn(module, context)?),
        "HMARK" => TypedTarget::Hmark(spread::parse_hmark(module, context)?),
        "IDLETIMER" => TypedTarget::IdleTimer(rare_target::parse_idle_timer(module)?),
        "SYNPROXY" => TypedTarget::Synproxy(rare_target::parse_synproxy(module)?),
        "TCPOPTSTRIP" => TypedTarget::StripTcpOptions(rare_target::parse_strip(module)?),
        "HL" | "TTL" => TypedTarget::HopLimit(target::parse_hop_limit(module)?),
        "LOG" => TypedTarget::Log(target::parse_log(module)?),
        "MARK" => TypedTarget::Mark(target::parse_mark(module)?),
        "MASQUERADE" => TypedTarget::Masquerade(nat::parse_ports(module, context)?),
        "NETMAP" => TypedTarget::Netmap(nat::parse_netmap(module, context)?),
        "NFLOG" => TypedTarget::Nflog(target::parse_nflog(module)?),
        "NFQUEUE" => TypedTarget::Nfqueue(target::parse_nfqueue(module)?),
        "REDIRECT" => TypedTarget::Redirect(nat::parse_ports(module, context)?),
        "REJECT" => TypedTarget::Reject(target::parse_reject(module, context)?),
        "SET" => TypedTarget::Set(set::parse_target(module)?),
        "SNAT" => TypedTarget::Snat(nat::parse(module, context)?),
        "TCPMSS" => TypedTarget::Tcpmss(target::parse_tcpmss(module, context)?),
        "TOS" => TypedTarget::Tos(target::parse_tos(module)?),
        "TRACE" => TypedTarget::Trace,
        _ => return Err(unknown_module(module, "target")),
    })
}

/// All that is wrong with the values of a rule's matches and target in one family. What has no typed form is passed
/// over: only iptables can tell.
pub fn check_values(rule: &Rule, family: Family, databases: &dyn Databases) -> Vec<RuleProblem> {
    let context = Context { family, protocol: rule.protocol.as_ref(), databases };
    let matches = rule.matches.iter().filter_map(|module| parse_match(module, &context).err());
    let target = match &rule.target {
        Some(Target::Extension(module)) => parse_target(module, &context).err(),
        _ => None,
    };
    let wrong = |error| match error {
        TypedError::Wrong(problem) => Some(problem),
        TypedError::NotTyped { .. } => None,
    };
    matches.chain(target).filter_map(wrong).collect()
}

impl Context<'_> {
    /// Whether `-p` names just this protocol.
    fn protocol_is(&self, number: u8) -> bool {
        self.protocol.is_some_and(|protocol| !protocol.negated && protocol.value == number)
    }

    /// A protocol by number or name.
    fn protocol_number(&self, value: &Value) -> Result<u8, RuleProblem> {
        match value::digits(&value.text) {
            Some(_) => value::number(value, 0..=u8::MAX),
            None if value.text == "all" => Ok(0),
            None => self
                .databases
                .protocol(&value.text)
                .ok_or_else(|| value::wrong(value, format!("unknown protocol `{}`", value.text))),
        }
    }
}

impl TypedError {
    /// A form of an option that is known, but not here.
    fn form(option: &OptionUse, what: &str) -> Self {
        Self::NotTyped { what: format!("`--{}` with {what}", option.name), span: option.span.clone() }
    }
}

impl From<RuleProblem> for TypedError {
    fn from(problem: RuleProblem) -> Self {
        Self::Wrong(problem)
    }
}

fn unknown_module(module: &Module, kind: &str) -> TypedError {
    TypedError::NotTyped { what: format!("{kind} `{}`", module.name), span: module.span.clone() }
}

fn not_typed(module: &Module, option: &OptionUse) -> TypedError {
    TypedError::NotTyped {
        what: format!("`--{}` of `{}`", option.name, module.name),
        span: option.span.clone(),
    }
}

/// The module lacks what it needs to mean anything; the parser does not let it come to this.
fn needs(module: &Module, what: &str) -> TypedError {
    let message = format!("`{}` needs {what}", module.name);
    TypedError::Wrong(RuleProblem { span: module.span.clone(), message, hint: None })
}

/// The one value that a module is about, with its `!`.
fn single<T>(
    module: &Module,
    name: &'static str,
    parse: impl Fn(&Value) -> Result<T, RuleProblem>,
) -> Result<Negatable<T>, TypedError> {
    let mut found = None;
    for option in &module.options {
        if option.name != name {
            return Err(not_typed(module, option));
        }
        found = Some(Negatable { negated: option.negated, value: parse(value::word(option, 0)?)? });
    }
    found.ok_or_else(|| needs(module, &format!("`--{name}`")))
}
