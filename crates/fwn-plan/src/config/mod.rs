//! Configuration as written: text in, typed values with origins out. No default is applied here, no variable
//! expanded and nothing looked up; unknown keys and wrong types are the errors of this layer.

mod fw;
mod ipsetd;
mod json;
mod keys;
mod lint;
mod netconf;
mod reader;

use crate::netfilter::Family;
use crate::origin::Origin;

pub use fw::{FW_KEYS, parse_fw};
pub use ipsetd::{IpsetdConf, List};
pub use keys::{Key, Keys, Shape};
pub use lint::Allowed;
pub use netconf::{CNI_KEYS, NETCONF_KEYS, is_cni_key, parse_netconf};

/// A string as written, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// The decoded string, variables not expanded.
    pub value: String,
    /// Its place.
    pub origin: Origin,
}

/// Our own keys of a network configuration; CNI's keys are the business of the CNI layer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NetConf {
    /// `dataDir`
    pub data_dir: Option<Text>,
    /// `fwFiles`
    pub fw_files: Vec<Text>,
    /// `vars`, in the order written; a number is kept as its digits.
    pub vars: Vec<(String, Text)>,
    /// `varFiles`
    pub var_files: Vec<Text>,
    /// `names.timeout`, in seconds.
    pub names_timeout: Option<u32>,
    /// `names.servers`
    pub names_servers: Vec<Text>,
    /// `engine`
    pub engine: Option<Engine>,
    /// `stateDir`
    pub state_dir: Option<Text>,
    /// `persistDir`
    pub persist_dir: Option<Text>,
    /// `logFile`
    pub log_file: Option<Text>,
    /// `logLevel`
    pub log_level: Option<LogLevel>,
    /// `delegate`: of each plugin its `type`.
    pub delegates: Vec<Text>,
    /// `delegateTimeout`, in seconds.
    pub delegate_timeout: Option<u32>,
    /// `ipsetd`
    pub ipsetd: Option<IpsetdConf>,
    /// The inline part: `ipsets`, `policies`, `chains`, `rules`.
    pub section: Section,
}

/// `engine`: who encodes the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Engine {
    /// Native, and iptables for what native does not encode.
    #[default]
    Auto,
    /// Native, or an error.
    Native,
    /// The machine's own `iptables-nft-restore` encodes every rule.
    Iptables,
}

/// `logLevel`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogLevel {
    /// Failures only.
    Error,
    /// And what an operator should look at.
    #[default]
    Warn,
    /// And what was done.
    Info,
    /// And how.
    Debug,
    /// And every netlink message.
    Trace,
}

/// One .fw file, or the inline part of the network configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Section {
    /// `ipsets`
    pub sets: Vec<SetConf>,
    /// `chains`
    pub chains: Vec<ChainConf>,
    /// `policies`
    pub policies: Vec<PolicyConf>,
    /// `rules`
    pub rules: Vec<RuleConf>,
    /// What all `lint` keys in it silence.
    pub allowed: Vec<Allowed>,
    /// `tests`
    pub tests: Vec<TestConf>,
}

/// An element of `ipsets`. Numbers may be written as numbers or as strings; that a string holds a number, and
/// one within the limits of the kernel, is checked in [`crate::set`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetConf {
    /// Place of the whole object.
    pub origin: Origin,
    /// `set`: its name.
    pub set: Text,
    /// `hashtype`: `hash:ip`, `bitmap:port`, `list:set`, ...
    pub hashtype: Text,
    /// The other create options as written, in order, each at most once: `hashfamily`, `hashsize`, `netmask`,
    /// `bitmask`, `markmask`, `maxElem` (also for `maxelem`), `timeout`, `bucketsize`, `range`, `size` as text;
    /// `counters`, `comment`, `skbinfo`, `forceadd` as `true` or `false`.
    pub options: Vec<(&'static str, Text)>,
    /// `entries`
    pub entries: Vec<Text>,
    /// `file`
    pub file: Option<Text>,
    /// `persist`
    pub persist: bool,
}

/// An element of `chains`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainConf {
    /// `chain`
    pub chain: Text,
    /// `table`
    pub table: Option<Text>,
}

/// An element of `policies`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyConf {
    /// `chain`
    pub chain: Text,
    /// `policy`
    pub policy: Text,
    /// `table`
    pub table: Option<Text>,
    /// `family`
    pub family: Option<Family>,
}

/// An element of `rules`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleConf {
    /// Place of the whole object.
    pub origin: Origin,
    /// `type` and `position`
    pub placement: Placement,
    /// `chain`
    pub chain: Text,
    /// `rule`
    pub rule: Text,
    /// `table`
    pub table: Option<Text>,
    /// `family`
    pub family: Option<Family>,
    /// `forEach`
    pub for_each: Option<ForEach>,
}

/// An element of `tests`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestConf {
    /// `packet`
    pub packet: Text,
    /// `expect`
    pub expect: Expected,
    /// `with`
    pub with: Vec<Text>,
    /// `vars`, in the order written.
    pub vars: Vec<(String, Text)>,
}

/// `expect`: what is to become of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// It passes.
    Accept,
    /// It is dropped without a word.
    Drop,
    /// It is refused with an answer.
    Reject,
}

/// Where in its chain a rule goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// `A`: at the end.
    Append,
    /// `I`: so that it becomes the rule of this number, from 1.
    Insert(u32),
}

/// `forEach`: a rule repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForEach {
    /// For each of `runtimeConfig.portMappings`.
    PortMappings,
    /// For each address of the attachment.
    Ips,
}
