//! What stands for what only a container's start will tell: variables, port mappings, addresses. Two sets of values
//! that have nothing in common: what holds for both does not come from the values.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use fwn_plan::resolve::Addresses;
use fwn_plan::ruleset::{PortMapping, Repetitions};

/// Values for one look at a configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sample {
    /// One set.
    One,
    /// Another one.
    Two,
}

/// Beginnings of names that runtimes set; what they are cannot be known for want of a container.
const OF_RUNTIMES: [&str; 6] = ["ARG_", "CNI_", "LABEL_", "MESOS_", "PORT", "RESULT_"];

/// Whether a runtime sets a variable of this name, or a repeated rule.
pub(crate) fn is_of_runtime(name: &str) -> bool {
    OF_RUNTIMES.iter().any(|beginning| name.starts_with(beginning))
}

impl Sample {
    /// Both.
    pub(crate) const ALL: [Self; 2] = [Self::One, Self::Two];

    /// Variables that every container has, for those that nobody has given.
    pub(crate) fn variables(self) -> Vec<(String, String)> {
        let values: [(&str, &str, &str); 16] = [
            ("CNI_COMMAND", "ADD", "ADD"),
            ("CNI_CONTAINERID", "sample-one", "sample-two"),
            ("CNI_IFNAME", "eth0", "net7"),
            ("CNI_NETNS", "/run/netns/sample-one", "/run/netns/sample-two"),
            ("CNI_PATH", "/opt/cni/bin", "/usr/lib/cni"),
            ("MESOS_AGENT_ENDPOINT", "192.0.2.1:5051", "198.51.100.1:5051"),
            ("RESULT_IP4", "192.0.2.21", "198.51.100.22"),
            ("RESULT_IP6", "2001:db8::21", "2001:db8:1::22"),
            ("RESULT_GATEWAY4", "192.0.2.2", "198.51.100.2"),
            ("RESULT_GATEWAY6", "2001:db8::2", "2001:db8:1::2"),
            ("RESULT_MAC", "02:00:00:00:00:21", "02:00:00:00:00:22"),
            ("RESULT_IFNAME", "eth0", "net7"),
            ("PORT0", "31021", "31122"),
            ("PORT0_PROTO", "tcp", "tcp"),
            ("PORT0_HOST", "32021", "32122"),
            ("PORT1", "31023", "31124"),
        ];
        let chosen =
            values.into_iter().map(|(name, one, two)| (name, if self == Self::One { one } else { two }));
        chosen.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    /// One port mapping, and an address of each family.
    pub(crate) fn repetitions(self) -> Repetitions {
        let (port, v4, v6) = match self {
            Self::One => (31021, Ipv4Addr::new(192, 0, 2, 21), "2001:db8::21"),
            Self::Two => (31122, Ipv4Addr::new(198, 51, 100, 22), "2001:db8:1::22"),
        };
        let v6: Ipv6Addr = v6.parse().unwrap_or(Ipv6Addr::UNSPECIFIED);
        Repetitions {
            port_mappings: vec![PortMapping {
                container_port: port,
                host_port: port + 1000,
                protocol: "tcp".to_owned(),
            }],
            ips: vec![v4.into(), v6.into()],
        }
    }
}

/// An address of each family for every name, of networks that no packet has: class E, and the discard prefix of
/// RFC 6666.
pub(crate) fn addresses(names: &BTreeSet<String>) -> Addresses {
    let address = |number: u32| -> BTreeSet<IpAddr> {
        let v4 = Ipv4Addr::from_bits(u32::from_be_bytes([240, 77, 0, 1]).wrapping_add(number));
        let v6 = Ipv6Addr::from_bits((0x100_u128 << 112) + u128::from(number) + 1);
        [v4.into(), v6.into()].into()
    };
    names.iter().cloned().zip((0..).map(address)).collect()
}
