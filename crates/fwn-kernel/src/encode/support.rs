//! Which x_tables extensions of encoded rules the kernel has, in the revision that they are encoded in. Asking is
//! cheap; a batch that fails for want of one costs milliseconds, and says no more than `ENOENT`.

use std::collections::BTreeMap;

use fwn_plan::netfilter::Family;
use nix::errno::Errno;

use crate::netlink::attr::Malformed;
use crate::netlink::message::{Messages, NLM_F_ACK, nfnl_type};
use crate::netlink::socket::{NetlinkSocket, SocketError};
use crate::nft::EncodedRule;
use crate::nft::constants::nfproto;
use crate::nft::decode::decode_expressions;

/// `NFNL_SUBSYS_NFT_COMPAT` (`linux/netfilter/nfnetlink.h`)
const SUBSYSTEM: u8 = 11;
/// `NFNL_MSG_COMPAT_GET` (`linux/netfilter/nf_tables_compat.h`)
const COMPAT_GET: u8 = 0;

// enum nft_compat_attributes (linux/netfilter/nf_tables_compat.h)
const NFTA_COMPAT_NAME: u16 = 1;
const NFTA_COMPAT_REV: u16 = 2;
const NFTA_COMPAT_TYPE: u16 = 3;

/// An extension that rules use.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Extension {
    /// The family of the rule.
    pub family: Family,
    /// Whether it is a target, not a match.
    pub target: bool,
    /// Its name in the kernel.
    pub name: String,
    /// The revision of its structure.
    pub revision: u32,
}

impl std::fmt::Display for Extension {
    /// `match set, revision 4, of ipv6`
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = if self.target { "target" } else { "match" };
        write!(f, "{kind} `{}`, revision {}, of {}", self.name, self.revision, self.family)
    }
}

/// The extensions that the kernel does not have, each with the index of the first rule that uses it. `socket` is of
/// protocol `Netfilter`; a missing module is loaded where the kernel can.
///
/// # Errors
/// The bytes of a rule are no list of expressions; the socket fails; the kernel has no `nft_compat`.
pub fn missing_extensions<'a>(
    socket: &mut NetlinkSocket,
    rules: impl IntoIterator<Item = (Family, &'a EncodedRule)>,
) -> Result<Vec<(Extension, usize)>, SocketError> {
    let mut used = BTreeMap::new();
    for (at, (family, rule)) in rules.into_iter().enumerate() {
        for extension in extensions(family, rule)? {
            used.entry(extension).or_insert(at);
        }
    }
    let used: Vec<_> = used.into_iter().collect();
    let mut messages = Messages::default();
    for (extension, _) in &used {
        let header = [nfproto(extension.family), 0, 0, 0];
        messages
            .push(nfnl_type(SUBSYSTEM, COMPAT_GET), NLM_F_ACK, &header, |attrs| {
                attrs.string(NFTA_COMPAT_NAME, &extension.name);
                attrs.be32(NFTA_COMPAT_REV, extension.revision);
                attrs.be32(NFTA_COMPAT_TYPE, extension.target.into());
            })
            .map_err(|_| Malformed)?;
    }
    match socket.exchange(&mut messages, |_| Ok(())) {
        Ok(()) => Ok(Vec::new()),
        Err(SocketError::Kernel(errors)) if errors.iter().all(|error| is_missing(error.errno)) => {
            Ok(errors.iter().filter_map(|error| used.get(error.number as usize).cloned()).collect())
        }
        Err(error) => Err(error),
    }
}

/// Neither the name nor the revision is known (`xt_find_revision`, `net/netfilter/x_tables.c`).
fn is_missing(errno: i32) -> bool {
    matches!(Errno::from_raw(errno), Errno::ENOENT | Errno::EPROTONOSUPPORT)
}

fn extensions(family: Family, rule: &EncodedRule) -> Result<Vec<Extension>, Malformed> {
    let mut found = Vec::new();
    for expression in decode_expressions(&rule.expressions) {
        let expression = expression?;
        if !matches!(expression.name, "match" | "target") {
            continue;
        }
        // NFTA_MATCH_NAME and NFTA_MATCH_REV, or those of the target
        let name = expression.data.clone().find(1)?.ok_or(Malformed)?.string()?.to_owned();
        let revision = expression.data.find(2)?.ok_or(Malformed)?.be32()?;
        found.push(Extension { family, target: expression.name == "target", name, revision });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use fwn_testkit::Netns;

    use super::*;
    use crate::encode::native::{NativeContext, encode_native};
    use crate::encode::testing::{Names, cases, inside};
    use crate::netlink::socket::Protocol;

    const CONTEXT: NativeContext<'static> = NativeContext { databases: &Names, set_index: &|_| Some(0) };

    fn missing(rules: &[(Family, EncodedRule)]) -> Vec<(String, usize)> {
        let netns = Netns::new();
        let found = inside(&netns, || {
            let mut socket = NetlinkSocket::open(Protocol::Netfilter).expect("a socket");
            missing_extensions(&mut socket, rules.iter().map(|(family, rule)| (*family, rule)))
                .expect("answers")
        });
        found.into_iter().map(|(extension, at)| (extension.to_string(), at)).collect()
    }

    #[test]
    fn what_is_missing_is_named_with_the_first_rule() {
        let mut rules: Vec<_> = cases(
            "filter INPUT -p tcp --dport 80
             filter INPUT -m set --match-set web src -j REJECT
             filter INPUT -m conntrack --ctstate NEW -j LOG
             filter INPUT -m conntrack --ctstate NEW -j LOG",
        )
        .into_iter()
        .map(|case| (case.family, encode_native(&case.rule, case.family, &CONTEXT).expect("encodes")))
        .collect();
        assert_eq!(missing(&rules), []);

        // a name and a revision that no kernel has
        let mut replace = |at: usize, old: &[u8], new: &[u8]| {
            let bytes: &mut Vec<u8> = &mut rules[at].1.expressions;
            let start = bytes.windows(old.len()).position(|window| window == old).expect("in the rule");
            bytes[start..start + old.len()].copy_from_slice(new);
        };
        replace(4, b"LOG\0", b"GOL\0");
        replace(3, b"set\0\x08\0\x02\0\0\0\0\x04", b"set\0\x08\0\x02\0\0\0\0\x63");
        assert_eq!(
            missing(&rules),
            [
                ("target `GOL`, revision 0, of ipv4".to_owned(), 4),
                ("match `set`, revision 99, of ipv6".to_owned(), 3),
            ]
        );
    }

    #[test]
    fn rules_without_extensions_ask_nothing() {
        assert_eq!(missing(&[(Family::Ipv4, EncodedRule::default())]), []);
    }
}
