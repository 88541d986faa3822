//! The extensions that are seldom seen: what iptables takes comes out the same, what it refuses is wrong here too.

use super::*;
use crate::encode::iptables::EncodeError;

#[test]
fn matches_on_headers_and_bytes() {
    compare_with_iptables(&cases(
        r#"
        filter INPUT -p dccp -m dccp
        filter INPUT -p dccp --sport 80 ! --dport 90:100
        filter INPUT -p dccp ! --sport :80 --dport 90:
        filter INPUT -p dccp --dport 100:90
        filter INPUT -p dccp --dccp-types REQUEST,reset,INVALID
        filter INPUT -p dccp ! --dccp-types DataAck,Sync,SyncAck,CloseReq,Close,Ack,Data,Response
        filter INPUT -p dccp --dccp-option 1
        filter INPUT -p dccp ! --dccp-option 255 --sport 0
        filter INPUT -p ipcomp -m ipcomp
        filter INPUT -p ipcomp --ipcompspi 0x12
        filter INPUT -p ipcomp ! --ipcompspi 5: --compres
        4 filter INPUT -p tcp -m osf --genre Linux
        4 filter INPUT -p tcp -m osf ! --genre 1234567890123456789012345678901 --ttl 2 --log 1
        4 filter INPUT -p tcp -m osf --genre Windows:2000 --ttl 0 --log 0
        filter INPUT -m u32 --u32 0=1
        filter INPUT -m u32 ! --u32 "0 >> 22 & 0x3C @ 0>>24 = 0:5, 0xFfffffff:3 ,010"
        filter INPUT -m u32 --u32 "6&0xFF=6 && 4 & 0x1FFF=0 && 0>>22&0x3C@12>>26&0x3C@0>>24<<3=0X1:2"
        filter INPUT -m u32 --u32 "1&2&3&4&5&6&7&8&9&10=1,2,3,4,5,6,7,8,9,10"
        filter INPUT -m u32 --u32 "1=1&&2=2&&3=3&&4=4&&5=5&&6=6&&7=7&&8=8&&9=9&&4294967295=10"
        filter INPUT -m bpf --bytecode "4,48 0 0 9,21 0 1 6,6 0 0 1,6 0 0 0"
        filter INPUT -m bpf --bytecode "4,48 0 0 9,21 0 1 6,6 0 0 4294967295,6 0 0 0,"
        filter INPUT -m cluster --cluster-total-nodes 2 --cluster-local-node 2 --cluster-hash-seed 0xdeadbeef
        filter INPUT -m cluster --cluster-total-nodes 32 ! --cluster-local-node 32 --cluster-hash-seed 0
        filter INPUT -m cluster ! --cluster-local-nodemask 3 --cluster-total-nodes 2 --cluster-hash-seed 1
        filter INPUT -m cluster --cluster-local-nodemask 32 --cluster-total-nodes 6 --cluster-hash-seed 1
        "#,
    ));
}

