//! Why a set could not be made, filled, listed or destroyed; and the kernel's numbers in words.

use fwn_plan::set::{CreateKey, SetKind};
use nix::errno::Errno;

use super::message::{Command, PROTOCOL, PROTOCOL_MIN};
use crate::netlink::attr::{Malformed, TooLong};
use crate::netlink::socket::SocketError;
use crate::netns::NetnsError;

/// Why ip_set did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum SetError {
    /// The namespace could not be entered.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// The socket failed.
    #[error("cannot speak to ip_set")]
    Socket(#[source] SocketError),
    /// An answer of the kernel lacks what it has to have.
    #[error("cannot read the answer of ip_set")]
    Malformed(#[from] Malformed),
    /// A request does not fit into a message.
    #[error("cannot write the request to ip_set")]
    TooLong(#[from] TooLong),
    /// The kernel speaks other protocols.
    #[error("this kernel speaks ip_set protocol {least} to {most}, needed is {PROTOCOL_MIN} to {PROTOCOL}")]
    Protocol {
        /// The oldest that it speaks.
        least: u8,
        /// The newest.
        most: u8,
    },
    /// The kernel has no ip_set.
    #[error("this kernel does not offer ipsets")]
    NoIpset,
    /// The privilege is missing.
    #[error("changing sets needs CAP_NET_ADMIN in the user namespace of the network namespace")]
    NotAllowed,
    /// The kernel does not have this type, or not for this family.
    #[error("this kernel does not offer set type `{0}`")]
    NoType(SetKind),
    /// The kernel has only revisions of the type that are newer than all known here.
    #[error("this kernel offers set type `{kind}` from revision {least} on, known is up to {newest}")]
    Revision {
        /// The type.
        kind: SetKind,
        /// The oldest revision of the kernel.
        least: u8,
        /// The newest revision known here.
        newest: u8,
    },
    /// The kernel's revision of the type is older than the option.
    #[error("set type `{kind}` of this kernel (revision {revision}) does not know `{}`", .key.word())]
    NoOption {
        /// The type.
        kind: SetKind,
        /// The option.
        key: CreateKey,
        /// The revision.
        revision: u8,
    },
    /// A listed set has a type that is not known here.
    #[error("set `{set}` has the unknown type `{typename}`")]
    UnknownType {
        /// The set.
        set: String,
        /// Its type.
        typename: String,
    },
    /// The kernel refused.
    #[error("cannot {command} set `{set}`: {}", errno_words(*.command, *.kind, *.errno))]
    Refused {
        /// What was asked for.
        command: Command,
        /// The set.
        set: String,
        /// Its type, where it is known: some errors depend on it.
        kind: Option<SetKind>,
        /// The errno, or ip_set's own number above 4095.
        errno: i32,
    },
    /// The kernel refused an entry. Those before it went through.
    #[error("cannot {command} set `{set}` the entry `{entry}`: {}", errno_words(*.command, Some(*.kind), *.errno))]
    Entry {
        /// [`Command::Add`], [`Command::Delete`] or [`Command::Test`].
        command: Command,
        /// The set.
        set: String,
        /// Its type.
        kind: SetKind,
        /// Which entry, from 0.
        index: usize,
        /// The entry.
        entry: String,
        /// The errno, or ip_set's own number above 4095.
        errno: i32,
    },
}

impl SetError {
    /// The kernel's number, if it was the kernel that refused.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Refused { errno, .. } | Self::Entry { errno, .. } => Some(*errno),
            Self::Socket(error) => error.errno(),
            _ => None,
        }
    }

    /// Whether there is no such set.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Refused { errno: libc::ENOENT, .. })
            || matches!(self, Self::Entry { errno: libc::ENOENT, .. })
    }

    /// Whether a rule or a list of sets uses the set, or somebody lists it.
    pub fn is_busy(&self) -> bool {
        matches!(self, Self::Refused { errno: BUSY | libc::EBUSY, .. })
    }

    /// Whether the set, or the entry, is there already.
    pub fn is_there(&self) -> bool {
        match self {
            Self::Refused { errno, .. } => *errno == libc::EEXIST,
            Self::Entry { command, errno, .. } => *command == Command::Add && *errno == EXIST,
            _ => false,
        }
    }

    /// Which entry was refused, from 0.
    pub fn entry_index(&self) -> Option<usize> {
        match self {
            Self::Entry { index, .. } => Some(*index),
            _ => None,
        }
    }
}

/// `IPSET_ERR_FIND_TYPE` (`linux/netfilter/ipset/ip_set.h`)
pub const FIND_TYPE: i32 = 4098;
/// `IPSET_ERR_BUSY`
pub const BUSY: i32 = 4100;
/// `IPSET_ERR_EXIST`: the entry is there (add) or is not (delete, test).
pub const EXIST: i32 = 4103;
/// `IPSET_ERR_TYPE_SPECIFIC`: from here on the meaning depends on the type.
const TYPE_SPECIFIC: i32 = 4352;

