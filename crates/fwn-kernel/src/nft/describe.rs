//! A rule's expressions in words like those of iptables: for rules of which nobody wrote down the text. What has no
//! word here is named by its expression, so that nothing is left out in silence. Pure.

use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

use fwn_plan::netfilter::{Family, Policy};

use super::constants as c;
use super::decode::{Expression, decode_expressions};
use crate::netlink::attr::Malformed;

// enum nft_payload_attributes, nft_payload_bases, nft_meta_attributes, nft_meta_keys, nft_cmp_attributes, nft_bitwise_attributes
const NFTA_PAYLOAD_BASE: u16 = 2;
const NFTA_PAYLOAD_OFFSET: u16 = 3;
const NFTA_PAYLOAD_LEN: u16 = 4;
const NFT_PAYLOAD_NETWORK_HEADER: u32 = 1;
const NFT_PAYLOAD_TRANSPORT_HEADER: u32 = 2;
const NFTA_META_KEY: u16 = 2;
const NFT_META_IIFNAME: u32 = 6;
const NFT_META_OIFNAME: u32 = 7;
const NFT_META_L4PROTO: u32 = 16;
const NFTA_CMP_OP: u16 = 2;
const NFTA_CMP_DATA: u16 = 3;
const NFT_CMP_EQ: u32 = 0;
const NFT_CMP_NEQ: u32 = 1;
const NFTA_BITWISE_MASK: u16 = 4;
const NFTA_DATA_VALUE: u16 = 1;
/// `NFTA_MATCH_NAME` and `NFTA_TARGET_NAME`
const NFTA_XT_NAME: u16 = 1;
/// `NFT_RETURN`, `NFT_JUMP`, `NFT_GOTO` (`enum nft_verdicts`)
const NFT_RETURN: u32 = (-5_i32).cast_unsigned();
const NFT_JUMP: u32 = (-3_i32).cast_unsigned();
const NFT_GOTO: u32 = (-4_i32).cast_unsigned();

/// What the register holds that the next comparison looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loaded {
    In,
    Out,
    Protocol,
    Source,
    Destination,
    SourcePort,
    DestinationPort,
    /// Both, one after the other.
    Ports,
    Other,
}

/// A rule in words: `-s 10.0.0.0/8 -p tcp -m set -j DROP`.
///
/// # Errors
/// The bytes are no list of expressions.
pub fn describe(family: Family, list: &[u8]) -> Result<String, Malformed> {
    let mut words = String::new();
    let mut loaded = Loaded::Other;
    let mut mask: Option<Vec<u8>> = None;
    for expression in decode_expressions(list) {
        let expression = expression?;
        let mut push = |word: &str| {
            let space = if words.is_empty() { "" } else { " " };
            // a String takes everything
            let _ = write!(words, "{space}{word}");
        };
        match expression.name {
            "meta" | "payload" => {
                loaded = load(family, &expression)?;
                mask = None;
                if loaded == Loaded::Other {
                    push(&format!("[{}]", expression.name));
                }
            }
            "bitwise" => mask = data_of(&expression, NFTA_BITWISE_MASK)?,
            "cmp" => {
                let value = data_of(&expression, NFTA_CMP_DATA)?.unwrap_or_default();
                let operator = expression.data.clone().find(NFTA_CMP_OP)?.ok_or(Malformed)?.be32()?;
                if let Some(word) = comparison(family, loaded, operator, &value, mask.take().as_deref()) {
                    push(&word);
                }
            }
            "match" => push(&format!("-m {}", xt_name(&expression)?)),
            "target" => push(&format!("-j {}", xt_name(&expression)?)),
            "immediate" => {
                if let Some(word) = verdict(&expression)? {
                    push(&word);
                }
            }
            "counter" => {}
            other => push(&format!("[{other}]")),
        }
    }
    Ok(words)
}

