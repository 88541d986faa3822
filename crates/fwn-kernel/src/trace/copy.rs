//! A copy of a namespace as far as it judges packets: tables, chains, rules, sets of both kinds with what they hold,
//! interfaces, addresses and routes. The original is only read. What cannot be copied is an error that names it: a verdict
//! of half a firewall would be none.

use std::collections::BTreeMap;

use fwn_plan::set::{CreateOptions, SetKind};

use super::lab::{Lab, LabError};
use crate::ipset::{SetClient, SetError};
use crate::netlink::attr::{Attr, Attrs, Malformed};
use crate::netlink::message::{
    Message, Messages, NFGEN, NLM_F_APPEND, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, nfnl_type,
};
use crate::netlink::socket::{NetlinkSocket, Protocol, SocketError};
use crate::netns::{NetnsError, TargetNetns};
use crate::nft::constants as c;
use crate::nft::decode::decode_expressions;
use crate::route::{Address, Link, Route, RouteError, RouteSocket};

/// How often a ruleset that changed while it was read is read again.
const ATTEMPTS: u32 = 10;
/// Attributes of each kind of message that make the thing anew; all else is the kernel's own.
const TABLE_ATTRS: [u16; 2] = [c::NFTA_TABLE_NAME, c::NFTA_TABLE_USERDATA];
const CHAIN_ATTRS: [u16; 6] = [
    c::NFTA_CHAIN_TABLE,
    c::NFTA_CHAIN_NAME,
    c::NFTA_CHAIN_HOOK,
    c::NFTA_CHAIN_POLICY,
    c::NFTA_CHAIN_TYPE,
    c::NFTA_CHAIN_USERDATA,
];
/// `NFTA_SET_TABLE` to `NFTA_SET_DESC`, then `_TIMEOUT`, `_GC_INTERVAL`, `_USERDATA`, `_OBJ_TYPE`, `_EXPR`, `_EXPRESSIONS`
const SET_ATTRS: [u16; 15] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 15, 17, 18];
const SET_TABLE: u16 = 1;
const SET_NAME: u16 = 2;
const SET_ID: u16 = 10;
/// `NFTA_SET_ELEM_LIST_TABLE`, `_SET`, `_ELEMENTS`
const ELEMENT_ATTRS: [u16; 3] = [1, 2, 3];
/// `NFTA_OBJ_TABLE`, `_NAME`, `_TYPE`, `_DATA`, `_USERDATA`
const OBJECT_ATTRS: [u16; 5] = [1, 2, 3, 4, 8];
const RULE_ATTRS: [u16; 4] =
    [c::NFTA_RULE_TABLE, c::NFTA_RULE_CHAIN, c::NFTA_RULE_EXPRESSIONS, c::NFTA_RULE_USERDATA];
/// `NFTA_CHAIN_FLAGS`
const CHAIN_FLAGS: u16 = 10;
// enum nf_tables_msg_types, beside those of `constants`
const NFT_MSG_NEWSET: u8 = 9;
const NFT_MSG_GETSET: u8 = 10;
const NFT_MSG_NEWSETELEM: u8 = 12;
const NFT_MSG_GETSETELEM: u8 = 13;
const NFT_MSG_NEWOBJ: u8 = 18;
const NFT_MSG_GETOBJ: u8 = 19;
/// `NFPROTO_INET`, `NFPROTO_IPV4`, `NFPROTO_IPV6`: what judges packets of IP.
const FAMILIES: [u8; 3] = [1, 2, 10];