/// What an errno of ip_set means (`enum ipset_errno` and the enums of `ip_set_bitmap.h`, `ip_set_hash.h`,
/// `ip_set_list.h`, all in `linux/netfilter/ipset`).
pub fn errno_words(command: Command, kind: Option<SetKind>, errno: i32) -> String {
    let specific = errno.checked_sub(TYPE_SPECIFIC).filter(|offset| *offset >= 0);
    let words = match (specific, kind) {
        (None, _) => core_words(command, errno),
        (Some(_), None) => None,
        (Some(offset), Some(SetKind::ListSet)) => list_words(offset),
        (Some(offset), Some(kind)) if kind.is_bitmap() => bitmap_words(offset),
        (Some(offset), Some(_)) => hash_words(offset),
    };
    match (words, Errno::from_raw(errno)) {
        (Some(words), _) => words.to_owned(),
        (None, Errno::UnknownErrno) => format!("unknown ip_set error {errno}"),
        (None, known) => format!("{} ({known:?})", known.desc()),
    }
}

fn core_words(command: Command, errno: i32) -> Option<&'static str> {
    Some(match (errno, command) {
        (libc::ENOENT, _) => "no set has this name",
        (libc::EEXIST, Command::Create) => "another set has this name",
        (libc::EMSGSIZE, _) => "the kernel could not write its answer",
        (libc::ERANGE, _) => "the range is too large for one entry, split it",
        (libc::EPERM, _) => {
            "changing sets needs CAP_NET_ADMIN in the user namespace of the network namespace"
        }
        (4097, _) => "the kernel does not understand the request",
        (FIND_TYPE, _) => "the kernel does not offer this set type",
        (4099, _) => "the kernel has no room for more sets",
        (libc::EBUSY, Command::Swap) => "somebody lists one of the two sets",
        (BUSY, _) => "a rule or a list of sets uses it",
        (4101, Command::Rename) => "another set has the new name",
        (4101, Command::Swap) => "there is no such second set",
        (4102, _) => "the two sets differ in their types",
        (EXIST, Command::Add) => "it is in the set already",
        (EXIST, _) => "it is not in the set",
        (4104, _) => "the prefix length is not one that can be stored",
        (4105, _) => "the netmask is invalid",
        (4106, _) => "the set type does not have this family",
        (4107, _) => "it has a timeout, but the set was made without `timeout`",
        (4108, _) => "a rule or a list of sets refers to it",
        (4109, _) => "an IPv4 address is wanted",
        (4110, _) => "an IPv6 address is wanted",
        (4111, _) => "it has counters, but the set was made without `counters`",
        (4112, _) => "it has a comment, but the set was made without `comment`",
        (4113, _) => "the markmask is invalid",
        (4114, _) => "it has skbinfo, but the set was made without `skbinfo`",
        (4115, _) => "netmask and bitmask exclude each other",
        _ => return None,
    })
}

fn bitmap_words(offset: i32) -> Option<&'static str> {
    Some(match offset {
        0 => "it is outside of the set's range",
        1 => "the range is larger than a bitmap can be",
        _ => return None,
    })
}

fn hash_words(offset: i32) -> Option<&'static str> {
    Some(match offset {
        0 => "the set is full, `maxelem` allows no more",
        1 => "an address or number of zero cannot be stored",
        2 => "the protocol is invalid",
        3 => "a protocol is missing",
        4 => "a range is not possible here",
        5 => "the range covers the whole address space",
        _ => return None,
    })
}

fn list_words(offset: i32) -> Option<&'static str> {
    Some(match offset {
        0 => "there is no such set to put into the list",
        1 => "a list cannot hold a list",
        2 => "the set to stand before is missing",
        3 => "there is no such set to stand before or after",
        4 => "the list is full, `size` allows no more",
        5 => "the set to stand before or after is not in the list",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_mean_what_command_and_type_say() {
        let words = |command, kind, errno| errno_words(command, Some(kind), errno);
        assert_eq!(words(Command::Add, SetKind::HashIp, EXIST), "it is in the set already");
        assert_eq!(words(Command::Delete, SetKind::HashIp, EXIST), "it is not in the set");
        assert_eq!(words(Command::Add, SetKind::BitmapPort, 4352), "it is outside of the set's range");
        assert_eq!(words(Command::Add, SetKind::HashIp, 4352), "the set is full, `maxelem` allows no more");
        assert_eq!(words(Command::Add, SetKind::ListSet, 4353), "a list cannot hold a list");
        assert_eq!(words(Command::Add, SetKind::ListSet, 4356), "the list is full, `size` allows no more");
        assert_eq!(words(Command::Add, SetKind::ListSet, 4399), "unknown ip_set error 4399");
        assert_eq!(words(Command::Create, SetKind::HashIp, libc::ENOMEM), "Out of memory (ENOMEM)");
        assert_eq!(errno_words(Command::Flush, None, 4352), "unknown ip_set error 4352");
    }
}
