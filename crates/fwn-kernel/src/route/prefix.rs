//! An address with the length of its network's prefix: `10.1.2.3/24`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// An address and a prefix length that fits its family; host bits are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IpPrefix {
    address: IpAddr,
    length: u8,
}

/// Why a text or a pair is no [`IpPrefix`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PrefixError {
    /// Not `ADDRESS/LENGTH`.
    #[error("`{0}` is not an address with a prefix length, as in `10.1.2.3/24`")]
    Form(String),
    /// More bits than the address has.
    #[error("prefix length {length} of `{address}` is more than {max}")]
    Length {
        /// The address.
        address: IpAddr,
        /// Its length as given.
        length: u8,
        /// What the family allows.
        max: u8,
    },
}

impl IpPrefix {
    /// Everything of IPv4.
    pub const DEFAULT_IPV4: Self = Self { address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), length: 0 };
    /// Everything of IPv6.
    pub const DEFAULT_IPV6: Self = Self { address: IpAddr::V6(Ipv6Addr::UNSPECIFIED), length: 0 };

    /// An address with a prefix length.
    ///
    /// # Errors
    /// [`PrefixError::Length`]
    pub fn new(address: IpAddr, length: u8) -> Result<Self, PrefixError> {
        let max = max_length(address);
        if length > max {
            Err(PrefixError::Length { address, length, max })
        } else {
            Ok(Self { address, length })
        }
    }

    /// The address alone: its whole length as prefix.
    pub fn host(address: IpAddr) -> Self {
        Self { address, length: max_length(address) }
    }

    /// The address, host bits included.
    pub fn address(self) -> IpAddr {
        self.address
    }

    /// Bits of the prefix.
    pub fn length(self) -> u8 {
        self.length
    }

    /// Whether it is everything of its family: the destination of a default route.
    pub fn is_default(self) -> bool {
        self.length == 0
    }

    /// The network that the address is in: host bits cleared.
    #[must_use]
    pub fn network(self) -> Self {
        let host_bits = u32::from(max_length(self.address) - self.length);
        let address = match self.address {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(host_bits).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() & mask))
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(host_bits).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask))
            }
        };
        Self { address, length: self.length }
    }

    /// The last address of an IPv4 network that has room for one (shorter than /31).
    pub fn broadcast(self) -> Option<Ipv4Addr> {
        match self.address {
            IpAddr::V4(address) if self.length < 31 => {
                let hosts = u32::MAX.checked_shr(u32::from(self.length)).unwrap_or(0);
                Some(Ipv4Addr::from_bits(address.to_bits() | hosts))
            }
            _ => None,
        }
    }

    /// Whether `address` is in this network.
    pub fn contains(self, address: IpAddr) -> bool {
        address.is_ipv4() == self.address.is_ipv4()
            && Self { address, length: self.length }.network() == self.network()
    }
}

fn max_length(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

impl FromStr for IpPrefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let parts = text.split_once('/').and_then(|(address, length)| {
            let digits = length.bytes().all(|byte| byte.is_ascii_digit());
            Some((address.parse().ok()?, length.parse().ok().filter(|_| digits)?))
        });
        let (address, length) = parts.ok_or_else(|| PrefixError::Form(text.to_owned()))?;
        Self::new(address, length)
    }
}

impl fmt::Display for IpPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn prefix(text: &str) -> IpPrefix {
        text.parse().expect("a prefix")
    }

    #[test]
    fn networks_and_broadcasts() {
        assert_eq!(prefix("10.1.2.3/24").network(), prefix("10.1.2.0/24"));
        assert_eq!(prefix("10.1.2.3/0").network(), IpPrefix::DEFAULT_IPV4);
        assert_eq!(prefix("10.1.2.3/32").network(), prefix("10.1.2.3/32"));
        assert_eq!(prefix("fd09::1/16").network(), prefix("fd09::/16"));
        assert_eq!(prefix("fd09::1/0").network(), IpPrefix::DEFAULT_IPV6);
        assert_eq!(prefix("10.1.2.3/24").broadcast(), Some(Ipv4Addr::new(10, 1, 2, 255)));
        assert_eq!(prefix("10.1.2.3/31").broadcast(), None);
        assert_eq!(prefix("fd09::1/64").broadcast(), None);
        assert!(prefix("10.1.2.3/24").contains("10.1.2.200".parse().expect("address")));
        assert!(!prefix("10.1.2.3/24").contains("10.1.3.1".parse().expect("address")));
        assert!(!prefix("0.0.0.0/0").contains("::1".parse().expect("address")));
    }

    #[test]
    fn refuses_what_is_none() {
        for text in [
            "",
            "10.1.2.3",
            "10.1.2/24",
            "10.1.2.3/",
            "10.1.2.3/+8",
            "10.1.2.3/24/1",
            "10.1.2.3/ 8",
            "10.1.2.3/256",
        ] {
            assert_eq!(text.parse::<IpPrefix>(), Err(PrefixError::Form(text.to_owned())));
        }
        let error = "10.1.2.3/33".parse::<IpPrefix>().expect_err("too long");
        assert_eq!(error.to_string(), "prefix length 33 of `10.1.2.3` is more than 32");
    }

    proptest! {
        #[test]
        fn text_reads_back(address: IpAddr, length in 0u8..=128) {
            let wanted = IpPrefix { address, length: length.min(max_length(address)) };
            prop_assert_eq!(wanted.to_string().parse(), Ok(wanted));
            prop_assert!(wanted.contains(address));
        }
    }
}
