//! Messages and expressions of nf_tables, bytes to types. Arbitrary bytes come in; an error or plain data goes
//! out, never a panic. Attributes that are not known are passed over: later kernels have more.

use fwn_plan::netfilter::{Family, Hook, Policy, Table};

use super::constants as c;
use crate::netlink::attr::{Attrs, Malformed};
use crate::netlink::message::{Message, NFGEN};

/// A table as the kernel tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableMessage {
    /// Its family.
    pub family: Family,
    /// Its name.
    pub name: String,
    /// Its handle.
    pub handle: u64,
    /// `enum nft_table_flags`
    pub flags: u32,
    /// Number of chains, sets, objects and flow tables in it.
    pub uses: u32,
    /// Its user data; empty where it has none.
    pub user_data: Vec<u8>,
}

/// A chain as the kernel tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainMessage {
    /// Its family.
    pub family: Family,
    /// Name of its table.
    pub table: String,
    /// Its name.
    pub name: String,
    /// Its handle.
    pub handle: u64,
    /// Where it is hooked in; `None` for a user chain.
    pub hook: Option<BaseHook>,
    /// Its policy; `None` for a user chain.
    pub policy: Option<Policy>,
    /// Number of rules in it and of jumps to it.
    pub uses: u32,
    /// Its user data; empty where it has none.
    pub user_data: Vec<u8>,
}

/// Where a base chain is hooked in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseHook {
    /// Number of the hook (`enum nf_inet_hooks`, `linux/netfilter.h`).
    pub number: u32,
    /// Its priority.
    pub priority: i32,
    /// `filter`, `nat` or `route`.
    pub kind: String,
}

impl BaseHook {
    /// Where iptables hooks in the built-in chain of a table.
    pub fn of(table: Table, hook: Hook) -> Self {
        let kind = table.chain_type(hook).to_owned();
        Self { number: hook.number(), priority: table.priority(hook), kind }
    }
}

/// A rule as the kernel tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleMessage<'a> {
    /// Its family.
    pub family: Family,
    /// Name of its table.
    pub table: &'a str,
    /// Name of its chain.
    pub chain: &'a str,
    /// Its handle.
    pub handle: u64,
    /// The list of expressions.
    pub expressions: &'a [u8],
    /// Its user data; empty where it has none.
    pub user_data: &'a [u8],
}

/// Reads the number of a generation (`NFT_MSG_NEWGEN`).
///
/// # Errors
/// There is none in it.
pub fn decode_generation(message: &Message<'_>) -> Result<u32, Malformed> {
    message.attrs(NFGEN)?.find(c::NFTA_GEN_ID)?.ok_or(Malformed)?.be32()
}

/// Reads a table (`NFT_MSG_NEWTABLE`); `None` where it is neither `ip` nor `ip6`.
///
/// # Errors
/// The message is cut short, or lacks what every table has.
pub fn decode_table(message: &Message<'_>) -> Result<Option<TableMessage>, Malformed> {
    let Some(family) = family(message)? else { return Ok(None) };
    let (mut name, mut handle, mut flags, mut uses, mut user_data) = (None, None, 0, 0, Vec::new());
    for attr in message.attrs(NFGEN)? {
        let attr = attr?;
        match attr.kind {
            c::NFTA_TABLE_NAME => name = Some(attr.string()?.to_owned()),
            c::NFTA_TABLE_HANDLE => handle = Some(attr.be64()?),
            c::NFTA_TABLE_FLAGS => flags = attr.be32()?,
            c::NFTA_TABLE_USE => uses = attr.be32()?,
            c::NFTA_TABLE_USERDATA => user_data = attr.value.to_vec(),
            _ => {}
        }
    }
    let (Some(name), Some(handle)) = (name, handle) else { return Err(Malformed) };
    Ok(Some(TableMessage { family, name, handle, flags, uses, user_data }))
}

