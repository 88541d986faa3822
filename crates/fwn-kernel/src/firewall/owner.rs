//! Who made what, in the user data that nf_tables keeps for us: each rule says whose it is and which one, chains
//! and tables say that they were made here. iptables and nft pass over it. Bytes of anybody may come in.
//!
//! User data is a list of (type, length, value), one byte each for the first two, as libnftnl writes it; ours has
//! type 0x46. So DEL finds what ADD made also where the state file was lost.

use std::fmt;

use fwn_plan::netfilter::Policy;
use fwn_plan::plan::Attachment;

use crate::fnv::Fnv;

/// Type of our element; nft uses 0 and 1 (`enum nftnl_udata_rule_types`, libnftnl).
const TYPE: u8 = 0x46;
/// First byte of our value.
const VERSION: u8 = 1;
/// Where no policy was asked for.
const NO_POLICY: u8 = 0xff;

/// Which attachment: a digest of its three names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OwnerId(u128);

impl OwnerId {
    /// The owner that an attachment is.
    pub fn of(attachment: &Attachment) -> Self {
        let mut fnv = Fnv::new();
        for name in [&attachment.network, &attachment.container, &attachment.interface] {
            fnv.field(name.as_bytes());
        }
        Self(fnv.finish())
    }
}

impl fmt::Display for OwnerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// User data of a rule: its owner, and its number in the owner's plan for this table and family, from 0.
pub fn encode_owner(owner: OwnerId, ordinal: u32) -> Vec<u8> {
    let mut value = [VERSION; 21];
    value[1..17].copy_from_slice(&owner.0.to_be_bytes());
    value[17..].copy_from_slice(&ordinal.to_be_bytes());
    element(&value)
}

/// Owner and number of a rule, if it is one of ours.
pub fn decode_owner(user_data: &[u8]) -> Option<(OwnerId, u32)> {
    let (owner, ordinal) = value(user_data)?.split_first_chunk::<16>()?;
    let ordinal = ordinal.try_into().ok()?;
    Some((OwnerId(u128::from_be_bytes(*owner)), u32::from_be_bytes(ordinal)))
}

/// What a chain or table of ours says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// The policy that the chain was made with, where one was asked for.
    pub policy: Option<Policy>,
}

/// User data of a chain or table.
pub fn encode_mark(mark: Mark) -> Vec<u8> {
    let policy = match mark.policy {
        None => NO_POLICY,
        Some(Policy::Drop) => 0,
        Some(Policy::Accept) => 1,
    };
    element(&[VERSION, policy])
}

/// The mark of a chain or table, if it is one of ours.
pub fn decode_mark(user_data: &[u8]) -> Option<Mark> {
    let policy = match value(user_data)? {
        [NO_POLICY] => None,
        [0] => Some(Policy::Drop),
        [1] => Some(Policy::Accept),
        _ => return None,
    };
    Some(Mark { policy })
}

fn element(value: &[u8]) -> Vec<u8> {
    // all of our values are shorter than 256 bytes
    let mut bytes = Vec::with_capacity(2 + value.len());
    bytes.extend_from_slice(&[TYPE, value.len() as u8]);
    bytes.extend_from_slice(value);
    bytes
}

/// Our value, its version removed.
fn value(mut user_data: &[u8]) -> Option<&[u8]> {
    while let [kind, length, rest @ ..] = user_data {
        let (value, rest) = rest.split_at_checked(usize::from(*length))?;
        if *kind == TYPE {
            return value.strip_prefix(&[VERSION]);
        }
        user_data = rest;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn owner(network: &str, container: &str, interface: &str) -> OwnerId {
        OwnerId::of(&Attachment {
            network: network.to_owned(),
            container: container.to_owned(),
            interface: interface.to_owned(),
        })
    }

    #[test]
    fn names_do_not_run_into_each_other() {
        assert_ne!(owner("a", "bc", "d"), owner("ab", "c", "d"));
        assert_ne!(owner("a", "b", "c"), owner("a", "c", "b"));
        assert_eq!(owner("a", "b", "c"), owner("a", "b", "c"));
        // state outlives the program: it must stay this for ever
        assert_eq!(owner("net", "id", "eth0").to_string(), "a44cee87dcb2a843a632e1e06b89f2cb");
    }

    #[test]
    fn marks_are_read_back() {
        for policy in [None, Some(Policy::Drop), Some(Policy::Accept)] {
            let bytes = encode_mark(Mark { policy });
            assert_eq!(decode_mark(&bytes), Some(Mark { policy }));
            assert_eq!(decode_owner(&bytes), None);
        }
    }

    #[test]
    fn another_version_is_not_ours() {
        let mut bytes = encode_owner(owner("a", "b", "c"), 0);
        bytes[2] = 2;
        assert_eq!(decode_owner(&bytes), None);
    }

    proptest! {
        #[test]
        fn owners_are_read_back_behind_any_other_element(
            ordinal: u32, before in prop::collection::vec((0u8..0x46, prop::collection::vec(any::<u8>(), 0..20)), 0..3), after: Vec<u8>,
        ) {
            let owner = owner("net", "id", "eth0");
            let mut bytes: Vec<u8> = before.iter().flat_map(|(kind, value)| [&[*kind, value.len() as u8], &value[..]].concat()).collect();
            bytes.extend(encode_owner(owner, ordinal));
            bytes.extend(after);
            prop_assert_eq!(decode_owner(&bytes), Some((owner, ordinal)));
            prop_assert_eq!(decode_mark(&bytes), None);
        }

        #[test]
        fn never_panics(bytes: Vec<u8>) {
            let _ = (decode_owner(&bytes), decode_mark(&bytes));
        }
    }
}