#[test]
fn extension_headers() {
    compare_with_iptables(&cases(
        "
        6 filter INPUT -m ah
        6 filter INPUT -m ah --ahspi 5
        6 filter INPUT -m ah ! --ahspi 5:4 ! --ahlen 32 --ahres
        6 filter INPUT -m dst
        6 filter INPUT -m dst --dst-len 8 --dst-opts 1
        6 filter INPUT -m dst ! --dst-len 4294967295
        6 filter INPUT -m hbh
        6 filter INPUT -m hbh --hbh-opts 1:2,0,3:255,0x5:0,255
        6 filter INPUT -m hbh ! --hbh-len 16 --hbh-opts 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16
        6 filter INPUT -m hbh --hbh-opts 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15:7
        6 filter INPUT -m eui64
        6 filter INPUT -m frag
        6 filter INPUT -m frag --fragid 5
        6 filter INPUT -m frag ! --fragid 5: ! --fraglen 8 --fragres --fragfirst --fragmore
        6 filter INPUT -m frag --fragid 7:3 --fraglast
        6 filter INPUT -m ipv6header --header hop
        6 filter INPUT -m ipv6header ! --header dst,route,frag,auth,esp,none,prot --soft
        6 filter INPUT -m ipv6header --header 0,60,43,44
        6 filter INPUT -m ipv6header --header 51,50,59,255,hop-by-hop,protocol
        6 filter INPUT -m ipv6header --header ipv6-opts,ah,ipv6-nonxt --soft
        6 filter INPUT -p mh -m mh
        6 filter INPUT -p mh --mh-type binding-refresh-request
        6 filter INPUT -p mh ! --mh-type BU:be
        6 filter INPUT -p mh --mh-type careof-test
        6 filter INPUT -p mh --mh-type b:
        6 filter INPUT -p mh --mh-type :0x10
        6 filter INPUT -m rt
        6 filter INPUT -m rt --rt-type 2 --rt-segsleft 1
        6 filter INPUT -m rt ! --rt-type 4294967295 ! --rt-segsleft 5:4 ! --rt-len 40
        6 filter INPUT -m rt --rt-type 0 --rt-0-res --rt-0-addrs fd00::1,::2 --rt-0-not-strict
        6 filter INPUT -m rt --rt-type 0 --rt-len 256 --rt-0-addrs ::1,::2,::3,::4,::5,::6,::7,::8,::9,::a,::b,::c,::d,::e,::f,::
        6 filter INPUT -m srh
        6 filter INPUT -m srh --srh-next-hdr 17 --srh-hdr-len-eq 8 --srh-segs-left-gt 3 --srh-last-entry-lt 4 --srh-tag 0xffff
        6 filter INPUT -m srh ! --srh-next-hdr 6 ! --srh-hdr-len-gt 2 ! --srh-segs-left-eq 1 ! --srh-last-entry-gt 0 ! --srh-tag 0
        6 filter INPUT -m srh --srh-hdr-len-lt 8 --srh-hdr-len-gt 7 ! --srh-segs-left-lt 5 --srh-last-entry-eq 9
        6 filter INPUT -m srh --srh-psid fd00::1/64 ! --srh-nsid fd00::2 --srh-lsid ::/0
        6 filter INPUT -m srh ! --srh-psid fd00::1/128 --srh-nsid fd00::2/61 ! --srh-lsid fd00::3
        ",
    ));
}

#[test]
fn targets() {
    compare_with_iptables(&cases(
        "
        4 mangle INPUT -p tcp -j ECN --ecn-tcp-remove
        4 mangle INPUT -j ECN --ecn-ip-ect 3
        4 mangle INPUT -p tcp -j ECN --ecn-tcp-cwr 1 --ecn-tcp-ece 0 --ecn-ip-ect 1
        4 mangle INPUT -p tcp -j ECN --ecn-tcp-ece 1
        6 mangle PREROUTING -j DNPT --src-pfx fd00::/64 --dst-pfx fd01:2::/48
        6 mangle POSTROUTING -j SNPT --src-pfx ::/0 --dst-pfx fd01::/61
        filter INPUT -j HMARK --hmark-tuple src --hmark-rnd 1 --hmark-mod 2
        filter INPUT -j HMARK --hmark-tuple ct,src,dst,sport,dport,proto --hmark-rnd 0xfeed --hmark-mod 10 --hmark-offset 100
        filter INPUT -j HMARK --hmark-tuple s,D,spi,p --hmark-rnd 4294967295 --hmark-mod 4294967295
        filter INPUT -j HMARK --hmark-src-prefix 24 --hmark-dst-prefix 0 --hmark-rnd 1 --hmark-mod 1
        filter INPUT -j HMARK --hmark-src-prefix 32 --hmark-sport-mask 0xff00 --hmark-dport-mask 7 --hmark-proto-mask 0xff --hmark-rnd 1 --hmark-mod 1
        filter INPUT -j HMARK --hmark-sport 80 --hmark-dport 0x1234 --hmark-rnd 1 --hmark-mod 1 --hmark-offset 0
        filter INPUT -j HMARK --hmark-spi 0x12345678 --hmark-spi-mask 0xffff0000 --hmark-rnd 0 --hmark-mod 1
        filter INPUT -j HMARK --hmark-sport-mask 0xff --hmark-tuple sport,dst --hmark-rnd 1 --hmark-mod 1
        6 filter INPUT -j HMARK --hmark-src-prefix 128 --hmark-dst-prefix 61 --hmark-rnd 1 --hmark-mod 1
        filter INPUT -j IDLETIMER --timeout 1 --label fwn-one
        filter INPUT -j IDLETIMER --timeout 2147482 --label fwn-45678901234567890123456
        filter INPUT -j IDLETIMER --timeout 30 --label fwn-alarm --alarm
        filter INPUT -p tcp -j SYNPROXY
        filter INPUT -p tcp -j SYNPROXY --sack-perm --timestamp --wscale 7 --mss 1460
        filter INPUT -p tcp -j SYNPROXY --ecn --mss 65535 --wscale 255
        mangle INPUT -p tcp -j TCPOPTSTRIP
        mangle INPUT -p tcp -j TCPOPTSTRIP --strip-options mss,wscale,sack-permitted,sack,timestamp,md5
        mangle INPUT -p tcp -j TCPOPTSTRIP --strip-options 2,0x20,255
        ",
    ));
}