/// Reads a chain (`NFT_MSG_NEWCHAIN`); `None` where it is neither in `ip` nor in `ip6`.
///
/// # Errors
/// The message is cut short, or lacks what every chain has.
pub fn decode_chain(message: &Message<'_>) -> Result<Option<ChainMessage>, Malformed> {
    let Some(family) = family(message)? else { return Ok(None) };
    let (mut table, mut name, mut handle, mut hook, mut policy) = (None, None, None, None, None);
    let (mut kind, mut uses, mut user_data) = (None, 0, Vec::new());
    for attr in message.attrs(NFGEN)? {
        let attr = attr?;
        match attr.kind {
            c::NFTA_CHAIN_TABLE => table = Some(attr.string()?.to_owned()),
            c::NFTA_CHAIN_NAME => name = Some(attr.string()?.to_owned()),
            c::NFTA_CHAIN_HANDLE => handle = Some(attr.be64()?),
            c::NFTA_CHAIN_HOOK => hook = Some(decode_hook(attr.nested())?),
            c::NFTA_CHAIN_POLICY => policy = Some(c::policy_of(attr.be32()?).ok_or(Malformed)?),
            c::NFTA_CHAIN_TYPE => kind = Some(attr.string()?.to_owned()),
            c::NFTA_CHAIN_USE => uses = attr.be32()?,
            c::NFTA_CHAIN_USERDATA => user_data = attr.value.to_vec(),
            _ => {}
        }
    }
    let (Some(table), Some(name), Some(handle)) = (table, name, handle) else { return Err(Malformed) };
    let hook = match (hook, kind) {
        (Some((number, priority)), Some(kind)) => Some(BaseHook { number, priority, kind }),
        (None, _) => None,
        (Some(_), None) => return Err(Malformed),
    };
    Ok(Some(ChainMessage { family, table, name, handle, hook, policy, uses, user_data }))
}

/// Reads a rule (`NFT_MSG_NEWRULE`); `None` where it is neither in `ip` nor in `ip6`.
///
/// # Errors
/// The message is cut short, or lacks what every rule has.
pub fn decode_rule<'a>(message: &Message<'a>) -> Result<Option<RuleMessage<'a>>, Malformed> {
    let Some(family) = family(message)? else { return Ok(None) };
    let (mut table, mut chain, mut handle) = (None, None, None);
    let (mut expressions, mut user_data) = (&[][..], &[][..]);
    for attr in message.attrs(NFGEN)? {
        let attr = attr?;
        match attr.kind {
            c::NFTA_RULE_TABLE => table = Some(attr.string()?),
            c::NFTA_RULE_CHAIN => chain = Some(attr.string()?),
            c::NFTA_RULE_HANDLE => handle = Some(attr.be64()?),
            c::NFTA_RULE_EXPRESSIONS => expressions = attr.value,
            c::NFTA_RULE_USERDATA => user_data = attr.value,
            _ => {}
        }
    }
    let (Some(table), Some(chain), Some(handle)) = (table, chain, handle) else { return Err(Malformed) };
    Ok(Some(RuleMessage { family, table, chain, handle, expressions, user_data }))
}

/// One expression of a rule.
#[derive(Debug, Clone)]
pub struct Expression<'a> {
    /// `cmp`, `payload`, `match`, ...
    pub name: &'a str,
    /// Its attributes; a few expressions have none.
    pub data: Attrs<'a>,
}

/// Reads the expressions of a rule, one after the other.
pub fn decode_expressions(list: &[u8]) -> impl Iterator<Item = Result<Expression<'_>, Malformed>> {
    Attrs::new(list).filter_map(|element| match element {
        Ok(element) if element.kind == c::NFTA_LIST_ELEM => Some(decode_expression(element.nested())),
        Ok(_) => None,
        Err(error) => Some(Err(error)),
    })
}

/// What a rule does with a packet that it matches, where nf_tables itself decides that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict<'a> {
    /// `NF_ACCEPT`, `NFT_JUMP`, ...
    pub code: u32,
    /// The chain that it jumps or goes to, if it does.
    pub chain: Option<&'a str>,
}

impl Verdict<'_> {
    /// Whether it can let a packet through: it accepts, or another chain decides.
    pub fn accepts(self) -> bool {
        self.code == c::verdict(Policy::Accept) || self.chain.is_some()
    }
}

