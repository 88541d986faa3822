//! Wrong values of the extensions that are seldom seen.

use super::*;

#[test]
fn wrong_values_of_rare_extensions_are_named_where_they_stand() {
    let cases = [
        ("-p 33 -m dccp --dccp-types REQUST", "REQUST", "unknown DCCP type"),
        ("-p 33 -m dccp --dccp-option 0", "0", "not a number from 1 to 255"),
        ("-m u32 --u32 0<1=1", "0<1=1", "`0<1=1` needs `=` or one of `&`, `<<`, `>>`, `@` before `<1=1`"),
        ("-m u32 --u32 0<<32=1", "0<<32=1", "shifts by 32 bits"),
        ("-m u32 --u32 0=1&&", "0=1&&", "needs a number from 0 to 4294967295 at its end"),
        ("-m u32 --u32 \"0 = 1 2\"", "\"0 = 1 2\"", "needs `,` or `&&` before `2`"),
        (
            "-m u32 --u32 0=1,2,3,4,5,6,7,8,9,10,11",
            "0=1,2,3,4,5,6,7,8,9,10,11",
            "more than 10 values after a `=`",
        ),
        ("-m bpf --bytecode \"1,6 0 0\"", "\"1,6 0 0\"", "`6 0 0` is not an instruction"),
        ("-m bpf --bytecode \"2,6 0 0 0\"", "\"2,6 0 0 0\"", "has 1 instructions and is said to have 2"),
        (
            "-m cluster --cluster-total-nodes 2 --cluster-local-node 3 --cluster-hash-seed 1",
            "--cluster-local-node 3",
            "no such node among 2",
        ),
        ("-j HMARK --hmark-rnd 1 --hmark-mod 1", "-j HMARK", "needs `--hmark-tuple`"),
        (
            "-j HMARK --hmark-tuple src --hmark-src-prefix 24 --hmark-rnd 1 --hmark-mod 1",
            "--hmark-src-prefix 24",
            "is in `--hmark-tuple` before it",
        ),
        ("-j IDLETIMER --timeout 2147483 --label a", "2147483", "not a number from 1 to 2147482"),
        ("-j IDLETIMER --timeout 1 --label power", "power", "cannot be the label of a timer"),
        ("-p tcp -j TCPOPTSTRIP --strip-options mss,2", "mss,2", "`2` is there twice"),
        ("-j ECN --ecn-tcp-cwr 1", "-j ECN", "needs `-p tcp`"),
    ];
    for (text, words, message) in cases {
        let (found, said) = wrong(text, Family::Ipv4);
        assert_eq!(found, words, "`{text}`: {said}");
        assert!(said.contains(message), "`{text}`: {said}");
    }
}

#[test]
fn wrong_values_of_extension_headers_are_named_where_they_stand() {
    let cases = [
        ("-m hbh --hbh-opts 0:1", "0:1", "has no length"),
        ("-m ipv6header --header tcp", "tcp", "unknown header `tcp`"),
        ("-m rt --rt-0-res --rt-type 0", "--rt-0-res", "needs `--rt-type 0` before it"),
        ("-m rt --rt-type 0 --rt-0-not-strict", "--rt-0-not-strict", "needs `--rt-0-addrs` before it"),
        ("-m rt --rt-type 0 --rt-0-addrs ::1,10.0.0.1", "::1,10.0.0.1", "`10.0.0.1` is not an ipv6 address"),
        ("-p mh --mh-type bindng-update", "bindng-update", "unknown type of mobility header"),
        ("-j SNPT --src-pfx fd00::1/64 --dst-pfx fd01::/64", "fd00::1/64", "bits set behind its prefix"),
        ("-j SNPT --src-pfx fd00::/64 --dst-pfx fd01::/80", "fd01::/80", "longer than 64 bits"),
    ];
    for (text, words, message) in cases {
        let (found, said) = wrong(text, Family::Ipv6);
        assert_eq!(found, words, "`{text}`: {said}");
        assert!(said.contains(message), "`{text}`: {said}");
    }
}

/// iptables would store something other than what stands there.
#[test]
fn what_does_not_fit_is_not_cut_off() {
    for (text, words) in [
        ("-m hbh --hbh-opts 256", "256"),
        ("-m dst --dst-opts 5:256", "5:256"),
        ("-m bpf --bytecode \"1,65536 0 0 0\"", "\"1,65536 0 0 0\""),
        ("-m bpf --bytecode \"1,6 256 0 0\"", "\"1,6 256 0 0\""),
        ("-m bpf --bytecode \"1,6 0 0 0 7\"", "\"1,6 0 0 0 7\""),
        ("-p tcp -j SYNPROXY --mss 65536", "65536"),
        ("-p tcp -j SYNPROXY --wscale 256", "256"),
        ("-j HMARK --hmark-src-prefix 129 --hmark-rnd 1 --hmark-mod 1", "129"),
        ("-j IDLETIMER --timeout 1 --label 1234567890123456789012345678", "1234567890123456789012345678"),
    ] {
        assert_eq!(wrong(text, Family::Ipv6).0, words, "`{text}`");
    }
}
