//! The digest of a rule: equal as long as the rule says the same, whatever passed through it.

use std::borrow::Cow;
use std::fmt;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::constants as c;
use super::decode::{Expression, decode_expressions};
use super::word_hash::WordHash;
use crate::netlink::attr::{Attr, Malformed};

/// Digest of a rule's expressions without what changes by itself.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(u128);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; 32];
        for (pair, byte) in text.as_chunks_mut::<2>().0.iter_mut().zip(self.0.to_be_bytes()) {
            *pair = [byte >> 4, byte & 0xf].map(|digit| DIGITS[usize::from(digit)]);
        }
        // hexadecimal digits are characters
        serializer.serialize_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        u128::from_str_radix(&text, 16).map(Self).map_err(D::Error::custom)
    }
}

/// What a rule has in common with others that differ only in bytes that the kernel keeps without looking at them: what
/// packets are compared with (addresses, ports, protocols), and comments. It takes and gives back all rules of one form
/// alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Form(u128);

/// What a rule says, and what it has in common with others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sketch {
    /// What it says.
    pub digest: Digest,
    /// What it has in common with others.
    pub form: Form,
}

/// The digest of a rule's expressions, as the kernel gives them back. What was sent has the same one where it was written in
/// that form; a kernel may still add defaults, or clear its own parts of xt structures.
///
/// # Errors
/// The bytes are no list of expressions.
pub fn digest(expressions: &[u8]) -> Result<Digest, Malformed> {
    digest_with(expressions, |_| Ok(()))
}

/// The same, and shows every expression to `each` on the way.
///
/// # Errors
/// The bytes are no list of expressions; what `each` returns.
pub fn digest_with<'a>(
    expressions: &'a [u8],
    mut each: impl FnMut(&Expression<'a>) -> Result<(), Malformed>,
) -> Result<Digest, Malformed> {
    let mut hash = WordHash::new();
    for expression in decode_expressions(expressions) {
        let expression = expression?;
        each(&expression)?;
        hash.field(expression.name.as_bytes());
        for attr in expression.data.clone() {
            add(&mut hash, expression.name, &attr?)?;
        }
    }
    Ok(Digest(hash.finish()))
}

/// Digest and form of a rule's expressions, as they are to be sent.
///
/// # Errors
/// The bytes are no list of expressions.
pub fn sketch(expressions: &[u8]) -> Result<Sketch, Malformed> {
    let mut form = WordHash::new();
    let digest = digest_with(expressions, |expression| {
        let kept = kept(expression)?;
        form.field(expression.name.as_bytes());
        for attr in expression.data.clone() {
            let attr = attr?;
            if kept.contains(&attr.kind) {
                form.word(u64::from(attr.kind));
                form.word(attr.value.len() as u64);
            } else {
                add(&mut form, expression.name, &attr)?;
            }
        }
        Ok(())
    })?;
    Ok(Sketch { digest, form: Form(form.finish()) })
}

fn add(hash: &mut WordHash, expression: &str, attr: &Attr<'_>) -> Result<(), Malformed> {
    match state(expression, attr)? {
        State::None => {
            hash.word(u64::from(attr.kind));
            hash.field(attr.value);
        }
        State::Partly(configured) => {
            hash.word(u64::from(attr.kind));
            hash.word(u64::from(configured));
        }
        State::Wholly => {}
    }
    Ok(())
}

