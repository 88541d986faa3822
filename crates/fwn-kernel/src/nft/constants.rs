//! Numbers of nf_tables' netlink interface: `linux/netfilter/nf_tables.h`, `linux/netfilter/nfnetlink.h`,
//! `linux/netfilter.h`. Only those that are used.

use fwn_plan::netfilter::{Family, Policy};

/// `NFNL_SUBSYS_NFTABLES` (`linux/netfilter/nfnetlink.h`)
pub const SUBSYSTEM: u8 = 10;
/// `NFNL_MSG_BATCH_BEGIN` (`linux/netfilter/nfnetlink.h`)
pub const NFNL_MSG_BATCH_BEGIN: u16 = 0x10;
/// `NFNL_MSG_BATCH_END` (`linux/netfilter/nfnetlink.h`)
pub const NFNL_MSG_BATCH_END: u16 = 0x11;
/// `NFNL_BATCH_GENID` (`linux/netfilter/nfnetlink.h`)
pub const NFNL_BATCH_GENID: u16 = 1;
/// `NLM_F_NONREC` (`linux/netlink.h`): delete only what is empty.
pub const NLM_F_NONREC: u16 = 0x100;

/// `NFPROTO_UNSPEC` (`linux/netfilter.h`): all families.
pub const NFPROTO_UNSPEC: u8 = 0;
/// `NFPROTO_IPV4` (`linux/netfilter.h`)
const NFPROTO_IPV4: u8 = 2;
/// `NFPROTO_IPV6` (`linux/netfilter.h`)
const NFPROTO_IPV6: u8 = 10;
/// `NF_DROP` (`linux/netfilter.h`)
const NF_DROP: u32 = 0;
/// `NF_ACCEPT` (`linux/netfilter.h`)
const NF_ACCEPT: u32 = 1;

// enum nf_tables_msg_types

/// `NFT_MSG_NEWTABLE`
pub const NFT_MSG_NEWTABLE: u8 = 0;
/// `NFT_MSG_GETTABLE`
pub const NFT_MSG_GETTABLE: u8 = 1;
/// `NFT_MSG_DELTABLE`
pub const NFT_MSG_DELTABLE: u8 = 2;
/// `NFT_MSG_NEWCHAIN`
pub const NFT_MSG_NEWCHAIN: u8 = 3;
/// `NFT_MSG_GETCHAIN`
pub const NFT_MSG_GETCHAIN: u8 = 4;
/// `NFT_MSG_DELCHAIN`
pub const NFT_MSG_DELCHAIN: u8 = 5;
/// `NFT_MSG_NEWRULE`
pub const NFT_MSG_NEWRULE: u8 = 6;
/// `NFT_MSG_GETRULE`
pub const NFT_MSG_GETRULE: u8 = 7;
/// `NFT_MSG_DELRULE`
pub const NFT_MSG_DELRULE: u8 = 8;
/// `NFT_MSG_NEWGEN`
pub const NFT_MSG_NEWGEN: u8 = 15;
/// `NFT_MSG_GETGEN`
pub const NFT_MSG_GETGEN: u8 = 16;
/// `NFT_MSG_TRACE`
pub const NFT_MSG_TRACE: u8 = 17;
/// `NFNLGRP_NFTRACE` (`linux/netfilter/nfnetlink.h`)
pub const NFNLGRP_NFTRACE: u32 = 9;

// enum nft_gen_attributes

/// `NFTA_GEN_ID`
pub const NFTA_GEN_ID: u16 = 1;

// enum nft_table_attributes and nft_table_flags

/// `NFTA_TABLE_NAME`
pub const NFTA_TABLE_NAME: u16 = 1;
/// `NFTA_TABLE_FLAGS`
pub const NFTA_TABLE_FLAGS: u16 = 2;
/// `NFTA_TABLE_USE`: chains, sets, objects and flow tables in it.
pub const NFTA_TABLE_USE: u16 = 3;
/// `NFTA_TABLE_HANDLE`
pub const NFTA_TABLE_HANDLE: u16 = 4;
/// `NFTA_TABLE_USERDATA`, since Linux 5.10; older kernels do not look at it.
pub const NFTA_TABLE_USERDATA: u16 = 6;
/// `NFT_TABLE_F_DORMANT`: the table is switched off.
pub const NFT_TABLE_F_DORMANT: u32 = 1;

// enum nft_chain_attributes

/// `NFTA_CHAIN_TABLE`
pub const NFTA_CHAIN_TABLE: u16 = 1;
/// `NFTA_CHAIN_HANDLE`
pub const NFTA_CHAIN_HANDLE: u16 = 2;
/// `NFTA_CHAIN_NAME`
pub const NFTA_CHAIN_NAME: u16 = 3;
/// `NFTA_CHAIN_HOOK`
pub const NFTA_CHAIN_HOOK: u16 = 4;
/// `NFTA_CHAIN_POLICY`
pub const NFTA_CHAIN_POLICY: u16 = 5;
/// `NFTA_CHAIN_USE`: rules in it and jumps to it.
pub const NFTA_CHAIN_USE: u16 = 6;
/// `NFTA_CHAIN_TYPE`
pub const NFTA_CHAIN_TYPE: u16 = 7;
/// `NFTA_CHAIN_COUNTERS`
pub const NFTA_CHAIN_COUNTERS: u16 = 8;
/// `NFTA_CHAIN_USERDATA`, since Linux 5.10; older kernels do not look at it.
pub const NFTA_CHAIN_USERDATA: u16 = 12;

