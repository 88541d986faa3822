//! What is put in force: the seed example, or a number of plain rules. Files and a network configuration come out.

use std::fmt;
use std::fs;
use std::path::Path;
use std::str::FromStr;

use serde_json::{Value, json};

use crate::BenchError;

/// Most rules of a workload.
const RULES_MAX: u32 = 100_000;
/// So many rules are still made one by one, a process each.
const ONE_BY_ONE_MAX: u32 = 100;

/// A firewall to put in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workload {
    /// The example that the documentation begins with: three files, a set, policies, eleven rules.
    Seed,
    /// So many rules `-s ADDRESS -p tcp --dport PORT -j ACCEPT`, and policies DROP: what nft can say without the
    /// extensions of iptables.
    Rules(u32),
}

impl Workload {
    /// Whether nft has words for all of it.
    pub fn is_plain(self) -> bool {
        self != Self::Seed
    }

    /// Whether a process for each item still ends in good time.
    pub fn is_small(self) -> bool {
        match self {
            Self::Seed => true,
            Self::Rules(number) => number <= ONE_BY_ONE_MAX,
        }
    }

    /// Writes the .fw files to `data_dir`; gives the configuration for stdin, with the result of the plugins before.
    /// `engine` is the key of that name.
    ///
    /// # Errors
    /// [`BenchError::File`]
    pub fn write(self, data_dir: &Path, state_dir: &Path, engine: &str) -> Result<String, BenchError> {
        let write = |name: &str, text: &Value| {
            let path = data_dir.join(name);
            fs::write(&path, text.to_string()).map_err(|source| BenchError::File { path, source })
        };
        let mut conf = json!({
            "cniVersion": "1.0.0",
            "name": "bench",
            "type": "firewallnetns",
            "engine": engine,
            "dataDir": data_dir,
            "stateDir": state_dir.join("state"),
            "persistDir": state_dir.join("persist"),
            "prevResult": {
                "cniVersion": "1.0.0",
                "interfaces": [ { "name": "eth0", "sandbox": "/run/netns/bench" } ],
                "ips": [ { "interface": 0, "address": "192.168.124.170/24" } ]
            }
        });
        let keys = match self {
            Self::Seed => {
                write("default-policy.fw", &policies("DROP", &["INPUT", "FORWARD", "OUTPUT"]))?;
                write("allow-ping.fw", &ping())?;
                write("allow-ping-out.fw", &ping())?;
                seed()
            }
            Self::Rules(number) => {
                let mut section = policies("DROP", &["INPUT", "FORWARD"]);
                if let Some(section) = section.as_object_mut() {
                    section.insert("rules".to_owned(), (0..number).map(plain_rule).collect());
                }
                write("rules.fw", &section)?;
                json!({ "fwFiles": ["rules"] })
            }
        };
        if let (Some(conf), Value::Object(keys)) = (conf.as_object_mut(), keys) {
            conf.extend(keys);
        }
        Ok(conf.to_string())
    }
}

fn policies(policy: &str, chains: &[&str]) -> Value {
    let all: Vec<_> = chains.iter().map(|chain| json!({ "chain": chain, "policy": policy })).collect();
    json!({ "policies": all })
}

fn rule(chain: &str, rule: &str) -> Value {
    json!({ "type": "A", "chain": chain, "rule": rule })
}

fn ping() -> Value {
    json!({ "rules": [
        rule("INPUT", "-i $CNI_IFNAME -p icmp --icmp-type 8 -j ACCEPT"),
        rule("INPUT", "-i $CNI_IFNAME -p icmp --icmp-type 0 -j ACCEPT"),
        rule("OUTPUT", "-o $CNI_IFNAME -p icmp --icmp-type 0 -j ACCEPT"),
        rule("OUTPUT", "-o $CNI_IFNAME -p icmp --icmp-type 8 -j ACCEPT"),
    ] })
}

fn seed() -> Value {
    let refuse = "-p tcp -m set --match-set blacklistweb src -m multiport --dports 80,443 -j REJECT \
                  --reject-with tcp-reset";
    json!({
        "fwFiles": ["default-policy", "allow-ping", "allow-ping-out"],
        "ipsets": [ { "set": "blacklistweb", "hashtype": "hash:ip", "netmask": 24, "hashsize": 4096 } ],
        "policies": [ { "chain": "INPUT", "policy": "ACCEPT" }, { "chain": "OUTPUT", "policy": "ACCEPT" } ],
        "rules": [
            rule("INPUT", "-p tcp --dport 8080 -j ACCEPT"),
            rule("INPUT", "-p tcp --dport 8443 -j ACCEPT"),
            rule("INPUT", refuse),
        ]
    })
}

/// Every rule differs from the others, in address and port.
fn plain_rule(number: u32) -> Value {
    let [_, a, b, c] = number.to_be_bytes();
    let port = 1024 + number % 60_000;
    rule("INPUT", &format!("-s 10.{a}.{b}.{c} -p tcp --dport {port} -j ACCEPT"))
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Seed => f.write_str("seed"),
            Self::Rules(number) => write!(f, "{number} rules"),
        }
    }
}

impl FromStr for Workload {
    type Err = BenchError;

    fn from_str(text: &str) -> Result<Self, BenchError> {
        if text == "seed" {
            return Ok(Self::Seed);
        }
        match text.parse() {
            Ok(number @ 1..=RULES_MAX) => Ok(Self::Rules(number)),
            _ => Err(BenchError::Size(text.to_owned())),
        }
    }
}
