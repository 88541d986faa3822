//! The target extensions: one entry for each name after `-j` that is neither a verdict nor a user chain, in
//! alphabetical order. Data only.

use super::{Extension, Kind, OptionSpec, flag, pair, value};

const fn target(name: &'static str, options: &'static [OptionSpec]) -> Extension {
    Extension::new(Kind::Target, name, options)
}

// protocol numbers of /etc/protocols
const TCP: u8 = 6;
const UDP: u8 = 17;

const CONNMARK_ANY: &[&str] =
    &["set-xmark", "set-mark", "and-mark", "or-mark", "xor-mark", "save-mark", "restore-mark"];
const HL_ANY: &[&str] = &["hl-set", "hl-dec", "hl-inc"];
const MARK_ANY: &[&str] = &["set-xmark", "set-mark", "and-mark", "or-mark", "xor-mark"];
const TOS_ANY: &[&str] = &["set-tos", "and-tos", "or-tos", "xor-tos"];
const TTL_ANY: &[&str] = &["ttl-set", "ttl-dec", "ttl-inc"];

/// Every target of iptables 1.8.9.
pub const TARGETS: &[Extension] = &[
    target("AUDIT", &[value("type").must()]),
    target("CHECKSUM", &[flag("checksum-fill").must()]),
    target("CLASSIFY", &[value("set-class").must()]),
    target(
        "CLUSTERIP",
        &[
            flag("new"),
            value("hashmode").needs(&["new"]),
            value("clustermac").needs(&["new"]),
            value("total-nodes").needs(&["new"]),
            value("local-node").needs(&["new"]),
            value("hash-init").needs(&["new"]),
        ],
    )
    .ipv4(),
    target(
        "CONNMARK",
        &[
            value("set-xmark").excludes(CONNMARK_ANY),
            value("set-mark").excludes(CONNMARK_ANY),
            value("and-mark").excludes(CONNMARK_ANY),
            value("or-mark").excludes(CONNMARK_ANY),
            value("xor-mark").excludes(CONNMARK_ANY),
            flag("save-mark").excludes(CONNMARK_ANY),
            flag("restore-mark").excludes(CONNMARK_ANY),
            value("left-shift-mark"),
            value("right-shift-mark"),
            value("ctmask").excludes(&["mask"]),
            value("nfmask").excludes(&["mask"]),
            value("mask"),
        ],
    )
    .any_of(CONNMARK_ANY),
    target("CONNSECMARK", &[flag("save").excludes(&["restore"]), flag("restore")])
        .any_of(&["save", "restore"]),
    target(
        "CT",
        &[
            flag("notrack"),
            value("helper"),
            value("timeout"),
            value("ctevents"),
            value("expevents"),
            value("zone-orig"),
            value("zone-reply"),
            value("zone"),
        ],
    ),
    target("DNAT", &[value("to-destination").must().address(), flag("random"), flag("persistent")]),
    target("DNPT", &[value("src-pfx").must().address(), value("dst-pfx").must().address()]).ipv6(),
    target("DSCP", &[value("set-dscp").excludes(&["set-dscp-class"]), value("set-dscp-class")])
        .any_of(&["set-dscp", "set-dscp-class"]),
    target(
        "ECN",
        &[
            flag("ecn-tcp-remove").excludes(&["ecn-tcp-cwr", "ecn-tcp-ece"]),
            value("ecn-tcp-cwr"),
            value("ecn-tcp-ece"),
            value("ecn-ip-ect"),
        ],
    )
    .ipv4()
    .any_of(&["ecn-tcp-remove", "ecn-tcp-cwr", "ecn-tcp-ece", "ecn-ip-ect"]),
    target(
        "HL",
        &[
            value("hl-set").excludes(HL_ANY),
            value("hl-dec").excludes(HL_ANY),
            value("hl-inc").excludes(HL_ANY),
        ],
    )
    .ipv6()
    .any_of(HL_ANY),
    target(
        "HMARK",
        &[
            value("hmark-tuple"),
            value("hmark-src-prefix").address(),
            value("hmark-dst-prefix").address(),
            value("hmark-sport-mask").excludes(&["hmark-spi-mask"]),
            value("hmark-dport-mask").excludes(&["hmark-spi-mask"]),
            value("hmark-spi-mask"),
            value("hmark-sport"),
            value("hmark-dport"),
            value("hmark-spi"),
            value("hmark-proto-mask"),
            value("hmark-rnd").must(),
            value("hmark-mod").must(),
            value("hmark-offset"),
        ],
    ),
    target("IDLETIMER", &[value("timeout").must(), value("label").must(), flag("alarm")]),
    target("LED", &[value("led-trigger-id").must(), value("led-delay"), flag("led-always-blink")]),
    target(
        "LOG",
        &[
            value("log-level"),
            value("log-prefix").text(),
            flag("log-tcp-sequence"),
            flag("log-tcp-options"),
            flag("log-ip-options"),
            flag("log-uid"),
            flag("log-macdecode"),
        ],
    ),
    target(
        "MARK",
        &[
            value("set-xmark").excludes(MARK_ANY),
            value("set-mark").excludes(MARK_ANY),
            value("and-mark").excludes(MARK_ANY),
            value("or-mark").excludes(MARK_ANY),
            value("xor-mark").excludes(MARK_ANY),
        ],
    )
    .any_of(MARK_ANY),
    target("MASQUERADE", &[value("to-ports"), flag("random"), flag("random-fully")]),
    target("NETMAP", &[value("to").must().address()]),
    target(
        "NFLOG",
        &[
            value("nflog-group"),
            value("nflog-prefix").text(),
            value("nflog-range").excludes(&["nflog-size"]),
            value("nflog-size"),
            value("nflog-threshold"),
        ],
    ),
    target(
        "NFQUEUE",
        &[
            value("queue-num").excludes(&["queue-balance"]),
            value("queue-balance"),
            flag("queue-bypass"),
            flag("queue-cpu-fanout").needs(&["queue-balance"]),
        ],
    ),
    target("NOTRACK", &[]),
    target(
        "RATEEST",
        &[value("rateest-name").must(), value("rateest-interval").must(), value("rateest-ewmalog").must()],
    ),
    target("REDIRECT", &[value("to-ports"), flag("random")]),
    target("REJECT", &[value("reject-with")]),
    target("SECMARK", &[value("selctx").must()]),
    target(
        "SET",
        &[
            pair("add-set").set(),
            pair("del-set").set(),
            flag("exist").needs(&["add-set"]),
            value("timeout").needs(&["add-set"]),
            pair("map-set").set().needs(&["map-mark", "map-prio", "map-queue"]),
            flag("map-mark").needs(&["map-set"]),
            flag("map-prio").needs(&["map-set"]),
            flag("map-queue").needs(&["map-set"]),
        ],
    )
    .any_of(&["add-set", "del-set", "map-set"]),
    target(
        "SNAT",
        &[value("to-source").must().address(), flag("random"), flag("random-fully"), flag("persistent")],
    ),
    target("SNPT", &[value("src-pfx").must().address(), value("dst-pfx").must().address()]).ipv6(),
    target("SYNPROXY", &[flag("sack-perm"), flag("timestamp"), value("wscale"), value("mss"), flag("ecn")])
        .protocols(&[TCP]),
    target("TCPMSS", &[value("set-mss").excludes(&["clamp-mss-to-pmtu"]), flag("clamp-mss-to-pmtu")])
        .protocols(&[TCP])
        .any_of(&["set-mss", "clamp-mss-to-pmtu"]),
    target("TCPOPTSTRIP", &[value("strip-options")]).protocols(&[TCP]),
    target("TEE", &[value("gateway").must().address(), value("oif")]),
    target(
        "TOS",
        &[
            value("set-tos").excludes(TOS_ANY),
            value("and-tos").excludes(TOS_ANY),
            value("or-tos").excludes(TOS_ANY),
            value("xor-tos").excludes(TOS_ANY),
        ],
    )
    .any_of(TOS_ANY),
    target("TPROXY", &[value("on-port").must(), value("on-ip").address(), value("tproxy-mark")])
        .protocols(&[TCP, UDP]),
    target("TRACE", &[]),
    target(
        "TTL",
        &[
            value("ttl-set").excludes(TTL_ANY),
            value("ttl-dec").excludes(TTL_ANY),
            value("ttl-inc").excludes(TTL_ANY),
        ],
    )
    .ipv4()
    .any_of(TTL_ANY),
    target(
        "ULOG",
        &[
            value("ulog-nlgroup"),
            value("ulog-prefix").text(),
            value("ulog-cprange"),
            value("ulog-qthreshold"),
        ],
    )
    .ipv4(),
];