// enum nft_hook_attributes

/// `NFTA_HOOK_HOOKNUM`
pub const NFTA_HOOK_HOOKNUM: u16 = 1;
/// `NFTA_HOOK_PRIORITY`
pub const NFTA_HOOK_PRIORITY: u16 = 2;

// enum nft_rule_attributes and nft_rule_compat_attributes

/// `NFTA_RULE_TABLE`
pub const NFTA_RULE_TABLE: u16 = 1;
/// `NFTA_RULE_CHAIN`
pub const NFTA_RULE_CHAIN: u16 = 2;
/// `NFTA_RULE_HANDLE`
pub const NFTA_RULE_HANDLE: u16 = 3;
/// `NFTA_RULE_EXPRESSIONS`
pub const NFTA_RULE_EXPRESSIONS: u16 = 4;
/// `NFTA_RULE_COMPAT`
pub const NFTA_RULE_COMPAT: u16 = 5;
/// `NFTA_RULE_POSITION`
pub const NFTA_RULE_POSITION: u16 = 6;
/// `NFTA_RULE_USERDATA`
pub const NFTA_RULE_USERDATA: u16 = 7;
/// `NFTA_RULE_COMPAT_PROTO`
pub const NFTA_RULE_COMPAT_PROTO: u16 = 1;
/// `NFTA_RULE_COMPAT_FLAGS`
pub const NFTA_RULE_COMPAT_FLAGS: u16 = 2;

// enum nft_list_attributes, nft_expr_attributes and those of the expressions that are looked into

/// `NFTA_LIST_ELEM`
pub const NFTA_LIST_ELEM: u16 = 1;
/// `NFTA_EXPR_NAME`
pub const NFTA_EXPR_NAME: u16 = 1;
/// `NFTA_EXPR_DATA`
pub const NFTA_EXPR_DATA: u16 = 2;
/// `NFTA_COUNTER_BYTES`
pub const NFTA_COUNTER_BYTES: u16 = 1;
/// `NFTA_COUNTER_PACKETS`
pub const NFTA_COUNTER_PACKETS: u16 = 2;
/// `NFTA_CMP_DATA`
pub const NFTA_CMP_DATA: u16 = 3;
/// `NFTA_RANGE_FROM_DATA`
pub const NFTA_RANGE_FROM_DATA: u16 = 3;
/// `NFTA_RANGE_TO_DATA`
pub const NFTA_RANGE_TO_DATA: u16 = 4;
/// `NFTA_MATCH_NAME`
pub const NFTA_MATCH_NAME: u16 = 1;
/// `NFTA_MATCH_INFO`
pub const NFTA_MATCH_INFO: u16 = 3;
/// `NFTA_QUOTA_FLAGS`; its bit 1 (`NFT_QUOTA_F_DEPLETED`) is state.
pub const NFTA_QUOTA_FLAGS: u16 = 2;
/// `NFT_QUOTA_F_INV`: the only bit of the flags that is configuration.
pub const NFT_QUOTA_F_INV: u32 = 1;
/// `NFTA_QUOTA_CONSUMED`
pub const NFTA_QUOTA_CONSUMED: u16 = 4;
/// `NFTA_IMMEDIATE_DATA`
pub const NFTA_IMMEDIATE_DATA: u16 = 2;
/// `NFTA_DATA_VERDICT`
pub const NFTA_DATA_VERDICT: u16 = 2;
/// `NFTA_VERDICT_CODE`
pub const NFTA_VERDICT_CODE: u16 = 1;
/// `NFTA_VERDICT_CHAIN`
pub const NFTA_VERDICT_CHAIN: u16 = 2;

/// Number of a family in nfnetlink messages (`NFPROTO_IPV4`, `NFPROTO_IPV6`, `linux/netfilter.h`).
pub const fn nfproto(family: Family) -> u8 {
    match family {
        Family::Ipv4 => NFPROTO_IPV4,
        Family::Ipv6 => NFPROTO_IPV6,
    }
}

/// The family of an nfnetlink message, where it is `ip` or `ip6`.
pub const fn family_of(nfproto: u8) -> Option<Family> {
    match nfproto {
        NFPROTO_IPV4 => Some(Family::Ipv4),
        NFPROTO_IPV6 => Some(Family::Ipv6),
        _ => None,
    }
}

/// The word that nft has for a family (`NFPROTO_*`, `linux/netfilter.h`).
pub const fn family_word(nfproto: u8) -> &'static str {
    match nfproto {
        1 => "inet",
        NFPROTO_IPV4 => "ip",
        3 => "arp",
        5 => "netdev",
        7 => "bridge",
        NFPROTO_IPV6 => "ip6",
        _ => "other",
    }
}

/// Number of a policy (`NF_ACCEPT`, `NF_DROP`, `linux/netfilter.h`).
pub const fn verdict(policy: Policy) -> u32 {
    match policy {
        Policy::Accept => NF_ACCEPT,
        Policy::Drop => NF_DROP,
    }
}

/// The policy of that number.
pub const fn policy_of(verdict: u32) -> Option<Policy> {
    match verdict {
        NF_ACCEPT => Some(Policy::Accept),
        NF_DROP => Some(Policy::Drop),
        _ => None,
    }
}