/// Each is wrong here, and refused by iptables or by the kernel behind it.
#[test]
fn what_iptables_refuses_is_wrong() {
    let refused = cases(
        r#"
        4 filter INPUT -p dccp --dccp-types REQUST
        4 filter INPUT -p dccp --dccp-option 0
        4 filter INPUT -p dccp --dccp-option 256
        4 filter INPUT -p dccp --dport 80:90:100
        4 filter INPUT -p ipcomp --ipcompspi 4294967296
        4 filter INPUT -p tcp -m osf --genre Linux --ttl 3
        4 filter INPUT -p tcp -m osf --genre Linux --log 3
        4 filter INPUT -m u32 --u32 0
        4 filter INPUT -m u32 --u32 ""
        4 filter INPUT -m u32 --u32 =1
        4 filter INPUT -m u32 --u32 0=
        4 filter INPUT -m u32 --u32 0=1&&
        4 filter INPUT -m u32 --u32 0=1&2
        4 filter INPUT -m u32 --u32 0=1,
        4 filter INPUT -m u32 --u32 0<1=1
        4 filter INPUT -m u32 --u32 0|1=1
        4 filter INPUT -m u32 --u32 "0 1=1"
        4 filter INPUT -m u32 --u32 "0=1 2"
        4 filter INPUT -m u32 --u32 08=1
        4 filter INPUT -m u32 --u32 0xg=1
        4 filter INPUT -m u32 --u32 -1=1
        4 filter INPUT -m u32 --u32 4294967296=1
        4 filter INPUT -m u32 --u32 0=1:
        4 filter INPUT -m u32 --u32 0<<32=1
        4 filter INPUT -m u32 --u32 0>>0x20=1
        4 filter INPUT -m u32 --u32 "1&2&3&4&5&6&7&8&9&10&11=1"
        4 filter INPUT -m u32 --u32 "0=1,2,3,4,5,6,7,8,9,10,11"
        4 filter INPUT -m u32 --u32 "1=1&&2=2&&3=3&&4=4&&5=5&&6=6&&7=7&&8=8&&9=9&&10=10&&11=11"
        4 filter INPUT -m bpf --bytecode ""
        4 filter INPUT -m bpf --bytecode 1
        4 filter INPUT -m bpf --bytecode "0,6 0 0 0"
        4 filter INPUT -m bpf --bytecode "65,6 0 0 0"
        4 filter INPUT -m bpf --bytecode "2,6 0 0 0"
        4 filter INPUT -m bpf --bytecode "1,6 0 0 0,6 0 0 0"
        4 filter INPUT -m bpf --bytecode "1,6 0 0"
        4 filter INPUT -m bpf --bytecode "2,6 0 0 0,,"
        4 filter INPUT -m bpf --bytecode "1;6 0 0 0"
        4 filter INPUT -m cluster --cluster-total-nodes 2 --cluster-local-node 3 --cluster-hash-seed 1
        4 filter INPUT -m cluster --cluster-total-nodes 2 --cluster-local-nodemask 4 --cluster-hash-seed 1
        4 filter INPUT -m cluster --cluster-total-nodes 32 --cluster-local-nodemask 33 --cluster-hash-seed 1
        4 filter INPUT -m cluster --cluster-total-nodes 33 --cluster-local-node 1 --cluster-hash-seed 1
        4 filter INPUT -m cluster --cluster-total-nodes 2 --cluster-local-node 0 --cluster-hash-seed 1
        6 filter INPUT -m ah --ahlen 1:2
        6 filter INPUT -m dst --dst-len 4294967296
        6 filter INPUT -m dst --dst-opts 0:5
        6 filter INPUT -m hbh --hbh-opts 1,,2
        6 filter INPUT -m hbh --hbh-opts 1:,2
        6 filter INPUT -m hbh --hbh-opts x
        6 filter INPUT -m hbh --hbh-opts 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17
        6 filter INPUT -m hbh --hbh-opts 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16:1
        6 filter INPUT -m frag --fragid 1:2:3
        6 filter INPUT -m frag --fraglen x
        6 filter INPUT -m ipv6header --header tcp
        6 filter INPUT -m ipv6header --header HOP
        6 filter INPUT -m ipv6header --header 1
        6 filter INPUT -p mh --mh-type 256
        6 filter INPUT -p mh --mh-type 7:5
        6 filter INPUT -p mh --mh-type binding-updates
        6 filter INPUT -m rt --rt-0-res --rt-type 0
        6 filter INPUT -m rt ! --rt-type 0 --rt-0-res
        6 filter INPUT -m rt --rt-type 1 --rt-0-addrs ::1
        6 filter INPUT -m rt --rt-type 0 --rt-0-addrs ::1,
        6 filter INPUT -m rt --rt-type 0 --rt-0-not-strict
        6 filter INPUT -m rt --rt-type 0 --rt-0-addrs ::1,::2,::3,::4,::5,::6,::7,::8,::9,::a,::b,::c,::d,::e,::f,::,::1
        6 filter INPUT -m srh --srh-next-hdr 256
        6 filter INPUT -m srh --srh-tag 65536
        4 mangle INPUT -j ECN --ecn-tcp-cwr 1
        4 mangle INPUT -p udp -j ECN --ecn-tcp-remove
        4 mangle INPUT -p tcp -j ECN --ecn-tcp-cwr 2
        4 mangle INPUT -p tcp -j ECN --ecn-ip-ect 4
        6 mangle PREROUTING -j DNPT --src-pfx fd00::1/64 --dst-pfx fd01::/64
        6 mangle PREROUTING -j DNPT --src-pfx fd00::/65 --dst-pfx fd01::/64
        6 mangle PREROUTING -j DNPT --src-pfx fd00:: --dst-pfx fd01::/64
        4 filter INPUT -j HMARK --hmark-rnd 1 --hmark-mod 1 --hmark-offset 1
        4 filter INPUT -j HMARK --hmark-tuple src --hmark-rnd 1 --hmark-mod 0
        4 filter INPUT -j HMARK --hmark-tuple src,, --hmark-rnd 1 --hmark-mod 1
        4 filter INPUT -j HMARK --hmark-tuple source --hmark-rnd 1 --hmark-mod 1
        4 filter INPUT -j HMARK --hmark-tuple spi,sport --hmark-rnd 1 --hmark-mod 1
        4 filter INPUT -j HMARK --hmark-tuple src --hmark-src-prefix 24 --hmark-rnd 1 --hmark-mod 1
        4 filter INPUT -j HMARK --hmark-spi 1 --hmark-sport 2 --hmark-rnd 1 --hmark-mod 1
        4 filter INPUT -j HMARK --hmark-sport 65536 --hmark-rnd 1 --hmark-mod 1
        4 filter INPUT -j IDLETIMER --timeout 0 --label fwn-zero
        4 filter INPUT -j IDLETIMER --timeout 2147483 --label fwn-long
        4 filter INPUT -j IDLETIMER --timeout 5 --label ""
        4 filter INPUT -j IDLETIMER --timeout 5 --label power
        4 filter INPUT -j IDLETIMER --timeout 5 --label a/b
        4 filter INPUT -p tcp -j SYNPROXY --mss x
        4 mangle INPUT -p tcp -j TCPOPTSTRIP --strip-options 1
        4 mangle INPUT -p tcp -j TCPOPTSTRIP --strip-options 256
        4 mangle INPUT -p tcp -j TCPOPTSTRIP --strip-options 2,mss
        4 mangle INPUT -p tcp -j TCPOPTSTRIP --strip-options mss,
        4 mangle INPUT -p tcp -j TCPOPTSTRIP --strip-options MSS
        "#,
    );
    let mut taken = String::new();
    for case in &refused {
        let Case { family, text, .. } = case;
        match encode_native(&case.rule, *family, &CONTEXT) {
            Err(NativeError::Wrong(_)) => {}
            other => {
                let _ = writeln!(taken, "native: {family} `{text}`: {}", other.is_ok());
            }
        }
        match encode_rules(&[case.input()], &|| Ok(())) {
            Err(EncodeError::Refused(_)) => {}
            other => {
                let _ = writeln!(taken, "iptables: {family} `{text}`: {:?}", other.err());
            }
        }
    }
    assert!(taken.is_empty(), "{taken}");
}