fn load(family: Family, expression: &Expression<'_>) -> Result<Loaded, Malformed> {
    let number = |kind| expression.data.clone().find(kind)?.map_or(Ok(u32::MAX), |attr| attr.be32());
    if expression.name == "meta" {
        return Ok(match number(NFTA_META_KEY)? {
            NFT_META_IIFNAME => Loaded::In,
            NFT_META_OIFNAME => Loaded::Out,
            NFT_META_L4PROTO => Loaded::Protocol,
            _ => Loaded::Other,
        });
    }
    let place = (number(NFTA_PAYLOAD_BASE)?, number(NFTA_PAYLOAD_OFFSET)?, number(NFTA_PAYLOAD_LEN)?);
    Ok(match (family, place) {
        (Family::Ipv4, (NFT_PAYLOAD_NETWORK_HEADER, 9, 1)) => Loaded::Protocol,
        (Family::Ipv4, (NFT_PAYLOAD_NETWORK_HEADER, 12, 1..=4))
        | (Family::Ipv6, (NFT_PAYLOAD_NETWORK_HEADER, 8, 1..=16)) => Loaded::Source,
        (Family::Ipv4, (NFT_PAYLOAD_NETWORK_HEADER, 16, 1..=4))
        | (Family::Ipv6, (NFT_PAYLOAD_NETWORK_HEADER, 24, 1..=16)) => Loaded::Destination,
        (_, (NFT_PAYLOAD_TRANSPORT_HEADER, 0, 2)) => Loaded::SourcePort,
        (_, (NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2)) => Loaded::DestinationPort,
        (_, (NFT_PAYLOAD_TRANSPORT_HEADER, 0, 4)) => Loaded::Ports,
        _ => Loaded::Other,
    })
}

fn data_of(expression: &Expression<'_>, kind: u16) -> Result<Option<Vec<u8>>, Malformed> {
    let Some(data) = expression.data.clone().find(kind)? else { return Ok(None) };
    Ok(data.nested().find(NFTA_DATA_VALUE)?.map(|value| value.value.to_vec()))
}

/// `None` where the loading of the register has said it already.
fn comparison(
    family: Family,
    loaded: Loaded,
    operator: u32,
    value: &[u8],
    mask: Option<&[u8]>,
) -> Option<String> {
    let bang = match operator {
        NFT_CMP_EQ => "",
        NFT_CMP_NEQ => "! ",
        // a range
        _ if loaded != Loaded::Other => return Some("[cmp]".to_owned()),
        _ => return None,
    };
    let (option, text) = match loaded {
        Loaded::Other => return None,
        Loaded::In => ("-i", interface(value)),
        Loaded::Out => ("-o", interface(value)),
        Loaded::Protocol => ("-p", protocol(value.first().copied()?)),
        Loaded::Source => ("-s", network(family, value, mask)?),
        Loaded::Destination => ("-d", network(family, value, mask)?),
        Loaded::SourcePort => ("--sport", port(value)?),
        Loaded::DestinationPort => ("--dport", port(value)?),
        Loaded::Ports => {
            let (source, destination) = value.split_at_checked(2)?;
            ("--sport", format!("{} --dport {}", port(source)?, port(destination)?))
        }
    };
    Some(format!("{bang}{option} {text}"))
}

/// A whole name ends in a zero byte; without one, it is the beginning of names.
fn interface(value: &[u8]) -> String {
    let name = value.split(|byte| *byte == 0).next().unwrap_or_default();
    let more = if name.len() == value.len() { "+" } else { "" };
    String::from_utf8_lossy(name).into_owned() + more
}

fn protocol(number: u8) -> String {
    match number {
        1 => "icmp".to_owned(),
        6 => "tcp".to_owned(),
        17 => "udp".to_owned(),
        58 => "ipv6-icmp".to_owned(),
        132 => "sctp".to_owned(),
        other => other.to_string(),
    }
}

fn port(value: &[u8]) -> Option<String> {
    Some(u16::from_be_bytes(value.try_into().ok()?).to_string())
}

/// As many bytes as the prefix has are compared; a mask cuts the last of them.
fn network(family: Family, value: &[u8], mask: Option<&[u8]>) -> Option<String> {
    let bits = match mask {
        Some(mask) => mask.iter().map(|byte| byte.leading_ones()).sum(),
        None => value.len() as u32 * 8,
    };
    let (address, whole) = match family {
        Family::Ipv4 => (Ipv4Addr::from(padded::<4>(value)?).to_string(), 32),
        Family::Ipv6 => (Ipv6Addr::from(padded::<16>(value)?).to_string(), 128),
    };
    Some(if bits == whole { address } else { format!("{address}/{bits}") })
}

