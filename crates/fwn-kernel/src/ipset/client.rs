//! Speaks to ip_set over one socket, which belongs to the namespace that it was opened in. Every refusal of the
//! kernel comes back with the set, the entry and the reason in words. Knows nothing of plans: what belongs
//! together, and what is undone, the caller decides.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use fwn_plan::netfilter::Family;
use fwn_plan::set::{CreateOptions, Entry, SetKind, SetSpec, render_add, render_create};

use super::decode::{Header, SetHeader, decode_family, decode_list};
use super::encode::{be32, encode_create, encode_entry, family_number};
use super::error::{EXIST, FIND_TYPE, SetError};
use super::message::{Command, PROTOCOL, PROTOCOL_MIN, attr, data, flag, push};
use super::patience::{while_held, while_listed};
use super::revision;
use crate::netlink::attr::{AttrWriter, Attrs, Malformed};
use crate::netlink::message::{HEADER, Messages, NFGEN, NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL};
use crate::netlink::socket::{KernelError, NetlinkSocket, Protocol, SocketError};
use crate::netns::TargetNetns;

/// Entries go into messages of about this many bytes: more in one is not faster, and each error is answered with
/// the whole message.
pub(super) const MESSAGE_BYTES: usize = 4096;
/// And as many messages into one send that the answers fit into a receive buffer of the default size (208 KiB)
/// even if all of them are refused.
const SEND_BYTES: usize = 64 * 1024;
/// Room for those answers where the default is smaller: an answer that does not fit is lost without a sign.
const RECEIVE_BYTES: usize = 8 * SEND_BYTES;

/// A set with its entries, as listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The set.
    pub header: SetHeader,
    /// Its entries, in the order of the kernel.
    pub entries: Vec<Entry>,
}

/// A connection to ip_set of one network namespace.
#[derive(Debug)]
pub struct SetClient {
    pub(super) socket: NetlinkSocket,
    pub(super) protocol: u8,
    has_agreed: bool,
    /// Revisions by type and family, as far as they were needed.
    revisions: BTreeMap<(SetKind, Option<Family>), u8>,
}

impl SetClient {
    /// Opens a socket in `netns` and agrees on a protocol.
    ///
    /// # Errors
    /// The namespace cannot be entered, the kernel has no ip_set or speaks another protocol.
    pub fn open(netns: &TargetNetns) -> Result<Self, SetError> {
        netns.run(Self::open_here)?
    }

    /// The same in the namespace of the calling thread.
    ///
    /// # Errors
    /// The kernel has no ip_set or speaks another protocol.
    pub fn open_here() -> Result<Self, SetError> {
        let mut client = Self::connect_here()?;
        client.agree()?;
        Ok(client)
    }

    /// Only opens the socket: nothing else may be done before [`SetClient::agree`].
    ///
    /// # Errors
    /// No netlink socket.
    pub(crate) fn connect_here() -> Result<Self, SetError> {
        let socket = NetlinkSocket::open(Protocol::Netfilter).map_err(SetError::Socket)?;
        Ok(Self { socket, protocol: PROTOCOL, has_agreed: false, revisions: BTreeMap::new() })
    }

    /// Agrees on a protocol, once.
    ///
    /// # Errors
    /// The kernel has no ip_set or speaks another protocol.
    pub(crate) fn agree(&mut self) -> Result<(), SetError> {
        if self.has_agreed {
            return Ok(());
        }
        let mut kernel = None;
        let asked = self.ask(
            Command::Protocol,
            0,
            |_| (),
            |attrs| {
                let most = attrs.clone().find(attr::PROTOCOL)?.ok_or(Malformed)?.u8()?;
                let least = attrs.find(attr::PROTOCOL_MIN)?.map_or(Ok(most), |attr| attr.u8())?;
                kernel = Some((least, most));
                Ok(())
            },
        );
        match asked {
            // nfnetlink has no such subsystem
            Err(SocketError::Kernel(errors)) if errors.iter().any(|error| error.errno == libc::EINVAL) => {
                return Err(SetError::NoIpset);
            }
            Err(error) if error.errno() == Some(libc::EPERM) => return Err(SetError::NotAllowed),
            other => other.map_err(SetError::Socket)?,
        }
        let (least, most) = kernel.ok_or(Malformed)?;
        if least > PROTOCOL || most < PROTOCOL_MIN {
            return Err(SetError::Protocol { least, most });
        }
        self.protocol = most.min(PROTOCOL);
        self.has_agreed = true;
        Ok(())
    }