/// Why a namespace could not be copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// It could not be entered.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// Its rules could not be read.
    #[error("cannot read the rules of the namespace")]
    Read(#[source] SocketError),
    /// The kernel takes something of it only where it is.
    #[error("{what} cannot be copied, so the packet cannot be tried without disturbing the namespace")]
    Refused {
        /// What.
        what: String,
        /// Why.
        source: SocketError,
    },
    /// Something of it is known not to be copied.
    #[error("{0}, which cannot be copied, so the packet cannot be tried without disturbing the namespace")]
    Unsupported(String),
    /// Sets.
    #[error("the sets cannot be copied")]
    Sets(#[source] SetError),
    /// Interfaces.
    #[error("the interfaces cannot be read")]
    Route(#[from] RouteError),
    /// The scratch namespace.
    #[error(transparent)]
    Lab(#[from] LabError),
}

/// What is known of the original.
#[derive(Debug)]
pub struct Copied {
    /// Its interfaces.
    pub links: Vec<Link>,
    /// Its addresses.
    pub addresses: Vec<Address>,
    /// Whether it hands packets on: IPv4, IPv6.
    pub forwarding: (bool, bool),
    /// Tables that judge no packets of IP, or before they are any: `bridge x`, `netdev y`. They are not in the copy.
    pub left_out: Vec<String>,
}

/// Makes a copy of `live`.
///
/// # Errors
/// [`CopyError`]
pub fn copy(live: &TargetNetns) -> Result<(Lab, Copied), CopyError> {
    let open = || {
        let nft = NetlinkSocket::open(Protocol::Netfilter)?;
        let forwards = |path: &str| std::fs::read_to_string(path).is_ok_and(|text| text.trim() != "0");
        let forwarding =
            (forwards("/proc/sys/net/ipv4/ip_forward"), forwards("/proc/sys/net/ipv6/conf/all/forwarding"));
        Ok::<_, SocketError>((nft, forwarding, SetClient::open_here()))
    };
    let (mut nft, forwarding, sets) = live.run(open)?.map_err(CopyError::Read)?;
    let mut route = RouteSocket::open_in(live)?;
    let (links, addresses, routes) = (route.links()?, route.addresses(None)?, route.routes()?);

    let mut lab = Lab::new(forwarding.0 || forwarding.1)?;
    let name = |index: u32| links.iter().find(|link| link.index == index).map(|link| link.name.clone());
    for link in links.iter().filter(|link| link.name != "lo") {
        lab.add_cable(&link.name, link.mac)?;
    }
    for address in &addresses {
        if let Some(name) = name(address.link).filter(|_| !address.prefix.address().is_loopback()) {
            lab.add_address(&name, address)?;
        }
    }
    // a gateway must be on a link that there is a route to
    let (near, far): (Vec<&Route>, Vec<&Route>) = routes.iter().partition(|route| route.gateway.is_none());
    for route in near.into_iter().chain(far) {
        if let Some(name) = route.device.and_then(name) {
            lab.add_route(&name, route)?;
        }
    }
    match sets {
        Ok(mut sets) => copy_sets(&mut sets, &lab)?,
        Err(SetError::NoIpset) => {}
        Err(error) => return Err(CopyError::Sets(error)),
    }
    let ruleset = Ruleset::read(&mut nft)?;
    ruleset.write(lab.nft())?;
    Ok((lab, Copied { links, addresses, forwarding, left_out: ruleset.left_out }))
}

/// Sets are known to rules by their numbers, which the kernel gives lowest free first.
fn copy_sets(live: &mut SetClient, lab: &Lab) -> Result<(), CopyError> {
    let headers = live.list_headers().map_err(CopyError::Sets)?;
    let Some(last) = headers.iter().filter_map(|header| header.index).max() else { return Ok(()) };
    let mut copy = SetClient::open(lab.netns()).map_err(CopyError::Sets)?;
    let by_index: BTreeMap<u16, _> =
        headers.iter().filter_map(|header| Some((header.index?, header))).collect();
    let mut fillers = Vec::new();
    for index in 0..=last {
        let made = if let Some(header) = by_index.get(&index) {
            copy.create_as(&header.name, header.kind, header.family, &header.options)
        } else {
            let name = format!("fwn-filler-{index}");
            let made = copy.create_as(&name, SetKind::ListSet, None, &CreateOptions::default());
            fillers.push(name);
            made
        };
        made.map_err(CopyError::Sets)?;
    }
    for header in by_index.values() {
        let Some(listed) = live.list(&header.name).map_err(CopyError::Sets)? else { continue };
        copy.fill(&header.name, header.kind, &listed.entries, true).map_err(CopyError::Sets)?;
    }
    for name in fillers {
        copy.destroy(&name).map_err(CopyError::Sets)?;
    }
    Ok(())
}

/// A thing of nf_tables to make anew.
struct Item {
    message: u8,
    family: u8,
    /// What it is, for an error.
    what: String,
    /// Attributes, as they were read.
    attrs: Vec<(u16, Vec<u8>)>,
    /// Of a rule, what its extensions are checked against.
    compat: Option<(u32, u32)>,
}

/// All that judges packets, in the order in which it can be made.
struct Ruleset {
    items: Vec<Item>,
    left_out: Vec<String>,
}

impl Ruleset {
    fn read(socket: &mut NetlinkSocket) -> Result<Self, CopyError> {
        let mut attempt = 1;
        loop {
            match Self::try_read(socket) {
                Err(CopyError::Read(SocketError::Interrupted)) if attempt < ATTEMPTS => attempt += 1,
                result => return result,
            }
        }
    }

    fn try_read(socket: &mut NetlinkSocket) -> Result<Self, CopyError> {
        let mut ruleset = Self { items: Vec::new(), left_out: Vec::new() };
        let mut unsupported = None;
        let left_out = &mut ruleset.left_out;
        let mut items = Vec::new();
        let mut all = |kind: u8,
                       attrs: &[(u16, &str)],
                       family: u8,
                       each: &mut dyn FnMut(&Message<'_>) -> Result<(), Malformed>| {
            let mut messages = Messages::default();
            messages
                .push(nfnl_type(c::SUBSYSTEM, kind), NLM_F_DUMP, &[family, 0, 0, 0], |writer| {
                    for (kind, text) in attrs {
                        writer.string(*kind, text);
                    }
                })
                .map_err(|_| CopyError::Read(Malformed.into()))?;
            socket.exchange(&mut messages, |message| each(&message)).map_err(CopyError::Read)
        };
        all(c::NFT_MSG_GETTABLE, &[], 0, &mut |message| {
            let item = item(message, c::NFT_MSG_NEWTABLE, &TABLE_ATTRS, "table", c::NFTA_TABLE_NAME)?;
            if FAMILIES.contains(&item.family) {
                items.push(item);
            } else {
                left_out.push(item.what.replacen("table ", "", 1).replace('`', ""));
            }
            Ok(())
        })?;
        all(c::NFT_MSG_GETCHAIN, &[], 0, &mut |message| {
            let item = item(message, c::NFT_MSG_NEWCHAIN, &CHAIN_ATTRS, "chain", c::NFTA_CHAIN_NAME)?;
            let attrs = message.attrs(NFGEN)?;
            let flags = attrs.clone().find(CHAIN_FLAGS)?.map_or(Ok(0), |attr| attr.be32())?;
            // NFT_CHAIN_HW_OFFLOAD, NFT_CHAIN_BINDING
            if FAMILIES.contains(&item.family) && flags & 6 != 0 {
                unsupported.get_or_insert_with(|| format!("{} is offloaded, or of a rule alone", item.what));
            }
            let hook = attrs.find(c::NFTA_CHAIN_HOOK)?.map(|hook| hook.nested().find(c::NFTA_HOOK_HOOKNUM));
            if let Some(Some(number)) = hook.transpose()?
                && FAMILIES.contains(&item.family)
                && number.be32()? > 4
            {
                unsupported.get_or_insert_with(|| format!("{} is hooked to a device", item.what));
            }
            items.push(item);
            Ok(())
        })?;
        all(NFT_MSG_GETOBJ, &[], 0, &mut |message| {
            items.push(item(message, NFT_MSG_NEWOBJ, &OBJECT_ATTRS, "object", 2)?);
            Ok(())
        })?;
        let mut sets: Vec<(u8, String, String)> = Vec::new();
        all(NFT_MSG_GETSET, &[], 0, &mut |message| {
            let mut item = item(message, NFT_MSG_NEWSET, &SET_ATTRS, "set", SET_NAME)?;
            let text = |kind| message.attrs(NFGEN)?.find(kind)?.ok_or(Malformed)?.string().map(str::to_owned);
            sets.push((item.family, text(SET_TABLE)?, text(SET_NAME)?));
            item.attrs.push((SET_ID, (sets.len() as u32).to_be_bytes().to_vec()));
            items.push(item);
            Ok(())
        })?;
        for (family, table, set) in sets.iter().filter(|(family, ..)| FAMILIES.contains(family)) {
            all(NFT_MSG_GETSETELEM, &[(1, table), (2, set)], *family, &mut |message| {
                let item = item(message, NFT_MSG_NEWSETELEM, &ELEMENT_ATTRS, "elements of set", 2)?;
                // an empty set is told too
                if item.attrs.iter().any(|(kind, _)| *kind == 3) {
                    items.push(item);
                }
                Ok(())
            })?;
        }
        let mut place = (String::new(), 0);
        all(c::NFT_MSG_GETRULE, &[], 0, &mut |message| {
            let mut item = item(message, c::NFT_MSG_NEWRULE, &RULE_ATTRS, "chain", c::NFTA_RULE_CHAIN)?;
            place =
                if place.0 == item.what { (place.0.clone(), place.1 + 1) } else { (item.what.clone(), 1) };
            item.what = format!("rule {} of {}", place.1, item.what);
            let list = item.attrs.iter().find(|(kind, _)| *kind == c::NFTA_RULE_EXPRESSIONS);
            item.compat = list.map(|(_, list)| compat_of(list)).transpose()?.flatten();
            items.push(item);
            Ok(())
        })?;
        if let Some(what) = unsupported {
            return Err(CopyError::Unsupported(what));
        }
        items.retain(|item| FAMILIES.contains(&item.family));
        ruleset.items = items;
        Ok(ruleset)
    }

    fn write(&self, socket: &mut NetlinkSocket) -> Result<(), CopyError> {
        let batch = [0, 0, 0, c::SUBSYSTEM];
        let mut messages = Messages::default();
        let too_long = |_| CopyError::Read(Malformed.into());
        messages.push(c::NFNL_MSG_BATCH_BEGIN, 0, &batch, |_| ()).map_err(too_long)?;
        for item in &self.items {
            let flags = match item.message {
                c::NFT_MSG_NEWRULE => NLM_F_CREATE | NLM_F_APPEND,
                NFT_MSG_NEWSETELEM => NLM_F_CREATE,
                _ => NLM_F_CREATE | NLM_F_EXCL,
            };
            messages
                .push(nfnl_type(c::SUBSYSTEM, item.message), flags, &[item.family, 0, 0, 0], |attrs| {
                    for (kind, value) in &item.attrs {
                        attrs.bytes(*kind, value);
                    }
                    if let Some((protocol, flags)) = item.compat {
                        attrs.nest(c::NFTA_RULE_COMPAT, |compat| {
                            compat
                                .be32(c::NFTA_RULE_COMPAT_PROTO, protocol)
                                .be32(c::NFTA_RULE_COMPAT_FLAGS, flags);
                        });
                    }
                })
                .map_err(too_long)?;
        }
        messages.push(c::NFNL_MSG_BATCH_END, 0, &batch, |_| ()).map_err(too_long)?;
        socket.commit(&mut messages, |_, _| ()).map_err(|source| {
            let first = match &source {
                SocketError::Kernel(errors) => errors.first().and_then(|error| error.number.checked_sub(1)),
                _ => None,
            };
            let what = first.and_then(|number| self.items.get(number as usize));
            CopyError::Refused {
                what: what.map_or("the ruleset".to_owned(), |item| item.what.clone()),
                source,
            }
        })
    }
}

/// The attributes of `kinds`, and the name of the thing: `chain `INPUT` of ip filter`.
fn item(message: &Message<'_>, make: u8, kinds: &[u16], word: &str, name: u16) -> Result<Item, Malformed> {
    let family = *message.payload.first().ok_or(Malformed)?;
    let mut attrs = Vec::new();
    let mut names = [None, None];
    for attr in message.attrs(NFGEN)? {
        let attr: Attr<'_> = attr?;
        // the table comes first in every kind of message
        for (slot, kind) in names.iter_mut().zip([1, name]) {
            if attr.kind == kind {
                *slot = Some(attr.string()?.to_owned());
            }
        }
        if kinds.contains(&attr.kind) {
            attrs.push((attr.kind, attr.value.to_vec()));
        }
    }
    let [table, name] = names.map(Option::unwrap_or_default);
    let what = if word == "table" {
        format!("table {} `{table}`", c::family_word(family))
    } else {
        format!("{word} `{name}` of table {} `{table}`", c::family_word(family))
    };
    Ok(Item { message: make, family, what, attrs, compat: None })
}

/// The protocol that a rule asks for, which the kernel checks extensions against and never tells: of the first
/// comparison of it. Nothing where there is no extension.
fn compat_of(list: &[u8]) -> Result<Option<(u32, u32)>, Malformed> {
    /// `NFT_META_L4PROTO`; a payload of one byte at offset 9 of the network header.
    const L4PROTO: u32 = 16;
    const PROTOCOL_OF_IPV4: (u32, u32, u32) = (1, 9, 1);
    /// `NFT_RULE_COMPAT_F_INV`
    const INVERTED: u32 = 2;
    let mut found = None;
    let mut loaded = false;
    let mut extension = false;
    for expression in decode_expressions(list) {
        let expression = expression?;
        let number = |attrs: Attrs<'_>, kind| attrs.find(kind)?.map_or(Ok(u32::MAX), |attr| attr.be32());
        match expression.name {
            "meta" => loaded = number(expression.data.clone(), 2)? == L4PROTO,
            "payload" => {
                let place = (
                    number(expression.data.clone(), 2)?,
                    number(expression.data.clone(), 3)?,
                    number(expression.data.clone(), 4)?,
                );
                loaded = place == PROTOCOL_OF_IPV4;
            }
            "cmp" if loaded && found.is_none() => {
                let operator = number(expression.data.clone(), 2)?;
                let data = expression.data.clone().find(3)?.ok_or(Malformed)?.nested();
                let value = data.find(1)?.and_then(|value| value.value.first().copied());
                found = value.map(|value| (u32::from(value), if operator == 1 { INVERTED } else { 0 }));
            }
            "match" | "target" => extension = true,
            _ => {}
        }
    }
    Ok(extension.then(|| found.unwrap_or((0, 0))))
}
