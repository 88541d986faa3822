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