/// A number in one of the spellings of C.
fn number() -> impl Strategy<Value = String> {
    (prop_oneof![any::<u32>(), 0..64_u32], 0..3).prop_map(|(number, spelling)| match spelling {
        0 => number.to_string(),
        1 => format!("{number:#x}"),
        _ => format!("0{number:o}"),
    })
}

/// `A`, `A:B`, `A:` or `:B`; A may be greater than B.
fn number_range() -> impl Strategy<Value = String> {
    prop_oneof![
        number(),
        (number(), number()).prop_map(|(first, last)| format!("{first}:{last}")),
        number().prop_map(|first| format!("{first}:")),
        number().prop_map(|last| format!(":{last}")),
    ]
}

/// Tests of `u32`, with spaces here and there. No more than 1024 bytes: iptables-restore takes no longer word.
fn u32_tests() -> impl Strategy<Value = String> {
    let operator = |operators: &[&'static str]| prop::sample::select(operators.to_vec());
    let step = prop_oneof![
        (operator(&["&", "@", " & ", " @"]), number())
            .prop_map(|(operator, number)| operator.to_owned() + &number),
        (operator(&["<<", ">>", " << ", ">> "]), 0..32_u32)
            .prop_map(|(operator, bits)| format!("{operator}{bits}")),
    ];
    let location =
        (number(), prop::collection::vec(step, 0..6)).prop_map(|(first, rest)| first + &rest.concat());
    let value =
        prop_oneof![number(), (number(), number()).prop_map(|(first, last)| format!("{first} :{last}"))];
    let values = prop::collection::vec(value, 1..=5).prop_map(|values| values.join(", "));
    let test = (location, values).prop_map(|(location, values)| format!("{location} = {values}"));
    prop::collection::vec(test, 1..=3).prop_map(|tests| tests.join(" && "))
}

/// An option with its value, or nothing.
fn option(name: &'static str, value: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    prop::option::of(negatable(value.prop_map(move |value| format!("--{name} {value}"))))
        .prop_map(Option::unwrap_or_default)
}

/// `--NAME` or nothing.
fn flag(name: &'static str) -> impl Strategy<Value = String> {
    any::<bool>().prop_map(move |given| if given { format!("--{name}") } else { String::new() })
}

fn rare_rule() -> impl Strategy<Value = String> {
    let joined = |words: Vec<String>| words.join(" ");
    let address = || any::<std::net::Ipv6Addr>().prop_map(|address| address.to_string());
    let list = |words: Vec<String>| words.join(",");
    let types =
        prop::sample::subsequence(vec!["request", "DATA", "Ack", "close", "INVALID", "SYNCACK"], 1..=6);
    let tcp_option = || prop::sample::subsequence((2..=255_u8).collect::<Vec<_>>(), 1..40);
    let hop_option = (1..=255_u8, prop::option::of(any::<u8>())).prop_map(|(kind, length)| match length {
        Some(length) => format!("{kind}:{length}"),
        None => kind.to_string(),
    });
    let tuple = prop::sample::subsequence(vec!["ct", "src", "dst", "sport", "dport", "proto"], 1..=6);
    prop_oneof![
        negatable(u32_tests().prop_map(|tests| format!("--u32 {}", quoted(&tests))))
            .prop_map(|tests| format!("filter INPUT -m u32 {tests}")),
        (option("sport", port_range()), option("dport", port_range()), option("dccp-types", types.prop_map(|types| types.join(","))))
            .prop_map(|(source, destination, types)| format!("filter INPUT -p dccp -m dccp {source} {destination} {types}")),
        (1..=32_u32).prop_flat_map(|total| (Just(total), 1..=total, any::<(bool, u32)>())).prop_map(|(total, node, (not, seed))| {
            let not = if not { "!" } else { "" };
            format!("filter INPUT -m cluster --cluster-total-nodes {total} {not} --cluster-local-node {node} --cluster-hash-seed {seed}")
        }),
        (option("ahspi", number_range()), option("ahlen", number()), flag("ahres"))
            .prop_map(|(spis, length, reserved)| format!("6 filter INPUT -m ah {spis} {length} {reserved}")),
        (option("fragid", number_range()), option("fraglen", number()), flag("fragres"), flag("fragfirst"), flag("fragmore"))
            .prop_map(|(ids, length, reserved, first, more)| format!("6 filter INPUT -m frag {ids} {length} {reserved} {first} {more}")),
        (option("hbh-len", number()), prop::collection::vec(hop_option, 1..16).prop_map(list))
            .prop_map(|(length, options)| format!("6 filter INPUT -m hbh {length} --hbh-opts {options}")),
        (option("rt-segsleft", number_range()), option("rt-len", number()), prop::collection::vec(address(), 1..=16).prop_map(list), flag("rt-0-res"))
            .prop_map(|(left, length, addresses, reserved)| {
                format!("6 filter INPUT -m rt --rt-type 0 {left} {length} --rt-0-addrs {addresses} {reserved}")
            }),
        (
            ["srh-next-hdr", "srh-hdr-len-eq", "srh-segs-left-gt", "srh-last-entry-lt", "srh-tag"]
                .map(|name| option(name, any::<u8>().prop_map(|number| number.to_string()))),
            ["srh-psid", "srh-nsid", "srh-lsid"].map(|name| {
                option(name, (address(), 0..=128_u8).prop_map(|(address, length)| format!("{address}/{length}")))
            }),
        )
            .prop_map(move |(numbers, segments)| {
                format!("6 filter INPUT -m srh {} {}", joined(numbers.to_vec()), joined(segments.to_vec()))
            }),
        (tuple, any::<u32>(), 1..=u32::MAX, any::<u32>()).prop_map(|(tuple, seed, modulus, offset)| {
            let tuple = tuple.join(",");
            format!("filter INPUT -j HMARK --hmark-tuple {tuple} --hmark-rnd {seed} --hmark-mod {modulus} --hmark-offset {offset}")
        }),
        (0..=32_u8, 0..=32_u8, any::<(u16, u16, u16, u32)>()).prop_map(|(source, destination, (port, mask, protocol, seed))| {
            format!(
                "filter INPUT -j HMARK --hmark-src-prefix {source} --hmark-dst-prefix {destination} --hmark-dport {port} \
                 --hmark-sport-mask {mask} --hmark-proto-mask {protocol} --hmark-rnd {seed} --hmark-mod 7"
            )
        }),
        tcp_option().prop_map(|kinds| {
            let kinds: Vec<_> = kinds.iter().map(ToString::to_string).collect();
            format!("mangle INPUT -p tcp -j TCPOPTSTRIP --strip-options {}", kinds.join(","))
        }),
        (flag("sack-perm"), flag("timestamp"), flag("ecn"), any::<(u8, u16)>()).prop_map(|(sack, time, ecn, (scale, size))| {
            format!("filter INPUT -p tcp -j SYNPROXY {sack} {time} {ecn} --wscale {scale} --mss {size}")
        }),
    ]
}

/// Words that are nearly what the extensions take.
fn doubtful_rule() -> impl Strategy<Value = String> {
    let soup = |parts: &[&str], most| {
        let part = prop::sample::select(parts.iter().map(|part| (*part).to_owned()).collect::<Vec<_>>());
        prop::collection::vec(part, 1..most).prop_map(|parts| parts.concat())
    };
    let u32_parts =
        ["0", "1", "0x3c", "08", "=", "=", "&", "&&", "<<", "@", ",", ":", " ", "=1", "4294967296", "x"];
    let bpf_parts = ["1,", "2,", "6 0 0 0,", " 6 0 0 0,", "6 0 0,", ",", "x,"];
    let options = soup(&["1,", "0,", ",", "3:2,", "3:,", "0:1,", "x,", "0x5,", "07:"], 18);
    prop_oneof![
        soup(&u32_parts, 8).prop_map(|tests| format!("filter INPUT -m u32 --u32 {}", quoted(&tests))),
        soup(&bpf_parts, 5)
            .prop_map(|program| format!("filter INPUT -m bpf --bytecode {}", quoted(&program))),
        options.prop_map(|options| format!("6 filter INPUT -m dst --dst-opts {}", quoted(&(options + "9")))),
        soup(&["5", "1", ":", ":", "bu", "HOT", "home", "256", "x"], 4)
            .prop_map(|types| format!("6 filter INPUT -p mh -m mh --mh-type {}", quoted(&types))),
        soup(&["mss", ",", "2", "255", "md5", "1", ",8"], 5).prop_map(|kinds| format!(
            "4 mangle INPUT -p tcp -j TCPOPTSTRIP --strip-options {}",
            quoted(&kinds)
        )),
        soup(&["1", "2", ":", "0x", "9", "4294967295"], 4)
            .prop_map(|ids| format!("6 filter INPUT -m frag --fragid {}", quoted(&ids))),
    ]
}

proptest! {
    // each case is one run of the two programs over many rules
    #![proptest_config(ProptestConfig { cases: 6, max_shrink_iters: 200, ..ProptestConfig::default() })]
    #[test]
    fn any_rare_rule_comes_out_as_iptables_writes_it(rules in prop::collection::vec(rare_rule(), 100)) {
        compare_with_iptables(&cases(&rules.join("\n")));
    }
}

proptest! {
    // each case is a run of one program over one rule
    #![proptest_config(ProptestConfig { cases: 150, max_shrink_iters: 200, ..ProptestConfig::default() })]
    #[test]
    fn what_is_doubtful_is_taken_and_refused_as_by_iptables(rule in doubtful_rule()) {
        for case in cases(&rule) {
            let ours = encode_native(&case.rule, case.family, &CONTEXT);
            match (&ours, encode_rules(&[case.input()], &|| Ok(()))) {
                (Ok(ours), Ok(theirs)) => prop_assert_eq!(ours, &theirs[0]),
                (Err(NativeError::Wrong(_)), Err(EncodeError::Refused(_))) => {}
                (_, theirs) => prop_assert!(false, "`{}`: {:?}, iptables: {:?}", case.text, ours, theirs),
            }
        }
    }
}
