//! The ways to the same firewall, each as programs to start.

use std::ffi::OsString;
use std::fmt;
use std::path::Path;

use fwn_testkit::Netns;

use crate::launch::Step;
use crate::material::{Item, Material};
use crate::programs::Programs;
use crate::trace::Wanted;

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// The firewall is put in force in a fresh namespace.
    Add,
    /// It is taken out again.
    Del,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Add => "ADD",
            Self::Del => "DEL",
        })
    }
}

/// Who does it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contender {
    /// The plugin.
    Ours,
    /// Sends the messages that the plugin sends, and reads the answers.
    Floor,
    /// Sends only those by which the plugin changes something: neither looks before nor reads back.
    ChangesOnly,
    /// `iptables-nft-restore`, `ip6tables-nft-restore` and, where there are sets, `ipset restore`.
    Restore,
    /// `nft -f`.
    Nft,
    /// `iptables-nft`, `ip6tables-nft` or `ipset` for each policy, rule and set.
    OneByOne,
}

impl Contender {
    /// All, ours first.
    pub const ALL: [Self; 6] =
        [Self::Ours, Self::Floor, Self::ChangesOnly, Self::Restore, Self::Nft, Self::OneByOne];

    /// For tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ours => "firewallnetns",
            Self::Floor => "floor",
            Self::ChangesOnly => "changes only",
            Self::Restore => "restore",
            Self::Nft => "nft -f",
            Self::OneByOne => "one by one",
        }
    }

    /// Whether it can do this at all, in good time.
    pub fn takes_part(self, material: &Material, operation: Operation) -> bool {
        match self {
            Self::Ours | Self::Floor | Self::ChangesOnly => true,
            Self::Restore => operation == Operation::Add,
            Self::Nft => operation == Operation::Add && material.nft_ruleset().is_some(),
            Self::OneByOne => material.workload.is_small(),
        }
    }

    /// Whether it is told which namespace to change; the others are started inside.
    pub fn enters_by_itself(self) -> bool {
        matches!(self, Self::Ours | Self::Floor | Self::ChangesOnly)
    }

    /// The programs to start.
    pub fn steps(
        self,
        material: &Material,
        operation: Operation,
        programs: &Programs,
        netns: &Netns,
    ) -> Vec<Step> {
        let floor = |wanted| {
            let arguments = [netns.path(), material.recording(operation, wanted)];
            vec![Step::new(&programs.floor, arguments)]
        };
        match self {
            Self::Ours => vec![plugin_call(material, operation, &programs.plugin, netns)],
            Self::Floor => floor(Wanted::All),
            Self::ChangesOnly => floor(Wanted::Changes),
            Self::Restore => {
                let sets = material
                    .sets()
                    .map(|file| Step::new("ipset", [OsString::from("-file"), file.into(), "restore".into()]));
                let ipv4 = Step::new("iptables-nft-restore", [material.ipv4_rules()]);
                let ipv6 = Step::new("ip6tables-nft-restore", [material.ipv6_rules()]);
                sets.into_iter().chain([ipv4, ipv6]).collect()
            }
            Self::Nft => {
                let file = material.nft_ruleset().into_iter();
                file.map(|file| Step::new("nft", [OsString::from("-f"), file.into()])).collect()
            }
            Self::OneByOne => one_by_one(&material.items, operation),
        }
    }
}

fn one_by_one(items: &[Item], operation: Operation) -> Vec<Step> {
    match operation {
        Operation::Add => items.iter().map(|item| Step::new(item.tool, &item.make)).collect(),
        // what was made last goes first
        Operation::Del => {
            let items = items.iter().rev().filter(|item| !item.unmake.is_empty());
            items.map(|item| Step::new(item.tool, &item.unmake)).collect()
        }
    }
}

/// A call of the plugin as a runtime makes it.
pub fn plugin_call(material: &Material, operation: Operation, plugin: &Path, netns: &Netns) -> Step {
    let environment = vec![
        ("CNI_COMMAND", operation.to_string().into()),
        ("CNI_CONTAINERID", "c1".into()),
        ("CNI_IFNAME", "eth0".into()),
        ("CNI_NETNS", netns.path().into()),
        ("CNI_PATH", "/usr/lib/cni".into()),
    ];
    let call = Step::new(plugin, [] as [&str; 0]);
    Step { environment, stdin: Some(material.conf()), ..call }
}
