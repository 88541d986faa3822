//! Ethernet addresses: text to six bytes and back.

use std::fmt;
use std::str::FromStr;

/// An Ethernet address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MacAddress(pub [u8; 6]);

/// A text that is no Ethernet address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a MAC address: six bytes in hex are wanted, as in `02:00:5e:00:53:01`")]
pub struct MacError(String);

impl MacAddress {
    /// Whether an interface can have it: not a group's, not all zero.
    pub fn is_unicast(self) -> bool {
        self.0[0] & 1 == 0 && self.0 != [0; 6]
    }
}

impl FromStr for MacAddress {
    type Err = MacError;

    /// Six bytes in hex, joined by `:` or by `-`, or three groups of four digits joined by dots.
    fn from_str(text: &str) -> Result<Self, MacError> {
        parse_mac(text).ok_or_else(|| MacError(text.to_owned()))
    }
}

fn parse_mac(text: &str) -> Option<MacAddress> {
    let separator = text.chars().find(|c| matches!(c, ':' | '-' | '.'))?;
    let (groups, digits) = if separator == '.' { (3, 4) } else { (6, 2) };
    let parts: Vec<&str> = text.split(separator).collect();
    let well_formed = |part: &&str| part.len() == digits && part.bytes().all(|b| b.is_ascii_hexdigit());
    if parts.len() != groups || !parts.iter().all(well_formed) {
        return None;
    }
    let number = u64::from_str_radix(&parts.concat(), 16).ok()?;
    let [_, _, bytes @ ..] = number.to_be_bytes();
    Some(MacAddress(bytes))
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = self.0.map(|byte| format!("{byte:02x}"));
        f.write_str(&parts.join(":"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_the_usual_forms() {
        let wanted = MacAddress([2, 0, 0x5e, 0, 0x53, 1]);
        for text in ["02:00:5e:00:53:01", "02-00-5E-00-53-01", "0200.5e00.5301"] {
            assert_eq!(text.parse(), Ok(wanted), "{text}");
        }
        assert_eq!(wanted.to_string(), "02:00:5e:00:53:01");
    }

    #[test]
    fn refuses_the_rest() {
        for text in [
            "",
            "02:00:5e:00:53",
            "02:00:5e:00:53:01:02",
            "2:0:5e:0:53:1",
            "02:00-5e:00:53:01",
            "0x:00:5e:00:53:01",
            "é2:00:5e:00:53:01",
        ] {
            assert_eq!(text.parse::<MacAddress>(), Err(MacError(text.to_owned())));
        }
    }

    #[test]
    fn groups_are_not_for_interfaces() {
        assert!(MacAddress([2, 0, 0, 0, 0, 1]).is_unicast());
        assert!(!MacAddress([1, 0, 0x5e, 0, 0, 1]).is_unicast());
        assert!(!MacAddress([0; 6]).is_unicast());
    }

    proptest! {
        #[test]
        fn text_reads_back(bytes: [u8; 6]) {
            prop_assert_eq!(MacAddress(bytes).to_string().parse(), Ok(MacAddress(bytes)));
        }

        #[test]
        fn never_panics(text: String) {
            let _ = text.parse::<MacAddress>();
        }
    }
}
