//! The match extensions: one entry for each name after `-m`, in alphabetical order. Data only.

use super::{Arity, Extension, Kind, OptionSpec, flag, pair, value};

const fn matching(name: &'static str, options: &'static [OptionSpec]) -> Extension {
    Extension::new(Kind::Match, name, options)
}

// protocol numbers of /etc/protocols
const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const DCCP: u8 = 33;
const ESP: u8 = 50;
const ICMPV6: u8 = 58;
const IPCOMP: u8 = 108;
const SCTP: u8 = 132;
const MH: u8 = 135;
const UDPLITE: u8 = 136;

const SPORT: OptionSpec = value("sport").aliases(&["source-port"]).not();
const DPORT: OptionSpec = value("dport").aliases(&["destination-port"]).not();

const HL_ANY: &[&str] = &["hl-eq", "hl-lt", "hl-gt"];
const MULTIPORT_ANY: &[&str] = &["sports", "dports", "ports"];
const RECENT_ANY: &[&str] = &["set", "rcheck", "update", "remove"];
const SET_BYTES: &[&str] = &["bytes-eq", "bytes-lt", "bytes-gt"];
const SET_PACKETS: &[&str] = &["packets-eq", "packets-lt", "packets-gt"];
const TTL_ANY: &[&str] = &["ttl-eq", "ttl-lt", "ttl-gt"];