fn padded<const N: usize>(value: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    bytes.get_mut(..value.len())?.copy_from_slice(value);
    Some(bytes)
}

fn xt_name<'a>(expression: &Expression<'a>) -> Result<&'a str, Malformed> {
    expression.data.clone().find(NFTA_XT_NAME)?.ok_or(Malformed)?.string()
}

fn verdict(expression: &Expression<'_>) -> Result<Option<String>, Malformed> {
    let Some(data) = expression.data.clone().find(c::NFTA_IMMEDIATE_DATA)? else { return Ok(None) };
    let Some(verdict) = data.nested().find(c::NFTA_DATA_VERDICT)? else {
        return Ok(Some("[immediate]".to_owned()));
    };
    let verdict = verdict.nested();
    let code = verdict.clone().find(c::NFTA_VERDICT_CODE)?.ok_or(Malformed)?.be32()?;
    let chain = verdict.find(c::NFTA_VERDICT_CHAIN)?.map(|chain| chain.string()).transpose()?;
    Ok(Some(match (code, chain) {
        (NFT_JUMP, Some(chain)) => format!("-j {chain}"),
        (NFT_GOTO, Some(chain)) => format!("-g {chain}"),
        (NFT_RETURN, _) => "-j RETURN".to_owned(),
        (code, _) => match c::policy_of(code) {
            Some(policy) => format!("-j {}", Policy::name(policy)),
            None => format!("[verdict {code}]"),
        },
    }))
}

#[cfg(test)]
mod tests {
    use fwn_testkit::Netns;
    use proptest::prelude::*;

    use super::*;
    use crate::netlink::socket::{NetlinkSocket, Protocol};
    use crate::nft::observe::observe;

    #[test]
    fn the_usual_words_are_those_of_iptables() {
        let netns = Netns::new();
        netns.sh("iptables -N web
             iptables -A INPUT -s 10.1.2.3 -d 10.0.0.0/8 -i eth0 -p tcp -j DROP
             iptables -A INPUT -s 10.128.0.0/9 ! -p udp -j RETURN
             iptables -A INPUT ! -s 10.1.2.0/24 ! -i lo -j web
             iptables -A INPUT -g web
             iptables -A INPUT -j ACCEPT
             ip6tables -A FORWARD -s fd00::/8 -d fd00::1 -p udp -j DROP
             ip6tables -A FORWARD -s fd00::/9 -j ACCEPT
             iptables -A OUTPUT -o eth+ -p tcp --sport 7 --dport 80 -m multiport --ports 1,2 -j REJECT
             iptables -A OUTPUT -p udp --dport 1:2 -m mark --mark 3 -m limit --limit 3/sec");
        let ruleset = netns
            .run(|| observe(&mut NetlinkSocket::open(Protocol::Netfilter).expect("a socket")))
            .expect("readable");
        let described = |family, chain| -> Vec<String> {
            let chain = ruleset.table(family, "filter").and_then(|table| table.chain(chain)).expect("there");
            chain.rules.iter().map(|rule| describe(family, &rule.expressions).expect("well formed")).collect()
        };
        assert_eq!(
            described(Family::Ipv4, "INPUT"),
            [
                "-i eth0 -p tcp -s 10.1.2.3 -d 10.0.0.0/8 -j DROP",
                "! -p udp -s 10.128.0.0/9 -j RETURN",
                "! -i lo ! -s 10.1.2.0/24 -j web",
                "-g web",
                "-j ACCEPT",
            ]
        );
        assert_eq!(
            described(Family::Ipv6, "FORWARD"),
            ["-p udp -s fd00::/8 -d fd00::1 -j DROP", "-s fd00::/9 -j ACCEPT"]
        );
        assert_eq!(
            described(Family::Ipv4, "OUTPUT"),
            ["-o eth+ -p tcp --sport 7 --dport 80 -m multiport -j REJECT", "-p udp [range] [meta] [limit]"]
        );
    }

    proptest! {
        #[test]
        fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = (describe(Family::Ipv4, &bytes), describe(Family::Ipv6, &bytes));
        }
    }
}