/// Attributes of an expression whose bytes the kernel keeps without looking at them: `cmp` and `range` compare packets with
/// them (`nft_cmp.c`, `nft_range.c`), `comment` has no code but for itself (`xt_comment.c`, all in `net/netfilter`).
fn kept(expression: &Expression<'_>) -> Result<&'static [u16], Malformed> {
    Ok(match expression.name {
        "cmp" => &[c::NFTA_CMP_DATA],
        "range" => &[c::NFTA_RANGE_FROM_DATA, c::NFTA_RANGE_TO_DATA],
        "match" => match expression.data.clone().find(c::NFTA_MATCH_NAME)? {
            Some(name) if name.string()? == "comment" => &[c::NFTA_MATCH_INFO],
            _ => &[],
        },
        _ => &[],
    })
}

/// How much of an attribute changes by itself.
enum State {
    None,
    /// All but these bits.
    Partly(u32),
    Wholly,
}

/// `limit` and `connlimit` give back only how they were configured, and xt matches have their state cleared
/// (`nft_extension_dump_info`, `net/netfilter/nft_compat.c`).
fn state(expression: &str, attr: &Attr<'_>) -> Result<State, Malformed> {
    Ok(match (expression, attr.kind) {
        ("counter", c::NFTA_COUNTER_BYTES | c::NFTA_COUNTER_PACKETS) | ("quota", c::NFTA_QUOTA_CONSUMED) => {
            State::Wholly
        }
        // NFTA_LAST_SET, NFTA_LAST_MSECS: it has nothing else
        ("last", _) => State::Wholly,
        ("quota", c::NFTA_QUOTA_FLAGS) => State::Partly(attr.be32()? & c::NFT_QUOTA_F_INV),
        // NFTA_*_PAD: empty, and where it stands depends on the place in the answer
        _ if attr.value.is_empty() => State::Wholly,
        _ => State::None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::attr::AttrWriter;

    /// Name and attributes of an expression.
    type Written<'a> = (&'a str, &'a [(u16, &'a [u8])]);

    fn rule(expressions: &[Written<'_>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut writer = AttrWriter::new(&mut bytes);
        for (name, attrs) in expressions {
            writer.nest(c::NFTA_LIST_ELEM, |element| {
                element.string(c::NFTA_EXPR_NAME, name).nest(c::NFTA_EXPR_DATA, |data| {
                    for (kind, value) in *attrs {
                        data.bytes(*kind, value);
                    }
                });
            });
        }
        writer.finish().expect("short");
        bytes
    }

    fn digest_of(expressions: &[Written<'_>]) -> Digest {
        digest(&rule(expressions)).expect("well formed")
    }

    #[test]
    fn counters_and_quota_do_not_count() {
        let seen = |n: u8| {
            digest_of(&[
                ("counter", &[(1, &[0, 0, 0, 0, 0, 0, 0, n]), (2, &[n; 8])]),
                ("quota", &[(1, &[7; 8]), (2, &[0, 0, 0, if n > 0 { 2 } else { 0 }]), (4, &[n; 8])]),
                ("last", &[(1, &[0, 0, 0, n]), (2, &[n; 8])]),
            ])
        };
        assert_eq!(seen(0), seen(9));
    }

    #[test]
    fn everything_else_counts() {
        let rules: [&[Written<'_>]; 8] = [
            &[],
            &[("counter", &[])],
            &[("cmp", &[(1, &[1])])],
            &[("cmp", &[(1, &[2])])],
            &[("cmp", &[(2, &[1])])],
            &[("cmp", &[(1, &[1])]), ("counter", &[])],
            &[("quota", &[(1, &[7; 8]), (2, &[0, 0, 0, 0])])],
            &[("quota", &[(1, &[7; 8]), (2, &[0, 0, 0, 1])])],
        ];
        for (at, one) in rules.iter().enumerate() {
            for other in &rules[..at] {
                assert_ne!(digest_of(one), digest_of(other), "{one:?} {other:?}");
            }
        }
    }

    #[test]
    fn rules_of_one_form_differ_in_what_the_kernel_keeps_only() {
        fn sketch_of(expressions: &[Written<'_>]) -> Sketch {
            sketch(&rule(expressions)).expect("well formed")
        }
        let one: &[Written<'_>] = &[
            ("payload", &[(1, &[8; 4]), (2, &[1])]),
            ("cmp", &[(2, &[0]), (3, &[1, 2])]),
            ("range", &[(2, &[0]), (3, &[1]), (4, &[2])]),
            ("match", &[(1, b"comment\0"), (3, b"one")]),
        ];
        assert_eq!(sketch_of(one).digest, digest_of(one));
        let alike: &[Written<'_>] = &[
            ("payload", &[(1, &[8; 4]), (2, &[1])]),
            ("cmp", &[(2, &[0]), (3, &[7, 7])]),
            ("range", &[(2, &[0]), (3, &[7]), (4, &[7])]),
            ("match", &[(1, b"comment\0"), (3, b"two")]),
        ];
        assert_eq!(sketch_of(one).form, sketch_of(alike).form);
        assert_ne!(sketch_of(one).digest, sketch_of(alike).digest);
        let others: [&[Written<'_>]; 6] = [
            // another field, another operator, other lengths, another expression or match with the same bytes
            &[("payload", &[(1, &[8; 4]), (2, &[2])]), one[1], one[2], one[3]],
            &[one[0], ("cmp", &[(2, &[1]), (3, &[1, 2])]), one[2], one[3]],
            &[one[0], ("cmp", &[(2, &[0]), (3, &[1])]), one[2], one[3]],
            &[one[0], ("pmc", &[(2, &[0]), (3, &[1, 2])]), one[2], one[3]],
            &[one[0], one[1], one[2], ("match", &[(1, b"tnemmoc\0"), (3, b"one")])],
            &[one[0], one[1], one[2]],
        ];
        for other in others {
            assert_ne!(sketch_of(one).form, sketch_of(other).form, "{other:?}");
        }
        let length = |info| sketch_of(&[("match", &[(1, b"length\0"), (3, info)])]).form;
        assert_ne!(length(b"one"), length(b"two"));
    }

    #[test]
    fn a_digest_survives_json() {
        let digest = digest_of(&[("counter", &[])]);
        let text = serde_json::to_string(&digest).expect("text");
        assert_eq!(text, format!("\"{digest}\""));
        assert_eq!(serde_json::from_str::<Digest>(&text).expect("digest"), digest);
        assert!(serde_json::from_str::<Digest>("\"no\"").is_err());
    }
}