    /// Makes an empty set as a plan asks for it.
    ///
    /// # Errors
    /// See [`SetClient::create_as`].
    pub fn create(&mut self, spec: &SetSpec) -> Result<(), SetError> {
        self.create_as(&spec.name, spec.kind, spec.family, &spec.options)
    }

    /// Makes an empty set under a name of its own.
    ///
    /// # Errors
    /// It exists (see [`SetError::is_there`]), the kernel lacks the type or an option, or refuses.
    pub fn create_as(
        &mut self,
        set: &str,
        kind: SetKind,
        family: Option<Family>,
        options: &CreateOptions,
    ) -> Result<(), SetError> {
        let revision = self.revision(kind, family)?;
        if let Some(key) = revision::unknown_option(kind, options, revision) {
            return Err(SetError::NoOption { kind, key, revision });
        }
        let created = self.ask(
            Command::Create,
            NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL,
            |writer| {
                writer
                    .string(attr::SETNAME, set)
                    .string(attr::TYPENAME, kind.name())
                    .u8(attr::REVISION, revision)
                    .u8(attr::FAMILY, family_number(family))
                    .nest(attr::DATA, |inner| encode_create(inner, options));
            },
            |_| Ok(()),
        );
        created.map_err(|error| refused(error, Command::Create, set, Some(kind)))
    }

    /// Makes a set with its entries, or none.
    ///
    /// # Errors
    /// See [`SetClient::create`] and [`SetClient::fill`]; no set is left behind that was not there before.
    pub fn create_filled(&mut self, spec: &SetSpec) -> Result<(), SetError> {
        self.create(spec)?;
        let entries = spec.entries.iter().map(|entry| &entry.entry);
        let filled = self.fill(&spec.name, spec.kind, entries, true);
        if filled.is_err() {
            // the reason to report is why it could not be filled
            let _ = self.destroy(&spec.name);
        }
        filled
    }