/// Every match of iptables 1.8.9.
pub const MATCHES: &[Extension] = &[
    matching(
        "addrtype",
        &[
            value("src-type").not(),
            value("dst-type").not(),
            flag("limit-iface-in").excludes(&["limit-iface-out"]),
            flag("limit-iface-out"),
        ],
    )
    .any_of(&["src-type", "dst-type"]),
    // the IPv4 kernel module asks for `-p ah`; in IPv6 it is an extension header, which `-p` cannot name
    matching("ah", &[value("ahspi").not(), value("ahlen").not().ipv6(), flag("ahres").ipv6()]),
    matching("bpf", &[value("bytecode").excludes(&["object-pinned"]).text(), value("object-pinned").text()])
        .any_of(&["bytecode", "object-pinned"]),
    matching("cgroup", &[value("path").not().excludes(&["cgroup"]), value("cgroup").not()])
        .any_of(&["path", "cgroup"]),
    matching(
        "cluster",
        &[
            value("cluster-total-nodes").must(),
            value("cluster-local-node").not().excludes(&["cluster-local-nodemask"]),
            value("cluster-local-nodemask").not(),
            value("cluster-hash-seed").must(),
        ],
    )
    .any_of(&["cluster-local-node", "cluster-local-nodemask"]),
    matching("comment", &[value("comment").must().text()]),
    matching(
        "connbytes",
        &[value("connbytes").must().not(), value("connbytes-dir").must(), value("connbytes-mode").must()],
    ),
    matching("connlabel", &[value("label").must().not(), flag("set")]),
    matching(
        "connlimit",
        &[
            value("connlimit-upto").not().excludes(&["connlimit-above"]),
            value("connlimit-above").not(),
            value("connlimit-mask"),
            flag("connlimit-saddr").excludes(&["connlimit-daddr"]),
            flag("connlimit-daddr"),
        ],
    )
    .any_of(&["connlimit-upto", "connlimit-above"]),
    matching("connmark", &[value("mark").must().not()]),
    matching(
        "conntrack",
        &[
            value("ctstate").not(),
            value("ctproto").not(),
            value("ctorigsrc").not().address(),
            value("ctorigdst").not().address(),
            value("ctreplsrc").not().address(),
            value("ctrepldst").not().address(),
            value("ctstatus").not(),
            value("ctexpire").not(),
            value("ctorigsrcport").not(),
            value("ctorigdstport").not(),
            value("ctreplsrcport").not(),
            value("ctrepldstport").not(),
            value("ctdir"),
        ],
    )
    .any_of(&[
        "ctstate",
        "ctproto",
        "ctorigsrc",
        "ctorigdst",
        "ctreplsrc",
        "ctrepldst",
        "ctstatus",
        "ctexpire",
        "ctorigsrcport",
        "ctorigdstport",
        "ctreplsrcport",
        "ctrepldstport",
        "ctdir",
    ]),
    matching("cpu", &[value("cpu").must().not()]),
    matching("dccp", &[SPORT, DPORT, value("dccp-types").not(), value("dccp-option").not()])
        .protocols(&[DCCP]),
    matching("devgroup", &[value("src-group").not(), value("dst-group").not()])
        .any_of(&["src-group", "dst-group"]),
    matching("dscp", &[value("dscp").not().excludes(&["dscp-class"]), value("dscp-class").not()])
        .any_of(&["dscp", "dscp-class"]),
    matching("dst", &[value("dst-len").not(), value("dst-opts")]).ipv6(),
    matching("ecn", &[flag("ecn-tcp-cwr").not(), flag("ecn-tcp-ece").not(), value("ecn-ip-ect").not()])
        .any_of(&["ecn-tcp-cwr", "ecn-tcp-ece", "ecn-ip-ect"]),
    matching("esp", &[value("espspi").not()]).protocols(&[ESP]),
    matching("eui64", &[]).ipv6(),
    matching(
        "frag",
        &[
            value("fragid").not(),
            value("fraglen").not(),
            flag("fragres"),
            flag("fragfirst"),
            flag("fragmore").excludes(&["fraglast"]),
            flag("fraglast"),
        ],
    )
    .ipv6(),
    matching(
        "hashlimit",
        &[
            value("hashlimit-upto").aliases(&["hashlimit"]).not().excludes(&["hashlimit-above"]),
            value("hashlimit-above").not(),
            value("hashlimit-srcmask"),
            value("hashlimit-dstmask"),
            value("hashlimit-burst"),
            value("hashlimit-htable-size"),
            value("hashlimit-htable-max"),
            value("hashlimit-htable-gcinterval"),
            value("hashlimit-htable-expire"),
            value("hashlimit-mode"),
            value("hashlimit-name").must(),
            flag("hashlimit-rate-match"),
            value("hashlimit-rate-interval"),
        ],
    )
    .any_of(&["hashlimit-upto", "hashlimit-above"]),
    matching("hbh", &[value("hbh-len").not(), value("hbh-opts")]).ipv6(),
    matching("helper", &[value("helper").must().not()]),
    matching(
        "hl",
        &[
            value("hl-eq").aliases(&["hl"]).not().excludes(HL_ANY),
            value("hl-lt").excludes(HL_ANY),
            value("hl-gt").excludes(HL_ANY),
        ],
    )
    .ipv6()
    .any_of(HL_ANY),
    matching("icmp", &[value("icmp-type").must().not()]).ipv4().protocols(&[ICMP]),
    matching("icmp6", &[value("icmpv6-type").must().not()])
        .ipv6()
        .aliases(&["icmpv6", "ipv6-icmp"])
        .protocols(&[ICMPV6]),
    matching("ipcomp", &[value("ipcompspi").not(), flag("compres")]).protocols(&[IPCOMP]),
    matching("iprange", &[value("src-range").not().address(), value("dst-range").not().address()])
        .any_of(&["src-range", "dst-range"]),
    matching("ipv6header", &[value("header").must().not(), flag("soft")]).ipv6(),
    matching(
        "ipvs",
        &[
            flag("ipvs").not(),
            value("vproto").not(),
            value("vaddr").not().address(),
            value("vport").not(),
            value("vdir"),
            value("vmethod").not(),
            value("vportctl").not(),
        ],
    )
    .any_of(&["ipvs", "vproto", "vaddr", "vport", "vdir", "vmethod", "vportctl"]),
    matching("length", &[value("length").must().not()]),
    matching("limit", &[value("limit"), value("limit-burst")]),
    matching("mac", &[value("mac-source").must().not()]),
    matching("mark", &[value("mark").must().not()]),
    matching("mh", &[value("mh-type").not()]).ipv6().protocols(&[MH]),
    matching(
        "multiport",
        &[
            value("sports").aliases(&["source-ports"]).not().excludes(MULTIPORT_ANY),
            value("dports").aliases(&["destination-ports"]).not().excludes(MULTIPORT_ANY),
            value("ports").not().excludes(MULTIPORT_ANY),
        ],
    )
    .protocols(&[TCP, UDP, UDPLITE, SCTP, DCCP])
    .any_of(MULTIPORT_ANY),
    matching("nfacct", &[value("nfacct-name").must()]),
    matching("osf", &[value("genre").must().not(), value("ttl"), value("log")]).ipv4().protocols(&[TCP]),
    matching(
        "owner",
        &[
            value("uid-owner").not(),
            value("gid-owner").not(),
            flag("socket-exists").not(),
            flag("suppl-groups"),
        ],
    )
    .any_of(&["uid-owner", "gid-owner", "socket-exists"]),
    matching(
        "physdev",
        &[
            value("physdev-in").not(),
            value("physdev-out").not(),
            flag("physdev-is-in").not(),
            flag("physdev-is-out").not(),
            flag("physdev-is-bridged").not(),
        ],
    )
    .any_of(&["physdev-in", "physdev-out", "physdev-is-in", "physdev-is-out", "physdev-is-bridged"]),
    matching("pkttype", &[value("pkt-type").must().not()]),
    matching(
        "policy",
        &[
            value("dir").must(),
            value("pol"),
            flag("strict"),
            // once for each element, elements parted by --next
            value("reqid").not().multi(),
            value("spi").not().multi(),
            value("tunnel-src").not().multi().address(),
            value("tunnel-dst").not().multi().address(),
            value("proto").not().multi(),
            value("mode").not().multi(),
            flag("next").multi().needs(&["strict"]),
        ],
    ),
    matching("quota", &[value("quota").must().not()]),
    matching(
        "rateest",
        &[
            value("rateest1").aliases(&["rateest"]),
            value("rateest2"),
            OptionSpec::new("rateest-bps1", Arity::Optional),
            OptionSpec::new("rateest-pps1", Arity::Optional),
            OptionSpec::new("rateest-bps2", Arity::Optional).aliases(&["rateest-bps"]),
            OptionSpec::new("rateest-pps2", Arity::Optional).aliases(&["rateest-pps"]),
            flag("rateest-delta"),
            flag("rateest-lt").not(),
            flag("rateest-gt").not(),
            flag("rateest-eq").not(),
        ],
    ),
    matching("realm", &[value("realm").must().not()]).ipv4(),
    matching(
        "recent",
        &[
            flag("set").not().excludes(RECENT_ANY),
            flag("rcheck").not().excludes(RECENT_ANY),
            flag("update").not().excludes(RECENT_ANY),
            flag("remove").not().excludes(RECENT_ANY),
            value("seconds"),
            flag("reap").needs(&["seconds"]),
            value("hitcount"),
            flag("rttl").excludes(&["set", "remove"]),
            value("name"),
            flag("rsource"),
            flag("rdest"),
            value("mask").address(),
        ],
    )
    .any_of(RECENT_ANY),
    matching("rpfilter", &[flag("loose"), flag("validmark"), flag("accept-local"), flag("invert")]),
    matching(
        "rt",
        &[
            value("rt-type").not(),
            value("rt-segsleft").not(),
            value("rt-len").not(),
            flag("rt-0-res"),
            value("rt-0-addrs"),
            flag("rt-0-not-strict"),
        ],
    )
    .ipv6(),
    matching("sctp", &[SPORT, DPORT, pair("chunk-types").not()]).protocols(&[SCTP]),
    matching(
        "set",
        &[
            pair("match-set").aliases(&["set"]).must().not().set(),
            flag("return-nomatch"),
            flag("update-counters").not(),
            flag("update-subcounters").not(),
            value("packets-eq").not().excludes(SET_PACKETS),
            value("packets-lt").excludes(SET_PACKETS),
            value("packets-gt").excludes(SET_PACKETS),
            value("bytes-eq").not().excludes(SET_BYTES),
            value("bytes-lt").excludes(SET_BYTES),
            value("bytes-gt").excludes(SET_BYTES),
        ],
    ),
    matching("socket", &[flag("transparent"), flag("nowildcard"), flag("restore-skmark")]),
    matching(
        "srh",
        &[
            value("srh-next-hdr").not(),
            value("srh-hdr-len-eq").not(),
            value("srh-hdr-len-gt").not(),
            value("srh-hdr-len-lt").not(),
            value("srh-segs-left-eq").not(),
            value("srh-segs-left-gt").not(),
            value("srh-segs-left-lt").not(),
            value("srh-last-entry-eq").not(),
            value("srh-last-entry-gt").not(),
            value("srh-last-entry-lt").not(),
            value("srh-tag").not(),
            value("srh-psid").not().address(),
            value("srh-nsid").not().address(),
            value("srh-lsid").not().address(),
        ],
    )
    .ipv6(),
    matching("state", &[value("state").must().not()]),
    matching(
        "statistic",
        &[
            value("mode").must(),
            value("probability").not().excludes(&["every", "packet"]),
            value("every").not().needs(&["packet"]),
            value("packet").needs(&["every"]),
        ],
    ),
    matching(
        "string",
        &[
            value("from"),
            value("to"),
            value("algo").must(),
            value("string").not().text().excludes(&["hex-string"]),
            value("hex-string").not().text(),
            flag("icase"),
        ],
    )
    .any_of(&["string", "hex-string"]),
    matching(
        "tcp",
        &[
            SPORT,
            DPORT,
            flag("syn").not().excludes(&["tcp-flags"]),
            pair("tcp-flags").not(),
            value("tcp-option").not(),
        ],
    )
    .protocols(&[TCP]),
    matching("tcpmss", &[value("mss").must().not()]).protocols(&[TCP]),
    matching(
        "time",
        &[
            value("datestart"),
            value("datestop"),
            value("timestart"),
            value("timestop"),
            flag("contiguous"),
            value("weekdays").not(),
            value("monthdays").not(),
            flag("localtz").excludes(&["utc"]),
            flag("utc").excludes(&["kerneltz"]),
            flag("kerneltz"),
        ],
    ),
    matching("tos", &[value("tos").must().not()]),
    matching(
        "ttl",
        &[
            value("ttl-eq").aliases(&["ttl"]).not().excludes(TTL_ANY),
            value("ttl-lt").excludes(TTL_ANY),
            value("ttl-gt").excludes(TTL_ANY),
        ],
    )
    .ipv4()
    .any_of(TTL_ANY),
    matching("u32", &[value("u32").must().not().text()]),
    matching("udp", &[SPORT, DPORT]).protocols(&[UDP]),
];
