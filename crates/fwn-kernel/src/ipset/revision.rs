//! Revisions of set types: which one is asked for, and since which one a kernel knows an option. Numbers from the
//! `REVISION` comments of `net/netfilter/ipset/ip_set_*.c`.

use fwn_plan::set::{CreateKey, CreateOptions, SetKind};

/// The revisions of a type that are spoken here.
struct Revisions {
    /// The newest.
    newest: u8,
    /// Since which one it has `counters`, `comment`, `forceadd`, `skbinfo`, `bucketsize` and masks.
    since: Since,
}

struct Since {
    counters: u8,
    comment: u8,
    forceadd: u8,
    skbinfo: u8,
    bucketsize: u8,
    masks: u8,
}

/// The newest revision of a type that is spoken here; all older ones are too.
pub fn newest(kind: SetKind) -> u8 {
    revisions(kind).newest
}

/// The first option of `options` that revision `revision` of `kind` does not know: such a kernel would ignore it.
pub fn unknown_option(kind: SetKind, options: &CreateOptions, revision: u8) -> Option<CreateKey> {
    let since = revisions(kind).since;
    // `hash:ip` and `bitmap:ip` always had a netmask
    let netmask = if matches!(kind, SetKind::HashIp | SetKind::BitmapIp) { 0 } else { since.masks };
    let used = [
        (CreateKey::Counters, options.counters, since.counters),
        (CreateKey::Comment, options.comment, since.comment),
        (CreateKey::Forceadd, options.forceadd, since.forceadd),
        (CreateKey::Skbinfo, options.skbinfo, since.skbinfo),
        (CreateKey::Bucketsize, options.bucketsize.is_some(), since.bucketsize),
        (CreateKey::Initval, options.initval.is_some(), since.bucketsize),
        (CreateKey::Netmask, options.netmask.is_some(), netmask),
        (CreateKey::Bitmask, options.bitmask.is_some(), since.masks),
    ];
    used.into_iter().find(|(_, used, since)| *used && revision < *since).map(|(key, ..)| key)
}

fn revisions(kind: SetKind) -> Revisions {
    let all = |newest, [counters, comment, forceadd, skbinfo, bucketsize, masks]: [u8; 6]| Revisions {
        newest,
        since: Since { counters, comment, forceadd, skbinfo, bucketsize, masks },
    };
    match kind {
        SetKind::BitmapIp | SetKind::BitmapIpMac | SetKind::BitmapPort | SetKind::ListSet => {
            all(3, [1, 2, 0, 3, 0, 0])
        }
        SetKind::HashIp => all(6, [1, 2, 3, 4, 5, 6]),
        SetKind::HashMac | SetKind::HashIpMac => all(1, [0, 0, 0, 0, 1, 0]),
        SetKind::HashIpMark | SetKind::HashNetPortNet => all(3, [0, 0, 1, 2, 3, 0]),
        SetKind::HashNetNet => all(4, [0, 0, 1, 2, 3, 4]),
        SetKind::HashIpPort => all(7, [2, 3, 4, 5, 6, 7]),
        SetKind::HashIpPortIp => all(6, [2, 3, 4, 5, 6, 0]),
        SetKind::HashIpPortNet | SetKind::HashNetPort => all(8, [4, 5, 6, 7, 8, 0]),
        SetKind::HashNet => all(7, [3, 4, 5, 6, 7, 0]),
        SetKind::HashNetIface => all(8, [3, 4, 5, 6, 8, 0]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_newer_than_the_kernel_is_named() {
        let options = CreateOptions { counters: true, bucketsize: Some(4), ..CreateOptions::default() };
        assert_eq!(unknown_option(SetKind::HashNet, &options, 7), None);
        assert_eq!(unknown_option(SetKind::HashNet, &options, 6), Some(CreateKey::Bucketsize));
        assert_eq!(unknown_option(SetKind::HashNet, &options, 2), Some(CreateKey::Counters));
        let netmask = CreateOptions { netmask: Some(24), ..CreateOptions::default() };
        assert_eq!(unknown_option(SetKind::HashIp, &netmask, 0), None);
        assert_eq!(unknown_option(SetKind::HashIpPort, &netmask, 6), Some(CreateKey::Netmask));
    }
}