    /// Adds entries to a set of type `kind`, in few large messages. `exist`: entries that are there already are no
    /// error, and get the options given now.
    ///
    /// # Errors
    /// The first entry that is refused, by its index. The entries before it are in the set, some after it can be.
    pub fn fill<'a>(
        &mut self,
        set: &str,
        kind: SetKind,
        entries: impl IntoIterator<Item = &'a Entry>,
        exist: bool,
    ) -> Result<(), SetError> {
        let flags = if exist { NLM_F_ACK } else { NLM_F_ACK | NLM_F_EXCL };
        let mut entries = entries.into_iter().peekable();
        let mut index = 0;
        while entries.peek().is_some() {
            let mut messages = Messages::default();
            let first = index;
            let mut batch = Vec::new();
            while messages.len() < SEND_BYTES && entries.peek().is_some() {
                push(&mut messages, Command::Add, flags, self.protocol, |writer| {
                    writer.string(attr::SETNAME, set);
                    // the kernel overwrites it with that of the refused entry
                    be32(writer, attr::LINENO, Some(0));
                    writer.nest(attr::ADT, |adt| {
                        let start = adt.position();
                        while adt.position() - start < MESSAGE_BYTES
                            && let Some(entry) = entries.next()
                        {
                            index += 1;
                            batch.push(entry);
                            adt.nest(attr::DATA, |inner| encode_entry(inner, entry, Some(index as u32)));
                        }
                    });
                })?;
            }
            if messages.count() > 1 {
                self.socket.reserve_receive_buffer(RECEIVE_BYTES);
            }
            let outcome = self.socket.exchange(&mut messages, |_| Ok(()));
            outcome.map_err(|error| {
                let refusal = match &error {
                    SocketError::Kernel(errors) => errors.first(),
                    _ => None,
                };
                let line = refusal.and_then(|error| refused_line(error).map(|line| (line, error.errno)));
                // lines count from 1
                let found = line.and_then(|(line, errno)| {
                    let index = (line as usize).checked_sub(1)?;
                    batch.get(index.checked_sub(first)?).map(|entry| (index, *entry, errno))
                });
                match found {
                    Some((index, entry, errno)) => SetError::Entry {
                        command: Command::Add,
                        set: set.to_owned(),
                        kind,
                        index,
                        entry: entry.to_string(),
                        errno,
                    },
                    None => refused(error, Command::Add, set, Some(kind)),
                }
            })?;
        }
        Ok(())
    }

    /// Adds one entry. `exist`: no error if it is there already.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub fn add(&mut self, set: &str, kind: SetKind, entry: &Entry, exist: bool) -> Result<(), SetError> {
        self.change(Command::Add, set, kind, entry, exist)
    }

    /// Deletes one entry, or those of a range. `exist`: no error if it is not there.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub fn delete(&mut self, set: &str, kind: SetKind, entry: &Entry, exist: bool) -> Result<(), SetError> {
        self.change(Command::Delete, set, kind, entry, exist)
    }

    /// Whether an entry is in the set; of a type with blocks, whether an address in it matches.
    ///
    /// # Errors
    /// There is no such set, or the entry is not one of its type.
    pub fn test(&mut self, set: &str, kind: SetKind, entry: &Entry) -> Result<bool, SetError> {
        match self.change(Command::Test, set, kind, entry, true) {
            Ok(()) => Ok(true),
            Err(SetError::Entry { errno: EXIST, .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn change(
        &mut self,
        command: Command,
        set: &str,
        kind: SetKind,
        entry: &Entry,
        exist: bool,
    ) -> Result<(), SetError> {
        let flags = if exist { NLM_F_ACK } else { NLM_F_ACK | NLM_F_EXCL };
        let asked = self.ask(
            command,
            flags,
            |writer| {
                writer.string(attr::SETNAME, set).nest(attr::DATA, |inner| encode_entry(inner, entry, None));
            },
            |_| Ok(()),
        );
        asked.map_err(|error| match error.errno() {
            Some(errno) => {
                let (set, entry) = (set.to_owned(), entry.to_string());
                SetError::Entry { command, set, kind, index: 0, entry, errno }
            }
            None => SetError::Socket(error),
        })
    }

    /// Destroys a set.
    ///
    /// # Errors
    /// There is none (see [`SetError::is_missing`]), or something uses it.
    pub fn destroy(&mut self, set: &str) -> Result<(), SetError> {
        self.simple(Command::Destroy, set, None)
    }

    /// Destroys a set that was ours alone until now. Two can still hold it for a moment, and nothing tells when that is
    /// over, so a set in use is tried again:
    /// - rules that are gone. The kernel lets go of their sets some time after the batch. Closing a netfilter socket of
    ///   the namespace waits for that (`nft_rcv_nl_event`, `net/netfilter/nf_tables_api.c`) since Linux 6.10; before it
    ///   did not where the work had begun already, and nobody promises that it always will;
    /// - whoever lists it, until the listing is read (`ip_set_dump_do`, `net/netfilter/ipset/ip_set_core.c`).
    ///
    /// # Errors
    /// As [`SetClient::destroy`]
    pub fn destroy_released(&mut self, set: &str) -> Result<(), SetError> {
        while_held(|| self.destroy(set), SetError::is_busy)
    }

    /// Takes all entries out of a set.
    ///
    /// # Errors
    /// There is no such set.
    pub fn flush(&mut self, set: &str) -> Result<(), SetError> {
        self.simple(Command::Flush, set, None)
    }

    /// Gives two sets each other's content, at once for all rules that use them.
    ///
    /// # Errors
    /// One of them is missing, or their types differ; [busy](SetError::is_busy) while somebody lists one of them, until the
    /// listing is read (`ip_set_swap`, `net/netfilter/ipset/ip_set_core.c`).
    pub fn swap(&mut self, set: &str, other: &str) -> Result<(), SetError> {
        self.simple(Command::Swap, set, Some(other))
    }

    /// The same as a way back, which must not fail because somebody lists one of them: it waits for that.
    ///
    /// # Errors
    /// As [`SetClient::swap`], busy after half a second only.
    pub fn swap_released(&mut self, set: &str, other: &str) -> Result<(), SetError> {
        while_listed(|| self.swap(set, other), SetError::is_busy)
    }

    /// Gives a set another name.
    ///
    /// # Errors
    /// It is missing, something uses it, or another set has the name.
    pub fn rename(&mut self, set: &str, to: &str) -> Result<(), SetError> {
        self.simple(Command::Rename, set, Some(to))
    }

    fn simple(&mut self, command: Command, set: &str, other: Option<&str>) -> Result<(), SetError> {
        let asked = self.ask(
            command,
            NLM_F_ACK | NLM_F_EXCL,
            |writer| {
                writer.string(attr::SETNAME, set);
                if let Some(other) = other {
                    writer.string(attr::SETNAME2, other);
                }
            },
            |_| Ok(()),
        );
        asked.map_err(|error| refused(error, command, set, None))
    }

    /// Whether there is a set of this name.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    pub fn exists(&mut self, set: &str) -> Result<bool, SetError> {
        self.kind_of(set).map(|kind| kind.is_some())
    }

    /// Type and family of a set; `None` if there is none.
    ///
    /// # Errors
    /// The kernel cannot be asked, or its type is not known here.
    pub fn kind_of(&mut self, set: &str) -> Result<Option<(SetKind, Option<Family>)>, SetError> {
        let mut found = None;
        let asked = self.ask(
            Command::Header,
            0,
            |writer| {
                writer.string(attr::SETNAME, set);
            },
            |attrs| {
                let typename = attrs.clone().find(attr::TYPENAME)?.ok_or(Malformed)?.string()?.to_owned();
                let family = attrs.find(attr::FAMILY)?.ok_or(Malformed)?.u8()?;
                found = Some((typename, decode_family(family)));
                Ok(())
            },
        );
        match asked.map_err(|error| refused(error, Command::Header, set, None)) {
            Err(error) if error.is_missing() => return Ok(None),
            other => other?,
        }
        let (typename, family) = found.ok_or(Malformed)?;
        match SetKind::parse(&typename) {
            Some(kind) => Ok(Some((kind, family))),
            None => Err(SetError::UnknownType { set: set.to_owned(), typename }),
        }
    }

    /// The number by which rules know a set; `None` if there is none. It stays the same until the set is gone.
    ///
    /// # Errors
    /// The kernel cannot be asked, or speaks protocol 6 only.
    pub fn index_of(&mut self, set: &str) -> Result<Option<u16>, SetError> {
        let mut index = None;
        let asked = self.ask(
            Command::GetByName,
            0,
            |writer| {
                writer.string(attr::SETNAME, set);
            },
            |attrs| {
                index = Some(attrs.find(attr::INDEX)?.ok_or(Malformed)?.be16()?);
                Ok(())
            },
        );
        match asked.map_err(|error| refused(error, Command::GetByName, set, None)) {
            Err(error) if error.is_missing() => Ok(None),
            other => other.map(|()| index),
        }
    }

    /// All sets of the namespace, without their entries.
    ///
    /// # Errors
    /// The kernel cannot be asked, or a set has a type that is not known here.
    pub fn list_headers(&mut self) -> Result<Vec<SetHeader>, SetError> {
        let listed = self.dump(None, flag::LIST_HEADER)?;
        Ok(listed.into_iter().map(|listed| listed.header).collect())
    }

    /// One set without its entries; `None` if there is none.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    pub fn header(&mut self, set: &str) -> Result<Option<SetHeader>, SetError> {
        match self.dump(Some(set), flag::LIST_HEADER) {
            Ok(listed) => Ok(listed.into_iter().next().map(|listed| listed.header)),
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// One set with its entries; `None` if there is none.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    pub fn list(&mut self, set: &str) -> Result<Option<Listed>, SetError> {
        match self.dump(Some(set), 0) {
            Ok(listed) => Ok(listed.into_iter().next()),
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What `ipset save` prints of a set; `None` if there is none.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    pub fn save(&mut self, set: &str) -> Result<Option<String>, SetError> {
        Ok(self.list(set)?.map(|listed| listed.save()))
    }

    /// All sets, or one, with their entries unless `flags` say otherwise.
    fn dump(&mut self, set: Option<&str>, flags: u32) -> Result<Vec<Listed>, SetError> {
        let mut sets: Vec<Listed> = Vec::new();
        let mut unknown = None;
        let asked = self.ask(
            Command::List,
            NLM_F_DUMP,
            |writer| {
                if let Some(set) = set {
                    writer.string(attr::SETNAME, set);
                }
                be32(writer, attr::FLAGS, Some(flags).filter(|flags| *flags != 0));
            },
            |attrs| {
                let message = decode_list(attrs)?;
                match message.header {
                    Some(Header::Known(header)) => {
                        let entries = Vec::with_capacity(header.elements.unwrap_or(0).min(1 << 20) as usize);
                        sets.push(Listed { header: *header, entries });
                    }
                    Some(Header::UnknownType(typename)) => {
                        unknown.get_or_insert_with(|| (message.name.to_owned(), typename.to_owned()));
                        return Ok(());
                    }
                    None => {}
                }
                match (message.entries, sets.last_mut()) {
                    (Some(entries), Some(last)) if last.header.name == message.name => {
                        entries.decode(last.header.kind, &mut last.entries)
                    }
                    _ => Ok(()),
                }
            },
        );
        asked.map_err(|error| refused(error, Command::List, set.unwrap_or("*"), None))?;
        match unknown {
            Some((set, typename)) => Err(SetError::UnknownType { set, typename }),
            None => Ok(sets),
        }
    }

    /// The revision to make a set with: the newest that both sides know.
    fn revision(&mut self, kind: SetKind, family: Option<Family>) -> Result<u8, SetError> {
        if let Some(revision) = self.revisions.get(&(kind, family)) {
            return Ok(*revision);
        }
        let mut kernel = None;
        let asked = self.ask(
            Command::Type,
            0,
            |writer| {
                writer.string(attr::TYPENAME, kind.name()).u8(attr::FAMILY, family_number(family));
            },
            |attrs| {
                let most = attrs.clone().find(attr::REVISION)?.ok_or(Malformed)?.u8()?;
                let least = attrs.find(attr::REVISION_MIN)?.map_or(Ok(most), |attr| attr.u8())?;
                kernel = Some((least, most));
                Ok(())
            },
        );
        asked.map_err(|error| match error.errno() {
            // the second is what kernels before 3.14 answer
            Some(FIND_TYPE | libc::EEXIST) => SetError::NoType(kind),
            _ => refused(error, Command::Type, kind.name(), Some(kind)),
        })?;
        let (least, most) = kernel.ok_or(Malformed)?;
        let newest = revision::newest(kind);
        if least > newest {
            return Err(SetError::Revision { kind, least, newest });
        }
        let revision = most.min(newest);
        self.revisions.insert((kind, family), revision);
        Ok(revision)
    }

    /// Sends one message and gives the attributes of each answer to `each`. A change needs `NLM_F_ACK`; a question has its
    /// answer.
    fn ask(
        &mut self,
        command: Command,
        flags: u16,
        fill: impl FnOnce(&mut AttrWriter<'_>),
        mut each: impl FnMut(Attrs<'_>) -> Result<(), Malformed>,
    ) -> Result<(), SocketError> {
        let mut messages = Messages::default();
        // names are shorter than an attribute can be: only what is not checked could be too long
        push(&mut messages, command, flags, self.protocol, fill).map_err(|_| Malformed)?;
        self.socket.exchange(&mut messages, |message| each(message.attrs(NFGEN)?))
    }
}

impl Listed {
    /// What `ipset save` prints.
    pub fn save(&self) -> String {
        let SetHeader { name, kind, family, options, .. } = &self.header;
        let mut text = render_create(name, *kind, *family, options);
        text.push('\n');
        for entry in &self.entries {
            // writing to a string cannot fail
            let _ = writeln!(text, "{}", render_add(name, entry));
        }
        text
    }
}

pub(super) fn refused(error: SocketError, command: Command, set: &str, kind: Option<SetKind>) -> SetError {
    match error.errno() {
        Some(errno) => SetError::Refused { command, set: set.to_owned(), kind, errno },
        None => SetError::Socket(error),
    }
}

/// The line that the kernel wrote into the request it sent back.
pub(super) fn refused_line(error: &KernelError) -> Option<u32> {
    let attrs = Attrs::new(error.echo.get(HEADER + NFGEN..)?);
    attrs.find(data::LINENO).ok()??.be32().ok().filter(|line| *line != 0)
}