impl<'a> Expression<'a> {
    /// The verdict that it gives, if it gives one.
    ///
    /// # Errors
    /// It is cut short.
    pub fn verdict(&self) -> Result<Option<Verdict<'a>>, Malformed> {
        if self.name != "immediate" {
            return Ok(None);
        }
        let Some(data) = self.data.clone().find(c::NFTA_IMMEDIATE_DATA)? else { return Ok(None) };
        let Some(verdict) = data.nested().find(c::NFTA_DATA_VERDICT)? else { return Ok(None) };
        let code = verdict.nested().find(c::NFTA_VERDICT_CODE)?.ok_or(Malformed)?.be32()?;
        let chain = verdict.nested().find(c::NFTA_VERDICT_CHAIN)?;
        Ok(Some(Verdict { code, chain: chain.map(|chain| chain.string()).transpose()? }))
    }
}

/// The verdict of a rule, if it has one (it has one at most).
///
/// # Errors
/// The bytes are no list of expressions.
pub fn decode_verdict(list: &[u8]) -> Result<Option<Verdict<'_>>, Malformed> {
    for expression in decode_expressions(list) {
        if let Some(verdict) = expression?.verdict()? {
            return Ok(Some(verdict));
        }
    }
    Ok(None)
}

fn family(message: &Message<'_>) -> Result<Option<Family>, Malformed> {
    message.payload.first().copied().map(c::family_of).ok_or(Malformed)
}

pub(super) fn decode_hook(attrs: Attrs<'_>) -> Result<(u32, i32), Malformed> {
    let number = attrs.clone().find(c::NFTA_HOOK_HOOKNUM)?.ok_or(Malformed)?.be32()?;
    let priority = attrs.find(c::NFTA_HOOK_PRIORITY)?.ok_or(Malformed)?.be32()?;
    Ok((number, priority.cast_signed()))
}

fn decode_expression(attrs: Attrs<'_>) -> Result<Expression<'_>, Malformed> {
    let (mut name, mut data) = (None, Attrs::new(&[]));
    for attr in attrs {
        let attr = attr?;
        match attr.kind {
            c::NFTA_EXPR_NAME => name = Some(attr.string()?),
            c::NFTA_EXPR_DATA => data = attr.nested(),
            _ => {}
        }
    }
    Ok(Expression { name: name.ok_or(Malformed)?, data })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// An attribute with a kind that the decoders look at, and bytes that may make sense.
    fn attribute() -> impl Strategy<Value = Vec<u8>> {
        let value = prop_oneof![
            prop::collection::vec(any::<u8>(), 0..12),
            Just(vec![0, 0, 0, 1]),
            Just(vec![0, 0, 0, 0, 0, 0, 0, 1]),
            Just(b"filter\0".to_vec()),
            Just(vec![8, 0, 1, 0, 0, 0, 0, 1, 8, 0, 2, 0, 0, 0, 0, 0]),
        ];
        (1u16..13, value, 0u16..10).prop_map(|(kind, value, luck)| {
            // now and then a length that is one too many
            let length = value.len() as u16 + 4 + u16::from(luck == 0);
            let mut bytes = length.to_ne_bytes().to_vec();
            bytes.extend(kind.to_ne_bytes());
            bytes.extend(&value);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes
        })
    }

    proptest! {
        #[test]
        fn never_panics(
            family in prop_oneof![Just(2u8), Just(10), any::<u8>()],
            attributes in prop::collection::vec(attribute(), 0..12),
            cut in 0usize..200,
        ) {
            let mut payload = vec![family, 0, 0, 0];
            payload.extend(attributes.concat());
            payload.truncate(payload.len().saturating_sub(cut / 4));
            let message = Message { kind: 0, flags: 0, sequence: 0, payload: &payload };
            let _ = (decode_generation(&message), decode_table(&message), decode_chain(&message));
            if let Ok(Some(rule)) = decode_rule(&message) {
                let _ = (decode_expressions(rule.expressions).count(), decode_verdict(rule.expressions));
            }
            let _ = (decode_expressions(&payload).count(), decode_verdict(&payload));
        }
    }

    #[test]
    fn a_truncated_message_is_an_error() {
        // a table `t` with handle 3
        let whole = [2, 0, 0, 0, 6, 0, 1, 0, b't', 0, 0, 0, 12, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 3];
        let decode = |payload| decode_table(&Message { kind: 0, flags: 0, sequence: 0, payload });
        assert_eq!(decode(&whole).map(|table| table.map(|table| table.handle)), Ok(Some(3)));
        for length in 0..whole.len() {
            assert_eq!(decode(&whole[..length]), Err(Malformed), "{length} bytes");
        }
    }
}
