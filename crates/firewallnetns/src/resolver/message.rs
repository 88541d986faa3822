//! DNS messages: a question to bytes, bytes to the answer of that question and no other. No sockets here.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, TYPE};

/// Aliases are followed so far.
const MAX_ALIASES: usize = 16;

/// Which addresses are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// IPv4
    A,
    /// IPv6
    Aaaa,
}

/// What a server says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// These, perhaps none: the name exists.
    Addresses(BTreeSet<IpAddr>),
    /// There is no such name.
    NotFound,
    /// The aliases lead in a circle.
    AliasLoop,
    /// It did not fit; ask by TCP.
    Truncated,
    /// The server would not or could not.
    Failure(&'static str),
}

impl Kind {
    fn of_record(self) -> TYPE {
        match self {
            Self::A => TYPE::A,
            Self::Aaaa => TYPE::AAAA,
        }
    }
}

/// A question; `None` where the name is none.
pub(super) fn encode_query(id: u16, name: &str, kind: Kind) -> Option<Vec<u8>> {
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    let name = Name::new(name).ok()?;
    packet.questions.push(Question::new(
        name,
        QTYPE::TYPE(kind.of_record()),
        QCLASS::CLASS(CLASS::IN),
        false,
    ));
    packet.build_bytes_vec().ok()
}

/// The answer to the question `name` and `kind` that was sent with one of `ids`; `None` if it is anything else.
pub(super) fn decode_answer(bytes: &[u8], ids: &[u16], name: &str, kind: Kind) -> Option<Answer> {
    // RFC 1035, 4.1.1: id, then QR (0x80) and TC (0x02). A message that was cut may not parse.
    let [high, low, flags, ..] = bytes else { return None };
    if !ids.contains(&u16::from_be_bytes([*high, *low])) || flags & 0x80 == 0 {
        return None;
    }
    if flags & 0x02 != 0 {
        return Some(Answer::Truncated);
    }
    let packet = Packet::parse(bytes).ok()?;
    let [question] = packet.questions.as_slice() else { return None };
    let asked = question.qtype == QTYPE::TYPE(kind.of_record())
        && question.qclass == QCLASS::CLASS(CLASS::IN)
        && same(&question.qname, name);
    if !asked {
        return None;
    }
    Some(match packet.rcode() {
        RCODE::NoError => follow(&packet, name, kind),
        RCODE::NameError => Answer::NotFound,
        RCODE::FormatError => Answer::Failure("format error"),
        RCODE::ServerFailure => Answer::Failure("server failure"),
        RCODE::NotImplemented => Answer::Failure("query not implemented"),
        RCODE::Refused => Answer::Failure("query refused"),
        _ => Answer::Failure("unexpected answer code"),
    })
}

/// The addresses at the end of the aliases. Records that lie beside the way are not looked at.
fn follow(packet: &Packet<'_>, name: &str, kind: Kind) -> Answer {
    let mut owner = name.to_owned();
    for _ in 0..=MAX_ALIASES {
        let records =
            packet.answers.iter().filter(|record| record.class == CLASS::IN && same(&record.name, &owner));
        let mut addresses = BTreeSet::new();
        let mut alias = None;
        for record in records {
            match (&record.rdata, kind) {
                (RData::A(a), Kind::A) => drop(addresses.insert(Ipv4Addr::from(a.address).into())),
                (RData::AAAA(aaaa), Kind::Aaaa) => {
                    addresses.insert(Ipv6Addr::from(aaaa.address).into());
                }
                (RData::CNAME(cname), _) => alias = Some(cname.0.to_string()),
                _ => {}
            }
        }
        match alias {
            Some(next) if addresses.is_empty() => owner = next,
            _ => return Answer::Addresses(addresses),
        }
    }
    Answer::AliasLoop
}

fn same(name: &Name<'_>, text: &str) -> bool {
    name.to_string().trim_end_matches('.').eq_ignore_ascii_case(text.trim_end_matches('.'))
}
